package hudi

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
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
		rows, err := take(b.Context(), batch, sel)
		if err != nil {
			b.Fatal(err)
		}
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
