package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi"
)

// A take-over is a copy in chunks whose chunks come from the table itself. Its stage is begun when it is asked
// for: from its position on, L, the spool has every change of the table. When the other job has ended, behind
// L, the table's rows become runs; a snapshot is opened at W, and the changes in [L, W) are laid over them, as
// docs/adr/0019 has it: a row that no change in [L, W) touches was the same at L, and the table has it so.

// takeOverLayout is the layout of stages that have no chunks of the source.
const takeOverLayout = "taken over"

// foreignRows are the rows of the other job's table, as runs.
type foreignRows struct {
	*foreign

	c       *chunkCopy
	runs    []*stagedRun
	sorter  *hudi.Sorter
	bytes   int64 // that the sorter has, about
	rows    int64
	deleted int64      // rows of the table that say that they are deleted
	lack    [][]string // keys of rows that have Debezium's placeholder, by their texts
	keys    int64      // bytes of these
}

// takeOver takes a table over, or says what it waits for.
func (p *Pipeline) takeOver(ctx context.Context, t *target, v *change.Table) error {
	order := p.orderOf(t.name).Adopt
	if order == nil {
		return errors.New("it is the table of another job, and nobody wants it to be taken over any more: `lakefeed adopt` or `lakefeed remove`")
	}
	t.source = v
	if t.stage != nil && t.stage.head.Layout != takeOverLayout {
		return &staleError{why: "its rows are taken over now"}
	}
	if err := order.From.kept(t.stage); err != nil {
		return err
	}
	if t.stage == nil {
		if err := p.beginTakeOver(ctx, t, v); err != nil {
			return err
		}
	} else if err := p.stillFits(ctx, t, v); err != nil { // while the other job may still go on
		return err
	}
	if err := p.noteKept(ctx, t, order); err != nil {
		return err
	}
	if !order.Stopped && order.From != nil {
		return &awaitsError{what: fmt.Sprintf("pipeline %s goes on with it, and changes of this source are kept from %s on: when nobody writes to the other one any more, `lakefeed repoint --switch`", order.From.Pipeline, t.stage.head.From)}
	}
	if !order.Stopped {
		return &awaitsError{what: fmt.Sprintf("the job that keeps it goes on until it has passed %s: then stop that, and `lakefeed adopt --stopped`", t.stage.head.From)}
	}
	var err error
	if t.shows, err = p.meetCopy(ctx, t, t.stage.head.From); err != nil {
		return err
	}
	f, err := p.landForeign(ctx, t)
	if err == nil {
		err = f.check(*order)
	}
	if err == nil && order.From == nil {
		err = p.reached(ctx, t.table, t.stage.head.From, *order)
	}
	if err != nil {
		return err
	}
	defer p.endSnapshot(ctx, t)
	rows := &foreignRows{foreign: f, c: &chunkCopy{p: p, t: t, stage: t.stage, shown: t.shows.read()}}
	rows.c.foreign = rows
	return rows.take(ctx)
}

// stillFits sees that a stage is of use for the table as it is, and keeps which partitions are known.
func (p *Pipeline) stillFits(ctx context.Context, t *target, v *change.Table) error {
	plan, err := p.opts.Source.PlanCopy(ctx, v, p.opts.Bootstrap.ChunkOf(v))
	if err != nil {
		return &sourceError{err}
	}
	had := t.stage.head.Links
	if err := t.stage.adopt(plan, v); err != nil || maps.Equal(had, t.stage.head.Links) {
		return err
	}
	return t.stage.head.write(ctx, t.stage.store)
}

// beginTakeOver begins a stage at the position of now.
func (p *Pipeline) beginTakeOver(ctx context.Context, t *target, v *change.Table) error {
	src := p.opts.Source
	at, err := src.OpenSnapshot(ctx) // behind it, what the table is published for is in the log
	if err == nil {
		err = src.CloseSnapshot(ctx)
	}
	if err != nil {
		return &sourceError{fmt.Errorf("open snapshot: %w", err)}
	}
	plan, err := src.PlanCopy(ctx, v, p.opts.Bootstrap.ChunkOf(v))
	if err != nil {
		return &sourceError{err}
	}
	if err := p.beginStage(ctx, t, stageHead{From: at, Plan: *plan, Layout: takeOverLayout, Links: linksOf(v)}); err != nil {
		return err
	}
	p.log.Info("changes of a table are kept until it is taken over", "table", t.name, "lsn", at)
	return nil
}

