package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"lakefeed/internal/seed"
	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// storyRun is a story that is told on a store: up to a death, and from there on.
type storyRun struct {
	t    *testing.T
	l    *story
	keys KeyStore      // the index of keys on the local disk
	what string        // what befalls it
	call func() string // the call that it befell, where that shows later only; or nil
}

func (r *storyRun) fatal(format string, args ...any) {
	r.t.Helper()
	if r.call != nil {
		r.what += ", " + r.call()
	}
	r.t.Fatalf("%s: %s", r.what, fmt.Sprintf(format, args...))
}

// tell makes the table and does the steps until one fails. It returns how many were done;
// -1 if there is no table yet.
func (r *storyRun) tell(ctx context.Context, store storage.Store) (done int, err error) {
	table, err := r.l.begin(ctx, store, r.keys)
	if err != nil {
		return -1, err
	}
	for i, s := range r.l.steps {
		if err := s.run(ctx, table); err != nil {
			return i, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return len(r.l.steps), nil
}

// before is what the table holds before a step.
func (r *storyRun) before(step int) storyState {
	if step > 0 {
		return r.l.steps[step-1].after
	}
	return storyState{"": r.l.steps[0].after[""]}
}

// look opens the table that a death in a step left, as another process, and finds it whole:
// before its recovery, after it, and to the end of the story.
func (r *storyRun) look(ctx context.Context, store storage.Store, step int, recover func()) {
	r.t.Helper()
	table, err := r.l.open(ctx, store, r.keys)
	if step < 0 && errors.Is(err, ErrNoTable) {
		if table, err = r.l.begin(ctx, store, r.keys); err != nil {
			r.fatal("create again: %v", err)
		}
	} else if err != nil {
		r.fatal("open: %v", err)
	}
	step = min(max(step, 0), len(r.l.steps)-1) // the last call's failure may be none of a step
	r.check(ctx, table, step)
	recover()
	if table, err = r.l.open(ctx, store, r.keys); err == nil {
		err = table.Recover(ctx)
	}
	if err != nil {
		r.fatal("recover: %v", err)
	}
	r.check(ctx, table, step)
	if err := leftovers(ctx, store, table); err != nil {
		r.fatal("%v", err)
	}
	r.goOn(ctx, table, step)
	r.sound(ctx, store)
}

// check finds what the table held before a step or holds after it.
func (r *storyRun) check(ctx context.Context, table *Table, step int) (done bool) {
	r.t.Helper()
	got, err := readStory(ctx, table)
	if err != nil {
		r.fatal("read: %v", err)
	}
	before, after := r.before(step), r.l.steps[step].after
	if done = maps.Equal(got, after); !done && !maps.Equal(got, before) {
		r.fatal("neither before %s: %s\nnor after it: %s", r.l.steps[step].name, got.differs(before), got.differs(after))
	}
	return done
}

// goOn does a step again that was not done, and all that follow it.
func (r *storyRun) goOn(ctx context.Context, table *Table, step int) {
	r.t.Helper()
	for ; step < len(r.l.steps); step++ {
		s := r.l.steps[step]
		if r.check(ctx, table, step) && !maps.Equal(s.after, r.before(step)) {
			continue
		}
		if err := s.run(ctx, table); err != nil {
			r.fatal("go on with %s: %v", s.name, err)
		}
		if !r.check(ctx, table, step) {
			r.fatal("%s did nothing", s.name)
		}
	}
}

// sound checks the table when the story is told.
func (r *storyRun) sound(ctx context.Context, store storage.Store) {
	r.t.Helper()
	report, err := Check(ctx, store, CheckOptions{})
	if err != nil {
		r.fatal("check: %v", err)
	}
	for _, f := range report.Faults {
		if f.Severity != Note {
			r.fatal("check: %v", f)
		}
	}
}

// storyCalls are the calls of a whole story on a store.
func storyCalls(t *testing.T, l *story) []storagetest.Call {
	t.Helper()
	counter := storagetest.NewFaulty(newStore(t), storagetest.Fault{Only: worthwhile})
	if _, err := (&storyRun{t: t, l: l, keys: newKeyStore(t)}).tell(t.Context(), counter); err != nil {
		t.Fatal(err)
	}
	return counter.Calls()
}

// TestStoryCrash lets the process die at each call of each story, and in its recovery, too;
// the next one has the old index of keys, or begins with an empty one.
func TestStoryCrash(t *testing.T) {
	t.Parallel()
	eachStoryDeath(t, 300, func(r *storyRun, n, done int, inner storage.Store) {
		ctx, at, when := r.t.Context(), 1+n/3, storagetest.When(n%3)
		if n%2 == 1 {
			r.keys = newKeyStore(r.t)
		}
		r.look(ctx, inner, done, func() { r.dyingRecovery(ctx, inner, at, when) })
	})
}

// eachStoryDeath lets the process die at calls of each story, one of so many by chance or in soak
// each: death n is at call 1+n/3, as n%3.
func eachStoryDeath(t *testing.T, one int, then func(r *storyRun, n, done int, inner storage.Store)) {
	t.Helper()
	eachStory(t, func(t *testing.T, l *story) {
		calls := storyCalls(t, l)
		for n := range some(t, 3*len(calls), one) {
			at, when := 1+n/3, storagetest.When(n%3)
			r := &storyRun{t: t, l: l, keys: newKeyStore(t), what: fmt.Sprintf("death at call %d, %v, as %d", at, calls[at-1], when)}
			inner := newStore(t)
			done, err := r.tell(t.Context(), storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: when, Dead: true, Only: worthwhile}))
			if done < len(l.steps) && !errors.Is(err, storagetest.ErrFault) {
				r.fatal("the story ended with %v", err)
			}
			then(r, n, done, inner)
		}
	})
}

