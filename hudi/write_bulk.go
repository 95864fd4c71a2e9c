package hudi

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"strings"

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
	// MiB. The rest waits in TempDir, in files without names; "": the system's.
	SortBytes int64
	TempDir   string
}

// bulk sorts rows and writes them.
type bulk struct {
	txn    *Txn
	sorter *Sorter
	keys   *rowSorter // nil but where a key has one row in all partitions: keys alone
}

func newBulk(x *Txn, opts BulkOptions) *bulk {
	sort := SortOptions{Schema: x.schema, SortBytes: opts.SortBytes, TempDir: opts.TempDir}
	if x.table.hashed() {
		sort.RecordKey, sort.Buckets = x.table.key, x.count
	}
	b := &bulk{txn: x, sorter: NewSorter(sort)}
	if x.table.index().global() && x.table.partition.depth() > 0 {
		b.keys = newRowSorter(arrow.NewSchema(sortedExtra[:1], nil), byColumns("key"), opts.SortBytes/8, opts.TempDir)
	}
	return b
}

func (b *bulk) close() {
	b.sorter.Close()
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
	if err := b.sorter.Upsert(ctx, batch, keyed.keys, keyed.partitions); err != nil || b.keys == nil {
		return err
	}
	keys := array.NewRecordBatch(b.keys.schema, []arrow.Array{keyed.keys}, int64(keyed.keys.Len()))
	defer keys.Release()
	return b.keys.add(ctx, keys)
}

// write writes all rows, in order.
func (b *bulk) write(ctx context.Context) error {
	if b.keys != nil {
		if err := b.checkKeys(ctx); err != nil {
			return err
		}
	}
	return b.sorter.Write(ctx, b.txn)
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
