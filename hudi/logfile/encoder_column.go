package logfile

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/avro"

	"lakefeed/hudi/schema"
)

// checkColumn tells whether values of f can be written as node, by doing so with none.
func checkColumn(node *avro.SchemaNode, f arrow.Field) error {
	empty := array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, 0)
	defer empty.Release()
	_, err := new(Encoder).column(f.Name, node, empty)
	return err
}

// column returns the function that appends col's values as node. The union of a
// nullable column is its branch's index before the value.
func (e *Encoder) column(name string, node *avro.SchemaNode, col arrow.Array) (appendFunc, error) {
	inner, nullable, err := schema.Unwrap(node)
	if err != nil {
		return nil, err
	}
	value, err := e.value(name, inner, col)
	if err != nil {
		return nil, err
	}
	bits, offset := col.NullBitmapBytes(), col.Data().Offset()
	if col.NullN() == 0 {
		bits = nil
	}
	if !nullable || inner.Type == "null" {
		if bits == nil {
			return value, nil
		}
		return func(dst []byte, row int) []byte {
			if !bitutil.BitIsSet(bits, offset+row) && e.err == nil {
				e.err = fmt.Errorf("column %s is null, and may not be", name)
			}
			return value(dst, row)
		}, nil
	}
	null, some := byte(0), byte(2) // indexes 0 and 1, zigzag
	if node.Branches[0].Type != "null" {
		null, some = some, null
	}
	if bits == nil {
		return func(dst []byte, row int) []byte { return value(append(dst, some), row) }, nil
	}
	return func(dst []byte, row int) []byte {
		if !bitutil.BitIsSet(bits, offset+row) {
			return append(dst, null)
		}
		return value(append(dst, some), row)
	}, nil
}

// value returns the function that appends col's values, without regard to nulls.
func (e *Encoder) value(name string, node *avro.SchemaNode, col arrow.Array) (appendFunc, error) {
	switch col := col.(type) {
	case *array.Boolean:
		if node.Type == "boolean" {
			return booleans(col), nil
		}
	case *array.Int8, *array.Int16, *array.Int32, *array.Date32, *array.Int64, *array.Timestamp:
		if integerFits(node, col.DataType()) {
			return integers(col), nil
		}
	case *array.Float32:
		if node.Type == "float" {
			return floats(col.Float32Values()), nil
		}
	case *array.Float64:
		if node.Type == "double" {
			return doubles(col.Float64Values()), nil
		}
	case *array.String, *array.LargeString:
		if node.Type == "string" {
			return texts(col.(interface{ Value(int) string })), nil
		}
	case *array.Binary, *array.LargeBinary:
		if node.Type == "bytes" && node.LogicalType == "" {
			return binaries(col.(interface{ Value(int) []byte })), nil
		}
	case *array.Decimal128:
		if t := col.DataType().(*arrow.Decimal128Type); node.LogicalType == "decimal" && int(t.Scale) == node.Scale {
			return e.decimals(name, node, col.Values()), nil
		}
	case *array.List:
		if node.Type == "array" {
			return e.list(name, node, col)
		}
	case *array.Map:
		if node.Type == "map" {
			return e.mapping(name, node, col)
		}
	case *array.Struct:
		if node.Type == "record" {
			return e.record(name, node, col)
		}
	case *array.Null:
		if node.Type == "null" {
			return func(dst []byte, _ int) []byte { return dst }, nil
		}
	}
	return nil, fmt.Errorf("no way to write Arrow's %s as Avro's %s %s", col.DataType(), node.Type, node.LogicalType)
}

// integerFits tells whether integers of type t can be written as node: in Avro, int
// and long look the same, and dates and timestamps are just numbers.
func integerFits(node *avro.SchemaNode, t arrow.DataType) bool {
	switch t := t.(type) {
	case *arrow.Int64Type:
		return node.Type == "long" && node.LogicalType == ""
	case *arrow.Date32Type:
		return node.LogicalType == "date"
	case *arrow.TimestampType:
		micros := node.LogicalType == "timestamp-micros" || node.LogicalType == "local-timestamp-micros"
		millis := node.LogicalType == "timestamp-millis" || node.LogicalType == "local-timestamp-millis"
		return micros && t.Unit == arrow.Microsecond || millis && t.Unit == arrow.Millisecond
	}
	return (node.Type == "int" || node.Type == "long") && node.LogicalType == ""
}

func integers(col arrow.Array) appendFunc {
	switch col := col.(type) {
	case *array.Int8:
		return varints(col.Int8Values())
	case *array.Int16:
		return varints(col.Int16Values())
	case *array.Int32:
		return varints(col.Int32Values())
	case *array.Date32:
		return varints(col.Date32Values())
	case *array.Timestamp:
		return varints(col.TimestampValues())
	}
	return varints(col.(*array.Int64).Int64Values())
}

