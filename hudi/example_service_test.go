package hudi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lakefeed/hudi"
	"lakefeed/hudi/lock"
	"lakefeed/storage"
	"lakefeed/storage/mem"
)

// A table is made of Parquet files. Those here would be os.Open'ed, as by lakefeed table import.
func ExampleImport() {
	ctx, files := context.Background(), mem.New()
	batch := rows(`[{"id": 1, "name": "Roma", "version": 1}, {"id": 2, "name": "Oslo", "version": 1}]`)
	var text bytes.Buffer
	w, err := pqarrow.NewFileWriter(cities, &text, nil, pqarrow.DefaultWriterProps())
	check(err)
	check(w.Write(batch))
	check(w.Close())
	check(files.Put(ctx, "cities.parquet", text.Bytes()))

	store := mem.New()
	res, err := hudi.Import(ctx, store, []hudi.ImportFile{{
		Name: "cities.parquet", Size: int64(text.Len()),
		Open: func(ctx context.Context) (storage.Reader, error) { return files.Open(ctx, "cities.parquet") },
	}}, hudi.ImportOptions{CreateOptions: hudi.CreateOptions{Name: "cities", RecordKey: []string{"id"}}})
	check(err)
	fmt.Println(res.Rows, "rows")
	t, err := hudi.Open(ctx, store, hudi.Options{})
	check(err)
	show(t.Read(ctx, hudi.ReadOptions{Columns: []string{"name"}}))
	// Output:
	// 2 rows
	// Oslo
	// Roma
}

// The life of a table: changes gather in logs, are compacted, old files are cleaned away
// and old instants archived.
func ExampleTable_Compact() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{})
	for range 4 {
		upsert(t, `[{"id": 1, "name": "Roma", "version": 1}]`)
	}
	fmt.Println(len(t.Slices()[0].Logs), "logs")
	_, err := t.Compact(ctx, hudi.CompactOptions{MinDeltaCommits: 3})
	check(err)
	fmt.Println(len(t.Slices()[0].Logs), "logs")

	cleaned, err := t.Clean(ctx, hudi.CleanOptions{RetainVersions: 1})
	check(err)
	fmt.Println(cleaned.Files, "files cleaned")
	archived, err := t.Archive(ctx, hudi.ArchiveOptions{KeepMin: 1, KeepMax: 1})
	check(err)
	fmt.Println(archived.Instants, "instants archived,", len(t.Timeline().Completed()), "left")
	commits := 0
	for i, err := range t.Archived(ctx, "", "") { // what they said is still there
		check(err)
		if i.Commit != nil {
			commits++
		}
	}
	fmt.Println(commits, "commits in the archive")
	// Output:
	// 3 logs
	// 0 logs
	// 4 files cleaned
	// 4 instants archived, 1 left
	// 4 commits in the archive
}

// By default a writer keeps its table in shape itself, behind its commits. Here it compacts
// every second delta commit, two seconds long at most, and keeps one commit to read as of.
func ExampleServicesOptions() {
	t := newCities(hudi.CreateOptions{Options: hudi.Options{Services: &hudi.ServicesOptions{
		Compact: &hudi.CompactOptions{MinDeltaCommits: 2, MaxTime: 2 * time.Second},
		Clean:   &hudi.CleanOptions{RetainCommits: 1},
		Archive: &hudi.ArchiveOptions{KeepMin: 2, KeepMax: 4},
		Failed:  func(err error) { fmt.Println("tried again behind the next commit:", err) },
	}}})
	for range 20 {
		upsert(t, `[{"id": 1, "name": "Roma", "version": 1}]`)
	}
	fmt.Println(len(t.Slices()[0].Logs) < 2, len(t.Timeline().Completed()) <= 5)

	off := newCities(hudi.CreateOptions{Options: hudi.Options{Services: &hudi.ServicesOptions{}}})
	for range 20 {
		upsert(off, `[{"id": 1, "name": "Roma", "version": 1}]`)
	}
	fmt.Println(len(off.Slices()[0].Logs), len(off.Timeline().Completed()))
	check(off.RunServicesOnce(context.Background(), hudi.DefaultServices())) // by hand
	fmt.Println(len(off.Slices()[0].Logs))
	// Output:
	// true true
	// 19 20
	// 0
}

// The options of a Spark writer say when services run.
func ExampleServicesFrom() {
	services, err := hudi.ServicesFrom(map[string]string{
		"hoodie.compact.inline.trigger.strategy":  "NUM_OR_TIME",
		"hoodie.compact.inline.max.delta.commits": "5",
		"hoodie.clean.commits.retained":           "20",
	})
	check(err)
	fmt.Println(services.Compact.MinDeltaCommits, services.Compact.MinAge, services.Clean.RetainCommits)
	// Output:
	// 5 1h0m0s 20
}

