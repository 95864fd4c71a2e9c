// Package arrowsize tells how much memory rows in Arrow's form take, which may be some of a batch.
package arrowsize

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Batch is how much memory the batch's rows take, whatever they are a slice of.
func Batch(batch arrow.RecordBatch) int64 {
	var n int64
	for _, col := range batch.Columns() {
		n += Column(col)
	}
	return n
}

// Column is how much memory a column takes.
func Column(col arrow.Array) int64 {
	rows := int64(col.Len())
	switch col := col.(type) {
	case array.BinaryLike:
		return rows*4 + int64(len(col.ValueBytes()))
	case *array.Struct:
		n := int64(0)
		for i := range col.NumField() {
			n += Column(col.Field(i))
		}
		return n
	case array.ListLike:
		if rows == 0 {
			return 0
		}
		from, _ := col.ValueOffsets(0)
		_, to := col.ValueOffsets(int(rows) - 1)
		values := array.NewSlice(col.ListValues(), from, to)
		defer values.Release()
		return rows*4 + Column(values)
	}
	if t, ok := col.DataType().(arrow.FixedWidthDataType); ok {
		return rows * int64(t.BitWidth()) / 8
	}
	return rows
}
