package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"lakefeed/storage"
)

// ErrFault is what a call on a [Faulty] store returns when it is made to fail, and
// what later calls return when the process counts as dead.
var ErrFault = errors.New("injected fault")

// Call is one call on a store: one that mutates or, with [Fault.Reads], one that reads.
type Call struct {
	Op   string // Write, Commit, Put, PutIfAbsent, PutIfMatch, Delete or DeleteAll; Open, ReadAt, Get, List or Dirs
	Name string // of the file or folder
}

// Reads tells whether the call reads only.
func (c Call) Reads() bool {
	switch c.Op {
	case "Open", "ReadAt", "Get", "List", "Dirs":
		return true
	}
	return false
}

// String is the call as a test's message shows it.
func (c Call) String() string { return c.Op + " " + c.Name }

// When says how much of the failing call takes effect.
type When int

// How much of the failing call takes effect.
const (
	Before When = iota // nothing
	After              // all of it: only the answer is lost
	Partly             // of DeleteAll every other file, of Write, ReadAt and List the first half; of the others, which are atomic, nothing
)

// Fault says which call of a store fails, and how. The zero value fails none and
// so counts the calls only.
type Fault struct {
	At    int               // the number of the call that fails, from 1; 0: none
	When  When              // what of it takes effect
	Dead  bool              // all later calls fail too, those that read as well: the process died
	Reads bool              // calls that read count too; they fail as on a network, where an answer may break off
	Only  func(c Call) bool // the calls that count; nil: all
	// Hook sees each call that counts, and its number, before it takes effect.
	// It may be called by several goroutines at once.
	Hook func(n int, c Call)
}

// Faulty is a store of which one call fails. A crash test runs its work on
// NewFaulty(s, Fault{}) to learn from [Faulty.Calls] how many calls there are, then
// once for each number on a fresh store, and each time opens what is left as a new
// process would, on the inner store.
type Faulty struct {
	inner storage.Store
	fault Fault

	mu    sync.Mutex
	calls []Call
	fired bool
}

// NewFaulty is s with a fault.
func NewFaulty(s storage.Store, f Fault) *Faulty { return &Faulty{inner: s, fault: f} }

// Calls are the calls so far that count, in order.
func (f *Faulty) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Call(nil), f.calls...)
}

// Fired reports whether the call that was to fail came.
func (f *Faulty) Fired() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// alive is the error of all calls after the process died.
func (f *Faulty) alive() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fired && f.fault.Dead {
		return fmt.Errorf("the process is dead: %w", ErrFault)
	}
	return nil
}

// count counts a call and reports whether it is the one to fail.
func (f *Faulty) count(c Call) (fails bool, err error) {
	if err := f.alive(); err != nil {
		return false, err
	}
	if f.fault.Only != nil && !f.fault.Only(c) {
		return false, nil
	}
	f.mu.Lock()
	f.calls = append(f.calls, c)
	n := len(f.calls)
	fails = n == f.fault.At
	f.fired = f.fired || fails
	f.mu.Unlock()
	if f.fault.Hook != nil {
		f.fault.Hook(n, c)
	}
	return fails, nil
}

// mutate makes a call, or fails it; partly, unless nil, does a part of it.
func (f *Faulty) mutate(c Call, whole, partly func() error) error {
	fails, err := f.count(c)
	if err != nil {
		return err
	}
	if !fails {
		return whole()
	}
	switch {
	case f.fault.When == After:
		err = whole()
	case f.fault.When == Partly && partly != nil:
		err = partly()
	}
	return errors.Join(fmt.Errorf("%v: %w", c, ErrFault), err)
}

// read is the error of a call that reads and fails. What the call is to answer all the
// same, it says itself.
func (f *Faulty) read(c Call) error {
	if !f.fault.Reads {
		return f.alive()
	}
	fails, err := f.count(c)
	if fails {
		return fmt.Errorf("%v: %w", c, ErrFault)
	}
	return err
}

// Open implements [storage.Store].
func (f *Faulty) Open(ctx context.Context, name string) (storage.Reader, error) {
	if err := f.read(Call{"Open", name}); err != nil {
		return nil, err
	}
	r, err := f.inner.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	return faultyReader{r, f, name}, nil
}

type faultyReader struct {
	storage.Reader
	f    *Faulty
	name string
}

