package hudi

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"lakefeed/hudi/internal/column"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// BulkInsert writes many rows whose keys the table does not have, in a transaction of
// its own. They are sorted by partition, hash bucket and key, whatever does not fit into
// BulkOptions.SortBytes on disk, and written one file group after the other: buckets, or
// new files of about Options.MaxFileBytes, of which each has a range of keys of its own,
// which look-ups pass over. A batch is valid until the next step of rows. A key that
// comes twice, in one partition or where the index is global in the table, is an error
// that names it.
//
// As rows may come only once, it does not begin anew after a [ConflictError].
func (t *Table) BulkInsert(ctx context.Context, rows iter.Seq2[arrow.RecordBatch, error], opts BulkOptions) (instant string, err error) {
	opts.SortBytes = cmp.Or(opts.SortBytes, 128<<20)
	return t.transactOnce(ctx, BulkInsert, func(x *Txn) error {
		b := newBulk(x, opts)
		defer b.close()
		for batch, err := range rows {
			if err != nil {
				return fmt.Errorf("read rows to insert: %w", err)
			}
			if err := b.add(ctx, batch); err != nil {
				return err
			}
		}
		return b.write(ctx)
	})
}

// BulkOptions say how much a bulk insert may take.
type BulkOptions struct {
	// SortBytes is how many rows wait in memory to be sorted, in bytes of Arrow; 0: 128
	// MiB. As much again is taken while they are sorted. The rest waits in TempDir; "":
	// the system's.
	SortBytes int64
	TempDir   string
}

// bulk sorts rows and writes them.
type bulk struct {
	txn    *Txn
	sorter *rowSorter
	keys   *rowSorter // nil but where a key has one row in all partitions: keys alone
}

// bulkExtra are the columns behind the data columns: where a row goes.
var bulkExtra = []arrow.Field{
	{Name: "key", Type: arrow.BinaryTypes.String},
	{Name: "partition", Type: arrow.BinaryTypes.String},
	{Name: "bucket", Type: arrow.PrimitiveTypes.Int32},
}

func newBulk(x *Txn, opts BulkOptions) *bulk {
	schema := arrow.NewSchema(append(slices.Clone(x.schema.Fields()), bulkExtra...), nil)
	b := &bulk{txn: x, sorter: newRowSorter(schema, bulkSortKeys, opts.SortBytes, opts.TempDir)}
	if x.table.index().global() && x.table.partition.depth() > 0 {
		b.keys = newRowSorter(arrow.NewSchema(bulkExtra[:1], nil), byColumns("key"), opts.SortBytes/8, opts.TempDir)
	}
	return b
}

func (b *bulk) close() {
	b.sorter.close()
	if b.keys != nil {
		b.keys.close()
	}
}

// add takes rows.
func (b *bulk) add(ctx context.Context, batch arrow.RecordBatch) error {
	keyed, err := b.txn.table.keyed(batch)
	if err != nil {
		return err
	}
	defer keyed.release()
	data, err := conform(ctx, batch, b.txn.schema)
	if err != nil {
		return err
	}
	defer data.Release()
	buckets := b.buckets(keyed)
	defer buckets.Release()
	all := array.NewRecordBatch(b.sorter.schema, append(slices.Clone(data.Columns()), keyed.keys, keyed.partitions, buckets), data.NumRows())
	defer all.Release()
	if err := b.sorter.add(ctx, all); err != nil || b.keys == nil {
		return err
	}
	keys := array.NewRecordBatch(b.keys.schema, []arrow.Array{keyed.keys}, data.NumRows())
	defer keys.Release()
	return b.keys.add(ctx, keys)
}

// buckets are those of rows, -1 where the table has none.
func (b *bulk) buckets(rows *keyedRows) arrow.Array {
	out := array.NewInt32Builder(column.Allocator)
	defer out.Release()
	index := b.txn.table.index()
	for row := range rows.keys.Len() {
		bucket := -1
		if t, ok := index.home(b.txn, place{rows.partitions.Value(row), rows.keys.Value(row)}); ok {
			bucket = t.bucket
		}
		out.Append(int32(bucket))
	}
	return out.NewArray()
}