// take reads the table, lays the changes since over it and commits.
func (r *foreignRows) take(ctx context.Context) error {
	p, t := r.c.p, r.c.t
	instant := newestInstant(t.table)
	p.phase("take over")
	if err := r.read(ctx); err != nil {
		return err
	}
	p.phase("taken over")
	if r.deleted > 0 {
		p.log.Warn("rows of the table that say that they are deleted are left out", "table", t.name, "rows", r.deleted)
	}
	if err := t.table.Refresh(ctx); err != nil {
		return err
	}
	if now := newestInstant(t.table); now != instant {
		return &awaitsError{what: fmt.Sprintf("another job wrote into it while it was read (%s): see that it has ended", now)}
	}
	return r.refused(r.c.finish(ctx, 0, true))
}

// refused says of rows that cannot be written what is to be done: there is no other pass. Keys that
// come twice the source has so; what is in a row otherwise the table has, and not the source.
func (r *foreignRows) refused(err error) error {
	if stale, ok := errors.AsType[*staleError](err); ok && stale.once { // there is no other pass
		return fmt.Errorf("%s: mend that in the source, or let it be copied into a folder of its own", stale.why)
	}
	if _, refused := errors.AsType[*hudi.RowError](err); refused {
		return fmt.Errorf("the table that is taken over has it so: %s reads all rows from the source: %w", r.copyBy(), err)
	}
	return err
}

// read makes runs of the table's rows.
func (r *foreignRows) read(ctx context.Context) error {
	defer r.close()
	columns := []string{}
	for _, c := range r.columns {
		if c.from != "" {
			columns = append(columns, c.from)
		}
	}
	for rec, err := range r.table.Read(ctx, hudi.ReadOptions{Columns: columns, Parallel: 1}) {
		if err == nil {
			err = r.add(ctx, rec)
		}
		if err != nil {
			return fmt.Errorf("read the table that is taken over: %w", err)
		}
	}
	return r.endRun(ctx)
}

func (r *foreignRows) close() {
	if r.sorter != nil {
		r.sorter.Close()
		r.sorter = nil
	}
}

// add takes in some rows of the table.
func (r *foreignRows) add(ctx context.Context, rec arrow.RecordBatch) error {
	whole, err := r.sortOut(rec)
	if err != nil || whole.NumRows() == 0 {
		return err
	}
	if err := r.put(ctx, whole); err != nil {
		return err
	}
	r.rows += rec.NumRows()
	for _, c := range rec.Columns() {
		r.bytes += int64(c.Data().SizeInBytes())
	}
	r.c.p.copied(r.c.t, r.rows)
	if r.bytes < r.c.p.opts.Bootstrap.ChunkOf(r.c.shown) {
		return nil
	}
	return r.endRun(ctx)
}

// put gives rows to the run that is in the making.
func (r *foreignRows) put(ctx context.Context, rec arrow.RecordBatch) error {
	if r.sorter == nil {
		r.sorter = hudi.NewSorter(r.c.sortOptions(1))
	}
	rows, err := r.convert(rec)
	if err != nil {
		return err
	}
	keys, err := hudi.RecordKeys(rows, r.table.RecordKey())
	if err != nil {
		return err
	}
	paths, err := partitionPaths(rows, r.partitions, r.table.PartitionPaths)
	if err != nil {
		return err
	}
	return r.sorter.Upsert(ctx, rows, keys, paths)
}

// endRun writes the run that is in the making.
func (r *foreignRows) endRun(ctx context.Context) error {
	if r.sorter == nil {
		return nil
	}
	defer r.close()
	s, batch := r.c.stage, r.c.runBatch()
	name := fmt.Sprintf("taken-%06d", len(r.runs))
	run, err := putRun(ctx, s.store, name, r.sorter, s.head.Lanes, batch)
	if err != nil {
		return err
	}
	r.runs, r.bytes = append(r.runs, run), 0
	return nil
}

// convert makes rows of the schema that is landed of rows of the table.
func (r *foreignRows) convert(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	cols := make([]arrow.Array, len(r.columns))
	for i, c := range r.columns {
		field, err := r.schema.Field(i), error(nil)
		switch at := rec.Schema().FieldIndices(c.from); {
		case len(at) == 0:
			cols[i] = array.MakeArrayOfNull(mem, field.Type, int(rec.NumRows()))
		case c.read != nil:
			cols[i], err = c.read(rec.Column(at[0]))
		default:
			cols[i] = rec.Column(at[0])
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", field.Name, err)
		}
		if field.Name == colLSN && r.from != nil { // those of the other log do not compare with this one's
			cols[i] = sameLSN(rec.NumRows(), r.c.stage.head.From)
		} else if field.Name == colLSN { // by which engines order changes: what comes is newer than what is there
			cols[i] = withLSN(cols[i].(*array.Int64), r.c.stage.head.From)
		}
	}
	return array.NewRecordBatch(r.schema, cols, rec.NumRows()), nil
}

