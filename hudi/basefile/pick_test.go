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

// Picked rows are those of the whole file, of any writer's.
func TestPickReader(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 6))
			sc := basetest.Schema()
			opts := testOptions(t, sc)
			opts.RowGroupBytes, opts.PageBytes = int64(2_000+rnd.IntN(60_000)), int64(100+rnd.IntN(3000))
			keys := make([]string, 400)
			for i := range keys {
				keys[i] = strconv.Itoa(i)
			}
			batch := basetest.Rows(rnd, sc, keys, "f.parquet")
			data, _ := writeFile(t, opts, batch)
			foreign := rnd.IntN(2) == 0
			if foreign {
				data = basetest.Foreign(t, rnd, opts.AvroSchema, batch)
			}
			checkPicked(t, data, sc, foreign, pickSome(rnd))
			less := arrow.NewSchema([]arrow.Field{sc.Field(14), sc.Field(2), sc.Field(19), sc.Field(7)}, nil)
			checkPicked(t, data, less, foreign, pickSome(rnd))
		})
	}
}

// pickSome picks random ranges, the same ones for each call.
func pickSome(rnd *rand.Rand) func(f *File, g int) ([]Range, error) {
	made := map[int][]Range{}
	return func(f *File, g int) ([]Range, error) {
		if r, ok := made[g]; ok {
			return append([]Range(nil), r...), nil
		}
		n := f.meta.RowGroups[g].NumRows
		switch rnd.IntN(4) {
		case 0:
			made[g] = []Range{{0, n}}
		case 1:
			made[g] = nil
		default:
			for at := rnd.Int64N(n); at < n; at += 1 + rnd.Int64N(n) {
				to := min(at+rnd.Int64N(30), n)
				made[g] = append(made[g], Range{at, to})
				at = to
			}
		}
		return append([]Range(nil), made[g]...), nil
	}
}

func checkPicked(t *testing.T, data []byte, sc *arrow.Schema, more bool, pick func(f *File, g int) ([]Range, error)) {
	t.Helper()
	f, err := openParquet(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, batch := range readFile(t, data, sc) {
		all = append(all, rowTexts(t, batch)...)
	}
	var want []string
	first := int64(0)
	for g := range f.meta.RowGroups {
		ranges, _ := pick(f, g)
		for _, r := range ranges {
			want = append(want, all[first+r.From:first+r.To]...)
		}
		first += f.meta.RowGroups[g].NumRows
	}
	p, err := OpenRows(bytes.NewReader(data), int64(len(data)), sc, pick)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	got := map[string]int{}
	rows := 0
	for {
		batch, err := p.Next()
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
