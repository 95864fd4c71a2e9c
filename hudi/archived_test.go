package hudi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lakefeed/hudi/logfile"
	"lakefeed/hudi/timeline"
	"lakefeed/internal/golden"
	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/storagetest"
)

// archivedTables are tables that Spark made and archived, by 13 writes with compaction
// and cleaning, and what it read from them at the end.
var archivedTables = map[string]struct {
	first string // the oldest instant
	rows  []string
}{
	"archived_v6_0150": {"20261126180936594", []string{"0 6 o0", "1 11 u11", "2 6 o2", "3 9 u9", "4 12 u12", "5 7 u7", "6 10 u10", "7 13 u13"}},
	"archived_v6_120":  {"20261126181148468", []string{"0 6 o0", "1 11 u11", "2 6 o2", "3 9 u9", "4 12 u12", "5 7 u7", "6 10 u10", "7 13 u13"}},
	"archived_v9_120":  {"20261126180719032", []string{"0 6 o0", "1 11 u11", "2 6 o2", "3 9 u9", "4 12 u12", "5 7 u7", "6 10 u10", "7 13 u13"}},
}

// archivedStore unpacks one of them.
func archivedStore(t *testing.T, name string) (store storage.Store, folder string) {
	t.Helper()
	dir := t.TempDir()
	golden.UnpackFile(t, filepath.Join("testdata", "archived", name+".tar.gz"), dir)
	folder = filepath.Join(dir, name, "table")
	store, err := file.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	return store, folder
}

// TestArchived reads what Spark archived: all instants from the first on, each once, no
// gap between them and those that are still on the timeline, each with what it said.
func TestArchived(t *testing.T) {
	for name, want := range archivedTables {
		t.Run(name, func(t *testing.T) {
			store, _ := archivedStore(t, name)
			table, err := Open(t.Context(), store, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			writes := 0
			for a, err := range table.Archived(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, a.Time)
				if a.Writes() {
					writes++
					if a.Commit == nil || a.Commit.ExtraMetadata[timeline.SchemaKey] == "" || (a.Action == timeline.Compaction) != a.Commit.Compacted {
						t.Errorf("%v says %+v", a.Instant, a.Commit)
					}
				} else if a.Action == timeline.Clean && a.Clean == nil {
					t.Errorf("%v says nothing", a.Instant)
				}
				if (a.Completion != "") != (table.Timeline().Layout() == timeline.Layout2) {
					t.Errorf("%v was completed at %q", a.Instant, a.Completion)
				}
				if table.Timeline().Has(a.Time) {
					t.Errorf("%v is on the timeline too", a.Instant)
				}
			}
			slices.Sort(all)
			if len(all) == 0 || all[0] != want.first || len(slices.Compact(slices.Clone(all))) != len(all) {
				t.Errorf("the archive has %q", all)
			}
			for _, i := range table.Timeline().Completed() {
				if i.Action != timeline.Compaction {
					writes++
				}
			}
			if compactions := writes - 13; compactions < 1 || compactions > 4 {
				t.Errorf("13 writes were made, and %d are there with compactions", writes)
			}
			var some []string
			for a, err := range table.Archived(t.Context(), all[2], all[5]) {
				if err != nil {
					t.Fatal(err)
				}
				some = append(some, a.Time)
			}
			slices.Sort(some)
			if !slices.Equal(some, all[2:6]) {
				t.Errorf("from %s to %s: %q", all[2], all[5], some)
			}
		})
	}
}

