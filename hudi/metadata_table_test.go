package hudi

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lakefeed/hudi/lock"
	"lakefeed/internal/golden"
	"lakefeed/storage"
	"lakefeed/storage/mem"
	"lakefeed/storage/storagetest"
)

// metadataTables are the golden tables of version 6 that have a metadata table, how their
// writer found keys, and whether rows may be written to them: else they count by their
// ordering value.
var metadataTables = []struct {
	name   string
	opts   Options
	writes bool
}{
	{"v6_0150_cow_none_mdt", Options{Index: IndexSimple}, true},
	{"v6_0150_mor_none_mdt", Options{Index: IndexSimple}, true},
	{"v6_0150_mor_plain_mdt_bucket", Options{Index: IndexBucket, Buckets: 2}, true},
	{"v6_120_cow_hive_mdt", Options{Index: IndexSimple}, false},
}

// goldenFiles are the files of a golden table.
func goldenFiles(t *testing.T, name string) map[string][]byte {
	t.Helper()
	files, root := map[string][]byte{}, os.DirFS(filepath.Join(golden.Unpack(t, name), "table"))
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[path], err = fs.ReadFile(root, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func memStore(t *testing.T, files map[string][]byte) storage.Store {
	t.Helper()
	store := mem.New()
	for name, data := range files {
		if err := store.Put(t.Context(), name, data); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

func openWith(t *testing.T, store storage.Store, opts Options) *Table {
	t.Helper()
	table, err := Open(t.Context(), store, opts)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// metadataFiles are the files of a table's metadata table, by their names in it.
func metadataFiles(t *testing.T, store storage.Store) []string {
	t.Helper()
	var names []string
	for info, err := range store.List(t.Context(), metadataFolder, true) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, strings.TrimPrefix(info.Name, metadataFolder+"/"))
	}
	return names
}

// wantRemoved sees that nothing is left of a metadata table.
func wantRemoved(t *testing.T, store storage.Store) {
	t.Helper()
	props := openWith(t, store, Options{}).Properties()
	for _, key := range []string{propMetadata, propMetadataBusy} {
		if v, ok := props[key]; ok {
			t.Errorf("the properties have %s=%s", key, v)
		}
	}
	if left := metadataFiles(t, store); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, _, err := store.Get(t.Context(), metaFolder+"/.hoodie.properties.crc"); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("the old checksum: %v", err)
	}
}

// changesTable are the services of a table, and writes to it, each of which leaves it the
// rows that it had.
var changesTable = map[string]func(ctx context.Context, table *Table) error{
	"compact": func(ctx context.Context, table *Table) error {
		_, err := table.Compact(ctx, CompactOptions{})
		return err
	},
	"cluster": func(ctx context.Context, table *Table) error {
		_, err := table.Cluster(ctx, ClusterOptions{SortBy: []string{"id"}})
		return err
	},
	"clean": func(ctx context.Context, table *Table) error {
		_, err := table.Clean(ctx, CleanOptions{RetainCommits: 1})
		return err
	},
	"archive": func(ctx context.Context, table *Table) error {
		_, err := table.Archive(ctx, ArchiveOptions{KeepMin: 1, KeepMax: 1})
		return err
	},
	"savepoint and restore": func(ctx context.Context, table *Table) error {
		at, err := table.Savepoint(ctx, SavepointOptions{})
		if err == nil {
			_, err = table.Restore(ctx, at)
		}
		return err
	},
	"recover": func(ctx context.Context, table *Table) error { return table.Recover(ctx) },
	"convert": func(ctx context.Context, table *Table) error {
		typ := MergeOnRead
		if table.Type() == typ {
			typ = CopyOnWrite
		}
		return table.Convert(ctx, ConvertOptions{Type: typ})
	},
	"upsert": func(ctx context.Context, table *Table) error {
		for batch, err := range table.Read(ctx, ReadOptions{}) {
			if err != nil {
				return err
			}
			if _, err := table.Upsert(ctx, batch); err != nil {
				return err
			}
		}
		return nil
	},
	"delete of nothing": func(ctx context.Context, table *Table) error {
		_, err := table.DeleteFrom(ctx, map[string][]string{table.Partitions()[0]: {"no such key"}})
		return err
	},
}

// TestMetadataTableIsRemoved lets each service, and a write, meet a table with a metadata
// table of Spark's.
func TestMetadataTableIsRemoved(t *testing.T) {
	t.Parallel()
	for _, c := range metadataTables {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			files := goldenFiles(t, c.name)
			want := tableRows(t, openWith(t, memStore(t, files), Options{}), ReadOptions{})
			for what, change := range changesTable {
				store := memStore(t, files)
				var said strings.Builder
				opts := c.opts
				opts.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
				table := openWith(t, store, opts)
				if err := table.Writable(); err != nil {
					t.Errorf("%s: writable: %v", what, err)
				}
				if parts := table.MetadataTable(); !slices.Contains(parts, "files") {
					t.Errorf("%s: metadata table %v", what, parts)
				}
				err := change(t.Context(), table)
				if unsupported := new(UnsupportedError); !c.writes && (what == "upsert" || what == "delete of nothing") {
					if !errors.As(err, &unsupported) || unsupported.What != "merging" || len(table.MetadataTable()) == 0 {
						t.Errorf("%s, where nothing can be written: %v, metadata table %v", what, err, table.MetadataTable())
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", what, err)
					continue
				}
				wantRemoved(t, store)
				if n := strings.Count(said.String(), "removed the metadata table"); n != 1 || !strings.Contains(said.String(), "parts=") {
					t.Errorf("%s: told %d times: %s", what, n, said.String())
				}
				diffLines(t, tableRows(t, openWith(t, store, Options{}), ReadOptions{}), want)
				if report, err := Check(t.Context(), store, CheckOptions{}); err != nil || !report.Sound() {
					t.Errorf("%s: check: %v, %v", what, report, err)
				}
			}
		})
	}
}

// TestMetadataTableIsUnlistedFirst looks at the order: engines that list files by it must not find it half
// there, nor the table changed beside it.
func TestMetadataTableIsUnlistedFirst(t *testing.T) {
	t.Parallel()
	inner := memStore(t, goldenFiles(t, "v6_0150_mor_none_mdt"))
	store := storagetest.NewFaulty(inner, storagetest.Fault{})
	if _, err := openWith(t, store, Options{}).Clean(t.Context(), CleanOptions{RetainCommits: 1}); err != nil {
		t.Fatal(err)
	}
	order := []string{"Delete .hoodie/.hoodie.properties.crc", "PutIfMatch " + propertiesFile, "DeleteAll " + metadataFolder + "/.hoodie", "DeleteAll " + metadataFolder + "/files", "DeleteAll " + metadataFolder}
	var calls []string
	for _, c := range store.Calls() {
		if c.Name != claimFile && c.Name != clockFile {
			calls = append(calls, c.String())
		}
	}
	if len(calls) < len(order) || !slices.Equal(calls[:len(order)], order) {
		t.Errorf("calls: %v", calls)
	}
}

// TestMetadataTableDeaths lets the process die at each call of a removal. The properties
// name a metadata table that is whole, or none, and who writes next ends it.
func TestMetadataTableDeaths(t *testing.T) {
	t.Parallel()
	files := goldenFiles(t, "v6_120_cow_hive_mdt")
	whole := metadataFiles(t, memStore(t, files))
	counter := storagetest.NewFaulty(memStore(t, files), storagetest.Fault{})
	clean := changesTable["clean"]
	if err := clean(t.Context(), openWith(t, counter, Options{})); err != nil {
		t.Fatal(err)
	}
	want := tableRows(t, openWith(t, memStore(t, files), Options{}), ReadOptions{})
	rests := 0
	for n := range 3 * len(counter.Calls()) {
		at, when := 1+n/3, storagetest.When(n%3)
		inner := memStore(t, files)
		dying := storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: when, Dead: true})
		if err := clean(t.Context(), openWith(t, dying, Options{})); err != nil && !errors.Is(err, storagetest.ErrFault) {
			t.Fatalf("death at %d as %d: %v", at, when, err)
		}
		left, listed := metadataFiles(t, inner), openWith(t, inner, Options{}).MetadataTable()
		if len(listed) > 0 && !slices.Equal(left, whole) {
			t.Errorf("death at %d as %d: %v is listed, and of %d files only %d are there", at, when, listed, len(whole), len(left))
		}
		if len(listed) == 0 && len(left) > 0 {
			rests++
		}
		if err := openWith(t, inner, Options{Concurrency: Concurrency{Exclusive: true}}).Recover(t.Context()); err != nil {
			t.Fatalf("recover from death at %d as %d: %v", at, when, err)
		}
		wantRemoved(t, inner)
		diffLines(t, tableRows(t, openWith(t, inner, Options{}), ReadOptions{}), want)
	}
	if rests < 3 {
		t.Errorf("only %d deaths left a rest of the metadata table", rests)
	}
}

