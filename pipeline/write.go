package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"golang.org/x/sync/errgroup"

	"lakefeed/change"
	"lakefeed/hudi"
)

// chunkRows is how many rows go to a group's writer at once; fewer where they need stored values.
const (
	chunkRows = 16384
	attempts  = 3 // of one table's commit, before the table is stopped
)

// writeRound writes the tables of a round side by side, and then acknowledges it.
func (p *Pipeline) writeRound(ctx context.Context, r *round) error {
	defer r.remove()
	p.writingSince.Store(new(time.Now()))
	defer p.writingSince.Store(nil)
	p.mu.Lock()
	p.writing = r.to
	p.mu.Unlock()
	if err := p.placeSnapshot(r); err != nil {
		return err
	}
	p.noteWritten(ctx, r)
	if err := p.writeTables(ctx, r); err != nil {
		return err
	}
	for _, f := range r.failures {
		t := p.targetOf(f.Table)
		switch {
		case t == nil || t.isDropped():
		case t.recopy != nil && errors.As(f.Err, &t.recopy.stray): // the copy shows it, perhaps
		case t.recopy != nil:
			t.recopy.void = true
			if err := p.voidStage(ctx, t); err != nil {
				return err
			}
		case f.Lost && isRenamed(f.Err):
			t.settled = true
			p.fail(t, f.Err)
		case f.Lost:
			p.fail(t, &AnewError{What: f.Err.Error(), Schema: t.policy() == EvolveSchema})
		case f.Since < t.at.Copied && !p.opts.Once: // the copy has what became of it, and the source passes over what came since
			p.recopy(t, fmt.Sprintf("a change of it could not be read (%v) before its newest copy was made", f.Err))
			t.stand()
		default: // the source's log brings the same change again: it is kept for nothing
			t.settled = true
			since := f.Since
			if pend := r.tables[t]; pend != nil && pend.voided() {
				since = t.at.LSN
			}
			p.fail(t, fmt.Errorf("%w; what is committed from %s on is not in the lake: mend it in the source, then %s", f.Err, since, CopyAnew))
		}
	}
	p.written = max(p.written, r.to)
	p.passed.set(p.written)
	p.overtake()
	p.judge(ctx, r.to)
	p.obeySignals(ctx, r.signals)
	if err := p.acknowledge(ctx, r); err != nil {
		return err
	}
	p.forgetStops(r.to)
	p.recordStops(ctx)
	return nil
}

