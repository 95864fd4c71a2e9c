package hudi

import (
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/storage/file"
)

// BenchmarkBulkInsertBuckets inserts the same rows into 2 buckets and into 64, of which
// each gets some 4,000 rows, in turns, and reports by how much dearer, in CPU time, the
// many files are.
func BenchmarkBulkInsertBuckets(b *testing.B) {
	rows := bulkRows(1 << 18)
	var cpu [2]time.Duration
	for b.Loop() {
		for i, buckets := range []int{2, 64} {
			store, err := file.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			table, err := Create(b.Context(), store, CreateOptions{
				Name: "bulk", Schema: bulkSchema, RecordKey: []string{"id"}, OrderingField: "n", Options: Options{Buckets: buckets},
			})
			if err != nil {
				b.Fatal(err)
			}
			began := cpuTime(b)
			if _, err := table.BulkInsert(b.Context(), each(rows), BulkOptions{}); err != nil {
				b.Fatal(err)
			}
			cpu[i] += cpuTime(b) - began
		}
	}
	b.ReportMetric(cpu[0].Seconds()/float64(b.N), "few-cpu-s/op")
	b.ReportMetric(cpu[1].Seconds()/float64(b.N), "many-cpu-s/op")
	b.ReportMetric(float64(cpu[1])/float64(cpu[0]), "many/few")
}

var bulkSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "customer", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "status", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "note", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
	{Name: "total", Type: &arrow.Decimal128Type{Precision: 12, Scale: 2}, Nullable: true},
	{Name: "n", Type: arrow.PrimitiveTypes.Int64},
}, nil)

// bulkRows makes rows of which no two notes are alike.
func bulkRows(rows int) []arrow.RecordBatch {
	const batch = 8192
	status := []string{"new", "paid", "sent", "returned"}
	b := array.NewRecordBuilder(memory.DefaultAllocator, bulkSchema)
	defer b.Release()
	var out []arrow.RecordBatch
	for at := 0; at < rows; at += batch {
		for i := at; i < min(at+batch, rows); i++ {
			b.Field(0).(*array.Int64Builder).Append(int64(i))
			b.Field(1).(*array.Int64Builder).Append(int64(i * 7919 % 50_000))
			b.Field(2).(*array.StringBuilder).Append(status[i%len(status)])
			b.Field(3).(*array.StringBuilder).Append(fmt.Sprintf("order %d of customer %d", i, i*7919%50_000))
			b.Field(4).(*array.TimestampBuilder).Append(arrow.Timestamp(1_700_000_000_000_000 + int64(i)*977))
			b.Field(5).(*array.Decimal128Builder).Append(decimal128.FromI64(int64(i % 999_999)))
			b.Field(6).(*array.Int64Builder).Append(int64(i))
		}
		out = append(out, b.NewRecordBatch())
	}
	return out
}

// each passes batches on as a bulk insert takes them.
func each(batches []arrow.RecordBatch) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		for _, b := range batches {
			if !yield(b, nil) {
				return
			}
		}
	}
}
