package schema_test

import (
	"math/big"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/twmb/avro"

	"lakefeed/hudi/schema"
)

// sparkSchema is what Spark wrote into the commits of a golden table.
const sparkSchema = `{"type":"record","name":"v6_t_record","namespace":"hoodie.v6_t","fields":[{"name":"id","type":"long"},{"name":"k","type":["null","int"],"default":null},{"name":"name","type":["null","string"],"default":null},{"name":"active","type":["null","boolean"],"default":null},{"name":"score","type":["null","double"],"default":null},{"name":"price","type":["null",{"type":"fixed","name":"fixed","namespace":"hoodie.v6_t.v6_t_record.price","size":8,"logicalType":"decimal","precision":18,"scale":4}],"default":null},{"name":"d","type":["null",{"type":"int","logicalType":"date"}],"default":null},{"name":"ts","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null},{"name":"payload","type":["null","bytes"],"default":null},{"name":"tags","type":["null",{"type":"array","items":["null","string"]}],"default":null},{"name":"seq","type":"long"}]}`

func sparkArrow() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "k", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "active", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "score", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "price", Type: &arrow.Decimal128Type{Precision: 18, Scale: 4}, Nullable: true},
		{Name: "d", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "ts", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "payload", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "seq", Type: arrow.PrimitiveTypes.Int64},
	}, nil)
}

func TestFromArrowWritesWhatSparkWrites(t *testing.T) {
	got, err := schema.FromArrow("v6_t", sparkArrow())
	if err != nil {
		t.Fatal(err)
	}
	if got != sparkSchema {
		t.Errorf("got  %s\nwant %s", got, sparkSchema)
	}
}

func TestToArrowReadsWhatSparkWrites(t *testing.T) {
	got, err := schema.ToArrow(sparkSchema)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Equal(sparkArrow()) {
		t.Errorf("got  %s\nwant %s", got, sparkArrow())
	}
}

func TestRoundTrip(t *testing.T) {
	point := arrow.StructOf(
		arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		arrow.Field{Name: "price", Type: &arrow.Decimal128Type{Precision: 38, Scale: 18}, Nullable: true},
	)
	in := arrow.NewSchema([]arrow.Field{
		{Name: "small", Type: arrow.PrimitiveTypes.Int32},
		{Name: "f", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
		{Name: "price", Type: &arrow.Decimal128Type{Precision: 10, Scale: 2}, Nullable: true},
		{Name: "prices", Type: arrow.ListOf(&arrow.Decimal128Type{Precision: 10, Scale: 2}), Nullable: true},
		{Name: "point", Type: point, Nullable: true},
		{Name: "points", Type: arrow.ListOf(point), Nullable: true},
		{Name: "by_name", Type: arrow.MapOf(arrow.BinaryTypes.String, point), Nullable: true},
	}, nil)
	text, err := schema.FromArrow("1 strange-täble", in)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, `"name":"____strange__t__ble_record","namespace":"hoodie.____strange__t__ble"`) {
		t.Errorf("named otherwise: %s", text)
	}
	out, err := schema.ToArrow(text)
	if err != nil {
		t.Fatal(err)
	}
	if !out.Equal(in) {
		t.Errorf("got  %s\nwant %s", out, in)
	}
}

func TestFromArrowRefuses(t *testing.T) {
	for want, f := range map[string]arrow.Field{
		"column t: no Avro type for Arrow's timestamp[ns]": {Name: "t", Type: &arrow.TimestampType{Unit: arrow.Nanosecond}},
		"column u: no Avro type for Arrow's uint64":        {Name: "u", Type: arrow.PrimitiveTypes.Uint64},
		`name column "a-b"`:                                {Name: "a-b", Type: arrow.PrimitiveTypes.Int64},
		`name column ""`:                                   {Type: arrow.PrimitiveTypes.Int64},
	} {
		_, err := schema.FromArrow("t", arrow.NewSchema([]arrow.Field{f}, nil))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	twice := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}, {Name: "a", Type: arrow.PrimitiveTypes.Int64}}, nil)
	if _, err := schema.FromArrow("t", twice); err == nil {
		t.Error("two columns of one name: no error")
	}
}

