package hudi

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
)

// Upsert writes rows in a transaction of their own. Their keys are taken from the
// record key columns and their partitions from the partition columns; of two rows with
// one key in one partition the last counts.
func (t *Table) Upsert(ctx context.Context, rows arrow.RecordBatch) (instant string, err error) {
	keyed, err := t.keyed(rows)
	if err != nil {
		return "", fmt.Errorf("upsert into %s: %w", t.name, err)
	}
	defer keyed.release()
	return t.transact(ctx, Upsert, func(x *Txn) error {
		w := rowWriter{txn: x, index: t.index(), rows: keyed, lookUp: true, fill: true}
		return w.write(ctx, keyed.last(t.index().global()), nil)
	})
}

// keyedRows are rows with their record keys and partition paths.
type keyedRows struct {
	rows             arrow.RecordBatch
	keys, partitions *array.String
}

func (t *Table) keyed(rows arrow.RecordBatch) (*keyedRows, error) {
	keys, err := RecordKeys(rows, t.key)
	if err != nil {
		return nil, err
	}
	partitions, err := t.PartitionPaths(rows)
	if err != nil {
		keys.Release()
		return nil, err
	}
	return &keyedRows{rows, keys, partitions}, nil
}

func (k *keyedRows) release() {
	k.keys.Release()
	k.partitions.Release()
}

// last are the rows that count: of each key the last, in the table or in each partition.
func (k *keyedRows) last(global bool) []int32 {
	last := make(map[place]int32, k.keys.Len())
	for row := range k.keys.Len() {
		p := place{key: k.keys.Value(row)}
		if !global {
			p.partition = k.partitions.Value(row)
		}
		last[p] = int32(row)
	}
	return slices.Sorted(maps.Values(last))
}

// upsert writes the selected rows into a group.
func (k *keyedRows) upsert(ctx context.Context, g *GroupWriter, sel []int32) error {
	some, err := column.Take(k.rows, sel)
	if err != nil {
		return err
	}
	defer some.Release()
	names := array.NewStringBuilder(column.Allocator)
	defer names.Release()
	for _, row := range sel {
		names.Append(k.keys.Value(int(row)))
	}
	someKeys := names.NewStringArray()
	defer someKeys.Release()
	return g.Upsert(ctx, some, someKeys)
}

// Delete removes the rows with those record keys in a transaction of its own. A key
// that the table does not have is no error. Where the table has partitions, and no
// global index that says which of them a key is in, see [Table.DeleteFrom].
func (t *Table) Delete(ctx context.Context, keys ...string) (instant string, err error) {
	return t.transact(ctx, Delete, func(x *Txn) error {
		if t.partition.depth() > 0 && !t.index().global() {
			return badOption("a key does not say which of the table's partitions its row is in: use DeleteFrom, or a global index")
		}
		return x.delete(ctx, map[string][]string{"": keys}, false)
	})
}

// DeleteFrom removes rows in a transaction of its own: those with the record keys that
// it gets for each partition, by its path. A key that a partition does not have is no
// error.
func (t *Table) DeleteFrom(ctx context.Context, keys map[string][]string) (instant string, err error) {
	return t.transact(ctx, Delete, func(x *Txn) error {
		for partition := range keys {
			if err := t.partition.check(partition); err != nil {
				return err
			}
		}
		return x.delete(ctx, keys, true)
	})
}

// delete deletes keys by partition: in that one only, or wherever a global index finds them.
func (x *Txn) delete(ctx context.Context, keys map[string][]string, only bool) error {
	seen := map[place]bool{}
	var gone []place
	for _, partition := range slices.Sorted(maps.Keys(keys)) {
		for _, k := range keys[partition] {
			if p := (place{partition, k}); !seen[p] {
				seen[p] = true
				gone = append(gone, p)
			}
		}
	}
	w := rowWriter{txn: x, index: x.table.index(), lookUp: true, only: only}
	return w.write(ctx, nil, gone)
}

// transact runs a whole transaction, again where others were faster.
func (t *Table) transact(ctx context.Context, op Operation, write func(*Txn) error) (instant string, err error) {
	err = t.Retry(ctx, func(ctx context.Context) (err error) {
		instant, err = t.transactOnce(ctx, op, write)
		return err
	})
	return instant, err
}