// writeTables writes a round into its tables side by side, and into the spool what tables
// have of it that cannot be written.
func (p *Pipeline) writeTables(ctx context.Context, r *round) error {
	g, gctx := errgroup.WithContext(ctx)
	if p.opts.Shards == nil { // shards wait for each other, and bound what is written at once together
		g.SetLimit(writers)
	}
	var mu sync.Mutex
	var aside []*pending
	for _, pend := range r.tables {
		t := pend.target
		if p.diverted.Load() || !t.direct() || t.at.LSN > max(p.written, t.covered) { // copied since the round began: what the copy has is left out when the spool is drained
			aside = append(aside, pend)
			continue
		}
		g.Go(func() error {
			err := p.writeTable(gctx, pend, r)
			if err != nil && gctx.Err() != nil {
				return gctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			if t.at.LSN > t.safe {
				t.safe = t.at.LSN
			}
			if err != nil {
				p.fail(t, cmp.Or(t.removed(gctx), ofLake(err)))
				aside = append(aside, pend)
				t.stand()
			} else if t.inOrder {
				delete(p.journal, t.name)
				t.inOrder = false
				t.stand()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return p.setAside(ctx, aside, r)
}

func isRenamed(err error) bool { _, ok := errors.AsType[*renamedError](err); return ok }

// writeTable commits one table's changes of a round, again where another writer was in the way.
func (p *Pipeline) writeTable(ctx context.Context, pend *pending, r *round) (err error) {
	if pend.empty() {
		return nil
	}
	if pend.target.shared != nil {
		return p.writeShared(ctx, pend, r)
	}
	started := time.Now()
	t := pend.target
	for range attempts {
		if err = p.commitTable(ctx, pend, r); err == nil {
			p.observe(t, pend, r, started)
			return p.serve(ctx, t)
		}
		if cause := t.table.Refresh(context.WithoutCancel(ctx)); cause != nil {
			return fmt.Errorf("%w; and to look at the table again: %w", err, cause)
		}
		if _, conflict := errors.AsType[*hudi.ConflictError](err); !conflict {
			return err
		}
		p.log.Warn("another writer was in the way, the batch is written again", "table", t.name, "error", err)
	}
	return err
}

// commitTable is one transaction: reduce, fill, convert, write, commit with the checkpoint.
func (p *Pipeline) commitTable(ctx context.Context, pend *pending, r *round) error {
	t := pend.target
	if err := t.quarantine.align(ctx, t.at.LSN); err != nil {
		return err
	}
	m, err := p.meetRound(ctx, pend, r)
	if err != nil {
		return err
	}
	schema, err := p.evolveTable(ctx, pend, m, t.table.Schema())
	if err != nil {
		return err
	}
	l, err := t.layoutOf(m.shown(), schema)
	if err != nil {
		return err
	}
	op := hudi.Upsert
	if pend.truncated {
		op = hudi.InsertOverwriteTable
	}
	txn, err := t.table.Begin(ctx, hudi.TxnOptions{Operation: op, Schema: schema})
	if err != nil {
		return ofSchema(fmt.Errorf("begin: %w", err))
	}
	next := p.next(m, pend.until(r.to), r.last)
	next.First = max(pend.first, next.From)
	if pend.truncated {
		next.Emptied = pend.emptiedBy
	}
	instant, err := p.writeChanges(ctx, pend, m, l, txn, next)
	if err != nil {
		if instant, err = published(ctx, txn, err); err != nil {
			return err
		}
	}
	p.commits.Add(1)
	t.committed(next, instant, pend.rows)
	p.tellLeftOut(pend, r)
	t.emptied.see(pend)
	return nil
}

// published takes a failed transaction back, unless its commit stands and only the
// answer was lost.
func published(ctx context.Context, txn *hudi.Txn, failure error) (string, error) {
	switch err := txn.Abort(context.WithoutCancel(ctx)); {
	case errors.Is(err, hudi.ErrPublished):
		return txn.Instant(), nil
	case err != nil:
		return "", fmt.Errorf("%w; and to abort: %w", failure, err)
	default:
		return "", failure
	}
}

func (p *Pipeline) writeChanges(ctx context.Context, pend *pending, m *met, l *layout, txn *hudi.Txn, next checkpoint) (_ string, err error) {
	out := p.sinkFor(ctx, pend, txn)
	defer out.end()
	pend.left = leftOut{}
	aside := pend.target.quarantine.writer(pend.truncated)
	defer aside.abort(ctx, &err)
	for slabs, err := range pend.parts(p.opts.MemoryBudget / 4) {
		if err != nil {
			return "", err
		}
		p.phase("reduce")
		if slabs, err = m.slabs(slabs); err != nil {
			return "", err
		}
		r := reduce(slabs, pend.limit)
		if err := pend.target.meetRows(ctx, txn, r, pend.truncated); err != nil {
			return "", err
		}
		pend.left.add(r.left)
		if err := aside.take(ctx, r, pend.version.KeyKind == change.NoKey); err != nil {
			return "", fmt.Errorf("put rows in quarantine: %w", err)
		}
		if err := p.writePart(ctx, pend.target, l, txn, out, r, pend.truncated); err != nil {
			return "", err
		}
	}
	if err := out.flush(ctx); err != nil {
		return "", err
	}
	extra, err := next.extra()
	if err != nil {
		return "", err
	}
	if err := aside.commit(ctx, next.LSN); err != nil {
		return "", fmt.Errorf("put rows in quarantine: %w", err)
	}
	return txn.Commit(ctx, extra)
}

// groupsAtOnce is how many file groups of a partitioned table are written side by side.
const groupsAtOnce = 2

// writePart writes the surviving changes of one part, file group by file group.
func (p *Pipeline) writePart(ctx context.Context, t *target, l *layout, txn *hudi.Txn, out sink, r *reduction, truncated bool) error {
	in, err := p.place(ctx, t, l, txn, r, truncated)
	if err == nil && t.shared != nil && !keyedByShard(l.table) {
		err = t.guard(ctx, r, in)
	}
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(out.writers())
	for _, w := range in.works {
		g.Go(func() error {
			if err := p.writeGroup(ctx, t, l, out, r, in, w); err != nil {
				return fmt.Errorf("write %s: %w", w, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (p *Pipeline) writeGroup(ctx context.Context, t *target, l *layout, out sink, r *reduction, in *places, w *work) error {
	if len(w.deletes) > 0 {
		if err := out.delete(ctx, w.groupID, w.deletes); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
	for rows := w.upserts; len(rows) > 0; {
		n := chunkOf(r, rows, t.filled.rows(p.opts.MemoryBudget))
		rec, keys, err := p.rowsOf(ctx, t, l, r, rows[:n], in)
		if err != nil {
			return err
		}
		if err := out.upsert(ctx, w.groupID, rec, keys); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return out.done(ctx, w.groupID)
}

// chunkOf is how many of the rows to write at once: no more than most that need stored values, which may be large.
func chunkOf(r *reduction, rows []ref, most int) int {
	fills := 0
	for i, at := range rows {
		if i == chunkRows {
			return i
		}
		if r.slabs[at.slab].HasUnchanged(int(at.row)) {
			if fills++; fills == most {
				return i + 1
			}
		}
	}
	return len(rows)
}

func (p *Pipeline) rowsOf(ctx context.Context, t *target, l *layout, r *reduction, sel []ref, in *places) (arrow.RecordBatch, *array.String, error) {
	f, err := fill(ctx, t.table, l, r, sel, in)
	if err != nil {
		return nil, nil, err
	}
	if f != nil {
		t.filled.note(f)
	}
	return p.convert(l, r, sel, f)
}

// evolveTable is the schema that the table has after this round, beyond the one that it would have
// without. Where a column came with a constant default, the rows that are older than it get that value
// now, by a commit of its own that covers nothing more of the source.
func (p *Pipeline) evolveTable(ctx context.Context, pend *pending, m *met, had *arrow.Schema) (*arrow.Schema, error) {
	t, v := pend.target, m.shown()
	schema, added, err := evolve(v, had)
	if err != nil {
		return nil, t.unlikeOthers(err)
	}
	if t.shared != nil {
		added = t.at.lacks(v)
	}
	if _, err := t.table.CompactFor(ctx, schema); err != nil {
		return nil, t.ofSchema(err)
	}
	if !anyMissing(v, added) || pend.truncated {
		return schema, nil
	}
	next := t.at
	m.describe(&next)
	extra, err := t.extraOf(next)
	if err != nil {
		return nil, err
	}
	instant, err := t.table.Rewrite(ctx, schema, extra, func(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
		return withMissing(rec, v, added, schema, t.shard)
	})
	if err != nil {
		return nil, t.ofSchema(fmt.Errorf("fill new columns of %s with their default: %w", t.name, err))
	}
	t.carried(extra)
	p.log.Info("columns added with their default", "table", t.name, "instant", instant)
	t.at = next
	return schema, nil
}

func anyMissing(v *change.Table, added []int) bool {
	for _, c := range added {
		if v.Columns[c].Missing != nil {
			return true
		}
	}
	return false
}

// withMissing gives the rows of rec, or those of a shard, the added columns, each with its default.
func withMissing(rec arrow.RecordBatch, v *change.Table, added []int, schema *arrow.Schema, shard string) (arrow.RecordBatch, error) {
	names := columnNames(v)
	defaults := map[string]arrow.Array{}
	for _, c := range added {
		if v.Columns[c].Missing != nil {
			defaults[names[c]] = v.Columns[c].Missing
		}
	}
	same := make([]ref, rec.NumRows())
	others, err := ofOthers(rec, shard)
	if err != nil {
		return nil, err
	}
	cols := make([]arrow.Array, schema.NumFields())
	for i, f := range schema.Fields() {
		at := rec.Schema().FieldIndices(f.Name)
		switch {
		case len(at) > 0 && defaults[f.Name] == nil:
			cols[i], err = as(rec.Column(at[0]), f.Type)
		case others != nil:
			cols[i], err = others.column(rec, at, defaults[f.Name], f.Type)
		default:
			cols[i], err = gather(f.Type, []arrow.Array{defaults[f.Name]}, same)
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
	}
	return array.NewRecordBatch(schema, cols, rec.NumRows()), nil
}

// serve runs the table's services, when its commit has been told of.
func (p *Pipeline) serve(ctx context.Context, t *target) error {
	if err := t.table.RunServicesOnce(ctx, p.opts.services()); err != nil {
		return fmt.Errorf("keep it in shape: %w", err)
	}
	t.report(func(s *TableStatus) { s.Instant = newestInstant(t.table) }) // a compaction's, perhaps: the one before may be cleaned away in a moment
	return nil
}

// services keep a table in shape.
func (o *Options) services() hudi.ServicesOptions {
	return hudi.ServicesOptions{
		Compact: &hudi.CompactOptions{MinDeltaCommits: o.CompactAfter},
		Clean:   &hudi.CleanOptions{RetainCommits: o.RetainCommits},
		Archive: &hudi.ArchiveOptions{KeepMin: o.ArchiveKeepMin, KeepMax: o.ArchiveKeepMax},
	}
}

func (p *Pipeline) observe(t *target, pend *pending, r *round, started time.Time) {
	if p.opts.Observer == nil {
		return
	}
	latency := time.Duration(0)
	if !r.newest.IsZero() {
		latency = max(0, time.Since(r.newest)) // the source's clock may be ahead, or step
	}
	p.opts.Observer.Committed(t.name, pend.rows, time.Since(started), latency)
}
