package hudi

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// Whatever cleanings there were, and in what order, each commit from OldestAsOf on can be
// read and pinned, and of those before only savepoints.
func TestOldestAsOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		steps string // u: an upsert; s: a savepoint of the newest commit; x: releases it; c, v: a cleaning by so many commits, versions; t: by time; r: a restore to the savepoint
		want  int    // the upsert, from 1 on
	}{
		"by fewer commits first":         {"u u u u c1 u u c4", 4},
		"by versions, then by commits":   {"u u u u c1 u u v1 u c4", 6},
		"a savepoint released":           {"u s u u u c1 x u c3", 4},
		"a savepoint released, versions": {"u s u u u v1 x u c3", 4},
		"restored behind the horizon":    {"u u s u u u c1 r", 2},
		"restored, and written on":       {"u u s u u u c1 r u", 2},
		"restored, written on and clean": {"u u s u u u c1 r u u c1", 7},
		"by time":                        {"u u u t", 3},
		"by time, the newest is saved":   {"u u u s t", 3},
		"none":                           {"u u u", 1},
		"the first is a savepoint's":     {"u s u u", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table := newTable(t, newStore(t), CopyOnWrite, 1)
			at := runCleanings(t, table, strings.Fields(c.steps))
			checkOldest(t, table, at, at[c.want-1])
		})
	}
}

// runCleanings returns the instants of the upserts.
func runCleanings(t *testing.T, table *Table, steps []string) (at []string) {
	t.Helper()
	saved := ""
	for _, step := range steps {
		var err error
		switch n := int(step[len(step)-1] - '0'); step[0] {
		case 'u':
			at = append(at, mustUpsert(t, table, map[string]modelRow{"a": {seq: int64(len(at) + 1)}}))
		case 's':
			saved, err = table.Savepoint(t.Context(), SavepointOptions{})
		case 'x':
			err = table.ReleaseSavepoint(t.Context(), saved)
		case 'c':
			_, err = table.Clean(t.Context(), CleanOptions{RetainCommits: n})
		case 'v':
			_, err = table.Clean(t.Context(), CleanOptions{RetainVersions: n})
		case 't':
			for timeline.FormatTime(time.Now().UTC()) <= at[len(at)-1] {
				<-time.After(time.Millisecond) // instants are milliseconds: the newest must be past
			}
			_, err = table.Clean(t.Context(), CleanOptions{Retain: time.Nanosecond})
		case 'r':
			_, err = table.Restore(t.Context(), saved)
		}
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
	return at
}

func checkOldest(t *testing.T, table *Table, upserts []string, want string) {
	t.Helper()
	oldest, err := table.OldestAsOf(t.Context())
	if err != nil || oldest != want {
		t.Errorf("the oldest is %q, %v; want %s of %v", oldest, err, want, upserts)
	}
	tl := table.Timeline()
	for _, i := range tl.Completed() {
		rows, err := readModel(t.Context(), table, ReadOptions{AsOf: i.Time})
		pin, pinErr := table.Pin(t.Context(), i.Time, time.Minute)
		if pinErr == nil {
			if err := pin.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if i.Time >= oldest || tl.IsSavepoint(i.Time) {
			if err != nil || pinErr != nil || len(rows) != 1 {
				t.Errorf("%s: %d rows, read: %v, pin: %v", i, len(rows), err, pinErr)
			}
			continue
		}
		if !errors.Is(err, ErrCleaned) || !errors.Is(pinErr, ErrCleaned) {
			t.Errorf("%s is older: read: %v, pin: %v", i, err, pinErr)
		}
	}
}

// TestEmptyCleaning lets a crash of a machine empty what a cleaning said that is not the newest:
// its plan tells, or the newest commit before it does.
func TestEmptyCleaning(t *testing.T) {
	t.Parallel()
	empty := func([]byte) []byte { return []byte{} }
	for name, c := range map[string]struct {
		plan bool // is empty too
		want int  // the upsert, from 1 on
	}{
		"the plan is there": {false, 3},
		"the plan too":      {true, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newStore(t)
			table := newTable(t, store, CopyOnWrite, 1)
			at := runCleanings(t, table, strings.Fields("u u u u u c3 u u c5"))
			reader, err := Open(t.Context(), store, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var cleaned timeline.Instant
			for _, i := range slices.Backward(table.Timeline().Instants()) {
				if i.Action == timeline.Clean {
					cleaned = i // the older one at the end
				}
			}
			damage(t, store, table.instantFile(cleaned), empty)
			if c.plan {
				damage(t, store, table.instantFile(instants(cleaned.Time, timeline.Clean)[0]), empty)
			}
			checkOldest(t, reader, at, at[c.want-1])
		})
	}
}

// TestArchivedCleaning lets a table be archived that another Table knows with its older cleaning.
func TestArchivedCleaning(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	table := newTable(t, store, CopyOnWrite, 1)
	at := runCleanings(t, table, strings.Fields("u u u c1 u u u c1"))
	reader, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Archive(t.Context(), ArchiveOptions{KeepMin: 2, KeepMax: 2}); err != nil {
		t.Fatal(err)
	}
	if oldest, err := reader.OldestAsOf(t.Context()); err != nil || oldest != at[5] {
		t.Errorf("the oldest is %s, %v; want %s of %v", oldest, err, at[5], at)
	}
	for _, old := range at[:5] {
		if _, err := readModel(t.Context(), reader, ReadOptions{AsOf: old}); !errors.Is(err, ErrCleaned) {
			t.Errorf("as of %s: %v", old, err)
		}
	}
}

// TestEmptyCleaningMeanwhile lets a table that is known get a cleaning that does not say what it
// deleted: the table is listed anew.
func TestEmptyCleaningMeanwhile(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	table := newTable(t, store, MergeOnRead, 1)
	runCleanings(t, table, strings.Fields("u u"))
	reader, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Compact(t.Context(), CompactOptions{}); err != nil {
		t.Fatal(err)
	}
	runCleanings(t, table, strings.Fields("c1"))
	all := table.Timeline().Instants()
	damage(t, store, table.instantFile(all[len(all)-1]), func([]byte) []byte { return []byte{} })
	if err := reader.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	compareRows(t, mustRead(t, reader, ReadOptions{}), map[string]modelRow{"a": {seq: 2}})
	if slices := reader.view.group(reader.Slices()[0].Group()).files(); len(slices) != 1 {
		t.Errorf("it knows %v, of which the older are deleted", slices)
	}
}

// meeting is a store that gives out no cleaning's file before two are asked for.
type meeting struct {
	storage.Store
	two sync.WaitGroup
}

func (m *meeting) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	if strings.HasSuffix(name, ".clean") {
		m.two.Done()
		m.two.Wait()
	}
	return m.Store.Get(ctx, name)
}

// TestCleaningsAtOnce reads what cleanings said side by side.
func TestCleaningsAtOnce(t *testing.T) {
	t.Parallel()
	store := &meeting{Store: newStore(t)}
	table := newTable(t, store.Store, CopyOnWrite, 1)
	at := runCleanings(t, table, strings.Fields("u u c1 u u c1"))
	reader, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	store.two.Add(2)
	if oldest, err := reader.OldestAsOf(t.Context()); err != nil || oldest != at[3] {
		t.Errorf("the oldest is %s, %v; want %s of %v", oldest, err, at[3], at)
	}
}
