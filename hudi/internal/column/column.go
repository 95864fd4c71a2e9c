// Package column works on Arrow columns, alone and in batches: rows taken (take.go), joined
// (column.go) or gathered from several batches (gather.go), columns as another type (fit.go, and convert.go for types that schema
// evolution changed), values as the text that Java makes of them (text.go).
package column

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Allocator is where Arrow's arrays are made: the Go heap, so that a batch that is
// not released is collected all the same.
var Allocator = memory.DefaultAllocator

// Release lets go of columns, of which some may be nil.
func Release(columns []arrow.Array) {
	for _, c := range columns {
		if c != nil {
			c.Release()
		}
	}
}

// Repeat is an array that says s n times.
func Repeat(s string, n int) arrow.Array {
	b := array.NewStringBuilder(Allocator)
	defer b.Release()
	b.Reserve(n)
	b.ReserveData(n * len(s))
	for range n {
		b.Append(s)
	}
	return b.NewArray()
}

// Replace is batch with column i exchanged; the caller releases it.
func Replace(batch arrow.RecordBatch, i int, col arrow.Array) arrow.RecordBatch {
	columns := append([]arrow.Array(nil), batch.Columns()...)
	columns[i] = col
	return array.NewRecordBatch(batch.Schema(), columns, batch.NumRows())
}

// Join is one record of the rows of several, which have one schema; the caller
// releases it.
func Join(batches []arrow.RecordBatch) (arrow.RecordBatch, error) {
	schema, rows := batches[0].Schema(), int64(0)
	for _, b := range batches {
		if !b.Schema().Equal(schema) {
			return nil, fmt.Errorf("batches of different schemas: %s and %s", schema, b.Schema())
		}
		rows += b.NumRows()
	}
	columns := make([]arrow.Array, schema.NumFields())
	defer Release(columns)
	for c := range columns {
		parts := make([]arrow.Array, len(batches))
		for i, b := range batches {
			parts[i] = b.Column(c)
		}
		var err error
		if columns[c], err = array.Concatenate(parts, Allocator); err != nil {
			return nil, fmt.Errorf("join column %s: %w", schema.Field(c).Name, err)
		}
	}
	return array.NewRecordBatch(schema, columns, rows), nil
}

// FirstNull is the first row with null of a column that has one.
func FirstNull(col arrow.Array) int {
	row := 0
	for col.IsValid(row) {
		row++
	}
	return row
}
