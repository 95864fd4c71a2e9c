package hudi

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
)

// byColumns makes the keys to sort by columns.
func byColumns(columns ...string) sortKeyMaker {
	return func(batch arrow.RecordBatch) (arrow.Array, error) { return sortKeys(batch, columns) }
}

// sortKeys are bytes for each row whose order is that of the row's values in some
// columns: nulls first, then numbers, times and decimals by size (NaN last), texts and
// binaries by their bytes, false before true.
func sortKeys(batch arrow.RecordBatch, columns []string) (arrow.Array, error) {
	parts := make([]func([]byte, int) []byte, len(columns))
	for i, name := range columns {
		at := batch.Schema().FieldIndices(name)
		if len(at) == 0 {
			return nil, &SchemaError{name, "the table does not have it"}
		}
		var err error
		if parts[i], err = sortPart(batch.Column(at[0])); err != nil {
			return nil, fmt.Errorf("sort by column %s: %w", name, err)
		}
	}
	b := array.NewBinaryBuilder(column.Allocator, arrow.BinaryTypes.Binary)
	defer b.Release()
	var key []byte
	for row := range int(batch.NumRows()) {
		key = key[:0]
		for _, part := range parts {
			key = part(key, row)
		}
		b.Append(key)
	}
	return b.NewArray(), nil
}

const (
	sortNull  = 0
	sortValue = 1
)

// sortPart appends the part of a column.
func sortPart(col arrow.Array) (func([]byte, int) []byte, error) {
	value, err := sortValueOf(col)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, row int) []byte {
		if col.IsNull(row) {
			return append(dst, sortNull)
		}
		return value(append(dst, sortValue), row)
	}, nil
}

func sortValueOf(col arrow.Array) (func([]byte, int) []byte, error) {
	number := func(at func(int) int64) func([]byte, int) []byte {
		return func(dst []byte, row int) []byte {
			return binary.BigEndian.AppendUint64(dst, uint64(at(row))^1<<63)
		}
	}
	switch col := col.(type) {
	case *array.Boolean:
		return number(func(row int) int64 {
			if col.Value(row) {
				return 1
			}
			return 0
		}), nil
	case *array.Int32:
		return number(func(row int) int64 { return int64(col.Value(row)) }), nil
	case *array.Int64:
		return number(col.Value), nil
	case *array.Date32:
		return number(func(row int) int64 { return int64(col.Value(row)) }), nil
	case *array.Timestamp:
		return number(func(row int) int64 { return int64(col.Value(row)) }), nil
	case *array.Time64:
		return number(func(row int) int64 { return int64(col.Value(row)) }), nil
	case *array.Float32:
		return func(dst []byte, row int) []byte { return appendFloat(dst, float64(col.Value(row))) }, nil
	case *array.Float64:
		return func(dst []byte, row int) []byte { return appendFloat(dst, col.Value(row)) }, nil
	case *array.Decimal128:
		return func(dst []byte, row int) []byte {
			v := col.Value(row)
			return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, uint64(v.HighBits())^1<<63), v.LowBits())
		}, nil
	case *array.String:
		return func(dst []byte, row int) []byte { return appendEscaped(dst, []byte(col.Value(row))) }, nil
	case *array.Binary:
		return func(dst []byte, row int) []byte { return appendEscaped(dst, col.Value(row)) }, nil
	}
	return nil, fmt.Errorf("rows are not sorted by %s", col.DataType())
}

// sortable tells whether rows can be sorted by a column of a type.
func sortable(t arrow.DataType) bool {
	empty := array.MakeArrayOfNull(column.Allocator, t, 0)
	defer empty.Release()
	_, err := sortValueOf(empty)
	return err == nil
}

// appendFloat orders NaN behind all numbers, and the two zeros as one.
func appendFloat(dst []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		v = math.NaN()
	case v == 0:
		v = 0
	}
	bits := math.Float64bits(v)
	if bits>>63 != 0 {
		bits = ^bits
	} else {
		bits |= 1 << 63
	}
	return binary.BigEndian.AppendUint64(dst, bits)
}

// appendEscaped ends a value so that a shorter one comes before those that it begins: a
// zero byte in it is followed by 0xff, its end is two zero bytes.
func appendEscaped(dst, v []byte) []byte {
	for _, c := range v {
		dst = append(dst, c)
		if c == 0 {
			dst = append(dst, 0xff)
		}
	}
	return append(dst, 0, 0)
}
