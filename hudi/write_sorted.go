package hudi

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
	"lakefeed/internal/arrowsize"
)

// A Sorter takes changes in any order and writes them file group after file group, so
// that few of these are open at a time, however many there are. What does not fit into
// memory waits on disk. It is used by one goroutine, and closed at the end.
type Sorter struct {
	opts       SortOptions
	sorter     *rowSorter
	partitions map[string]bool
}

// SortOptions say what a [Sorter] sorts, and how much it may take.
type SortOptions struct {
	// Schema of the data columns. Required.
	Schema *arrow.Schema
	// RecordKey and Buckets are those of the table, where they are known. Without
	// Buckets rows are sorted by partition and key alone, and where the table turns out
	// to have several buckets, those of one partition are open at the same time.
	RecordKey []string
	Buckets   int
	// Lanes is into how many parts, each of whole file groups, the rows are sorted that
	// [Sorter.Pass] passes on; 0: they are for [Sorter.Write].
	Lanes int
	// SortBytes is how many changes wait in memory to be sorted, in bytes of Arrow; 0: 128
	// MiB. The rest waits in TempDir, in files without names; "": the system's.
	SortBytes int64
	TempDir   string
}

// sortedExtra are the columns behind the data columns: where a change goes, and whether
// it is a row or only the key of one that is to be deleted.
var sortedExtra = []arrow.Field{
	{Name: "key", Type: arrow.BinaryTypes.String},
	{Name: "partition", Type: arrow.BinaryTypes.String},
	{Name: "bucket", Type: arrow.PrimitiveTypes.Int32},
	{Name: "gone", Type: arrow.FixedWidthTypes.Boolean},
}

// NewSorter makes a sorter. Nothing is written to disk yet.
func NewSorter(opts SortOptions) *Sorter {
	schema := arrow.NewSchema(append(slices.Clone(opts.Schema.Fields()), sortedExtra...), nil)
	size, keys := cmp.Or(opts.SortBytes, 128<<20), sortKeyMaker(changeSortKeys)
	if opts.Lanes > 0 {
		keys = laneSortKeys(opts.Lanes)
	}
	return &Sorter{opts: opts, sorter: newRowSorter(schema, keys, size, opts.TempDir), partitions: map[string]bool{}}
}

// Close deletes what waits.
func (s *Sorter) Close() { s.sorter.close() }

// Partitions is in how many partitions the changes are.
func (s *Sorter) Partitions() int { return len(s.partitions) }

// Upsert takes rows, with their record keys and partition paths. Rows have the columns of
// the schema by name, in any order; missing ones are null.
func (s *Sorter) Upsert(ctx context.Context, rows arrow.RecordBatch, keys, partitions *array.String) error {
	data, err := conformAll(ctx, rows, s.opts.Schema)
	if err != nil {
		return err
	}
	defer data.Release()
	return s.add(ctx, data.Columns(), keys, partitions, false)
}

// Delete takes the keys of rows that are to be deleted from a partition.
func (s *Sorter) Delete(ctx context.Context, partition string, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	names := array.NewStringBuilder(column.Allocator)
	defer names.Release()
	names.AppendValues(keys, nil)
	columns := make([]arrow.Array, s.opts.Schema.NumFields())
	defer column.Release(columns)
	for i, f := range s.opts.Schema.Fields() {
		columns[i] = array.MakeArrayOfNull(column.Allocator, f.Type, len(keys))
	}
	gone, in := names.NewStringArray(), column.Repeat(partition, len(keys)).(*array.String)
	defer gone.Release()
	defer in.Release()
	return s.add(ctx, columns, gone, in, true)
}

