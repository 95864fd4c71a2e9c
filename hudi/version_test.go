package hudi

import (
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"lakefeed/hudi/logfile"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// asVersion9 makes a table of version 9 of one of ours. An instant completes at the time
// that completions has of it, else a little after its own.
func asVersion9(t *testing.T, store storage.Store, completions map[string]string) *Table {
	t.Helper()
	ctx := t.Context()
	table, err := Open(ctx, store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, data []byte, err error) {
		t.Helper()
		if err == nil {
			err = store.Put(ctx, name, data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range table.Timeline().Instants() {
		for _, f := range table.Timeline().States(i.Time) {
			data, _, err := store.Get(ctx, path.Join(metaFolder, f.FileName()))
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Delete(ctx, path.Join(metaFolder, f.FileName())); err != nil {
				t.Fatal(err)
			}
			if f.State == timeline.Completed {
				f.Completion = i.Time + "5"
				if c := completions[i.Time]; c != "" {
					f.Completion = c
				}
				if f.Writes() {
					data, err = commitOfVersion9(t, store, f.Time, data)
				}
			}
			put(path.Join(metaFolder, "timeline", f.FileName()), data, err)
		}
	}
	props := table.Properties()
	maps.DeleteFunc(props, func(k, _ string) bool { return k == propPayload || k == propPrecombine || k == propArchive })
	maps.Copy(props, Properties{propVersion: "9", propLayout: "2", propOrdering: "seq", propMergeMode: "COMMIT_TIME_ORDERING"})
	put(propertiesFile, props.Format(time.Now()), nil)
	if table, err = Open(ctx, store, Options{}); err != nil {
		t.Fatal(err)
	}
	return table
}

// commitOfVersion9 renames the log files of a commit.
func commitOfVersion9(t *testing.T, store storage.Store, instant string, data []byte) ([]byte, error) {
	t.Helper()
	m, err := timeline.UnmarshalCommit(data)
	if err != nil {
		return nil, err
	}
	for _, stats := range m.PartitionToWriteStats {
		for n := range stats {
			s := &stats[n]
			f, ok := parseDataFile(s.Path, 0)
			if !ok || !f.IsLog() {
				continue
			}
			name := path.Join(f.Partition, logfile.FileName(f.FileID, instant, 1, f.Token))
			log, _, err := store.Get(t.Context(), s.Path)
			err = errors.Join(err, store.Put(t.Context(), name, log), store.Delete(t.Context(), s.Path))
			if err != nil {
				return nil, err
			}
			s.Path, s.PrevCommit, s.BaseFile, s.LogFiles = name, instant, "", []string{path.Base(name)}
		}
	}
	return m.EncodeAvro()
}

// TestVersion9ReadsAsVersion6 reads a table before and after it was taken to version 9,
// at each of its instants.
func TestVersion9ReadsAsVersion6(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		store := newStore(t)
		table := newTable(t, store, typ, 2)
		want := map[string][]string{}
		for n := range 4 {
			rows := map[string]modelRow{"a": {seq: int64(n)}, "b": {seq: int64(n)}, string(rune('c' + n)): {}}
			mustUpsert(t, table, rows)
			if n == 1 {
				if _, err := table.Delete(t.Context(), "b"); err != nil {
					t.Fatal(err)
				}
			}
			if n == 2 && typ == MergeOnRead {
				if _, err := table.Compact(t.Context(), CompactOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			last, _ := table.Timeline().Last()
			want[last.Time] = tableRows(t, table, ReadOptions{Meta: true})
		}
		table = asVersion9(t, store, nil)
		for at, rows := range want {
			diffLines(t, tableRows(t, table, ReadOptions{Meta: true, AsOf: at}), rows)
		}
		last, _ := table.Timeline().Last()
		diffLines(t, tableRows(t, table, ReadOptions{Meta: true}), want[last.Time])
		for what, err := range map[string]error{
			"upsert":  func() error { _, err := table.Upsert(t.Context(), modelBatch(nil, nil, modelSchema)); return err }(),
			"compact": func() error { _, err := table.Compact(t.Context(), CompactOptions{}); return err }(),
			"clean":   func() error { _, err := table.Clean(t.Context(), CleanOptions{RetainCommits: 1}); return err }(),
			"recover": table.Recover(t.Context()),
		} {
			var unsupported *UnsupportedError
			if !errors.As(err, &unsupported) || unsupported.Value != "9" || !strings.Contains(unsupported.WayOut, "downgrade_table") {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// TestCompletionOrder has two delta commits complete in the other order than they began
// in, and one that began before a compaction and completed after it.
func TestCompletionOrder(t *testing.T) {
	store := newStore(t)
	table := newTable(t, store, MergeOnRead, 1)
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}, "b": {seq: 1}})
	first := mustUpsert(t, table, map[string]modelRow{"a": {seq: 2}})
	second := mustUpsert(t, table, map[string]modelRow{"a": {seq: 3}})
	late := mustUpsert(t, table, map[string]modelRow{"b": {seq: 4}})
	read := func(t *testing.T, table *Table, opts ReadOptions) string {
		t.Helper()
		rows := mustRead(t, table, opts)
		return string(rune('0'+rows["a"].seq)) + string(rune('0'+rows["b"].seq))
	}
	t.Run("logs", func(t *testing.T) {
		table := asVersion9(t, copyStore(t, store), map[string]string{first: second + "9"})
		if got := read(t, table, ReadOptions{}); got != "24" {
			t.Errorf("read %s, want the row of the delta commit that completed last: 24", got)
		}
		if got := read(t, table, ReadOptions{AsOf: first}); got != "21" {
			t.Errorf("as of the first: %s, want 21", got)
		}
		got := changedRows(t, table, ChangesOptions{From: second + "6", To: second + "9", Columns: []string{"id", "seq"}})
		if want := []string{`{"id":"a","seq":2}`}; !slices.Equal(got, want) {
			t.Errorf("changes by completion: %q, want %q", got, want)
		}
	})
	t.Run("base", func(t *testing.T) {
		store := copyStore(t, store)
		table, err := Open(t.Context(), store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		compaction, err := table.Compact(t.Context(), CompactOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// As if the late delta commit had not been there for the compaction.
		after := asVersion9(t, store, map[string]string{late: compaction + "9"})
		if got := after.Slices()[0]; got.Instant != compaction || len(got.Logs) != 1 || got.Logs[0].Instant != late {
			t.Errorf("slice %+v, want the logs of %s on the base file of %s", got, late, compaction)
		}
		before := asVersion9Again(t, store, late, compaction+"9", late+"5")
		if got := before.Slices()[0]; got.Instant != compaction || len(got.Logs) != 0 {
			t.Errorf("slice %+v, want no logs on the base file of %s", got, compaction)
		}
	})
}

// asVersion9Again has a delta commit complete at another time.
func asVersion9Again(t *testing.T, store storage.Store, instant, from, to string) *Table {
	t.Helper()
	i := timeline.Instant{Time: instant, Action: timeline.DeltaCommit, State: timeline.Completed, Completion: from}
	data, _, err := store.Get(t.Context(), path.Join(metaFolder, "timeline", i.FileName()))
	if err != nil {
		t.Fatal(err)
	}
	err = store.Delete(t.Context(), path.Join(metaFolder, "timeline", i.FileName()))
	i.Completion = to
	if err = errors.Join(err, store.Put(t.Context(), path.Join(metaFolder, "timeline", i.FileName()), data)); err != nil {
		t.Fatal(err)
	}
	table, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// copyStore is a copy of what a store holds.
func copyStore(t *testing.T, from storage.Store) storage.Store {
	t.Helper()
	to := newStore(t)
	for info, err := range from.List(t.Context(), "", true) {
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := from.Get(t.Context(), info.Name)
		if err = errors.Join(err, to.Put(t.Context(), info.Name, data)); err != nil {
			t.Fatal(err)
		}
	}
	return to
}