// Small files are joined; with SortBy rows are put in the order by which readers filter.
func ExampleTable_Cluster() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{Type: hudi.CopyOnWrite, Options: hudi.Options{Index: hudi.IndexSimple, SmallFileBytes: -1}})
	upsert(t, `[{"id": 1, "name": "Roma", "version": 1}]`)
	upsert(t, `[{"id": 2, "name": "Oslo", "version": 1}]`)
	res, err := t.Cluster(ctx, hudi.ClusterOptions{SortBy: []string{"name"}})
	check(err)
	fmt.Println(res.Replaced, "file groups replaced by", res.Written)
	for batch, err := range t.Read(ctx, hudi.ReadOptions{Columns: []string{"name"}}) {
		check(err)
		fmt.Println(batch.Column(0))
	}
	// Output:
	// 2 file groups replaced by 1
	// ["Oslo" "Roma"]
}

// A living table gets another type and other buckets. Its readers see the same rows.
func ExampleTable_Convert() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{Type: hudi.CopyOnWrite})
	upsert(t, `[{"id": 1, "name": "Roma", "version": 1}]`)
	check(t.Convert(ctx, hudi.ConvertOptions{Type: hudi.MergeOnRead, Buckets: 8}))
	fmt.Println(t.Type(), t.Buckets())
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// MERGE_ON_READ 8
	// 1 Roma 1
}

// A savepoint keeps a table as of a commit, until it is released; what came later can be
// taken back.
func ExampleTable_Savepoint() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{})
	upsert(t, `[{"id": 1, "name": "Roma", "version": 1}]`)
	saved, err := t.Savepoint(ctx, hudi.SavepointOptions{Comment: "before the change"})
	check(err)
	upsert(t, `[{"id": 1, "name": "Nowhere", "version": 2}]`)
	upsert(t, `[{"id": 1, "name": "Elsewhere", "version": 3}]`)

	res, err := t.Restore(ctx, saved)
	check(err)
	fmt.Println(len(res.TakenBack), "commits taken back")
	check(t.ReleaseSavepoint(ctx, saved))
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// 2 commits taken back
	// 1 Roma 1
}

// The newest commit is taken back. It cannot be undone.
func ExampleTable_Rollback() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{})
	upsert(t, `[{"id": 1, "name": "Roma", "version": 1}]`)
	newest := upsert(t, `[{"id": 1, "name": "Nowhere", "version": 2}]`)
	_, err := t.Rollback(ctx, newest)
	check(err)
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// 1 Roma 1
}

// Services run beside a writer, round by round, in a Table of their own, until they are
// stopped. The writer's own run none.
func ExampleTable_RunServices() {
	store := mem.New()
	shared := hudi.Options{Services: &hudi.ServicesOptions{}, Concurrency: hudi.Concurrency{
		Mode: hudi.Optimistic, Locker: lock.NewStorage(store, lock.StorageOptions{}),
	}}
	ctx, stop := context.WithCancel(context.Background())
	t, err := hudi.Create(ctx, store, hudi.CreateOptions{
		Name: "cities", Schema: cities, RecordKey: []string{"id"}, OrderingField: "version", Options: shared,
	})
	check(err)
	for range 3 {
		upsert(t, `[{"id": 1, "name": "Roma", "version": 1}]`)
	}
	beside, err := hudi.Open(ctx, store, shared)
	check(err)
	ended := make(chan error)
	go func() {
		ended <- beside.RunServices(ctx, hudi.ServicesOptions{
			Compact: &hudi.CompactOptions{MinDeltaCommits: 2}, Every: 10 * time.Millisecond,
		})
	}()
	for len(t.Slices()[0].Logs) > 0 { // until the compaction is done
		check(t.Refresh(ctx))
	}
	stop()
	fmt.Println(errors.Is(<-ended, context.Canceled))
	show(t.Read(context.Background(), hudi.ReadOptions{}))
	// Output:
	// true
	// 1 Roma 1
}

// What is in a table's folder, and what it is to readers.
func ExampleTable_Files() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{Type: hudi.CopyOnWrite})
	upsert(t, `[{"id": 1, "name": "Rom", "version": 1}]`)
	upsert(t, `[{"id": 1, "name": "Roma", "version": 2}]`)
	files, err := t.Files(ctx)
	check(err)
	states := map[hudi.FileState]int{}
	for _, f := range files {
		states[f.State]++
	}
	fmt.Println(states[hudi.FileLive], "live,", states[hudi.FileOlder], "older")
	// Output:
	// 1 live, 1 older
}

// A process died in a transaction. The next transaction takes away what it left, or Recover
// does so at once. Exclusive says that the other is known to be dead.
func ExampleTable_Recover() {
	ctx, store := context.Background(), mem.New()
	died, err := hudi.Create(ctx, store, hudi.CreateOptions{Name: "cities", Schema: cities, RecordKey: []string{"id"}, OrderingField: "version"})
	check(err)
	upsert(died, `[{"id": 1, "name": "Roma", "version": 1}]`)
	_, err = died.Begin(ctx, hudi.TxnOptions{})
	check(err)

	t, err := hudi.Open(ctx, store, hudi.Options{Concurrency: hudi.Concurrency{Exclusive: true}})
	check(err)
	fmt.Println(len(t.Timeline().Pending()), "pending")
	check(t.Recover(ctx))
	fmt.Println(len(t.Timeline().Pending()), "pending")
	// Output:
	// 1 pending
	// 0 pending
}
