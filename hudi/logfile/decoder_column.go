package logfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/twmb/avro"

	"lakefeed/hudi/schema"
)

// readFunc decodes the value at the cursor and appends it to the builder, which is
// of the type that the function was made for.
type readFunc func(c *cursor, b array.Builder)

// nullableReader returns the function that reads values of node as t.
func nullableReader(node *avro.SchemaNode, t arrow.DataType) (readFunc, error) {
	inner, _, err := schema.Unwrap(node)
	if err != nil {
		return nil, err
	}
	read, err := reader(inner, t)
	if err != nil || node.Type != "union" {
		return read, err
	}
	isNull := make([]bool, len(node.Branches))
	for i := range node.Branches {
		isNull[i] = node.Branches[i].Type == "null"
	}
	return func(c *cursor, b array.Builder) {
		switch i := c.long(); {
		case i < 0 || i >= int64(len(isNull)):
			c.fail(fmt.Errorf("branch %d of a union of %d", i, len(isNull)))
		case isNull[i]:
			b.AppendNull()
		default:
			read(c, b)
		}
	}, nil
}

func reader(node *avro.SchemaNode, t arrow.DataType) (readFunc, error) {
	switch node.Type {
	case "null":
		return func(_ *cursor, b array.Builder) { b.AppendNull() }, nil
	case "array":
		return listReader(node, t)
	case "map":
		return mapReader(node, t)
	case "record", "error":
		return recordReader(node, t)
	}
	if read := scalarReader(node, t); read != nil {
		return read, nil
	}
	return nil, noReader(node, t)
}

// scalarReader returns nil where t cannot hold what node says.
func scalarReader(node *avro.SchemaNode, t arrow.DataType) readFunc {
	if node.LogicalType == "decimal" {
		if t, ok := t.(*arrow.Decimal128Type); ok && int(t.Scale) == node.Scale && int(t.Precision) >= node.Precision {
			return decimalReader(node)
		}
		return nil
	}
	switch node.Type {
	case "boolean":
		if t.ID() == arrow.BOOL {
			return func(c *cursor, b array.Builder) { b.(*array.BooleanBuilder).Append(c.boolean()) }
		}
	case "int", "long":
		return integerReader(node, t)
	case "float", "double":
		return floatReader(node, t)
	case "string", "bytes":
		return bytesReader((*cursor).bytes, t)
	case "enum":
		return bytesReader(enumReader(node.Symbols), t)
	case "fixed":
		if t, ok := t.(*arrow.FixedSizeBinaryType); ok && t.ByteWidth == node.Size {
			return fixedReader(int64(node.Size))
		}
	}
	return nil
}

func floatReader(node *avro.SchemaNode, t arrow.DataType) readFunc {
	switch node.Type + " " + t.Name() {
	case "float float32":
		return func(c *cursor, b array.Builder) { b.(*array.Float32Builder).Append(c.float()) }
	case "float float64":
		return func(c *cursor, b array.Builder) { b.(*array.Float64Builder).Append(sameDigits(c.float())) }
	case "double float64":
		return func(c *cursor, b array.Builder) { b.(*array.Float64Builder).Append(c.double()) }
	}
	return nil
}

// sameDigits is the double that is written with the same digits as a float, as Spark
// reads a column of doubles that once held floats.
func sameDigits(v float32) float64 {
	d, err := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
	if err != nil {
		return float64(v)
	}
	return d
}

func noReader(node *avro.SchemaNode, t arrow.DataType) error {
	return fmt.Errorf("no way to read Avro's %s %s as Arrow's %s", node.Type, node.LogicalType, t)
}

// integerReader reads ints and longs and what is made of them. A nil function means
// that t is none of these.
func integerReader(node *avro.SchemaNode, t arrow.DataType) readFunc {
	switch t := t.(type) {
	case *arrow.Int32Type:
		if node.Type == "int" && node.LogicalType == "" {
			return func(c *cursor, b array.Builder) { b.(*array.Int32Builder).Append(int32(c.long())) }
		}
	case *arrow.Int64Type:
		if node.LogicalType == "" {
			return func(c *cursor, b array.Builder) { b.(*array.Int64Builder).Append(c.long()) }
		}
	case *arrow.Float64Type:
		if node.Type == "int" && node.LogicalType == "" {
			return func(c *cursor, b array.Builder) { b.(*array.Float64Builder).Append(float64(c.long())) }
		}
	case *arrow.Date32Type:
		if node.LogicalType == "date" {
			return func(c *cursor, b array.Builder) { b.(*array.Date32Builder).Append(arrow.Date32(c.long())) }
		}
	case *arrow.Time32Type:
		if node.LogicalType == "time-millis" && t.Unit == arrow.Millisecond {
			return func(c *cursor, b array.Builder) { b.(*array.Time32Builder).Append(arrow.Time32(c.long())) }
		}
	case *arrow.Time64Type:
		if node.LogicalType == "time-micros" && t.Unit == arrow.Microsecond {
			return func(c *cursor, b array.Builder) { b.(*array.Time64Builder).Append(arrow.Time64(c.long())) }
		}
	case *arrow.TimestampType:
		return timestampReader(node, t)
	}
	return nil
}

