package hudi

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
)

func TestRecordKeys(t *testing.T) {
	decimal := &arrow.Decimal128Type{Precision: 38, Scale: 4}
	tests := []struct {
		name   string
		rows   string
		schema []arrow.Field
		want   []string
	}{
		{"long", `[{"a": -9223372036854775808}, {"a": 7}]`, []arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}}, []string{"-9223372036854775808", "7"}},
		{"bool", `[{"a": true}, {"a": false}]`, []arrow.Field{{Name: "a", Type: arrow.FixedWidthTypes.Boolean}}, []string{"true", "false"}},
		{
			"text", `[{"a": "x"}, {"a": "a:b,c%"}, {"a": ""}, {"a": "%"}, {"a": "%x"}, {"a": "__null__"}, {"a": "__empty__"}, {"a": "😀"}]`,
			[]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String}},
			[]string{"x", "a:b,c%", "%", "%%", "%%x", "%__null__", "%__empty__", "😀"},
		},
		{
			"composite", `[{"a": "x", "b": 1}, {"a": "1:2,3%", "b": 2}, {"a": "", "b": 3}, {"a": "__null__", "b": 4}, {"a": "__empty__", "b": 5}]`,
			[]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String}, {Name: "b", Type: arrow.PrimitiveTypes.Int32}},
			[]string{"a:x,b:1", "a:1%3A2%2C3%25,b:2", "a:__empty__,b:3", "a:%5F_null__,b:4", "a:%5F_empty__,b:5"},
		},
		{
			"decimal", `[{"a": "1.5"}, {"a": "-0.0003"}, {"a": "0"}, {"a": "-1234567890123456789012345678901234.5678"}, {"a": "1000000000000000000000"}]`,
			[]arrow.Field{{Name: "a", Type: decimal}},
			[]string{"1.5000", "-0.0003", "0.0000", "-1234567890123456789012345678901234.5678", "1000000000000000000000.0000"},
		},
		{"binary", `[{"a": "/wA="}, {"a": ""}]`, []arrow.Field{{Name: "a", Type: arrow.BinaryTypes.Binary}}, []string{"ff00", "%"}},
		{"time", `[{"a": "2000-03-01T00:00:00.000001Z"}]`, []arrow.Field{{Name: "a", Type: arrow.FixedWidthTypes.Timestamp_us}}, []string{"951868800000001"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			schema := arrow.NewSchema(tt.schema, nil)
			rec, _, err := array.RecordFromJSON(column.Allocator, schema, strings.NewReader(tt.rows))
			if err != nil {
				t.Fatal(err)
			}
			var fields []string
			for _, f := range tt.schema {
				fields = append(fields, f.Name)
			}
			keys, err := RecordKeys(rec, fields)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range tt.want {
				if got := keys.Value(i); got != want {
					t.Errorf("row %d: key %q, want %q", i, got, want)
				}
			}
		})
	}
}

func TestRecordKeysRefuses(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "l", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true},
	}, nil)
	rec, _, err := array.RecordFromJSON(column.Allocator, schema, strings.NewReader(`[{"a": 1, "l": []}, {"a": null, "l": []}]`))
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{"a": "column a is null in row 1", "b": "no column b", "l": "no key text"} {
		if _, err := RecordKeys(rec, []string{field}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("key %s: error %v, want %q", field, err, want)
		}
	}
	if _, err := RecordKeys(rec, nil); err == nil {
		t.Error("no key columns: no error")
	}
}

// Whatever the texts, two rows share a key only when all their values are equal.
func FuzzKeysAreOneToOne(f *testing.F) {
	f.Add("a", "b", "a,b:c", "")
	f.Add("", "__empty__", "%5F_empty__", "%")
	f.Add("__null__", "%", "%__null__", "%%")
	f.Fuzz(func(t *testing.T, a1, b1, a2, b2 string) {
		key := func(a, b string) string {
			return string(appendKeyPart(append(appendKeyPart([]byte("a:"), a), ",b:"...), b))
		}
		if (a1 == a2 && b1 == b2) != (key(a1, b1) == key(a2, b2)) {
			t.Errorf("(%q, %q) and (%q, %q): keys %q and %q", a1, b1, a2, b2, key(a1, b1), key(a2, b2))
		}
		one, other := string(appendSingleKey(nil, a1)), string(appendSingleKey(nil, a2))
		if (a1 == a2) != (one == other) || one == "" {
			t.Errorf("%q and %q: keys %q and %q", a1, a2, one, other)
		}
	})
}

func BenchmarkRecordKeys(b *testing.B) {
	const rows = 10000
	ints := array.NewInt64Builder(column.Allocator)
	texts := array.NewStringBuilder(column.Allocator)
	for i := range rows {
		ints.Append(int64(i) * 7919)
		texts.Append("order-" + strings.Repeat("x", i%20))
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "item", Type: arrow.BinaryTypes.String}}, nil)
	rec := array.NewRecordBatch(schema, []arrow.Array{ints.NewArray(), texts.NewArray()}, rows)
	for _, fields := range [][]string{{"id"}, {"id", "item"}} {
		b.Run(strings.Join(fields, ","), func(b *testing.B) {
			for b.Loop() {
				if _, err := RecordKeys(rec, fields); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}
