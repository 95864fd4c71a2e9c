package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"golang.org/x/sync/errgroup"

	"lakefeed/change"
	"lakefeed/hudi"
)

// snapshots is how many of them a first copy is tried under, where the table is
// truncated or written anew again and again while it is read.
const snapshots = 5

// copyMissing makes the first copies that are missing, under the snapshot that open
// opens; those that it does not show any more under the next.
func (p *Pipeline) copyMissing(ctx context.Context, open func(context.Context) (change.LSN, error)) error {
	for try := 1; ; try++ {
		at, err := open(ctx)
		if err != nil {
			return fmt.Errorf("open snapshot: %w", err)
		}
		last := try == snapshots
		err = p.copyAll(ctx, at, last)
		if cause := p.opts.Source.CloseSnapshot(context.WithoutCancel(ctx)); err == nil && cause != nil {
			err = fmt.Errorf("close snapshot: %w", cause)
		}
		if err != nil || last || !p.lacksCopy() { // what is left is described anew, and copied beside the stream
			return err
		}
		open = p.opts.Source.OpenSnapshot
	}
}

// lacksCopy reports whether a table's first copy is to be made.
func (p *Pipeline) lacksCopy() bool { return slices.ContainsFunc(p.targets, (*target).lacksCopy) }

func (t *target) lacksCopy() bool {
	return (t.at.LSN == 0 || t.recopy != nil && !t.recopy.chunks) && !t.failed() && (t.recopy == nil || !t.recopy.chunks)
}

// leaveChunks leaves the copies of large tables to the jobs beside the stream; with Until, to those
// of a later run: what is shown at a position is not worth days of reading in one pass.
func (p *Pipeline) leaveChunks() {
	n := int32(0)
	for _, t := range p.targets {
		if !t.lacksCopy() || t.paused || !p.takesChunks(t, t.source) {
			continue
		}
		if t.recopy == nil {
			p.recopy(t, "it has no copy yet")
		}
		t.recopy.chunks = true
		n++
	}
	p.chunked.Store(n)
}

// copyAll makes the first copy of every table that has none, under the snapshot
// that the source holds at position at. One that fails, or is locked, is left behind; so is, with
// last, one that the snapshot does not show any more.
func (p *Pipeline) copyAll(ctx context.Context, at change.LSN, last bool) error {
	for _, t := range p.targets {
		if !t.lacksCopy() {
			continue
		}
		err := p.copyAnew(ctx, t, at)
		source, ofSource := errors.AsType[*sourceError](err)
		_, locked := errors.AsType[*change.LockedTableError](err)
		rewritten := changedMeanwhile(err)
		switch {
		case err == nil:
			t.recopy, t.stage, t.stranger, t.settled = nil, nil, false, false
			p.obeyed(ctx, t, p.orderOf(t.name).Since)
		case ctx.Err() != nil:
			return ctx.Err()
		case ofSource && !locked && p.retryable(source.error): // all begins anew
			return fmt.Errorf("copy %s: %w", t.name, err)
		case rewritten && !last:
			p.log.Info("table is copied under another snapshot", "table", t.name, "error", err)
		default:
			p.copyFailed(ctx, t, err)
		}
	}
	return nil
}

// copyAnew is copyTable, behind what is to be done where the table was there before.
func (p *Pipeline) copyAnew(ctx context.Context, t *target, at change.LSN) error {
	if t.recopy != nil {
		if err := p.findLanding(ctx, t); err != nil {
			return err
		}
	}
	return p.copyTable(ctx, t, at)
}

// sourceError is an error of the source, which may pass by itself, and not of the lake.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// copyTable lands all rows that a table has under the snapshot, in one commit.
func (p *Pipeline) copyTable(ctx context.Context, t *target, at change.LSN) (err error) {
	p.phase("copy")
	aside := t.quarantine.writer(true)
	t.quarantine.copying = aside
	defer aside.abort(ctx, &err)
	t.report(func(s *TableStatus) { s.State, s.CopyRows = Copying, 0 })
	m, err := p.meetCopy(ctx, t, at)
	if err != nil {
		return err
	}
	t.shows = m
	if t.shared != nil {
		return p.copyShard(ctx, t, at)
	}
	overwrite, err := p.landing(ctx, t)
	if err != nil {
		return err
	}
	write := p.copyRows
	if len(t.partitions) > 0 {
		sorted, err := p.sortRows(ctx, t)
		if err != nil {
			return err
		}
		defer sorted.Close()
		write = sorted.write
	}
	return p.landCopy(ctx, t, at, overwrite, write)
}

// landCopy makes the commit of a copy, whose rows are those of the source at a position.
func (p *Pipeline) landCopy(ctx context.Context, t *target, at change.LSN, overwrite bool, write copyWriter) error {
	leaves, err := p.copiedLeaves(ctx, t, at)
	if err != nil {
		return err
	}
	txn, err := p.beginCopy(ctx, t, overwrite)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	next := p.next(t.shows, at, change.Mark{})
	next.Copied, next.Columns, next.Gone = at, nil, nil // what was known of these is of no use
	t.shows.describe(&next)
	rows, instant, err := p.commitCopy(ctx, t, txn, next, write)
	if err != nil {
		if instant, err = published(ctx, txn, err); err != nil {
			return err
		}
	}
	p.commits.Add(1)
	t.committed(next, instant, rows)
	if extra, err := t.extraOf(next); err == nil {
		t.carried(extra)
	}
	if t.leaves = leaves; leaves != nil {
		t.account(leaves)
	}
	p.log.Info("table copied", "table", t.name, "rows", rows, "instant", instant, "lsn", at)
	return nil
}

