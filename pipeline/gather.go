package pipeline

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// gather makes one array of type dt out of values of several: the i-th is the row
// sel[i].row of arrays[sel[i].slab]; a nil array has nulls only.
func gather(dt arrow.DataType, arrays []arrow.Array, sel []ref) (arrow.Array, error) {
	for _, a := range arrays {
		if a != nil && !arrow.TypeEqual(a.DataType(), dt) {
			return nil, fmt.Errorf("gather: have %s, want %s", a.DataType(), dt)
		}
	}
	b := array.NewBuilder(memory.DefaultAllocator, dt)
	defer b.Release()
	b.Reserve(len(sel))
	switch b := b.(type) {
	case *array.StringBuilder:
		gatherText(b, typed[*array.String](arrays), sel)
	case *array.BinaryBuilder:
		gatherText(b, typed[*array.Binary](arrays), sel)
	case *array.BooleanBuilder:
		gatherFixed(b, typed[*array.Boolean](arrays), sel)
	case *array.Int32Builder:
		gatherFixed(b, typed[*array.Int32](arrays), sel)
	case *array.Int64Builder:
		gatherFixed(b, typed[*array.Int64](arrays), sel)
	case *array.Uint8Builder:
		gatherFixed(b, typed[*array.Uint8](arrays), sel)
	case *array.Uint32Builder:
		gatherFixed(b, typed[*array.Uint32](arrays), sel)
	case *array.Uint64Builder:
		gatherFixed(b, typed[*array.Uint64](arrays), sel)
	case *array.Float32Builder:
		gatherFixed(b, typed[*array.Float32](arrays), sel)
	case *array.Float64Builder:
		gatherFixed(b, typed[*array.Float64](arrays), sel)
	case *array.Date32Builder:
		gatherFixed(b, typed[*array.Date32](arrays), sel)
	case *array.TimestampBuilder:
		gatherFixed(b, typed[*array.Timestamp](arrays), sel)
	case *array.Decimal128Builder:
		gatherFixed(b, typed[*array.Decimal128](arrays), sel)
	case *array.StructBuilder, *array.ListBuilder:
		for _, r := range sel {
			if err := appendFrom(b, arrays[r.slab], int(r.row)); err != nil {
				return nil, err
			}
		}
	default:
		return nil, fmt.Errorf("gather: no way to gather %s", dt)
	}
	return b.NewArray(), nil
}

// appendFrom appends value i of a, a nil array has nulls only: structs and lists with all
// that is within them.
func appendFrom(b array.Builder, a arrow.Array, i int) error {
	if a == nil || a.IsNull(i) {
		b.AppendNull()
		return nil
	}
	switch b := b.(type) {
	case *array.StructBuilder:
		s := a.(*array.Struct)
		b.Append(true)
		for f := range s.NumField() {
			if err := appendFrom(b.FieldBuilder(f), s.Field(f), i); err != nil {
				return err
			}
		}
	case *array.ListBuilder:
		l := a.(*array.List)
		b.Append(true)
		for from, to := l.ValueOffsets(i); from < to; from++ {
			if err := appendFrom(b.ValueBuilder(), l.ListValues(), int(from)); err != nil {
				return err
			}
		}
	case *array.StringBuilder:
		b.Append(a.(*array.String).Value(i))
	case *array.BinaryBuilder:
		b.Append(a.(*array.Binary).Value(i))
	case *array.BooleanBuilder:
		b.Append(a.(*array.Boolean).Value(i))
	case *array.Int32Builder:
		b.Append(a.(*array.Int32).Value(i))
	case *array.Int64Builder:
		b.Append(a.(*array.Int64).Value(i))
	case *array.Float32Builder:
		b.Append(a.(*array.Float32).Value(i))
	case *array.Float64Builder:
		b.Append(a.(*array.Float64).Value(i))
	case *array.Date32Builder:
		b.Append(a.(*array.Date32).Value(i))
	case *array.TimestampBuilder:
		b.Append(a.(*array.Timestamp).Value(i))
	case *array.Decimal128Builder:
		b.Append(a.(*array.Decimal128).Value(i))
	default:
		return fmt.Errorf("gather: no way to gather %s", b.Type())
	}
	return nil
}

// typed is the arrays as what they are; nil stays nil.
func typed[A arrow.Array](arrays []arrow.Array) []A {
	out := make([]A, len(arrays))
	for i, a := range arrays {
		if a != nil {
			out[i] = a.(A)
		}
	}
	return out
}

type column[V any] interface {
	comparable
	IsNull(int) bool
	Value(int) V
}

type builder[V any] interface {
	AppendNull()
	UnsafeAppend(V)
}

// gatherFixed copies values of a fixed width; the builder has room for all.
func gatherFixed[V any, A column[V], B builder[V]](b B, arrays []A, sel []ref) {
	var none A
	for _, r := range sel {
		if a := arrays[r.slab]; a == none || a.IsNull(int(r.row)) {
			b.AppendNull()
		} else {
			b.UnsafeAppend(a.Value(int(r.row)))
		}
	}
}

// gatherText copies values of any length.
func gatherText[V any, A column[V], B interface {
	AppendNull()
	Append(V)
}](b B, arrays []A, sel []ref) {
	var none A
	for _, r := range sel {
		if a := arrays[r.slab]; a == none || a.IsNull(int(r.row)) {
			b.AppendNull()
		} else {
			b.Append(a.Value(int(r.row)))
		}
	}
}
