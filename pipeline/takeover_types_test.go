package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
)

// TestReadDebezium reads values in the forms in which Debezium, HoodieStreamer and exports of databases have them.
func TestReadDebezium(t *testing.T) {
	text, micros := arrow.BinaryTypes.String, arrow.FixedWidthTypes.Timestamp_us
	long, days := arrow.PrimitiveTypes.Int64, arrow.FixedWidthTypes.Date32
	money := &arrow.Decimal128Type{Precision: 10, Scale: 2}
	pair := arrow.StructOf(arrow.Field{Name: "scale", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "value", Type: arrow.BinaryTypes.Binary})
	for _, c := range []struct {
		sql      string
		to, from arrow.DataType
		value    string // as JSON
		want     string // "!": the column is refused, "!words": the value is
	}{
		{"integer", arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int32, `7`, "7"},
		{"bigint", long, arrow.PrimitiveTypes.Int32, `7`, "7"},
		{"integer", arrow.PrimitiveTypes.Int32, long, `7`, "!"},
		{"double precision", arrow.PrimitiveTypes.Float64, arrow.PrimitiveTypes.Float32, `0.5`, "0.5"},
		{"boolean", arrow.FixedWidthTypes.Boolean, arrow.FixedWidthTypes.Boolean, `true`, "true"},
		{"bytea", arrow.BinaryTypes.Binary, arrow.BinaryTypes.Binary, `"AAE="`, "AAE="},
		{"bytea", arrow.BinaryTypes.Binary, text, `"x"`, "!"},
		{"text", text, text, `"x"`, "x"},
		{"public.mood", text, text, `"happy"`, "happy"},
		{"uuid", text, text, `null`, "(null)"},
		{"text[]", text, text, `"[a, b]"`, "!"},
		{"interval", text, text, `"P1Y"`, "!"},
		{"interval", text, long, `1`, "!"},
		{"public.hstore", text, text, `"{}"`, "!"},
		{"money", text, money, `"1.5"`, "!"},
		{"bit(3)", text, arrow.BinaryTypes.Binary, `"AA=="`, "!"},
		{"time with time zone", text, text, `"10:00:00Z"`, "!"},
		{"numeric(10,2)", money, money, `"1.50"`, "1.5"},
		{"numeric(10,2)", money, &arrow.Decimal128Type{Precision: 8, Scale: 2}, `"-1.50"`, "-1.5"},
		{"numeric(10,2)", money, &arrow.Decimal128Type{Precision: 10, Scale: 4}, `"1.5"`, "!"},
		{"numeric(10,2)", money, text, `"-12345678.90"`, "-12345678.9"},
		{"numeric(10,2)", money, text, `"1.005"`, "!1.005"},
		{"numeric(10,2)", money, text, `"123456789.00"`, "!123456789.00"},
		{"numeric(10,2)", money, text, `"NaN"`, "!NaN"},
		{"numeric(10,2)", money, arrow.PrimitiveTypes.Float64, `1.5`, "!"},
		{"numeric", &arrow.Decimal128Type{Precision: 38, Scale: 18}, pair, `{"scale": 3, "value": "/4Y="}`, "-0.122"},
		{"numeric", &arrow.Decimal128Type{Precision: 38, Scale: 18}, pair, `{"scale": 19, "value": "AQ=="}`, "!no number"},
		{"numeric", &arrow.Decimal128Type{Precision: 38, Scale: 18}, pair, `{"scale": -1, "value": "AQ=="}`, "!no number"},
		{"date", days, arrow.PrimitiveTypes.Int32, `-1`, "1969-12-31"},
		{"date", days, text, `"2026-11-05"`, "2026-11-05"},
		{"date", days, text, `"infinity"`, "!infinity"},
		{"timestamp without time zone", micros, long, `1000001`, "1970-01-01T00:00:01.000001Z"},
		{"timestamp(3) without time zone", micros, long, `1001`, "1970-01-01T00:00:01.001Z"},
		{"timestamp(6) without time zone", micros, long, `-1`, "1969-12-31T23:59:59.999999Z"},
		{"timestamp without time zone", micros, arrow.FixedWidthTypes.Timestamp_ms, `"1970-01-01T00:00:01.001Z"`, "1970-01-01T00:00:01.001Z"},
		{"timestamp without time zone", micros, text, `"2026-11-05 07:08:09.5"`, "2026-11-05T07:08:09.5Z"},
		{"timestamp with time zone", micros, text, `"2026-11-05T07:08:09.123456Z"`, "2026-11-05T07:08:09.123456Z"},
		{"timestamp with time zone", micros, text, `"2026-11-05 07:08:09.5+02"`, "2026-11-05T05:08:09.5Z"},
		{"timestamp with time zone", micros, text, `"2026-11-05 07:08:09+05:30"`, "2026-11-05T01:38:09Z"},
		{"timestamp with time zone", micros, text, `"2026-11-05 07:08:09"`, "!no time"},
		{"timestamp with time zone", micros, text, `"infinity"`, "!infinity"},
		{"timestamp with time zone", micros, long, `1`, "!"},
		{"public.moment", micros, long, `1`, "!"},
		{"time without time zone", text, long, `43200000000`, "12:00:00"},
		{"time without time zone", text, long, `86400000000`, "24:00:00"},
		{"time without time zone", text, long, `3723000400`, "01:02:03.0004"},
		{"time without time zone", text, long, `-1`, "!no time of a day"},
		{"time(3) without time zone", text, arrow.PrimitiveTypes.Int32, `1500`, "00:00:01.5"},
		{"time without time zone", text, arrow.PrimitiveTypes.Int32, `1500`, "!"},
	} {
		t.Run(fmt.Sprint(c.sql, " ", c.from, " ", c.value), func(t *testing.T) {
			read, err := readDebezium(change.Column{Name: "c", Type: c.sql, Arrow: c.to}, c.from)
			if (err != nil) != (c.want == "!") {
				t.Fatalf("refused: %v, want %s", err, c.want)
			}
			if err != nil {
				return
			}
			in, _, err := array.FromJSON(mem, c.from, strings.NewReader("["+c.value+", null]"))
			if err != nil {
				t.Fatal(err)
			}
			out, err := read(in)
			if words, bad := strings.CutPrefix(c.want, "!"); bad {
				if err == nil || !strings.Contains(err.Error(), words) {
					t.Fatalf("%v, want an error that says %q", err, words)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !arrow.TypeEqual(out.DataType(), c.to) || out.Len() != 2 || !out.IsNull(1) || out.ValueStr(0) != c.want {
				t.Errorf("got %s: %s, want %s", out.DataType(), out, c.want)
			}
		})
	}
}