func (r faultyReader) ReadAt(b []byte, off int64) (int, error) {
	err := r.f.read(Call{"ReadAt", r.name})
	switch {
	case err == nil:
		return r.Reader.ReadAt(b, off)
	case r.f.fault.When != Partly || r.f.alive() != nil:
		return 0, err
	}
	n, _ := r.Reader.ReadAt(b[:len(b)/2], off)
	return n, fmt.Errorf("%w: %w", err, io.ErrUnexpectedEOF)
}

// Get implements [storage.Store].
func (f *Faulty) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	if err := f.read(Call{"Get", name}); err != nil {
		return nil, "", err
	}
	return f.inner.Get(ctx, name)
}

// Create implements [storage.Store]. It is not counted itself: nothing is seen of it.
func (f *Faulty) Create(ctx context.Context, name string) (storage.Writer, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	w, err := f.inner.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	return &faultyWriter{w, f, name}, nil
}

type faultyWriter struct {
	w    storage.Writer
	f    *Faulty
	name string
}

func (w *faultyWriter) Write(b []byte) (n int, err error) {
	write := func(b []byte) func() error {
		return func() (err error) { n, err = w.w.Write(b); return err }
	}
	err = w.f.mutate(Call{"Write", w.name}, write(b), write(b[:len(b)/2]))
	return n, err
}

func (w *faultyWriter) Commit() error { return w.f.mutate(Call{"Commit", w.name}, w.w.Commit, nil) }

// Abort is no call of a dead process: what it was writing stays where it was.
func (w *faultyWriter) Abort() error {
	if err := w.f.alive(); err != nil {
		return err
	}
	return w.w.Abort()
}

// Put implements [storage.Store].
func (f *Faulty) Put(ctx context.Context, name string, data []byte) error {
	return f.mutate(Call{"Put", name}, func() error { return f.inner.Put(ctx, name, data) }, nil)
}

// PutIfAbsent implements [storage.Store].
func (f *Faulty) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	return f.mutate(Call{"PutIfAbsent", name}, func() error { return f.inner.PutIfAbsent(ctx, name, data) }, nil)
}

// PutIfMatch implements [storage.Store].
func (f *Faulty) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	var got storage.Version
	err := f.mutate(Call{"PutIfMatch", name}, func() (err error) {
		got, err = f.inner.PutIfMatch(ctx, name, data, v)
		return err
	}, nil)
	if err != nil {
		return "", err
	}
	return got, nil
}

// List implements [storage.Store].
func (f *Faulty) List(ctx context.Context, folder string, recursive bool) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		err := f.read(Call{"List", folder})
		switch {
		case err == nil:
			f.inner.List(ctx, folder, recursive)(yield)
			return
		case f.fault.When == Before || f.alive() != nil:
		case !f.listSome(ctx, folder, recursive, yield):
			return
		}
		yield(storage.Info{}, err)
	}
}

// listSome lists what a failing List gets to see, and reports whether the caller wants more.
func (f *Faulty) listSome(ctx context.Context, folder string, recursive bool, yield func(storage.Info, error) bool) bool {
	var all []storage.Info
	for i, err := range f.inner.List(ctx, folder, recursive) {
		if err != nil {
			return yield(i, err)
		}
		all = append(all, i)
	}
	if f.fault.When == Partly {
		all = all[:len(all)/2]
	}
	for _, i := range all {
		if !yield(i, nil) {
			return false
		}
	}
	return true
}

// Dirs implements [storage.Store].
func (f *Faulty) Dirs(ctx context.Context, folder string) ([]string, error) {
	if err := f.read(Call{"Dirs", folder}); err != nil {
		return nil, err
	}
	return f.inner.Dirs(ctx, folder)
}

// Delete implements [storage.Store].
func (f *Faulty) Delete(ctx context.Context, name string) error {
	return f.mutate(Call{"Delete", name}, func() error { return f.inner.Delete(ctx, name) }, nil)
}

// DeleteAll implements [storage.Store].
func (f *Faulty) DeleteAll(ctx context.Context, folder string) error {
	return f.mutate(Call{"DeleteAll", folder},
		func() error { return f.inner.DeleteAll(ctx, folder) },
		func() error { return f.deleteHalf(ctx, folder) })
}

// deleteHalf removes every other file of a folder, the first one among them.
func (f *Faulty) deleteHalf(ctx context.Context, folder string) error {
	var names []string
	for i, err := range f.inner.List(ctx, folder, true) {
		if err != nil {
			return err
		}
		names = append(names, i.Name)
	}
	for i := 0; i < len(names); i += 2 {
		if err := f.inner.Delete(ctx, names[i]); err != nil {
			return err
		}
	}
	return nil
}

// String implements [storage.Store].
func (f *Faulty) String() string { return f.inner.String() }
