package hudi

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// BenchmarkBaseRewrite changes 400 random rows of 200,000, which is what 10,000 of 5 M
// are, spliced and decoded in turn, so that the ratio means something.
func BenchmarkBaseRewrite(b *testing.B) {
	batch := baseBenchBatch(baseBenchRows)
	opts := baseTestOptions(b, batch.Schema())
	data, _ := writeBase(b, opts, batch)
	rnd := rand.New(rand.NewPCG(1, 2))
	sel := make([]int32, 400)
	for i := range sel {
		sel[i] = int32(rnd.IntN(baseBenchRows))
	}
	near := make([]int32, 400)
	for i := range near {
		near[i] = int32(baseBenchRows - 400 + i)
	}
	for name, sel := range map[string][]int32{"random": sel, "near": near} {
		rows := benchChanges(b, batch, sel)
		b.Run(name+"/spliced", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				spliceBench(b, opts, data, rows)
			}
			b.ReportMetric(float64(baseBenchRows*b.N)/b.Elapsed().Seconds()/1e3, "krows/s")
		})
	}
	b.Run("decoded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			decodeBench(b, opts, data)
		}
		b.ReportMetric(float64(baseBenchRows*b.N)/b.Elapsed().Seconds()/1e3, "krows/s")
	})
}

// benchChanges are rows with other instants and numbers.
func benchChanges(b *testing.B, batch arrow.RecordBatch, sel []int32) arrow.RecordBatch {
	b.Helper()
	rows, err := take(b.Context(), batch, sel)
	if err != nil {
		b.Fatal(err)
	}
	n := len(sel)
	rows = replaceColumn(rows, metaCommitTime, constantText("20260202000000000", n))
	rows = replaceColumn(rows, metaSeqno, seqnos("20260202000000000", 0, 0, n))
	prices := array.NewInt64Builder(allocator)
	defer prices.Release()
	for i := range n {
		prices.Append(int64(i) - 7)
	}
	return replaceColumn(rows, 6, prices.NewArray())
}

// BenchmarkBasePages compares sizes of pages: what writing takes, what a change of few
// rows takes, and how large files are.
func BenchmarkBasePages(b *testing.B) {
	batch := baseBenchBatch(baseBenchRows)
	sel := make([]int32, 40)
	for i := range sel {
		sel[i] = int32(i * baseBenchRows / len(sel))
	}
	rows := benchChanges(b, batch, sel)
	for _, kib := range []int64{8, 64, 1024} {
		opts := baseTestOptions(b, batch.Schema())
		opts.pageBytes = kib << 10
		data, _ := writeBase(b, opts, batch)
		b.Run(fmt.Sprintf("%dKiB/write", kib), func(b *testing.B) {
			for b.Loop() {
				writeBase(b, opts, batch)
			}
			b.ReportMetric(float64(len(data))/baseBenchRows, "B/row")
		})
		b.Run(fmt.Sprintf("%dKiB/splice", kib), func(b *testing.B) {
			for b.Loop() {
				spliceBench(b, opts, data, rows)
			}
		})
	}
}

func spliceBench(b *testing.B, opts baseOptions, data []byte, rows arrow.RecordBatch) {
	w, err := newBaseWriter(io.Discard, opts)
	if err != nil {
		b.Fatal(err)
	}
	r := newBaseRewrite(w, "new.parquet")
	if err := r.upsert(rows); err != nil {
		b.Fatal(err)
	}
	if _, err := r.finish(b.Context(), bytes.NewReader(data), int64(len(data))); err != nil {
		b.Fatal(err)
	}
}

func decodeBench(b *testing.B, opts baseOptions, data []byte) {
	w, err := newBaseWriter(io.Discard, opts)
	if err != nil {
		b.Fatal(err)
	}
	for _, got := range readBase(b, data, opts.schema) {
		if err := w.write(got); err != nil {
			b.Fatal(err)
		}
		got.Release()
	}
	if _, err := w.close(); err != nil {
		b.Fatal(err)
	}
}
