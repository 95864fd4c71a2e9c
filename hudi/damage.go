package hudi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"lakefeed/storage"
)

// reading is a data file that is read. It knows whether the store failed: where that gave
// all that was asked for, what goes wrong is the file's fault.
type reading struct {
	storage.Reader
	path   string // below the table's folder
	failed atomic.Bool
}

// ReadAt is that of [io.ReaderAt].
func (r *reading) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.Reader.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		r.failed.Store(true)
	}
	return n, err //nolint:wrapcheck // the reader of the file says what it read
}

// blame makes a [CorruptError] of an error of making sense of the file. Those of the store
// stay what they are, and so do those that say what this package does not do.
func (r *reading) blame(err error) error {
	switch {
	case err == nil, r.failed.Load(), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case isA[*CorruptError](err):
		return err
	case isA[*UnsupportedError](err), isA[*SchemaError](err):
		return fmt.Errorf("%s: %w", r.path, err)
	}
	return r.corrupt(err)
}

// corrupt is blame for what no other error can come of.
func (r *reading) corrupt(err error) error {
	if r.failed.Load() {
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	return &CorruptError{r.path, err}
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// consumer passes rows on, and remembers what their consumer said of them, so that it is
// not taken for the fault of the file that they are from.
type consumer[T any] struct {
	take func(T) error
	err  error
}

func (c *consumer[T]) yield(rows T) error {
	c.err = c.take(rows)
	return c.err
}
