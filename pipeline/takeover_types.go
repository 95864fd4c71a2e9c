package pipeline

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"lakefeed/change"
)

// placeholder is what Debezium has for a value that the source's log did not have (unchanged TOAST).
const placeholder = "__debezium_unavailable_value"

// isPlaceholder reports whether a text or binary column has the placeholder in a row.
func isPlaceholder(a arrow.Array, row int) bool {
	switch a := a.(type) {
	case *array.String:
		return a.IsValid(row) && a.Value(row) == placeholder
	case *array.Binary:
		return a.IsValid(row) && string(a.Value(row)) == placeholder
	}
	return false
}

// otherTexts are types whose values Debezium, or Spark behind it, prints in another way than PostgreSQL does.
var otherTexts = []string{"interval", "hstore", "time ", "time(", "money", "bit", "point", "line", "lseg", "box", "path", "polygon", "circle", "geometry", "geography", "oidvector", "int2vector"}

// readDebezium is how a column in the type that Debezium and HoodieStreamer gave it becomes what we have for it:
// docs/adopt.md has the table. Values that it cannot tell for certain are an error that says why.
func readDebezium(c change.Column, from arrow.DataType) (func(arrow.Array) (arrow.Array, error), error) {
	name := strings.ToLower(c.Type)
	other := errors.New("values of " + c.Type + " that stand as " + from.String() + " are not certain to be the source's")
	switch to := c.Arrow.(type) {
	case *arrow.StringType:
		if strings.HasPrefix(name, "time") && strings.Contains(name, "without") {
			return readTime(name, from, other)
		}
		if from.ID() != arrow.STRING || strings.HasSuffix(name, "[]") || startsWithAny(name, otherTexts) {
			return nil, other
		}
		return as2(to), nil
	case *arrow.TimestampType:
		return readTimestamp(name, to, from, other)
	case *arrow.Date32Type:
		switch from.ID() {
		case arrow.INT32:
			return asDays, nil
		case arrow.STRING:
			return asDates, nil
		default:
		}
	case *arrow.Decimal128Type:
		return readDecimal(to, from, other)
	}
	if arrow.TypeEqual(from, c.Arrow) || widens(from, c.Arrow) {
		return as2(c.Arrow), nil
	}
	return nil, other
}

func startsWithAny(name string, with []string) bool {
	for _, w := range with {
		if strings.HasPrefix(name, w) || strings.HasPrefix(name[strings.LastIndexByte(name, '.')+1:], w) {
			return true
		}
	}
	return false
}

func as2(to arrow.DataType) func(arrow.Array) (arrow.Array, error) {
	return func(a arrow.Array) (arrow.Array, error) { return as(a, to) }
}

func asDays(a arrow.Array) (arrow.Array, error) {
	days := a.(*array.Int32)
	b := array.NewDate32Builder(mem)
	b.Reserve(a.Len())
	for row := range a.Len() {
		if a.IsNull(row) {
			b.AppendNull()
		} else {
			b.Append(arrow.Date32(days.Value(row)))
		}
	}
	return b.NewArray(), nil
}

// asDates reads dates as PostgreSQL prints them.
func asDates(a arrow.Array) (arrow.Array, error) {
	b := array.NewDate32Builder(mem)
	b.Reserve(a.Len())
	for row := range a.Len() {
		if a.IsNull(row) {
			b.AppendNull()
			continue
		}
		t, err := time.Parse(time.DateOnly, a.(*array.String).Value(row))
		if err != nil {
			return nil, fmt.Errorf("row with %q, which is no date as PostgreSQL prints it", a.(*array.String).Value(row))
		}
		b.Append(arrow.Date32FromTime(t))
	}
	return b.NewArray(), nil
}

// The forms of times with and without a zone, in ISO 8601 and as PostgreSQL prints them.
var (
	zonedForms = []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07", "2006-01-02 15:04:05.999999999Z07:00"}
	plainForms = []string{"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"}
)

