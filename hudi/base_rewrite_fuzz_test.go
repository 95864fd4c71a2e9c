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
	sc := baseTestSchema()
	opts := baseTestOptions(f, sc)
	opts.rowGroupBytes, opts.pageBytes = 4_000, 200
	rnd := rand.New(rand.NewPCG(9, 9))
	keys := make([]string, 40)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	first := rewriteRows(rnd, sc, keys, "f.parquet")
	data, _ := writeBase(f, opts, first)
	f.Add(data, int64(3))
	for range 4 {
		f.Add(foreignBase(f, rnd, opts, first), int64(5))
	}
	fresh := rewriteRows(rnd, sc, []string{"7", "39", "new"}, "g.parquet")
	f.Fuzz(func(t *testing.T, data []byte, row int64) {
		fuzzPick(t, data, sc, row)
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
	})
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
