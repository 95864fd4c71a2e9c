package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"lakefeed/change"
)

// A table is direct, and each round is written into it, or it stands aside: its part of
// each round goes to the spool, until what keeps it from being written has passed and the
// spool has been drained. The goroutine that writes rounds owns all of this; a job, which
// drains or copies one table in a goroutine of its own, has that table meanwhile.

// trouble is why a table cannot be written, and when that is tried again.
type trouble struct {
	err    error
	passes bool // by itself: it is tried again
	wait   time.Duration
	next   time.Time
}

// The first time after which a table is tried again is three commit intervals, within
// the first two of these; it doubles with every try that fails, up to the third.
const (
	againLeast = 2 * time.Second
	againFirst = 30 * time.Second
	againMost  = 2 * time.Minute
)

// after is the wait behind a wait: 0 for the first.
func (p *Pipeline) after(wait time.Duration) time.Duration {
	if wait == 0 {
		return max(againLeast, min(3*p.opts.Interval, againFirst))
	}
	return min(2*wait, againMost)
}

// passes reports whether an error that stopped a table passes by itself.
func (p *Pipeline) passes(err error) bool {
	return !p.opts.Once && p.opts.RetryTable != nil && p.opts.RetryTable(err)
}

// direct reports whether rounds are written into the table.
func (t *target) direct() bool {
	return !t.isDropped() && !t.paused && !t.ahead && t.trouble == nil && t.recopy == nil && t.shed == nil && !t.job && len(t.segments) == 0
}

// overtake lets tables be written again once the log has been read up to their newest copies: what
// came till then is in these, and the spool leaves it out.
func (p *Pipeline) overtake() {
	for _, t := range p.all() {
		if t.ahead && p.written >= t.at.LSN {
			t.ahead = false
			t.stand()
		}
	}
}

// lags reports whether the table lacks changes of before what the source was told that it
// may forget: they are in the spool, or come with a copy. Where the spool was full, the
// source was told accordingly.
func (t *target) lags() bool {
	return len(t.segments) > 0 || t.job || t.recopy != nil || t.shed != nil || t.isDropped() && !t.held
}

// spooling reports whether the table's part of a round is needed, though not in the table.
func (t *target) spooling() bool {
	return !t.isDropped() && (t.recopy == nil || t.job || t.stage != nil)
}

// stand lets the reader of the source know whether the table's changes go to the spool,
// and the status, what it waits for.
func (t *target) stand() {
	t.aside.Store(t.inOrder || !t.direct())
	t.report(func(s *TableStatus) {
		s.Spooled, s.Again, s.behind = 0, time.Time{}, t.behind()
		for _, seg := range t.segments {
			s.Spooled += seg.bytes
		}
		switch {
		case t.trouble != nil:
			s.Again = t.trouble.next
		case t.recopy != nil && t.recopy.wait > 0:
			s.Again = t.recopy.next
		}
		switch {
		case s.State == Failed, s.State == Copying && t.job:
		case t.paused:
			s.State = Paused
		case t.recopy != nil:
			s.State = Waiting
		case len(t.segments) > 0, t.held:
			s.State = CatchingUp
		default:
			s.State = Streaming
		}
	})
}

// setAside writes the parts that a round has of tables that stand aside into the spool.
func (p *Pipeline) setAside(ctx context.Context, aside []*pending, r *round) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	divided := make([]bool, len(aside))
	for i, pend := range aside {
		if t := pend.target; t.spooling() && !pend.empty() && pend.until(r.to) > t.safe {
			g.Go(func() error {
				err := p.spoolPart(ctx, pend, r)
				if divided[i] = errors.Is(err, errDivided); divided[i] {
					return errAgain
				}
				return err
			})
		}
	}
	err := g.Wait()
	for i, pend := range aside {
		if divided[i] { // read once more, in order now
			p.journal[pend.target.name] = true
		}
	}
	return err
}

// spoolPart writes one table's part of a round into the spool. Where that is full, the
// source keeps what comes from here on.
func (p *Pipeline) spoolPart(ctx context.Context, pend *pending, r *round) error {
	t, to := pend.target, pend.until(r.to)
	if p.spool.full() {
		p.overflow(t)
		return nil
	}
	h := segmentHead{
		Pipeline: p.opts.Name, Table: t.name, Source: p.source, From: t.safe, To: to,
		Last: r.last, Newest: r.newest, Oldest: pend.oldest, Rows: pend.rows, Truncated: pend.truncated, Emptied: pend.emptied, EmptiedBy: pend.emptiedBy,
	}
	p.phase("spool")
	seg, err := p.spool.write(ctx, h, pend)
	if err != nil {
		return err
	}
	p.phase("spooled")
	seg.oldest = pend.oldest
	t.segments, t.safe = append(t.segments, seg), to
	t.stand()
	return nil
}

