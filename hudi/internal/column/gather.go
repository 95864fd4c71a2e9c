package column

import (
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// RowAt is a row of one of several batches.
type RowAt struct{ Batch, Row int32 }

// Gather is a batch of rows of several, in any order, with as many of their first columns
// as schema has. Arrow's own way is to join the batches and take rows of that, which
// copies what is not wanted too. The
// caller releases it.
func Gather(schema *arrow.Schema, batches []arrow.RecordBatch, at []RowAt) (arrow.RecordBatch, error) {
	spans := make([]span, len(at))
	for i, a := range at {
		spans[i] = span{a.Batch, a.Row, 1}
	}
	columns := make([]arrow.Array, schema.NumFields())
	defer Release(columns)
	parts := make([]arrow.Array, len(batches))
	for c := range columns {
		for i, b := range batches {
			parts[i] = b.Column(c)
		}
		var err error
		if columns[c], err = gatherSpans(schema.Field(c).Type, parts, spans, len(at)); err != nil {
			return nil, fmt.Errorf("gather rows of column %s: %w", schema.Field(c).Name, err)
		}
	}
	return array.NewRecordBatch(schema, columns, int64(len(at))), nil
}

// span is n values of one of several arrays.
type span struct{ part, from, n int32 }

// gatherSpans is an array of spans of others of its type, of n values together.
func gatherSpans(t arrow.DataType, parts []arrow.Array, spans []span, n int) (arrow.Array, error) {
	var (
		buffers  []*memory.Buffer
		children []arrow.ArrayData
		err      error
	)
	switch typ := t.(type) {
	case *arrow.StringType, *arrow.BinaryType:
		buffers, err = gatherTexts(parts, spans, n)
	case *arrow.BooleanType:
		buffers = []*memory.Buffer{gatherBits(parts, spans, n, 1)}
	case *arrow.StructType:
		children, err = gatherStructs(typ, parts, spans, n)
	case *arrow.ListType:
		buffers, children, err = gatherLists(typ.Elem(), parts, spans, n)
	case *arrow.MapType:
		buffers, children, err = gatherLists(typ.Elem(), parts, spans, n)
	case *arrow.DictionaryType, arrow.ExtensionType:
		return gatherOthers(parts, spans)
	case arrow.FixedWidthDataType:
		buffers = []*memory.Buffer{gatherFixed(parts, spans, n, typ.Bytes())}
	default:
		return gatherOthers(parts, spans)
	}
	if err != nil {
		return nil, err
	}
	valid, nulls := gatherValid(parts, spans, n)
	data := array.NewData(t, n, append([]*memory.Buffer{valid}, buffers...), children, nulls, 0)
	defer data.Release()
	for _, c := range children {
		c.Release()
	}
	return array.MakeFromData(data), nil
}

// gatherOthers joins slices of arrays: of types that tables hardly have.
func gatherOthers(parts []arrow.Array, spans []span) (arrow.Array, error) {
	if len(spans) == 0 {
		return array.NewSlice(parts[0], 0, 0), nil
	}
	slices := make([]arrow.Array, len(spans))
	defer Release(slices)
	for i, s := range spans {
		slices[i] = array.NewSlice(parts[s.part], int64(s.from), int64(s.from+s.n))
	}
	return array.Concatenate(slices, Allocator)
}

// gatherValid tells which values are not null; nil where none is.
func gatherValid(parts []arrow.Array, spans []span, n int) (*memory.Buffer, int) {
	found := false
	for _, p := range parts {
		found = found || p.NullN() > 0
	}
	if !found {
		return nil, 0
	}
	valid := gatherBits(parts, spans, n, 0)
	return valid, n - bitutil.CountSetBits(valid.Bytes(), 0, n)
}

// gatherBits copies bits of a buffer of arrays. An array without one has ones.
func gatherBits(parts []arrow.Array, spans []span, n, buffer int) *memory.Buffer {
	bits := make([][]byte, len(parts))
	for i, p := range parts {
		bits[i] = bytesOf(p, buffer)
	}
	out, to := make([]byte, bitutil.BytesForBits(int64(n))), 0
	for _, s := range spans {
		from, offset := bits[s.part], parts[s.part].Data().Offset()+int(s.from)
		switch {
		case from == nil:
			bitutil.SetBitsTo(out, int64(to), int64(s.n), true)
		case s.n != 1:
			bitutil.CopyBitmap(from, offset, int(s.n), out, to)
		case bitutil.BitIsSet(from, offset):
			bitutil.SetBit(out, to)
		}
		to += int(s.n)
	}
	return memory.NewBufferBytes(out)
}

func bytesOf(a arrow.Array, buffer int) []byte {
	b := a.Data().Buffers()[buffer]
	if b == nil {
		return nil
	}
	return b.Bytes()
}

// gatherFixed copies values of so many bytes.
func gatherFixed(parts []arrow.Array, spans []span, n, width int) *memory.Buffer {
	values := make([][]byte, len(parts))
	for i, p := range parts {
		if p.Len() > 0 {
			values[i] = bytesOf(p, 1)[p.Data().Offset()*width:]
		}
	}
	out := Room(n * width)
	switch width {
	case 4:
		gatherAs(arrow.Uint32Traits.CastFromBytes, out, values, spans)
	case 8:
		gatherAs(arrow.Uint64Traits.CastFromBytes, out, values, spans)
	case 16:
		gatherAs(arrow.Decimal128Traits.CastFromBytes, out, values, spans)
	default:
		to := out
		for _, s := range spans {
			to = to[copy(to, values[s.part][int(s.from)*width:int(s.from+s.n)*width]):]
		}
	}
	return memory.NewBufferBytes(out)
}

func gatherAs[T uint32 | uint64 | decimal128.Num](cast func([]byte) []T, out []byte, parts [][]byte, spans []span) {
	values := make([][]T, len(parts))
	for i, p := range parts {
		values[i] = cast(p)
	}
	to := cast(out)
	for _, s := range spans {
		if s.n == 1 {
			to[0] = values[s.part][s.from]
			to = to[1:]
			continue
		}
		to = to[copy(to, values[s.part][s.from:s.from+s.n]):]
	}
}

// offsetsOf are the offsets of an array of texts or lists, from its first value on.
func offsetsOf(a arrow.Array) []int32 {
	if a.Len() == 0 {
		return []int32{0}
	}
	return arrow.Int32Traits.CastFromBytes(bytesOf(a, 1))[a.Data().Offset():]
}

// gatherOffsets makes the offsets of texts or lists, and spans of what they have.
func gatherOffsets(parts []arrow.Array, spans []span, n int) (*memory.Buffer, []span, int, error) {
	offsets := make([][]int32, len(parts))
	for i, p := range parts {
		offsets[i] = offsetsOf(p)
	}
	out := Room((n + 1) * 4)
	to, total := arrow.Int32Traits.CastFromBytes(out), int64(0)
	to[0] = 0
	inner := make([]span, 0, len(spans))
	for _, s := range spans {
		from := offsets[s.part][s.from : s.from+s.n+1]
		shift := total - int64(from[0])
		if total = shift + int64(from[s.n]); total > math.MaxInt32 {
			return nil, nil, 0, fmt.Errorf("%d rows hold more than 2 GiB", n)
		}
		for i, end := range from[1:] {
			to[1+i] = int32(shift) + end
		}
		to = to[s.n:]
		inner = append(inner, span{s.part, from[0], from[s.n] - from[0]})
	}
	return memory.NewBufferBytes(out), inner, int(total), nil
}

func gatherTexts(parts []arrow.Array, spans []span, n int) ([]*memory.Buffer, error) {
	offsets, inner, size, err := gatherOffsets(parts, spans, n)
	if err != nil {
		return nil, err
	}
	texts := make([][]byte, len(parts))
	for i, p := range parts {
		texts[i] = bytesOf(p, 2)
	}
	out := Room(size)
	to := out
	for _, s := range inner {
		to = to[copy(to, texts[s.part][s.from:s.from+s.n]):]
	}
	return []*memory.Buffer{offsets, memory.NewBufferBytes(out)}, nil
}

func gatherLists(elem arrow.DataType, parts []arrow.Array, spans []span, n int) ([]*memory.Buffer, []arrow.ArrayData, error) {
	offsets, inner, size, err := gatherOffsets(parts, spans, n)
	if err != nil {
		return nil, nil, err
	}
	values := make([]arrow.Array, len(parts))
	for i, p := range parts {
		values[i] = p.(array.ListLike).ListValues()
	}
	child, err := gatherSpans(elem, values, inner, size)
	if err != nil {
		return nil, nil, err
	}
	return []*memory.Buffer{offsets}, []arrow.ArrayData{child.Data()}, nil
}

func gatherStructs(t *arrow.StructType, parts []arrow.Array, spans []span, n int) ([]arrow.ArrayData, error) {
	children := make([]arrow.ArrayData, t.NumFields())
	fields := make([]arrow.Array, len(parts))
	for c := range children {
		for i, p := range parts {
			fields[i] = p.(*array.Struct).Field(c)
		}
		child, err := gatherSpans(t.Field(c).Type, fields, spans, n)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", t.Field(c).Name, err)
		}
		children[c] = child.Data()
	}
	return children, nil
}
