package hudi

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/scalar"
)

// FuzzBaseRewrite rewrites, picks and prunes files of any bytes: there are errors and no panics,
// and what was rewritten without one is a file that can be read, of as many rows.
func FuzzBaseRewrite(f *testing.F) {
	opts, files, fresh := fuzzFiles(f)
	for i, data := range files {
		f.Add(data, int64(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, row int64) { fuzzRewrite(t, opts, data, fresh, row) })
}

// fuzzFiles are base files of several writers, and rows that change them.
func fuzzFiles(t testing.TB) (opts baseOptions, files [][]byte, fresh arrow.RecordBatch) {
	sc := baseTestSchema()
	opts = baseTestOptions(t, sc)
	opts.rowGroupBytes, opts.pageBytes = 4_000, 200
	rnd := rand.New(rand.NewPCG(9, 9))
	keys := make([]string, 40)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	first := rewriteRows(rnd, sc, keys, "f.parquet")
	data, _ := writeBase(t, opts, first)
	files = append(files, data)
	for range 6 {
		files = append(files, foreignBase(t, rnd, opts, first))
	}
	return opts, files, rewriteRows(rnd, sc, []string{"7", "39", "new"}, "g.parquet")
}

// TestBaseRewriteOfDamagedFiles flips bytes, more of them where the metadata is.
func TestBaseRewriteOfDamagedFiles(t *testing.T) {
	t.Parallel()
	opts, files, fresh := fuzzFiles(t)
	rnd := rand.New(rand.NewPCG(9, 10))
	for range 250 {
		data := bytes.Clone(files[rnd.IntN(len(files))])
		for range 1 + rnd.IntN(3) {
			at := rnd.IntN(len(data))
			if rnd.IntN(2) == 0 {
				at = len(data) - 1 - rnd.IntN(len(data)/3)
			}
			data[at] ^= byte(1 + rnd.IntN(255))
		}
		if rnd.IntN(20) == 0 {
			data = data[:rnd.IntN(len(data))]
		}
		fuzzRewrite(t, opts, data, fresh, rnd.Int64N(60))
	}
}

func fuzzRewrite(t *testing.T, opts baseOptions, data []byte, fresh arrow.RecordBatch, row int64) {
	t.Helper()
	fuzzPick(t, data, opts.schema, row)
	var out bytes.Buffer
	w, err := newBaseWriter(&out, opts)
	if err != nil {
		t.Fatal(err)
	}
	r := newBaseRewrite(w, "g.parquet")
	r.delete([]string{"3", strconv.FormatInt(row, 10)})
	if err := r.upsert(fresh); err != nil {
		t.Fatal(err)
	}
	stats, err := r.finish(t.Context(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return
	}
	again, err := openParquet(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatalf("what was written is not read: %v", err)
	}
	if again.meta.NumRows != stats.rows || stats.rows < 3 {
		t.Fatalf("%d rows, stats say %d", again.meta.NumRows, stats.rows)
	}
}

// fuzzPick reads some rows, and those of a filter.
func fuzzPick(t *testing.T, data []byte, sc *arrow.Schema, row int64) {
	t.Helper()
	c, err := Not(And(Compare("i", Less, scalar.NewInt64Scalar(row)), IsNull("s"))).bind(sc, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, pick := range []func(f *parquetFile, g int) ([]rowRange, error){
		c.ranges,
		func(f *parquetFile, g int) ([]rowRange, error) {
			n := f.meta.RowGroups[g].NumRows
			return []rowRange{{min(max(row, 0), n), min(max(row, 0)+3, n)}}, nil
		},
	} {
		p, err := openPickReader(bytes.NewReader(data), int64(len(data)), sc, pick)
		if err != nil {
			return
		}
		for {
			batch, err := p.next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					_ = p.close()
				}
				break
			}
			batch.Release()
		}
	}
}
