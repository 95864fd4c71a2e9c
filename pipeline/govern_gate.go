package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"lakefeed/storage"
)

// AwayError is a lake that does not answer while the spool has a place of its own: calls on
// it fail at once, until it answers again, so that nothing waits for it.
type AwayError struct {
	Lake string
	Err  error // why; not unwrapped: it says nothing of the call that failed
}

// Error says it.
func (e *AwayError) Error() string {
	return fmt.Sprintf("the lake %s is away, and changes go to the spool until it is back: %v", e.Lake, e.Err)
}

// gate stands before the lake. While it is closed every call fails at once, and calls that
// were under way when it closed are broken off, as if the lake had not answered.
type gate struct {
	storage.Store

	mu    sync.Mutex
	away  *AwayError // nil: it is open
	epoch context.Context
	end   context.CancelCauseFunc // of the calls that are under way
}

func newGate(lake storage.Store) *gate {
	g := &gate{Store: lake}
	g.epoch, g.end = context.WithCancelCause(context.Background())
	return g
}

// closed is why the gate is closed, nil where it is open, or there is none.
func (g *gate) closed() *AwayError {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.away
}

// shut closes the gate.
func (g *gate) shut(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away == nil {
		g.away = &AwayError{g.String(), err}
		g.end(g.away)
	}
}

// open opens it, and reports whether it was closed.
func (g *gate) open() bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away == nil {
		return false
	}
	g.away = nil
	g.epoch, g.end = context.WithCancelCause(context.Background())
	return true
}

// breakOff ends the calls that are under way, and lets new ones through.
func (g *gate) breakOff(err error) {
	g.shut(err)
	g.open()
}

// call is one call on the lake, or what it opened.
type call struct {
	inside context.Context // of the call; it ends when the gate closes
	epoch  context.Context
	leave  func() // lets go of it
}

// enter begins a call.
func (g *gate) enter(ctx context.Context) (*call, error) {
	g.mu.Lock()
	epoch, away := g.epoch, g.away
	g.mu.Unlock()
	if away != nil {
		return nil, away
	}
	inside, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(epoch, cancel)
	return &call{inside, epoch, func() { stop(); cancel() }}, nil
}

// off is why the call was broken off, nil where it was not.
func (c *call) off() error {
	if c.epoch.Err() != nil {
		return context.Cause(c.epoch)
	}
	return nil
}

// failed is the error of a call that was broken off, or its own.
func (c *call) failed(err error) error {
	if err == nil {
		return nil
	}
	return cmp.Or(c.off(), err)
}

// end ends the call, with what it returned.
func (c *call) end(err error) error {
	err = c.failed(err)
	c.leave()
	return err
}

func (g *gate) Open(ctx context.Context, name string) (storage.Reader, error) {
	c, err := g.enter(ctx)
	if err != nil {
		return nil, err
	}
	r, err := g.Store.Open(c.inside, name)
	if err != nil {
		return nil, c.end(err)
	}
	return &gateReader{r, c}, nil
}

type gateReader struct {
	storage.Reader
	call *call
}

func (r *gateReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.Reader.ReadAt(p, off)
	return n, r.call.failed(err)
}

func (r *gateReader) Close() error { return r.call.end(r.Reader.Close()) }

func (g *gate) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	c, err := g.enter(ctx)
	if err != nil {
		return nil, "", err
	}
	b, v, err := g.Store.Get(c.inside, name)
	return b, v, c.end(err)
}

func (g *gate) Create(ctx context.Context, name string) (storage.Writer, error) {
	c, err := g.enter(ctx)
	if err != nil {
		return nil, err
	}
	w, err := g.Store.Create(c.inside, name)
	if err != nil {
		return nil, c.end(err)
	}
	return &gateWriter{w, c}, nil
}

type gateWriter struct {
	storage.Writer
	call *call
}

func (w *gateWriter) Write(p []byte) (int, error) {
	if away := w.call.off(); away != nil {
		return 0, away
	}
	n, err := w.Writer.Write(p)
	return n, w.call.failed(err)
}

func (w *gateWriter) Commit() error {
	if away := w.call.off(); away != nil {
		return away // Abort follows
	}
	return w.call.end(w.Writer.Commit())
}

func (w *gateWriter) Abort() error { return w.call.end(w.Writer.Abort()) }

func (g *gate) Put(ctx context.Context, name string, data []byte) error {
	return g.pass(ctx, func(ctx context.Context) error { return g.Store.Put(ctx, name, data) })
}

func (g *gate) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	return g.pass(ctx, func(ctx context.Context) error { return g.Store.PutIfAbsent(ctx, name, data) })
}

func (g *gate) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (next storage.Version, err error) {
	err = g.pass(ctx, func(ctx context.Context) (err error) {
		next, err = g.Store.PutIfMatch(ctx, name, data, v)
		return err
	})
	return next, err
}

func (g *gate) List(ctx context.Context, folder string, recursive bool) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		c, err := g.enter(ctx)
		if err != nil {
			yield(storage.Info{}, err)
			return
		}
		defer c.leave()
		for info, err := range g.Store.List(c.inside, folder, recursive) {
			if !yield(info, c.failed(err)) {
				return
			}
		}
	}
}

// Names is the store's own, where it has one.
func (g *gate) Names(ctx context.Context, folder string) (names []string, err error) {
	err = g.pass(ctx, func(ctx context.Context) (err error) {
		names, err = storage.Names(ctx, g.Store, folder)
		return err
	})
	return names, err
}

func (g *gate) Dirs(ctx context.Context, folder string) (dirs []string, err error) {
	err = g.pass(ctx, func(ctx context.Context) (err error) {
		dirs, err = g.Store.Dirs(ctx, folder)
		return err
	})
	return dirs, err
}

func (g *gate) Delete(ctx context.Context, name string) error {
	return g.pass(ctx, func(ctx context.Context) error { return g.Store.Delete(ctx, name) })
}

func (g *gate) DeleteAll(ctx context.Context, folder string) error {
	return g.pass(ctx, func(ctx context.Context) error { return g.Store.DeleteAll(ctx, folder) })
}

func (g *gate) ModTimeStep() time.Duration { return storage.ModTimeStep(g.Store) }

// ListsFlat is the lake's.
func (g *gate) ListsFlat() bool { return storage.ListsFlat(g.Store) }

func (g *gate) pass(ctx context.Context, fn func(context.Context) error) error {
	c, err := g.enter(ctx)
	if err != nil {
		return err
	}
	return c.end(fn(c.inside))
}
