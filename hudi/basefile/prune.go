package basefile

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// Bounds are what is known of some values of a column.
type Bounds struct {
	Low, High Value // of no kind: none are known
	Values    bool  // there may be values
	Nulls     bool  // there may be nulls
}

// Anything is what is known where nothing is stated.
var Anything = Bounds{Values: true, Nulls: true}

// RowsWhere are the pages of a column, as the table has it of type t, that may have a
// value of which may is true.
func (f *File) RowsWhere(g int, column string, t arrow.DataType, may func(Bounds) bool) ([]Range, error) {
	leaf := f.leafOf(column)
	if leaf < 0 || f.leaves[leaf].maxRep > 0 {
		return f.AllRows(g), nil
	}
	l, chunk := &f.leaves[leaf], &f.meta.RowGroups[g].Columns[leaf]
	if !may(l.boundsOf(l.chunkStats(&chunk.Meta), t)) {
		return nil, nil
	}
	if chunk.ColumnIndexLength <= 0 {
		return f.AllRows(g), nil
	}
	p, err := f.pages(g, leaf)
	if errors.Is(err, errNoCopy) {
		return f.AllRows(g), nil
	}
	if err != nil {
		return nil, err
	}
	var out []Range
	for i := range p.pages {
		pg := &p.pages[i]
		if pg.stats == nil || may(l.boundsOf(*pg.stats, t)) {
			out = Union(out, []Range{{pg.first, pg.first + pg.rows}})
		}
	}
	return out, nil
}

// boundsOf reads statistics of a file as those of a column of the table.
func (l *leaf) boundsOf(s valueStats, t arrow.DataType) Bounds {
	b := Bounds{Values: s.unknown || s.min != nil, Nulls: s.nulls != 0}
	if s.min == nil || !l.isOf(t) {
		return b
	}
	low, ok := l.value(s.min, t)
	high, also := l.value(s.max, t)
	if ok && also {
		b.Low, b.High = low, high
	}
	return b
}

// isOf tells whether numbers in the file mean what they mean in the table's column.
func (l *leaf) isOf(t arrow.DataType) bool {
	converted := deprecated.ConvertedType(-1)
	if l.elem.ConvertedType.Valid {
		converted = l.elem.ConvertedType.V
	}
	switch t := t.(type) {
	case *arrow.TimestampType:
		if ts, ok := l.elem.LogicalType.Value.(*format.TimestampType); ok {
			return strings.EqualFold(ts.Unit.String(), map[arrow.TimeUnit]string{arrow.Millisecond: "MILLIS", arrow.Microsecond: "MICROS"}[t.Unit])
		}
		return t.Unit == arrow.Microsecond && converted == deprecated.TimestampMicros || t.Unit == arrow.Millisecond && converted == deprecated.TimestampMillis
	case *arrow.Time32Type:
		return converted == deprecated.TimeMillis
	case *arrow.Time64Type:
		return converted == deprecated.TimeMicros
	case *arrow.Date32Type:
		return converted == deprecated.Date
	case *arrow.Decimal128Type:
		return converted == deprecated.Decimal && l.elem.Scale.V == t.Scale
	case *arrow.StringType, *arrow.BinaryType: // of numbers the bytes are in another order
		return converted != deprecated.Decimal
	case *arrow.Int32Type, *arrow.Int64Type:
		switch converted {
		case -1, deprecated.Int8, deprecated.Int16, deprecated.Int32, deprecated.Int64:
			return true
		default:
			return false
		}
	}
	return true
}

// constant reads a value of the file as one of the column.
func (l *leaf) value(v []byte, t arrow.DataType) (c Value, ok bool) {
	c.Kind = KindOf(t)
	switch l.elem.Type.V {
	case format.Boolean:
		c.Int = int64(v[0])
		return c, t.ID() == arrow.BOOL
	case format.Int32, format.Int64:
		if c.Int = int64(int32(binary.LittleEndian.Uint32(v))); l.width == 8 {
			c.Int = int64(binary.LittleEndian.Uint64(v))
		}
		c.Decimal = decimal128.FromI64(c.Int)
		c.Float = float64(c.Int)
		return c, c.Kind == IntKind && t.ID() != arrow.BOOL || c.Kind == DecimalKind
	case format.Float:
		c.Float = float64(math.Float32frombits(binary.LittleEndian.Uint32(v)))
		return c, t.ID() == arrow.FLOAT32 // a double is read by the digits of a float, which is another number
	case format.Double:
		c.Float = math.Float64frombits(binary.LittleEndian.Uint64(v))
		return c, c.Kind == FloatKind && t.ID() == arrow.FLOAT64
	case format.ByteArray, format.FixedLenByteArray:
		if c.Kind == DecimalKind {
			return c, bigEndianDecimal(v, &c.Decimal)
		}
		c.Bytes = v
		return c, c.Kind == BytesKind
	default:
		return c, false
	}
}

func bigEndianDecimal(v []byte, d *decimal128.Num) bool {
	if len(v) == 0 || len(v) > 16 {
		return false
	}
	full := signExtend(v, 16)
	*d = decimal128.New(int64(binary.BigEndian.Uint64(full)), binary.BigEndian.Uint64(full[8:]))
	return true
}

// Intersect are the rows of both, each of ranges that are in order and apart.
func Intersect(a, b []Range) []Range {
	var out []Range
	for len(a) > 0 && len(b) > 0 {
		if r := (Range{max(a[0].From, b[0].From), min(a[0].To, b[0].To)}); r.From < r.To {
			out = append(out, r)
		}
		if a[0].To < b[0].To {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// Union are the rows of either, each of ranges that are in order and apart.
func Union(a, b []Range) []Range {
	var out []Range
	for len(a) > 0 || len(b) > 0 {
		if len(a) == 0 || len(b) > 0 && b[0].From < a[0].From {
			a, b = b, a
		}
		r := a[0]
		a = a[1:]
		if n := len(out); n > 0 && r.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}
