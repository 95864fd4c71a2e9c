package hudi

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// atFirstPut is a store that does something right before a file whose name ends so is put.
type atFirstPut struct {
	storage.Store
	suffix string
	do     func()
}

func (p *atFirstPut) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if do := p.do; do != nil && strings.HasSuffix(name, p.suffix) {
		p.do = nil
		do()
	}
	return p.Store.PutIfAbsent(ctx, name, data)
}

// TestSameTime lets a compaction choose the time that a transaction of another writer has
// chosen and not put yet: neither takes the other one's files for its own.
func TestSameTime(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(x *Txn, table *Table) error{
		"aborted": func(x *Txn, _ *Table) error { return x.Abort(t.Context()) },
		"left": func(x *Txn, table *Table) error {
			x.table.unlock()
			return table.Recover(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, store := t.Context(), newStore(t)
			noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
			opts := Options{Buckets: 1, Services: &ServicesOptions{}, Now: func() time.Time { return noon }, Concurrency: Concurrency{Exclusive: true}}
			newTable(t, store, MergeOnRead, 1)
			a, err := Open(ctx, store, opts)
			if err != nil {
				t.Fatal(err)
			}
			mustUpsert(t, a, map[string]modelRow{"old0": {seq: 1}})
			mustUpsert(t, a, map[string]modelRow{"old1": {seq: 1}})
			compacted := ""
			theirs := &atFirstPut{store, ".deltacommit.requested", func() { compacted, err = a.Compact(ctx, CompactOptions{}) }}
			b, berr := Open(ctx, theirs, opts)
			if berr != nil {
				t.Fatal(berr)
			}
			x := begin(t, b, Upsert, "b")
			if err != nil || compacted != x.time {
				t.Fatalf("compaction %q, transaction %q, %v", compacted, x.time, err)
			}
			if _, err := x.Commit(ctx, nil); !errors.As(err, new(*ConflictError)) {
				t.Errorf("commit: %v", err)
			}
			if err := end(x, a); err != nil {
				t.Error(err)
			}
			mustUpsert(t, a, map[string]modelRow{"a": {seq: 1}})
			checkBoth(t, store, &soleWriter{t: t, acked: []string{"old0", "old1", "a"}})
			if rows := mustRead(t, a, ReadOptions{}); len(rows) != 3 {
				t.Errorf("%d rows", len(rows))
			}
		})
	}
}

// sameTime has two writers that know nothing of each other complete a compaction and a transaction of
// one millisecond, which writes a base file of another bucket; its markers are there still. It returns
// the store, how it is opened, and the transaction.
func sameTime(t *testing.T) (store storage.Store, opts Options, x *Txn, want map[string]modelRow, late string) {
	t.Helper()
	ctx := t.Context()
	store = newStore(t)
	noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	opts = Options{Buckets: 2, Services: &ServicesOptions{}, Now: func() time.Time { return noon }, Concurrency: Concurrency{Exclusive: true}}
	old, late := twoKeys(newTable(t, store, MergeOnRead, 2))
	a, err := Open(ctx, store, opts)
	if err != nil {
		t.Fatal(err)
	}
	for seq := range int64(2) {
		mustUpsert(t, a, map[string]modelRow{old: {seq: seq}})
	}
	compacted := ""
	b, berr := Open(ctx, &atFirstPut{store, ".deltacommit.requested", func() { compacted, err = a.Compact(ctx, CompactOptions{}) }}, opts)
	if berr != nil {
		t.Fatal(berr)
	}
	x = begin(t, b, Upsert, late)
	if err != nil || compacted != x.time {
		t.Fatalf("compaction %q, transaction %q, %v", compacted, x.time, err)
	}
	m, _, err := x.metadata(nil)
	var data []byte
	if err == nil {
		data, err = m.Encode()
	}
	if err == nil {
		err = store.Put(ctx, b.instantFile(x.files[2]), data) // as one puts that knows of no claim
	}
	if err != nil {
		t.Fatal(err)
	}
	b.unlock()
	return store, opts, x, map[string]modelRow{old: {seq: 1}}, late
}

// TestMarkersOfSameTime sweeps the markers of two writes of one millisecond: the files of both stay.
func TestMarkersOfSameTime(t *testing.T) {
	t.Parallel()
	store, opts, _, want, late := sameTime(t)
	want[late] = modelRow{seq: 1}
	table, err := Open(t.Context(), store, opts)
	if err == nil {
		err = table.Recover(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), want)
	if report, err := Check(t.Context(), store, CheckOptions{}); err != nil || !report.Sound() {
		t.Errorf("%v, %v", err, report.Faults)
	}
}