// withLSN gives rows that have no position one.
func withLSN(a *array.Int64, at change.LSN) arrow.Array {
	if a.NullN() == 0 {
		return a
	}
	b := array.NewInt64Builder(mem)
	b.Reserve(a.Len())
	for row := range a.Len() {
		if a.IsValid(row) {
			b.UnsafeAppend(a.Value(row))
		} else {
			b.UnsafeAppend(int64(at))
		}
	}
	return b.NewArray()
}

// sameLSN is one position for a number of rows.
func sameLSN(rows int64, at change.LSN) arrow.Array {
	b := array.NewInt64Builder(mem)
	b.Reserve(int(rows))
	for range rows {
		b.UnsafeAppend(int64(at))
	}
	return b.NewArray()
}

// sortOut leaves out the rows that say that they are deleted, and those that have Debezium's placeholder for
// a value, whose keys are noted: what they have is known by the source alone.
func (r *foreignRows) sortOut(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	var lacks []arrow.Array
	for _, c := range r.columns {
		if c.text {
			lacks = append(lacks, rec.Column(rec.Schema().FieldIndices(c.from)[0]))
		}
	}
	ops, _ := columnOf(rec, colOp).(*array.String)
	if r.from != nil {
		ops = nil
	}
	var sel []ref
	var keys []int
	for row := range int(rec.NumRows()) {
		switch {
		case ops != nil && ops.IsValid(row) && (ops.Value(row) == "d" || ops.Value(row) == "D"):
			r.deleted++
		case slices.ContainsFunc(lacks, func(a arrow.Array) bool { return isPlaceholder(a, row) }):
			keys = append(keys, row)
		default:
			sel = append(sel, ref{0, int32(row)})
		}
	}
	if err := r.noteLacking(rec, keys); err != nil || len(sel) == int(rec.NumRows()) {
		return rec, err
	}
	return take(rec, sel)
}

func columnOf(rec arrow.RecordBatch, name string) arrow.Array {
	at := rec.Schema().FieldIndices(name)
	if len(at) == 0 {
		return nil
	}
	return rec.Column(at[0])
}

// textBytes is about what a text takes in memory, beside itself.
const textBytes = 40

// noteLacking notes the keys of rows that are to be read from the source.
func (r *foreignRows) noteLacking(rec arrow.RecordBatch, rows []int) error {
	if len(rows) == 0 {
		return nil
	}
	names := columnNames(r.shown)
	cols := make([]arrow.Array, len(r.shown.Key))
	for i, k := range r.shown.Key {
		at := slices.IndexFunc(r.columns, func(c foreignColumn) bool { return c.from == names[k] })
		var err error
		if cols[i], err = r.columns[at].read(columnOf(rec, names[k])); err != nil {
			return fmt.Errorf("column %s: %w", names[k], err)
		}
	}
	for _, row := range rows {
		key := make([]string, len(cols))
		for i, col := range cols {
			text, ok := keyText(col, row)
			if !ok {
				return fmt.Errorf("a row whose values are not all known cannot be asked for by its key: column %s is %s: `lakefeed adopt --stopped --copy` reads all rows from the source", names[r.shown.Key[i]], col.DataType())
			}
			key[i] = text
			r.keys += int64(len(text)) + textBytes
		}
		r.lack = append(r.lack, key)
	}
	if r.keys > r.c.p.opts.MemoryBudget/8 {
		return errors.New("too many of its rows have " + placeholder + " for a value: `lakefeed adopt --stopped --copy` reads all rows from the source")
	}
	return nil
}

// complete reads the rows that have values which only the source knows, under the snapshot that is open. Changes
// that came since are laid over them as over the others.
func (r *foreignRows) complete(ctx context.Context) error {
	if r == nil || len(r.lack) == 0 {
		return nil
	}
	c := r.c
	r.sorter = hudi.NewSorter(c.sortOptions(1))
	defer r.close()
	n := 0
	for keys := range slices.Chunk(r.lack, chunkRows) {
		some, err := c.copyKeys(ctx, r.sorter, keys)
		if err != nil {
			return err
		}
		n += some
	}
	c.p.log.Info("rows whose values Debezium did not know are read by their keys", "table", c.t.name, "rows", n)
	return r.endRun(ctx)
}
