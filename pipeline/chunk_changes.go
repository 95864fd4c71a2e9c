package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/change"
	"lakefeed/hudi"
)

// stagedChanges are the changes of a table since the first snapshot of its copy, one for each
// key, whole: what runs have under these keys does not count.
type stagedChanges struct {
	sorter *hudi.Sorter
	swept  *hudi.Sorter // deletes of what other runs have under keys that are in no set any more; nil: none
	runs   []*stagedRun
	keys   *keySet // nil but for a partitioned table, where a key may be in any partition
}

func (s *stagedChanges) close() {
	s.sorter.Close()
	if s.swept != nil {
		s.swept.Close()
	}
}

// catchUp opens a snapshot behind those of all chunks, and waits until the stream has passed it.
func (c *chunkCopy) catchUp(ctx context.Context) (change.LSN, error) {
	src := c.p.opts.Source
	if err := src.CloseSnapshot(ctx); err != nil {
		c.p.log.Debug("close the snapshot of a copy", "table", c.t.name, "error", err)
	}
	at, err := src.OpenSnapshot(ctx)
	if err == nil {
		if _, err = src.Emit(ctx, "copy"); errors.Is(err, change.ErrReadOnly) { // so that the stream has something behind it
			err = nil
		}
	}
	if err != nil {
		return 0, &sourceError{fmt.Errorf("open snapshot: %w", err)}
	}
	c.p.phase("catch up")
	c.t.report(func(s *TableStatus) {
		s.Note = fmt.Sprintf("its chunks are read; it is shown when the stream has passed %s", at)
	})
	if err := c.p.passed.await(ctx, at); err != nil {
		return 0, err
	}
	c.t.report(func(s *TableStatus) { s.Note = "" })
	if c.t.overflown.Load() {
		return 0, &staleError{why: errSpoolFull.Error()}
	}
	return at, c.unaltered(ctx)
}

// unaltered sees that the table is described as it was when it was read.
func (c *chunkCopy) unaltered(ctx context.Context) error {
	look, err := c.p.opts.Source.Look(ctx)
	if err != nil {
		return &sourceError{err}
	}
	plan, err := c.p.opts.Source.PlanCopy(ctx, c.shown, c.p.opts.Bootstrap.ChunkOf(c.shown))
	if err != nil {
		return &sourceError{err}
	}
	i := slices.IndexFunc(look.Tables, func(v *change.Table) bool { return v.String() == c.t.name })
	if i < 0 {
		return errGone
	}
	if c.t.samePublished(look.Published) != nil { // in a moment without, changes may have come that are in no log
		return errRepublished
	}
	now := look.Tables[i]
	if !sameColumns(now, c.t.source) {
		return &staleError{why: "its columns or its key were changed"}
	}
	if !maps.Equal(linksOf(now), linksOf(c.t.source)) {
		return &change.AlteredError{Table: c.t.name, Err: errors.New("it has other partitions than when it was read")}
	}
	return c.stage.adopt(plan, now)
}

// sameColumns reports whether two versions of a table have the same columns and key, as far
// as both know.
func sameColumns(a, b *change.Table) bool {
	return slices.Equal(a.Key, b.Key) && a.KeyKind == b.KeyKind && slices.EqualFunc(a.Columns, b.Columns, func(x, y change.Column) bool {
		return x.Name == y.Name && x.Type == y.Type && arrow.TypeEqual(x.Arrow, y.Arrow) &&
			(x.ID == y.ID || x.ID == 0 || y.ID == 0) && (x.Shape == y.Shape || x.Shape == "" || y.Shape == "")
	})
}

// changesUntil are the changes in the spool that commit before at, the position of the snapshot
// that is open.
func (c *chunkCopy) changesUntil(ctx context.Context, at change.LSN) (*stagedChanges, error) {
	pend := &pending{target: c.t, limit: at}
	defer pend.reset()
	if err := c.gather(ctx, pend); err != nil {
		return nil, err
	}
	s := &stagedChanges{sorter: hudi.NewSorter(c.sortOptions(2))}
	if len(c.t.partitions) > 0 {
		s.keys = &keySet{}
	}
	for slabs, err := range pend.parts(c.p.opts.MemoryBudget / 4) {
		if err == nil {
			slabs, err = c.t.shows.slabs(slabs)
		}
		if err == nil {
			err = c.reduce(ctx, s, reduce(slabs, at))
		}
		if err != nil {
			return s, err
		}
	}
	if s.keys != nil {
		s.keys.sort()
	}
	if s.swept != nil {
		if err := c.putChanges(ctx, s, "swept", s.swept); err != nil {
			return s, err
		}
	}
	return s, c.putChanges(ctx, s, "changes", s.sorter)
}

// putChanges adds a run of changes. It has no entry: it is made anew by each try.
func (c *chunkCopy) putChanges(ctx context.Context, s *stagedChanges, name string, from *hudi.Sorter) error {
	run, err := putRun(ctx, c.stage.store, name, from, c.stage.head.Lanes, c.runBatch())
	if err != nil {
		return err
	}
	run.newer = true
	s.runs = append(s.runs, run)
	return nil
}