// TestRollbackOfSameTime takes back two writes of one millisecond: each rollback deletes the files of
// one.
func TestRollbackOfSameTime(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	store, opts, x, old, late := sameTime(t)
	for left := 1; left >= 0; left-- {
		table, err := Open(ctx, store, opts)
		if err == nil {
			_, err = table.Rollback(ctx, x.time)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := len(slices.DeleteFunc(table.Timeline().Completed(), func(i timeline.Instant) bool { return i.Time != x.time })); n != left {
			t.Fatalf("%d writes of that time are left, want %d", n, left)
		}
		want := maps.Clone(old)
		if slices.Contains(table.Timeline().States(x.time), x.files[2]) {
			want[late] = modelRow{seq: 1}
		}
		compareRows(t, mustRead(t, table, ReadOptions{}), want)
		if report, err := Check(ctx, store, CheckOptions{}); err != nil || !report.Sound() {
			t.Errorf("%v, %v", err, report.Faults)
		}
	}
}

// TestTimeOfArchived lets another writer choose the time that a transaction has chosen and not put
// yet, commit, and archive that, in part or whole: nothing of either is taken for the other's.
func TestTimeOfArchived(t *testing.T) {
	t.Parallel()
	for name, archive := range map[string]func(a *Table, at timeline.Instant) error{
		"half": func(a *Table, at timeline.Instant) error {
			files := instants(at.Time, at.Action)
			return errors.Join(a.store.Delete(t.Context(), a.instantFile(files[0])), a.store.Delete(t.Context(), a.instantFile(files[1])))
		},
		"whole": func(a *Table, _ timeline.Instant) error {
			for seq := range int64(4) {
				mustUpsert(t, a, map[string]modelRow{"more": {seq: seq}})
			}
			_, err := a.Archive(t.Context(), ArchiveOptions{KeepMin: 2, KeepMax: 2})
			return err
		},
	} {
		eachType(t, func(t *testing.T, typ TableType) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ctx, store := t.Context(), newStore(t)
				noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
				opts := Options{Buckets: 1, Services: &ServicesOptions{}, Now: func() time.Time { return noon }, Concurrency: Concurrency{Exclusive: true}}
				newTable(t, store, typ, 1)
				a, err := Open(ctx, store, opts)
				if err != nil {
					t.Fatal(err)
				}
				mustUpsert(t, a, map[string]modelRow{"old": {seq: 1}, "more": {seq: 1}})
				var last timeline.Instant
				b, err := Open(ctx, &atFirstPut{store, "commit.requested", func() {
					mustUpsert(t, a, map[string]modelRow{"a": {seq: 1}})
					last, _ = a.Timeline().Last()
					err = archive(a, last)
				}}, opts)
				if err != nil {
					t.Fatal(err)
				}
				x := begin(t, b, Upsert, "b")
				if err != nil || last.Time != x.time {
					t.Fatalf("the other has %s, the transaction %s, %v", last.Time, x.time, err)
				}
				if _, err := x.Commit(ctx, nil); !errors.As(err, new(*ConflictError)) {
					t.Errorf("commit: %v", err)
				}
				if err := x.Abort(ctx); err != nil {
					t.Error(err)
				}
				checkBoth(t, store, &soleWriter{t: t, acked: []string{"old", "more", "a"}})
				if rows := mustRead(t, b, ReadOptions{}); len(rows) != 3 { // as it looked last when it aborted
					t.Errorf("%d rows", len(rows))
				}
			})
		})
	}
}

// deniedClaim is a store that says of a claim that it wrote that another was there, when a third one
// has taken it.
type deniedClaim struct {
	storage.Store
	do func()
}

func (d *deniedClaim) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	w, err := d.Store.PutIfMatch(ctx, name, data, v)
	if do := d.do; do != nil && err == nil && name == claimFile && strings.Contains(string(data), `"decided"`) {
		d.do = nil
		do()
		return "", storage.ErrConflict
	}
	return w, err
}

// TestDeniedDecision: a decision of which the store says that it was not made, and that another writer
// has carried out, is a commit: the transaction keeps its files.
func TestDeniedDecision(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, store := t.Context(), newStore(t)
		opts := Options{Buckets: 1, Services: &ServicesOptions{}, Concurrency: Concurrency{Exclusive: true}}
		mustUpsert(t, newTable(t, store, typ, 1), map[string]modelRow{"old": {seq: 1}})
		denied := &deniedClaim{Store: store}
		one, err := Open(ctx, denied, opts)
		if err != nil {
			t.Fatal(err)
		}
		x := begin(t, one, Upsert, "one")
		denied.do = func() {
			two, err := Open(ctx, store, opts)
			if err != nil {
				t.Error(err)
				return
			}
			mustUpsert(t, two, map[string]modelRow{"two": {seq: 1}})
		}
		if _, err := x.Commit(ctx, nil); !errors.As(err, new(*ConflictError)) {
			t.Errorf("commit: %v", err)
		}
		if err := x.Abort(ctx); !errors.Is(err, ErrPublished) {
			t.Errorf("abort: %v", err)
		}
		checkBoth(t, store, &soleWriter{t: t, acked: []string{"old", "one", "two"}})
	})
}
