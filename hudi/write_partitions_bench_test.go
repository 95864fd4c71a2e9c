package hudi

import (
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/storage/file"
)

// BenchmarkUpsertPartitions upserts the same number of rows into one partition and into a
// hundred, in turns, and reports by how much dearer, in CPU time, the many files are.
func BenchmarkUpsertPartitions(b *testing.B) {
	const partitions, changed = 100, 1000
	for _, typ := range []TableType{MergeOnRead, CopyOnWrite} {
		b.Run(string(typ), func(b *testing.B) {
			store, err := file.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			table, err := Create(b.Context(), store, CreateOptions{
				Name: "many", Type: typ, Schema: bulkSchema, RecordKey: []string{"id"}, OrderingField: "n", PartitionBy: []string{"customer"},
				Options: Options{Buckets: 1, Services: &ServicesOptions{}},
			})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := table.Upsert(b.Context(), partitionedRows(20*partitions, partitions)); err != nil {
				b.Fatal(err)
			}
			rows := [2]arrow.RecordBatch{partitionedRows(changed, 1), partitionedRows(changed, partitions)}
			var cpu, wall [2]time.Duration
			for b.Loop() {
				for i := range rows {
					began, at := cpuTime(b), time.Now()
					if _, err := table.Upsert(b.Context(), rows[i]); err != nil {
						b.Fatal(err)
					}
					cpu[i] += cpuTime(b) - began
					wall[i] += time.Since(at)
				}
			}
			for i, name := range []string{"one", "many"} {
				b.ReportMetric(float64(cpu[i].Microseconds())/1e3/float64(b.N), name+"-cpu-ms/op")
				b.ReportMetric(float64(wall[i].Microseconds())/1e3/float64(b.N), name+"-wall-ms/op")
			}
			b.ReportMetric(float64(cpu[1])/float64(cpu[0]), "many/one")
		})
	}
}

// partitionedRows makes rows in so many partitions.
func partitionedRows(rows, partitions int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, bulkSchema)
	defer b.Release()
	for i := range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		b.Field(1).(*array.Int64Builder).Append(int64(i % partitions))
		b.Field(2).(*array.StringBuilder).Append("paid")
		b.Field(3).(*array.StringBuilder).Append(fmt.Sprint("order ", i))
		b.Field(4).AppendNull()
		b.Field(5).AppendNull()
		b.Field(6).(*array.Int64Builder).Append(int64(i))
	}
	return b.NewRecordBatch()
}