// overflow leaves what comes from now on to the source's log: a start reads it once more
// when the spool has been drained.
func (p *Pipeline) overflow(t *target) {
	p.log.Error("the spool is full: the source keeps its log for the table from here on", "table", t.name, "lsn", t.safe, "bytes", p.spool.bytes.Load())
	t.held = true
	t.overflown.Store(true)
	t.drop()
	t.report(func(s *TableStatus) {
		s.Note = fmt.Sprintf("the spool is full (spool.max_bytes): the source keeps its log from %s on", t.safe)
	})
}

// behind is how old the oldest change is that stands in the spool, Unix microseconds; 0: none.
func (t *target) behind() int64 {
	if len(t.segments) == 0 {
		return 0
	}
	return t.segments[0].oldest
}

// result is what a job has done.
type result struct {
	t       *target
	drained int // segments, from the first on
	shed    bool
	copy    bool // the job was a copy
	// snapshot is what the job was, which the table is not handed over for; nil: another.
	snapshot *Snapshot
	err      error
}

// jobs are those that run.
type jobs struct {
	done   chan result
	group  *errgroup.Group
	drains int
	copies int  // several, where first ones are made side by side
	copied bool // the last one begun was of a table, and not an incremental snapshot
}

// drains is how many tables are drained at once, beside the rounds.
const drains = 2

// startJobs starts what can be done now, and says when to look again.
func (p *Pipeline) startJobs(ctx context.Context, j *jobs) time.Time {
	now, next := time.Now(), time.Time{}
	var copies []*target // that are due
	soonest := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, t := range p.all() {
		switch at := p.due(t); {
		case t.job || at.IsZero():
		case at.After(now):
			soonest(at)
		case t.recopy != nil:
			copies = append(copies, t)
		case j.drains == drains:
		case t.shed != nil && t.trouble == nil:
			p.startShed(ctx, j, t)
		default:
			p.startDrain(ctx, j, t)
		}
	}
	if !j.copied { // copies and snapshots take turns: the source holds one snapshot for them
		p.startCopies(ctx, j, copies)
	}
	running := j.copies
	if at := p.startSnapshot(ctx, j); !at.IsZero() {
		soonest(at)
	}
	j.copied = j.copied && j.copies == running
	p.startCopies(ctx, j, copies)
	p.othersWait.Store(slices.ContainsFunc(copies, func(t *target) bool { return !t.job }) || p.snapshotWaits())
	return next
}

// discard deletes what the spool has of tables that only a new copy helps.
func (p *Pipeline) discard(ctx context.Context) {
	for _, t := range p.all() {
		if !t.lost || t.job || len(t.segments) == 0 {
			continue
		}
		if err := p.spool.delete(ctx, t.name, t.segments); err != nil {
			p.log.Warn("the spool keeps segments that are of no use", "table", t.name, "error", err)
		}
		t.segments = nil
		t.stand()
	}
}

// due is when a table that stands aside is to be worked on; zero: not by itself.
func (p *Pipeline) due(t *target) time.Time {
	switch {
	case t.paused, t.lost && t.recopy == nil, t.recopy == nil && t.isDropped() && len(t.segments) == 0 && !t.held && !t.stranger, t.trouble != nil && !t.trouble.passes && !t.resumed:
		return time.Time{}
	case t.recopy != nil && p.opts.Once && (!t.recopy.chunks || p.opts.Until != 0):
		return time.Time{}
	case t.recopy != nil:
		return t.recopy.next
	case t.trouble != nil && t.trouble.passes:
		return t.trouble.next
	case t.trouble == nil && t.shed != nil:
		return t.shed.next
	case t.trouble != nil, len(t.segments) > 0, t.held && t.opened && !p.diverted.Load(): // what is held comes with the next session
		return time.Unix(1, 0)
	}
	return time.Time{}
}

func (p *Pipeline) startDrain(ctx context.Context, j *jobs, t *target) {
	t.job, t.resumed = true, false
	j.drains++
	segs, again := slices.Clone(t.segments), t.trouble != nil
	t.stand()
	j.group.Go(func() error {
		n, err := p.drain(ctx, t, segs, again)
		select {
		case j.done <- result{t: t, drained: n, err: err}:
		case <-ctx.Done():
		}
		return nil
	})
}

// finish takes in what a job has done.
func (p *Pipeline) finish(ctx context.Context, j *jobs, r result) error {
	t := r.t
	if r.snapshot != nil {
		j.copies--
		p.finishSnapshot(ctx, t, *r.snapshot, r.err)
		return nil
	}
	t.job = false
	if r.copy {
		j.copies--
		if errors.Is(r.err, errLarge) {
			t.recopy.alone = true
			t.stand()
			return nil
		}
		return p.finishCopy(ctx, t, r.err)
	}
	j.drains--
	if r.shed {
		p.finishShed(t, r.err)
		return nil
	}
	t.segments = t.segments[r.drained:]
	t.had = max(t.had, t.at.LSN)
	if t.opened {
		t.copied = t.at.Copied
	}
	err := error(nil)
	if r.err != nil {
		p.stumble(t, r.err)
	} else {
		err = p.drained(t)
	}
	t.stand()
	return err
}

