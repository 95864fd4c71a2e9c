//go:build cgo && !nosql

package query

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/duckdb/duckdb-go/mapping"
)

// fill copies a column into a vector of the type that logicalType says. The vector has
// room for it, and no nulls yet.
func fill(vec mapping.Vector, col arrow.Array) error {
	if err := fillValues(vec, col); err != nil {
		return err
	}
	if col.NullN() > 0 || col.DataType().ID() == arrow.NULL {
		for row := range col.Len() {
			if col.IsNull(row) {
				setNull(vec, col.DataType(), row)
			}
		}
	}
	return nil
}

// setNull makes a row null; that of a struct, in all of its fields.
func setNull(vec mapping.Vector, t arrow.DataType, row int) {
	mapping.VectorEnsureValidityWritable(vec)
	mask := unsafe.Slice((*uint64)(mapping.VectorGetValidity(vec)), row/64+1)
	mask[row/64] &^= 1 << (row % 64)
	if s, ok := t.(*arrow.StructType); ok {
		for i, f := range s.Fields() {
			setNull(mapping.StructVectorGetChild(vec, mapping.IdxT(i)), f.Type, row)
		}
	}
}

func fillValues(vec mapping.Vector, col arrow.Array) error {
	switch col := col.(type) {
	case *array.Null:
	case *array.Boolean:
		out := values[bool](vec, col.Len())
		for i := range out {
			out[i] = col.Value(i)
		}
	case *array.Int8:
		copy(values[int8](vec, col.Len()), col.Int8Values())
	case *array.Int16:
		copy(values[int16](vec, col.Len()), col.Int16Values())
	case *array.Int32:
		copy(values[int32](vec, col.Len()), col.Int32Values())
	case *array.Int64:
		copy(values[int64](vec, col.Len()), col.Int64Values())
	case *array.Float32:
		copy(values[float32](vec, col.Len()), col.Float32Values())
	case *array.Float64:
		copy(values[float64](vec, col.Len()), col.Float64Values())
	case *array.Date32:
		copy(values[arrow.Date32](vec, col.Len()), col.Date32Values())
	case *array.Decimal128:
		fillDecimals(vec, col)
	case *array.Timestamp, *array.Time32, *array.Time64:
		return fillTimes(vec, col)
	case *array.String, *array.LargeString, *array.Binary, *array.LargeBinary, *array.FixedSizeBinary:
		return fillTexts(vec, col)
	case *array.List:
		return fillList(vec, col, col.ListValues())
	case *array.Map:
		return fillList(vec, col, col.ListValues())
	case *array.Struct:
		for i := range col.NumField() {
			if err := fill(mapping.StructVectorGetChild(vec, mapping.IdxT(i)), col.Field(i)); err != nil {
				return fmt.Errorf("field %s: %w", col.DataType().(*arrow.StructType).Field(i).Name, err)
			}
		}
	default:
		return fmt.Errorf("%s is not passed on to DuckDB", col.DataType())
	}
	return nil
}

// values is a vector's memory.
func values[T any](vec mapping.Vector, n int) []T {
	return unsafe.Slice((*T)(mapping.VectorGetData(vec)), n)
}

// fillDecimals writes decimals in the width that DuckDB keeps them in.
func fillDecimals(vec mapping.Vector, col *array.Decimal128) {
	const widest16, widest32, widest64 = 4, 9, 18
	in := col.Values()
	switch p := col.DataType().(*arrow.Decimal128Type).Precision; {
	case p <= widest16:
		out := values[int16](vec, len(in))
		for i, v := range in {
			out[i] = int16(v.LowBits())
		}
	case p <= widest32:
		out := values[int32](vec, len(in))
		for i, v := range in {
			out[i] = int32(v.LowBits())
		}
	case p <= widest64:
		out := values[int64](vec, len(in))
		for i, v := range in {
			out[i] = int64(v.LowBits())
		}
	default:
		type hugeint struct {
			low  uint64
			high int64
		}
		out := values[hugeint](vec, len(in))
		for i, v := range in {
			out[i] = hugeint{v.LowBits(), v.HighBits()}
		}
	}
}

