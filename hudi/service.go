package hudi

import (
	"context"
	"errors"
	"fmt"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// What the table services share: the frame in which they run, and the three files of the
// timeline in which each says what it is about to do, that it is at it, and what it did.

// errand is what a service is about to do.
type errand struct {
	what string      // for its errors
	busy string      // for the claim, where it does what no instant on the timeline shows
	idle func() bool // there is nothing to do, by the table as it is known; nil: that is not known
}

// serve runs a service that has the table to itself, on the table as it is now. Where
// there is nothing to do, and nobody else may have written, the store is not asked at all.
func serve[R any](ctx context.Context, t *Table, e errand, do func(context.Context) (R, error)) (R, error) {
	var none, res R
	if err := t.lock(ctx); err != nil {
		return none, err
	}
	defer t.unlock()
	if e.idle != nil && t.quiet() && e.idle() {
		return none, nil
	}
	t.busyWith(e.busy)
	err := t.prepare(ctx)
	if err == nil {
		res, err = do(ctx)
	}
	if err != nil {
		return none, fmt.Errorf("%s: %w", e.what, err)
	}
	return res, nil
}

// schedule writes a plan down, at an instant of its own.
func (t *Table) schedule(ctx context.Context, action timeline.Action, plan interface{ Encode() ([]byte, error) }) (timeline.Instant, error) {
	i := timeline.Instant{Time: t.nextInstant(), Action: action, State: timeline.Requested}
	data, err := plan.Encode()
	if err != nil {
		return i, err
	}
	t.opts.Hook(string(action))
	if err := t.putDecided(ctx, i, data); err != nil {
		return i, err
	}
	t.with(i)
	return i, nil
}

// readPlan reads what the requested file of an instant says.
func readPlan[P any](ctx context.Context, t *Table, i timeline.Instant, decode func([]byte) (P, error)) (plan P, err error) {
	i.State, i.Completion = timeline.Requested, ""
	return readAs(ctx, t, i, decode)
}

// errEmptyFile is a file of the timeline that a crash of its machine left without what it said.
var errEmptyFile = errors.New("it is empty")

// saysNothing tells whether a file of the timeline could not be read as it is empty or gone.
func saysNothing(err error) bool {
	return errors.Is(err, errEmptyFile) || errors.Is(err, storage.ErrNotExist)
}

// readAs reads a file of the timeline.
func readAs[P any](ctx context.Context, t *Table, i timeline.Instant, decode func([]byte) (P, error)) (p P, err error) {
	data, err := t.readInstant(ctx, i)
	if err != nil {
		return p, err
	}
	if len(data) == 0 {
		err = errEmptyFile
	} else {
		p, err = decode(data)
	}
	if err != nil {
		return p, &CorruptError{t.instantFile(i), err}
	}
	return p, nil
}

// start creates the inflight file of an instant, which an attempt that broke off may
// have left.
func (t *Table) start(ctx context.Context, i timeline.Instant, data []byte) error {
	if err := t.store.PutIfAbsent(ctx, t.instantFile(i), data); err != nil && !errors.Is(err, storage.ErrExist) {
		return fmt.Errorf("create %s: %w", t.instantFile(i), err)
	}
	return nil
}

// complete publishes what was done at an instant, of which all files are there then.
func (t *Table) complete(ctx context.Context, files []timeline.Instant, done interface{ Encode() ([]byte, error) }) error {
	data, err := done.Encode()
	if err != nil {
		return err
	}
	last := files[len(files)-1]
	t.opts.Hook(string(last.Action))
	if err := t.putDecided(ctx, last, data, files[:len(files)-1]...); err != nil {
		return err
	}
	t.with(files...)
	return nil
}
