package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// everything is a batch with a column of each type that tables have.
func everything(t *testing.T, json string) arrow.RecordBatch {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "b", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "i", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "l", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "f", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
		{Name: "d", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "n", Type: &arrow.Decimal128Type{Precision: 10, Scale: 4}, Nullable: true},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true},
		{Name: "rec", Type: arrow.StructOf(arrow.Field{Name: "x", Type: arrow.BinaryTypes.String, Nullable: true}), Nullable: true},
	}, nil)
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(json))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

const twoRows = `[
 {"b":true,"i":-1,"l":9007199254740993,"f":0.1,"d":1e16,"s":"a\"\\\n\u0001é🐘","n":"-0.5","day":"1582-10-04","at":"1969-12-31T23:59:59.999999Z","list":[1,null],"rec":{"x":"y"}},
 {}]`

func TestJSONL(t *testing.T) {
	var out bytes.Buffer
	w := &jsonlWriter{w: &out}
	if err := w.write(everything(t, twoRows)); err != nil {
		t.Fatal(err)
	}
	want := `{"b": true, "i": -1, "l": 9007199254740993, "f": 0.10000000149011612, "d": 1e+16, "s": "a\"\\\n\u0001é🐘", "n": "-0.5000", ` +
		`"day": "1582-10-04", "at": "1969-12-31T23:59:59.999999", "list": [1, null], "rec": {"x": "y"}}` + "\n" +
		`{"b": null, "i": null, "l": null, "f": null, "d": null, "s": null, "n": null, "day": null, "at": null, "list": null, "rec": null}` + "\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

func TestFloatText(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.0", 1: "1.0", -2.5: "-2.5", 1e15: "1000000000000000.0", 1e16: "1e+16", 1e-4: "0.0001", 1e-5: "1e-05", 1.5e300: "1.5e+300", 5e-324: "5e-324",
	} {
		if got, quoted := floatText(v); got != want || quoted {
			t.Errorf("%g: got %s, want %s", v, got, want)
		}
	}
}

func TestDecimalText(t *testing.T) {
	for _, c := range []struct {
		digits string
		scale  int
		want   string
	}{{"0", 2, "0.00"}, {"5", 3, "0.005"}, {"-5", 0, "-5"}, {"-12345", 2, "-123.45"}, {"7", -2, "700"}} {
		if got := decimalText(c.digits, c.scale); got != c.want {
			t.Errorf("%s at %d: got %s, want %s", c.digits, c.scale, got, c.want)
		}
	}
}

func TestCSV(t *testing.T) {
	rec := everything(t, `[{"s":"a,\"b\"","list":[1,2],"b":false},{"s":""},{"i":3}]`)
	var out bytes.Buffer
	w, err := newCSVWriter(&out, rec.Schema())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.write(rec); err != nil {
		t.Fatal(err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	want := "b,i,l,f,d,s,n,day,at,list,rec\n" +
		"false,,,,,\"a,\"\"b\"\"\",,,,\"[1, 2]\",\n" + ",,,,,\"\",,,,,\n" + ",3,,,,,,,,,\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

func TestWriteRowsLimit(t *testing.T) {
	rec := everything(t, `[{"i":1},{"i":2},{"i":3}]`)
	for limit, want := range map[int64]int{everyRow: 6, 0: 0, 1: 1, 3: 3, 4: 4, 9: 6} {
		var out bytes.Buffer
		rows := func(yield func(arrow.RecordBatch, error) bool) {
			for range 2 {
				if !yield(rec, nil) {
					return
				}
			}
		}
		if err := writeRows(&jsonlWriter{w: &out}, rows, limit); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("limit %d: %d rows, want %d", limit, got, want)
		}
	}
}

func TestParseAsOf(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"20260131120000123":         "20260131120000123",
		"2026-01-31T12:00:00Z":      "20260131120000000",
		"2026-01-31T14:00:00+02:00": "20260131120000000",
		"2026-01-31 12:00:00.5":     "20260131120000500",
		"2026-01-31":                "20260131000000000",
	} {
		if got, err := parseAsOf(in); err != nil || got != want {
			t.Errorf("%q: got %s, %v, want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{"yesterday", "2026", "1234567890123456"} {
		if _, err := parseAsOf(bad); err == nil {
			t.Errorf("%q is no time", bad)
		}
	}
}
