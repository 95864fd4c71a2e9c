package main

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// The canonical form of a row is one line of JSON with its keys in the order of the
// schema: decimals as strings, timestamps in UTC as 2026-01-02T03:04:05.000006,
// dates as 2026-01-02, bytes as base64, NaN and infinities as "nan", "inf", "-inf".
// Floats of 32 bits are shown as the float of 64 bits that they are. It is what
// Python's json.dumps prints of what Spark and hudi-rs return, so that two engines'
// rows can be compared as text.

// appendRow appends row i of a batch in canonical form.
func appendRow(dst []byte, rec arrow.RecordBatch, i int) []byte {
	dst = append(dst, '{')
	for c, col := range rec.Columns() {
		if c > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendString(dst, rec.ColumnName(c))
		dst = append(dst, ": "...)
		dst = appendValue(dst, col, i)
	}
	return append(dst, '}')
}

// appendValue appends one value as JSON.
func appendValue(dst []byte, a arrow.Array, i int) []byte {
	if a.IsNull(i) {
		return append(dst, "null"...)
	}
	switch a := a.(type) {
	case *array.List:
		return appendList(dst, a.ListValues(), a.ValueOffsets, i)
	case *array.LargeList:
		return appendList(dst, a.ListValues(), a.ValueOffsets, i)
	case *array.FixedSizeList:
		return appendList(dst, a.ListValues(), a.ValueOffsets, i)
	case *array.Struct:
		return appendStruct(dst, a, i)
	case *array.Map:
		return appendMap(dst, a, i)
	}
	text, quoted := valueText(a, i)
	if quoted {
		return appendString(dst, text)
	}
	return append(dst, text...)
}

// valueText is the text of a value that is not null, and whether JSON puts it in quotes.
func valueText(a arrow.Array, i int) (text string, quoted bool) {
	switch a := a.(type) {
	case *array.Boolean:
		return strconv.FormatBool(a.Value(i)), false
	case *array.Int32:
		return strconv.FormatInt(int64(a.Value(i)), 10), false
	case *array.Int64:
		return strconv.FormatInt(a.Value(i), 10), false
	case *array.Float32:
		return floatText(float64(a.Value(i)))
	case *array.Float64:
		return floatText(a.Value(i))
	case *array.String:
		return a.Value(i), true
	case *array.LargeString:
		return a.Value(i), true
	case *array.Binary:
		return base64.StdEncoding.EncodeToString(a.Value(i)), true
	case *array.LargeBinary:
		return base64.StdEncoding.EncodeToString(a.Value(i)), true
	case *array.FixedSizeBinary:
		return base64.StdEncoding.EncodeToString(a.Value(i)), true
	case *array.Decimal128:
		v := a.Value(i)
		return decimalText(v.BigInt().String(), int(a.DataType().(*arrow.Decimal128Type).Scale)), true
	case *array.Decimal256:
		v := a.Value(i)
		return decimalText(v.BigInt().String(), int(a.DataType().(*arrow.Decimal256Type).Scale)), true
	case *array.Date32:
		return time.Unix(int64(a.Value(i))*86400, 0).UTC().Format(time.DateOnly), true
	case *array.Timestamp:
		t := a.Value(i).ToTime(a.DataType().(*arrow.TimestampType).Unit)
		return t.UTC().Format("2006-01-02T15:04:05.000000"), true
	}
	// Other integers are numbers in JSON as they are; times of day and the like are text.
	return a.ValueStr(i), !arrow.IsInteger(a.DataType().ID())
}

// floatText is the shortest text that reads back the same, as Python writes it.
func floatText(v float64) (text string, quoted bool) {
	switch {
	case math.IsNaN(v):
		return "nan", true
	case math.IsInf(v, 1):
		return "inf", true
	case math.IsInf(v, -1):
		return "-inf", true
	}
	if abs := math.Abs(v); v != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(v, 'e', -1, 64), false
	}
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s, false
}

// decimalText puts the point into an unscaled number.
func decimalText(digits string, scale int) string {
	if scale <= 0 {
		return digits + strings.Repeat("0", -scale)
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

func appendList(dst []byte, values arrow.Array, offsets func(int) (int64, int64), i int) []byte {
	start, end := offsets(i)
	dst = append(dst, '[')
	for j := start; j < end; j++ {
		if j > start {
			dst = append(dst, ", "...)
		}
		dst = appendValue(dst, values, int(j))
	}
	return append(dst, ']')
}

func appendStruct(dst []byte, a *array.Struct, i int) []byte {
	dst = append(dst, '{')
	for f := range a.NumField() {
		if f > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendString(dst, a.DataType().(*arrow.StructType).Field(f).Name)
		dst = append(dst, ": "...)
		dst = appendValue(dst, a.Field(f), i)
	}
	return append(dst, '}')
}

func appendMap(dst []byte, a *array.Map, i int) []byte {
	start, end := a.ValueOffsets(i)
	dst = append(dst, '{')
	for j := start; j < end; j++ {
		if j > start {
			dst = append(dst, ", "...)
		}
		key, _ := valueText(a.Keys(), int(j))
		dst = appendString(dst, key)
		dst = append(dst, ": "...)
		dst = appendValue(dst, a.Items(), int(j))
	}
	return append(dst, '}')
}

// appendString appends a JSON string; only what must be is escaped.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r) // what is not UTF-8 becomes U+FFFD
			i += n
			continue
		}
		i++
		if k := strings.IndexByte("\"\\\n\r\t\b\f", c); k >= 0 {
			dst = append(dst, '\\', `"\nrtbf`[k])
		} else if c < 0x20 {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
