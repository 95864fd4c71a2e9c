package hudi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
)

// evolve checks that the table may go on with a schema.
func (x *Txn) evolve(ctx context.Context, next *arrow.Schema) error {
	if x.schema.Equal(next) {
		return nil
	}
	if err := x.checkNeeded(next); err != nil {
		return err
	}
	if x.replacesAll() { // no file of before is left
		return checkSchema(next)
	}
	e, err := evolve(x.schema, next)
	if err != nil {
		return err
	}
	if err := x.table.checkLogs(ctx, x.timeline, next); err != nil {
		return err
	}
	return x.checkUsed(ctx, e)
}

// checkNeeded refuses to change the columns by which rows are found and ordered. Those
// that order rows may become wider, as engines compare them by value.
func (x *Txn) checkNeeded(next *arrow.Schema) error {
	t := x.table
	order := t.props.orderingFields()
	for _, name := range slices.Concat(t.keys.fields, t.partition.fields, order) {
		f, ok := x.schema.FieldsByName(name)
		if !ok {
			continue // a table of another writer need not have it
		}
		g, ok := next.FieldsByName(name)
		switch {
		case !ok:
			return &SchemaError{name, "it may not be dropped: keys, partitions or the order of changes are made of it"}
		case arrow.TypeEqual(f[0].Type, g[0].Type):
		case slices.Contains(order, name) && widens(f[0].Type, g[0].Type) && g[0].Type.ID() != arrow.STRING:
		default:
			return &SchemaError{name, fmt.Sprintf("its type may not change from %s to %s: keys, partitions or the order of changes are made of it", f[0].Type, g[0].Type)}
		}
	}
	return nil
}

// RenameColumn gives a column another name. As readers find columns by name, it writes
// all files anew, in one commit, which costs what [Table.Rewrite] does.
func (t *Table) RenameColumn(ctx context.Context, from, to string) (instant string, err error) {
	fields := slices.Clone(t.Schema().Fields())
	at := slices.IndexFunc(fields, func(f arrow.Field) bool { return f.Name == from })
	if at < 0 {
		return "", &SchemaError{from, "the table does not have it"}
	}
	fields[at].Name = to
	next := arrow.NewSchema(fields, nil)
	return t.Rewrite(ctx, next, nil, func(rows arrow.RecordBatch) (arrow.RecordBatch, error) {
		if !rows.Schema().HasField(from) {
			return nil, &SchemaError{from, "the table does not have it any more"}
		}
		return array.NewRecordBatch(next, rows.Columns(), rows.NumRows()), nil
	})
}

// CompactFor compacts the table if its log files stand in the way of a schema that a
// transaction is to take on, which would be refused. It returns the instant of the
// compaction, "" where none was needed.
func (t *Table) CompactFor(ctx context.Context, next *arrow.Schema) (instant string, err error) {
	if t.Schema().Equal(next) {
		return "", nil
	}
	err = t.checkLogs(ctx, t.Timeline(), next)
	if _, inTheWay := errors.AsType[*SchemaError](err); !inTheWay {
		return "", err
	}
	return t.Compact(ctx, CompactOptions{})
}

// checkLogs refuses a schema that hudi-rs could not read the log files of now in: it
// fills in a column that a block lacks only where all others are of the table's types,
// and reads no struct of other fields.
func (t *Table) checkLogs(ctx context.Context, tl *timeline.Timeline, next *arrow.Schema) error {
	if t.Type() != MergeOnRead {
		return nil
	}
	t.mu.RLock()
	found := t.view.slices(tl, "", nil)
	t.mu.RUnlock()
	if found = slices.DeleteFunc(found, func(s *FileSlice) bool { return len(s.Logs) == 0 }); len(found) == 0 {
		return nil
	}
	if err := t.written.read(ctx, t, tl, oldestInstant(found), ""); err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(s *FileSlice) bool { return !t.hasLogRows(tl, s) }) // as no compaction takes them, either
	oldest := oldestInstant(found)
	if oldest == "" {
		return nil
	}
	commits := slices.DeleteFunc(tl.Completed(), func(i timeline.Instant) bool { return i.Time < oldest })
	seen, bad := map[string]bool{}, error(nil)
	err := t.eachCommit(ctx, commits, func(i timeline.Instant, m *timeline.CommitMetadata) bool {
		avro := m.ExtraMetadata[timeline.SchemaKey]
		if avro == "" || seen[avro] {
			return true
		}
		seen[avro] = true
		var old *arrow.Schema
		if old, bad = schema.ToArrow(avro); bad != nil {
			bad = &CorruptError{t.instantFile(i), bad}
		} else {
			bad = blockReads(old, next)
		}
		return bad == nil
	})
	return cmp.Or(err, bad)
}

// oldestInstant is the least instant of slices, "" of none.
func oldestInstant(of []*FileSlice) string {
	if len(of) == 0 {
		return ""
	}
	return slices.MinFunc(of, func(a, b *FileSlice) int { return cmp.Compare(a.Instant, b.Instant) }).Instant
}

// blockReads tells whether hudi-rs reads log blocks of one schema in another.
func blockReads(old, next *arrow.Schema) error {
	lacks, other := "", ""
	for _, g := range next.Fields() {
		f, ok := old.FieldsByName(g.Name)
		switch {
		case !ok:
			lacks = g.Name
		case arrow.TypeEqual(f[0].Type, g.Type):
		case arrow.IsNested(g.Type.ID()):
			return &SchemaError{g.Name, fmt.Sprintf("hudi-rs does not read the log files of now with %s for it, which have %s: Table.CompactFor makes room", g.Type, f[0].Type)}
		default:
			other = g.Name
		}
	}
	if lacks == "" || other == "" {
		return nil
	}
	return &SchemaError{other, fmt.Sprintf("hudi-rs does not read the log files of now, which have another type for it and lack the column %s: Table.CompactFor makes room", lacks)}
}
