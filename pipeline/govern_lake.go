package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lakefeed/change"
)

// A lake that is away keeps nothing waiting where the spool has a place of its own: rounds
// go there, and so does the progress record. Who reads the slot then holds the spool's lock,
// and has the record that the source was last acknowledged by; the lake's lock he takes
// before he writes there again. See docs/adr/0011-go-on-while-the-lake-is-away.md.

// patience is for how long a round is written before we ask the lake for a sign of life; shortPatience,
// where the slot's lag presses.
const (
	patience      = 30 * time.Second
	shortPatience = time.Second
)

// enterSpool takes the lock of a spool that has a place of its own.
func (p *Pipeline) enterSpool(ctx context.Context) (release func(context.Context) error, err error) {
	if !p.spool.own {
		return func(context.Context) error { return nil }, nil
	}
	lock, err := acquire(ctx, p.spool.store, p.opts.key(), p.opts.Listen, p.log)
	if err != nil {
		return nil, fmt.Errorf("the spool %s: %w", p.spool.store, err)
	}
	p.holdLock(ctx, lock)
	return lock.release, nil
}

// holdLock ends the run when a lock is lost.
func (p *Pipeline) holdLock(ctx context.Context, lock *held) {
	lost := lock.holding(ctx)
	context.AfterFunc(lost, func() { p.cancel(errLockLost) })
}

// enterLake takes the lake's lock, unless we have it, and reads what only the lake knows. A
// lake that is away is no error where we can go on without it.
func (p *Pipeline) enterLake(ctx context.Context) error {
	if p.recalled.Load() {
		return nil
	}
	may, err := p.maySpool(ctx)
	if err != nil {
		return err
	}
	if may {
		if err := p.probe(ctx); err != nil {
			p.shut(ctx, err)
			return ctx.Err()
		}
	}
	err = p.takeLake(ctx)
	_, locked := errors.AsType[*LockedError](err)
	passes := !locked
	if err == nil {
		p.reopen()
		p.recallStops(ctx)
		err = p.recall(ctx)
		_, passes = errors.AsType[*LakeError](err) // else somebody has to mend a file
	}
	if err != nil && may && passes && ctx.Err() == nil {
		p.shut(ctx, err)
		return nil
	}
	return err
}

// takeLake takes the lake's lock, unless we have it.
func (p *Pipeline) takeLake(ctx context.Context) error {
	if p.lock != nil {
		return nil
	}
	lock, err := p.lakeLocks(ctx)
	if err != nil {
		return err
	}
	p.lock = lock
	p.locked.Store(lock)
	p.holdLock(ctx, lock)
	return nil
}

// recall reads what was asked for before: no table is written, and nothing is noted of that, until it is known.
func (p *Pipeline) recall(ctx context.Context) error {
	err := errors.Join(p.recallOrders(ctx), p.recallSnapshots(ctx))
	p.recalled.Store(err == nil)
	return err
}

// mayRecall reports whether the lake answers when it is asked what was asked for before, or that is known.
func (p *Pipeline) mayRecall(ctx context.Context) bool {
	if p.recalled.Load() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, p.governor.budget.Answer)
	defer cancel()
	_, orders := readOrders(ctx, p.lake, p.opts.key())
	_, snapshots := readSnapshots(ctx, p.lake, p.opts.key())
	_, away := errors.AsType[*LakeError](errors.Join(orders, snapshots))
	return !away
}

// lakeLocks takes the lock that shards share, where they are to run, and returns the pipeline's own in the lake, which the
// streams of several slots share.
func (p *Pipeline) lakeLocks(ctx context.Context) (_ *held, err error) {
	if s := p.opts.Shards; p.joins && p.leaveShards == nil {
		if p.leaveShards, err = s.enter(ctx, p.cancel); err != nil {
			return nil, err
		}
	}
	if p.opts.part != nil {
		return p.opts.part.lock, nil
	}
	return acquire(ctx, p.lake, p.opts.Name, p.opts.Listen, p.log)
}

// maySpool reports whether the pipeline can go on without the lake: it ran with this spool before.
func (p *Pipeline) maySpool(ctx context.Context) (bool, error) {
	if !p.spool.own || p.opts.Once {
		return false, nil
	}
	beside, err := readProgressAt(ctx, p.spool.store, spoolRecord)
	return beside != nil, err
}

