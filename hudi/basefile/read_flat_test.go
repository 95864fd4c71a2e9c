package basefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/basetest"
)

// Columns that are read here come out as the Parquet library reads them, from files of
// every encoding, version of pages and codec, with batches that end within pages.
func TestFlatColumns(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 14))
	for round := range 30 {
		sc := basetest.Schema()
		keys := make([]string, 1+rnd.IntN(2000))
		for i := range keys {
			keys[i] = strconv.Itoa(i)
		}
		opts := testOptions(t, sc)
		rows := basetest.Rows(rnd, sc, keys, "f.parquet")
		data := basetest.Foreign(t, rnd, opts.AvroSchema, rows)
		if round%3 == 0 {
			opts.RowGroupBytes, opts.PageBytes = int64(2000+rnd.IntN(200_000)), int64(200+rnd.IntN(5000))
			data, _ = writeFile(t, opts, rows)
		}
		batch := int64(1 + rnd.IntN(700))
		for _, schema := range []*arrow.Schema{sc, nil} {
			want, err := readBatches(data, schema, true, batch)
			got, gotErr := readBatches(data, schema, false, batch)
			if err != nil || gotErr != nil {
				t.Fatal(round, err, gotErr)
			}
			if d := batchesDiffer(got, want); d != "" {
				t.Fatal(round, d)
			}
		}
	}
}

// All columns that a base file of ours has come from here, but for nested ones and booleans.
func TestFlatColumnsAreRead(t *testing.T) {
	t.Parallel()
	sc := basetest.Schema()
	data, _ := writeFile(t, testOptions(t, sc), basetest.Batch(t))
	r, err := Open(bytes.NewReader(data), int64(len(data)), sc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, f := range sc.Fields() {
		_, own := r.own[f.Name]
		if nested := arrow.IsNested(f.Type.ID()); own == (nested || f.Type.ID() == arrow.BOOL) {
			t.Errorf("column %s of %s: read here: %v", f.Name, f.Type, own)
		}
	}
}

// FuzzFlatColumns reads files of any bytes here and by the library: neither panics, and where both
// read a file they read the same.
func FuzzFlatColumns(f *testing.F) {
	_, files, _ := fuzzFiles(f)
	for _, data := range files {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { compareReaders(t, data) })
}

func compareReaders(t *testing.T, data []byte) (read bool) {
	t.Helper()
	got, gotErr := readBatches(data, nil, false, 0)
	want, err := readBatches(data, nil, true, 0)
	if err != nil || gotErr != nil {
		return false
	}
	if d := batchesDiffer(got, want); d != "" {
		t.Fatal(d)
	}
	return true
}

func TestFlatColumnsOfDamagedFiles(t *testing.T) {
	t.Parallel()
	_, files, _ := fuzzFiles(t)
	rnd := rand.New(rand.NewPCG(9, 11))
	sound := 0
	for range 400 {
		data := bytes.Clone(files[rnd.IntN(len(files))])
		data[rnd.IntN(len(data))] ^= byte(1 + rnd.IntN(255))
		if compareReaders(t, data) {
			sound++
		}
	}
	if sound < 25 {
		t.Errorf("only %d of the files were read", sound)
	}
}

// readBatches reads a file, in batches of so many rows unless 0.
func readBatches(data []byte, schema *arrow.Schema, library bool, rows int64) (all []arrow.RecordBatch, err error) {
	r, err := open(bytes.NewReader(data), int64(len(data)), schema, library)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if rows > 0 {
		r.batch = rows
		if err := r.openGroups(nil); err != nil {
			return nil, err
		}
	}
	for {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, batch)
	}
}

func batchesDiffer(got, want []arrow.RecordBatch) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d batches, want %d", len(got), len(want))
	}
	for i := range got {
		for c, col := range got[i].Columns() {
			if other := want[i].Column(c); !array.Equal(col, other) && fmt.Sprint(col) != fmt.Sprint(other) { // NaN
				return fmt.Sprintf("batch %d, column %s:\n%s\nwant\n%s", i, got[i].ColumnName(c), col, other)
			}
		}
	}
	return ""
}