// bulkSortKeys sorts rows by partition, bucket and key.
func bulkSortKeys(batch arrow.RecordBatch) (arrow.Array, error) {
	keys, partitions, buckets := bulkColumns(batch)
	b := array.NewBinaryBuilder(column.Allocator, arrow.BinaryTypes.Binary)
	defer b.Release()
	var sort []byte
	for row := range keys.Len() {
		sort = appendEscaped(sort[:0], []byte(partitions.Value(row)))
		sort = binary.BigEndian.AppendUint32(sort, uint32(buckets.Value(row)+1))
		b.Append(append(sort, keys.Value(row)...))
	}
	return b.NewArray(), nil
}

func bulkColumns(batch arrow.RecordBatch) (keys, partitions *array.String, buckets *array.Int32) {
	n := int(batch.NumCols()) - len(bulkExtra)
	return batch.Column(n).(*array.String), batch.Column(n + 1).(*array.String), batch.Column(n + 2).(*array.Int32)
}

// write writes all rows, in order.
func (b *bulk) write(ctx context.Context) error {
	if b.keys != nil {
		if err := b.checkKeys(ctx); err != nil {
			return err
		}
	}
	out := &bulkOut{txn: b.txn}
	err := b.sorter.each(ctx, func(rows arrow.RecordBatch) error { return out.add(ctx, rows) })
	if err != nil {
		return err
	}
	return out.end(ctx)
}

// checkKeys refuses a key that comes twice, in whatever partitions.
func (b *bulk) checkKeys(ctx context.Context) error {
	last, begun := "", false
	return b.keys.each(ctx, func(rows arrow.RecordBatch) error {
		keys := rows.Column(0).(*array.String)
		for row := range keys.Len() {
			if key := keys.Value(row); begun && key == last {
				return comesTwice(key)
			}
			last, begun = keys.Value(row), true
		}
		last = strings.Clone(last) // the batch's memory goes
		return nil
	})
}

func comesTwice(key string) error { return fmt.Errorf("key %s comes twice", key) }

// bulkOut takes rows in the order of the file groups that they go to. One is open at a
// time, so that a transaction of many buckets holds the rows of one.
type bulkOut struct {
	txn   *Txn
	begun bool
	at    bucketID // the bucket is -1 where the table has none
	last  string   // key
	group *GroupWriter
}

func (o *bulkOut) add(ctx context.Context, rows arrow.RecordBatch) error {
	keys, partitions, buckets := bulkColumns(rows)
	from := 0
	for row := range keys.Len() {
		key, at := keys.Value(row), bucketID{partitions.Value(row), int(buckets.Value(row))}
		switch {
		case !o.begun || at != o.at:
			if err := errors.Join(o.put(ctx, rows, from, row), o.end(ctx)); err != nil {
				return err
			}
			from = row
			o.begun, o.at = true, bucketID{strings.Clone(at.partition), at.bucket}
		case key == o.last:
			return comesTwice(key)
		}
		o.last = key
	}
	o.last = strings.Clone(o.last) // the batch's memory goes
	return o.put(ctx, rows, from, keys.Len())
}

// put writes some of rows, in steps between which the file's size is looked at.
func (o *bulkOut) put(ctx context.Context, rows arrow.RecordBatch, from, to int) error {
	limit := o.txn.table.opts.MaxFileBytes
	step := int(max(limit/4/(column.BatchBytes(rows)/max(rows.NumRows(), 1)+1), 1))
	for ; from < to; from += step {
		if err := o.putSome(ctx, rows, from, min(from+step, to)); err != nil {
			return err
		}
		if o.at.bucket < 0 && o.group.fileBytes() >= limit {
			if err := o.end(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *bulkOut) putSome(ctx context.Context, rows arrow.RecordBatch, from, to int) (err error) {
	if o.group == nil {
		if o.group, err = o.open(ctx); err != nil {
			return err
		}
	}
	some := rows.NewSlice(int64(from), int64(to))
	defer some.Release()
	n := o.txn.schema.NumFields()
	data := array.NewRecordBatch(o.txn.schema, some.Columns()[:n], some.NumRows())
	defer data.Release()
	return o.group.Upsert(ctx, data, some.Column(n).(*array.String))
}

func (o *bulkOut) open(ctx context.Context) (*GroupWriter, error) {
	if o.at.bucket < 0 {
		return o.txn.newGroup(o.at.partition)
	}
	return o.txn.Group(ctx, o.at.partition, o.at.bucket)
}

func (o *bulkOut) end(ctx context.Context) error {
	if o.group == nil {
		return nil
	}
	g := o.group
	o.group = nil
	return g.Close(ctx)
}
