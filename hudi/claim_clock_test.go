package hudi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// agedClaim is a store that dates the claim back.
type agedClaim struct {
	storage.Store
	age time.Duration
}

func (a *agedClaim) List(ctx context.Context, folder string, deep bool) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for info, err := range a.Store.List(ctx, folder, deep) {
			if info.Name == claimFile {
				info.ModTime = info.ModTime.Add(-a.age)
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// TestClocks lets a writer of another computer be at work whose clock differs from ours: it counts
// for dead when it was not seen for as long as it says, by the store's clock.
func TestClocks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ours, theirs time.Duration // by how much each clock is ahead
		good, age    time.Duration
		dead         bool
	}{
		{},
		{age: time.Minute},
		{age: time.Minute, ours: time.Hour},
		{age: time.Minute, ours: -time.Hour},
		{age: time.Minute, theirs: -time.Hour},
		{age: 3 * time.Minute, theirs: time.Hour, dead: true},
		{age: 3 * time.Minute, ours: -time.Hour, dead: true},
		{age: 3 * time.Minute, ours: 3 * time.Minute, dead: true},
		{age: 3 * time.Minute, ours: time.Hour, good: 10 * time.Minute},
		{age: 11 * time.Minute, ours: time.Hour, good: 10 * time.Minute, dead: true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			ctx, store := t.Context(), newStore(t)
			x := begin(t, newTable(t, store, MergeOnRead, 1), Upsert, "a")
			data, v, err := store.Get(ctx, claimFile)
			r := claimRecord{}
			if err == nil {
				err = json.Unmarshal(data, &r)
			}
			if err != nil {
				t.Fatal(err)
			}
			r.Holder, r.Seen = Holder{Host: "elsewhere", PID: 1}, time.Now().Add(c.theirs)
			if c.good > 0 {
				r.Good = c.good.Milliseconds()
			}
			if data, err = json.Marshal(r); err == nil {
				_, err = store.PutIfMatch(ctx, claimFile, data, v)
			}
			if err != nil {
				t.Fatal(err)
			}
			other, err := Open(ctx, &agedClaim{store, c.age}, Options{Buckets: 1, Now: func() time.Time { return time.Now().Add(c.ours) }})
			if err != nil {
				t.Fatal(err)
			}
			err = upsertOne(ctx, other, "b")
			switch {
			case c.dead && err != nil:
				t.Errorf("a dead writer is in the way: %v", err)
			case !c.dead && !errors.As(err, new(*ConflictError)):
				t.Errorf("a living writer was not heeded: %v", err)
			}
			if c.dead {
				conflict(t, x)
			}
		})
	}
}

// TestDecidedBesideRollback lets a writer die between its decision and its put, when another
// one's transaction was rolled back behind its beginning: the decision is carried out.
func TestDecidedBesideRollback(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 1, lock: testStorageLock}
	mustUpsert(t, s.create(t), map[string]modelRow{"old": {seq: 1}})
	cut := &cutPut{Store: s.store}
	x := begin(t, s.open(t, cut), Upsert, "a")
	living := s.open(t, s.store)
	if err := begin(t, living, Upsert, "b").Abort(ctx); err != nil {
		t.Fatal(err)
	}
	cut.name = living.instantFile(x.files[2])
	if _, err := x.Commit(ctx, nil); !errors.Is(err, errCut) {
		t.Fatalf("commit: %v", err)
	}
	mustUpsert(t, living, map[string]modelRow{"c": {seq: 1}})
	rolled := false
	for _, i := range living.Timeline().Instants() {
		rolled = rolled || i.Action == timeline.Rollback && i.Time > x.time
	}
	if !rolled || !living.Timeline().IsCompleted(x.time) {
		t.Errorf("a rollback behind it: %v; the timeline: %v", rolled, living.Timeline().Instants())
	}
	compareRows(t, mustRead(t, living, ReadOptions{}), map[string]modelRow{"old": {seq: 1}, "a": {seq: 1}, "c": {seq: 1}})
}

// cutPut is a store that does not put one file.
type cutPut struct {
	storage.Store
	name string
}

func (c *cutPut) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if name == c.name {
		return errCut
	}
	return c.Store.PutIfAbsent(ctx, name, data)
}
