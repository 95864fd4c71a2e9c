// Package locktest tests the locks that writers of one Hudi table exclude each other
// with: [Run] is the suite that each [lock.Locker] passes.
package locktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lakefeed/hudi/lock"
)

// Times of the locks that a [Place] makes. What is tested takes some terms, which
// are long enough for a busy machine.
const (
	Term  = 2 * time.Second
	Renew = 200 * time.Millisecond
	Poll  = 10 * time.Millisecond
)

// Clock is a wall clock that jumps.
type Clock struct{ ahead atomic.Int64 }

// Now is the time that the clock shows.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())).Round(0) }

// Jump moves the clock.
func (c *Clock) Jump(d time.Duration) { c.ahead.Add(int64(d)) }

// ErrCut is what a [Line] returns that is cut.
var ErrCut = errors.New("the line is cut")

// Line is what lies between a locker and its lock. A test cuts it, as a crash would.
type Line struct {
	cut   atomic.Bool
	calls atomic.Int64 // since FailAt
	at    atomic.Int64
	after atomic.Bool
}

// Cut lets every call fail from now on.
func (l *Line) Cut() { l.cut.Store(true) }

// Mend lets calls through again.
func (l *Line) Mend() { l.cut.Store(false); l.at.Store(0) }

// FailAt lets the n-th call from now on fail, before or after it took effect.
func (l *Line) FailAt(n int, after bool) {
	l.calls.Store(0)
	l.after.Store(after)
	l.at.Store(int64(n))
}

// Pass makes a call, or fails it.
func (l *Line) Pass(call func() error) error {
	if l.cut.Load() {
		return ErrCut
	}
	if n := l.calls.Add(1); n != l.at.Load() {
		return call()
	}
	if l.after.Load() {
		_ = call() // its answer is lost
	}
	return ErrCut
}

// Place is where one lock lies. Each Locker that it makes is as one of another process.
type Place interface {
	Locker(line *Line, clock *Clock) lock.Locker
	// Steal makes the lock another's, as a person or a faulty writer may.
	Steal(t *testing.T)
}

// Options say what a lock is not made for.
type Options struct {
	NoExpiry bool // a lock that is lost with its process
	NoSteal  bool
	OwnClock bool // a lock whose keeper has a clock of its own, a server or a disk; else waiting takes no time
}

// run runs a test, in a time of its own where it can have one.
func (o *Options) run(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if o.OwnClock {
		test(t)
		return
	}
	synctest.Test(t, test)
}

// Run tests the locks of places that open makes, empty ones.
func Run(t *testing.T, o Options, open func(t *testing.T) Place) {
	t.Run("Faults", func(t *testing.T) {
		t.Parallel()
		if !o.NoExpiry {
			testFaults(t, &o, open)
		}
	})
	for _, test := range []struct {
		name string
		run  func(t *testing.T, p Place)
		skip bool
	}{
		{"Exclusion", testExclusion, false},
		{"Cancel", testCancel, false},
		{"Unlocked", testUnlocked, false},
		{"Renewal", testRenewal, o.NoExpiry},
		{"Crash", testCrash, o.NoExpiry},
		{"Stolen", testStolen, o.NoSteal},
		{"Clock", testClock, o.NoExpiry},
	} {
		if !test.skip {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				o.run(t, func(t *testing.T) { test.run(t, open(t)) })
			})
		}
	}
}

func take(t *testing.T, l lock.Locker) lock.Lease {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*Term)
	defer stop()
	lease, err := l.Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func unlock(t *testing.T, l lock.Lease) {
	t.Helper()
	if err := l.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// refused sees that a lock is not free for some time.
func refused(t *testing.T, l lock.Locker, d time.Duration) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	if _, err := l.Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the lock is held, and Lock returned %v", err)
	}
}

func plain(p Place) lock.Locker { return p.Locker(new(Line), new(Clock)) }

