package hudi

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// Holder is the process that has, or had, a table.
type Holder struct {
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	Boot    string `json:"boot,omitempty"`    // of the host, and where processes are counted in it: a pid means something there only
	Started string `json:"started,omitempty"` // when the process was, as the kernel counts: pids come again
}

// String names it for people.
func (h Holder) String() string { return fmt.Sprintf("process %d on %s", h.PID, h.Host) }

func stamp(t time.Time) string { return t.Format(time.RFC3339) }

// thisProcess is the one that runs.
var thisProcess = sync.OnceValue(func() Holder {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	h := Holder{Host: host, PID: os.Getpid()}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return h // without it nothing is judged by pids
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if h.Started, _ = startOf("self"); err == nil && h.Started != "" {
		h.Boot = strings.TrimSpace(string(boot)) + " " + space
	}
	return h
})

// startOf tells when a process of this host was started, "" where it does not run any more, and
// whether that can be seen: those of other users may be hidden.
func startOf(pid string) (at string, seen bool) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", false
	}
	// The name of the program, in brackets, may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return "", true
	}
	return string(fields[19]), true
}

// dead tells whether a process is known to have ended.
func (h Holder) dead() bool {
	if own := thisProcess(); h.Boot == "" || h.Boot != own.Boot || h.Host != own.Host {
		return false
	}
	if at, seen := startOf(strconv.Itoa(h.PID)); seen {
		return at != h.Started
	}
	p, err := os.FindProcess(h.PID)
	return err == nil && errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// atWork has the writers of this process that are within a transaction or service.
var atWork sync.Map

// holder is another writer that has the claim and may be at work, nil where none is: those
// of this process tell, that of a process which ended is not, and who was not seen for so
// long that it counts for dead is not. Writers with a lock show themselves by heartbeats.
func (t *Table) holder(ctx context.Context) (*claimRecord, error) {
	c := t.claim
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = false
	if err := t.learn(ctx); err != nil {
		return nil, err
	}
	r := c.record
	if lives, err := t.alive(ctx, &r); err != nil || !lives {
		return nil, err
	}
	return &r, nil
}

// alive tells whether the claim, as it was read, is that of another writer which may live. By the
// clocks of two computers one is not counted for dead, as they may differ: then the store's decides.
func (t *Table) alive(ctx context.Context, r *claimRecord) (bool, error) {
	switch {
	case t.opts.Concurrency.Exclusive || r.Number == 0 || r.Writer == t.claim.writer || r.dead():
		return false, nil
	case r.Shared && (r.Busy == "" || t.opts.Concurrency.optimistic()):
		return false, nil // its heartbeats tell, or the lock
	case r.Holder == thisProcess():
		_, works := atWork.Load(r.Writer)
		return works, nil
	}
	good := t.goodFor(r)
	if age := t.opts.Now().Sub(r.Seen); age >= 0 && age <= good {
		return true, nil
	}
	dates, err := t.storeDates(ctx)
	return dates[clockFile].Sub(dates[claimFile]) <= good+storage.ModTimeStep(t.store), err
}

// goodFor is how long a writer counts as alive that was not seen again.
func (t *Table) goodFor(r *claimRecord) time.Duration {
	return cmp.Or(time.Duration(r.Good)*time.Millisecond, t.opts.Concurrency.deadAfter())
}

// occupied tells whether the claim is that of another writer which is at work.
func (t *Table) occupied(ctx context.Context) (bool, error) {
	if r := &t.claim.record; r.working() {
		return t.alive(ctx, r)
	}
	return false, nil
}

// claimed is the error of who wants a table on which another writer is at work, at an instant
// or, where there is none, on what it says.
func (t *Table) claimed(r *claimRecord, at timeline.Instant) error {
	on := r.Busy
	if at.Time != "" {
		on = at.String()
	}
	if r.Holder == thisProcess() {
		return &ConflictError{Other: at.Time, Reason: fmt.Sprintf("another Table of this process is at work on %s since %s: end that first (Txn.Commit or Abort)", on, stamp(r.Since))}
	}
	until := r.Seen.Add(t.goodFor(r))
	return &ConflictError{Other: at.Time, Reason: fmt.Sprintf(
		"%s has it since %s, was seen last at %s, and is at work on %s: wait until that has ended, or stop it; should it be dead, it counts for that from %s on, or at once with Concurrency.Exclusive (lakefeed table --lock none)",
		r.Holder, stamp(r.Since), stamp(r.Seen), on, stamp(until))}
}

// busyWith lets the claim say, from when it is held next until rest is called, what this Table
// does that no pending instant would show others. Who calls it has the turn.
func (t *Table) busyWith(what string) {
	c := t.claim
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = what
}

func (c *claim) isBusy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy != ""
}

// work lets others know, from when the claim is held until rest is called, that this Table
// is within a transaction or service.
func (t *Table) work() {
	c := t.claim
	if c.stop != nil || t.opts.Concurrency.optimistic() && !c.isBusy() { // a heartbeat tells
		return
	}
	atWork.Store(c.writer, true)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { t.keepClaim(ctx) })
	c.stop = func() {
		cancel()
		done.Wait()
		atWork.Delete(c.writer)
	}
}

// rest ends what work began. Where others cannot be told so, they wait until this writer was not
// seen for too long.
func (t *Table) rest() {
	if stop := t.claim.stop; stop != nil {
		t.claim.stop = nil
		stop()
	}
	ctx, stop := context.WithTimeout(context.Background(), layDownTime)
	defer stop()
	if err := t.layDown(ctx); err != nil && !errors.Is(err, storage.ErrConflict) {
		t.opts.Logger.Warn("a writer's claim says still that it is at work", "table", t.name, "error", err)
	}
}

// layDownTime is how long the end of a service may wait for that.
const layDownTime = 10 * time.Second

// layDown lets the claim say that this Table is at work on nothing, if it says that it is. What
// it began and did not end came to nothing.
func (t *Table) layDown(ctx context.Context) error {
	c := t.claim
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = ""
	if c.record.Writer != c.writer { // by what was known last
		return nil
	}
	if err := t.learn(ctx); err != nil || !c.mine() || !c.record.working() {
		return err
	}
	d := c.standing()
	if d.began() {
		d = nil
	}
	return t.writeClaim(ctx, d)
}

// keepClaim writes the claim again twice as often as it must. One that was lost is not
// taken back: what is decided next tells.
func (t *Table) keepClaim(ctx context.Context) {
	for range t.opts.Concurrency.beats(ctx) {
		if err := t.beatInTime(ctx); err != nil && ctx.Err() == nil {
			t.opts.Logger.Warn("a writer's claim was not renewed", "table", t.name, "error", err)
		}
	}
}

// beatInTime keeps nobody who is to decide waiting for longer than a beat is of use.
func (t *Table) beatInTime(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, t.opts.Concurrency.deadAfter()/2)
	defer stop()
	return t.beatClaim(ctx)
}

func (t *Table) beatClaim(ctx context.Context) error {
	c := t.claim
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := t.learn(ctx); err != nil || !c.mine() {
		return err
	}
	err := t.writeClaim(ctx, c.standing())
	if err != nil {
		c.known = false
	}
	return err
}
