package hudi

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// farClaim is a store whose claim cannot be reached at times.
type farClaim struct {
	storage.Store
	cut    atomic.Bool  // calls fail
	hangs  atomic.Bool  // replacing it waits until its caller gives up
	waited atomic.Int64 // how long the last one did, a [time.Duration]
}

func (f *farClaim) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	if name == claimFile && f.cut.Load() {
		return nil, "", errCut
	}
	return f.Store.Get(ctx, name)
}

func (f *farClaim) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	switch {
	case name != claimFile:
	case f.hangs.Load():
		began := time.Now()
		<-ctx.Done()
		f.waited.Store(int64(time.Since(began)))
		return "", ctx.Err()
	case f.cut.Load():
		return "", errCut
	}
	return f.Store.PutIfMatch(ctx, name, data, v)
}

// pass lets so much of a test's own time go by, and what is due then be done.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // it takes no time
	synctest.Wait()
}

// TestBeatAfterFailure lets the claim be out of reach at one beat: the next one says that the
// writer lives, whose transaction stands.
func TestBeatAfterFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &farClaim{Store: newStore(t)}
		table := newTable(t, store, MergeOnRead, 1)
		x := begin(t, table, Upsert, "a")
		beat := table.opts.Concurrency.Heartbeat / 2
		seen := claimOf(t, store.Store).Seen
		store.cut.Store(true)
		pass(beat)
		if r := claimOf(t, store.Store); !r.Seen.Equal(seen) {
			t.Fatalf("it was written at %v", r.Seen)
		}
		store.cut.Store(false)
		for range 5 {
			pass(beat)
			if r := claimOf(t, store.Store); time.Since(r.Seen) >= beat {
				t.Fatalf("it was seen last at %v", r.Seen)
			}
		}
		mustCommit(t, x)
	})
}

// TestBeatInTime lets a beat hang: it gives up while others still count the writer as alive, so that
// what the writer decides does not wait for it, and the next beat comes.
func TestBeatInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &farClaim{Store: newStore(t)}
		table := newTable(t, store, MergeOnRead, 1)
		x := begin(t, table, Upsert, "a")
		c := table.opts.Concurrency
		store.hangs.Store(true)
		pass(c.Heartbeat/2 + c.deadAfter()/2 - 1)
		if store.waited.Load() != 0 {
			t.Fatalf("it gave up after %v", time.Duration(store.waited.Load()))
		}
		store.hangs.Store(false)
		pass(1)
		if waited := time.Duration(store.waited.Load()); waited != c.deadAfter()/2 {
			t.Fatalf("it gave up after %v", waited)
		}
		pass(c.Heartbeat / 2)
		if r := claimOf(t, store.Store); time.Since(r.Seen) > c.Heartbeat/2 {
			t.Errorf("it was seen last at %v", r.Seen)
		}
		mustCommit(t, x)
	})
}

// TestSettledLeavesTheLiving lets a writer with a lock publish while one without is between the
// decision to begin and its put: it is refused by name, and the other keeps its claim.
func TestSettledLeavesTheLiving(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx := t.Context()
		s := &shared{store: newStore(t), typ: typ, buckets: 2, lock: testStorageLock}
		sharing := s.create(t)
		a, b := twoKeys(sharing)
		store := &atFirstPut{Store: s.store, suffix: ".requested"}
		now := func() time.Time { return time.Now().Add(-time.Second) } // they do not choose the same instant
		alone, err := Open(ctx, store, Options{Buckets: 2, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		store.do = func() {
			x := begin(t, sharing, Upsert, b)
			if _, err := x.Commit(ctx, nil); !errors.As(err, new(*ConflictError)) {
				t.Errorf("commit: %v", err)
			}
			if err := x.Abort(ctx); !errors.As(err, new(*ConflictError)) { // it waits for the other, too
				t.Errorf("abort: %v", err)
			}
			if r := claimOf(t, s.store); r.Writer != alone.claim.writer {
				t.Errorf("the claim is that of %+v", r)
			}
		}
		x := begin(t, alone, Upsert, a)
		if store.do != nil {
			t.Fatal("they did not meet")
		}
		mustCommit(t, x)
		mustUpsert(t, sharing, map[string]modelRow{b: {seq: 2}})
		compareRows(t, mustRead(t, sharing, ReadOptions{}), map[string]modelRow{a: {seq: 1}, b: {seq: 2}})
	})
}

// TestLaidDown lets what a writer began come to nothing, with and without a beat that failed before:
// the claim does not say that it is at work, and nobody puts what it decided.
func TestLaidDown(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(t *testing.T, table *Table, store *farClaim, cut *cutPut){
		"an abort": func(t *testing.T, table *Table, _ *farClaim, _ *cutPut) {
			t.Helper()
			if err := begin(t, table, Upsert, "a").Abort(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"an abort behind a failed beat": func(t *testing.T, table *Table, store *farClaim, _ *cutPut) {
			t.Helper()
			x := begin(t, table, Upsert, "a")
			failBeat(t, table, store)
			if err := x.Abort(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"a service behind a failed beat": func(t *testing.T, table *Table, store *farClaim, _ *cutPut) {
			t.Helper()
			table.opts.Hook = func(step string) {
				if step == "archive" { // before each file that it deletes, the last one too
					failBeat(t, table, store)
				}
			}
			res, err := table.Archive(t.Context(), ArchiveOptions{KeepMin: 2, KeepMax: 2})
			if table.opts.Hook = func(string) {}; err != nil || res.Instants == 0 {
				t.Error(res, err)
			}
		},
		"a beginning that is not put": func(t *testing.T, table *Table, _ *farClaim, cut *cutPut) {
			t.Helper()
			noon := time.Now().Add(time.Hour)
			table.opts.Now = func() time.Time { return noon }
			cut.name = table.instantFile(instants(timeline.FormatTime(noon.UTC()), timeline.DeltaCommit)[0])
			if _, err := table.Begin(t.Context(), TxnOptions{}); !errors.Is(err, errCut) {
				t.Errorf("begin: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner := newStore(t)
			cut := &cutPut{Store: inner}
			store := &farClaim{Store: cut}
			table := newTable(t, store, MergeOnRead, 1)
			newest := ""
			for range 4 {
				newest = mustUpsert(t, table, map[string]modelRow{"old": {seq: 1}})
			}
			fail(t, table, store, cut)
			if r := claimOf(t, inner); r.working() {
				t.Errorf("the claim says %+v", r)
			}
			other, err := Open(t.Context(), inner, Options{})
			if err == nil {
				err = other.Recover(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if last, _ := other.Timeline().Last(); len(other.Timeline().Pending()) > 0 || last.Time != newest {
				t.Errorf("the timeline is %v", other.Timeline().Instants())
			}
			checkBoth(t, inner, &soleWriter{acked: []string{"old"}})
		})
	}
}

// failBeat lets a beat fail, so that the Table does not know what the claim says.
func failBeat(t *testing.T, table *Table, store *farClaim) {
	t.Helper()
	store.cut.Store(true)
	if err := table.beatClaim(t.Context()); !errors.Is(err, errCut) {
		t.Errorf("the beat: %v", err)
	}
	store.cut.Store(false)
}
