package hudi

import (
	"context"
	"testing"

	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// TestReadFault lets one call that reads fail while a table with services of its own is written: the
// step is tried again with the same Table.
func TestReadFault(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx := t.Context()
		m, steps := crashStory(t, typ)
		counter := faultyReads(newStore(t), 0, 0)
		table := newTable(t, counter, typ, m.table.Buckets())
		created := len(counter.Calls())
		if _, err := goThrough(ctx, &model{table: table, t: t}, steps); err != nil {
			t.Fatal(err)
		}
		calls := counter.Calls()
		for n := range some(t, 3*len(calls), 97) {
			c := &crash{t: t, m: m, steps: steps, at: 1 + n/3, call: calls[n/3], when: storagetest.When(n % 3)}
			if c.at <= created {
				continue
			}
			inner := newStore(t)
			store := faultyReads(inner, c.at, c.when)
			told := &model{table: newTable(t, store, typ, m.table.Buckets()), t: t}
			for left := steps; len(left) > 0; {
				done, err := goThrough(ctx, told, left)
				if err != nil {
					if err := checkFault(err); err != nil {
						c.fatal("%v", err)
					}
				}
				left = left[done:]
			}
			other, err := Open(ctx, inner, Options{})
			if err != nil {
				c.fatal("open: %v", err)
			}
			c.check(ctx, other, len(steps)-1)
			if err := told.table.Recover(ctx); err != nil {
				c.fatal("recover: %v", err)
			}
			c.check(ctx, told.table, len(steps)-1)
			c.checkLeft(ctx, store, told.table)
			c.goOn(ctx, told.table)
		}
	})
}

// TestRecoveryReadFault lets the process die at calls of each story, and calls that read fail in
// the recoveries that follow. What such a call does not tell is not to be taken for gone.
func TestRecoveryReadFault(t *testing.T) {
	t.Parallel()
	eachStoryDeath(t, 401, func(r *storyRun, n, done int, inner storage.Store) {
		ctx, at, when := r.t.Context(), 1+n/3, storagetest.When(n%3)
		r.look(ctx, inner, done, func() { r.stumblingRecovery(ctx, inner, done, at, when) })
	})
}

// stumblingRecovery recovers time and again while another call that reads fails: in turns the
// process ends with that, or the same Table tries once more.
func (r *storyRun) stumblingRecovery(ctx context.Context, inner storage.Store, step, at int, when storagetest.When) {
	r.t.Helper()
	for n := 1 + at%3; ; n += 3 {
		store := faultyReads(inner, n, when)
		table, err := r.l.open(ctx, store, r.keys)
		if err == nil {
			err = table.Recover(ctx)
		}
		if err == nil {
			if !store.Fired() {
				return
			}
			continue // it did without that call
		}
		if err := checkFault(err); err != nil {
			r.fatal("recover, where read %d fails: %v", n, err)
		}
		if table == nil || n%2 == 0 {
			continue
		}
		if err := table.Recover(ctx); err != nil {
			r.fatal("recover once more, where read %d failed: %v", n, err)
		}
		r.check(ctx, table, min(max(step, 0), len(r.l.steps)-1))
	}
}
