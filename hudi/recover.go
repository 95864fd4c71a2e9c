package hudi

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"lakefeed/hudi/timeline"
)

// Recover rolls back the transactions that a crash left unfinished, finishes
// rollbacks, compactions, cleanings and archivings that stand half done, and sweeps up markers.
// Where there are several writers it leaves alone what one of them is at work on.
// It may crash itself: the next call goes on. Transactions and services do the same
// first, but for the markers.
func (t *Table) Recover(ctx context.Context) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	t.busyWith("recovery")
	err := t.prepare(ctx)
	if err == nil {
		err = t.finishArchive(ctx)
	}
	if err == nil {
		err = t.sweep(ctx)
	}
	if err != nil {
		return fmt.Errorf("recover %s: %w", t.name, err)
	}
	return nil
}

// clear takes up whatever is pending and nobody is at work on. A table with one writer has
// its claim then, as one that is busy has, and nothing is pending.
func (t *Table) clear(ctx context.Context) error {
	if err := t.clearPending(ctx); err != nil {
		return err
	}
	for _, i := range t.timeline.Pending() {
		if i.Action == timeline.Restore { // it takes back whatever is written now
			return t.atWork(i, " is at work on the table")
		}
	}
	return nil
}

// atWork is the conflict with an instant of others that is pending.
func (t *Table) atWork(i timeline.Instant, what string) *ConflictError {
	return &ConflictError{Other: i.Time, Reason: fmt.Sprintf("%s%s: wait until it has ended (should it have died: %v)", i, what, t.opts.Concurrency.deadAfter())}
}

func (t *Table) clearPending(ctx context.Context) error {
	sole, aloof := !t.opts.Concurrency.optimistic(), t.opts.Concurrency.optimistic() && !t.claim.isBusy()
	if pending := t.timeline.Pending(); len(pending) > 0 {
		rest, err := t.abandoned(ctx)
		switch {
		case err != nil:
			return err
		case sole && len(rest) < len(pending): // before the claim is taken from it
			return t.busy(ctx, pending, rest)
		case len(rest) == 0 && aloof:
			return t.removeMetadataTable(ctx)
		}
	} else if aloof {
		return t.removeMetadataTable(ctx)
	}
	changed, err := t.hold(ctx)
	if err != nil {
		return err
	}
	t.work()
	if changed {
		if err := t.refresh(ctx); err != nil {
			return err
		}
	}
	if err := t.removeMetadataTable(ctx); err != nil { // before a service that is finished writes past it
		return err
	}
	if len(t.timeline.Pending()) == 0 {
		return nil
	}
	if err := errors.Join(t.recover(ctx), t.refresh(ctx)); err != nil { // others may have written meanwhile
		return err
	}
	if p := t.timeline.Pending(); sole && len(p) > 0 {
		return t.busy(ctx, p, nil)
	}
	return nil
}

// busy is the error of who finds instants of others, of which some are abandoned.
func (t *Table) busy(ctx context.Context, pending, rest []timeline.Instant) error {
	for _, i := range pending {
		if slices.Contains(rest, i) {
			continue
		}
		t.claim.mu.Lock()
		defer t.claim.mu.Unlock()
		r := t.claim.record
		lives, err := t.alive(ctx, &r)
		switch {
		case err != nil:
			return err
		case t.claim.known && lives:
			return t.claimed(&r, i)
		}
		return &ConflictError{Other: i.Time, Reason: fmt.Sprintf("another writer is at work on %s and shows it by its heartbeat: wait until that has ended (should it have died: %v), stop it, or share its lock (Concurrency.Mode %s, lakefeed table --lock)", i, t.opts.Concurrency.deadAfter(), Optimistic)}
	}
	return nil
}

// recover finishes or takes back whatever the timeline has pending and nobody is at
// work on.
func (t *Table) recover(ctx context.Context) error {
	pending, err := t.abandoned(ctx)
	if err != nil {
		return err
	}
	return t.takeUp(ctx, pending)
}

// own is a pending instant of this Table.
func (t *Table) own(of timeline.Instant) []timeline.Instant {
	return slices.DeleteFunc(t.timeline.Pending(), func(i timeline.Instant) bool { return !i.SameAs(of) })
}

// states are the files of an instant, without those of another one that has its time.
func (t *Table) states(of timeline.Instant) []timeline.Instant {
	return slices.DeleteFunc(t.timeline.States(of.Time), func(i timeline.Instant) bool { return !i.SameAs(of) })
}

