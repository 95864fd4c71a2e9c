//go:build cgo && !nosql

package query_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/query"
)

func decimal(p, s int32) arrow.DataType { return &arrow.Decimal128Type{Precision: p, Scale: s} }

// typeCases are a type, its values as Arrow reads them from JSON, and as they come back
// (none: the same) with the type that DuckDB says.
var typeCases = []struct {
	t      arrow.DataType
	values string
	back   string
	duck   string
}{
	{arrow.FixedWidthTypes.Boolean, `[true, false, null]`, "", "BOOLEAN"},
	{arrow.PrimitiveTypes.Int8, `[-128, 127, null]`, "", "TINYINT"},
	{arrow.PrimitiveTypes.Int16, `[-32768, 32767, null]`, "", "SMALLINT"},
	{arrow.PrimitiveTypes.Int32, `[-2147483648, 2147483647, null]`, "", "INTEGER"},
	{arrow.PrimitiveTypes.Int64, `[-9223372036854775808, 9223372036854775807, null]`, "", "BIGINT"},
	{arrow.PrimitiveTypes.Float32, `[1.5, -0.1, null]`, "", "FLOAT"},
	{arrow.PrimitiveTypes.Float64, `[1e308, -0.1, null]`, "", "DOUBLE"},
	{decimal(4, 2), `["-99.99", "0.01", null]`, "", "DECIMAL(4,2)"},
	{decimal(9, 9), `["-0.999999999", "0.000000001", null]`, "", "DECIMAL(9,9)"},
	{decimal(18, 3), `["-999999999999999.999", "0.001", null]`, "", "DECIMAL(18,3)"},
	{decimal(38, 18), `["-99999999999999999999.999999999999999999", "0.000000000000000001", null]`, "", "DECIMAL(38,18)"},
	{arrow.FixedWidthTypes.Date32, `["0001-01-01", "1582-10-10", null, "9999-12-31"]`, "", "DATE"},
	{arrow.FixedWidthTypes.Timestamp_us, `["0001-01-01 00:00:00.000001Z", "1899-12-31 23:59:59.999999Z", null, "9999-12-31 23:59:59.999999Z"]`, "", "TIMESTAMP WITH TIME ZONE"},
	{arrow.FixedWidthTypes.Timestamp_ms, `["0001-01-01 00:00:00.001Z", null]`, "", "TIMESTAMP WITH TIME ZONE"},
	{&arrow.TimestampType{Unit: arrow.Microsecond}, `["1900-01-01 00:00:00.000001", null]`, "", "TIMESTAMP"},
	{&arrow.TimestampType{Unit: arrow.Millisecond}, `["2026-01-01 00:00:00.5", null]`, "", "TIMESTAMP"},
	{arrow.FixedWidthTypes.Time64us, `["23:59:59.999999", null]`, "", "TIME"},
	{arrow.FixedWidthTypes.Time32ms, `["23:59:59.999", null]`, "23:59:59.999000 (null)", "TIME"},
	{arrow.BinaryTypes.String, `["", "a", "héllo wörld, a text of some length", null, "\u0000 in it"]`, "", "VARCHAR"},
	{arrow.BinaryTypes.LargeString, `["", "a", "a text of more than twelve bytes", null]`, "", "VARCHAR"},
	{arrow.BinaryTypes.Binary, `["", "AAEC", null, "////////////////////"]`, "", "BLOB"},
	{arrow.BinaryTypes.LargeBinary, `["AAEC", null]`, "", "BLOB"},
	{&arrow.FixedSizeBinaryType{ByteWidth: 3}, `["AAEC", null, "////"]`, "", "BLOB"},
	{arrow.ListOf(arrow.PrimitiveTypes.Int32), `[[], [1, null, 3], null, [4]]`, "", "INTEGER[]"},
	{arrow.ListOf(arrow.ListOf(arrow.BinaryTypes.String)), `[[["a"], null, []], null, [[null, "a text of more than twelve bytes"]]]`, "", "VARCHAR[][]"},
	{
		arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, arrow.Field{Name: "b", Type: arrow.ListOf(decimal(5, 1)), Nullable: true}),
		`[{"a": 1, "b": ["1.5"]}, null, {"a": null, "b": null}]`, "", "STRUCT(a BIGINT, b DECIMAL(5,1)[])",
	},
	{
		arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Float64),
		`[[{"key": "x", "value": 1.5}, {"key": "y", "value": null}], null, []]`, "", "MAP(VARCHAR, DOUBLE)",
	},
}

// repeated is a relation of the values, over and over, more than fit a chunk, as a slice
// of a larger array.
func repeated(t *testing.T, typ arrow.DataType, values string) (*query.Relation, arrow.Array) {
	t.Helper()
	one, _, err := array.FromJSON(memory.DefaultAllocator, typ, strings.NewReader(values))
	if err != nil {
		t.Fatalf("%s: %v", typ, err)
	}
	many := make([]arrow.Array, 3001)
	for i := range many {
		many[i] = one
	}
	all, err := array.Concatenate(many, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	all = array.NewSlice(all, 1, int64(all.Len()))
	schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: typ, Nullable: true}}, nil)
	return &query.Relation{Schema: schema, Read: func(context.Context, query.Scan) iter.Seq2[arrow.RecordBatch, error] {
		return func(yield func(arrow.RecordBatch, error) bool) {
			yield(array.NewRecordBatch(schema, []arrow.Array{all}, int64(all.Len())), nil)
		}
	}}, all
}