func TestWithMeta(t *testing.T) {
	full, err := schema.WithMeta(sparkSchema)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"fields":[{"name":"_hoodie_commit_time","type":["null","string"],"doc":"","default":null},`; !strings.Contains(full, want) {
		t.Errorf("no %s in %s", want, full)
	}
	again, err := schema.WithMeta(full)
	if err != nil || again != full {
		t.Errorf("a second time: %v, %s", err, again)
	}
	got, err := schema.ToArrow(full)
	if err != nil {
		t.Fatal(err)
	}
	if want := schema.ArrowWithMeta(sparkArrow()); !got.Equal(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, bad := range []string{"", `"int"`, `{"type":"enum","name":"e","symbols":["a"]}`} {
		if _, err := schema.WithMeta(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestToArrowOfForeignTypes(t *testing.T) {
	tests := map[string]string{
		`["string","null"]`: "utf8",
		`{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}`: "decimal(20, 2)",
		`{"type":"enum","name":"e","symbols":["a","b"]}`:                    "utf8",
		`{"type":"map","values":["null","long"]}`:                           "map<utf8, int64, items_nullable>",
		`{"type":"long","logicalType":"local-timestamp-micros"}`:            "timestamp[us]",
		`{"type":"long","logicalType":"timestamp-millis"}`:                  "timestamp[ms, tz=UTC]",
		`{"type":"fixed","name":"f","size":16}`:                             "fixed_size_binary[16]",
		`{"type":"record","name":"r","fields":[{"name":"a","type":"int"}]}`: "struct<a: int32>",
		`{"type":"array","items":{"type":"array","items":"int"}}`:           "list<element: list<element: int32>>",
		`["int","string"]`:                                                           "column c: no Arrow type for a union of int and string",
		`{"type":"long","logicalType":"moon-phase"}`:                                 "column c: no Arrow type for the logical type moon-phase",
		`{"type":"bytes","logicalType":"decimal","precision":40,"scale":2}`:          "column c: a decimal of 40 digits",
		`{"type":"record","name":"r","fields":[{"name":"a","type":["int","long"]}]}`: "column c: column a: no Arrow type",
	}
	for in, want := range tests {
		got, err := schema.ToArrow(`{"type":"record","name":"t","fields":[{"name":"c","type":` + in + `}]}`)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", in, err, want)
			}
			continue
		}
		if got := got.Field(0).Type.String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestToArrowKnowsNamesDefinedBefore(t *testing.T) {
	got, err := schema.ToArrow(`{"type":"record","name":"t","fields":[
		{"name":"a","type":{"type":"fixed","name":"money","size":5,"logicalType":"decimal","precision":10,"scale":2}},
		{"name":"b","type":["null","money"]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if !arrow.TypeEqual(got.Field(0).Type, got.Field(1).Type) {
		t.Errorf("a is %s, b is %s", got.Field(0).Type, got.Field(1).Type)
	}
}

// A record that holds itself has no Arrow type.
func TestToArrowRefusesRecursion(t *testing.T) {
	if _, err := schema.ToArrow(`{"type":"record","name":"t","fields":[{"name":"next","type":["null","t"]}]}`); err == nil {
		t.Error("no error")
	}
}

func TestMinBytes(t *testing.T) {
	for p := 1; p <= 38; p++ {
		largest := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(p)), nil)
		largest.Sub(largest, big.NewInt(1))
		if want := largest.BitLen()/8 + 1; schema.MinBytes(p) != want {
			t.Errorf("MinBytes(%d) = %d, want %d", p, schema.MinBytes(p), want)
		}
	}
}

// The names are what HoodieAvroUtils.sanitizeName of Hudi 0.15.0 returned.
func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"orders": "orders", "my-table": "my__table", "1abc": "__abc", "12abc": "__2abc", "--x--y": "____x____y",
		"a.b": "a__b", "é t": "____t", "_x": "_x", "a  b": "a____b", "😀z": "__z", "9": "__", "a-1": "a__1",
	} {
		if got := schema.CleanName(in); got != want {
			t.Errorf("CleanName(%q) = %q, want %q", in, got, want)
		}
	}
}

// Whatever ToArrow takes can be parsed again by Avro.
func FuzzToArrow(f *testing.F) {
	f.Add(sparkSchema)
	f.Add(`{"type":"record","name":"t","fields":[{"name":"next","type":["null","t"]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := schema.ToArrow(text); err != nil {
			return
		}
		if _, err := avro.Parse(text); err != nil {
			t.Error(err)
		}
	})
}
