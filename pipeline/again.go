package pipeline

import (
	"context"
	"errors"

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

// errAgain ends a session so that the next one reads once more what the lake and the spool lack.
var errAgain = errors.New("what could not be taken in is read once more")

// dueAgain reports whether a session is to end so that the next one does what is asked.
func (p *Pipeline) dueAgain() bool {
	if p.opts.Once {
		return false
	}
	replay, afresh := p.replayAsked.Swap(false), p.afresh.Swap(false)
	return replay || afresh // a start reads what is to be replayed
}

// removed is the error of a table whose folder somebody took away while the pipeline
// ran, nil where it is still there.
func (t *target) removed(ctx context.Context) error {
	if _, _, err := t.store.Get(ctx, propertiesFile); !errors.Is(err, storage.ErrNotExist) {
		return nil
	}
	return anew("its folder %s is gone from the lake, or the file in it that makes it a table (%s): somebody removed or moved it while the pipeline ran", t.store, propertiesFile)
}
