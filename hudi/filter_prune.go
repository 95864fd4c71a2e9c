package hudi

import (
	"encoding/binary"
	"errors"
	"math"
	"net/url"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// bounds are what is known of some values of a column.
type bounds struct {
	low, high constant // of no kind: none are known
	values    bool     // there may be values
	nulls     bool     // there may be nulls
}

var anything = bounds{values: true, nulls: true}

// may tells whether the condition, which has no parts, may be true of one of the values.
func (c *condition) may(b bounds) bool {
	if c.op == filterNull {
		return b.nulls
	}
	if c.op == filterNotNull || !b.values || b.low.kind != kindOf(c.typ) {
		return b.values
	}
	switch c.op {
	case filterIn:
		for i := range c.values {
			above, ok := c.values[i].compare(&b.low)
			below, _ := c.values[i].compare(&b.high)
			if !ok || above >= 0 && below <= 0 {
				return true
			}
		}
		return false
	case filterNotIn:
		same, ok := b.low.compare(&b.high)
		return !ok || same != 0 || b.low.kind == floatConstant || c.holds(&b.low) // a float may be no number, which bounds leave out
	default:
	}
	v := &b.low
	if c.op == filterGreater || c.op == filterGreaterEqual {
		v = &b.high
	}
	order, ok := v.compare(&c.values[0])
	return !ok || inOrder(c.op, order)
}

// ranges are the rows of a row group of which the condition may be true.
func (c *condition) ranges(f *parquetFile, g int) ([]rowRange, error) {
	all := []rowRange{{0, f.meta.RowGroups[g].NumRows}}
	switch c.op {
	case filterAnd:
		out := all
		for i := range c.of {
			part, err := c.of[i].ranges(f, g)
			if err != nil {
				return nil, err
			}
			out = commonRanges(out, part)
		}
		return out, nil
	case filterOr:
		var out []rowRange
		for i := range c.of {
			part, err := c.of[i].ranges(f, g)
			if err != nil {
				return nil, err
			}
			out = joinRanges(out, part)
		}
		return out, nil
	default:
	}
	if leaf := f.leafOf(c.column); leaf >= 0 {
		return c.leafRanges(f, g, leaf)
	}
	return all, nil
}

// leafRanges are the pages of a column of which the condition may be true.
func (c *condition) leafRanges(f *parquetFile, g, leaf int) ([]rowRange, error) {
	l, group := &f.leaves[leaf], &f.meta.RowGroups[g]
	all := []rowRange{{0, group.NumRows}}
	if l.maxRep > 0 {
		return all, nil
	}
	if !c.may(l.boundsOf(l.chunkStats(&group.Columns[leaf].Meta), c.typ)) {
		return nil, nil
	}
	if group.Columns[leaf].ColumnIndexLength <= 0 {
		return all, nil
	}
	p, err := f.pages(g, leaf)
	if errors.Is(err, errNoCopy) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	var out []rowRange
	for i := range p.pages {
		pg := &p.pages[i]
		if pg.stats != nil && !c.may(l.boundsOf(*pg.stats, c.typ)) {
			continue
		}
		out = joinRanges(out, []rowRange{{pg.first, pg.first + pg.rows}})
	}
	return out, nil
}

// boundsOf reads statistics of a file as those of a column of the table.
func (l *leaf) boundsOf(s valueStats, t arrow.DataType) bounds {
	b := bounds{values: s.unknown || s.min != nil, nulls: s.nulls != 0}
	if s.min == nil || !l.isOf(t) {
		return b
	}
	low, ok := l.constant(s.min, t)
	high, also := l.constant(s.max, t)
	if ok && also {
		b.low, b.high = low, high
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
func (l *leaf) constant(v []byte, t arrow.DataType) (c constant, ok bool) {
	c.kind = kindOf(t)
	switch l.elem.Type.V {
	case format.Boolean:
		c.i = int64(v[0])
		return c, t.ID() == arrow.BOOL
	case format.Int32, format.Int64:
		if c.i = int64(int32(binary.LittleEndian.Uint32(v))); l.width == 8 {
			c.i = int64(binary.LittleEndian.Uint64(v))
		}
		c.d = decimal128.FromI64(c.i)
		c.f = float64(c.i)
		return c, c.kind == intConstant && t.ID() != arrow.BOOL || c.kind == decimalConstant
	case format.Float:
		c.f = float64(math.Float32frombits(binary.LittleEndian.Uint32(v)))
		return c, t.ID() == arrow.FLOAT32 // a double is read by the digits of a float, which is another number
	case format.Double:
		c.f = math.Float64frombits(binary.LittleEndian.Uint64(v))
		return c, c.kind == floatConstant && t.ID() == arrow.FLOAT64
	case format.ByteArray, format.FixedLenByteArray:
		if c.kind == decimalConstant {
			return c, bigEndianDecimal(v, &c.d)
		}
		c.b = v
		return c, c.kind == bytesConstant
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

// mayPartition tells whether the condition may be true of a row in a partition.
func (c *condition) mayPartition(p partitioning, path string) bool {
	switch c.op {
	case filterAnd:
		return !slices.ContainsFunc(c.of, func(part condition) bool { return !part.mayPartition(p, path) })
	case filterOr:
		return slices.ContainsFunc(c.of, func(part condition) bool { return part.mayPartition(p, path) })
	default:
		return c.may(p.boundsOf(path, c.column, c.typ))
	}
}

// boundsOf are those of a partition column, as the path of a partition states them.
func (p partitioning) boundsOf(path, column string, t arrow.DataType) bounds {
	at := slices.Index(p.fields, column)
	folders := strings.Split(path, "/")
	if at < 0 || len(folders) != len(p.fields) {
		return anything
	}
	text := folders[at]
	if p.hive {
		var ok bool
		if text, ok = strings.CutPrefix(text, column+"="); !ok {
			return anything
		}
	}
	if p.encode {
		var err error
		if text, err = url.PathUnescape(text); err != nil {
			return anything
		}
	}
	switch t.ID() {
	case arrow.STRING, arrow.INT32, arrow.INT64, arrow.BOOL, arrow.DATE32:
		if v, err := parseConstant(text, t); err == nil && text != defaultPartition {
			return bounds{low: v, high: v, values: true}
		}
	default: // others are written in several ways
	}
	return anything
}

// commonRanges and joinRanges are of ranges that are in order and apart.
func commonRanges(a, b []rowRange) []rowRange {
	var out []rowRange
	for len(a) > 0 && len(b) > 0 {
		if r := (rowRange{max(a[0].from, b[0].from), min(a[0].to, b[0].to)}); r.from < r.to {
			out = append(out, r)
		}
		if a[0].to < b[0].to {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

func joinRanges(a, b []rowRange) []rowRange {
	var out []rowRange
	for len(a) > 0 || len(b) > 0 {
		if len(a) == 0 || len(b) > 0 && b[0].from < a[0].from {
			a, b = b, a
		}
		r := a[0]
		a = a[1:]
		if n := len(out); n > 0 && r.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, r.to)
			continue
		}
		out = append(out, r)
	}
	return out
}
