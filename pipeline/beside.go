package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/change"
	"lakefeed/hudi"
)

// A table that is new, or that only a new copy helps, is copied while the stream goes on:
// under a snapshot of its own, into one commit, so that readers see the old rows till then.
// Its changes go to the spool meanwhile; those that the snapshot shows are dropped from
// there by the copy's checkpoint, as those of any commit are.

// recopy is a copy that is to be made beside the stream.
type recopy struct {
	why    string
	wait   time.Duration // before the last try
	next   time.Time     // when it is tried
	counts bool          // it is because of the schema: they are not made one after the other
	once   bool          // it was tried again at once
	stale  bool          // likewise, from its beginning
	staged int           // parts of chunks that were there then
	asked  time.Time     // the order that it is for, or that was there when it was begun
	void   bool          // while it was made the source left changes of the table out
	stray  *strayError   // the last of those that came under another name while it was made
	began  time.Time     // the last try
	chunks bool          // it is made in chunks, beside the stream, and be it with Once
	pass   bool          // it is made in one pass, though the table is large
	alone  bool          // not side by side with others
	passed bool          // its last try let others go first
}

// recopies reports whether a table that only a new copy helps is copied by itself.
func (p *Pipeline) recopies(t *target, why *AnewError) bool {
	return p.opts.Recopy != nil && p.opts.Recopy(t.source, why)
}

// recopy lets a table be copied anew. What comes of it until that begins is in the copy.
func (p *Pipeline) recopy(t *target, why string) {
	if t.recopy != nil && t.recopy.chunks {
		p.chunked.Add(-1)
	}
	t.recopy, t.shed, t.stage = &recopy{why: why, next: time.Unix(1, 0)}, nil, nil
	t.trouble, t.noted, t.settled, t.held, t.had = nil, nil, false, false, max(t.had, t.at.LSN)
	p.failures.Delete(t.name)
	t.report(func(s *TableStatus) {
		s.State, s.Error, s.Since, s.Note = Waiting, "", time.Time{}, "it is copied anew: "+why
	})
	t.undrop()
	p.log.Warn("table is copied anew beside the stream", "table", t.name, "because", why)
}

// startCopy begins a table's copy. What the spool has of the table is of no use any more.
func (p *Pipeline) startCopy(ctx context.Context, j *jobs, t *target) {
	if t.recopy.void || t.overflown.Load() { // since the last try changes were passed over that what is staged needs
		t.stage = nil
	}
	var segs []segment
	safe := t.safe
	if t.stage == nil {
		segs = t.segments
		t.segments, t.safe = nil, max(t.safe, p.written)
	}
	err := error(nil)
	if t.stage == nil && t.staged.Load() {
		if err = p.voidStage(ctx, t); err != nil { // before what it needs of the spool goes
			p.log.Warn("cannot note that a table is to be copied", "table", t.name, "error", err)
		}
	}
	if noted := p.noteAhead(ctx, t); err == nil && len(segs) > 0 { // a start would miss them
		err = noted
	}
	if err != nil {
		t.segments, t.safe = segs, safe
		t.recopy.wait = p.after(t.recopy.wait)
		t.recopy.next = time.Now().Add(t.recopy.wait)
		return
	}
	p.enterCopy(j, t)
	j.group.Go(func() error {
		err := p.copyBeside(ctx, t, segs)
		select {
		case j.done <- result{t: t, copy: true, err: err}:
		case <-ctx.Done():
		}
		return nil
	})
}

// enterCopy notes that a table's copy begins: its changes are wanted from here on.
func (p *Pipeline) enterCopy(j *jobs, t *target) {
	j.copies++
	j.copied = true
	if t.stage == nil { // what the source has kept for the table is in the copy, and what the spool gets from here on is of use
		t.held, t.lost = false, false
	}
	t.job, t.recopy.void, t.recopy.stray = true, false, nil
	t.recopy.asked, t.recopy.began = p.orderOf(t.name).Since, time.Now()
	t.overflown.Store(false)
	if !t.opened {
		t.copied = max(t.copied, p.written)
	}
	t.undrop()
	t.stand()
}

// noteAhead records that a table is to be copied, where the record does not know it yet, or says that
// the spool has what the copy makes needless: a start that found the copy alone would take the table
// for one that was left out for a while, and one that did not find the segments, for one that lacks them.
func (p *Pipeline) noteAhead(ctx context.Context, t *target) error {
	p.recordMu.Lock()
	r := p.recorded
	p.recordMu.Unlock()
	if r == nil || r.has(t.name) && (r.Spooled[t.name] == 0 || len(t.segments) > 0) {
		return nil
	}
	err := p.record(ctx, r.LSN)
	if err != nil { // the copy will meet the same lake
		p.log.Warn("cannot note that a table is to be copied", "table", t.name, "error", err)
	}
	return err
}

