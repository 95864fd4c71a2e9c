// Package lock has the locks by which the writers of one Hudi table exclude each other,
// each in the form of one of Hudi's own lock providers, so that Spark's writers are
// excluded too: [NewStorage], the best of them, [NewFile], and [NewProcess] among the
// goroutines of one process. Package dynamolock has one more, package locktest the
// suite that each passes.
//
//	l := lock.NewStorage(store, lock.StorageOptions{})
//	lease, err := l.Lock(ctx)
//	_, err = lease.Check(ctx) // right before what it protects is published
//	err = lease.Unlock(ctx)
//
// lock.go has [Locker] and [Lease], and what implementations share; then storage.go and
// file.go.
package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrLost says that a lock that was held is another's now, or was taken away:
// what it protected must not be published.
var ErrLost = errors.New("the lock was lost")

// Locker is the lock of one table. It excludes the writers that use the same lock, be
// they goroutines, processes or other engines, for the moments in which they begin and
// publish a transaction. Its methods may be called from several goroutines.
type Locker interface {
	// Lock waits until the lock is free and takes it. It gives up when ctx ends.
	Lock(ctx context.Context) (Lease, error)
	// String names the lock, for people.
	String() string
}

// Lease is a lock that is held. It is prolonged in the background until Unlock, which
// must be called.
type Lease interface {
	// Check proves, where the lock lies, that it is held still, and prolongs it: until
	// the time that it returns (zero: for ever) nobody else can take it. ErrLost
	// where somebody has. With any other error it is not known.
	Check(ctx context.Context) (until time.Time, err error)
	// Unlock gives the lock back; ErrLost where it was another's already.
	Unlock(ctx context.Context) error
}

// Held is a lock where it lies, as an implementation of [Locker] has taken it.
// [Keep] makes a Lease of it, and calls its methods one at a time.
type Held interface {
	// Renew proves that the lock is held and prolongs it by a term; ErrLost.
	Renew(ctx context.Context) error
	// Release gives it back; ErrLost.
	Release(ctx context.Context) error
}

// Keep renews a lock each interval until it is unlocked or lost. Taken is a time
// before the lock was taken, term how long it is valid from there and from the
// beginning of each renewal; term 0: it never expires, and is not renewed.
func Keep(ctx context.Context, h Held, taken time.Time, term, interval time.Duration) Lease {
	l := &keptLease{held: h, term: term}
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	if term > 0 {
		l.until = taken.Add(term)
		l.done.Go(func() { l.keep(ctx, interval) })
	}
	return l
}

type keptLease struct {
	held Held
	term time.Duration
	stop context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex
	until time.Time
	lost  error
}

// keep renews the lock. What fails is tried again at the next beat: who publishes asks
// first.
func (l *keptLease) keep(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := l.Check(ctx); errors.Is(err, ErrLost) {
			return
		}
	}
}

func (l *keptLease) Check(ctx context.Context) (time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost != nil {
		return time.Time{}, l.lost
	}
	began := time.Now() // a monotonic clock: the wall's may jump
	err := l.held.Renew(ctx)
	switch {
	case errors.Is(err, ErrLost):
		l.lost = err
		return time.Time{}, err
	case err != nil:
		return time.Time{}, err
	case l.term > 0:
		l.until = began.Add(l.term)
	}
	return l.until, nil
}

func (l *keptLease) Unlock(ctx context.Context) error {
	l.stop()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost != nil {
		return l.lost
	}
	l.lost = fmt.Errorf("it was unlocked: %w", ErrLost)
	return l.held.Release(ctx)
}

// Await tries to take a lock each poll until it is taken or ctx ends; holder is who
// has it meanwhile. Try works for h, which is given back where a try fails half done.
func Await(ctx context.Context, h Held, poll time.Duration, try func() (l Lease, holder string, err error)) (Lease, error) {
	for {
		l, holder, err := try()
		if l != nil {
			return l, nil
		}
		if err == nil {
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("wait for %v, which %s holds: %w", h, holder, ctx.Err())
			case <-time.After(poll):
				continue
			}
		}
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), giveBack)
		defer stop()
		_ = h.Release(ctx) // it mostly has nothing to give back
		return nil, fmt.Errorf("take %v: %w", h, err)
	}
}

// giveBack is how long an attempt to give back a lock may take that was perhaps taken.
const giveBack = 5 * time.Second

// NewProcess is a lock among the goroutines of this process: those with one name
// exclude each other. It knows nothing of other processes.
func NewProcess(name string) Locker {
	turn, _ := processLocks.LoadOrStore(name, make(chan struct{}, 1))
	return &processLock{name, turn.(chan struct{})}
}

// processLocks are the locks of this process by name; there are as many as tables.
var processLocks sync.Map

type processLock struct {
	name string
	turn chan struct{} // full while the lock is held
}

func (l *processLock) String() string { return "lock of this process on " + l.name }

func (l *processLock) Lock(ctx context.Context) (Lease, error) {
	select {
	case l.turn <- struct{}{}:
		return Keep(ctx, l, time.Time{}, 0, 0), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for %s: %w", l, ctx.Err())
	}
}

func (l *processLock) Renew(context.Context) error { return nil }

func (l *processLock) Release(context.Context) error {
	<-l.turn
	return nil
}
