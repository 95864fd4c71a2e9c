package basefile

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/internal/basetest"
)

// FuzzBaseRewrite rewrites, picks and prunes files of any bytes: there are errors and no panics,
// and what was rewritten without one is a file that can be read, of as many rows.
func FuzzRewrite(f *testing.F) {
	opts, files, fresh := fuzzFiles(f)
	for i, data := range files {
		f.Add(data, int64(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, row int64) { fuzzRewrite(t, opts, data, fresh, row) })
}

// fuzzFiles are base files of several writers, and rows that change them.
func fuzzFiles(t testing.TB) (opts WriterOptions, files [][]byte, fresh arrow.RecordBatch) {
	sc := basetest.Schema()
	opts = testOptions(t, sc)
	opts.RowGroupBytes, opts.PageBytes = 4_000, 200
	rnd := rand.New(rand.NewPCG(9, 9))
	keys := make([]string, 40)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	first := basetest.Rows(rnd, sc, keys, "f.parquet")
	data, _ := writeFile(t, opts, first)
	files = append(files, data)
	for range 6 {
		files = append(files, basetest.Foreign(t, rnd, opts.AvroSchema, first))
	}
	return opts, files, basetest.Rows(rnd, sc, []string{"7", "39", "new"}, "g.parquet")
}

// TestBaseRewriteOfDamagedFiles flips bytes, more of them where the metadata is.
func TestRewriteOfDamagedFiles(t *testing.T) {
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

func fuzzRewrite(t *testing.T, opts WriterOptions, data []byte, fresh arrow.RecordBatch, row int64) {
	t.Helper()
	fuzzPick(t, data, opts.Schema, row)
	var out bytes.Buffer
	w, err := NewWriter(&out, opts)
	if err != nil {
		t.Fatal(err)
	}
	r := NewRewrite(w, "g.parquet")
	r.Delete([]string{"3", strconv.FormatInt(row, 10)})
	if err := r.Upsert(fresh); err != nil {
		t.Fatal(err)
	}
	stats, err := r.Finish(t.Context(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return
	}
	again, err := openParquet(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatalf("what was written is not read: %v", err)
	}
	if again.meta.NumRows != stats.Rows || stats.Rows < 3 {
		t.Fatalf("%d rows, stats say %d", again.meta.NumRows, stats.Rows)
	}
}

// fuzzPick reads some rows, and those of a condition.
func fuzzPick(t *testing.T, data []byte, sc *arrow.Schema, row int64) {
	t.Helper()
	for _, pick := range []func(f *File, g int) ([]Range, error){
		func(f *File, g int) ([]Range, error) {
			some, err := f.RowsWhere(g, "i", arrow.PrimitiveTypes.Int32, func(b Bounds) bool { return b.Low.Int <= row || b.Nulls })
			if err != nil {
				return nil, err
			}
			more, err := f.RowsWhere(g, "s", arrow.BinaryTypes.String, func(b Bounds) bool { return b.Values })
			return Intersect(some, more), err
		},
		func(f *File, g int) ([]Range, error) {
			n := f.meta.RowGroups[g].NumRows
			return []Range{{min(max(row, 0), n), min(max(row, 0)+3, n)}}, nil
		},
	} {
		p, err := OpenRows(bytes.NewReader(data), int64(len(data)), sc, pick)
		if err != nil {
			return
		}
		for {
			batch, err := p.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					_ = p.Close()
				}
				break
			}
			batch.Release()
		}
	}
}
