package hudi

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// TestStoryReadFault lets one call that reads fail while the process lives on. What is taken for
// "not there" then would be rows that are lost, or files that are deleted while they are in use.
func TestStoryReadFault(t *testing.T) {
	t.Parallel()
	eachStory(t, func(t *testing.T, l *story) {
		inner := newStore(t)
		r := &storyRun{t: t, l: l, keys: newKeyStore(t), what: "no fault"}
		calls := r.liveOn(t.Context(), inner, faultyReads(inner, 0, 0), false)
		for n := range some(t, 3*calls, 4001) {
			at, when := 1+n/3, storagetest.When(n%3)
			inner := newStore(t)
			store := faultyReads(inner, at, when)
			r := &storyRun{t: t, l: l, keys: newKeyStore(t), what: fmt.Sprintf("read %d fails as %d", at, when), call: func() string {
				if !store.Fired() {
					return "which did not come"
				}
				return store.Calls()[at-1].String()
			}}
			r.liveOn(t.Context(), inner, store, n/3%2 == 0)
		}
	})
}

// liveOn tells the story with a look at the table after each step. One call may fail: the step is
// tried again then, behind a recovery or as it is. It returns how many calls read till the last step
// was done: what follows is done on the store below.
func (r *storyRun) liveOn(ctx context.Context, inner storage.Store, store *storagetest.Faulty, recovers bool) (calls int) {
	r.t.Helper()
	table, err := r.l.begin(ctx, store, r.keys)
	if err != nil && store.Fired() {
		r.wasFault(err)
		if table, err = r.l.begin(ctx, store, r.keys); errors.Is(err, ErrTableExists) {
			table, err = r.l.open(ctx, store, r.keys)
		}
	}
	if err != nil {
		r.fatal("create: %v", err)
	}
	for i, s := range r.l.steps {
		err := s.run(ctx, table)
		if err == nil {
			err = r.reads(ctx, table, s.after)
		}
		if err == nil {
			continue
		}
		if !store.Fired() {
			r.fatal("%s: %v", s.name, err)
		}
		r.wasFault(fmt.Errorf("%s: %w", s.name, err))
		other, err := r.l.open(ctx, inner, r.keys) // with the fault behind it, another process
		if err != nil {
			r.fatal("%s: open as another: %v", s.name, err)
		}
		r.check(ctx, other, i)
		if recovers {
			if err := table.Recover(ctx); err != nil {
				r.fatal("recover after %s: %v", s.name, err)
			}
		}
		r.goOn(ctx, table, i)
		break
	}
	calls = len(store.Calls())
	if err = table.Recover(ctx); errors.Is(err, storagetest.ErrFault) { // it came as late as that
		err = table.Recover(ctx)
	}
	if err != nil {
		r.fatal("recover: %v", err)
	}
	r.check(ctx, table, len(r.l.steps)-1)
	if err := leftovers(ctx, inner, table); err != nil {
		r.fatal("%v", err)
	}
	if other, err := r.l.open(ctx, inner, r.keys); err != nil {
		r.fatal("open: %v", err)
	} else if !r.check(ctx, other, len(r.l.steps)-1) {
		r.fatal("opened anew the table lacks the last step")
	}
	r.sound(ctx, inner)
	return calls
}

// reads reads the table, which is to hold a state.
func (r *storyRun) reads(ctx context.Context, table *Table, want storyState) error {
	r.t.Helper()
	got, err := readStory(ctx, table)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if d := got.differs(want); d != "" {
		r.fatal("read: %s", d)
	}
	return nil
}

// wasFault notes how a step failed, which is to be the store's doing.
func (r *storyRun) wasFault(err error) {
	r.t.Helper()
	r.what += fmt.Sprintf(": %v", err)
	if err := checkFault(err); err != nil {
		r.fatal("%v", err)
	}
}