// errRange says that a time does not fit DuckDB's microseconds.
var errRange = errors.New("a time is beyond DuckDB's range")

// fillTimes writes timestamps and times of day in microseconds.
func fillTimes(vec mapping.Vector, col arrow.Array) error {
	out := values[int64](vec, col.Len())
	var factor int64
	switch col := col.(type) {
	case *array.Timestamp:
		factor = perMicro[col.DataType().(*arrow.TimestampType).Unit]
		for i, v := range col.TimestampValues() {
			out[i] = int64(v)
		}
	case *array.Time64:
		factor = perMicro[col.DataType().(*arrow.Time64Type).Unit]
		for i, v := range col.Time64Values() {
			out[i] = int64(v)
		}
	case *array.Time32:
		factor = perMicro[col.DataType().(*arrow.Time32Type).Unit]
		for i, v := range col.Time32Values() {
			out[i] = int64(v)
		}
	}
	if factor == 0 {
		return fmt.Errorf("%s is not passed on to DuckDB", col.DataType())
	}
	for i, v := range out {
		switch {
		case col.IsNull(i):
			out[i] = 0
		case v > math.MaxInt64/factor || v < -math.MaxInt64/factor:
			return errRange
		default:
			out[i] = v * factor
		}
	}
	return nil
}

var perMicro = map[arrow.TimeUnit]int64{arrow.Second: 1e6, arrow.Millisecond: 1e3, arrow.Microsecond: 1}

// errText says that a text would not be one for DuckDB.
var errText = errors.New("a text is not UTF-8")

// fillTexts writes texts and bytes.
func fillTexts(vec mapping.Vector, col arrow.Array) error {
	n := C.uint64_t(col.Len())
	if n == 0 {
		return nil
	}
	switch col := col.(type) {
	case *array.String:
		if !utf8.Valid(col.ValueBytes()) {
			return errText
		}
		C.lf_strings(vec.Ptr, (*C.int32_t)(&col.ValueOffsets()[0]), chars(col.ValueBytes()), n)
	case *array.LargeString:
		if !utf8.Valid(col.ValueBytes()) {
			return errText
		}
		C.lf_long_strings(vec.Ptr, (*C.int64_t)(&col.ValueOffsets()[0]), chars(col.ValueBytes()), n)
	case *array.Binary:
		C.lf_strings(vec.Ptr, (*C.int32_t)(&col.ValueOffsets()[0]), chars(col.ValueBytes()), n)
	case *array.LargeBinary:
		C.lf_long_strings(vec.Ptr, (*C.int64_t)(&col.ValueOffsets()[0]), chars(col.ValueBytes()), n)
	case *array.FixedSizeBinary:
		var all []byte
		for i := range col.Len() {
			all = append(all, col.Value(i)...)
		}
		C.lf_fixed(vec.Ptr, chars(all), C.uint64_t(col.DataType().(*arrow.FixedSizeBinaryType).ByteWidth), n)
	}
	return nil
}

// chars is where bytes begin, somewhere if there are none.
func chars(b []byte) *C.char {
	if len(b) == 0 {
		b = []byte{0}
	}
	return (*C.char)(unsafe.Pointer(&b[0]))
}

// fillList writes lists, or maps, which are lists of pairs.
func fillList(vec mapping.Vector, col array.ListLike, items arrow.Array) error {
	if col.Len() == 0 {
		return nil
	}
	type entry struct{ offset, length uint64 }
	from, _ := col.ValueOffsets(0)
	_, to := col.ValueOffsets(col.Len() - 1)
	out := values[entry](vec, col.Len())
	for i := range out {
		start, end := col.ValueOffsets(i)
		out[i] = entry{uint64(start - from), uint64(end - start)}
	}
	if mapping.ListVectorReserve(vec, mapping.IdxT(to-from)) == mapping.StateError ||
		mapping.ListVectorSetSize(vec, mapping.IdxT(to-from)) == mapping.StateError {
		return fmt.Errorf("DuckDB has no room for %d list elements", to-from)
	}
	part := array.NewSlice(items, from, to)
	defer part.Release()
	return fill(mapping.ListVectorGetChild(vec), part)
}
