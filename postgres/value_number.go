package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// Signs of PostgreSQL's binary numeric, beside 0.
const (
	numericNegative = 0x4000
	numericNaN      = 0xC000
	numericInf      = 0xD000
	numericNegInf   = 0xF000
)

var (
	errNaN      = rangeError("NaN has no decimal")
	errInfinite = rangeError("infinity has no decimal")
)

// magnitude is an unsigned 128-bit number with a mark for overflow.
type magnitude struct {
	hi, lo   uint64
	overflow bool
}

// mulAdd makes m into m·f + a.
func (m *magnitude) mulAdd(f, a uint64) {
	h1, l1 := bits.Mul64(m.lo, f)
	h2, l2 := bits.Mul64(m.hi, f)
	lo, carry := bits.Add64(l1, a, 0)
	hi, c1 := bits.Add64(l2, h1, 0)
	hi, c2 := bits.Add64(hi, 0, carry)
	m.overflow = m.overflow || h2 != 0 || c1 != 0 || c2 != 0
	m.hi, m.lo = hi, lo
}

// shift multiplies m with 10^n.
func (m *magnitude) shift(n int) {
	for ; n > 0 && (m.hi|m.lo) != 0 && !m.overflow; n -= 18 {
		m.mulAdd(powers[min(n, 18)], 0)
	}
}

var powers = func() (p [19]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return
}()

// decimal is m with its sign, if it has no more digits than the precision.
func (m *magnitude) decimal(negative bool, precision int32) (decimal128.Num, error) {
	if m.overflow || m.hi > math.MaxInt64 {
		return decimal128.Num{}, errDigits(precision)
	}
	d := decimal128.New(int64(m.hi), m.lo)
	if !d.FitsInPrecision(precision) {
		return decimal128.Num{}, errDigits(precision)
	}
	if negative {
		d = d.Negate()
	}
	return d, nil
}

func errDigits(precision int32) error {
	return rangeError(fmt.Sprintf("the number has more digits than decimal(%d) holds", precision))
}

func errFraction(scale int32) error {
	return rangeError(fmt.Sprintf("the number has more than %d digits behind the point", scale))
}

// decimalFromBinary reads PostgreSQL's binary numeric: digits of base 10000, the
// first one worth 10000^weight.
func decimalFromBinary(v []byte, precision, scale int32) (decimal128.Num, error) {
	if len(v) < 8 {
		return decimal128.Num{}, errMalformed
	}
	n, weight := int(binary.BigEndian.Uint16(v)), int(int16(binary.BigEndian.Uint16(v[2:])))
	sign := binary.BigEndian.Uint16(v[4:])
	switch sign {
	case numericNaN:
		return decimal128.Num{}, errNaN
	case numericInf, numericNegInf:
		return decimal128.Num{}, errInfinite
	}
	v = v[8:]
	if len(v) != 2*n {
		return decimal128.Num{}, errMalformed
	}
	var m magnitude
	place := 4*weight + int(scale) // the power of ten, in the result, of the digit's unit
	for ; len(v) > 0; v, place = v[2:], place-4 {
		digit := uint64(binary.BigEndian.Uint16(v))
		switch {
		case place >= 0:
			m.mulAdd(10000, digit)
		case place > -4:
			if digit%powers[-place] != 0 {
				return decimal128.Num{}, errFraction(scale)
			}
			m.mulAdd(powers[4+place], digit/powers[-place])
		case digit != 0:
			return decimal128.Num{}, errFraction(scale)
		}
	}
	m.shift(place + 4)
	return m.decimal(sign == numericNegative, precision)
}

// decimalFromText reads what PostgreSQL prints for a numeric.
func decimalFromText(v []byte, precision, scale int32) (decimal128.Num, error) {
	switch string(v) {
	case "NaN":
		return decimal128.Num{}, errNaN
	case "Infinity", "-Infinity":
		return decimal128.Num{}, errInfinite
	}
	negative := len(v) > 0 && v[0] == '-'
	if negative {
		v = v[1:]
	}
	if len(v) == 0 {
		return decimal128.Num{}, errMalformed
	}
	var m magnitude
	left := int(scale) // digits that still belong behind the point
	point := false
	for _, ch := range v {
		switch {
		case ch == '.' && !point:
			point = true
		case ch < '0' || ch > '9':
			return decimal128.Num{}, errMalformed
		case !point:
			m.mulAdd(10, uint64(ch-'0'))
		case left > 0:
			m.mulAdd(10, uint64(ch-'0'))
			left--
		case ch != '0':
			return decimal128.Num{}, errFraction(scale)
		}
	}
	m.shift(left)
	return m.decimal(negative, precision)
}