// testExclusion lets writers race for a number that only who has the lock may count.
func testExclusion(t *testing.T, p Place) {
	const writers, rounds = 8, 5
	var inside atomic.Int32
	count := 0 // the race detector watches it too
	var done sync.WaitGroup
	for range writers {
		l := plain(p)
		done.Go(func() {
			for range rounds {
				lease, err := l.Lock(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d have the lock", n)
				}
				if _, err := lease.Check(t.Context()); err != nil {
					t.Error(err)
				}
				count++
				inside.Add(-1)
				if err := lease.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	if count != writers*rounds {
		t.Errorf("counted %d, want %d", count, writers*rounds)
	}
}

func testCancel(t *testing.T, p Place) {
	held := take(t, plain(p))
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(3*Poll, stop)
	if _, err := plain(p).Lock(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Lock returned %v", err)
	}
	if _, err := held.Check(t.Context()); err != nil {
		t.Fatalf("the holder: %v", err)
	}
	unlock(t, held)
	unlock(t, take(t, plain(p)))
}

// testUnlocked sees that a lease ends with Unlock.
func testUnlocked(t *testing.T, p Place) {
	first := take(t, plain(p))
	unlock(t, first)
	second := take(t, plain(p))
	if _, err := first.Check(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("Check after Unlock returned %v", err)
	}
	if err := first.Unlock(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("the second Unlock returned %v", err)
	}
	refused(t, plain(p), 5*Poll)
	unlock(t, second)
}

// testRenewal holds a lock for longer than its term.
func testRenewal(t *testing.T, p Place) {
	held := take(t, plain(p))
	refused(t, plain(p), 3*Term)
	began := time.Now()
	until, err := held.Check(t.Context())
	if err != nil || until.Before(began.Add(Term*9/10)) { // a lock may promise somewhat less
		t.Fatalf("Check: until %v, %v", until.Sub(began), err)
	}
	unlock(t, held)
}

// testCrash lets a holder die: the lock expires, and who lives on after all notices.
func testCrash(t *testing.T, p Place) {
	line := new(Line)
	dead := take(t, p.Locker(line, new(Clock)))
	until, err := dead.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	line.Cut()
	next := take(t, plain(p))
	if early := time.Until(until); early > 0 {
		t.Errorf("it was taken %v before it expired", early)
	}
	if _, err := dead.Check(t.Context()); err == nil {
		t.Error("who cannot ask has the lock all the same")
	}
	line.Mend()
	if _, err := dead.Check(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("Check of the dead returned %v", err)
	}
	if err := dead.Unlock(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("Unlock of the dead returned %v", err)
	}
	if _, err := next.Check(t.Context()); err != nil {
		t.Errorf("who has it now: %v", err)
	}
	unlock(t, next)
}

// testStolen sees that a lock that is another's is noticed, and left alone.
func testStolen(t *testing.T, p Place) {
	held := take(t, plain(p))
	p.Steal(t)
	if _, err := held.Check(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("Check returned %v", err)
	}
	if err := held.Unlock(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("Unlock returned %v", err)
	}
	refused(t, plain(p), 5*Poll)
}

// testClock lets the holder's clock, and that of one who waits, jump back.
func testClock(t *testing.T, p Place) {
	clock := new(Clock)
	held := take(t, p.Locker(new(Line), clock))
	clock.Jump(-time.Hour)
	late := new(Clock)
	late.Jump(-time.Hour)
	refused(t, p.Locker(new(Line), late), Term)
	if _, err := held.Check(t.Context()); err != nil {
		t.Errorf("the holder: %v", err)
	}
	clock.Jump(2 * time.Hour)
	if _, err := held.Check(t.Context()); err != nil {
		t.Errorf("the holder, an hour ahead: %v", err)
	}
	unlock(t, held)
	unlock(t, take(t, p.Locker(new(Line), late)))
}

// testFaults lets each call of a lock's life fail once, before or after it had its
// effect: afterwards another gets the lock, and at no time two have it.
func testFaults(t *testing.T, o *Options, open func(t *testing.T) Place) {
	for n := 1; n <= 8; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d,after=%v", n, after), func(t *testing.T) {
				t.Parallel()
				o.run(t, func(t *testing.T) { testFault(t, open(t), n, after) })
			})
		}
	}
}

func testFault(t *testing.T, p Place, n int, after bool) {
	ctx := t.Context()
	line := new(Line)
	line.FailAt(n, after)
	lease, err := p.Locker(line, new(Clock)).Lock(ctx)
	if err == nil {
		if _, err := lease.Check(ctx); err == nil {
			refused(t, plain(p), 2*Poll)
		} else if errors.Is(err, lock.ErrLost) {
			t.Errorf("check: %v", err)
		}
		if err := lease.Unlock(ctx); err != nil && !errors.Is(err, ErrCut) {
			t.Errorf("unlock: %v", err)
		}
	} else if !errors.Is(err, ErrCut) {
		t.Errorf("lock: %v", err)
	}
	unlock(t, take(t, plain(p)))
}
