package pipeline

import (
	"context"
	"errors"
	"time"

	"lakefeed/hudi"
	"lakefeed/storage"
)

// LakeError is an error of the lake that may pass by itself, as a disk that is full, a
// right that was taken away for a while or a store that is out of reach, and none of
// what a table holds.
type LakeError struct{ Err error }

// Error is the lake's.
func (e *LakeError) Error() string { return e.Err.Error() }

// Unwrap is the lake's error.
func (e *LakeError) Unwrap() error { return e.Err }

// ofLake marks an error that came up while a table was read or written, unless it says
// something that a new try does not change.
func ofLake(err error) error {
	_, isAnew := errors.AsType[*AnewError](err)
	_, missing := errors.AsType[*MissingRowError](err)
	_, source := errors.AsType[*sourceError](err)
	_, corrupt := errors.AsType[*hudi.CorruptError](err)
	_, unsupported := errors.AsType[*hudi.UnsupportedError](err)
	_, schema := errors.AsType[*hudi.SchemaError](err)
	_, position := errors.AsType[*PositionError](err)
	_, partition := errors.AsType[*PartitionByError](err)
	_, folder := errors.AsType[*hudi.PartitionError](err)
	if isAnew || missing || source || corrupt || unsupported || schema || position || partition || folder ||
		errors.Is(err, hudi.ErrTableExists) || errors.Is(err, hudi.ErrNoTable) {
		return err
	}
	return &LakeError{err}
}

// errAgain ends a session whose stopped tables are tried again by the next one: a
// start knows best how far each of them is.
var errAgain = errors.New("tables that stopped are tried again")

// The first time after which a table is tried again is three commit intervals, within
// the first two of these; it doubles with every try that fails, up to the third.
const (
	againLeast = 2 * time.Second
	againFirst = 30 * time.Second
	againMost  = 2 * time.Minute
)

// again says when the tables that stopped for a reason that passes by itself are to
// be tried again. The zero value is ready to be used.
type again struct {
	wait time.Duration // before the last try; 0: there was none
	at   time.Time     // of the next one; zero: there is none to come
}

// next is the wait before the next try.
func (a *again) next(interval time.Duration) time.Duration {
	if a.wait == 0 {
		return max(againLeast, min(3*interval, againFirst))
	}
	return min(2*a.wait, againMost)
}

// dueAgain reports whether tables that stopped are to be tried again now.
func (p *Pipeline) dueAgain() bool {
	if !p.opts.Once && p.replayAsked.Swap(false) {
		return true // a start reads what is to be replayed
	}
	if p.opts.Once || p.opts.RetryTable == nil {
		return false
	}
	passes := false
	p.failures.Range(func(_, err any) bool {
		passes = p.opts.RetryTable(err.(error)) // only errors are stored
		return !passes
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !passes:
		p.again.at = time.Time{}
		return false
	case p.again.at.IsZero():
		p.again.wait = p.again.next(p.opts.Interval)
		p.again.at = time.Now().Add(p.again.wait)
		p.log.Info("tables that stopped are tried again", "in", p.again.wait)
	}
	if time.Now().Before(p.again.at) {
		return false
	}
	p.again.at = time.Time{}
	return true
}

// removed is the error of a table whose folder somebody took away while the pipeline
// ran, nil where it is still there.
func (t *target) removed(ctx context.Context) error {
	if _, _, err := t.store.Get(ctx, propertiesFile); !errors.Is(err, storage.ErrNotExist) {
		return nil
	}
	return anew("its folder %s is gone from the lake, or the file in it that makes it a table (%s): somebody removed or moved it while the pipeline ran", t.store, propertiesFile)
}
