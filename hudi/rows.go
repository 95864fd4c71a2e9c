package hudi

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// allocator is where Arrow's arrays are made: the Go heap, so that a batch that is
// not released is collected all the same.
var allocator = memory.DefaultAllocator

// conform makes rows of schema out of batch, column by name: a column that batch
// lacks is null, and types that hold no more than the schema's become these. The
// result is the caller's to release.
func conform(ctx context.Context, batch arrow.RecordBatch, schema *arrow.Schema) (arrow.RecordBatch, error) {
	columns := make([]arrow.Array, schema.NumFields())
	defer release(columns)
	for i, f := range schema.Fields() {
		at := batch.Schema().FieldIndices(f.Name)
		if len(at) == 0 {
			if !f.Nullable {
				return nil, &SchemaError{f.Name, "it is required, and rows lack it"}
			}
			columns[i] = array.MakeArrayOfNull(allocator, f.Type, int(batch.NumRows()))
			continue
		}
		col, err := conformColumn(ctx, batch.Column(at[0]), f)
		if err != nil {
			return nil, err
		}
		columns[i] = col
	}
	return array.NewRecordBatch(schema, columns, batch.NumRows()), nil
}

func conformColumn(ctx context.Context, col arrow.Array, f arrow.Field) (arrow.Array, error) {
	if !f.Nullable && col.NullN() > 0 {
		return nil, &SchemaError{f.Name, "it is required, and a row has null in it"}
	}
	from, to := col.DataType().ID(), f.Type.ID()
	if from == arrow.LARGE_STRING && to == arrow.STRING || from == arrow.LARGE_BINARY && to == arrow.BINARY {
		out, err := compute.CastArray(ctx, col, compute.SafeCastOptions(f.Type))
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
		return out, nil
	}
	if from == arrow.BINARY && to == arrow.STRING { // it may be no text
		return nil, wrongType(col, f)
	}
	out, err := fitColumn(col, f.Type)
	if err != nil {
		return nil, wrongType(col, f)
	}
	return out, nil
}

func wrongType(col arrow.Array, f arrow.Field) error {
	return &SchemaError{f.Name, fmt.Sprintf("rows have %s for it, the table has %s", col.DataType(), f.Type)}
}

func release(columns []arrow.Array) {
	for _, c := range columns {
		if c != nil {
			c.Release()
		}
	}
}

// take is the rows of batch that sel names, in that order; the caller releases it.
// Where sel names all rows it is batch itself.
func take(ctx context.Context, batch arrow.RecordBatch, sel []int32) (arrow.RecordBatch, error) {
	if len(sel) == int(batch.NumRows()) && ascending(sel) {
		batch.Retain()
		return batch, nil
	}
	b := array.NewInt32Builder(allocator)
	defer b.Release()
	b.AppendValues(sel, nil)
	indices := b.NewArray()
	defer indices.Release()
	columns := make([]arrow.Array, batch.NumCols())
	defer release(columns)
	for i, col := range batch.Columns() {
		out, err := compute.TakeArrayOpts(ctx, col, indices, compute.TakeOptions{BoundsCheck: false})
		if err != nil {
			return nil, fmt.Errorf("select rows of column %s: %w", batch.ColumnName(i), err)
		}
		columns[i] = out
	}
	return array.NewRecordBatch(batch.Schema(), columns, int64(len(sel))), nil
}

func ascending(sel []int32) bool {
	for i, s := range sel {
		if int(s) != i {
			return false
		}
	}
	return true
}

// constantText is an array that says s n times.
func constantText(s string, n int) arrow.Array {
	b := array.NewStringBuilder(allocator)
	defer b.Release()
	b.Reserve(n)
	b.ReserveData(n * len(s))
	for range n {
		b.Append(s)
	}
	return b.NewArray()
}

// replaceColumn is batch with column i exchanged; the caller releases it.
func replaceColumn(batch arrow.RecordBatch, i int, col arrow.Array) arrow.RecordBatch {
	columns := append([]arrow.Array(nil), batch.Columns()...)
	columns[i] = col
	return array.NewRecordBatch(batch.Schema(), columns, batch.NumRows())
}

// joinBatches is one record of the rows of several, which have one schema; the caller
// releases it.
func joinBatches(batches []arrow.RecordBatch) (arrow.RecordBatch, error) {
	schema, rows := batches[0].Schema(), int64(0)
	for _, b := range batches {
		if !b.Schema().Equal(schema) {
			return nil, fmt.Errorf("batches of different schemas: %s and %s", schema, b.Schema())
		}
		rows += b.NumRows()
	}
	columns := make([]arrow.Array, schema.NumFields())
	defer release(columns)
	for c := range columns {
		parts := make([]arrow.Array, len(batches))
		for i, b := range batches {
			parts[i] = b.Column(c)
		}
		var err error
		if columns[c], err = array.Concatenate(parts, allocator); err != nil {
			return nil, fmt.Errorf("join column %s: %w", schema.Field(c).Name, err)
		}
	}
	return array.NewRecordBatch(schema, columns, rows), nil
}
