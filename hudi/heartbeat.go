package hudi

import (
	"context"
	"fmt"
	"iter"
	"path"
	"slices"
	"sync"
	"time"

	"lakefeed/hudi/timeline"
)

// heartbeatFolder has an empty file for each instant that a writer is at work on, where
// several may be. Its time of writing is the beat. Hudi has them so.
var heartbeatFolder = path.Join(metaFolder, ".heartbeat")

func heartbeatFile(instant string) string { return path.Join(heartbeatFolder, instant) }

// heartbeat is one of this process.
type heartbeat struct {
	table   *Table
	instant string
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu   sync.Mutex
	last time.Time // by the monotonic clock, before the last beat that came through
	lost bool      // once, none came through for so long that others count it for dead
}

// startHeartbeat writes the first beat of an instant, and the later ones until end is
// called. Without concurrency there is none: nil.
func (t *Table) startHeartbeat(ctx context.Context, instant string) (*heartbeat, error) {
	if !t.opts.Concurrency.optimistic() {
		return nil, nil //nolint:nilnil // a nil heartbeat is one that nobody looks for
	}
	h := &heartbeat{table: t, instant: instant, last: time.Now()}
	if err := h.beat(ctx); err != nil {
		return nil, err
	}
	ctx, h.stop = context.WithCancel(context.WithoutCancel(ctx))
	h.done.Go(func() { h.keep(ctx) })
	return h, nil
}

func (h *heartbeat) beat(ctx context.Context) error {
	began := time.Now()
	if err := h.table.store.Put(ctx, heartbeatFile(h.instant), nil); err != nil {
		return fmt.Errorf("write heartbeat of %s: %w", h.instant, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost = h.lost || began.Sub(h.last) > h.table.opts.Concurrency.deadAfter()
	h.last = began
	return nil
}

// beats comes twice as often as a sign of life is due, until ctx ends.
func (c *Concurrency) beats(ctx context.Context) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		tick := time.NewTicker(max(c.Heartbeat/2, time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				if !yield(now) {
					return
				}
			}
		}
	}
}

// keep beats twice as often as it must.
func (h *heartbeat) keep(ctx context.Context) {
	for range h.table.opts.Concurrency.beats(ctx) {
		if err := h.beat(ctx); err != nil && ctx.Err() == nil {
			h.table.opts.Logger.Warn("a heartbeat was missed", "table", h.table.name, "instant", h.instant, "error", err)
		}
	}
}

// check refuses to go on where others may have counted the writer for dead.
func (h *heartbeat) check() error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost || time.Since(h.last) > h.table.opts.Concurrency.deadAfter() {
		return &ConflictError{Instant: h.instant, Reason: fmt.Sprintf("its heartbeat stood still for more than %v, so that other writers may take it for dead", h.table.opts.Concurrency.deadAfter())}
	}
	return nil
}

// end stops the beats and takes the file away. What is left of a failure there expires,
// and so does that of an instant which somebody else may have taken over: one that is
// rolled back nobody has.
func (h *heartbeat) end(ctx context.Context) {
	if h == nil {
		return
	}
	h.stop()
	h.done.Wait()
	if h.check() != nil && len(h.table.Timeline().States(h.instant)) > 0 {
		return
	}
	if err := h.table.store.Delete(ctx, heartbeatFile(h.instant)); err != nil {
		h.table.opts.Logger.Warn("a heartbeat's file stays until it expires", "table", h.table.name, "instant", h.instant, "error", err)
	}
}

// beats are when the heartbeats of the table's instants were written.
func (t *Table) beats(ctx context.Context) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	for info, err := range t.store.List(ctx, heartbeatFolder, false) {
		if err != nil {
			return nil, fmt.Errorf("list heartbeats: %w", err)
		}
		out[path.Base(info.Name)] = info.ModTime
	}
	return out, nil
}

// abandoned are the pending instants that nobody is at work on: those whose heartbeat
// expired or, services of other engines having none, that are as old; where the table has
// one writer, all without a heartbeat. Those of another living writer that has the claim
// are none of them.
func (t *Table) abandoned(ctx context.Context) ([]timeline.Instant, error) {
	pending := t.timeline.Pending()
	if len(pending) == 0 || t.opts.Concurrency.Exclusive {
		return pending, nil
	}
	oldest := t.opts.Now().Add(-t.opts.Concurrency.deadAfter()) // before they are listed, which may take long
	beats, err := t.beats(ctx)
	if err != nil {
		return nil, err
	}
	shared := t.opts.Concurrency.optimistic()
	var other *claimRecord
	if slices.ContainsFunc(pending, func(i timeline.Instant) bool { return i.Time != t.given && beats[i.Time].IsZero() }) {
		if other, err = t.holder(ctx); err != nil {
			return nil, err
		}
	}
	var out []timeline.Instant
	for _, i := range pending {
		last, beats := beats[i.Time]
		switch {
		case i.Time == t.given:
			out = append(out, i)
		case beats && !last.Before(oldest):
		case !beats && other != nil:
		case !beats && shared && mayLackHeartbeat(i) && !before(i.Time, oldest):
		default:
			out = append(out, i)
		}
	}
	return out, nil
}

// mayLackHeartbeat tells what other engines do without one: all but writes and what
// is done under the lock.
func mayLackHeartbeat(i timeline.Instant) bool {
	return i.Action != timeline.Commit && i.Action != timeline.DeltaCommit && i.Action != timeline.Rollback
}

// isPending tells whether an instant is on the timeline and not completed.
func (t *Table) isPending(instant string) bool {
	return slices.ContainsFunc(t.timeline.Pending(), func(i timeline.Instant) bool { return i.Time == instant })
}

// sweepHeartbeats deletes the files of expired heartbeats that a crash left of instants
// which are not pending any more.
func (t *Table) sweepHeartbeats(ctx context.Context) error {
	if !t.opts.Concurrency.optimistic() {
		return nil
	}
	oldest := t.opts.Now().Add(-t.opts.Concurrency.deadAfter())
	beats, err := t.beats(ctx)
	if err != nil {
		return err
	}
	for instant, last := range beats {
		if !last.Before(oldest) || t.isPending(instant) {
			continue
		}
		if err := t.store.Delete(ctx, heartbeatFile(instant)); err != nil {
			return fmt.Errorf("delete heartbeat of %s: %w", instant, err)
		}
	}
	return nil
}

// before tells whether an instant is older than a time; one that is no time is.
func before(instant string, at time.Time) bool {
	then, err := timeline.ParseTime(instant)
	return err != nil || then.Before(at)
}
