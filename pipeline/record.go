package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The progress record is in the lake. Where the spool has a place of its own it has a twin
// there: the newest of both counts, and one of the two has to take a new one.

// spoolRecord is the name of the progress record beside the spool.
const spoolRecord = "progress"

// newer reports whether a record was written later than another, which may be none.
func (r *progress) newer(than *progress) bool {
	return r != nil && (than == nil || r.LSN > than.LSN || r.LSN == than.LSN && r.Written.After(than.Written))
}

// readRecord is the newest progress record.
func (p *Pipeline) readRecord(ctx context.Context) (*progress, error) {
	record, err := readProgress(ctx, p.opts.Lake, p.opts.key())
	away, isAway := errors.AsType[*AwayError](err)
	if err != nil && !isAway || !p.spool.own {
		return record, err
	}
	beside, err := readProgressAt(ctx, p.spool.store, spoolRecord)
	switch {
	case err != nil:
		return nil, err
	case isAway && beside == nil:
		return nil, &LakeError{away}
	case !isAway && record == nil && beside != nil:
		return nil, &PositionError{
			What:   fmt.Sprintf("the lake %s knows nothing of the pipeline, and the spool %s knows it up to %s: the lake is not where it was (a disk that is not mounted?), or was emptied", p.opts.Lake, p.spool.store, beside.LSN),
			WayOut: "bring it back; where the tables are to be copied anew into an empty lake, drop the slot and remove that folder of the spool",
		}
	}
	p.recordMu.Lock()
	defer p.recordMu.Unlock()
	for _, r := range []*progress{record, beside} {
		if r != nil && r.Written.After(p.recordedAt) {
			p.recordedAt = r.Written
		}
	}
	for _, r := range []*progress{beside, p.recorded} {
		if (r == beside || isAway) && r.newer(record) {
			record = r
		}
	}
	return record, nil
}

// lakeRest is for how long a lake that refused a record is not asked to take the next, where
// the spool's place takes it.
const lakeRest = 10 * time.Second

// writeRecord writes the progress record into the lake, and beside a spool of its own: one of
// the two has to take it. So who starts without the lake has the newest.
func (p *Pipeline) writeRecord(ctx context.Context, r progress) error {
	p.recordMu.Lock()
	defer p.recordMu.Unlock()
	return p.putRecord(ctx, r)
}

// putRecord is writeRecord for who holds recordMu.
func (p *Pipeline) putRecord(ctx context.Context, r progress) error {
	if r.Written = time.Now().UTC(); !r.Written.After(p.recordedAt) { // the clock was set back
		r.Written = p.recordedAt.Add(time.Nanosecond)
	}
	p.recordedAt = r.Written
	if !p.spool.own {
		err := writeProgressAt(ctx, p.opts.Lake, progressName(p.opts.key()), r)
		if err == nil {
			p.recorded = &r
		}
		return err
	}
	beside := writeProgressAt(ctx, p.spool.store, spoolRecord, r)
	if beside == nil && time.Since(p.lakeLost) < lakeRest {
		p.recorded = &r
		return nil
	}
	err := writeProgressAt(ctx, p.opts.Lake, progressName(p.opts.key()), r)
	if err != nil {
		p.lakeLost = time.Now()
		p.lakeFailed.Store(true)
	}
	switch {
	case err != nil && beside != nil:
		return errors.Join(err, fmt.Errorf("beside the spool: %w", beside))
	case beside != nil:
		p.log.Warn("cannot note the progress beside the spool: without the lake no start would be possible", "error", beside)
	}
	p.recorded = &r
	return nil
}

// notedError is a table of which the record says that only a new copy helps it.
type notedError struct{ stopNote }

// Error is why.
func (e *notedError) Error() string { return e.Why }

// recall sees, as soon as a table can be read, whether it has the copy that it waited for.
func (t *target) recall() error {
	note := t.noted
	if t.noted = nil; note == nil || note.fulfilled(t) {
		return nil
	}
	return &notedError{*note}
}