func varints[T ~int8 | ~int16 | ~int32 | ~int64](values []T) appendFunc {
	return func(dst []byte, row int) []byte { return appendLong(dst, int64(values[row])) }
}

// appendLong appends a zigzag varint.
func appendLong(dst []byte, v int64) []byte {
	u := uint64(v)<<1 ^ uint64(v>>63)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

func booleans(col *array.Boolean) appendFunc {
	return func(dst []byte, row int) []byte {
		if col.Value(row) {
			return append(dst, 1)
		}
		return append(dst, 0)
	}
}

func floats(values []float32) appendFunc {
	return func(dst []byte, row int) []byte {
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(values[row]))
	}
}

func doubles(values []float64) appendFunc {
	return func(dst []byte, row int) []byte {
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(values[row]))
	}
}

func texts(col interface{ Value(int) string }) appendFunc {
	return func(dst []byte, row int) []byte {
		s := col.Value(row)
		return append(appendLong(dst, int64(len(s))), s...)
	}
}

func binaries(col interface{ Value(int) []byte }) appendFunc {
	return func(dst []byte, row int) []byte {
		b := col.Value(row)
		return append(appendLong(dst, int64(len(b))), b...)
	}
}

// decimals appends big-endian two's complements: of node's size when it is fixed,
// else of as many bytes as the value needs, after their number.
func (e *Encoder) decimals(name string, node *avro.SchemaNode, values []decimal128.Num) appendFunc {
	precision, size := int32(node.Precision), node.Size
	return func(dst []byte, row int) []byte {
		v := values[row]
		if !v.FitsInPrecision(precision) && e.err == nil {
			e.err = fmt.Errorf("column %s: %s is beyond %d digits", name, v.ToString(int32(node.Scale)), precision)
		}
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], uint64(v.HighBits()))
		binary.BigEndian.PutUint64(b[8:], v.LowBits())
		n := size
		if node.Type == "bytes" {
			n = len(b)
			for sign := byte(v.HighBits() >> 63); n > 1 && b[16-n] == sign && b[17-n]>>7 == sign>>7; {
				n--
			}
			dst = appendLong(dst, int64(n))
		}
		for ; n > len(b); n-- {
			dst = append(dst, byte(v.HighBits()>>63))
		}
		return append(dst, b[len(b)-n:]...)
	}
}

func (e *Encoder) list(name string, node *avro.SchemaNode, col *array.List) (appendFunc, error) {
	item, err := e.column(name, node.Items, col.ListValues())
	if err != nil {
		return nil, err
	}
	return func(dst []byte, row int) []byte {
		start, end := col.ValueOffsets(row)
		if start < end {
			dst = appendLong(dst, end-start)
			for i := start; i < end; i++ {
				dst = item(dst, int(i))
			}
		}
		return append(dst, 0)
	}, nil
}

func (e *Encoder) mapping(name string, node *avro.SchemaNode, col *array.Map) (appendFunc, error) {
	keys, ok := col.Keys().(*array.String)
	if !ok {
		return nil, fmt.Errorf("keys of %s: want text", col.Keys().DataType())
	}
	key := texts(keys)
	item, err := e.column(name, node.Values, col.Items())
	if err != nil {
		return nil, err
	}
	return func(dst []byte, row int) []byte {
		start, end := col.ValueOffsets(row)
		if start < end {
			dst = appendLong(dst, end-start)
			for i := start; i < end; i++ {
				dst = item(key(dst, int(i)), int(i))
			}
		}
		return append(dst, 0)
	}, nil
}

func (e *Encoder) record(name string, node *avro.SchemaNode, col *array.Struct) (appendFunc, error) {
	if col.NumField() != len(node.Fields) {
		return nil, fmt.Errorf("%d fields in Arrow, %d in Avro", col.NumField(), len(node.Fields))
	}
	fields := make([]appendFunc, len(node.Fields))
	for i := range node.Fields {
		inner := node.Fields[i].Name
		if at := col.DataType().(*arrow.StructType).Field(i).Name; at != inner {
			return nil, fmt.Errorf("field %d is %s in Arrow, %s in Avro", i, at, inner)
		}
		var err error
		if fields[i], err = e.column(name+"."+inner, &node.Fields[i].Type, col.Field(i)); err != nil {
			return nil, fmt.Errorf("field %s: %w", inner, err)
		}
	}
	return func(dst []byte, row int) []byte {
		for _, f := range fields {
			dst = f(dst, row)
		}
		return dst
	}, nil
}