func (s *Sorter) add(ctx context.Context, columns []arrow.Array, keys, partitions *array.String, gone bool) error {
	if keys.Len() != partitions.Len() || keys.NullN()+partitions.NullN() > 0 {
		return fmt.Errorf("sort changes: %d keys and %d partitions, some of them null perhaps", keys.Len(), partitions.Len())
	}
	buckets, flags := array.NewInt32Builder(column.Allocator), array.NewBooleanBuilder(column.Allocator)
	defer buckets.Release()
	defer flags.Release()
	last := ""
	for row := range keys.Len() {
		if p := partitions.Value(row); row == 0 || p != last {
			if last = p; !s.partitions[p] {
				s.partitions[strings.Clone(p)] = true
			}
		}
		bucket := -1
		if s.opts.Buckets > 0 {
			bucket = BucketOf(keys.Value(row), s.opts.RecordKey, s.opts.Buckets)
		}
		buckets.Append(int32(bucket))
		flags.Append(gone)
	}
	b, f := buckets.NewArray(), flags.NewArray()
	defer b.Release()
	defer f.Release()
	all := array.NewRecordBatch(s.sorter.schema, append(slices.Clone(columns), keys, partitions, b, f), int64(keys.Len()))
	defer all.Release()
	return s.sorter.add(ctx, all)
}

// changeSortKeys sorts changes by partition, bucket, deletes first, and key.
func changeSortKeys(batch arrow.RecordBatch) (arrow.Array, error) {
	c := changesOf(batch)
	b := array.NewBinaryBuilder(column.Allocator, arrow.BinaryTypes.Binary)
	defer b.Release()
	var sort []byte
	for row := range c.keys.Len() {
		sort = appendEscaped(sort[:0], []byte(c.partitions.Value(row)))
		sort = binary.BigEndian.AppendUint32(sort, uint32(c.buckets.Value(row)+1))
		if c.gone.Value(row) {
			sort = append(sort, 0)
		} else {
			sort = append(sort, 1)
		}
		b.Append(append(sort, c.keys.Value(row)...))
	}
	return b.NewArray(), nil
}

// sortedChanges are changes that come out of the sorter.
type sortedChanges struct {
	rows             arrow.RecordBatch // with the columns of sortedExtra
	keys, partitions *array.String
	buckets          *array.Int32
	gone             *array.Boolean
}

func changesOf(batch arrow.RecordBatch) sortedChanges {
	n := int(batch.NumCols()) - len(sortedExtra)
	col := func(i int) arrow.Array { return batch.Column(n + i) }
	return sortedChanges{batch, col(0).(*array.String), col(1).(*array.String), col(2).(*array.Int32), col(3).(*array.Boolean)}
}

// Write writes all changes in a transaction. A key that comes twice in a partition, as rows or
// as deletes, is an error that names it; where it comes as both, the row stays. The transaction
// may have to be begun anew and written again.
func (s *Sorter) Write(ctx context.Context, x *Txn) error {
	out := &sortedOut{txn: x, schema: s.opts.Schema}
	if x.table.hashed() && s.opts.Buckets != x.count {
		out.split = x.count
	}
	err := s.sorter.each(ctx, func(rows arrow.RecordBatch) error { return out.add(ctx, rows) })
	if err != nil {
		return err
	}
	return out.end(ctx)
}

// changePlace is where changes go, and which of the two kinds they are.
type changePlace struct {
	bucketID // the bucket is -1 where the table has none, or the rows are divided on the way

	gone bool
}

func (c sortedChanges) place(row int) changePlace {
	return changePlace{bucketID{c.partitions.Value(row), int(c.buckets.Value(row))}, c.gone.Value(row)}
}

// sortedOut takes changes in the order of the file groups that they go to.
type sortedOut struct {
	txn    *Txn
	schema *arrow.Schema
	split  int // into so many buckets the changes of a partition are to be divided; 0: they come bucket by bucket
	at     changePlace
	begun  bool   // there was a key in this place
	last   string // key
	groups map[int]*GroupWriter
}

func (o *sortedOut) add(ctx context.Context, rows arrow.RecordBatch) error {
	c := changesOf(rows)
	for at, r := range runs(c.keys.Len(), c.place) {
		if err := o.move(ctx, at); err != nil {
			return err
		}
		for row := r.from; row < r.to; row++ {
			key := c.keys.Value(row)
			if o.begun && key == o.last {
				return comesTwice(key)
			}
			o.last, o.begun = key, true
		}
		o.last = strings.Clone(o.last) // the batch's memory goes
		if err := o.put(ctx, c, r); err != nil {
			return err
		}
	}
	return nil
}

