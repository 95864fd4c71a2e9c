package basefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lakefeed/hudi/internal/column"
)

const (
	// A batch has at most so many rows, and about so many bytes.
	maxBatchRows  = 64 << 10
	maxBatchBytes = 16 << 20
)

// Reader reads a base file in batches. It holds one batch and a page of each
// column, whatever the size of the file's row groups.
type Reader struct {
	schema  *arrow.Schema
	parquet *file.Reader
	checked *checkedPages
	rows    pqarrow.RecordReader // nil when the file has none of the columns
	leaves  []int                // that rows reads
	own     map[string]ownColumn // that it does not read, and that are read here
	columns []int                // of rows, for each column of schema; -1: it has none
	read    int64
	batch   int64 // rows in a batch
	library bool  // which reads all that it can, for comparison
}

// ownColumn reads a column without the Parquet library's reader of records.
type ownColumn interface {
	// begin names the row groups to read.
	begin(groups []int)
	// next are the values of the next n rows; the caller releases them.
	next(n int64) (arrow.Array, error)
}

// Open opens a base file for the columns of schema: by name, in its order
// and types; what the file lacks is null. A nil schema means the file's own. It reads
// what Hudi's Avro writer and Spark's row writer write: lists of two and of three
// levels, decimals as integers and as bytes.
func Open(r io.ReaderAt, size int64, schema *arrow.Schema) (*Reader, error) {
	return open(r, size, schema, false)
}

func open(r io.ReaderAt, size int64, schema *arrow.Schema, library bool) (reader *Reader, err error) {
	defer recoverParquet("open", &err)
	props := parquet.NewReaderProperties(column.Allocator)
	props.BufferedStreamEnabled = true
	checked := &checkedPages{r: r}
	pq, err := file.NewParquetReader(io.NewSectionReader(checked, 0, size), file.WithReadProps(props))
	if err != nil {
		return nil, fmt.Errorf("open base file: %w", err)
	}
	b := &Reader{schema: schema, parquet: pq, checked: checked, library: library}
	err = b.checkChunks(size)
	if err == nil {
		err = b.open()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open base file: %w", err), b.Close())
	}
	return b, nil
}

// recoverParquet makes an error of the panics by which the Parquet library answers
// some damaged files.
func recoverParquet(verb string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s base file: damaged Parquet: %v", verb, p)
	}
}

// checkChunks sees that all column chunks lie within the file. The Parquet library
// does not, and its panic would be in a goroutine of its own.
func (b *Reader) checkChunks(size int64) error {
	meta, rows := b.parquet.MetaData(), int64(0)
	var chunks []chunkAt
	for g := range meta.NumRowGroups() {
		group := meta.RowGroup(g)
		rows += group.NumRows()
		for i := range group.NumColumns() {
			c, err := group.ColumnChunk(i)
			if err != nil {
				return err
			}
			from, n := c.DataPageOffset(), c.TotalCompressedSize()
			if c.HasDictionaryPage() {
				from = min(from, c.DictionaryPageOffset())
			}
			if from < 0 || n < 0 || from > size-n || group.NumRows() < 0 {
				return fmt.Errorf("damaged Parquet: column chunk %d of row group %d lies beyond the file", i, g)
			}
			chunks = append(chunks, chunkAt{from, from + n, c.NumValues(), i})
		}
	}
	if rows != meta.NumRows {
		return fmt.Errorf("damaged Parquet: %d rows in its row groups, %d in all", rows, meta.NumRows)
	}
	b.checked.setChunks(chunks, meta.Schema)
	return nil
}

func (b *Reader) open() error {
	look, err := pqarrow.NewFileReader(b.parquet, pqarrow.ArrowReadProperties{}, column.Allocator)
	if err != nil {
		return err
	}
	if b.schema == nil {
		own, err := look.Schema()
		if err != nil {
			return err
		}
		b.schema = arrow.NewSchema(plainFields(own.Fields()), nil)
	}
	leaves, err := b.find(look.Manifest)
	if err != nil {
		return err
	}
	b.batch = b.batchRows(leaves)
	return b.openGroups(nil)
}