// probe sees whether the lake can be written.
func (p *Pipeline) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.governor.budget.Answer)
	defer cancel()
	done := make(chan error, 1)
	go func() { // a disk that hangs heeds no context
		name := "_lakefeed/probe-" + folderName(p.opts.key())
		err := p.lake.Put(ctx, name, []byte("lakefeed: may be removed\n"))
		if err == nil {
			err = p.lake.Delete(ctx, name)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // what it was tried again for
		return err
	case <-time.After(200 * time.Millisecond):
		return fmt.Errorf("it has not answered for %s", p.governor.budget.Answer)
	}
}

// away reports whether we go on without the lake.
func (p *Pipeline) away() bool { return p.gate.closed() != nil }

// shut stops waiting for the lake.
func (p *Pipeline) shut(ctx context.Context, err error) {
	if ctx.Err() != nil || p.gate.closed() != nil {
		return
	}
	p.gate.shut(err)
	p.tellShards()
	p.log.Warn("the lake is away: changes go to the spool until it is back", "lake", p.lake.String(), "spool", p.spool.store.String(), "error", err)
}

// reopen goes on with a lake that answers.
func (p *Pipeline) reopen() {
	if p.gate.open() {
		p.tellShards()
		p.log.Info("the lake answers again", "lake", p.lake.String())
	}
}

// tellShards tells of the gate to the other shards, where there are some.
func (p *Pipeline) tellShards() {
	if s := p.opts.Shards; s != nil {
		s.look()
	}
}

// breakOff ends what waits for the lake, and lets it be tried again.
func (p *Pipeline) breakOff(err error) {
	p.gate.breakOff(err)
	if s := p.opts.Shards; s != nil { // their commit is what waits
		s.gate.breakOff(err)
	}
}

// watchLake looks whether the lake answers: where it was away, and where a round, or the
// slot, have waited for it for long.
func (p *Pipeline) watchLake(ctx context.Context) {
	away, presses, gap := p.away(), p.governor.presses(), p.governor.budget.Answer
	if presses && !away {
		gap = min(gap, shortPatience)
	}
	if p.gate == nil || time.Since(p.probed) < gap {
		return
	}
	since := time.Duration(0)
	if at := p.writingSince.Load(); at != nil {
		since = time.Since(*at)
	}
	waits := since >= patience || since >= shortPatience && presses || since > 0 && p.diverted.Load()
	if failed := p.lakeFailed.Swap(false); !away && !waits && !failed && !p.opts.Shards.suspected() {
		return
	}
	p.probed = time.Now()
	switch err := p.probe(ctx); {
	case err != nil && !away:
		p.shut(ctx, err)
	case err == nil && away:
		p.lakeIsBack(ctx)
	case err == nil && p.diverted.Load() && since >= patience:
		p.log.Warn("the lake takes too long for a round, which goes to the spool", "seconds", int(since.Seconds()))
		p.breakOff(errors.New("it took too long for a round while the slot's lag was at the budget's step `spool`"))
	}
}

// lakeIsBack goes on with the lake: at once where its locks are ours still, else from the
// next session on, which takes them.
func (p *Pipeline) lakeIsBack(ctx context.Context) {
	if !p.mayRecall(ctx) {
		return // the next look will tell
	}
	if lock := p.locked.Load(); lock == nil || !p.recalled.Load() {
		p.afresh.Store(true)
	} else {
		ours, err := lock.isOurs(ctx)
		if s := p.opts.Shards; s != nil && ours && err == nil { // another process may run others of them since
			ours, err = s.isOurs(ctx)
		}
		if err != nil {
			return // the next look will tell
		}
		if !ours {
			p.cancel(errLockLost)
			return
		}
		p.reopen()
		p.retryTables.Store(true)
	}
	p.awake()
}

// fitsAway is fits for a start without the lake: what does not fit waits for it.
func (p *Pipeline) fitsAway(slot *change.SlotState, known change.LSN) error {
	away := p.gate.closed()
	if away == nil {
		return nil
	}
	if slot == nil || slot.Lost || slot.Confirmed > known {
		return &LakeError{fmt.Errorf("%w; the record beside the spool is not the newest, and only the lake knows more", away)}
	}
	return nil
}