// copyBeside copies a table anew while the stream goes on.
func (p *Pipeline) copyBeside(ctx context.Context, t *target, segs []segment) error {
	if err := p.spool.delete(ctx, t.name, segs); err != nil {
		return err
	}
	was := t.foreign
	tries := p.beginCopies(ctx, []*target{t})
	if was && !t.foreign && t.at.LSN != 0 { // it was taken over, and only that was not known
		return p.removeStage(ctx, t)
	}
	switch c := tries[0]; {
	case c.err == nil && t.foreign && !p.orderOf(t.name).Adopt.copies():
		c.err = p.takeOver(ctx, t, c.v)
	case c.err == nil && p.takesChunks(t, c.v):
		c.err = p.copyInChunks(ctx, t, c.v)
	default:
		p.copyInOnePass(ctx, tries)
	}
	if t.foreign {
		tries[0].err = p.endTakeOver(ctx, t, tries[0].err)
	}
	p.findGone(ctx, tries)
	return tries[0].err
}

// sized is a table with its size, which a look at the catalogs leaves out.
func (p *Pipeline) sized(ctx context.Context, v *change.Table) (*change.Table, error) {
	if v.Bytes > 0 || v.LogOnly {
		return v, nil
	}
	plan, err := p.opts.Source.PlanCopy(ctx, v, math.MaxInt64/2)
	if err != nil {
		return nil, &sourceError{err}
	}
	known := *v
	known.Bytes, known.RowsEstimate = plan.Size, plan.Rows
	return &known, nil
}

// errGone is a table that is not in the source any more.
var errGone = errors.New("it is gone from the source, or the configuration does not take it any more")

// findLanding looks at the table's folder, where that has not been done. One that is ours
// and cannot be read is written anew.
func (p *Pipeline) findLanding(ctx context.Context, t *target) error {
	if t.opened && t.table == nil && !t.foreign {
		return nil
	}
	err := p.openTable(ctx, t, true)
	if err == nil || !t.mine || t.shared != nil {
		return err
	}
	if _, passes := errors.AsType[*LakeError](ofLake(err)); passes {
		return err
	}
	p.log.Warn("table cannot be read, and is made anew for its copy", "table", t.name, "error", err)
	t.table, t.at, t.had, t.opened = nil, checkpoint{}, 0, true
	if err := removeCopy(ctx, t.store); err != nil {
		return err
	}
	return t.quarantine.open(ctx, 0)
}

// finishCopy takes in how a copy beside the stream went.
func (p *Pipeline) finishCopy(ctx context.Context, t *target, err error) error {
	unopened, is := errors.AsType[*unopenedError](err)
	if is { // the copy is made
		err = nil
	}
	t.recopy.void = t.recopy.void || err == nil && t.strayed()
	if t.recopy.void {
		t.stage, t.opened = nil, t.opened && !is
		if cause := p.voidStage(ctx, t); cause != nil {
			return cause
		}
		if err == nil {
			err = errors.New("a change of the table could not be read while it was copied")
		}
	}
	if err != nil {
		p.copyFailed(ctx, t, err)
		return nil
	}
	t.copied = t.at.Copied
	t.ahead = p.written < t.at.LSN
	asked := t.recopy.asked
	if t.recopy.chunks {
		p.chunked.Add(-1)
	}
	t.recopy, t.stage, t.trouble, t.lost, t.had, t.safe = nil, nil, nil, false, t.at.LSN, max(t.safe, t.at.LSN)
	t.stranger, t.settled = false, false
	p.failures.Delete(t.name)
	p.renumber(t)
	t.report(func(s *TableStatus) {
		s.State, s.Note, s.Key = CatchingUp, "", nil
		for _, k := range t.source.Key {
			s.Key = append(s.Key, t.source.Columns[k].Name)
		}
	})
	t.stand()
	p.obeyed(ctx, t, asked)
	if is {
		p.fail(t, ofLake(unopened.error))
	}
	return nil
}

// unopenedError is of a table whose copy is made, and which could not be opened as what it is now: it is
// in trouble as any table that cannot be written, and its changes go to the spool.
type unopenedError struct{ error }

func (e *unopenedError) Unwrap() error { return e.error }

// A copy that met another shard's key is made again after so many times what it took, within an hour.
const (
	clashTimes = 10
	clashMost  = time.Hour
)

