package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"lakefeed/change"
)

// startSnapshot begins the next incremental snapshot that can be made, and says when to look again.
// It is one of the copies: the source holds one snapshot for all of them.
func (p *Pipeline) startSnapshot(ctx context.Context, j *jobs) (next time.Time) {
	if j.copies > 0 || p.opts.Until != 0 {
		return next
	}
	inc := &p.incremental
	for _, s := range inc.list() {
		t := p.targetNamed(s.Table)
		switch {
		case p.opts.Once && (t == nil || t.paused || t.failed() || t.isDropped() || t.recopy != nil && !t.recopy.chunks):
			inc.settled(p, s.ID) // by another run
		case s.Paused || p.opts.Once && !inc.wanted(s.ID):
		case t == nil || t.at.LSN == 0 || !t.direct():
			if t != nil {
				p.showWaiting(t, s)
			}
		case time.Now().Before(inc.tries[s.ID].next): // those behind it do not wait for that
			if at := inc.tries[s.ID].next; next.IsZero() || at.Before(next) {
				next = at
			}
		default:
			p.beginSnapshot(ctx, j, t, s)
			return time.Time{}
		}
	}
	return next
}

// showWaiting tells of a snapshot that was asked for and is not begun.
func (p *Pipeline) showWaiting(t *target, s Snapshot) {
	if now := t.snapshot().Snapshot; now == nil || now.ID != s.ID {
		p.showSnapshot(t, s, SnapshotStatus{State: SnapshotWaiting})
	}
}

func (i *incremental) wanted(id string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.once[id]
}

// run notes which one is made.
func (i *incremental) run(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.running = id
}

// holds reports whether a snapshot is still to be made, now.
func (i *incremental) holds(id string) bool {
	return slices.ContainsFunc(i.list(), func(s Snapshot) bool { return s.ID == id && !s.Paused })
}

func (p *Pipeline) beginSnapshot(ctx context.Context, j *jobs, t *target, s Snapshot) {
	j.copies++
	p.incremental.run(s.ID)
	p.showSnapshot(t, s, SnapshotStatus{State: SnapshotReading})
	j.group.Go(func() error {
		err := p.readSnapshot(ctx, t, s)
		select {
		case j.done <- result{t: t, snapshot: &s, err: err}:
		case <-ctx.Done():
		}
		return nil
	})
}

// readSnapshot reads the rows anew, and returns when the lake, or the spool, has all of them.
func (p *Pipeline) readSnapshot(ctx context.Context, t *target, s Snapshot) error {
	p.phase("snapshot")
	v, err := snapshotTable(ctx, p.opts.Source, s.Table, s.Where, s.Columns)
	if err != nil {
		return err
	}
	w, err := newWindow(v, p.spillDir, p.opts.MemoryBudget/8, func(rows, left int64) {
		p.showSnapshot(t, s, SnapshotStatus{State: SnapshotReading, Rows: rows, LeftOut: left})
	})
	if err != nil {
		return err
	}
	read := v
	if len(s.Columns) > 0 {
		w.only(s.Columns)
		read = onlyColumns(v, s.Columns)
	}
	p.incremental.window.Store(w)
	defer func() {
		p.incremental.window.Store(nil)
		w.close()
	}()
	if !p.incremental.holds(s.ID) { // since before there was a window
		return errSteered
	}
	if err := w.await(ctx, func() bool { return w.opened }); err != nil {
		return err
	}
	err = p.underSnapshot(ctx, w, func(at change.LSN) error {
		return p.copyWhere(ctx, w, read, at, s.Where)
	})
	for try := 0; err == nil; try++ { // rows that have another key since, and values of which the log has not said
		keys := w.takeMoved()
		if len(keys) == 0 {
			break
		}
		if try == movedTries {
			return errors.New("the keys of rows with large values change faster than these can be read")
		}
		err = p.underSnapshot(ctx, w, func(at change.LSN) error {
			w.begin(at, 0)
			return p.opts.Source.CopyKeys(ctx, v, keys, func(b *change.Batch) error { return p.queueRows(ctx, w, b) })
		})
	}
	return err
}

// movedTries is how often rows are read by their new keys.
const movedTries = 20

// underSnapshot reads rows under a snapshot of now, and waits until they are written.
func (p *Pipeline) underSnapshot(ctx context.Context, w *window, read func(at change.LSN) error) error {
	at, err := p.opts.Source.OpenSnapshot(ctx)
	if err != nil {
		return &sourceError{fmt.Errorf("open snapshot: %w", err)}
	}
	err = read(at)
	if cause := p.opts.Source.CloseSnapshot(context.WithoutCancel(ctx)); err == nil && cause != nil {
		p.log.Warn("close the snapshot of a copy", "table", w.table.String(), "error", cause)
	}
	if failed := w.failure(); failed != nil { // why reading ended
		return failed
	}
	if err != nil {
		return &sourceError{err}
	}
	w.end()
	return p.awaitWritten(ctx, w)
}