// takeUp finishes pending instants or takes them back.
func (t *Table) takeUp(ctx context.Context, pending []timeline.Instant) error {
	if len(pending) == 0 {
		return nil
	}
	pending, err := t.dropLate(ctx, pending)
	if err != nil {
		return err
	}
	// Restores and rollbacks first: what they take back is pending too, and gone after them.
	for _, i := range pending {
		var err error
		switch i.Action {
		case timeline.Restore:
			err = t.finishRestore(ctx, i)
		case timeline.Rollback:
			err = t.finishRollback(ctx, i)
		default:
		}
		if err != nil {
			return fmt.Errorf("finish %s: %w", i, err)
		}
	}
	for _, i := range slices.Backward(t.stillPending(pending)) {
		switch i.Action {
		case timeline.Commit, timeline.DeltaCommit, timeline.ReplaceCommit:
			if err := t.rollback(ctx, i); err != nil {
				return fmt.Errorf("roll back %s: %w", i, err)
			}
		default:
		}
	}
	for _, i := range t.stillPending(pending) {
		if err := t.finish(ctx, i); err != nil {
			return fmt.Errorf("finish %s: %w", i, err)
		}
	}
	return t.loadAs(ctx, t.props, t.timeline)
}

// dropLate deletes the plans, and the marks of services at work, that a writer put which
// stood still for so long that another one had finished and archived them: archiving does
// not pass what is pending, nor what has a plan.
func (t *Table) dropLate(ctx context.Context, pending []timeline.Instant) (rest []timeline.Instant, err error) {
	var late []timeline.Instant
	for _, i := range pending {
		states := t.states(i)
		switch i.Action {
		case timeline.Compaction, timeline.Clean, timeline.Rollback:
			if t.timeline.BeforeStart(i.Time) || !slices.ContainsFunc(states, func(f timeline.Instant) bool { return f.State == timeline.Requested }) {
				late = append(late, states...)
				continue
			}
		default:
		}
		rest = append(rest, i)
	}
	for _, f := range late {
		if err := t.store.Delete(ctx, t.instantFile(f)); err != nil {
			return nil, fmt.Errorf("delete %s: %w", t.instantFile(f), err)
		}
	}
	if len(late) > 0 {
		t.without(late...)
	}
	return rest, nil
}

// stillPending are those of some pending instants that the timeline has still.
func (t *Table) stillPending(of []timeline.Instant) []timeline.Instant {
	return slices.DeleteFunc(t.timeline.Pending(), func(i timeline.Instant) bool {
		return !slices.ContainsFunc(of, func(o timeline.Instant) bool { return o.Time == i.Time })
	})
}

// finish carries out a service that stands half done.
func (t *Table) finish(ctx context.Context, i timeline.Instant) error {
	switch i.Action {
	case timeline.Compaction:
		return t.finishCompaction(ctx, i)
	case timeline.Clean:
		return t.finishClean(ctx, i)
	case timeline.Savepoint: // it does not say yet what it keeps
		return t.releaseSavepoint(ctx, i.Time)
	default:
	}
	return &UnsupportedError{"pending action", i.String(), "finish it with the engine that began it"}
}

// sweep deletes markers that nobody needs. Those of an instant that the timeline does
// not have are a rest of a transaction that another writer rolled back while it still
// ran: it may have written on.
func (t *Table) sweep(ctx context.Context) error {
	folders, err := t.store.Dirs(ctx, tempFolder)
	if err != nil {
		return fmt.Errorf("list markers: %w", err)
	}
	if len(folders) > 0 { // or one may be of a writer that took the table over just now
		if err := t.prove(ctx); err != nil {
			return err
		}
	}
	begun := sync.OnceValues(func() ([]string, error) { return t.listTimeline(ctx) }) // behind the folders: who has markers had begun before
	for _, f := range folders {
		instant := path.Base(f)
		if t.isPending(instant) {
			continue // a living writer's
		}
		if !t.timeline.Has(instant) && !t.timeline.BeforeStart(instant) {
			names, err := begun()
			if err != nil {
				return err
			}
			if slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, instant) }) {
				continue // one that began since the timeline was looked at
			}
			if err := t.rollbackLost(ctx, instant); err != nil {
				return fmt.Errorf("roll back %s: %w", instant, err)
			}
		}
		if err := t.sweepMarkers(ctx, instant); err != nil {
			return err
		}
	}
	return t.sweepHeartbeats(ctx)
}

// sweepMarkers deletes the markers of an instant that is not pending and, where its
// commit tells them, the files of attempts at it that broke off.
func (t *Table) sweepMarkers(ctx context.Context, instant string) error {
	for _, i := range t.timeline.Completed() {
		if i.Time == instant {
			m, err := t.readCommit(ctx, i)
			if err != nil {
				return err
			}
			return t.deleteAttempts(ctx, i, m, nil)
		}
	}
	return t.deleteMarkers(ctx, instant)
}

// recoverAfter cleans up after a transaction that could not start.
func (t *Table) recoverAfter(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return errors.Join(t.refresh(ctx), t.recover(ctx))
}