// copyFailed tries a copy again after a while, or gives it up until somebody asks for it.
func (p *Pipeline) copyFailed(ctx context.Context, t *target, err error) {
	if ctx.Err() != nil {
		return
	}
	work := t.recopy
	if work == nil { // at the start
		work = &recopy{why: "its first copy failed"}
	}
	if errors.Is(err, errGone) {
		t.recopy = nil
		p.giveUpCopy(t, work)
		p.leave(ctx, t)
		return
	}
	if p.copyAtOnce(t, work, err) || p.passTurn(t, work, err) {
		return
	}
	source, ofSource := errors.AsType[*sourceError](err)
	_, awaits := errors.AsType[*awaitsError](err)
	again := !awaits && (changedMeanwhile(err) || work.void || ofSource && p.retryable(source.error) || !ofSource && p.passes(ofLake(err)))
	if t.foreign && (p.opts.Once || !again) {
		p.awaitTakeOver(ctx, t, work, err)
		return
	}
	if p.opts.Once || !again {
		p.giveUpCopy(t, work)
	}
	if t.stage == nil { // else what comes is kept for it; what the source has kept is in the next copy, or of no use
		t.drop()
		t.held = false
		t.lost = t.lost || !again // what the spool has since may be behind a gap, which the copy was to fill
	}
	p.stop(t, fmt.Errorf("copy: %w", ofLake(err)))
	t.recopy, t.gaveUp = nil, p.orderOf(t.name).Since
	if again {
		work.wait = p.after(work.wait)
		if _, clash := errors.AsType[*ShardClashError](err); clash && !work.began.IsZero() { // it is found when all has been read, and takes a person
			work.wait = max(work.wait, min(clashTimes*time.Since(work.began), clashMost))
		}
		work.next = time.Now().Add(work.wait)
		t.recopy = work
		t.report(func(s *TableStatus) { s.Again = work.next })
	}
}

// copyAtOnce makes a copy once more, at once, where the table was changed or what was copied is
// of no use; a second time in a row only where that goes another way, or chunks were read since, or, from
// its beginning, after a while, in which others are copied. What
// was read of a table that was changed may be of use still (a partition came): the next try sees.
func (p *Pipeline) copyAtOnce(t *target, work *recopy, err error) bool {
	stale, isStale := errors.AsType[*staleError](err)
	staged := t.stage.parts()
	pause := time.Duration(0)
	switch changed := changedMeanwhile(err); {
	case isStale:
		if work.stale {
			work.wait = p.after(work.wait)
			pause = work.wait
		}
		t.stage, work.stale, work.pass, work.staged = nil, true, work.pass || stale.once, 0
	case changed && (!work.once || staged > work.staged) && (!p.opts.Once || work.chunks):
		work.once, work.staged = true, staged
	default:
		return false
	}
	work.next, t.recopy = time.Now().Add(pause), work
	p.log.Info("table is copied once more", "table", t.name, "parts kept", t.stage.parts(), "in", pause, "because", err)
	t.stand()
	return true
}

// giveUpCopy lets Once end though a copy in chunks was not made.
func (p *Pipeline) giveUpCopy(t *target, work *recopy) {
	if t.stage = nil; work.chunks {
		work.chunks = false
		p.chunked.Add(-1)
	}
}

// admit takes in tables that came to the source since.
func (p *Pipeline) admit(ctx context.Context) {
	p.mu.Lock()
	fresh, seen := maps.Clone(p.fresh), p.seen
	clear(p.fresh)
	p.newcomers, p.seen = nil, nil
	p.mu.Unlock()
	for _, t := range p.all() {
		if seen != nil && !seen[t.name] && !t.source.LogOnly && t.at.LSN == 0 && t.had == 0 { // it went before it had a copy
			p.leave(ctx, t)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fresh)) {
		v := fresh[name]
		if p.targetNamed(name) != nil || p.orderOf(name).Removed {
			continue
		}
		for _, t := range p.all() {
			if t.number() == v.ID && !t.job { // its name of before
				p.log.Warn("table goes on under another name; what it was in the lake stays as it is", "table", name, "was", t.name, "folder", t.path)
				p.leave(ctx, t)
			}
		}
		t := p.newTarget(v)
		t.stranger = true
		p.addTarget(t)
		if err := p.openTarget(ctx, t, nil); err != nil {
			if !t.settled {
				err = ofLake(err)
			}
			p.fail(t, err)
			continue
		}
		p.recopy(t, "it is new in the source")
		t.stand()
	}
}