func timestampReader(node *avro.SchemaNode, t *arrow.TimestampType) readFunc {
	millis := node.LogicalType == "timestamp-millis" || node.LogicalType == "local-timestamp-millis"
	micros := node.LogicalType == "timestamp-micros" || node.LogicalType == "local-timestamp-micros"
	switch {
	case micros && t.Unit == arrow.Microsecond, millis && t.Unit == arrow.Millisecond:
		return func(c *cursor, b array.Builder) { b.(*array.TimestampBuilder).Append(arrow.Timestamp(c.long())) }
	case millis && t.Unit == arrow.Microsecond:
		return func(c *cursor, b array.Builder) {
			b.(*array.TimestampBuilder).Append(arrow.Timestamp(c.long() * 1000))
		}
	}
	return nil
}

func bytesReader(next func(*cursor) []byte, t arrow.DataType) readFunc {
	switch t.(type) {
	case *arrow.StringType:
		return func(c *cursor, b array.Builder) { b.(*array.StringBuilder).BinaryBuilder.Append(next(c)) }
	case *arrow.LargeStringType:
		return func(c *cursor, b array.Builder) { b.(*array.LargeStringBuilder).BinaryBuilder.Append(next(c)) }
	case *arrow.BinaryType, *arrow.LargeBinaryType:
		return func(c *cursor, b array.Builder) { b.(*array.BinaryBuilder).Append(next(c)) }
	}
	return nil
}

func fixedReader(size int64) readFunc {
	return func(c *cursor, b array.Builder) {
		if v := c.take(size); v != nil {
			b.(*array.FixedSizeBinaryBuilder).Append(v)
		}
	}
}

func enumReader(symbols []string) func(*cursor) []byte {
	texts := make([][]byte, len(symbols))
	for i, s := range symbols {
		texts[i] = []byte(s)
	}
	return func(c *cursor) []byte {
		i := c.long()
		if i < 0 || i >= int64(len(texts)) {
			c.fail(fmt.Errorf("symbol %d of an enum of %d", i, len(texts)))
			return nil
		}
		return texts[i]
	}
}

// errBigDecimal says that a decimal needs more than 128 bits.
var errBigDecimal = errors.New("a decimal of more than 128 bits")

func decimalReader(node *avro.SchemaNode) readFunc {
	size := int64(node.Size)
	fixed := node.Type == "fixed"
	return func(c *cursor, b array.Builder) {
		var v []byte
		if fixed {
			v = c.take(size)
		} else {
			v = c.bytes()
		}
		n, ok := decimalOf(v)
		if !ok {
			c.fail(errBigDecimal)
		}
		b.(*array.Decimal128Builder).Append(n)
	}
}

// decimalOf reads a big-endian two's complement.
func decimalOf(v []byte) (decimal128.Num, bool) {
	var b [16]byte
	sign := byte(0)
	if len(v) > 0 && v[0] >= 0x80 {
		sign = 0xff
	}
	for ; len(v) > len(b); v = v[1:] {
		if v[0] != sign || v[1]>>7 != sign>>7 {
			return decimal128.Num{}, false
		}
	}
	for i := range len(b) - len(v) {
		b[i] = sign
	}
	copy(b[len(b)-len(v):], v)
	return decimal128.New(int64(binary.BigEndian.Uint64(b[:])), binary.BigEndian.Uint64(b[8:])), true
}

func listReader(node *avro.SchemaNode, t arrow.DataType) (readFunc, error) {
	list, ok := t.(*arrow.ListType)
	if !ok {
		return nil, noReader(node, t)
	}
	item, err := nullableReader(node.Items, list.Elem())
	if err != nil {
		return nil, err
	}
	return func(c *cursor, b array.Builder) {
		lb := b.(*array.ListBuilder)
		lb.Append(true)
		values := lb.ValueBuilder()
		c.items(func() { item(c, values) })
	}, nil
}

func mapReader(node *avro.SchemaNode, t arrow.DataType) (readFunc, error) {
	m, ok := t.(*arrow.MapType)
	if !ok || m.KeyType().ID() != arrow.STRING {
		return nil, noReader(node, t)
	}
	item, err := nullableReader(node.Values, m.ItemType())
	if err != nil {
		return nil, err
	}
	return func(c *cursor, b array.Builder) {
		mb := b.(*array.MapBuilder)
		mb.Append(true)
		keys, items := mb.KeyBuilder().(*array.StringBuilder), mb.ItemBuilder()
		c.items(func() {
			keys.BinaryBuilder.Append(c.bytes())
			item(c, items)
		})
	}, nil
}

// recordReader reads a nested record as a struct, field by name.
func recordReader(node *avro.SchemaNode, t arrow.DataType) (readFunc, error) {
	st, ok := t.(*arrow.StructType)
	if !ok {
		return nil, noReader(node, t)
	}
	var fields []fieldDecoder
	found := make([]bool, st.NumFields())
	for i := range node.Fields {
		f := &node.Fields[i]
		at, ok := st.FieldIdx(f.Name)
		if !ok {
			fields = append(fields, fieldDecoder{name: f.Name, column: -1, skip: skipper(&f.Type)})
			continue
		}
		read, err := nullableReader(&f.Type, st.Field(at).Type)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
		found[at] = true
		fields = append(fields, fieldDecoder{name: f.Name, column: at, read: read})
	}
	return func(c *cursor, b array.Builder) {
		sb := b.(*array.StructBuilder)
		sb.Append(true)
		for i := range fields {
			if f := &fields[i]; f.column < 0 {
				f.skip(c)
			} else {
				f.read(c, sb.FieldBuilder(f.column))
			}
		}
		for i, ok := range found {
			if !ok {
				sb.FieldBuilder(i).AppendNull()
			}
		}
	}, nil
}