// appendNumeric writes a binary numeric as PostgreSQL prints it, with all the
// digits behind the point that its display scale asks for.
func appendNumeric(dst, v []byte) ([]byte, error) {
	if len(v) < 8 || len(v) != 8+2*int(binary.BigEndian.Uint16(v)) {
		return dst, errMalformed
	}
	weight, scale := int(int16(binary.BigEndian.Uint16(v[2:]))), int(binary.BigEndian.Uint16(v[6:]))
	switch binary.BigEndian.Uint16(v[4:]) {
	case numericNaN:
		return append(dst, "NaN"...), nil
	case numericInf:
		return append(dst, "Infinity"...), nil
	case numericNegInf:
		return append(dst, "-Infinity"...), nil
	case numericNegative:
		dst = append(dst, '-')
	}
	digit := func(place int) uint64 { // of 10000^place
		if i := weight - place; i >= 0 && 8+2*i < len(v) {
			return uint64(binary.BigEndian.Uint16(v[8+2*i:]))
		}
		return 0
	}
	dst = strconv.AppendUint(dst, digit(max(weight, 0)), 10)
	for place := weight - 1; place >= 0; place-- {
		dst = appendPadded(dst, digit(place), 4)
	}
	if scale == 0 {
		return dst, nil
	}
	dst = append(dst, '.')
	end := len(dst) + scale
	for place := -1; len(dst) < end; place-- {
		dst = appendPadded(dst, digit(place), 4)
	}
	return dst[:end], nil
}

// appendPadded writes n in at least width digits.
func appendPadded(dst []byte, n uint64, width int) []byte {
	var b [20]byte
	s := strconv.AppendUint(b[:0], n, 10)
	for i := len(s); i < width; i++ {
		dst = append(dst, '0')
	}
	return append(dst, s...)
}

// appendFloat writes a float of 32 or 64 bits as PostgreSQL does: the shortest
// digits that read back as the same number, with an exponent for numbers that are
// very small or large.
func appendFloat(dst []byte, f float64, size int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	large := 15
	if size == 32 {
		large = 6
	}
	var b [32]byte
	e := strconv.AppendFloat(b[:0], f, 'e', -1, size)
	at := bytes.IndexByte(e, 'e')
	exp, err := strconv.Atoi(string(e[at+1:]))
	switch {
	case err != nil:
		panic("postgres: strconv wrote no exponent: " + string(e))
	case exp >= -4 && exp < large:
		return strconv.AppendFloat(dst, f, 'f', -1, size)
	}
	for digits := max(at-2, 0); onBound(e, f, size); digits++ {
		e = strconv.AppendFloat(b[:0], f, 'e', digits, size)
	}
	return append(dst, e...)
}

// onBound reports whether the decimal e lies exactly between f and a neighbour.
// Such digits read back as f under round-half-even, so strconv takes them;
// PostgreSQL does not rely on the reader's rounding. Only whole numbers beyond the mantissa can be so.
func onBound(e []byte, f float64, size int) bool {
	mantissa, up, down := 53, math.Nextafter(f, math.Inf(1)), math.Nextafter(f, math.Inf(-1))
	if size == 32 {
		g := float32(f)
		mantissa, up, down = 24, float64(math.Nextafter32(g, float32(math.Inf(1)))), float64(math.Nextafter32(g, float32(math.Inf(-1))))
	}
	if math.Abs(f) < math.Ldexp(1, mantissa) {
		return false
	}
	exact, ok := new(big.Rat).SetString(string(e))
	if !ok {
		return false
	}
	for _, neighbour := range []float64{up, down} {
		if math.IsInf(neighbour, 0) {
			continue
		}
		middle := new(big.Rat).SetFloat64(f)
		middle.Add(middle, new(big.Rat).SetFloat64(neighbour))
		middle.Quo(middle, big.NewRat(2, 1))
		if middle.Cmp(exact) == 0 {
			return true
		}
	}
	return false
}
