package hudi

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

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

// recover finishes or takes back whatever the timeline has pending and nobody is at
// work on.
func (t *Table) recover(ctx context.Context) error {
	pending, err := t.abandoned(ctx)
	if err != nil || len(pending) == 0 {
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
	for _, f := range folders {
		instant := path.Base(f)
		if t.isPending(instant) {
			continue // a living writer's
		}
		if !t.timeline.Has(instant) && !t.timeline.BeforeStart(instant) {
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
			return t.deleteAttempts(ctx, instant, m)
		}
	}
	return t.deleteMarkers(ctx, instant)
}

// recoverAfter cleans up after a transaction that could not start.
func (t *Table) recoverAfter(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return errors.Join(t.refresh(ctx), t.recover(ctx))
}
