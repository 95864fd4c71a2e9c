package parity_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi"
	"lakefeed/hudi/lock"
	"lakefeed/parity"
	"lakefeed/storage/all"
	"lakefeed/storage/file"
)

var sharedSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.BinaryTypes.String},
	{Name: "v", Type: arrow.PrimitiveTypes.Int64},
	{Name: "_event_lsn", Type: arrow.PrimitiveTypes.Int64},
}, nil)

// sharedTable is a table that l guards, in our hands.
func sharedTable(t *testing.T, typ hudi.TableType, l sharedLock) *hudi.Table {
	t.Helper()
	store, err := all.Open(t.Context(), l.path)
	if err != nil {
		t.Fatal(err)
	}
	table, err := hudi.Create(t.Context(), store, hudi.CreateOptions{
		Name: "shared", Type: typ, Schema: sharedSchema, RecordKey: []string{"id"}, OrderingField: "_event_lsn",
		// Without services: a compaction of ours would be in the way of Spark's commits.
		Options: hudi.Options{Buckets: 8, Services: &hudi.ServicesOptions{}, Concurrency: hudi.Concurrency{
			Mode: hudi.Optimistic, Locker: l.locker, RetryFor: 3 * time.Minute,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func sharedRow(key string, v int64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, sharedSchema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append(key)
	b.Field(1).(*array.Int64Builder).Append(v)
	b.Field(2).(*array.Int64Builder).Append(v)
	return b.NewRecordBatch()
}

func sharedLine(key string, v int64) string {
	return fmt.Sprintf(`{"id":%q,"v":%d,"_event_lsn":%d}`, key, v, v)
}

// keysOf are keys of as many buckets.
func keysOf(table *hudi.Table, n int) []string {
	var out []string
	seen := map[int]bool{}
	for i := 0; len(out) < n; i++ {
		if k := fmt.Sprintf("k%d", i); !seen[table.Bucket(k)] {
			seen[table.Bucket(k)] = true
			out = append(out, k)
		}
	}
	return out
}

func sharedRows(t *testing.T, table *hudi.Table) map[string]int64 {
	t.Helper()
	if err := table.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows := map[string]int64{}
	for batch, err := range table.Read(t.Context(), hudi.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(batch.NumRows()) {
			rows[batch.Column(0).(*array.String).Value(i)] = batch.Column(1).(*array.Int64).Value(i)
		}
	}
	return rows
}

// TestSparkBeside lets Spark and Lakefeed write to one table at the same time, with each
// lock that Hudi and we have between them.
func TestSparkBeside(t *testing.T) {
	for _, c := range []struct {
		release string
		typ     hudi.TableType
		lock    func(*testing.T) sharedLock
	}{
		{"1.2.0", hudi.MergeOnRead, fileLock},
		{"1.2.0", hudi.CopyOnWrite, dynamoLock},
		{"1.2.0", hudi.MergeOnRead, storageLock},
		{"0.15.0", hudi.CopyOnWrite, fileLock},
		{"0.15.0", hudi.MergeOnRead, dynamoLock},
	} {
		spark, l := parity.Spark(t, c.release), c.lock(t)
		t.Run(c.release+"/"+string(c.typ)+"/"+l.name, func(t *testing.T) { besideSpark(t, spark, c.typ, l) })
	}
}

func besideSpark(t *testing.T, spark *parity.Engine, typ hudi.TableType, l sharedLock) {
	table := sharedTable(t, typ, l)
	keys := keysOf(table, 3)
	ours, theirs, both := keys[0], keys[1], keys[2]
	want := map[string]int64{}
	for i, k := range keys {
		if _, err := table.Upsert(t.Context(), sharedRow(k, int64(i))); err != nil {
			t.Fatal(err)
		}
		want[k] = int64(i)
	}
	opts := l.sparks(typ)
	write := func(ctx context.Context, key string, v int64) error {
		return spark.WriteExactly(ctx, l.path, "upsert", []string{sharedLine(key, v)}, opts)
	}

	// A transaction of ours is open while Spark commits: other file groups do not mind.
	for _, key := range []string{theirs, both} {
		x, err := table.Begin(t.Context(), hudi.TxnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		putShared(t, table, x, both, 100)
		if err := write(t.Context(), key, 10); err != nil {
			t.Fatal(err)
		}
		want[key] = 10
		_, err = x.Commit(t.Context(), nil)
		conflict := new(hudi.ConflictError)
		switch {
		case key == theirs && err != nil:
			t.Fatalf("beside Spark's commit to another file group: %v", err)
		case key == theirs:
			want[both] = 100
		case !errors.As(err, &conflict) || conflict.Other == "":
			t.Fatalf("beside Spark's commit to the same file group: %v", err)
		default:
			t.Logf("as it should: %v", err)
			if err := x.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}

	// We commit all the time while Spark writes: to other file groups it succeeds, to
	// the same one it meets a conflict.
	var n atomic.Int64
	race := func(key string, spark func() error) error {
		stop := make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() {
			for {
				v := 1000 + n.Add(1)
				if _, err := table.Upsert(t.Context(), sharedRow(key, v)); err != nil {
					t.Error(err)
				}
				want[key] = v
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
		err := spark()
		close(stop)
		done.Wait()
		return err
	}
	if err := race(ours, func() error { return write(t.Context(), theirs, 20) }); err != nil {
		t.Errorf("Spark beside our commits to another file group: %v", err)
	}
	want[theirs] = 20
	t.Logf("%d of our commits beside Spark's", n.Load())
	err := race(both, func() error { return write(t.Context(), both, 5000) })
	if err == nil || !strings.Contains(err.Error(), "onflict") {
		t.Errorf("Spark beside our commits to the same file group: %v", err)
	}
	if err := write(t.Context(), both, 6000); err != nil { // it begins anew
		t.Fatal(err)
	}
	want[both] = 6000

	if got := sharedRows(t, table); !maps.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	for _, e := range parity.Engines(t) {
		if e.Hudi() != spark.Hudi() && e.Hudi() != "" {
			continue
		}
		rows, err := e.Read(t.Context(), l.path, parity.Read{NoMeta: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != len(want) {
			t.Errorf("%s reads %d rows, want %d", e, len(rows), len(want))
		}
		for k, v := range want {
			if line := strings.Join(rows, "\n"); !strings.Contains(line, fmt.Sprintf(`"id": "%s"`, k)) || !strings.Contains(line, fmt.Sprintf(`"v": %d`, v)) {
				t.Errorf("%s: no %s with %d in %s", e, k, v, line)
			}
		}
	}
	l.isFree(t)
}

// putShared writes a row in a transaction that is left open.
func putShared(t *testing.T, table *hudi.Table, x *hudi.Txn, key string, v int64) {
	t.Helper()
	g, err := x.Group(t.Context(), "", table.Bucket(key))
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.Append(key)
	if err := g.Upsert(t.Context(), sharedRow(key, v), b.NewStringArray()); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestStorageLockFile holds our storage lock's file against Hudi's own code: it reads
// ours, and would write the very same bytes.
func TestStorageLockFile(t *testing.T) {
	spark := parity.Spark(t, "1.2.0")
	l := fileLock(t)
	sharedTable(t, hudi.MergeOnRead, l)
	store, err := file.Open(l.path)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := lock.NewStorage(store, lock.StorageOptions{}).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same := func() {
		t.Helper()
		ours, err := os.ReadFile(filepath.Join(l.path, ".hoodie", ".locks", "table_lock.json"))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := spark.LockFile(t.Context(), l.path, string(ours))
		if err != nil {
			t.Fatal(err)
		}
		if theirs != string(ours) {
			t.Errorf("ours is %s, Hudi's %s", ours, theirs)
		}
	}
	same()
	if err := lease.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	same()
}
