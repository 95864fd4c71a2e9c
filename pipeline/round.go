package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lakefeed/change"
)

// round is whole transactions on their way into the lake: what one commit of
// each table will hold.
type round struct {
	to       change.LSN  // every transaction whose commit starts before it is in this round or an earlier one
	opened   time.Time   // when its first change came, zero while it has none
	newest   time.Time   // commit time of its newest transaction
	last     change.Mark // the newest transaction of this round or an earlier one
	tables   map[*target]*pending
	rows     int64
	bytes    int64 // of changes, spilled ones included
	failures []change.Failure
	signals  []change.Signal
	leaves   []change.WrittenLeaf
	replayed bool                    // the rows of a replay have their place in it or an earlier one
	window   *window                 // that has given the round rows; nil: none has
	done     func(map[string]string) // called when it is written, with the newest instant of every table; may be nil
}

func newRound() *round { return &round{tables: map[*target]*pending{}} }

// remove deletes what the round has spilled.
func (r *round) remove() {
	for _, p := range r.tables {
		p.reset()
	}
}

// held is how many bytes of changes the round has in memory.
func (r *round) held() (n int64) {
	for _, p := range r.tables {
		n += p.bytes
	}
	return n
}

// take adds a chunk to the round. A table that fails here stops; the others go on.
func (p *Pipeline) take(r *round, c *change.Chunk) error {
	w := p.incremental.window.Load()
	if w != nil {
		w.open()
	}
	for _, b := range c.Batches {
		t := p.targetOf(b.Table)
		p.renamed(r, t, b)
		if t == nil || t.isDropped() {
			continue
		}
		if w != nil && t.name == w.table.String() {
			w.note(b)
		}
		if _, b = b.Split(t.covered); b == nil { // covered by the table's own checkpoint
			continue
		}
		if err := p.takeReplayed(r, t, b); err != nil {
			return err
		}
	}
	if err := p.placeReplays(r, c); err != nil {
		return err
	}
	for _, f := range c.Failures {
		r.failures = append(r.failures, f)
		if t := p.targetOf(f.Table); t != nil && r.has(t) {
			r.tables[t].stopAt(f.Since)
		}
	}
	r.signals = append(r.signals, c.Signals...)
	for _, l := range c.Leaves {
		if t := p.targetOf(l.Table); t != nil && l.Since >= t.covered {
			r.leaves = append(r.leaves, l)
		}
	}
	if c.End > r.to {
		r.to = c.End
	}
	if c.Last.Commit > r.last.Commit {
		r.last = c.Last
	}
	if c.Time.After(r.newest) {
		r.newest = c.Time
	}
	return p.relieve(r)
}

// takeBatch adds changes of one table.
func (p *Pipeline) takeBatch(r *round, t *target, b *change.Batch) error {
	if r.opened.IsZero() {
		r.opened = time.Now()
	}
	pend := r.tables[t]
	if pend == nil {
		pend = &pending{target: t}
		r.tables[t] = pend
		t.pendingSince(cmp.Or(b.Times[0], time.Now().UnixMicro()))
	}
	r.rows += int64(b.Len())
	r.bytes += b.Bytes()
	if err := pend.add(b); err != nil {
		r.failures = append(r.failures, change.Failure{Table: b.Table, Since: b.At[0].Commit, Err: err})
		pend.stopAt(b.At[0].Commit)
	}
	return p.relieve(r)
}

// renamed stops the table that a batch belongs to under the name that it had, and named is not.
func (p *Pipeline) renamed(r *round, named *target, b *change.Batch) {
	t := p.targetNumbered(b.Table.ID)
	if t == nil || t == named || t.failed() {
		return
	}
	why := error(&renamedError{b.Table.String()})
	if named != nil {
		why = &strayError{b.Table.ID, named.name, b.At[b.Len()-1].Commit}
	}
	if _, b := b.Split(t.covered); b != nil {
		schema, name, _ := strings.Cut(t.name, ".")
		r.failures = append(r.failures, change.Failure{
			Table: &change.Table{Schema: schema, Name: name, ID: b.Table.ID}, Since: b.At[0].Commit, Lost: true,
			Err: why,
		})
		if r.has(t) {
			r.tables[t].stopAt(b.At[0].Commit)
		}
	}
}

// renamedError is a table that has another name in the source now.
type renamedError struct{ to string }

func (e *renamedError) Error() string {
	return "it was renamed to " + e.to + " in the source: it is copied under that name (or left out, where no entry takes it); its old folder stays as it was"
}

func (r *round) has(t *target) bool { return r.tables[t] != nil }

// stopAt makes the table's commit end before lsn.
func (p *pending) stopAt(lsn change.LSN) {
	if p.limit == 0 || lsn < p.limit {
		p.limit = lsn
	}
}

// until is the position that the table's commit covers: the round's end, or less
// where the table failed on the way.
func (p *pending) until(to change.LSN) change.LSN {
	if p.limit != 0 && p.limit < to {
		return p.limit
	}
	return to
}

// relieve spills the largest tables until the round is within its half of the memory budget.
func (p *Pipeline) relieve(r *round) error {
	for r.held() > p.opts.MemoryBudget/2 {
		var largest *pending
		for _, pend := range r.tables {
			if largest == nil || pend.bytes > largest.bytes {
				largest = pend
			}
		}
		p.spilled.Add(largest.bytes)
		toDisk := largest.toDisk
		if largest.spill == nil && (largest.journal != nil || p.diverted.Load() || largest.target.aside.Load()) {
			toDisk = largest.toJournal
		}
		if err := toDisk(p.spillDir); err != nil {
			return err
		}
	}
	return nil
}