func (t *Table) transactOnce(ctx context.Context, op Operation, write func(*Txn) error) (string, error) {
	x, err := t.Begin(ctx, TxnOptions{Operation: op})
	if err != nil {
		return "", err
	}
	err = write(x)
	if err == nil {
		_, err = x.Commit(ctx, nil)
	}
	if err != nil {
		err = x.undo(ctx, err)
	}
	if err != nil {
		return "", err
	}
	return x.Instant(), nil
}

// Rewrite passes every row of the table through fn and replaces all file groups by
// what comes out, in one commit: so a column that was added gets its values, for
// example. Fn gets batches of the data columns as the table has them and returns as
// many rows, in that order, with the columns of schema (nil: the same); keys and
// partition columns stay. The table does not change meanwhile.
func (t *Table) Rewrite(ctx context.Context, schema *arrow.Schema, extra map[string]string, fn func(arrow.RecordBatch) (arrow.RecordBatch, error)) (instant string, err error) {
	x, err := t.Begin(ctx, TxnOptions{Operation: InsertOverwriteTable, Schema: schema})
	if err != nil {
		return "", err
	}
	if err = x.rewriteAll(ctx, fn); err == nil {
		_, err = x.Commit(ctx, extra)
	}
	if err != nil {
		err = x.undo(ctx, err)
	}
	if err != nil {
		return "", err
	}
	return x.Instant(), nil
}

// rewriteAll passes all rows through fn. It refuses a table of which something is lost or
// broken: all that would be gone with the files of before.
func (x *Txn) rewriteAll(ctx context.Context, fn func(arrow.RecordBatch) (arrow.RecordBatch, error)) error {
	all := x.slices(nil)
	w, err := x.table.checkFiles(ctx, x.timeline, all, checkScope{})
	if err != nil {
		return fmt.Errorf("rewrite %s: %w", x.table.name, err)
	}
	for _, s := range all {
		if err := x.rewrite(ctx, s, w.files(s.Group(), x.timeline), fn); err != nil {
			return fmt.Errorf("rewrite %s of %s: %w", s.Group(), x.table.name, err)
		}
	}
	return nil
}

// rewrite passes the rows of one file slice, of which commits say what they wrote, through
// fn into a new file group.
func (x *Txn) rewrite(ctx context.Context, s *FileSlice, wrote map[string]writtenFile, fn func(arrow.RecordBatch) (arrow.RecordBatch, error)) error {
	g, err := x.openRewritten(ctx, s)
	if err != nil {
		return err
	}
	full := x.before
	data := arrow.NewSchema(full.Fields()[metaCount:], nil)
	scan := &sliceScan{table: x.table, slice: s, timeline: x.timeline, full: full, schema: full, wrote: wrote}
	err = scan.run(ctx, func(batch arrow.RecordBatch) error {
		keys, err := keysOf(batch)
		if err != nil {
			return err
		}
		rows := array.NewRecordBatch(data, batch.Columns()[metaCount:], batch.NumRows())
		defer rows.Release()
		changed, err := fn(rows)
		if err != nil {
			return err
		}
		if err := g.checkPartition(changed); err != nil {
			return err
		}
		return g.upsert(ctx, changed, keys, false)
	})
	if err != nil {
		return err
	}
	return g.Close(ctx)
}

// checkPartition refuses rows of another partition than the group's.
func (g *GroupWriter) checkPartition(rows arrow.RecordBatch) error {
	if g.txn.table.partition.depth() == 0 {
		return nil
	}
	paths, err := g.txn.table.PartitionPaths(rows)
	if err != nil {
		return err
	}
	defer paths.Release()
	for row := range paths.Len() {
		if p := paths.Value(row); p != g.id.Partition {
			return fmt.Errorf("a row of partition %s became one of %s", g.id.Partition, p)
		}
	}
	return nil
}

// openRewritten opens the group that takes the place of a slice's.
func (x *Txn) openRewritten(ctx context.Context, s *FileSlice) (*GroupWriter, error) {
	if x.table.buckets == 0 {
		return x.newGroup(s.Partition)
	}
	bucket, err := x.table.bucketOf(s.FileID)
	if err != nil {
		return nil, err
	}
	return x.Group(ctx, s.Partition, bucket)
}
