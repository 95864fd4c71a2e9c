package hudi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
)

// Insert writes rows whose keys the table does not have, in a transaction of its own:
// nothing is looked up, and a key that is there all the same comes twice, but in tables
// of hash buckets. New rows fill small files before they make new ones. Of two rows with
// one key the last counts.
func (t *Table) Insert(ctx context.Context, rows arrow.RecordBatch) (instant string, err error) {
	return t.insert(ctx, Insert, rows, true)
}

// InsertOverwrite replaces the rows of the partitions that rows are of, in one commit,
// by these. Other partitions stay as they are. Where an index is global, no key may
// stand in one of them.
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
		return w.write(ctx, keyed.last(t.index().global()), nil)
	})
}

// DeletePartitions takes partitions away, by their paths, with all their rows, in one
// commit. One that is not there is no error.
func (t *Table) DeletePartitions(ctx context.Context, partitions ...string) (instant string, err error) {
	return t.transact(ctx, DeletePartition, func(x *Txn) error {
		if t.partition.depth() == 0 {
			return errors.New("the table has no partitions")
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

// BulkInsert writes many rows whose keys the table does not have, in a transaction of
// its own. As many as BulkOptions.SortBytes hold in memory are sorted, by partition and
// key, and written into new files of about Options.MaxFileBytes; of these files each
// has a range of keys of its own, which look-ups pass over. In tables of hash buckets
// rows go to their buckets. A batch is valid until the next step of rows. No key may
// come twice.
func (t *Table) BulkInsert(ctx context.Context, rows iter.Seq2[arrow.RecordBatch, error], opts BulkOptions) (instant string, err error) {
	opts.SortBytes = cmp.Or(opts.SortBytes, 256<<20)
	return t.transact(ctx, BulkInsert, func(x *Txn) error {
		b := &bulk{txn: x, limit: opts.SortBytes, groups: map[target]*GroupWriter{}}
		defer b.release()
		for batch, err := range rows {
			if err != nil {
				return fmt.Errorf("read rows to insert: %w", err)
			}
			if err := b.add(ctx, batch); err != nil {
				return err
			}
		}
		return b.end(ctx)
	})
}

// BulkOptions say how much a bulk insert may take.
type BulkOptions struct {
	// SortBytes is how many rows wait in memory to be sorted, in bytes of Arrow; 0: 256
	// MiB. As much again is taken while they are written.
	SortBytes int64
}

// bulk gathers rows and writes them, sorted.
type bulk struct {
	txn    *Txn
	limit  int64
	size   int64
	held   []arrow.RecordBatch
	groups map[target]*GroupWriter // of buckets, which stay open
}

func (b *bulk) release() {
	for _, batch := range b.held {
		batch.Release()
	}
	b.held, b.size = b.held[:0], 0
}

func (b *bulk) add(ctx context.Context, batch arrow.RecordBatch) error {
	batch.Retain()
	b.held = append(b.held, batch)
	if b.size += arrowBytes(batch); b.size < b.limit {
		return nil
	}
	return b.flush(ctx)
}

func (b *bulk) end(ctx context.Context) error {
	if err := b.flush(ctx); err != nil {
		return err
	}
	for _, g := range b.groups {
		if err := g.Close(ctx); err != nil {
			return err
		}
	}
	return nil
}

// flush writes what is held.
func (b *bulk) flush(ctx context.Context) error {
	if len(b.held) == 0 {
		return nil
	}
	rows, err := joinBatches(b.held)
	if err != nil {
		return fmt.Errorf("gather rows to insert: %w", err)
	}
	defer rows.Release()
	b.release()
	keyed, err := b.txn.table.keyed(rows)
	if err != nil {
		return err
	}
	defer keyed.release()
	sel, err := keyed.sorted()
	if err != nil {
		return err
	}
	w := rowWriter{txn: b.txn, index: b.txn.table.index(), rows: keyed, open: b.groups}
	return w.write(ctx, sel, nil)
}

// sorted are all rows in the order of their partitions and keys, of which none may come
// twice.
func (k *keyedRows) sorted() ([]int32, error) {
	sel := make([]int32, k.keys.Len())
	for i := range sel {
		sel[i] = int32(i)
	}
	compare := func(a, b int32) int {
		return cmp.Or(cmp.Compare(k.partitions.Value(int(a)), k.partitions.Value(int(b))),
			cmp.Compare(k.keys.Value(int(a)), k.keys.Value(int(b))))
	}
	slices.SortFunc(sel, compare)
	for i := 1; i < len(sel); i++ {
		if compare(sel[i-1], sel[i]) == 0 {
			return nil, fmt.Errorf("key %s comes twice", k.keys.Value(int(sel[i])))
		}
	}
	return sel, nil
}