// TestMetadataTableFault lets one call of a removal fail while the process lives on: the next transaction of
// the same Table ends it.
func TestMetadataTableFault(t *testing.T) {
	t.Parallel()
	files := goldenFiles(t, "v6_0150_cow_none_mdt")
	ours := func(c storagetest.Call) bool {
		return c.Name == propertiesFile || strings.HasPrefix(c.Name, metadataFolder)
	}
	clean := changesTable["clean"]
	for n := range 12 {
		at, when := 1+n/3, storagetest.When(n%3)
		inner := memStore(t, files)
		store := storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: when, Only: ours})
		table := openWith(t, store, Options{})
		if err := clean(t.Context(), table); !errors.Is(err, storagetest.ErrFault) {
			t.Fatalf("fault at %d as %d: %v", at, when, err)
		}
		if err := clean(t.Context(), table); err != nil {
			t.Fatalf("again after a fault at %d as %d: %v", at, when, err)
		}
		wantRemoved(t, inner)
	}
}

// TestMetadataTableIsRefused leaves a table alone as it was told.
func TestMetadataTableIsRefused(t *testing.T) {
	t.Parallel()
	files := goldenFiles(t, "v6_0150_mor_none_mdt")
	for what, change := range changesTable {
		store := storagetest.NewFaulty(memStore(t, files), storagetest.Fault{})
		table := openWith(t, store, Options{Index: IndexSimple, MetadataTable: RefuseMetadataTable})
		unsupported := new(UnsupportedError)
		if err := change(t.Context(), table); !errors.As(err, &unsupported) || unsupported.What != "metadata table" || unsupported.Value != "files" {
			t.Errorf("%s: %v", what, err)
		}
		if err := table.Writable(); !errors.As(err, &unsupported) {
			t.Errorf("writable: %v", err)
		}
		if calls := store.Calls(); len(calls) > 0 {
			t.Errorf("%s: %v", what, calls)
		}
	}
	if _, err := Open(t.Context(), memStore(t, files), Options{MetadataTable: "keep"}); err == nil || !strings.Contains(err.Error(), `metadata table "keep": want remove or refuse`) {
		t.Errorf("a policy that there is not: %v", err)
	}
}

