package hudi

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"math/big"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/logfile"
)

// ordering compares the values of the ordering fields, in the types that the table
// has for them. A null comes before all values.
//
// Winners of a merge keep the values of one field of at most 64 bits as a number, and
// all others as bytes in an arena, in a form whose order is that of the values.
type ordering struct {
	fields []orderField
	wide   bool // kept in the arena
	arena  []byte
	waste  int // bytes of the arena that no winner has any more
	key    []byte
}

type orderField struct {
	name  string
	typ   arrow.DataType
	class orderClass
}

// orderClass is how values of a type compare.
type orderClass int

const (
	orderNone orderClass = iota
	orderNumber
	orderFloat
	orderDecimal
	orderText
)

func orderClassOf(t arrow.DataType) orderClass {
	switch t.ID() {
	case arrow.BOOL, arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.DATE32, arrow.TIME32, arrow.TIME64, arrow.TIMESTAMP:
		return orderNumber
	case arrow.FLOAT32, arrow.FLOAT64:
		return orderFloat
	case arrow.DECIMAL128:
		return orderDecimal
	case arrow.STRING, arrow.LARGE_STRING, arrow.BINARY, arrow.LARGE_BINARY, arrow.FIXED_SIZE_BINARY:
		return orderText
	default:
		return orderNone
	}
}

// newOrdering makes the ordering by these columns of a schema; nil for none of them.
func newOrdering(names []string, schema *arrow.Schema) (*ordering, error) {
	if len(names) == 0 {
		return nil, nil //nolint:nilnil // no ordering is an answer
	}
	o := &ordering{wide: len(names) > 1}
	for _, name := range names {
		f, ok := schema.FieldsByName(name)
		if !ok {
			return nil, &UnsupportedError{"ordering field", name, "the table has no such column"}
		}
		class := orderClassOf(f[0].Type)
		if class == orderNone {
			return nil, &UnsupportedError{"ordering field", name, "values of " + f[0].Type.String() + " have no order"}
		}
		o.wide = o.wide || class == orderDecimal || class == orderText
		o.fields = append(o.fields, orderField{name, f[0].Type, class})
	}
	return o, nil
}

// orderKey is what a record has in the ordering fields: a number, or bytes that are
// valid until the next one is made.
type orderKey struct {
	number int64
	bytes  []byte
	zero   bool // all of it is null, or the int 0: in a delete, that it goes without order
}

// keyOf makes the key of values, one for each field, in the fields' types.
func (o *ordering) keyOf(values []logfile.Value) orderKey {
	zero := true
	for i, v := range values {
		zero = zero && (!v.Valid || o.fields[i].typ.ID() == arrow.INT32 && v.Int == 0)
	}
	if !o.wide {
		return orderKey{number: o.fields[0].number(values[0]), zero: zero}
	}
	o.key = o.key[:0]
	for i, v := range values {
		o.key = o.fields[i].append(o.key, v)
	}
	return orderKey{bytes: o.key, zero: zero}
}

// number is a value of a class that 64 bits can order.
func (f *orderField) number(v logfile.Value) int64 {
	switch {
	case !v.Valid:
		return math.MinInt64
	case f.class == orderFloat:
		return floatOrder(v.Float)
	}
	return v.Int
}

// floatOrder orders floats as Java does: -0 before 0, and NaN, of which there is one,
// after all others.
func floatOrder(v float64) int64 {
	if v != v {
		v = math.NaN()
	}
	bits := int64(math.Float64bits(v))
	return bits ^ (bits >> 63 & math.MaxInt64)
}