// find looks for the wanted columns in the file, and returns the leaves of all of them.
func (b *Reader) find(manifest *pqarrow.SchemaManifest) (all []int, err error) {
	found := map[string]bool{}
	b.own = map[string]ownColumn{}
	for i := range manifest.Fields {
		f := &manifest.Fields[i]
		name := f.Field.Name
		if !b.schema.HasField(name) {
			continue
		}
		found[name] = true
		leaves := appendLeaves(nil, f)
		all = append(all, leaves...)
		switch old := b.oldTimes(leaves); {
		case !old:
			if flat := b.flat(f); flat != nil {
				b.own[name] = flat
			} else {
				b.leaves = append(b.leaves, leaves...)
			}
		case f.IsLeaf() && b.parquet.MetaData().Schema.Column(leaves[0]).MaxRepetitionLevel() == 0:
			b.own[name] = &int96Column{parquet: b.parquet, leaf: leaves[0]}
		default:
			return nil, &ColumnError{name, "it holds timestamps of 96 bits within a nested type, which are not read here: let Spark rewrite the file"}
		}
	}
	for _, f := range b.schema.Fields() {
		if !found[f.Name] && !f.Nullable {
			return nil, &ColumnError{f.Name, "it is required, and the file lacks it"}
		}
	}
	return all, nil
}

// flat is the reader of a column that the library's own would read dearer, else nil.
func (b *Reader) flat(f *pqarrow.SchemaField) ownColumn {
	if b.library || !f.IsLeaf() {
		return nil
	}
	if c := newFlatColumn(b.parquet, f.ColIndex, f.Field.Type); c != nil {
		return c
	}
	return nil
}

// oldTimes tells whether one of the leaves is of timestamps of 96 bits.
func (b *Reader) oldTimes(leaves []int) bool {
	return slices.ContainsFunc(leaves, func(leaf int) bool {
		return b.parquet.MetaData().Schema.Column(leaf).PhysicalType() == parquet.Types.Int96
	})
}

// openGroups begins to read row groups; nil: all.
func (b *Reader) openGroups(groups []int) error {
	b.columns = make([]int, b.schema.NumFields())
	all := groups
	if all == nil {
		all = make([]int, b.parquet.NumRowGroups())
		for i := range all {
			all[i] = i
		}
	}
	for i := range b.columns {
		b.columns[i] = -1
	}
	for _, c := range b.own {
		c.begin(all)
	}
	if len(b.leaves) == 0 {
		return nil
	}
	fr, err := pqarrow.NewFileReader(b.parquet, pqarrow.ArrowReadProperties{BatchSize: b.batch, PreAllocBinaryData: b.plausible()}, column.Allocator)
	if err != nil {
		return err
	}
	if b.rows != nil {
		b.rows.Release()
	}
	if b.rows, err = fr.GetRecordReader(context.Background(), b.leaves, groups); err != nil {
		return err
	}
	for i, f := range b.schema.Fields() {
		if at := b.rows.Schema().FieldIndices(f.Name); len(at) > 0 {
			b.columns[i] = at[0]
		}
	}
	return nil
}

// plainFields are the fields without what the Parquet library notes on them.
func plainFields(fields []arrow.Field) []arrow.Field {
	plain := make([]arrow.Field, len(fields))
	for i, f := range fields {
		plain[i] = arrow.Field{Name: f.Name, Type: plainType(f.Type), Nullable: f.Nullable}
	}
	return plain
}

func plainType(t arrow.DataType) arrow.DataType {
	switch t := t.(type) {
	case *arrow.ListType:
		elem := t.ElemField()
		return arrow.ListOfField(arrow.Field{Name: "element", Type: plainType(elem.Type), Nullable: elem.Nullable})
	case *arrow.MapType:
		f := plainFields([]arrow.Field{t.KeyField(), t.ItemField()})
		return arrow.MapOfFields(f[0], f[1])
	case *arrow.StructType:
		return arrow.StructOf(plainFields(t.Fields())...)
	}
	return t
}

func appendLeaves(leaves []int, f *pqarrow.SchemaField) []int {
	if f.IsLeaf() {
		return append(leaves, f.ColIndex)
	}
	for i := range f.Children {
		leaves = appendLeaves(leaves, &f.Children[i])
	}
	return leaves
}

// batchRows is how many rows of these columns make a batch, by their mean size in
// the file and 32 bytes for what encodings save.
func (b *Reader) batchRows(leaves []int) int64 {
	meta := b.parquet.MetaData()
	rows, size := meta.NumRows, int64(0)
	if rows == 0 {
		return 1
	}
	for g := range meta.NumRowGroups() {
		for _, leaf := range leaves {
			if c, err := meta.RowGroup(g).ColumnChunk(leaf); err == nil {
				size += c.TotalUncompressedSize()
			}
		}
	}
	perRow := size/rows + 32*int64(len(leaves)) + 1
	return min(max(maxBatchBytes/perRow, 1), maxBatchRows)
}

// plausible tells whether the sizes that the file states of its columns may be true, so
// that memory can be taken for them at once, which saves a tenth of the time.
func (b *Reader) plausible() bool {
	const ratio, least = 128, 64 << 10 // columns compress no better as a rule
	meta := b.parquet.MetaData()
	for g := range meta.NumRowGroups() {
		for _, leaf := range b.leaves {
			c, err := meta.RowGroup(g).ColumnChunk(leaf)
			if err != nil || c.TotalUncompressedSize() < 0 || c.TotalUncompressedSize() > ratio*c.TotalCompressedSize()+least {
				return false
			}
		}
	}
	return true
}