// TestArchivedRows reads the rows of tables of which a part of the timeline is archived.
func TestArchivedRows(t *testing.T) {
	for name, want := range archivedTables {
		store, _ := archivedStore(t, name)
		table, err := Open(t.Context(), store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for batch, err := range table.Read(t.Context(), ReadOptions{Columns: []string{"id", "seq", "name"}}) {
			if err != nil {
				t.Fatal(err)
			}
			for i := range int(batch.NumRows()) {
				got = append(got, fmt.Sprint(canonicalValue(batch.Column(0), i), canonicalValue(batch.Column(1), i), " ", canonicalValue(batch.Column(2), i)))
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want.rows) {
			t.Errorf("%s: got %q, want %q", name, got, want.rows)
		}
		for _, err := range table.Read(t.Context(), ReadOptions{AsOf: want.first}) {
			if !errors.Is(err, ErrCleaned) {
				t.Errorf("%s: as of the first commit: %v", name, err)
			}
		}
	}
}

// TestArchivedDamaged reads archives of which a file is cut, flipped or missing.
func TestArchivedDamaged(t *testing.T) {
	for name := range archivedTables {
		store, folder := archivedStore(t, name)
		table, err := Open(t.Context(), store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(folder, ".hoodie", "*", "history", "*.parquet"))
		if name != "archived_v9_120" {
			files, err = filepath.Glob(filepath.Join(folder, ".hoodie", "*", ".commits_*"))
		}
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: files %q, %v", name, files, err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(f, data[:len(data)-9], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var readErr error
		for _, err := range table.Archived(t.Context(), "", "") {
			readErr = errors.Join(readErr, err)
		}
		if corrupt := new(CorruptError); !errors.As(readErr, &corrupt) {
			t.Errorf("%s: cut archive files: %v", name, readErr)
		}
	}
}

// TestArchivedHalfMerged reads an archive into whose joined file Hudi was still writing.
func TestArchivedHalfMerged(t *testing.T) {
	store, folder := archivedStore(t, "archived_v6_0150")
	table, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	half := archivePrefix + "9_1-0-1"
	if err := os.WriteFile(filepath.Join(folder, ".hoodie", "archived", half), []byte("#HUDI#\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func() (n int, err error) {
		for _, e := range table.Archived(t.Context(), "", "") {
			n, err = n+1, errors.Join(err, e)
		}
		return n, err
	}
	if _, err := read(); err == nil {
		t.Error("a cut file was no error")
	}
	plan, err := (&timeline.MergeArchivePlan{MergedArchiveFileName: half}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), ".hoodie/archived/"+mergePlanFile, plan); err != nil {
		t.Fatal(err)
	}
	if n, err := read(); err != nil || n < 5 {
		t.Errorf("beside a file that is being joined: %d instants, %v", n, err)
	}
}

// TestArchiveWriter archives the whole timeline of a golden table, twice, and reads it
// again.
func TestArchiveWriter(t *testing.T) {
	store, err := file.Open(filepath.Join(golden.Unpack(t, "v6_0150_mor_none_mdt"), "table"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &archiveWriter{store: store, folder: ".hoodie/archived"}
	var want []string
	for range 2 {
		want = want[:0]
		for _, i := range table.Timeline().Instants() {
			for _, f := range table.Timeline().States(i.Time) {
				if f.State == timeline.Completed {
					want = append(want, f.FileName())
				}
				data, _, err := store.Get(t.Context(), ".hoodie/"+f.FileName())
				if err != nil {
					t.Fatal(err)
				}
				e, err := timeline.NewArchivedEntry(f, data)
				if err != nil {
					t.Fatal(err)
				}
				if err := w.add(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		w = &archiveWriter{store: store, folder: ".hoodie/archived"}
	}
	logs, err := (&archiveReader{store: store, folder: ".hoodie/archived"}).logs(t.Context())
	if err != nil || len(logs) != 2 || logs[0].name != ".commits_.archive.1_1-0-1" || logs[1].name != ".commits_.archive.2_1-0-1" {
		t.Fatalf("archive files %v, %v", logs, err)
	}
	var got []string
	for a, err := range table.Archived(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.FileName())
	}
	slices.Sort(got)
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("read %q\nwant %q", got, want)
	}
}

// TestArchiveInterrupted lets an archiving die at each of its calls: the table is read as
// before, nothing of it is broken, and recovering leaves nothing over.
func TestArchiveInterrupted(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for at, died := 1, true; died; at++ {
		store := newStore(t)
		table := newTable(t, store, MergeOnRead, 1)
		for seq := range int64(4) {
			mustUpsert(t, table, map[string]modelRow{"a": {seq: seq}})
		}
		if _, err := table.Compact(ctx, CompactOptions{}); err != nil {
			t.Fatal(err)
		}
		mustUpsert(t, table, map[string]modelRow{"b": {seq: 1}})
		rows := mustRead(t, table, ReadOptions{})
		dying, err := Open(ctx, storagetest.NewFaulty(store, storagetest.Fault{At: at, When: storagetest.After, Dead: true}), Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = dying.Archive(ctx, ArchiveOptions{KeepMin: 1, KeepMax: 1})
		if died = errors.Is(err, storagetest.ErrFault); err != nil && !died {
			t.Fatal(err)
		}
		report, err := Check(ctx, store, CheckOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range report.Faults {
			if f.Severity == Broken {
				t.Errorf("died at call %d: %v", at, f)
			}
		}
		if err := table.Recover(ctx); err != nil {
			t.Fatal(err)
		}
		if report, err = Check(ctx, store, CheckOptions{}); err != nil || !report.Sound() {
			t.Errorf("died at call %d, recovered: %v, %v", at, err, report.Faults)
		}
		compareRows(t, mustRead(t, table, ReadOptions{}), rows)
	}
}

// TestArchiveOrder archives a compaction: the plan before what was written, as Hudi 0.15
// takes what comes last for that.
func TestArchiveOrder(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	opts := placeOptions(MergeOnRead)
	opts.PartitionBy = nil
	table, err := Create(ctx, newStore(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	for seq := range int64(8) {
		if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "", 0, seq})); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Compact(ctx, CompactOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := table.Clean(ctx, CleanOptions{RetainCommits: 1}); err != nil {
		t.Fatal(err)
	}
	if res, err := table.Archive(ctx, ArchiveOptions{KeepMin: 2, KeepMax: 3}); err != nil || res.Instants < 6 {
		t.Fatal(res, err)
	}
	plans, last := 0, map[string]timeline.State{}
	for _, i := range archivedEntries(t, table) {
		if before, ok := last[i.Time]; ok && before > i.State {
			t.Errorf("%s comes after its %s file", i, before)
		}
		last[i.Time] = i.State
		if i.Action == timeline.Compaction && i.State == timeline.Requested {
			plans++
		}
	}
	if plans < 3 {
		t.Errorf("%d plans in the archive", plans)
	}
}

// archivedEntries are the files in a table's archive, in order.
func archivedEntries(t *testing.T, table *Table) (out []timeline.Instant) {
	t.Helper()
	folder := table.Properties().archiveFolder()
	names, err := (&archiveReader{store: table.store, folder: folder}).logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, _, err := table.store.Get(t.Context(), folder+"/"+name.name)
		if err != nil {
			t.Fatal(err)
		}
		var d timeline.ArchivedDecoder
		blocks := logfile.NewReader(bytes.NewReader(data), int64(len(data)))
		for b, err := blocks.Next(); !errors.Is(err, io.EOF); b, err = blocks.Next() {
			if err != nil {
				t.Fatal(err)
			}
			content, err := b.Content(nil)
			if err != nil {
				t.Fatal(err)
			}
			for record, err := range logfile.Records(content) {
				if err != nil {
					t.Fatal(err)
				}
				e, err := d.Decode(b.Header[logfile.Schema], record)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, e.Instant)
			}
		}
	}
	return out
}

func FuzzArchiveLog(f *testing.F) {
	store := fuzzStore(f)
	w := &archiveWriter{store: store, folder: "a"}
	for _, i := range instants("20261122013503716", timeline.Commit) {
		if err := w.add(f.Context(), &timeline.ArchivedEntry{Instant: i, Commit: &timeline.CommitMetadata{}}); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.endBlock(); err != nil {
		f.Fatal(err)
	}
	f.Add(w.file)
	f.Fuzz(func(t *testing.T, data []byte) {
		store := fuzzStore(t)
		if err := store.Put(t.Context(), "a/"+archivePrefix+"1"+archiveSuffix, data); err != nil {
			t.Fatal(err)
		}
		r := &archiveReader{store: store, folder: "a", seen: map[timeline.Instant]bool{}}
		r.yield = func(a ArchivedInstant) error {
			if _, ok := timeline.ParseName(a.FileName()); !ok {
				t.Errorf("read %v", a.Instant)
			}
			return nil
		}
		var corrupt *CorruptError
		if err := r.readLogs(t.Context()); err != nil && !errors.As(err, &corrupt) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzHistoryFile(f *testing.F) {
	dir := f.TempDir()
	golden.UnpackFile(f, filepath.Join("testdata", "archived", "archived_v9_120.tar.gz"), dir)
	files, err := filepath.Glob(filepath.Join(dir, "*", "table", ".hoodie", "timeline", "history", "*.parquet"))
	if err != nil || len(files) == 0 {
		f.Fatalf("history files %q, %v", files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		store := fuzzStore(t)
		if err := store.Put(t.Context(), "f.parquet", data); err != nil {
			t.Fatal(err)
		}
		r := &archiveReader{store: store, seen: map[timeline.Instant]bool{}, yield: func(a ArchivedInstant) error {
			if _, ok := timeline.ParseName(a.FileName()); !ok {
				t.Errorf("read %v", a.Instant)
			}
			return nil
		}}
		var corrupt *CorruptError
		if err := r.readHistoryFile(t.Context(), "f.parquet"); err != nil && !errors.As(err, &corrupt) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzHistoryManifest(f *testing.F) {
	f.Add([]byte(`{"files" : [ {"fileName" : "1_2_0.parquet", "fileLen" : 5655} ]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := parseManifest(data)
		for _, n := range names {
			if err != nil || strings.Contains(n, "/") {
				t.Errorf("names %q, %v", names, err)
			}
		}
	})
}

func fuzzStore(t testing.TB) storage.Store {
	t.Helper()
	store, err := file.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return store
}