// gather reads what the spool has of the table.
func (c *chunkCopy) gather(ctx context.Context, pend *pending) error {
	t := c.t
	segs, err := c.p.spool.segmentsOf(ctx, t.name)
	if err != nil {
		return err
	}
	if why := c.stage.lacks(segs, 0); why != "" {
		return &staleError{why: why}
	}
	for _, seg := range segs {
		err := c.p.spool.read(ctx, t.name, seg, func(h segmentHead) error {
			if h.Truncated && (h.Emptied == 0 || h.Emptied < pend.limit) {
				return &staleError{why: "it was truncated meanwhile"}
			}
			return nil
		}, func(v *change.Table) { pend.seeVersion(v, seg.from) }, func(s *slab) error {
			if s = s.before(pend.limit); s == nil {
				return nil
			}
			if !sameColumns(s.Table, t.source) {
				return &staleError{why: "its columns or its key were changed meanwhile"}
			}
			if len(s.Rejects) > 0 {
				return errRejects
			}
			if pend.take(s); pend.bytes > c.p.opts.MemoryBudget/8 {
				c.p.spilled.Add(pend.bytes)
				return pend.toDisk(c.p.spillDir)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// reduce takes in the last changes of some keys: those that lack values as the rows are under
// the snapshot.
func (c *chunkCopy) reduce(ctx context.Context, s *stagedChanges, r *reduction) error {
	r.dropPatches(r.patches(), func(int) bool { return false }) // the copy has these columns as they are in its snapshot
	if err := c.makeRoom(ctx, s, len(r.upserts)+len(r.deletes)); err != nil {
		return err
	}
	var whole, lacking []ref
	for _, at := range r.upserts {
		if r.slabs[at.slab].HasUnchanged(int(at.row)) {
			lacking = append(lacking, at)
		} else {
			whole = append(whole, at)
		}
		s.mask(r.key(at))
	}
	for _, key := range r.deletes {
		s.mask(key)
	}
	if s.keys == nil {
		if err := s.sorter.Delete(ctx, "", r.deletes); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(whole, chunkRows) {
		l, err := c.t.layoutOf(c.t.shows.shown(), c.t.copySchema())
		if err == nil {
			err = c.sort(ctx, s.sorter, l, r, some)
		}
		if err != nil {
			return err
		}
	}
	return c.fetch(ctx, s, r, lacking)
}

// fetch reads rows by their keys.
func (c *chunkCopy) fetch(ctx context.Context, s *stagedChanges, r *reduction, rows []ref) error {
	if len(rows) == 0 {
		return nil
	}
	keys := make([][]string, len(rows))
	for i, at := range rows {
		var err error
		if keys[i], err = keyTexts(r.slabs[at.slab].Batch, int(at.row)); err != nil {
			return &staleError{why: err.Error()}
		}
	}
	n, err := c.copyKeys(ctx, s.sorter, keys)
	if err != nil {
		return err
	}
	if n != len(rows) {
		return &staleError{why: fmt.Sprintf("of %d rows that its log has without all of their values, the source shows %d", len(rows), n)}
	}
	c.p.log.Info("rows of which the log lacks values are read by their keys", "table", c.t.name, "rows", n)
	return nil
}

// copyKeys reads the rows of some keys under the snapshot that is open, and returns how many there are.
func (c *chunkCopy) copyKeys(ctx context.Context, into *hudi.Sorter, keys [][]string) (n int, err error) {
	var landed error
	err = c.p.opts.Source.CopyKeys(ctx, c.shown, keys, func(b *change.Batch) error {
		n += b.Len()
		landed = c.take(ctx, into, b)
		return landed
	})
	if err != nil && landed == nil {
		err = &sourceError{err}
	}
	return n, err
}

// mask notes that what runs have under a key does not count.
func (s *stagedChanges) mask(key string) {
	if s.keys != nil {
		s.keys.add(key)
	}
}

// masked is a run without the rows that do not count, in whatever partition they are. Without
// partitions the merge finds them.
func (s *stagedChanges) masked(run hudi.Run) hudi.Run {
	if s.keys == nil {
		return run
	}
	lane := run.Lane
	run.Lane = func(ctx context.Context, n int) (func() (arrow.RecordBatch, error), func(), error) {
		next, end, err := lane(ctx, n)
		return func() (arrow.RecordBatch, error) {
			for {
				rec, err := next()
				if rec == nil {
					return nil, err
				}
				if rec, err = s.without(rec); rec == nil || rec.NumRows() > 0 {
					return rec, err
				}
			}
		}, end, err
	}
	return run
}

// without is a batch without the rows whose keys are masked.
func (s *stagedChanges) without(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	sel := s.keys.rowsOf(rec, false)
	if len(sel) == int(rec.NumRows()) {
		return rec, nil
	}
	defer rec.Release()
	return take(rec, sel)
}