// awaitWritten waits until all that is queued is written. A source that is idle is moved on: rows take
// their place behind what was read of its log.
func (p *Pipeline) awaitWritten(ctx context.Context, w *window) error {
	if err := p.moveOn(ctx); err != nil {
		return err
	}
	if err := w.await(ctx, w.empty); err != nil {
		return err
	}
	p.phase("snapshot written")
	return nil
}

// moveOn lets the log of the source go on.
func (p *Pipeline) moveOn(ctx context.Context) error {
	if _, err := p.opts.Source.Emit(ctx, "snapshot"); err != nil && !errors.Is(err, change.ErrReadOnly) {
		return &sourceError{err}
	}
	return nil
}

// copyWhere reads the rows that meet the condition, of a table that may be narrowed. A standby is awaited while its replay moves; one
// that stands still must not keep other copies from being made.
func (p *Pipeline) copyWhere(ctx context.Context, w *window, read *change.Table, at change.LSN, where string) error {
	for patience := (standbyWait{p: p}); ; {
		err := p.opts.Source.CopyWhere(ctx, read, where, func(until change.LSN) { w.begin(at, until) }, func(b *change.Batch) error {
			return p.queueRows(ctx, w, b)
		})
		behind, is := errors.AsType[*change.BehindError](err)
		if !is {
			return err
		}
		wait, ok := patience.next(behind, time.Now())
		if !ok || time.Since(patience.since) >= onceBehind || w.failure() != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// queueRows queues rows for their place in the stream; where that has as many as it may, it waits.
func (p *Pipeline) queueRows(ctx context.Context, w *window, b *change.Batch) error {
	p.phase("snapshot rows")
	if w.push(w.patched(b)) {
		return nil
	}
	if err := p.moveOn(ctx); err != nil {
		return err
	}
	return w.await(ctx, w.room)
}

// finishSnapshot takes in how an incremental snapshot went.
func (p *Pipeline) finishSnapshot(ctx context.Context, t *target, s Snapshot, err error) {
	if ctx.Err() != nil {
		return
	}
	rows, left := int64(0), int64(0)
	if now := t.snapshot().Snapshot; now != nil && now.ID == s.ID {
		rows, left = now.Rows, now.LeftOut
	}
	inc := &p.incremental
	inc.run("")
	if !inc.holds(s.ID) {
		inc.settled(p, s.ID)
		p.showSteered(t, s)
		return
	}
	again := err != nil && p.snapshotAgain(err)
	switch {
	case err == nil:
		p.log.Info("rows were read anew", s.attrs("rows", rows, "id", s.ID)...)
		p.showSnapshot(t, s, SnapshotStatus{State: SnapshotDone, Rows: rows, LeftOut: left})
	case again:
		next := inc.later(s.ID, p.after(inc.tries[s.ID].wait))
		p.log.Warn("rows are to be read anew once more, from the beginning", s.attrs("because", err, "at", next)...)
		p.showSnapshot(t, s, SnapshotStatus{State: SnapshotWaiting, Error: err.Error(), Again: next})
	default:
		p.log.Error("rows cannot be read anew", s.attrs("error", err, "id", s.ID)...)
		p.showSnapshot(t, s, SnapshotStatus{State: SnapshotFailed, Rows: rows, LeftOut: left, Error: err.Error()})
	}
	inc.settled(p, s.ID)
	if again {
		return
	}
	delete(inc.tries, s.ID)
	err = inc.change(ctx, p, func(r *snapshotRecord) {
		r.Snapshots = slices.DeleteFunc(r.Snapshots, func(o Snapshot) bool { return o.ID == s.ID })
	})
	if err != nil { // it may be made twice, which does no harm
		p.log.Warn("cannot note that rows were read anew", "table", t.name, "error", err)
		inc.later(s.ID, p.after(0))
	}
}

// snapshotTry is when a snapshot is tried again, and how long that was put off.
type snapshotTry struct {
	wait time.Duration
	next time.Time
}

// later puts the next try of a snapshot off, and says to when.
func (i *incremental) later(id string, wait time.Duration) time.Time {
	if i.tries == nil {
		i.tries = map[string]snapshotTry{}
	}
	i.tries[id] = snapshotTry{wait, time.Now().Add(wait)}
	return i.tries[id].next
}

// snapshotAgain reports whether an incremental snapshot is made anew: what kept it from being made passes.
func (p *Pipeline) snapshotAgain(err error) bool {
	_, noKey := errors.AsType[*noKeyError](err)
	_, column := errors.AsType[*ColumnError](err)
	_, condition := errors.AsType[*change.ConditionError](err)
	source, ofSource := errors.AsType[*sourceError](err)
	switch {
	case noKey, column, condition, errors.Is(err, errGone):
		return false
	case changedMeanwhile(err):
		return true
	}
	return !ofSource || p.retryable(source.error)
}
