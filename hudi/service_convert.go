package hudi

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
)

// ConvertOptions say what a table is to become.
type ConvertOptions struct {
	// Type of the table; "": as it is.
	Type TableType
	// Buckets is the number of hash buckets; 0: as it is.
	Buckets int
	// SortBytes is how much waits in memory to be divided, in bytes of Arrow; 0: 128
	// MiB. The rest waits in TempDir; "": the system's.
	SortBytes int64
	TempDir   string
}

// Convert makes a copy-on-write table a merge-on-read one, or the other way round, and
// gives a table another number of hash buckets. Readers see the same rows before, during
// and after it, and rows keep the instants at which they were written.
//
// For other buckets, and to make a table copy-on-write, all rows are written anew, in one
// commit that replaces all file groups: readers of copy-on-write tables know nothing of
// what delta commits wrote. The properties, which have the type and by which Spark finds
// the buckets, change right behind that commit. After a crash between them whatever writes
// next, or [Table.Recover], lets them say the number of buckets; for the type, call Convert
// again. Transactions wait meanwhile; other Tables, of other processes too, take the
// change in when they next begin one. Who divides rows by the number of buckets learns of
// the new one by [TxnOptions].
func (t *Table) Convert(ctx context.Context, opts ConvertOptions) error {
	opts.SortBytes = cmp.Or(opts.SortBytes, 128<<20)
	if err := opts.validate(); err != nil {
		return fmt.Errorf("convert %s: %w", t.name, err)
	}
	if err := t.convert(ctx, opts); err != nil {
		return fmt.Errorf("convert %s: %w", t.name, err)
	}
	return nil
}

func (o *ConvertOptions) validate() error {
	switch {
	case o.Type != "" && o.Type != CopyOnWrite && o.Type != MergeOnRead:
		return badOption("type %q: want %s or %s", o.Type, CopyOnWrite, MergeOnRead)
	case o.Buckets < 0 || o.Buckets > maxBuckets:
		return badOption("buckets %d: want 1 to %d", o.Buckets, maxBuckets)
	}
	return nil
}

func (t *Table) convert(ctx context.Context, opts ConvertOptions) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	t.busyWith("conversion")
	x, err := t.beginConvert(ctx, opts)
	if x == nil {
		t.unlock()
		return err
	}
	if err = x.rebucket(ctx, opts); err == nil {
		_, err = x.Commit(ctx, nil)
	}
	if err != nil {
		err = x.undo(ctx, err)
	}
	return err
}

// beginConvert begins the transaction that writes all rows anew, or does what can be done
// without one and returns nil.
func (t *Table) beginConvert(ctx context.Context, opts ConvertOptions) (*Txn, error) {
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	typ, buckets := cmp.Or(opts.Type, t.typ), cmp.Or(opts.Buckets, t.buckets)
	rebucket := buckets != t.buckets
	switch {
	case rebucket && !t.hashed():
		return nil, badOption("the table has no hash buckets")
	case !rebucket && typ == t.typ:
		return nil, t.settle(ctx, typ, buckets)
	case !rebucket && typ == MergeOnRead:
		if err := t.redate(ctx, t.view.slices(t.timeline, "", nil)); err != nil {
			return nil, err
		}
		return nil, t.settle(ctx, typ, buckets)
	}
	var packs [][]*FileSlice
	for _, s := range t.view.slices(t.timeline, "", nil) {
		packs = append(packs, []*FileSlice{s})
	}
	r := t.newReplacement(packs)
	r.all, r.buckets = true, opts.Buckets
	r.then = func(ctx context.Context) error { return t.settle(ctx, typ, buckets) }
	return t.beginReplace(ctx, r)
}

