package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Upsert writes rows in a transaction of their own. Their keys are taken from the
// record key columns; of two rows with one key the last counts.
func (t *Table) Upsert(ctx context.Context, rows arrow.RecordBatch) (instant string, err error) {
	keys, err := RecordKeys(rows, t.key)
	if err != nil {
		return "", fmt.Errorf("upsert into %s: %w", t.name, err)
	}
	defer keys.Release()
	last := map[string]int32{}
	for row := range keys.Len() {
		last[keys.Value(row)] = int32(row)
	}
	return t.transact(ctx, Upsert, func(x *Txn) error {
		sel := map[int][]int32{}
		for _, row := range slices.Sorted(maps.Values(last)) {
			b := t.Bucket(keys.Value(int(row)))
			sel[b] = append(sel[b], row)
		}
		for _, b := range slices.Sorted(maps.Keys(sel)) {
			if err := x.upsertSome(ctx, b, rows, keys, sel[b]); err != nil {
				return err
			}
		}
		return nil
	})
}

// upsertSome writes the selected rows into a bucket.
func (x *Txn) upsertSome(ctx context.Context, bucket int, rows arrow.RecordBatch, keys *array.String, sel []int32) error {
	g, err := x.Group(ctx, bucket)
	if err != nil {
		return err
	}
	some, err := take(ctx, rows, sel)
	if err != nil {
		return err
	}
	defer some.Release()
	names := array.NewStringBuilder(allocator)
	defer names.Release()
	for _, row := range sel {
		names.Append(keys.Value(int(row)))
	}
	someKeys := names.NewStringArray()
	defer someKeys.Release()
	if err := g.Upsert(ctx, some, someKeys); err != nil {
		return err
	}
	return g.Close(ctx)
}

// Delete removes the rows with those record keys in a transaction of its own. A key
// that the table does not have is no error.
func (t *Table) Delete(ctx context.Context, keys ...string) (instant string, err error) {
	return t.transact(ctx, Delete, func(x *Txn) error {
		gone := map[int][]string{}
		for _, k := range keys {
			b := t.Bucket(k)
			gone[b] = append(gone[b], k)
		}
		for _, b := range slices.Sorted(maps.Keys(gone)) {
			g, err := x.Group(ctx, b)
			if err != nil {
				return err
			}
			if err := g.Delete(ctx, gone[b]); err != nil {
				return err
			}
			if err := g.Close(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// transact runs a whole transaction.
func (t *Table) transact(ctx context.Context, op Operation, write func(*Txn) error) (string, error) {
	x, err := t.Begin(ctx, TxnOptions{Operation: op})
	if err != nil {
		return "", err
	}
	err = write(x)
	if err == nil {
		_, err = x.Commit(ctx, nil)
	}
	if err != nil {
		return "", errors.Join(err, x.Abort(context.WithoutCancel(ctx)))
	}
	return x.Instant(), nil
}

// Rewrite passes every row of the table through fn and replaces all file groups by
// what comes out, in one commit: so a column that was added gets its values, for
// example. Fn gets batches of the data columns as the table has them and returns as
// many rows, in that order, with the columns of schema (nil: the same); keys stay. The
// table does not change meanwhile.
func (t *Table) Rewrite(ctx context.Context, schema *arrow.Schema, extra map[string]string, fn func(arrow.RecordBatch) (arrow.RecordBatch, error)) (instant string, err error) {
	x, err := t.Begin(ctx, TxnOptions{Operation: InsertOverwriteTable, Schema: schema})
	if err != nil {
		return "", err
	}
	for _, s := range x.old {
		if err = x.rewrite(ctx, s, fn); err != nil {
			err = fmt.Errorf("rewrite %s of %s: %w", s.FileID, t.name, err)
			break
		}
	}
	if err == nil {
		_, err = x.Commit(ctx, extra)
	}
	if err != nil {
		return "", errors.Join(err, x.Abort(context.WithoutCancel(ctx)))
	}
	return x.Instant(), nil
}

// rewrite passes the rows of one file slice through fn into a new file group.
func (x *Txn) rewrite(ctx context.Context, s *FileSlice, fn func(arrow.RecordBatch) (arrow.RecordBatch, error)) error {
	bucket, err := x.table.bucketOf(s.FileID)
	if err != nil {
		return err
	}
	g, err := x.Group(ctx, bucket)
	if err != nil {
		return err
	}
	full := x.before
	data := arrow.NewSchema(full.Fields()[metaCount:], nil)
	scan := &sliceScan{table: x.table, slice: s, timeline: x.timeline, full: full, schema: full}
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
		return g.Upsert(ctx, changed, keys)
	})
	if err != nil {
		return err
	}
	return g.Close(ctx)
}
