//go:build cgo && !nosql

package query

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/cdata"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/duckdb/duckdb-go/mapping"
)

// Result is the rows of a query.
type Result struct {
	db     *DB
	result C.lf_result
	duck   *arrow.Schema // as DuckDB gives it
	schema *arrow.Schema
	stop   func() bool
	closed bool
}

// open learns the columns.
func (r *Result) open() error {
	p := C.calloc(1, C.size_t(unsafe.Sizeof(cdata.CArrowSchema{})))
	defer C.free(p)
	c := (*cdata.CArrowSchema)(p)
	if message := C.lf_schema(&r.result, p); message != nil {
		defer C.free(unsafe.Pointer(message))
		return errors.New("columns of the result: " + C.GoString(message))
	}
	defer cdata.ReleaseCArrowSchema(c)
	var err error
	if r.duck, err = cdata.ImportCArrowSchema(c); err != nil {
		return fmt.Errorf("columns of the result: %w", err)
	}
	fields := make([]arrow.Field, r.duck.NumFields())
	for i, f := range r.duck.Fields() {
		fields[i] = arrow.Field{Name: f.Name, Type: plainType(f.Type), Nullable: true}
	}
	r.schema = arrow.NewSchema(fields, nil)
	return nil
}

// Schema is that of the batches. What Arrow has no plain type for is text, as DuckDB
// prints it: intervals, enumerations. Sums of integers are decimals of 38 digits.
func (r *Result) Schema() *arrow.Schema { return r.schema }

// Batches yields the rows, once. Their memory is Go's: who keeps a value of a batch may.
// However the iteration ends, the result is closed then.
func (r *Result) Batches() iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		defer r.Close()
		for !r.closed {
			batch, err := r.next()
			if err != nil {
				yield(nil, err)
				return
			}
			if batch == nil {
				return
			}
			more := yield(batch, nil)
			batch.Release()
			if !more {
				return
			}
		}
	}
}

// next fetches a batch, nil at the end.
func (r *Result) next() (arrow.RecordBatch, error) {
	chunk := mapping.DataChunk{Ptr: C.lf_fetch(&r.result)}
	if err := r.db.context().Err(); err != nil {
		mapping.DestroyDataChunk(&chunk)
		return nil, fmt.Errorf("query: %w", err)
	}
	if chunk.Ptr == nil {
		if message := C.GoString(C.lf_result_error(&r.result)); message != "" {
			return nil, r.db.cause(&SQLError{message})
		}
		return nil, r.db.cause(nil)
	}
	defer mapping.DestroyDataChunk(&chunk)
	p := C.calloc(1, C.size_t(unsafe.Sizeof(cdata.CArrowArray{})))
	defer C.free(p)
	if message := C.lf_array(&r.result, chunk.Ptr, p); message != nil {
		defer C.free(unsafe.Pointer(message))
		return nil, errors.New("rows of the result: " + C.GoString(message))
	}
	batch, err := cdata.ImportCRecordBatchWithSchema((*cdata.CArrowArray)(p), r.duck)
	if err != nil {
		return nil, fmt.Errorf("rows of the result: %w", err)
	}
	defer batch.Release()
	return plainBatch(batch, r.schema)
}

// Close ends the query, if it still runs.
func (r *Result) Close() {
	if r.closed {
		return
	}
	r.closed = true
	r.stop()
	r.destroy()
	r.db.ended()
}

func (r *Result) destroy() { C.lf_destroy_result(&r.result) }

// plainType is the type in which a column of DuckDB's is passed on.
func plainType(t arrow.DataType) arrow.DataType {
	switch t := t.(type) {
	case *arrow.DictionaryType:
		return t.ValueType
	case *arrow.MonthDayNanoIntervalType:
		return arrow.BinaryTypes.String
	case arrow.ExtensionType:
		return t.StorageType()
	}
	return t
}

func plainBatch(batch arrow.RecordBatch, schema *arrow.Schema) (arrow.RecordBatch, error) {
	columns := make([]arrow.Array, batch.NumCols())
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, col := range batch.Columns() {
		columns[i] = plainColumn(col)
		if !arrow.TypeEqual(columns[i].DataType(), schema.Field(i).Type) {
			return nil, fmt.Errorf("column %s of the result: %s came as %s", batch.ColumnName(i), schema.Field(i).Type, columns[i].DataType())
		}
	}
	return array.NewRecordBatch(schema, columns, batch.NumRows()), nil
}

// plainColumn is a column of DuckDB's in its plain type, in memory of our own: what is
// kept of it, as a Parquet writer keeps extremes, must not go with the batch.
func plainColumn(col arrow.Array) arrow.Array {
	switch col := col.(type) {
	case *array.Dictionary:
		return textColumn(col.Len(), col.IsNull, func(i int) string { return col.Dictionary().ValueStr(col.GetValueIndex(i)) })
	case *array.MonthDayNanoInterval:
		return textColumn(col.Len(), col.IsNull, func(i int) string { return intervalText(col.Value(i)) })
	case array.ExtensionArray:
		return plainColumn(col.Storage())
	}
	data := ownData(col.Data())
	defer data.Release()
	return array.MakeFromData(data)
}

func ownData(d arrow.ArrayData) arrow.ArrayData {
	buffers := make([]*memory.Buffer, len(d.Buffers()))
	for i, b := range d.Buffers() {
		if b != nil {
			buffers[i] = memory.NewBufferBytes(bytes.Clone(b.Bytes()))
		}
	}
	children := make([]arrow.ArrayData, len(d.Children()))
	for i, c := range d.Children() {
		children[i] = ownData(c)
		defer children[i].Release()
	}
	return array.NewData(d.DataType(), d.Len(), buffers, children, d.NullN(), d.Offset())
}

func textColumn(n int, null func(int) bool, text func(int) string) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	for i := range n {
		if null(i) {
			b.AppendNull()
		} else {
			b.Append(text(i))
		}
	}
	return b.NewArray()
}