// Every type goes to DuckDB and back with every value, null and nested null.
func TestTypes(t *testing.T) {
	t.Parallel()
	for _, c := range typeCases {
		t.Run(c.duck+" of "+c.t.String(), func(t *testing.T) {
			t.Parallel()
			relation, in := repeated(t, c.t, c.values)
			db := open(t, query.Options{Threads: 1}, map[string]*query.Relation{"t": relation})
			want(t, db, "SELECT DISTINCT typeof(v) FROM t", c.duck)
			r, err := db.Query(t.Context(), "SELECT v FROM t")
			if err != nil {
				t.Fatal(err)
			}
			row := 0
			for batch, err := range r.Batches() {
				if err != nil {
					t.Fatal(err)
				}
				for i := range int(batch.NumRows()) {
					want := in.ValueStr(row)
					if c.back != "" {
						want = strings.Fields(c.back)[(row+1)%len(strings.Fields(c.back))]
					}
					if got := batch.Column(0).ValueStr(i); got != want {
						t.Fatalf("row %d: %s, want %s", row, got, want)
					}
					row++
				}
			}
			if row != in.Len() {
				t.Errorf("%d rows, want %d", row, in.Len())
			}
		})
	}
}

// What DuckDB returns beyond the types of a table.
func TestResultTypes(t *testing.T) {
	t.Parallel()
	db := open(t, query.Options{}, nil)
	for sql, rows := range map[string]string{
		"SELECT sum(x) FROM (VALUES (9223372036854775807), (1)) v(x)": "9223372036854775808",
		"SELECT 'b'::ENUM ('a', 'b') AS e":                            "b",
		"SELECT INTERVAL '14 months 3 days 04:05:06.7'":               "1 year 2 months 3 days 04:05:06.7",
		"SELECT -INTERVAL '1 second'":                                 "-00:00:01",
		"SELECT INTERVAL '0 days'":                                    "00:00:00",
		"SELECT '6fa459ea-ee8a-3ca4-894e-db77e160355e'::UUID":         "6fa459ea-ee8a-3ca4-894e-db77e160355e",
		"SELECT '{\"a\": [1, 2]}'::JSON":                              `{"a": [1, 2]}`,
		"SELECT 255::UTINYINT, 18446744073709551615::UBIGINT":         "255 18446744073709551615",
		"SELECT NULL": "(null)",
		"SELECT TIMESTAMPTZ '2026-01-01 00:00:00+02'::VARCHAR":           "2025-12-31 22:00:00+00",
		"SELECT date_trunc('day', TIMESTAMPTZ '2026-01-01 01:00:00+02')": "2025-12-31T00:00:00Z",
		"EXPLAIN SELECT 1":                         "",
		"DESCRIBE SELECT 1 AS x":                   "x INTEGER YES (null) (null) (null)",
		"SELECT json_extract('{\"a\": 5}', '$.a')": "5",
		"SELECT median(x), regexp_extract('ab12', '[0-9]+') FROM range(5) r(x) GROUP BY 2": "2 12",
	} {
		got, err := answer(db, sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
		} else if rows != "" && strings.TrimSpace(got) != rows {
			t.Errorf("%s: %q, want %q", sql, got, rows)
		}
	}
}

// Values that DuckDB could not hold are refused with the column's name.
func TestTypesRefused(t *testing.T) {
	t.Parallel()
	bad := func(data string) string { return base64.StdEncoding.EncodeToString([]byte(data)) }
	bytes, _, err := array.FromJSON(memory.DefaultAllocator, arrow.BinaryTypes.Binary, strings.NewReader(fmt.Sprintf(`[%q]`, bad("\xff\xfe"))))
	if err != nil {
		t.Fatal(err)
	}
	text := array.NewStringData(array.NewData(arrow.BinaryTypes.String, 1, bytes.Data().Buffers(), nil, 0, 0))
	far, _, err := array.FromJSON(memory.DefaultAllocator, &arrow.TimestampType{Unit: arrow.Millisecond}, strings.NewReader(`[9223372036854775000]`))
	if err != nil {
		t.Fatal(err)
	}
	nanos, _, err := array.FromJSON(memory.DefaultAllocator, arrow.FixedWidthTypes.Timestamp_ns, strings.NewReader(`[1]`))
	if err != nil {
		t.Fatal(err)
	}
	for says, col := range map[string]arrow.Array{
		"column v of t: a text is not UTF-8": text, "column v of t: a time is beyond DuckDB's range": far, "column v of t: DuckDB has no type for": nanos,
	} {
		schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: col.DataType(), Nullable: true}}, nil)
		db := open(t, query.Options{}, map[string]*query.Relation{"t": {Schema: schema, Read: func(context.Context, query.Scan) iter.Seq2[arrow.RecordBatch, error] {
			return func(yield func(arrow.RecordBatch, error) bool) {
				yield(array.NewRecordBatch(schema, []arrow.Array{col}, 1), nil)
			}
		}}})
		if _, err := answer(db, "SELECT v FROM t"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