// parseTime reads a time; one without a zone is that of the clock, in a column that has none.
func parseTime(text string, plain bool) (t time.Time, err error) {
	forms := zonedForms
	if plain {
		forms = append(forms[:1:1], plainForms...)
	}
	for _, form := range forms {
		if t, err = time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return t, fmt.Errorf("row with %q, which is no time in ISO 8601, nor as PostgreSQL prints it", text)
}

// milliseconds reports whether Debezium counts a time of this type in them, and not in microseconds.
func milliseconds(name string) bool {
	_, after, ok := strings.Cut(name, "(")
	return ok && after != "" && after[0] <= '3'
}

// readTimestamp reads microseconds, milliseconds where the type has no more than three digits of a second, or ISO 8601.
func readTimestamp(name string, to *arrow.TimestampType, from arrow.DataType, other error) (func(arrow.Array) (arrow.Array, error), error) {
	switch from := from.(type) {
	case *arrow.TimestampType:
		if from.Unit != arrow.Nanosecond {
			return as2(to), nil
		}
	case *arrow.Int64Type:
		if !strings.HasPrefix(name, "timestamp") || strings.Contains(name, "with time zone") {
			return nil, other
		}
		factor := int64(1)
		if milliseconds(name) {
			factor = 1000
		}
		return timestamps(to, func(a arrow.Array, row int) (int64, error) { return factor * a.(*array.Int64).Value(row), nil }), nil
	case *arrow.StringType:
		return timestamps(to, func(a arrow.Array, row int) (int64, error) {
			t, err := parseTime(a.(*array.String).Value(row), strings.Contains(name, "without"))
			return t.UnixMicro(), err
		}), nil
	}
	return nil, other
}

func timestamps(to *arrow.TimestampType, value func(arrow.Array, int) (int64, error)) func(arrow.Array) (arrow.Array, error) {
	return func(a arrow.Array) (arrow.Array, error) {
		b := array.NewTimestampBuilder(mem, to)
		b.Reserve(a.Len())
		for row := range a.Len() {
			if a.IsNull(row) {
				b.AppendNull()
				continue
			}
			v, err := value(a, row)
			if err != nil {
				return nil, err
			}
			b.Append(arrow.Timestamp(v))
		}
		return b.NewArray(), nil
	}
}

// readTime reads a time of the day in microseconds, or milliseconds, as PostgreSQL prints it.
func readTime(name string, from arrow.DataType, other error) (func(arrow.Array) (arrow.Array, error), error) {
	micros := func(a arrow.Array, row int) int64 { return a.(*array.Int64).Value(row) }
	switch {
	case from.ID() == arrow.STRING: // Debezium has none, and others print what PostgreSQL does
		return as2(arrow.BinaryTypes.String), nil
	case from.ID() == arrow.INT32 && milliseconds(name):
		micros = func(a arrow.Array, row int) int64 { return 1000 * int64(a.(*array.Int32).Value(row)) }
	case from.ID() != arrow.INT64 || milliseconds(name):
		return nil, other
	}
	return func(a arrow.Array) (arrow.Array, error) {
		b := array.NewStringBuilder(mem)
		for row := range a.Len() {
			if a.IsNull(row) {
				b.AppendNull()
				continue
			}
			text, err := clockText(micros(a, row))
			if err != nil {
				return nil, err
			}
			b.Append(text)
		}
		return b.NewArray(), nil
	}, nil
}

// clockText is a time of the day as PostgreSQL prints it: "24:00:00" is one.
func clockText(micros int64) (string, error) {
	if micros < 0 || micros > 86_400_000_000 {
		return "", fmt.Errorf("row with %d, which is no time of a day in microseconds", micros)
	}
	s := micros / 1e6
	text := fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
	if f := micros % 1e6; f != 0 {
		text += strings.TrimRight(fmt.Sprintf(".%06d", f), "0")
	}
	return text, nil
}

// readDecimal reads decimals, their texts, or Debezium's pair of an unscaled number and its scale.
func readDecimal(to *arrow.Decimal128Type, from arrow.DataType, other error) (func(arrow.Array) (arrow.Array, error), error) {
	switch from := from.(type) {
	case *arrow.Decimal128Type:
		if from.Scale == to.Scale && from.Precision <= to.Precision {
			return as2(to), nil
		}
	case *arrow.StringType:
		return decimals(to, func(a arrow.Array, row int) (*big.Rat, bool) {
			return new(big.Rat).SetString(a.(*array.String).Value(row))
		}), nil
	case *arrow.StructType:
		scale, ok1 := from.FieldIdx("scale")
		value, ok2 := from.FieldIdx("value")
		if ok1 && ok2 && from.Field(scale).Type.ID() == arrow.INT32 && from.Field(value).Type.ID() == arrow.BINARY {
			return decimals(to, func(a arrow.Array, row int) (*big.Rat, bool) {
				s := a.(*array.Struct)
				return scaled(s.Field(value).(*array.Binary).Value(row), s.Field(scale).(*array.Int32).Value(row))
			}), nil
		}
	}
	return nil, other
}

// scaled is a big-endian two's complement with so many digits behind the point.
func scaled(b []byte, scale int32) (*big.Rat, bool) {
	if scale < 0 || scale > 1000 || len(b) > 1000 {
		return nil, false
	}
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), 8*uint(len(b))))
	}
	return new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)), true
}

func decimals(to *arrow.Decimal128Type, value func(arrow.Array, int) (*big.Rat, bool)) func(arrow.Array) (arrow.Array, error) {
	unit := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(to.Scale)), nil))
	return func(a arrow.Array) (arrow.Array, error) {
		b := array.NewDecimal128Builder(mem, to)
		for row := range a.Len() {
			if a.IsNull(row) {
				b.AppendNull()
				continue
			}
			v, ok := value(a, row)
			if ok {
				v.Mul(v, unit)
				ok = v.IsInt() && v.Num().BitLen() < 128
			}
			if !ok {
				return nil, fmt.Errorf("row with %s, which is no number that %s holds", a.ValueStr(row), to)
			}
			n := decimal128.FromBigInt(v.Num())
			if !n.FitsInPrecision(to.Precision) {
				return nil, fmt.Errorf("row with %s, which is no number that %s holds", a.ValueStr(row), to)
			}
			b.Append(n)
		}
		return b.NewArray(), nil
	}
}