// full reports whether the round is to be closed at the next transaction's end: a
// while before it would have to be spilled, since that end may be a chunk away.
func (p *Pipeline) full(r *round) bool {
	return r.rows >= p.opts.MaxRows || r.bytes >= min(p.opts.MaxBytes, p.opts.MemoryBudget*3/8) ||
		!r.opened.IsZero() && time.Since(r.opened) >= p.opts.Interval
}

// splitChunk cuts a chunk at lsn: before has the transactions whose commit starts before it.
func splitChunk(c *change.Chunk, lsn change.LSN) (before, rest *change.Chunk) {
	before = &change.Chunk{Whole: true, End: min(c.End, lsn), Time: c.Time}
	rest = &change.Chunk{Whole: c.Whole, End: c.End, Time: c.Time, Last: c.Last}
	for _, b := range c.Batches {
		x, y := b.Split(lsn)
		if x != nil {
			before.Batches = append(before.Batches, x)
		}
		if y != nil {
			rest.Batches = append(rest.Batches, y)
		}
	}
	before.Last = lastBefore(c, before, lsn)
	for _, m := range c.Messages {
		if m.At < lsn {
			before.Messages = append(before.Messages, m)
		} else {
			rest.Messages = append(rest.Messages, m)
		}
	}
	for _, s := range c.Signals {
		if s.At.Commit < lsn {
			before.Signals = append(before.Signals, s)
		} else {
			rest.Signals = append(rest.Signals, s)
		}
	}
	for _, l := range c.Leaves {
		if l.Since < lsn {
			before.Leaves = append(before.Leaves, l)
		} else {
			rest.Leaves = append(rest.Leaves, l)
		}
	}
	for _, f := range c.Failures {
		if f.Since < lsn {
			before.Failures = append(before.Failures, f)
		} else {
			rest.Failures = append(rest.Failures, f)
		}
	}
	return before, rest
}

// lastBefore is the newest transaction of a chunk that is in the half before lsn, as
// far as its rows tell.
func lastBefore(c, before *change.Chunk, lsn change.LSN) (last change.Mark) {
	if c.Last.Commit < lsn {
		return c.Last
	}
	for _, b := range before.Batches {
		i := b.Len() - 1
		if at := b.At[i].Commit; at > last.Commit {
			last = change.Mark{Commit: at, Xid: b.Xids[i], Time: b.Times[i]}
		}
	}
	return last
}

// reaches reports whether everything that commits before lsn has been delivered with this chunk.
func reaches(c *change.Chunk, lsn change.LSN) bool {
	if c.Whole && c.End >= lsn {
		return true
	}
	for _, b := range c.Batches {
		if b.At[b.Len()-1].Commit >= lsn {
			return true
		}
	}
	return false
}

// acknowledge makes the round's end durable in the lake and lets the source forget it.
func (p *Pipeline) acknowledge(ctx context.Context, r *round) error {
	if r.last.Commit > p.last.Commit {
		p.last = r.last
	}
	ack := p.ackable(r.to)
	if ack > p.acked() {
		// Even where a commit of this round says it: the next start may not find that
		// table among its own.
		if err := p.record(ctx, ack); err != nil {
			return err
		}
		p.phase("ack")
		if err := p.opts.Source.Ack(ctx, ack); err != nil {
			return fmt.Errorf("acknowledge %s: %w", ack, err)
		}
		p.ackedLSN.Store(uint64(ack))
	} else if err := p.noteRest(ctx); err != nil {
		return err
	}
	for t := range r.tables {
		t.written()
	}
	if r.window != nil {
		if t := p.targetOf(r.window.table); t == nil || t.isDropped() { // its rows were passed over: the spool is full
			r.window.fail(errAside)
		}
		r.window.written()
	}
	if err := p.endReplay(ctx, r); err != nil {
		return err
	}
	if r.done != nil {
		r.done(p.instants())
	}
	return nil
}

// ackable is how far the source may forget: not beyond what the spool has of a table for
// which it was full. A table that waits for its copy gets all from that.
func (p *Pipeline) ackable(to change.LSN) change.LSN {
	if waits := p.incremental.signals; len(waits) > 0 {
		to = min(to, max(waits[0].At.Commit, p.acked()))
	}
	for _, t := range p.all() {
		if t.held {
			to = min(to, max(t.safe, p.acked()))
		}
	}
	return to
}

func joined(s []string) string { return strings.Join(s, ", ") }

// spillPrefix and the process id begin the name of a run's folder for spilled changes.
const spillPrefix = "lakefeed-spill-"

// spillFolder makes the folder that the spilled changes of this run go to, and
// removes those of runs that were killed.
func (p *Pipeline) spillFolder() (remove func(), err error) {
	parent := p.opts.SpillDir
	if parent == "" {
		parent = os.TempDir()
	} else if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make spill_dir: %w", err)
	}
	sweepSpills(parent)
	dir, err := os.MkdirTemp(parent, fmt.Sprintf("%s%d-", spillPrefix, os.Getpid()))
	if err != nil {
		return nil, fmt.Errorf("make a folder for spilled changes (spill_dir may name another place): %w", err)
	}
	p.spillDir = dir
	return func() { _ = os.RemoveAll(dir) }, nil
}

// sweepSpills removes the folders of processes that are gone.
func sweepSpills(parent string) {
	dirs, err := filepath.Glob(filepath.Join(parent, spillPrefix+"*"))
	if err != nil {
		return // the pattern is ours
	}
	for _, dir := range dirs {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), spillPrefix), "-")
		pid, err := strconv.Atoi(text)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir)
		}
	}
}
