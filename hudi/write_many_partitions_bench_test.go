package hudi

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/storage/file"
	"lakefeed/storage/storagetest"
)

// BenchmarkCommitManyPartitions changes two partitions of a table of 10 and of one of 10,000, in
// turns, and reports by how much dearer a commit is in the large one, in CPU time and in calls of
// the store. The price must follow what a commit changes.
func BenchmarkCommitManyPartitions(b *testing.B) {
	var tables [2]*Table
	var asked [2]*atomic.Int64
	for i, partitions := range []int{10, 10_000} {
		tables[i], asked[i] = partitionsTable(b, partitions)
	}
	rows := partitionedRows(2, 2)
	var first, cpu, wall [2]time.Duration
	var calls [2]int64
	commit := func(i int) time.Duration {
		began := cpuTime(b)
		if _, err := tables[i].Upsert(b.Context(), rows); err != nil {
			b.Fatal(err)
		}
		return cpuTime(b) - began
	}
	for i := range tables { // the first reads what the bulk insert's commit says
		first[i] = commit(i)
	}
	runtime.GC()
	for b.Loop() {
		for i := range tables {
			at, called := time.Now(), asked[i].Load()
			cpu[i] += commit(i)
			wall[i] += time.Since(at)
			calls[i] += asked[i].Load() - called
		}
	}
	for i, name := range []string{"few", "many"} {
		b.ReportMetric(float64(cpu[i].Microseconds())/1e3/float64(b.N), name+"-cpu-ms/op")
		b.ReportMetric(float64(wall[i].Microseconds())/1e3/float64(b.N), name+"-wall-ms/op")
		b.ReportMetric(float64(first[i].Microseconds())/1e3, name+"-first-cpu-ms")
		b.ReportMetric(float64(calls[i])/float64(b.N), name+"-calls/op")
	}
	b.ReportMetric(float64(cpu[1])/float64(cpu[0]), "many/few")
}

// partitionsTable is a merge-on-read table of a row in each of so many partitions, which runs no
// services, opened anew, and the number of calls that it makes of its store.
func partitionsTable(tb testing.TB, partitions int) (*Table, *atomic.Int64) {
	tb.Helper()
	files, err := file.Open(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	calls := new(atomic.Int64)
	store := storagetest.NewFaulty(files, storagetest.Fault{Reads: true, Hook: func(int, storagetest.Call) { calls.Add(1) }})
	table, err := Create(tb.Context(), store, CreateOptions{
		Name: "many", Type: MergeOnRead, Schema: bulkSchema, RecordKey: []string{"id"}, OrderingField: "n", PartitionBy: []string{"customer"},
		Options: Options{Buckets: 1},
	})
	if err == nil {
		_, err = table.BulkInsert(tb.Context(), each([]arrow.RecordBatch{partitionedRows(partitions, partitions)}), BulkOptions{})
	}
	if err == nil {
		table, err = Open(tb.Context(), store, Options{Services: &ServicesOptions{}})
	}
	if err != nil {
		tb.Fatal(err)
	}
	return table, calls
}

// TestCommitAmongPartitions sees that a commit asks no more of the store, however many partitions
// there are that it does not change.
func TestCommitAmongPartitions(t *testing.T) {
	t.Parallel()
	var calls [2]int64
	for i, partitions := range []int{3, 60} {
		table, asked := partitionsTable(t, partitions)
		before := asked.Load()
		for range 3 {
			if _, err := table.Upsert(t.Context(), partitionedRows(2, 2)); err != nil {
				t.Fatal(err)
			}
		}
		calls[i] = asked.Load() - before
	}
	if calls[0] != calls[1] {
		t.Errorf("three commits are %d calls of the store in a table of 3 partitions, and %d in one of 60", calls[0], calls[1])
	}
}