// leave lets go of a table: it is followed no more, and what the lake has of it stays.
func (p *Pipeline) leave(ctx context.Context, t *target) {
	if t.job {
		return // when that has an end
	}
	if t.recopy != nil { // Once does not wait for it any more
		p.giveUpCopy(t, t.recopy)
	}
	t.drop()
	t.settled = true
	p.failures.Delete(t.name)
	if t.table != nil && t.at.LSN == 0 && t.had == 0 && t.shared == nil && !t.foreign { // a copy that failed left its folder
		if err := removeCopy(ctx, t.store); err != nil {
			p.log.Warn("the folder of a table that is left out stays in the lake, empty", "table", t.name, "error", err)
		}
	}
	if err := p.removeStage(ctx, t); err != nil {
		p.log.Warn("what was copied of a table that is left out stays in the lake", "table", t.name, "error", err)
	}
	if err := p.spool.delete(ctx, t.name, t.segments); err != nil {
		p.log.Warn("the spool keeps segments of a table that is left out", "table", t.name, "error", err)
	}
	p.dropTarget(t)
	p.log.Info("table is followed no more", "table", t.name)
}

// landing prepares the folder that a table's copy lands in: the table as it is, where all
// of its rows can be replaced in one commit, else one that is made for it.
func (p *Pipeline) landing(ctx context.Context, t *target) (overwrite bool, err error) {
	t.landing = nil
	if t.foreign {
		return true, p.landCopied(ctx, t)
	}
	if t.table == nil || t.at.LSN == 0 || !t.keepsLayout() {
		return false, p.makeTable(ctx, t, t.firstBuckets())
	}
	if t.shows.frozen() { // what is frozen stays, with all that the source has no more
		t.landing, _, err = evolve(t.landsAs(), t.table.Schema())
		return true, err
	}
	t.landing = newSchema(t.landsAs(), p.opts.LeanColumns, t.partitions)
	return true, nil
}

// beginCopy begins the commit of a copy.
func (p *Pipeline) beginCopy(ctx context.Context, t *target, overwrite bool) (*hudi.Txn, error) {
	if t.shared != nil {
		return t.table.Begin(ctx, hudi.TxnOptions{Operation: hudi.Upsert, Schema: t.landing})
	}
	if t.foreign {
		return t.table.Begin(ctx, hudi.TxnOptions{Operation: hudi.InsertOverwriteTable, Schema: t.landing, TakeOver: &hudi.TakeOver{OrderingField: colLSN}})
	}
	if overwrite {
		txn, err := t.table.Begin(ctx, hudi.TxnOptions{Operation: hudi.InsertOverwriteTable, Schema: t.landing})
		if _, schema := errors.AsType[*hudi.SchemaError](err); !schema {
			return txn, err
		}
		if err := p.makeTable(ctx, t, t.firstBuckets()); err != nil {
			return nil, err
		}
	}
	return t.table.Begin(ctx, hudi.TxnOptions{Operation: hudi.BulkInsert})
}

// copySchema is the schema that copied rows take on.
func (t *target) copySchema() *arrow.Schema {
	if t.landing != nil {
		return t.landing
	}
	return t.table.Schema()
}

// keepsLayout reports whether the rows of the table in the lake are identified, and laid
// into partitions, as those of the source are now.
func (t *target) keepsLayout() bool {
	shown := t.landsAs()
	partitions, err := newPartitions(shown, t.options.PartitionBy)
	key := recordKey(shown)
	if err != nil || !slices.Equal(lakeColumns(partitions), lakeColumns(t.partitions)) || !slices.Equal(key, t.table.RecordKey()) {
		return false
	}
	have, want := t.table.Schema(), newSchema(shown, false, partitions)
	for _, name := range append(key, lakeColumns(partitions)...) {
		a, b := have.FieldIndices(name), want.FieldIndices(name)
		if len(a) == 0 || len(b) == 0 || !arrow.TypeEqual(have.Field(a[0]).Type, want.Field(b[0]).Type) {
			return false
		}
	}
	return true
}

// landsInPlace reports whether no rows of the table are in the lake that a copy cannot take the place of.
func (t *target) landsInPlace() bool { return t.table == nil || t.at.LSN == 0 || t.keepsLayout() }

// landsAs is the source's table as it lands by the copy that runs.
func (t *target) landsAs() *change.Table {
	if t.shows == nil || t.shows.version != t.source {
		return t.source
	}
	return t.shows.shown()
}

// changedMeanwhile reports whether a table was truncated, written anew or altered while it
// was read: under a newer snapshot, by a newer description, it can be.
func changedMeanwhile(err error) bool {
	_, rewritten := errors.AsType[*change.RewrittenError](err)
	_, altered := errors.AsType[*change.AlteredError](err)
	return rewritten || altered
}
