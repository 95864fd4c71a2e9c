package hudi

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage/storagetest"
)

// addedMeanwhile is a merge-on-read table to which a metadata table is added once a
// compaction of it writes its first file.
type addedMeanwhile struct {
	store *storagetest.Faulty
	want  map[string]modelRow
}

func newAddedMeanwhile(t *testing.T) *addedMeanwhile {
	t.Helper()
	a := &addedMeanwhile{storagetest.NewFaulty(newStore(t), storagetest.Fault{}), map[string]modelRow{"a": {seq: 2}}}
	table := newTable(t, a.store, MergeOnRead, 1)
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}})
	mustUpsert(t, table, a.want)
	return a
}

// open opens the table; the metadata table comes while it compacts.
func (a *addedMeanwhile) open(t *testing.T, mode ConcurrencyMode, policy MetadataTablePolicy) *Table {
	t.Helper()
	opts := Options{Buckets: 1, Concurrency: Concurrency{Mode: mode}, MetadataTable: policy}
	opts.Hook = func(phase string) {
		if phase == "data file" {
			addMetadataTable(t, a.store)
		}
	}
	return openWith(t, a.store, opts)
}

// wantCompacted sees that the compaction completed when the metadata table was gone.
func (a *addedMeanwhile) wantCompacted(t *testing.T) {
	t.Helper()
	wantRemoved(t, a.store)
	calls := a.store.Calls()
	gone := slices.Index(calls, storagetest.Call{Op: "DeleteAll", Name: metadataFolder})
	done := slices.IndexFunc(calls, func(c storagetest.Call) bool {
		return c.Op == "PutIfAbsent" && strings.HasPrefix(c.Name, metaFolder+"/2") && strings.HasSuffix(c.Name, ".commit")
	})
	if gone < 0 || done < gone {
		t.Errorf("the metadata table is gone at call %d, the compaction completed at %d of %v", gone, done, calls)
	}
	a.wantRows(t)
}

func (a *addedMeanwhile) wantRows(t *testing.T) {
	t.Helper()
	compareRows(t, mustRead(t, openWith(t, a.store, Options{}), ReadOptions{}), a.want)
	if f := mustCheck(t, a.store, CheckOptions{}).Faults; len(f) > 0 {
		t.Errorf("check: %v", f)
	}
}

// wantPending sees that a compaction is to be done, and nothing of it is there.
func (a *addedMeanwhile) wantPending(t *testing.T) {
	t.Helper()
	table := openWith(t, a.store, Options{})
	pending := table.Timeline().Pending()
	if len(pending) != 1 || pending[0].Action != timeline.Compaction || len(table.MetadataTable()) == 0 {
		t.Fatalf("pending %v, metadata table %v", pending, table.MetadataTable())
	}
	for info, err := range a.store.List(t.Context(), "", false) {
		if err != nil || strings.Contains(info.Name, "_"+pending[0].Time+".parquet") {
			t.Errorf("left: %s, %v", info.Name, err)
		}
	}
}

// TestMetadataTableComesWhileCompacting adds a metadata table while a compaction gave the lock
// up: it lacks the new base files, so that rows logged by it would be lost. Without a lock it is a
// conflict, and the compaction is done anew.
func TestMetadataTableComesWhileCompacting(t *testing.T) {
	t.Parallel()
	for _, mode := range []ConcurrencyMode{SingleWriter, Optimistic} {
		a := newAddedMeanwhile(t)
		table := a.open(t, mode, "")
		_, err := table.Compact(t.Context(), CompactOptions{})
		if mode == SingleWriter {
			if !errors.As(err, new(*ConflictError)) || !strings.Contains(err.Error(), "added a metadata table (files,column_stats)") {
				t.Errorf("compact: %v", err)
			}
			a.wantPending(t)
			table.opts.Hook = func(string) {}
			err = table.Recover(t.Context())
		}
		if err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		a.wantCompacted(t)
	}
}

// TestMetadataTableComesWhileFinished does the same to a compaction that a crash left.
func TestMetadataTableComesWhileFinished(t *testing.T) {
	t.Parallel()
	a := newAddedMeanwhile(t)
	dying := storagetest.NewFaulty(a.store, storagetest.Fault{At: 1, Dead: true, Only: func(c storagetest.Call) bool { return strings.HasSuffix(c.Name, ".parquet") }})
	if _, err := openWith(t, dying, Options{Buckets: 1}).Compact(t.Context(), CompactOptions{}); !errors.Is(err, storagetest.ErrFault) {
		t.Fatal(err)
	}
	table := a.open(t, Optimistic, "")
	table.given = table.Timeline().Pending()[0].Time
	if err := table.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.wantCompacted(t)
}

// TestMetadataTableComesAndIsRefused leaves a compaction undone that may not remove the
// metadata table which came meanwhile; who may does both.
func TestMetadataTableComesAndIsRefused(t *testing.T) {
	t.Parallel()
	a := newAddedMeanwhile(t)
	unsupported := new(UnsupportedError)
	if _, err := a.open(t, Optimistic, RefuseMetadataTable).Compact(t.Context(), CompactOptions{}); !errors.As(err, &unsupported) || unsupported.What != "metadata table" {
		t.Fatal(err)
	}
	a.wantPending(t)
	table := openWith(t, a.store, Options{Buckets: 1, Concurrency: Concurrency{Mode: Optimistic}})
	table.given = table.Timeline().Pending()[0].Time
	if err := table.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.wantCompacted(t)
}

// TestMetadataTableOfOtherDeath lets another process die between the two steps of a removal: a Table
// that has looked for such a rest before, when there was none, ends it.
func TestMetadataTableOfOtherDeath(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	table := newTable(t, store, CopyOnWrite, 1)
	if err := table.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	addMetadataTable(t, store)
	dying := storagetest.NewFaulty(store, storagetest.Fault{At: 1, Dead: true, Only: func(c storagetest.Call) bool { return c.Op == "DeleteAll" }})
	later := func() time.Time { return time.Now().Add(time.Minute) } // which the properties say
	if err := openWith(t, dying, Options{Buckets: 1, Now: later}).Recover(t.Context()); !errors.Is(err, storagetest.ErrFault) {
		t.Fatal(err)
	}
	if listed, left := openWith(t, store, Options{}).MetadataTable(), metadataFiles(t, store); len(listed) > 0 || len(left) == 0 {
		t.Fatalf("listed %v, left %v", listed, left)
	}
	if err := table.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRemoved(t, store)
}

// TestMetadataTableLastFiles finds files that lie right in the folder, when the folders in it are gone.
func TestMetadataTableLastFiles(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	newTable(t, store, CopyOnWrite, 1)
	if err := store.Put(t.Context(), metadataFolder+"/left", []byte("of a removal")); err != nil {
		t.Fatal(err)
	}
	if err := openWith(t, store, Options{Buckets: 1}).Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRemoved(t, store)
}