// move goes on to another place.
func (o *sortedOut) move(ctx context.Context, at changePlace) error {
	if at == o.at {
		return nil
	}
	var err error
	if at.bucketID != o.at.bucketID {
		err = o.end(ctx)
	}
	at.partition = strings.Clone(at.partition)
	o.at, o.begun = at, false
	return err
}

func comesTwice(key string) error {
	return &RowError{Reason: fmt.Sprintf("key %s comes twice", key), Twice: true}
}

// put writes changes of one kind and place.
func (o *sortedOut) put(ctx context.Context, c sortedChanges, r run) error {
	switch {
	case o.at.gone:
		return o.remove(ctx, c.keys, r)
	case o.split > 1:
		return o.divide(ctx, c, r)
	}
	// In steps between which the file's size is looked at.
	limit := o.txn.table.opts.MaxFileBytes
	step := int(max(limit/4/(arrowsize.Batch(c.rows)/max(c.rows.NumRows(), 1)+1), 1))
	for from := r.from; from < r.to; from += step {
		some := c.rows.NewSlice(int64(from), int64(min(from+step, r.to)))
		err := o.upsert(ctx, max(o.at.bucket, 0), some)
		some.Release()
		if err != nil {
			return err
		}
		if g := o.groups[0]; !o.txn.table.hashed() && g.fileBytes() >= limit {
			if err := o.end(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove deletes keys from their buckets.
func (o *sortedOut) remove(ctx context.Context, keys *array.String, r run) error {
	if !o.txn.table.hashed() {
		return badOption("keys are deleted in sorted changes of tables of hash buckets only: Table.Delete asks the index where they are")
	}
	gone := map[int][]string{}
	for row := r.from; row < r.to; row++ {
		b := o.bucket(keys.Value(row))
		gone[b] = append(gone[b], strings.Clone(keys.Value(row)))
	}
	for b, keys := range gone {
		g, err := o.group(ctx, b)
		if err != nil {
			return err
		}
		if err := g.Delete(ctx, keys); err != nil {
			return err
		}
	}
	return nil
}

// bucket is where a key goes that comes now.
func (o *sortedOut) bucket(key string) int {
	if o.split > 1 {
		return BucketOf(key, o.txn.table.key, o.split)
	}
	return max(o.at.bucket, 0)
}

// divide writes rows of one partition into its buckets.
func (o *sortedOut) divide(ctx context.Context, c sortedChanges, r run) error {
	sel := make([][]int32, o.split)
	for row := r.from; row < r.to; row++ {
		b := o.bucket(c.keys.Value(row))
		sel[b] = append(sel[b], int32(row))
	}
	for b, rows := range sel {
		if len(rows) == 0 {
			continue
		}
		some, err := column.Take(c.rows, rows)
		if err != nil {
			return err
		}
		err = o.upsert(ctx, b, some)
		some.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// upsert writes rows into a bucket.
func (o *sortedOut) upsert(ctx context.Context, bucket int, rows arrow.RecordBatch) error {
	g, err := o.group(ctx, bucket)
	if err != nil {
		return err
	}
	data := array.NewRecordBatch(o.schema, rows.Columns()[:o.schema.NumFields()], rows.NumRows())
	defer data.Release()
	return g.Upsert(ctx, data, changesOf(rows).keys)
}

// group is the writer of a bucket, or of a new file group.
func (o *sortedOut) group(ctx context.Context, bucket int) (g *GroupWriter, err error) {
	if g := o.groups[bucket]; g != nil {
		return g, nil
	}
	if o.txn.table.hashed() {
		g, err = o.txn.Group(ctx, o.at.partition, bucket)
	} else {
		g, err = o.txn.newGroup(o.at.partition)
	}
	if err != nil {
		return nil, err
	}
	if o.groups == nil {
		o.groups = map[int]*GroupWriter{}
	}
	o.groups[bucket] = g
	return g, nil
}

// end closes what is open.
func (o *sortedOut) end(ctx context.Context) error {
	var err error
	for _, g := range o.groups {
		err = errors.Join(err, g.Close(ctx))
	}
	clear(o.groups)
	return err
}