// dyingRecovery recovers, and dies at some of its calls.
func (r *storyRun) dyingRecovery(ctx context.Context, inner storage.Store, at int, when storagetest.When) {
	r.t.Helper()
	for n := 1 + at%5; n < 60; n += 5 {
		table, err := r.l.open(ctx, storagetest.NewFaulty(inner, storagetest.Fault{At: n, When: when, Dead: true}), r.keys)
		if err == nil {
			err = table.Recover(ctx)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, storagetest.ErrFault) {
			r.fatal("recover, dying at %d: %v", n, err)
		}
	}
}

// TestStoryFault lets one call fail while the process lives on: the step is tried again with
// the same Table.
func TestStoryFault(t *testing.T) {
	t.Parallel()
	eachStory(t, func(t *testing.T, l *story) {
		calls := storyCalls(t, l)
		for n := range some(t, len(calls), 100) {
			ctx, at, when := t.Context(), n+1, storagetest.When(n%3)
			r := &storyRun{t: t, l: l, keys: newKeyStore(t), what: fmt.Sprintf("call %d, %v, fails as %d", at, calls[at-1], when)}
			store := storagetest.NewFaulty(newStore(t), storagetest.Fault{At: at, When: when, Only: worthwhile})
			table, err := l.begin(ctx, store, r.keys)
			if errors.Is(err, storagetest.ErrFault) {
				continue // TestCrash has it
			} else if err != nil {
				r.fatal("create: %v", err)
			}
			r.tryAgain(ctx, table)
			if err := table.Recover(ctx); err != nil {
				r.fatal("recover: %v", err)
			}
			if err := leftovers(ctx, store, table); err != nil {
				r.fatal("%v", err)
			}
			r.sound(ctx, store)
		}
	})
}

// tryAgain tells the story, of which a step may fail once.
func (r *storyRun) tryAgain(ctx context.Context, table *Table) {
	r.t.Helper()
	for i, s := range r.l.steps {
		err := s.run(ctx, table)
		if err == nil {
			continue
		}
		if !errors.Is(err, storagetest.ErrFault) {
			r.fatal("%s: %v", s.name, err)
		}
		if err := table.Recover(ctx); err != nil {
			r.fatal("recover after %s: %v", s.name, err)
		}
		r.goOn(ctx, table, i)
		return
	}
	r.check(ctx, table, len(r.l.steps)-1)
}

// TestStoryPowerFailure lets the power of a disk fail at random, and again while the table is
// recovered: what was not synced is lost.
func TestStoryPowerFailure(t *testing.T) {
	t.Parallel()
	eachStory(t, func(t *testing.T, l *story) {
		ctx, whole := t.Context(), storagetest.NewCrashFS()
		if _, err := (&storyRun{t: t, l: l, keys: newKeyStore(t)}).tell(ctx, diskStore(t, whole)); err != nil {
			t.Fatal(err)
		}
		rounds := 1
		if soak() {
			rounds = 100
		}
		seeds := rand.New(rand.NewPCG(seed.New(t), 11))
		for range rounds {
			seed := seeds.Uint64()
			rnd, disk := rand.New(rand.NewPCG(seed, 0)), storagetest.NewCrashFS()
			at := 1 + rnd.IntN(whole.Ops())
			r := &storyRun{t: t, l: l, keys: newKeyStore(t), what: fmt.Sprintf("power failure at %d, seed %d", at, seed)}
			disk.CrashAfter(at)
			done, err := r.tell(ctx, diskStore(t, disk))
			if done < len(l.steps) && !errors.Is(err, storagetest.ErrPowerOff) {
				r.fatal("the story ended with %v", err)
			}
			disk.Crash(rnd)
			r.look(ctx, diskStore(t, disk), done, func() {
				disk.CrashAfter(1 + rnd.IntN(60))
				if table, err := l.open(ctx, diskStore(t, disk), r.keys); err == nil {
					_ = table.Recover(ctx) // it may die
				}
				disk.Crash(rnd)
			})
		}
	})
}

// leftovers finds what a recovery should have taken away: what is pending, and files of
// what did not complete.
func leftovers(ctx context.Context, store storage.Store, table *Table) error {
	if p := table.Timeline().Pending(); len(p) > 0 {
		return fmt.Errorf("pending: %v", p)
	}
	for info, err := range store.List(ctx, "", true) {
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		f, ok := parseDataFile(info.Name, info.Size)
		if ok && !f.IsLog() && !counts(table.Timeline(), f.Instant) || strings.HasPrefix(info.Name, tempFolder+"/") {
			return fmt.Errorf("%s is left", info.Name)
		}
	}
	return nil
}
