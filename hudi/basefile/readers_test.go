package basefile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lakefeed/hudi/internal/basetest"
	"lakefeed/internal/ci"
	"lakefeed/internal/pgserver"
)

// pyarrow and DuckDB read spliced files as they read files that were written in one
// go, and filter them as well. Spark and hudi-rs read such tables in parity/.
func TestSplicedFilesInOtherReaders(t *testing.T) {
	if os.Getenv("LAKEFEED_PARITY") == "" {
		t.Skip("make parity runs this")
	}
	python := filepath.Join(pgserver.CacheDir(), "interop", "venv", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		ci.Missing(t, "no Python with pyarrow and DuckDB, run `make setup`: %v", err)
	}
	dir := t.TempDir()
	const seeds = 12
	for seed := range uint64(seeds) {
		writeReaderPair(t, filepath.Join(dir, strconv.FormatUint(seed, 10)), rand.New(rand.NewPCG(seed, 5)))
	}
	out, err := exec.CommandContext(t.Context(), python, "testdata/readers.py", dir).CombinedOutput()
	if err != nil || string(out) != fmt.Sprintln(seeds, "files") {
		t.Errorf("%v\n%s", err, out)
	}
}

func writeReaderPair(t *testing.T, path string, rnd *rand.Rand) {
	t.Helper()
	sc := basetest.Schema()
	opts := testOptions(t, sc)
	opts.RowGroupBytes, opts.PageBytes = int64(5_000+rnd.IntN(200_000)), int64(200+rnd.IntN(3000))
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	first := basetest.Rows(rnd, sc, keys, "f0.parquet")
	data, _ := writeFile(t, opts, first)
	if rnd.IntN(2) == 0 {
		data = basetest.Foreign(t, rnd, opts.AvroSchema, first)
	}
	for round := range 5 {
		deletes, upserts := randomChanges(rnd, len(keys), round)
		data = rewrite(t, opts, data, "f.parquet", deletes, basetest.Rows(rnd, sc, upserts, "f.parquet"))
	}
	plain := foreignPlain(t, sc, readFile(t, data, sc))
	for kind, data := range map[string][]byte{"spliced": data, "plain": plain} {
		if err := os.WriteFile(path+"."+kind+".parquet", data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// foreignPlain writes rows without statistics.
func foreignPlain(t *testing.T, sc *arrow.Schema, batches []arrow.RecordBatch) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(sc, &out, parquet.NewWriterProperties(parquet.WithStats(false), parquet.WithRootRepetition(parquet.Repetitions.Required)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
