package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
	inmemory "lakefeed/storage/mem"
)

// chunkCopy copies a table in chunks, beside the stream.
type chunkCopy struct {
	p     *Pipeline
	t     *target
	stage *stage
	shown *change.Table // as it is read

	foreign *foreignRows // of a table that is taken over, in the place of chunks; else nil
	old     *laid        // what readers see until the table is made anew; nil: it is there

	mu    sync.Mutex // guards the stage's entries and what follows
	rows  int64      // that were read
	bytes int64      // of chunks that were read, as the plan has them
	began time.Time
	had   int64 // bytes that were there when this run began
	left  int   // chunks
}

// stageLanes is in how many parts the runs of a table are merged.
const stageLanes = 8

// copyInChunks copies a table under the snapshot of now, and what an interrupted copy has left.
func (p *Pipeline) copyInChunks(ctx context.Context, t *target, v *change.Table) error {
	at, err := p.opts.Source.OpenSnapshot(ctx)
	if err != nil {
		return &sourceError{fmt.Errorf("open snapshot: %w", err)}
	}
	defer p.endSnapshot(ctx, t)
	t.source = v
	if t.shows, err = p.meetCopy(ctx, t, at); err != nil {
		return err
	}
	c := &chunkCopy{p: p, t: t, stage: t.stage, shown: t.shows.read()}
	defer func() { c.putBack(); t.stagedBuckets = 0 }()
	overwrite, err := c.land(ctx)
	if err == nil {
		err = c.prepare(ctx, at)
	}
	if err == nil {
		err = c.read(ctx, at)
	}
	if err != nil {
		return err
	}
	return c.finish(ctx, at, overwrite)
}

// endSnapshot lets go of a copy's snapshot, if that is still open.
func (p *Pipeline) endSnapshot(ctx context.Context, t *target) {
	if err := p.opts.Source.CloseSnapshot(context.WithoutCancel(ctx)); err != nil {
		p.log.Warn("close the snapshot of a copy", "table", t.name, "error", err)
	}
}

// land prepares the folder of the table, with the buckets that the stage is for. Where the rows that are there are
// in the way, they stay until the copy is made, and the table is made in memory till then: what is read is sorted as it asks.
func (c *chunkCopy) land(ctx context.Context) (overwrite bool, err error) {
	t := c.t
	if c.stage != nil {
		t.stagedBuckets = c.stage.head.Buckets
	}
	if t.foreign || t.landsInPlace() {
		overwrite, err = c.p.landing(ctx, t)
	} else {
		c.old, t.landing = &laid{t.table, t.partitions}, nil
		err = c.p.createIn(ctx, t, inmemory.New(), t.firstBuckets(), hudi.Options{Logger: c.p.log})
	}
	if err == nil {
		t.stagedBuckets = c.buckets() // and so it stays, should the table have to be made anew for its commit
	}
	return overwrite, err
}

// laid is a table that readers see, and how its rows are laid out.
type laid struct {
	table      *hudi.Table
	partitions []partitionColumn
}

// putBack lets go of a table in memory.
func (c *chunkCopy) putBack() {
	if c.old != nil {
		c.t.table, c.t.partitions, c.old = c.old.table, c.old.partitions, nil
	}
}

// buckets is how many rows are sorted by; of a partitioned table that is chosen when all is read.
func (c *chunkCopy) buckets() int {
	if len(c.t.partitions) > 0 {
		return 0
	}
	return c.t.table.Buckets()
}

// prepare takes on the stage that is there, or begins one.
func (c *chunkCopy) prepare(ctx context.Context, at change.LSN) error {
	t, b := c.t, &c.p.opts.Bootstrap
	plan, err := c.p.opts.Source.PlanCopy(ctx, c.shown, b.ChunkOf(c.shown))
	if err != nil {
		return &sourceError{err}
	}
	if c.stage != nil {
		if c.stage.head.Layout != t.layoutText(c.buckets(), c.stage.head.Lanes) {
			return &staleError{why: "its columns, its key or how it lands is another"}
		}
		if err := c.stage.adopt(plan, c.shown); err != nil {
			return err
		}
		c.p.log.Info("a copy goes on", "table", t.name, "chunks", len(c.stage.head.Plan.Chunks), "missing", len(c.stage.missing()), "from", c.stage.head.From, "lsn", at)
		return c.stage.head.write(ctx, c.stage.store)
	}
	err = c.p.beginStage(ctx, t, stageHead{
		From: at, Plan: *plan, Layout: t.layoutText(c.buckets(), stageLanes), Buckets: c.buckets(), Links: linksOf(c.shown),
	})
	if err != nil {
		return err
	}
	c.stage = t.stage
	c.p.log.Info("table is copied in chunks", "table", t.name, "chunks", len(plan.Chunks), "rows", plan.Rows, "bytes", plan.Bytes, "lsn", at)
	return nil
}