// rebucket writes all rows, partition after partition.
func (x *Txn) rebucket(ctx context.Context, opts ConvertOptions) error {
	all := slices.Clone(x.replace.slices)
	slices.SortStableFunc(all, func(a, b *FileSlice) int { return cmp.Compare(a.Partition, b.Partition) })
	for len(all) > 0 {
		n := slices.IndexFunc(all, func(s *FileSlice) bool { return s.Partition != all[0].Partition })
		if n < 0 {
			n = len(all)
		}
		if err := x.rebucketPartition(ctx, all[:n], opts); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

func (x *Txn) rebucketPartition(ctx context.Context, found []*FileSlice, opts ConvertOptions) error {
	if !x.table.hashed() || x.count == x.had {
		return x.moveGroups(ctx, found)
	}
	sorter := newRowSorter(x.full, x.bucketKeys, opts.SortBytes, opts.TempDir)
	defer sorter.close()
	if err := x.eachRow(ctx, found, func(rows arrow.RecordBatch) error { return sorter.add(ctx, rows) }); err != nil {
		return err
	}
	out := &bucketsOut{txn: x, partition: found[0].Partition, bucket: -1}
	err := sorter.each(ctx, func(rows arrow.RecordBatch) error { return out.add(ctx, rows) })
	return errors.Join(err, out.end(ctx))
}

// moveGroups writes each slice into a file group of its own.
func (x *Txn) moveGroups(ctx context.Context, found []*FileSlice) error {
	for _, s := range found {
		g, err := x.openRewritten(ctx, s)
		if err != nil {
			return err
		}
		err = x.eachRow(ctx, []*FileSlice{s}, func(rows arrow.RecordBatch) error { return g.take(ctx, rows) })
		if err := errors.Join(err, g.Close(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// bucketKeys sorts rows by bucket, and by record key within it.
func (x *Txn) bucketKeys(batch arrow.RecordBatch) (arrow.Array, error) {
	keys, err := keysOf(batch)
	if err != nil {
		return nil, err
	}
	b := array.NewBinaryBuilder(column.Allocator, arrow.BinaryTypes.Binary)
	defer b.Release()
	var sort []byte
	for row := range keys.Len() {
		key := keys.Value(row)
		sort = binary.BigEndian.AppendUint32(sort[:0], uint32(BucketOf(key, x.table.key, x.count)))
		b.Append(append(sort, key...))
	}
	return b.NewArray(), nil
}

// bucketsOut takes rows in the order of their buckets.
type bucketsOut struct {
	txn       *Txn
	partition string
	bucket    int
	group     *GroupWriter
}

func (o *bucketsOut) add(ctx context.Context, rows arrow.RecordBatch) error {
	keys, err := keysOf(rows)
	if err != nil {
		return err
	}
	bucketAt := func(row int) int { return BucketOf(keys.Value(row), o.txn.table.key, o.txn.count) }
	for bucket, r := range runs(keys.Len(), bucketAt) {
		if bucket != o.bucket {
			if err := o.next(ctx, bucket); err != nil {
				return err
			}
		}
		part := rows.NewSlice(int64(r.from), int64(r.to))
		err := o.group.take(ctx, part)
		part.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *bucketsOut) next(ctx context.Context, bucket int) (err error) {
	if err := o.end(ctx); err != nil {
		return err
	}
	o.bucket = bucket
	o.group, err = o.txn.Group(ctx, o.partition, bucket)
	return err
}

func (o *bucketsOut) end(ctx context.Context) error {
	if o.group == nil {
		return nil
	}
	g := o.group
	o.group = nil
	return g.Close(ctx)
}

// settle lets the table's properties say its type and, where Spark finds it there, its
// number of buckets.
func (t *Table) settle(ctx context.Context, typ TableType, buckets int) error {
	changed := false
	props, err := t.changeProperties(ctx, func(p Properties) bool {
		count := p[BucketsKey]
		if t.hashed() && count != "" {
			count = strconv.Itoa(buckets)
		}
		changed = p[propType] != string(typ) || p[BucketsKey] != count
		p[propType] = string(typ)
		if count != "" {
			p[BucketsKey] = count
		}
		return changed
	})
	if err != nil || !changed {
		return err
	}
	t.mu.Lock()
	t.props, t.typ = props, typ
	t.mu.Unlock()
	t.opts.Logger.Info("converted", "table", t.name, "type", typ, "buckets", buckets)
	return nil
}

// settleBuckets is settle where the commits that count have another number of buckets than
// the properties: after a restore, or a conversion that a crash ended behind its commit.
func (t *Table) settleBuckets(ctx context.Context) error {
	if told := t.props[BucketsKey]; !t.hashed() || t.buckets == 0 || told == "" || told == strconv.Itoa(t.buckets) {
		return nil
	}
	return t.settle(ctx, t.typ, t.buckets)
}
