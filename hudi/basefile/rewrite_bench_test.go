package basefile

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
)

// BenchmarkBaseRewrite changes 400 random rows of 200,000, which is what 10,000 of 5 M
// are, spliced and decoded in turn, so that the ratio means something.
func BenchmarkRewrite(b *testing.B) {
	batch := benchBatch(benchRows)
	opts := testOptions(b, batch.Schema())
	data, _ := writeFile(b, opts, batch)
	rnd := rand.New(rand.NewPCG(1, 2))
	sel := make([]int32, 400)
	for i := range sel {
		sel[i] = int32(rnd.IntN(benchRows))
	}
	near := make([]int32, 400)
	for i := range near {
		near[i] = int32(benchRows - 400 + i)
	}
	for name, sel := range map[string][]int32{"random": sel, "near": near} {
		rows := benchChanges(b, batch, sel)
		b.Run(name+"/spliced", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				spliceBench(b, opts, data, rows)
			}
			b.ReportMetric(float64(benchRows*b.N)/b.Elapsed().Seconds()/1e3, "krows/s")
		})
	}
	b.Run("decoded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			decodeBench(b, opts, data)
		}
		b.ReportMetric(float64(benchRows*b.N)/b.Elapsed().Seconds()/1e3, "krows/s")
	})
}

// benchChanges are rows with other instants and numbers.
func benchChanges(b *testing.B, batch arrow.RecordBatch, sel []int32) arrow.RecordBatch {
	b.Helper()
	rows, err := column.Take(batch, sel)
	if err != nil {
		b.Fatal(err)
	}
	n := len(sel)
	rows = column.Replace(rows, 0, column.Repeat("20260202000000000", n))
	rows = column.Replace(rows, 1, column.Repeat("20260202000000000_0_7", n))
	prices := array.NewInt64Builder(column.Allocator)
	defer prices.Release()
	for i := range n {
		prices.Append(int64(i) - 7)
	}
	return column.Replace(rows, 6, prices.NewArray())
}

// BenchmarkBasePages compares sizes of pages: what writing takes, what a change of few
// rows takes, and how large files are.
func BenchmarkPages(b *testing.B) {
	batch := benchBatch(benchRows)
	sel := make([]int32, 40)
	for i := range sel {
		sel[i] = int32(i * benchRows / len(sel))
	}
	rows := benchChanges(b, batch, sel)
	for _, kib := range []int64{8, 64, 1024} {
		opts := testOptions(b, batch.Schema())
		opts.PageBytes = kib << 10
		data, _ := writeFile(b, opts, batch)
		b.Run(fmt.Sprintf("%dKiB/write", kib), func(b *testing.B) {
			for b.Loop() {
				writeFile(b, opts, batch)
			}
			b.ReportMetric(float64(len(data))/benchRows, "B/row")
		})
		b.Run(fmt.Sprintf("%dKiB/splice", kib), func(b *testing.B) {
			for b.Loop() {
				spliceBench(b, opts, data, rows)
			}
		})
	}
}

func spliceBench(b *testing.B, opts WriterOptions, data []byte, rows arrow.RecordBatch) {
	w, err := NewWriter(io.Discard, opts)
	if err != nil {
		b.Fatal(err)
	}
	r := NewRewrite(w, "new.parquet")
	if err := r.Upsert(rows); err != nil {
		b.Fatal(err)
	}
	if _, err := r.Finish(b.Context(), bytes.NewReader(data), int64(len(data))); err != nil {
		b.Fatal(err)
	}
}

func decodeBench(b *testing.B, opts WriterOptions, data []byte) {
	w, err := NewWriter(io.Discard, opts)
	if err != nil {
		b.Fatal(err)
	}
	for _, got := range readFile(b, data, opts.Schema) {
		if err := w.Write(got); err != nil {
			b.Fatal(err)
		}
		got.Release()
	}
	if _, err := w.Close(); err != nil {
		b.Fatal(err)
	}
}
