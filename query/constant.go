//go:build cgo && !nosql

package query

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/scalar"
)

// constant is a value of a query as one that a column of a type is compared with, where
// DuckDB compares the two in the column's type. Floats are not among them: a bound that
// is rounded in another way would lose rows.
func (s *selectScope) constant(n ast, t arrow.DataType) (scalar.Scalar, bool) {
	cast := ""
	if n.text("type") == "OPERATOR_CAST" && n["try_cast"] != true {
		cast = n.child("cast_type").text("id")
		n = n.child("child")
	}
	value := n.child("value")
	if n.text("type") != "VALUE_CONSTANT" || value["is_null"] != false {
		return nil, false
	}
	kind := value.child("type").text("id")
	text, isText := value["value"].(string)
	number, isNumber := value["value"].(json.Number)
	switch {
	case isText && kind == "VARCHAR":
		return s.textConstant(text, cast, t)
	case isNumber && cast == "":
		return numberConstant(number.String(), kind, value.child("type").child("type_info"), t)
	}
	return nil, false
}

// textConstant is a text, or what a cast makes of it.
func (s *selectScope) textConstant(text, cast string, t arrow.DataType) (scalar.Scalar, bool) {
	switch t := t.(type) {
	case *arrow.StringType:
		return scalar.NewStringScalar(text), cast == "" || cast == "VARCHAR"
	case *arrow.Date32Type:
		day, err := time.Parse(time.DateOnly, text)
		return scalar.NewDate32Scalar(arrow.Date32FromTime(day)), err == nil && (cast == "" || cast == "DATE")
	case *arrow.TimestampType:
		want := "TIMESTAMP"
		if t.TimeZone != "" {
			want = "TIMESTAMP WITH TIME ZONE"
		}
		if cast != "" && cast != want {
			return nil, false
		}
		return timeConstant(text, t)
	}
	return nil, false
}

// timeLayouts are the times that both sides read alike; those with a zone are for columns
// with one.
var timeLayouts = map[bool][]string{
	false: {"2006-01-02 15:04:05", "2006-01-02T15:04:05", time.DateOnly},
	true:  {"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z07", time.RFC3339},
}

func timeConstant(text string, t *arrow.TimestampType) (scalar.Scalar, bool) {
	layouts := timeLayouts[false]
	if t.TimeZone != "" {
		layouts = append(timeLayouts[true], layouts...)
	}
	for _, layout := range layouts {
		at, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		unit := t.Unit.Multiplier()
		if at.Year() < 1 || at.Year() > 9999 || at.Nanosecond()%int(max(unit, time.Microsecond)) != 0 {
			return nil, false
		}
		v, err := arrow.TimestampFromTime(at, t.Unit)
		return scalar.NewTimestampScalar(v, t), err == nil
	}
	return nil, false
}

// numberConstant is an integer or a decimal.
func numberConstant(text, kind string, info ast, t arrow.DataType) (scalar.Scalar, bool) {
	v, err := json.Number(text).Int64()
	if err != nil {
		return nil, false
	}
	decimal, isDecimal := t.(*arrow.Decimal128Type)
	switch kind {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT":
		switch {
		case t.ID() == arrow.INT64, t.ID() == arrow.INT32 && v >= math.MinInt32 && v <= math.MaxInt32:
			return scalar.NewInt64Scalar(v), true
		case isDecimal:
			return decimalConstant(text, 0, decimal)
		}
	case "DECIMAL":
		scale, err := json.Number(info.number("scale")).Int64()
		if err == nil && isDecimal {
			return decimalConstant(text, int(scale), decimal)
		}
	}
	return nil, false
}

func (n ast) number(key string) string { v, _ := n[key].(json.Number); return v.String() }

// decimalConstant is a number without its point, of so many digits behind it.
func decimalConstant(digits string, scale int, t *arrow.Decimal128Type) (scalar.Scalar, bool) {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	whole, rest := digits[:len(digits)-scale], strings.TrimRight(digits[len(digits)-scale:], "0")
	if len(rest) > int(t.Scale) || len(strings.TrimLeft(whole, "0")) > int(t.Precision-t.Scale) {
		return nil, false
	}
	return scalar.NewStringScalar(sign + whole + "." + rest + "0"), true
}