// append appends a value in bytes that order as the values do, and that no other
// value's begin with.
func (f *orderField) append(dst []byte, v logfile.Value) []byte {
	if !v.Valid {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	switch f.class {
	case orderDecimal:
		return append(dst, v.Bytes...) // normal makes it so
	case orderText:
		for _, b := range v.Bytes {
			if dst = append(dst, b); b == 0 {
				dst = append(dst, 0xff)
			}
		}
		return append(dst, 0, 0)
	default:
		return binary.BigEndian.AppendUint64(dst, uint64(f.number(v))^1<<63)
	}
}

// decimalOrder is an unscaled decimal, a two's complement, in 33 bytes of the scale 38
// that order as the values do: any decimal of up to 38 digits fits.
func decimalOrder(unscaled *big.Int, scale int) []byte {
	var out [33]byte
	n := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(38-scale, 0))), nil)
	n.Mul(n, unscaled)
	n.Add(n, new(big.Int).Lsh(big.NewInt(1), 8*uint(len(out))-1))
	if n.Sign() < 0 || n.BitLen() > 8*len(out) {
		return bytes.Repeat([]byte{byte(min(max(n.Sign(), 0), 1) * 0xff)}, len(out))
	}
	return n.FillBytes(out[:])
}

// signed is a big-endian two's complement as a number.
func signed(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), 8*uint(len(b))))
	}
	return n
}

// normal makes of a value, as a log record of type from has it, one of the field's
// type; ok is false where the two do not compare.
func (f *orderField) normal(v logfile.Value, from arrow.DataType) (logfile.Value, bool) {
	if !v.Valid {
		return v, true
	}
	class := orderClassOf(from)
	switch {
	case f.class == orderFloat && class == orderNumber:
		v.Float = float64(v.Int)
	case f.class == orderDecimal && class == orderNumber:
		v.Bytes = decimalOrder(big.NewInt(v.Int), 0)
	case f.class != class:
		return v, false
	case f.class == orderDecimal:
		v.Bytes = decimalOrder(signed(v.Bytes), int(from.(*arrow.Decimal128Type).Scale))
	case f.typ.ID() == arrow.TIMESTAMP && from.ID() == arrow.TIMESTAMP:
		v.Int = inUnit(v.Int, from.(*arrow.TimestampType).Unit, f.typ.(*arrow.TimestampType).Unit)
	case f.typ.ID() == arrow.FLOAT32 && from.ID() == arrow.FLOAT64:
		v.Float = float64(float32(v.Float))
	}
	return v, true
}

// inUnit is a time in another unit, rounded down.
func inUnit(v int64, from, to arrow.TimeUnit) int64 {
	a, b := int64(from.Multiplier()), int64(to.Multiplier())
	if a >= b {
		return v * (a / b)
	}
	q := v / (b / a)
	if v < 0 && v%(b/a) != 0 {
		q--
	}
	return q
}

// deleteTypes are the types of a delete block's wrappers.
var deleteTypes = map[logfile.OrderingKind]arrow.DataType{
	logfile.BooleanOrdering: arrow.FixedWidthTypes.Boolean, logfile.IntOrdering: arrow.PrimitiveTypes.Int32,
	logfile.LongOrdering: arrow.PrimitiveTypes.Int64, logfile.FloatOrdering: arrow.PrimitiveTypes.Float32,
	logfile.DoubleOrdering: arrow.PrimitiveTypes.Float64, logfile.BytesOrdering: arrow.BinaryTypes.Binary,
	logfile.StringOrdering: arrow.BinaryTypes.String, logfile.DateOrdering: arrow.FixedWidthTypes.Date32,
	logfile.DecimalOrdering:    &arrow.Decimal128Type{Precision: 30, Scale: 15},
	logfile.TimeMicrosOrdering: arrow.FixedWidthTypes.Time64us, logfile.TimestampMicrosOrdering: arrow.FixedWidthTypes.Timestamp_us,
}

