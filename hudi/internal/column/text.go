package column

import (
	"bytes"
	"fmt"
	"math/bits"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// Text returns a function that appends a row's value as text, as Java writes it:
// times as the number that they hold, decimals with all digits of their scale. Texts and
// bytes are for the caller.
func Text(col arrow.Array) (func(dst []byte, row int) []byte, error) {
	switch col := col.(type) {
	case *array.Int8:
		return integers(col.Int8Values()), nil
	case *array.Int16:
		return integers(col.Int16Values()), nil
	case *array.Int32:
		return integers(col.Int32Values()), nil
	case *array.Int64:
		return integers(col.Int64Values()), nil
	case *array.Timestamp:
		return integers(col.TimestampValues()), nil
	case *array.Time32:
		return integers(col.Time32Values()), nil
	case *array.Time64:
		return integers(col.Time64Values()), nil
	case *array.Date32:
		return func(dst []byte, row int) []byte { return appendDate(dst, col.Value(row)) }, nil
	case *array.Boolean:
		return func(dst []byte, row int) []byte { return strconv.AppendBool(dst, col.Value(row)) }, nil
	case *array.Float32:
		return func(dst []byte, row int) []byte { return appendFloat(dst, float64(col.Value(row)), 32) }, nil
	case *array.Float64:
		return func(dst []byte, row int) []byte { return appendFloat(dst, col.Value(row), 64) }, nil
	case *array.Decimal128:
		scale := int(col.DataType().(*arrow.Decimal128Type).Scale)
		return func(dst []byte, row int) []byte { return appendDecimal(dst, col.Value(row), scale) }, nil
	}
	return nil, fmt.Errorf("no text for %s", col.DataType())
}

func integers[T ~int8 | ~int16 | ~int32 | ~int64](values []T) func([]byte, int) []byte {
	return func(dst []byte, row int) []byte { return strconv.AppendInt(dst, int64(values[row]), 10) }
}

// appendDate appends a date as java.time.LocalDate prints it.
func appendDate(dst []byte, d arrow.Date32) []byte {
	year, month, day := time.Unix(int64(d)*86400, 0).UTC().Date()
	switch {
	case year < 0:
		dst = append(dst, '-')
		year = -year
	case year > 9999:
		dst = append(dst, '+')
	}
	dst = appendPadded(dst, year, 4)
	dst = append(dst, '-')
	dst = appendPadded(dst, int(month), 2)
	dst = append(dst, '-')
	return appendPadded(dst, day, 2)
}

func appendPadded(dst []byte, n, width int) []byte {
	for limit := 10; width > 1; width-- {
		if n < limit {
			dst = append(dst, "000"[:width-1]...)
			break
		}
		limit *= 10
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

// appendFloat appends a float as Double.toString and Float.toString (of Java 19
// and later) print it: the shortest digits that say it, but at least two.
func appendFloat(dst []byte, v float64, size int) []byte {
	if v != v {
		return append(dst, "NaN"...)
	}
	abs := v
	if v < 0 {
		abs = -v
	}
	switch {
	case abs > 0 && abs*0 != 0:
		if v < 0 {
			dst = append(dst, '-')
		}
		return append(dst, "Infinity"...)
	case abs == 0 || abs >= 1e-3 && abs < 1e7:
		from := len(dst)
		dst = strconv.AppendFloat(dst, v, 'f', -1, size)
		if bytes.IndexByte(dst[from:], '.') < 0 {
			dst = append(dst, ".0"...)
		}
		return dst
	}
	var buf [32]byte
	digits := strconv.AppendFloat(buf[:0], v, 'e', -1, size)
	if bytes.IndexByte(digits, '.') < 0 {
		digits = strconv.AppendFloat(buf[:0], v, 'e', 1, size)
	}
	mantissa, exponent, _ := bytes.Cut(digits, []byte("e"))
	dst = append(append(dst, mantissa...), 'E')
	if exponent[0] == '-' {
		dst = append(dst, '-')
	}
	return append(dst, bytes.TrimLeft(exponent[1:], "0")...)
}

// appendDecimal appends a decimal with all digits of its scale, never with an exponent.
func appendDecimal(dst []byte, v decimal128.Num, scale int) []byte {
	if v.Sign() < 0 {
		dst = append(dst, '-')
		v = v.Negate()
	}
	var buf [40]byte
	digits := appendUint128(buf[:0], uint64(v.HighBits()), v.LowBits())
	if pad := scale + 1 - len(digits); pad > 0 {
		dst = append(dst, "0."...)
		for range pad - 1 {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	dst = append(dst, digits[:len(digits)-scale]...)
	if scale > 0 {
		dst = append(append(dst, '.'), digits[len(digits)-scale:]...)
	}
	return dst
}

// appendUint128 appends hi*2^64+lo in decimal.
func appendUint128(dst []byte, hi, lo uint64) []byte {
	const chunk = 1e18
	if hi == 0 {
		return strconv.AppendUint(dst, lo, 10)
	}
	q1, r := hi/chunk, hi%chunk
	q0, r := bits.Div64(r, lo, chunk)
	dst = appendUint128(dst, q1, q0)
	from := len(dst)
	dst = append(dst, "000000000000000000"...)
	for i := len(dst) - 1; i >= from; i-- {
		dst[i] = byte('0' + r%10)
		r /= 10
	}
	return dst
}