// Schema is that of the batches.
func (b *Reader) Schema() *arrow.Schema { return b.schema }

// NumRows is the number of rows in the file.
func (b *Reader) NumRows() int64 { return b.parquet.NumRows() }

// Footer returns an entry of the footer's key-value metadata.
func (b *Reader) Footer(key string) (value string, ok bool) {
	v := b.parquet.MetaData().KeyValueMetadata().FindValue(key)
	if v == nil {
		return "", false
	}
	return *v, true
}

// Each calls fn with the batches that are left, which are valid during the call.
func (b *Reader) Each(ctx context.Context, fn func(arrow.RecordBatch) error) error {
	return each(ctx, b.Next, fn)
}

func each(ctx context.Context, next func() (arrow.RecordBatch, error), fn func(arrow.RecordBatch) error) error {
	for ctx.Err() == nil {
		batch, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = fn(batch)
		batch.Release()
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Next returns the next batch, to be released by the caller, or io.EOF.
func (b *Reader) Next() (batch arrow.RecordBatch, err error) {
	defer recoverParquet("read", &err)
	batch, err = b.next()
	if damage := b.checked.damage(); damage != nil {
		if batch != nil {
			batch.Release()
		}
		return nil, fmt.Errorf("read base file: %w", damage)
	}
	if end := errors.Is(err, io.EOF); end && b.read < b.NumRows() { // the library's, of a page or a header that breaks off
		return nil, fmt.Errorf("read base file: it ends %d rows before the number that it states: %w: %v", b.NumRows()-b.read, io.ErrUnexpectedEOF, err) //nolint:errorlint // no end
	} else if end {
		return nil, io.EOF
	}
	return batch, err
}

func (b *Reader) next() (batch arrow.RecordBatch, err error) {
	left := b.NumRows() - b.read
	if b.rows == nil {
		if left == 0 {
			return nil, io.EOF
		}
		return b.take(nil, min(left, b.batch))
	}
	if !b.rows.Next() {
		switch {
		case b.rows.Err() != nil:
			return nil, fmt.Errorf("read base file: %w", b.rows.Err())
		case left > 0:
			return nil, fmt.Errorf("read base file: it ends %d rows before the number that it states", left)
		}
		return nil, io.EOF
	}
	rows := b.rows.RecordBatch()
	return b.take(rows, rows.NumRows())
}

// take makes a batch of the schema out of n rows as the file has them.
func (b *Reader) take(rows arrow.RecordBatch, n int64) (arrow.RecordBatch, error) {
	columns := make([]arrow.Array, len(b.columns))
	defer column.Release(columns)
	for i, f := range b.schema.Fields() {
		col, err := b.column(i, rows, n)
		if err == nil {
			if err = checkSound(col); err == nil {
				columns[i], err = column.Evolve(col, f.Type)
			}
			col.Release()
		}
		if err != nil {
			return nil, fmt.Errorf("read base file: column %s: %w", f.Name, err)
		}
	}
	b.read += n
	return array.NewRecordBatch(b.schema, columns, n), nil
}

// column is a column of the next n rows, as the file has it; the caller releases it.
func (b *Reader) column(i int, rows arrow.RecordBatch, n int64) (arrow.Array, error) {
	own, ok := b.own[b.schema.Field(i).Name]
	switch {
	case ok:
		return own.next(n)
	case b.columns[i] < 0:
		return array.MakeArrayOfNull(column.Allocator, b.schema.Field(i).Type, int(n)), nil
	}
	col := rows.Column(b.columns[i])
	col.Retain()
	return col, nil
}

// Close lets go of the reader's buffers, not of the file.
func (b *Reader) Close() error {
	if b.rows != nil {
		b.rows.Release()
		b.rows = nil
	}
	return b.parquet.Close()
}

// Restrict lets a reader that has not begun read these row groups only.
func (b *Reader) Restrict(groups []int) (err error) {
	defer recoverParquet("open", &err)
	b.read = b.NumRows()
	for _, g := range groups {
		b.read -= b.parquet.MetaData().RowGroup(g).NumRows()
	}
	if err := b.openGroups(groups); err != nil {
		return fmt.Errorf("read base file: %w", err)
	}
	return nil
}

// ColumnError says that a file does not have a column as it is wanted.
type ColumnError struct {
	Column string
	Reason string
}

// Error names the column and says what is wrong with it.
func (e *ColumnError) Error() string { return fmt.Sprintf("column %s: %s", e.Column, e.Reason) }
