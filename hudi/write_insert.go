package hudi

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
)

// Insert writes rows whose keys the table does not have, in a transaction of its own:
// nothing is looked up, and a key that is there all the same comes twice, but in tables
// of hash buckets, where the new row takes its place; with [IndexGlobalKey] a key that
// another partition has is a *[RowError]. New rows fill small files before they make new
// ones. Of two rows with one key the last counts.
func (t *Table) Insert(ctx context.Context, rows arrow.RecordBatch) (instant string, err error) {
	return t.insert(ctx, Insert, rows, true)
}

// InsertOverwrite replaces the rows of the partitions that rows are of, in one commit,
// by these. Other partitions stay as they are. Where an index is global, a key that one of
// them has is a *[RowError].
func (t *Table) InsertOverwrite(ctx context.Context, rows arrow.RecordBatch) (instant string, err error) {
	return t.insert(ctx, InsertOverwrite, rows, false)
}

// InsertOverwriteTable replaces all rows of the table, in one commit, by these.
func (t *Table) InsertOverwriteTable(ctx context.Context, rows arrow.RecordBatch) (instant string, err error) {
	return t.insert(ctx, InsertOverwriteTable, rows, false)
}

func (t *Table) insert(ctx context.Context, op Operation, rows arrow.RecordBatch, fill bool) (string, error) {
	keyed, err := t.keyed(rows)
	if err != nil {
		return "", fmt.Errorf("insert into %s: %w", t.name, err)
	}
	defer keyed.release()
	return t.transact(ctx, op, func(x *Txn) error {
		w := rowWriter{txn: x, index: t.index(), rows: keyed, fill: fill}
		_, cheap := w.index.(*keyIndex)
		w.alone = cheap && op == Insert || w.index.global() && op == InsertOverwrite
		return w.write(ctx, keyed.last(t.index().global()), nil)
	})
}

// DeletePartitions takes partitions away, by their paths, with all their rows, in one
// commit. One that is not there is no error.
func (t *Table) DeletePartitions(ctx context.Context, partitions ...string) (instant string, err error) {
	return t.transact(ctx, DeletePartition, func(x *Txn) error {
		if t.partition.depth() == 0 {
			return badOption("the table has no partitions")
		}
		for _, p := range partitions {
			if err := t.partition.check(p); err != nil {
				return err
			}
		}
		x.dropped = slices.Clone(partitions)
		return nil
	})
}
