package hudi

import (
	"errors"
	"strings"
	"testing"

	"lakefeed/internal/golden"
	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/storagetest"
)

// Another writer that rolls a running transaction back makes it a conflict.
func TestConflict(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, store := t.Context(), newStore(t)
		table := newTable(t, store, typ, 1)
		want := map[string]modelRow{"a": {seq: 1}}
		mustUpsert(t, table, want)
		x, err := table.Begin(ctx, TxnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		other, err := Open(ctx, store, Options{Concurrency: Concurrency{Exclusive: true}})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Recover(ctx); err != nil {
			t.Fatal(err)
		}
		writeOne(t, table, x, "a", modelRow{seq: 2}) // after the rollback
		var conflict *ConflictError
		if _, err := x.Commit(ctx, nil); !errors.As(err, &conflict) {
			t.Fatalf("commit: %v", err)
		}
		if err := x.Abort(ctx); err != nil {
			t.Fatal(err)
		}
		if err := table.Recover(ctx); err != nil {
			t.Fatal(err)
		}
		compareRows(t, mustRead(t, table, ReadOptions{}), want)
		for info, err := range store.List(ctx, "", false) {
			if f, ok := parseDataFile(info.Name, 0); err != nil || ok && !f.IsLog() && f.Instant == x.Instant() {
				t.Errorf("%s is left, %v", info.Name, err)
			}
		}
	})
}

// A commit whose answer was lost stands, and Abort says so.
func TestPublishedAfterAll(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, inner := t.Context(), newStore(t)
		faulty := storagetest.NewFaulty(inner, storagetest.Fault{At: 1, When: storagetest.After, Only: func(c storagetest.Call) bool {
			return c.Op == "PutIfAbsent" && (strings.HasSuffix(c.Name, ".deltacommit") || strings.HasSuffix(c.Name, ".commit"))
		}})
		table := newTable(t, faulty, typ, 1)
		x, err := table.Begin(ctx, TxnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		writeOne(t, table, x, "a", modelRow{seq: 1})
		if _, err := x.Commit(ctx, nil); err == nil {
			t.Fatal("commit: want an error")
		}
		if err := x.Abort(ctx); !errors.Is(err, ErrPublished) {
			t.Errorf("abort: %v, want %v", err, ErrPublished)
		}
		compareRows(t, mustRead(t, table, ReadOptions{}), map[string]modelRow{"a": {seq: 1}})
		mustUpsert(t, table, map[string]modelRow{"b": {seq: 2}})
	})
}

// Spark may leave a compaction pending with newer logs on it: reads merge over it, and
// recovery carries it out.
func TestPendingCompaction(t *testing.T) {
	dir := golden.Unpack(t, "v6_120_mor_none_nomdt")
	store, err := file.Open(dir + "/table")
	if err != nil {
		t.Fatal(err)
	}
	setProperties(t, store, Properties{propPayload: payloadOverwrite, propDatabase: ""})
	table, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Timeline().PendingCompactions()) != 1 {
		t.Fatal("the golden table has no pending compaction")
	}
	before := withoutFiles(tableRows(t, table, ReadOptions{Meta: true}))
	if err := table.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := table.Timeline().Pending(); len(p) > 0 {
		t.Errorf("pending: %v", p)
	}
	diffLines(t, withoutFiles(tableRows(t, table, ReadOptions{Meta: true})), before)
}

// withoutFiles leaves out the names of the files that rows stand in.
func withoutFiles(lines []string) []string {
	for i, l := range lines {
		_, rest, _ := strings.Cut(l, `"_hoodie_file_name":"`)
		head, _, _ := strings.Cut(l, `"_hoodie_file_name":"`)
		_, tail, _ := strings.Cut(rest, `",`)
		lines[i] = head + tail
	}
	return lines
}

// Spark's timeline server keeps markers in lists; what they name is rolled back.
func TestRollbackByMarkerLists(t *testing.T) {
	ctx, store := t.Context(), newStore(t)
	table := newTable(t, store, MergeOnRead, 1)
	want := map[string]modelRow{"a": {seq: 1}}
	mustUpsert(t, table, want)
	x, err := table.Begin(ctx, TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	writeOne(t, table, x, "a", modelRow{seq: 2})
	names, err := table.markedFiles(ctx, x.Instant())
	if err != nil || len(names) != 1 {
		t.Fatalf("marked: %q, %v", names, err)
	}
	folder := markerFolder(x.Instant())
	err = errors.Join(store.DeleteAll(ctx, folder),
		store.Put(ctx, folder+"/MARKERS.type", []byte("TIMELINE_SERVER_BASED")),
		store.Put(ctx, folder+"/MARKERS0", []byte(names[0]+".marker.APPEND\n")))
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Abort(ctx); err != nil {
		t.Fatal(err)
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), want)
	logs := table.view.slices(table.timeline, "", nil)[0].Logs
	if len(logs) != 2 {
		t.Errorf("%d log files, want the failed one and its answer", len(logs))
	}
}

// Without markers the log blocks of a failed transaction are found by reading.
func TestRollbackWithoutMarkers(t *testing.T) {
	ctx, store := t.Context(), newStore(t)
	table := newTable(t, store, MergeOnRead, 1)
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}})
	x, err := table.Begin(ctx, TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	writeOne(t, table, x, "a", modelRow{seq: 2})
	if err := errors.Join(store.DeleteAll(ctx, markerFolder(x.Instant())), x.Abort(ctx)); err != nil {
		t.Fatal(err)
	}
	if logs := table.view.slices(table.timeline, "", nil)[0].Logs; len(logs) != 2 {
		t.Errorf("%d log files, want the failed one and its answer", len(logs))
	}
}

// TestFileThatComesLate lets a store finish a data file when its writer was killed and rolled back
// already. Once the timeline has passed that write the file would count.
func TestFileThatComesLate(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, store := t.Context(), newStore(t)
		table := newTable(t, store, typ, 1)
		rows := map[string]modelRow{"a": {seq: 1}}
		mustUpsert(t, table, rows)
		x, err := table.Begin(ctx, TxnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		writeOne(t, table, x, "b", modelRow{seq: 2})
		marked, err := table.markedFiles(ctx, x.Instant())
		if err != nil || len(marked) != 1 {
			t.Fatalf("markers of %v, %v", marked, err)
		}
		data, _, err := store.Get(ctx, marked[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Delete(ctx, marked[0]); err != nil {
			t.Fatal(err)
		}
		if table, err = Open(ctx, store, Options{Concurrency: Concurrency{Exclusive: true}}); err != nil {
			t.Fatal(err)
		}
		if err := table.Recover(ctx); err != nil {
			t.Fatal(err)
		}
		if err := store.Put(ctx, marked[0], data); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			rows["a"] = modelRow{seq: int64(3 + n)}
			mustUpsert(t, table, map[string]modelRow{"a": rows["a"]})
		}
		if res, err := table.Archive(ctx, ArchiveOptions{KeepMin: 1}); err != nil || res.Instants == 0 {
			t.Fatalf("archived %+v, %v", res, err)
		}
		if _, _, err := store.Get(ctx, marked[0]); !errors.Is(err, storage.ErrNotExist) {
			t.Errorf("%s is left: %v", marked[0], err)
		}
		reader, err := Open(ctx, store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !reader.timeline.BeforeStart(x.Instant()) {
			t.Errorf("the timeline begins before %s", x.Instant())
		}
		compareRows(t, mustRead(t, reader, ReadOptions{}), rows)
		if r := mustCheck(t, store, CheckOptions{}); len(r.Faults) > 0 {
			t.Errorf("check: %+v", r.Faults)
		}
	})
}