func (p *Pipeline) commitCopy(ctx context.Context, t *target, txn *hudi.Txn, next checkpoint, write copyWriter) (rows int64, instant string, err error) {
	if rows, err = write(ctx, t, txn); err != nil {
		return 0, "", err
	}
	extra, err := t.extraOf(next)
	if err != nil {
		return 0, "", err
	}
	if err := t.quarantine.copying.commit(ctx, next.LSN); err != nil {
		return rows, "", fmt.Errorf("put rows in quarantine: %w", err)
	}
	if instant, err = txn.Commit(ctx, extra); err != nil {
		return rows, "", fmt.Errorf("commit: %w", err)
	}
	return rows, instant, nil
}

// copyWriter writes the rows of a first copy, and counts them.
type copyWriter func(ctx context.Context, t *target, txn *hudi.Txn) (int64, error)

// copyRows spreads the rows over the buckets. Worker w writes the buckets b with b % workers = w.
func (p *Pipeline) copyRows(ctx context.Context, t *target, txn *hudi.Txn) (int64, error) {
	type piece struct {
		bucket int
		rows   arrow.RecordBatch
		keys   *array.String
	}
	workers := min(runtime.GOMAXPROCS(0), t.table.Buckets())
	g, ctx := errgroup.WithContext(ctx)
	queues := make([]chan piece, workers)
	for w := range queues {
		queues[w] = make(chan piece, 2)
		g.Go(func() error {
			groups := map[int]*hudi.GroupWriter{}
			for c := range queues[w] {
				gw, err := groupOf(ctx, txn, groups, c.bucket)
				if err == nil {
					err = gw.Upsert(ctx, c.rows, c.keys)
				}
				if err != nil {
					return err
				}
			}
			return closeGroups(ctx, groups)
		})
	}
	rows := int64(0)
	g.Go(func() error {
		defer func() {
			for _, q := range queues {
				close(q)
			}
		}()
		var landed error
		err := p.opts.Source.Copy(ctx, t.shows.read(), func(b *change.Batch) error {
			landed = p.byBucket(ctx, t, b, func(bucket int, rec arrow.RecordBatch, keys *array.String) error {
				select {
				case queues[bucket%workers] <- piece{bucket, rec, keys}:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			rows += int64(b.Len())
			p.copied(t, rows)
			return landed
		})
		if err != nil && landed == nil {
			return &sourceError{err}
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return 0, err
	}
	return rows, nil
}

// copied reports how far a first copy is.
func (p *Pipeline) copied(t *target, rows int64) {
	t.report(func(s *TableStatus) { s.CopyRows = rows })
	if p.opts.Progress != nil {
		p.opts.Progress(t.name, rows, t.source.RowsEstimate)
	}
}

func groupOf(ctx context.Context, txn *hudi.Txn, groups map[int]*hudi.GroupWriter, bucket int) (*hudi.GroupWriter, error) {
	if g := groups[bucket]; g != nil {
		return g, nil
	}
	g, err := txn.Group(ctx, "", bucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %d: %w", bucket, err)
	}
	groups[bucket] = g
	return g, nil
}

func closeGroups(ctx context.Context, groups map[int]*hudi.GroupWriter) error {
	for b, g := range groups {
		if err := g.Close(ctx); err != nil {
			return fmt.Errorf("close bucket %d: %w", b, err)
		}
	}
	return nil
}

// byBucket hands over a batch of copied rows, in the table's columns, bucket by bucket.
func (p *Pipeline) byBucket(ctx context.Context, t *target, b *change.Batch, emit func(int, arrow.RecordBatch, *array.String) error) error {
	s, err := t.shows.copied(b)
	if err != nil {
		return err
	}
	l, err := newLayout(s.Table, t.copySchema())
	if err != nil {
		return err
	}
	r := &reduction{slabs: []*slab{s}}
	if err := t.quarantine.copying.takeCopied(ctx, r.slabs[0]); err != nil {
		return err
	}
	for bucket, sel := range split(r, bucketsOf(t.table)) {
		if len(sel) == 0 {
			continue
		}
		rec, keys, err := p.convert(l, r, sel, nil)
		if err != nil {
			return err
		}
		if err := emit(bucket, rec, keys); err != nil {
			return err
		}
	}
	return nil
}

// split groups the rows of a reduction without deletes by bucket.
func split(r *reduction, buckets buckets) [][]ref {
	out := make([][]ref, buckets.n)
	for si, s := range r.slabs {
		for row := range s.Len() {
			if s.Rejects[row] != nil {
				continue
			}
			b := buckets.of(s.keys.Value(row))
			out[b] = append(out[b], ref{int32(si), int32(row)})
		}
	}
	return out
}

// buckets places record keys in the buckets of a table.
type buckets struct {
	key []string
	n   int
}

func bucketsOf(t *hudi.Table) buckets { return buckets{t.RecordKey(), t.Buckets()} }

func (b buckets) of(key string) int { return hudi.BucketOf(key, b.key, b.n) }
