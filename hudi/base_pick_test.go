package hudi

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// Picked rows are those of the whole file, of any writer's.
func TestPickReader(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 6))
			sc := baseTestSchema()
			opts := baseTestOptions(t, sc)
			opts.rowGroupBytes, opts.pageBytes = int64(2_000+rnd.IntN(60_000)), int64(100+rnd.IntN(3000))
			keys := make([]string, 400)
			for i := range keys {
				keys[i] = strconv.Itoa(i)
			}
			batch := rewriteRows(rnd, sc, keys, "f.parquet")
			data, _ := writeBase(t, opts, batch)
			foreign := rnd.IntN(2) == 0
			if foreign {
				data = foreignBase(t, rnd, opts, batch)
			}
			checkPicked(t, data, sc, foreign, pickSome(rnd))
			less := arrow.NewSchema([]arrow.Field{sc.Field(14), sc.Field(metaKey), sc.Field(19), sc.Field(7)}, nil)
			checkPicked(t, data, less, foreign, pickSome(rnd))
		})
	}
}

// pickSome picks random ranges, the same ones for each call.
func pickSome(rnd *rand.Rand) func(f *parquetFile, g int) ([]rowRange, error) {
	made := map[int][]rowRange{}
	return func(f *parquetFile, g int) ([]rowRange, error) {
		if r, ok := made[g]; ok {
			return append([]rowRange(nil), r...), nil
		}
		n := f.meta.RowGroups[g].NumRows
		switch rnd.IntN(4) {
		case 0:
			made[g] = []rowRange{{0, n}}
		case 1:
			made[g] = nil
		default:
			for at := rnd.Int64N(n); at < n; at += 1 + rnd.Int64N(n) {
				to := min(at+rnd.Int64N(30), n)
				made[g] = append(made[g], rowRange{at, to})
				at = to
			}
		}
		return append([]rowRange(nil), made[g]...), nil
	}
}

func checkPicked(t *testing.T, data []byte, sc *arrow.Schema, more bool, pick func(f *parquetFile, g int) ([]rowRange, error)) {
	t.Helper()
	f, err := openParquet(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, batch := range readBase(t, data, sc) {
		all = append(all, rowTexts(t, batch)...)
	}
	var want []string
	first := int64(0)
	for g := range f.meta.RowGroups {
		ranges, _ := pick(f, g)
		for _, r := range ranges {
			want = append(want, all[first+r.from:first+r.to]...)
		}
		first += f.meta.RowGroups[g].NumRows
	}
	p, err := openPickReader(bytes.NewReader(data), int64(len(data)), sc, pick)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.close() }()
	got := map[string]int{}
	rows := 0
	for {
		batch, err := p.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rowTexts(t, batch) {
			got[row]++
			rows++
		}
		batch.Release()
	}
	for _, row := range want {
		if got[row] == 0 {
			t.Fatalf("no row %s", row)
		}
		got[row]--
	}
	if rows > len(want) && !more { // of a file that is not taken apart all rows are read
		t.Errorf("%d rows, want %d", rows, len(want))
	}
}

func rowTexts(t *testing.T, batch arrow.RecordBatch) []string {
	t.Helper()
	var out []string
	for i := range batch.NumRows() {
		row, err := batch.NewSlice(i, i+1).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(row))
	}
	return out
}
