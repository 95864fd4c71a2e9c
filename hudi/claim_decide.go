package hudi

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// decide makes up the table's mind about a file of the timeline: after it the file is to
// be, whoever puts it. Verify looks whether what it says of the table is still so, where
// the claim was another's since that was looked at.
func (t *Table) decide(ctx context.Context, i timeline.Instant, data []byte, verify func() error) error {
	c := t.claim
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tried = timeline.Instant{}
	for range claimTries {
		err := t.ready(ctx)
		if err == nil && !c.seen {
			err = verify()
			c.seen = err == nil
		}
		if err == nil {
			err = t.writeClaim(ctx, &decision{i.FileName(), data})
			if !errors.Is(err, storage.ErrConflict) || errors.Is(err, errMaybe) {
				c.tried = i
			}
		}
		if err == nil {
			c.put = false
			return nil
		}
		if !errors.Is(err, storage.ErrConflict) {
			return err
		}
	}
	return t.claimLost(i.Time)
}

// lateAfter is how long putting what was decided may take before it is looked whether
// another writer has put it meanwhile, and the table gone on.
const lateAfter = time.Second

// putDecided decides on a file of the timeline and puts it. Besides it files of its instant
// are there that the timeline in memory has not.
func (t *Table) putDecided(ctx context.Context, i timeline.Instant, data []byte, besides ...timeline.Instant) error {
	ctx, stop, err := t.fence(ctx, i)
	if err != nil {
		return err
	}
	defer stop()
	began := newStopwatch()
	if err := t.decide(ctx, i, data, func() error { return t.unshared(ctx, i, besides) }); err != nil {
		return err
	}
	late := func() bool { return began.elapsed() > t.claim.late }
	if late() {
		if err := t.checkLate(ctx, i); err != nil {
			return err
		}
	}
	err = t.putInstant(ctx, i, data)
	switch {
	case err != nil && !t.isThere(ctx, i, data, err):
		return err
	case err == nil && late():
		if err := t.checkLate(ctx, i); errors.As(err, new(*ConflictError)) { // else it is there all the same
			return errors.Join(err, t.store.Delete(context.WithoutCancel(ctx), t.instantFile(i)))
		}
	}
	t.claim.carried()
	return nil
}

// unshared sees that the table is as it was before another writer had the claim. One that took
// a compaction over leaves no trace of that on the timeline, and has deleted our files, perhaps.
func (t *Table) unshared(ctx context.Context, i timeline.Instant, besides []timeline.Instant) error {
	if slices.ContainsFunc(besides, func(b timeline.Instant) bool { return b.Action == timeline.Compaction }) {
		return &ConflictError{Instant: i.Time, Reason: "another writer had the table meanwhile, and may have finished the compaction with files of its own: begin it anew"}
	}
	return t.alone(ctx, i.Time, besides...)
}

// checkLate refuses a file that was decided and that another writer has put meanwhile, and
// taken away again with its instant.
func (t *Table) checkLate(ctx context.Context, i timeline.Instant) error {
	t.claim.mu.Lock()
	defer t.claim.mu.Unlock()
	return t.overtaken(ctx, i.FileName())
}

// overtaken is the error where the table has gone on past a decision, and its instant is not
// on the timeline any more: of that nothing is there, but perhaps the file, put too late.
// Who calls it holds the claim's lock.
func (t *Table) overtaken(ctx context.Context, file string) error {
	c := t.claim
	c.known = false
	if err := t.learn(ctx); err != nil {
		return err
	}
	if d := c.record.Decided; c.mine() || d != nil && d.File == file { // nobody has decided anything since
		return nil
	}
	names, err := t.listTimeline(ctx)
	if err != nil {
		return err
	}
	i, _ := timeline.ParseName(file)
	if _, found := slices.BinarySearch(names, file); found {
		if stands, err := t.stands(ctx, timeline.NewLayout(t.timeline.Layout(), names), i); err != nil || stands {
			return err
		}
	}
	return t.claimLost(i.Time)
}

// outstanding tells whether a file that was decided on is still to be put: it is not there,
// and engines that know of no claim have done nothing meanwhile by which it would be wrong.
func (t *Table) outstanding(ctx context.Context, names []string, file string) (bool, error) {
	i, ok := timeline.ParseName(file)
	if _, found := slices.BinarySearch(names, file); !ok || found {
		return false, nil
	}
	if i.State == timeline.Requested { // a plan, of the table as it was
		return len(names) == 0 || names[len(names)-1] < i.Time, nil
	}
	return t.stands(ctx, timeline.NewLayout(t.timeline.Layout(), names), i)
}

// stands tells whether an instant may be complete: its inflight file is there, and nothing younger
// takes it back.
func (t *Table) stands(ctx context.Context, tl *timeline.Timeline, i timeline.Instant) (bool, error) {
	if !slices.ContainsFunc(tl.States(i.Time), func(f timeline.Instant) bool { return f.State == timeline.Inflight && f.SameAs(i) }) {
		return false, nil
	}
	for _, o := range tl.Instants() {
		if o.Time <= i.Time {
			continue
		}
		if taken, err := t.takesBack(ctx, o, i); err != nil || taken {
			return false, err
		}
	}
	return true, nil
}

// takesBack tells whether an instant is the rollback of an older one, or a restore. A rollback that
// does not say of what may be.
func (t *Table) takesBack(ctx context.Context, o, i timeline.Instant) (bool, error) {
	if o.Action != timeline.Rollback {
		return o.Action == timeline.Restore, nil
	}
	plan, err := readPlan(ctx, t, o, timeline.DecodeRollbackPlan)
	switch {
	case errors.Is(err, storage.ErrNotExist), errors.As(err, new(*CorruptError)):
		return true, nil
	case err != nil:
		return false, err
	}
	return plan.InstantToRollback == nil || takenBack(plan).SameAs(i), nil
}

// stopwatch measures by both clocks: the one stands still while a computer sleeps, the
// other may be set.
type stopwatch time.Time

func newStopwatch() stopwatch { return stopwatch(time.Now()) }

func (s stopwatch) elapsed() time.Duration {
	began := time.Time(s)
	return max(time.Since(began), time.Now().Round(0).Sub(began.Round(0)))
}

// isThere tells whether another writer has put what was decided, who found it missing.
func (t *Table) isThere(ctx context.Context, i timeline.Instant, data []byte, err error) bool {
	if !errors.As(err, new(*ConflictError)) {
		return false
	}
	there, err := t.readInstant(ctx, i)
	return err == nil && bytes.Equal(there, data)
}