// deleteKey makes the key of a delete's ordering value; ok is false where the delete
// goes without order, also because its value does not compare with the columns'.
func (o *ordering) deleteKey(d logfile.Ordering) (key orderKey, ok bool) {
	items := []logfile.Ordering{d}
	if d.Kind == logfile.ArrayOrdering {
		items = d.Items
	}
	if d.Natural() || len(items) != len(o.fields) {
		return key, false
	}
	values := make([]logfile.Value, len(items))
	for i, it := range items {
		if it.Kind == logfile.NoOrdering {
			continue
		}
		v := logfile.Value{Valid: true, Int: it.Int, Float: it.Float, Bytes: it.Bytes}
		if values[i], ok = o.fields[i].normal(v, deleteTypes[it.Kind]); !ok {
			return key, false
		}
	}
	return o.keyOf(values), true
}

// columns are the ordering fields' columns of a batch, which has them in the table's
// types; nil where one is missing.
func (o *ordering) columns(batch arrow.RecordBatch) []arrow.Array {
	columns := make([]arrow.Array, len(o.fields))
	for i, f := range o.fields {
		at := batch.Schema().FieldIndices(f.name)
		if len(at) == 0 {
			return nil
		}
		columns[i] = batch.Column(at[0])
	}
	return columns
}

// rowKey makes the key of a row of these columns.
func (o *ordering) rowKey(columns []arrow.Array, row int, values []logfile.Value) orderKey {
	for i, col := range columns {
		values[i] = orderValue(col, row) //nolint:gosec // one value for each column
	}
	return o.keyOf(values)
}

// orderValue is a value of an ordering column.
func orderValue(col arrow.Array, row int) logfile.Value {
	if col.IsNull(row) {
		return logfile.Value{}
	}
	v := logfile.Value{Valid: true}
	switch col := col.(type) {
	case *array.Boolean:
		if col.Value(row) {
			v.Int = 1
		}
	case *array.Int8:
		v.Int = int64(col.Value(row))
	case *array.Int16:
		v.Int = int64(col.Value(row))
	case *array.Int32:
		v.Int = int64(col.Value(row))
	case *array.Int64:
		v.Int = col.Value(row)
	case *array.Date32:
		v.Int = int64(col.Value(row))
	case *array.Time32:
		v.Int = int64(col.Value(row))
	case *array.Time64:
		v.Int = int64(col.Value(row))
	case *array.Timestamp:
		v.Int = int64(col.Value(row))
	case *array.Float32:
		v.Float = float64(col.Value(row))
	case *array.Float64:
		v.Float = col.Value(row)
	case *array.Decimal128:
		v.Bytes = decimalOrder(col.Value(row).BigInt(), int(col.DataType().(*arrow.Decimal128Type).Scale))
	case *array.String:
		v.Bytes = []byte(col.Value(row))
	case *array.LargeString:
		v.Bytes = []byte(col.Value(row))
	case *array.Binary:
		v.Bytes = col.Value(row)
	case *array.LargeBinary:
		v.Bytes = col.Value(row)
	case *array.FixedSizeBinary:
		v.Bytes = col.Value(row)
	}
	return v
}

// compare compares a key with one that is kept.
func (o *ordering) compare(k orderKey, kept int64) int {
	if !o.wide {
		return cmp.Compare(k.number, kept)
	}
	return bytes.Compare(k.bytes, o.kept(kept))
}

// keep keeps a key; the number finds it again.
func (o *ordering) keep(k orderKey) int64 {
	if !o.wide {
		return k.number
	}
	at := len(o.arena)
	o.arena = binary.AppendUvarint(o.arena, uint64(len(k.bytes)))
	o.arena = append(o.arena, k.bytes...)
	return int64(at)
}

func (o *ordering) kept(at int64) []byte {
	n, size := binary.Uvarint(o.arena[at:])
	from := int(at) + size
	return o.arena[from : from+int(n)]
}

// forget says that a kept key is no winner's any more, and whether so much is wasted
// that the winners' keys had better be kept anew.
func (o *ordering) forget(at int64) (tidy bool) {
	if !o.wide {
		return false
	}
	o.waste += len(o.kept(at)) + 1
	return o.waste > 1<<20 && o.waste > len(o.arena)/2
}