// drained notes that a table could be written.
func (p *Pipeline) drained(t *target) error {
	if t.trouble = nil; t.failed() && !t.isDropped() {
		p.failures.Delete(t.name)
		t.report(func(s *TableStatus) { s.State, s.Error, s.Since = CatchingUp, "", time.Time{} })
	}
	if len(t.segments) > 0 || t.settled {
		return nil
	}
	if t.held { // what came since is in the source's log
		return errAgain
	}
	p.log.Info("table is in step again: its spool is drained", "table", t.name, "lsn", t.safe)
	return nil
}

// stumble notes that a table could not be written: it stands aside, is copied anew, or stops.
func (p *Pipeline) stumble(t *target, err error) {
	was := t.trouble
	if p.fail(t, err); t.trouble != nil && was != nil && t.trouble.passes {
		t.trouble.wait = p.after(was.wait)
		t.trouble.next = time.Now().Add(t.trouble.wait)
	}
}

// drain writes the oldest segments of a table, about as much as a round has, and deletes
// those that its checkpoint covers. It returns how many these are.
func (p *Pipeline) drain(ctx context.Context, t *target, segs []segment, reopen bool) (covered int, err error) {
	if reopen || t.table == nil {
		had := max(t.had, t.at.LSN)
		if err := p.openTable(ctx, t, !t.stranger || t.mine); err != nil {
			return 0, ofLake(err)
		}
		if err := cmp.Or(p.meetLog(t), t.recall(), t.goesOn(had)); err != nil {
			return 0, err
		}
		for covered < len(segs) && segs[covered].to <= t.at.LSN {
			covered++
		}
		if err := p.spool.delete(ctx, t.name, segs[:covered]); err != nil {
			return 0, err
		}
		segs = segs[covered:]
		if err := p.lacksSegment(t, segs); err != nil {
			return covered, err
		}
	}
	pend := &pending{target: t}
	defer pend.reset()
	r := new(round)
	n, err := p.gatherSegments(ctx, t, segs, pend, r)
	if err != nil {
		return covered, err
	}
	switch {
	case n > 0 && !pend.empty():
		p.phase("drain")
		switch err := p.writeTable(ctx, pend, r); {
		case err == nil:
		case ctx.Err() != nil:
			return covered, ctx.Err()
		case t.at.LSN < r.to:
			return covered, cmp.Or(t.removed(ctx), ofLake(err))
		default:
			p.log.Warn("a service of the table failed", "table", t.name, "error", err)
		}
		p.phase("drained")
	case r.to > t.at.LSN:
		if err := p.cover(ctx, t, r); err != nil {
			return covered, ofLake(err)
		}
	}
	if err := p.spool.delete(ctx, t.name, segs[:n]); err != nil {
		p.log.Warn("drained segments are left in the spool for now", "table", t.name, "error", err)
	}
	return covered + n, nil
}

// cover notes in the table that it holds what its segments had: nothing that its copy has not.
// What comes next begins behind them.
func (p *Pipeline) cover(ctx context.Context, t *target, r *round) error {
	release, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	next := t.at
	next.From, next.LSN, next.First = t.at.LSN, r.to, r.to
	if r.last.Commit > next.Last.Commit && r.last.Commit < r.to {
		next.Last = r.last
	}
	if err := p.commitSchema(ctx, t, nil, next); err != nil {
		return fmt.Errorf("note up to where it is in step: %w", err)
	}
	t.at = next
	return nil
}

// gatherSegments reads segments until there is about as much as a round has.
func (p *Pipeline) gatherSegments(ctx context.Context, t *target, segs []segment, pend *pending, r *round) (n int, err error) {
	total := int64(0)
	for n < len(segs) && total < p.opts.MaxBytes {
		seg := segs[n]
		n++
		if seg.to <= t.at.LSN { // written before a crash
			continue
		}
		err := p.spool.read(ctx, t.name, seg, func(h segmentHead) error {
			if h.Pipeline != p.opts.Name || !p.reads(h.Source) {
				return errForeign
			}
			if h.Truncated && (h.Emptied == 0 || h.Emptied >= t.at.LSN) { // else what the table has is newer: a copy
				pend.reset()
				pend.truncated, pend.emptiedBy = true, h.EmptiedBy
				pend.seeFirst(h.From)
			}
			r.to, r.last, r.newest = h.To, h.Last, h.Newest
			return nil
		}, func(v *change.Table) { pend.seeVersion(v, seg.to) }, func(s *slab) error {
			if s.Table == pend.version {
				pend.since = min(pend.since, s.At[0].Commit)
			}
			if s = s.from(t.at.LSN); s == nil {
				return nil
			}
			total += s.Bytes()
			pend.seeFirst(s.At[0].Commit)
			pend.take(s)
			if pend.bytes > p.opts.MemoryBudget/8 {
				p.spilled.Add(pend.bytes)
				return pend.toDisk(p.spillDir)
			}
			return nil
		})
		if bad, ok := errors.AsType[*SegmentError](err); ok {
			return 0, anew("%s: changes of %s are lost", bad.Error(), t.name)
		}
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}
