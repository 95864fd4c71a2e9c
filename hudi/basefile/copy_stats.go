package basefile

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// maxStatBytes is the length from which on a value is no bound in statistics.
const maxStatBytes = 4096

// setType says how a column's values lie and compare.
func (l *leaf) setType() error {
	switch t := l.elem.Type.V; t {
	case format.Boolean:
		l.width, l.compare = 1, bytes.Compare // unpacked, a byte each
	case format.Int32:
		l.width, l.compare = 4, compareInt32
	case format.Int64:
		l.width, l.compare = 8, compareInt64
	case format.Int96:
		l.width = 12
	case format.Float:
		l.width, l.compare = 4, compareFloat32
	case format.Double:
		l.width, l.compare = 8, compareFloat64
	case format.ByteArray:
		l.compare = bytes.Compare
	case format.FixedLenByteArray:
		if l.width = int(l.elem.TypeLength.V); l.width < 1 || l.width > maxPageBytes {
			return damagedParquet("column %s: values of %d bytes", l.path, l.width)
		}
		l.compare = bytes.Compare
	default:
		return damagedParquet("column %s: type %d", l.path, t)
	}
	l.compareLogical()
	return nil
}

// compareLogical takes account of what the physical type does not say.
func (l *leaf) compareLogical() {
	converted := l.elem.ConvertedType
	_, isDecimal := l.elem.LogicalType.Value.(*format.DecimalType)
	switch {
	case isDecimal || converted.Valid && converted.V == deprecated.Decimal:
		if t := l.elem.Type.V; t == format.FixedLenByteArray || t == format.ByteArray {
			l.compare = compareBigEndian
		}
	case converted.Valid && converted.V >= deprecated.Uint8 && converted.V <= deprecated.Uint64, converted.Valid && converted.V == deprecated.Interval:
		l.compare = nil // not of our tables
	}
	if i, ok := l.elem.LogicalType.Value.(*format.IntType); ok && !i.IsSigned {
		l.compare = nil
	}
	if _, ok := l.elem.LogicalType.Value.(*format.Float16Type); ok {
		l.compare = nil
	}
}

func compareInt32(a, b []byte) int {
	return cmp.Compare(int32(binary.LittleEndian.Uint32(a)), int32(binary.LittleEndian.Uint32(b)))
}

func compareInt64(a, b []byte) int {
	return cmp.Compare(int64(binary.LittleEndian.Uint64(a)), int64(binary.LittleEndian.Uint64(b)))
}

func compareFloat32(a, b []byte) int {
	return cmp.Compare(math.Float32frombits(binary.LittleEndian.Uint32(a)), math.Float32frombits(binary.LittleEndian.Uint32(b)))
}

func compareFloat64(a, b []byte) int {
	return cmp.Compare(math.Float64frombits(binary.LittleEndian.Uint64(a)), math.Float64frombits(binary.LittleEndian.Uint64(b)))
}

// compareBigEndian orders signed numbers of any widths, as decimals are.
func compareBigEndian(a, b []byte) int {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(len(a), len(b))
	}
	if a[0]^b[0] >= 0x80 {
		return cmp.Compare(int8(a[0]), int8(b[0]))
	}
	if len(a) == len(b) {
		return bytes.Compare(a, b)
	}
	n := max(len(a), len(b))
	return bytes.Compare(signExtend(a, n), signExtend(b, n))
}

func signExtend(a []byte, n int) []byte {
	out := make([]byte, n)
	if a[0] >= 0x80 {
		for i := range n - len(a) {
			out[i] = 0xff
		}
	}
	copy(out[n-len(a):], a)
	return out
}

// valueStats are bounds of some values of a column.
type valueStats struct {
	min, max []byte // nil: there are none, or none that are known
	nulls    int64  // -1: not known
	values   int64  // that are not null
	unknown  bool   // there are values, and no bounds of them
}

// add widens the bounds by a value.
func (s *valueStats) add(l *leaf, v []byte) {
	s.values++
	switch {
	case l.compare == nil || s.unknown || len(v) > maxStatBytes || l.isNaN(v):
		s.unknown, s.min, s.max = true, nil, nil
	case s.min == nil:
		s.min, s.max = v, v
	case l.compare(v, s.min) < 0:
		s.min = v
	case l.compare(v, s.max) > 0:
		s.max = v
	}
}

// merge widens the bounds by those of other values.
func (s *valueStats) merge(l *leaf, o valueStats) {
	if s.nulls < 0 || o.nulls < 0 {
		s.nulls = -1
	} else {
		s.nulls += o.nulls
	}
	switch {
	case o.unknown:
		s.values += o.values
		s.unknown, s.min, s.max = true, nil, nil
	case o.min != nil:
		n := s.values + o.values
		s.add(l, o.min)
		s.add(l, o.max)
		s.values = n
	}
}

func (l *leaf) isNaN(v []byte) bool {
	switch l.elem.Type.V {
	case format.Float:
		return math.IsNaN(float64(math.Float32frombits(binary.LittleEndian.Uint32(v))))
	case format.Double:
		return math.IsNaN(math.Float64frombits(binary.LittleEndian.Uint64(v)))
	default:
		return false
	}
}

// bounds are min and max as statistics state them: a float zero has a sign that says
// that the other one may be there.
func (l *leaf) bounds(s valueStats) (low, high []byte) {
	low, high = bytes.Clone(s.min), bytes.Clone(s.max)
	if t := l.elem.Type.V; s.min != nil && (t == format.Float || t == format.Double) {
		if isZero(low) {
			low[len(low)-1] |= 0x80
		}
		if isZero(high) {
			high[len(high)-1] &^= 0x80
		}
	}
	return low, high
}

// isZero tells whether a little-endian float is zero of either sign.
func isZero(v []byte) bool {
	for _, b := range v[:len(v)-1] {
		if b != 0 {
			return false
		}
	}
	return v[len(v)-1]&0x7f == 0
}

// statistics are those of a column chunk; what is not known is left out.
func (l *leaf) statistics(s valueStats) thrift.Null[chunkStats] {
	var out chunkStats
	if s.nulls >= 0 {
		out.NullCount = thrift.New(s.nulls)
	}
	out.Min, out.Max = l.bounds(s)
	return thrift.New(out)
}

// chunkStats reads what a chunk's metadata says of its values.
func (l *leaf) chunkStats(m *chunkMeta) valueStats {
	st := m.Stats.V
	s := valueStats{nulls: -1, values: m.NumValues}
	if n := st.NullCount; n.Valid && n.V >= 0 && n.V <= m.NumValues {
		s.nulls, s.values = n.V, m.NumValues-n.V
	}
	if l.compare != nil && l.statBytes(st.Min) && l.statBytes(st.Max) {
		s.min, s.max = l.least(st.Min), st.Max
	} else {
		s.unknown = s.values > 0
	}
	return s
}

// statBytes tells whether a value in statistics is one of the column's.
func (l *leaf) statBytes(v []byte) bool {
	return v != nil && (l.width == 0 || len(v) == l.width)
}