// TestMetadataTableComesMeanwhile adds one to a table while a transaction runs. Beside
// writers with a lock it is removed under that; else somebody wrote who should not have, and
// the transaction is begun anew.
func TestMetadataTableComesMeanwhile(t *testing.T) {
	t.Parallel()
	for _, mode := range []ConcurrencyMode{SingleWriter, Optimistic} {
		ctx, store := t.Context(), newStore(t)
		newTable(t, store, MergeOnRead, 1)
		table := openWith(t, store, Options{Buckets: 1, Concurrency: Concurrency{Mode: mode}})
		want := map[string]modelRow{"a": {seq: 1}}
		mustUpsert(t, table, want)
		x, err := table.Begin(ctx, TxnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		writeOne(t, table, x, "a", modelRow{seq: 2})
		addMetadataTable(t, store)
		_, err = x.Commit(ctx, nil)
		conflict := new(ConflictError)
		if mode == SingleWriter {
			if !errors.As(err, &conflict) || !strings.Contains(err.Error(), "added a metadata table (files,column_stats)") {
				t.Errorf("commit: %v", err)
			}
			if err := x.Abort(ctx); err != nil {
				t.Fatal(err)
			}
			compareRows(t, mustRead(t, table, ReadOptions{}), want)
			want["a"] = modelRow{seq: 3}
			mustUpsert(t, table, want)
		} else if want["a"] = (modelRow{seq: 2}); err != nil {
			t.Errorf("commit under the lock: %v", err)
		}
		wantRemoved(t, store)
		compareRows(t, mustRead(t, openWith(t, store, Options{}), ReadOptions{}), want)
	}
}

// addMetadataTable gives a table a metadata table, as far as this package looks at it.
func addMetadataTable(t *testing.T, store storage.Store) {
	t.Helper()
	for _, name := range []string{".hoodie/hoodie.properties", "files/files-0000-0_0-5-4_00000000000000010.hfile"} {
		if err := store.Put(t.Context(), metadataFolder+"/"+name, []byte("of Spark")); err != nil {
			t.Fatal(err)
		}
	}
	setProperties(t, store, Properties{propMetadata: "files", propMetadataBusy: "column_stats"})
}

// TestMetadataTableAndOtherChanges lets another engine change the properties while they are
// being changed here, as CREATE TABLE does: neither change is lost.
func TestMetadataTableAndOtherChanges(t *testing.T) {
	t.Parallel()
	inner := newStore(t)
	newTable(t, inner, CopyOnWrite, 1)
	addMetadataTable(t, inner)
	const changes = claimTries - 1
	store := storagetest.NewFaulty(inner, storagetest.Fault{
		Only: func(c storagetest.Call) bool { return c.String() == "PutIfMatch "+propertiesFile },
		Hook: func(n int, _ storagetest.Call) {
			if n <= changes {
				setProperties(t, inner, Properties{"hoodie.database.name": strings.Repeat("d", n)})
			}
		},
	})
	if err := openWith(t, store, Options{Buckets: 1}).Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRemoved(t, inner)
	if got := openWith(t, inner, Options{}).Properties()[propDatabase]; got != "dd" || len(store.Calls()) != changes+1 {
		t.Errorf("database %q after %d tries", got, len(store.Calls()))
	}
}

// TestMetadataTableBesideCopy finds the copy of the properties alone, which an engine left
// that died while it wrote them.
func TestMetadataTableBesideCopy(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), newStore(t)
	newTable(t, store, CopyOnWrite, 1)
	addMetadataTable(t, store)
	text, _, err := store.Get(ctx, propertiesFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.Put(ctx, propertiesCopy, text), store.Delete(ctx, propertiesFile)); err != nil {
		t.Fatal(err)
	}
	if err := openWith(t, store, Options{Buckets: 1}).Recover(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Get(ctx, propertiesFile); err != nil {
		t.Error(err)
	}
	wantRemoved(t, store)
}

// lostLock is a lock that another writer has taken by the time it is looked at.
type lostLock struct{}

func (lostLock) Lock(context.Context) (lock.Lease, error)           { return lostLock{}, nil }
func (lostLock) Check(context.Context) (until time.Time, err error) { return until, lock.ErrLost }
func (lostLock) Unlock(context.Context) error                       { return nil }
func (lostLock) String() string                                     { return "lost" }

// TestMetadataTableWithoutLock leaves a metadata table alone where the lock was lost: its
// holder may write to it.
func TestMetadataTableWithoutLock(t *testing.T) {
	t.Parallel()
	store := memStore(t, goldenFiles(t, "v6_0150_cow_none_mdt"))
	before := metadataFiles(t, store)
	table := openWith(t, store, Options{Index: IndexSimple, Concurrency: Concurrency{Mode: Optimistic, Locker: lostLock{}}})
	conflict := new(ConflictError)
	if _, err := table.Begin(t.Context(), TxnOptions{}); !errors.As(err, &conflict) || !errors.Is(err, lock.ErrLost) {
		t.Errorf("begin: %v", err)
	}
	if left := metadataFiles(t, store); !slices.Equal(left, before) || len(openWith(t, store, Options{}).MetadataTable()) == 0 {
		t.Errorf("left: %v", left)
	}
}
