package hudi

import (
	"context"
	"errors"
	"strings"
	"testing"

	"lakefeed/storage"
)

// busyServices are those that no pending instant shows while they are at work.
var busyServices = []struct {
	busy string // what the claim says of it
	hook string // where it is met
	run  func(ctx context.Context, t *Table) error
}{
	{"archiving", "archive", func(ctx context.Context, t *Table) error {
		_, err := t.Archive(ctx, ArchiveOptions{KeepMin: 2, KeepMax: 2})
		return err
	}},
	{"savepoint", "savepoint", func(ctx context.Context, t *Table) error { _, err := t.Savepoint(ctx, SavepointOptions{}); return err }},
	{"restore", "restore", func(ctx context.Context, t *Table) error {
		done := t.Timeline().Completed()
		_, err := t.Restore(ctx, done[len(done)-2].Time)
		return err
	}},
	{"rollback", "rollback", func(ctx context.Context, t *Table) error { _, err := t.Rollback(ctx, ""); return err }},
}

// TestBusyService meets each service that decides on nothing for long, in the midst of it: a
// writer that knows of no other is refused by name, and is let in when it has ended.
func TestBusyService(t *testing.T) {
	t.Parallel()
	for _, s := range busyServices {
		for _, mode := range []ConcurrencyMode{SingleWriter, Optimistic} {
			t.Run(s.busy+"/"+string(mode), func(t *testing.T) {
				t.Parallel()
				meetBusy(t, s.busy, s.hook, mode, s.run)
			})
		}
	}
}

func meetBusy(t *testing.T, busy, hook string, mode ConcurrencyMode, run func(ctx context.Context, t *Table) error) {
	t.Helper()
	ctx, store := t.Context(), newStore(t)
	first := newTable(t, store, MergeOnRead, 1)
	for range 5 {
		mustUpsert(t, first, map[string]modelRow{"a": {seq: 1}})
	}
	other, err := Open(ctx, store, Options{Buckets: 1})
	if err != nil {
		t.Fatal(err)
	}
	met := false
	opts := Options{Buckets: 1, Concurrency: Concurrency{Mode: mode}, Hook: func(step string) {
		if step != hook || met {
			return
		}
		met = true
		if r := claimOf(t, store); r.Busy != busy {
			t.Errorf("the claim says %q in the midst of it", r.Busy)
		}
		for _, s := range busyServices {
			if err := s.run(ctx, other); !errors.As(err, new(*ConflictError)) || !strings.Contains(err.Error(), busy) {
				t.Errorf("%s beside it: %v", s.busy, err)
			}
		}
		if err := upsertOne(ctx, other, "b"); !errors.As(err, new(*ConflictError)) {
			t.Errorf("a commit beside it: %v", err)
		}
	}}
	table, err := Open(ctx, store, opts)
	if err == nil {
		err = run(ctx, table)
	}
	if err != nil || !met {
		t.Fatalf("%v; met: %v", err, met)
	}
	if r := claimOf(t, store); r.working() {
		t.Errorf("the claim says that somebody is at work: %+v", r)
	}
	if err := upsertOne(ctx, other, "b"); err != nil {
		t.Error(err)
	}
	checkBoth(t, store, &soleWriter{acked: []string{"a", "b"}})
}

// TestOvertakenArchiving lets a writer that is told that nobody lives restore the table in the
// midst of an archiving: that one takes no instant away any more.
func TestOvertakenArchiving(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), newStore(t)
	first := newTable(t, store, MergeOnRead, 1)
	for range 8 {
		mustUpsert(t, first, map[string]modelRow{"a": {seq: 1}})
	}
	calls, kept := 0, ""
	opts := Options{Hook: func(step string) {
		if calls++; step != "archive" || calls != 2+2*3 { // its beginning, and the files of two instants
			return
		}
		other, err := Open(ctx, store, Options{Concurrency: Concurrency{Exclusive: true}})
		if err == nil {
			kept = other.Timeline().Completed()[1].Time
			_, err = other.Restore(ctx, kept)
		}
		if err != nil {
			t.Error(err)
		}
	}}
	table, err := Open(ctx, store, opts)
	if err != nil {
		t.Fatal(err)
	}
	table.claim.late = 0
	if _, err := table.Archive(ctx, ArchiveOptions{KeepMin: 2, KeepMax: 2}); !errors.As(err, new(*ConflictError)) {
		t.Errorf("archiving: %v", err)
	}
	last, err := Open(ctx, store, Options{})
	if err != nil || !last.Timeline().IsCompleted(kept) {
		t.Errorf("%s, to which it was restored, is archived: %v", kept, err)
	}
	checkBoth(t, store, &soleWriter{acked: []string{"a"}})
}

// TestBusyWriterDied leaves the claim of a service that a crash ended: who comes to know that
// its process has gone is not refused.
func TestBusyWriterDied(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), newStore(t)
	table := newTable(t, store, MergeOnRead, 1)
	for range 5 {
		mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}})
	}
	cut := errors.New("the power failed")
	failing := &failingClaim{Store: store, err: cut}
	dying, err := Open(ctx, failing, Options{Hook: func(step string) { failing.broken = failing.broken || step == "archive" }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dying.Archive(ctx, ArchiveOptions{KeepMin: 2, KeepMax: 2}); err == nil {
		t.Fatal("it did not fail")
	}
	if r := claimOf(t, store); r.Busy != "archiving" {
		t.Fatalf("the claim says %q", r.Busy)
	}
	mustUpsert(t, table, map[string]modelRow{"b": {seq: 1}})
	checkBoth(t, store, &soleWriter{acked: []string{"a", "b"}})
}

// failingClaim is a store that, once it is broken, deletes nothing and does not replace the claim.
type failingClaim struct {
	storage.Store
	broken bool
	err    error
}

func (f *failingClaim) Delete(ctx context.Context, name string) error {
	if f.broken {
		return f.err
	}
	return f.Store.Delete(ctx, name)
}

func (f *failingClaim) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	if f.broken {
		return "", f.err
	}
	return f.Store.PutIfMatch(ctx, name, data, v)
}