// read reads the chunks that are missing, several at once.
func (c *chunkCopy) read(ctx context.Context, at change.LSN) error {
	parts := c.stage.missing()
	c.begin(parts)
	queue := make(chan stagePart)
	g, ctx := errgroup.WithContext(ctx)
	readers := min(c.p.opts.Bootstrap.readers(), max(len(parts), 1))
	for range readers {
		g.Go(func() error {
			for part := range queue {
				if err := c.readChunk(ctx, part, at, readers); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(queue)
		for _, part := range parts {
			select {
			case queue <- part:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return g.Wait()
}

// readChunk reads a part of a chunk, and what was cut off behind it, into runs.
func (c *chunkCopy) readChunk(ctx context.Context, part stagePart, at change.LSN, readers int) error {
	for next := &part; next != nil; {
		e, err := c.readPatiently(ctx, *next, at, readers)
		if err != nil {
			return err
		}
		next = c.note(next, e)
	}
	return nil
}

// readPatiently reads a part of a standby once more for as long as what keeps it from that passes:
// the standby has not replayed so far, cancels what is in the way of its replay, or is away. It
// costs what was read of the part, not the copy.
func (c *chunkCopy) readPatiently(ctx context.Context, part stagePart, at change.LSN, readers int) (*stageEntry, error) {
	for w, told := (standbyWait{p: c.p}), ""; ; {
		e, err := c.readPart(ctx, part, at, readers)
		source, ofSource := errors.AsType[*sourceError](err)
		if !c.p.opts.Bootstrap.Standby || !ofSource || ctx.Err() != nil || changedMeanwhile(err) || !c.p.retryable(source.error) {
			if told != "" {
				c.t.report(func(s *TableStatus) { s.Note = "" })
			}
			return e, err
		}
		behind, isBehind := errors.AsType[*change.BehindError](err)
		wait, ok := w.next(behind, time.Now())
		if !ok {
			return nil, err
		}
		if c.p.othersWait.Load() && !c.p.opts.Once && time.Since(w.since) >= c.p.opts.Bootstrap.patience() {
			return nil, &turnError{err}
		}
		if now := source.Error(); now != told && (!isBehind || told == "") {
			c.p.log.Warn("a copy waits for the standby", "table", c.t.name, "chunk", part.chunk.String(), "because", source.error)
			told = now
		}
		c.t.report(func(s *TableStatus) { s.Note = "it waits for the standby: " + source.Error() })
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

const (
	standbyPoll = 200 * time.Millisecond // while a standby is behind
	onceTries   = 5                      // of a chunk, where a run is to end
	onceBehind  = 2 * time.Minute        // likewise, for a standby whose replay does not move
)

// standbyWait is the waiting for a standby to read one part of a chunk.
type standbyWait struct {
	p     *Pipeline
	wait  time.Duration // the last one
	tries int           // but for those for which it was behind
	shown change.LSN    // how far it had replayed
	since time.Time     // and when that moved last, or what failed otherwise began to
}

// next is how long to wait before the part is read once more, at a time at which the standby was behind,
// or, with nil, failed otherwise; false: no longer, since the run is to end.
func (w *standbyWait) next(behind *change.BehindError, now time.Time) (time.Duration, bool) {
	once := w.p.opts.Once
	if w.since.IsZero() || behind != nil && behind.End != w.shown {
		w.since = now
	}
	if behind != nil {
		w.shown = behind.End
		return standbyPoll, !once || now.Sub(w.since) < onceBehind
	}
	if w.tries++; once {
		return time.Second, w.tries <= onceTries
	}
	w.wait = w.p.after(w.wait)
	return w.wait, true
}

// readPart reads a part, until it proves to be twice as large as a chunk should be.
func (c *chunkCopy) readPart(ctx context.Context, part stagePart, at change.LSN, readers int) (*stageEntry, error) {
	s := hudi.NewSorter(c.sortOptions(readers))
	defer s.Close()
	e := &stageEntry{At: at}
	var landed error
	done, err := c.p.opts.Source.CopyChunk(ctx, c.shown, part.chunk, 2*c.p.opts.Bootstrap.ChunkOf(c.shown), func(b *change.Batch) error {
		if landed = c.take(ctx, s, b); landed == nil {
			e.Rows += int64(b.Len())
			c.count(int64(b.Len()))
		}
		return landed
	})
	if err != nil {
		c.count(-e.Rows)
	}
	switch {
	case err != nil && landed == nil:
		return nil, &sourceError{err}
	case err != nil:
		return nil, err
	}
	c.p.phase("chunk read")
	e.Chunk, e.At = done, max(at, done.Until)
	if e.Rows > 0 {
		run, err := putRun(ctx, c.stage.store, part.name, s, c.stage.head.Lanes, c.runBatch())
		if err != nil {
			return nil, err
		}
		e.Lanes, e.runSize = run.lanes, run.size
	}
	if len(c.t.partitions) > 0 {
		e.Partitions = s.PartitionPaths()
	}
	c.p.phase("chunk staged")
	if err := putJSON(ctx, c.stage.store, part.name+".json", e); err != nil {
		return nil, err
	}
	c.p.phase("chunk noted")
	return e, nil
}

// runBatch is about how many bytes a record of each run has, one of which is in memory when all are merged.
func (c *chunkCopy) runBatch() int64 {
	return runBatch(c.p.opts.MemoryBudget, len(c.stage.head.Plan.Chunks), runtime.GOMAXPROCS(0))
}

func (c *chunkCopy) sortOptions(sorters int) hudi.SortOptions {
	o := hudi.SortOptions{
		Schema: c.t.copySchema(), Buckets: c.buckets(), Lanes: c.stage.head.Lanes,
		SortBytes: c.p.opts.MemoryBudget / 2 / int64(max(sorters, 1)), TempDir: c.p.spillDir,
	}
	if o.Buckets > 0 {
		o.RecordKey = c.t.table.RecordKey()
	}
	return o
}

// take gives rows to a sorter.
func (c *chunkCopy) take(ctx context.Context, s *hudi.Sorter, b *change.Batch) error {
	shown, err := c.t.shows.copied(b)
	if err != nil {
		return err
	}
	if len(shown.Rejects) > 0 {
		return errRejects
	}
	l, err := c.t.layoutOf(shown.Table, c.t.copySchema())
	if err != nil {
		return err
	}
	sel := make([]ref, shown.Len())
	for row := range sel {
		sel[row] = ref{0, int32(row)}
	}
	return c.sort(ctx, s, l, &reduction{slabs: []*slab{shown}}, sel)
}

// sort gives rows of a reduction, none of which lacks a value, to a sorter.
func (c *chunkCopy) sort(ctx context.Context, s *hudi.Sorter, l *layout, r *reduction, sel []ref) error {
	rec, keys, err := c.p.convert(l, r, sel, nil)
	if err != nil {
		return err
	}
	paths, err := partitionPaths(rec, c.t.partitions, c.t.table.PartitionPaths)
	if err != nil {
		return err
	}
	if err := s.Upsert(ctx, rec, keys, paths); err != nil {
		return fmt.Errorf("sort rows: %w", err)
	}
	return nil
}

// errRejects gives a copy in chunks up: what the table cannot hold is put in quarantine by one
// pass, so that it is there once.
var errRejects = &staleError{why: "it has rows that go to quarantine, and is copied in one pass", once: true}

// finish commits what was read, with the changes that came meanwhile where there was more
// than one snapshot.
func (c *chunkCopy) finish(ctx context.Context, at change.LSN, overwrite bool) error {
	var changes *stagedChanges
	if !c.stage.exact(at) {
		var err error
		if at, err = c.catchUp(ctx); err != nil {
			return err
		}
		changes, err = c.changesUntil(ctx, at)
		if changes != nil {
			defer changes.close()
		}
		if err != nil {
			return err
		}
		if err := c.foreign.complete(ctx); err != nil {
			return err
		}
		if c.stage.beyond(at) {
			return &staleError{why: "the standby showed what the source's log does not hold"}
		}
	}
	if err := c.p.opts.Source.CloseSnapshot(ctx); err != nil { // all is read, and the source keeps dead rows for it
		c.p.log.Debug("close the snapshot of a copy", "table", c.t.name, "error", err)
	}
	c.p.phase("merge")
	return c.commit(ctx, at, overwrite, changes)
}

// commit writes all runs in one commit, whose checkpoint is at.
func (c *chunkCopy) commit(ctx context.Context, at change.LSN, overwrite bool, changes *stagedChanges) (err error) {
	p, t := c.p, c.t
	aside := t.quarantine.writer(true)
	t.quarantine.copying = aside
	defer aside.abort(ctx, &err)
	if err := c.makeReal(ctx); err != nil {
		return err
	}
	err = p.landCopy(ctx, t, at, overwrite, func(ctx context.Context, _ *target, txn *hudi.Txn) (int64, error) {
		runs, lanes := c.runs(changes)
		return hudi.WriteRuns(ctx, txn, c.sortOptions(1), runs, lanes)
	})
	if row, refused := errors.AsType[*hudi.RowError](err); refused && row.Twice { // which one pass meets again, where the source has it so
		return &staleError{why: err.Error(), once: true}
	}
	if err != nil {
		return err
	}
	p.phase("copied")
	if err := p.removeStage(ctx, t); err != nil {
		p.log.Warn("what a copy has staged is left in the lake; the next start removes it", "table", t.name, "error", err)
	}
	return nil
}

// runs are all runs, those of the changes last, and how many lanes of them are merged side by side.
func (c *chunkCopy) runs(changes *stagedChanges) (all []hudi.Run, lanes int) {
	staged := c.stagedRuns()
	if changes != nil {
		staged = append(staged, changes.runs...)
	}
	far := storage.ListsFlat(c.stage.store)
	lanes = mergedLanes(staged, far, c.p.opts.MemoryBudget, runtime.GOMAXPROCS(0))
	block := mergedBlock(len(staged), lanes, far, c.p.opts.MemoryBudget)
	for _, s := range staged {
		run := s.run(block)
		if changes != nil && !s.newer {
			run = changes.masked(run)
		}
		all = append(all, run)
	}
	return all, lanes
}

// stagedRuns are the runs of what was read.
func (c *chunkCopy) stagedRuns() (all []*stagedRun) {
	for _, name := range c.stage.entries() {
		if e := c.stage.done[name]; e.Rows > 0 {
			all = append(all, &stagedRun{store: c.stage.store, name: name, lanes: e.Lanes, size: e.runSize})
		}
	}
	if c.foreign != nil {
		all = append(all, c.foreign.runs...)
	}
	return all
}

// makeReal makes a table that was made in memory, and a new partitioned one anew where its partitions need more buckets.
func (c *chunkCopy) makeReal(ctx context.Context) error {
	now := c.t.table.Buckets()
	n := max(c.bucketsNeeded(), now)
	if c.old == nil && n == now {
		return nil
	}
	c.putBack()
	return c.p.makeTable(ctx, c.t, n)
}

// bucketsNeeded is how many buckets the partitions of a new table need; 0: as many as it has.
func (c *chunkCopy) bucketsNeeded() int {
	t := c.t
	if len(t.partitions) == 0 || t.options.Buckets > 0 || t.landing != nil {
		return 0
	}
	paths := map[string]bool{}
	for _, name := range c.stage.entries() {
		for _, path := range c.stage.done[name].Partitions {
			paths[path] = true
		}
	}
	return bucketsFor(t.source.Bytes / int64(max(len(paths), 1)))
}

// begin notes what is there already.
func (c *chunkCopy) begin(missing []stagePart) {
	c.rows = c.stage.counted()
	c.bytes = c.stage.head.Plan.Bytes
	for _, part := range missing {
		c.bytes -= part.chunk.Bytes
	}
	c.had, c.began, c.left = c.bytes, time.Now(), len(missing)
	c.count(0)
}

// note notes that a part was read, and returns what was cut off behind it, nil where
// nothing was.
func (c *chunkCopy) note(part *stagePart, e *stageEntry) *stagePart {
	c.mu.Lock()
	c.stage.done[part.name] = e
	chunk, n := 0, 0
	_, _ = fmt.Sscanf(part.name, "%d-%d", &chunk, &n) // a name of ours
	rest := c.stage.rest(chunk, c.stage.head.Plan.Chunks[chunk])
	defer c.mu.Unlock()
	bytes := part.chunk.Bytes
	if rest != nil {
		bytes -= rest.chunk.Bytes
	} else {
		c.left--
	}
	c.tell(0, bytes)
	return rest
}

// count reports rows that were read.
func (c *chunkCopy) count(rows int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell(rows, 0)
}

// tell reports how far the copy is. Who calls it holds c.mu.
func (c *chunkCopy) tell(rows, bytes int64) {
	c.rows, c.bytes = c.rows+rows, c.bytes+bytes
	total := c.stage.head.Plan.Bytes
	left, took := max(total-c.bytes, 0), time.Since(c.began).Seconds()
	rate := float64(c.bytes-c.had) / max(took, 0.001)
	c.t.report(func(s *TableStatus) {
		s.CopyRows, s.CopyBytes, s.CopyTotal = c.rows, c.bytes, total
		s.CopyChunks, s.CopyChunksDone = len(c.stage.head.Plan.Chunks), len(c.stage.head.Plan.Chunks)-c.left
		if s.CopyRate, s.CopyLeft = 0, 0; rate > 1 {
			s.CopyRate, s.CopyLeft = rate, float64(left)/rate
		}
	})
	if c.p.opts.Progress != nil {
		c.p.opts.Progress(c.t.name, c.rows, cmp.Or(c.stage.head.Plan.Rows, c.t.source.RowsEstimate))
	}
}

var errSpoolFull = errors.New("the spool was full while it was copied, so that changes are missing: raise spool.max_bytes")
