package basefile

import (
	"bytes"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lakefeed/hudi/internal/basetest"
)

// foreignParquet writes rows as another writer may.
func foreignParquet(t *testing.T, fields []arrow.Field, rows string, writer pqarrow.ArrowWriterProperties, props ...parquet.WriterProperty) []byte {
	t.Helper()
	batch := basetest.FromJSON(t, fields, rows)
	table := array.NewTableFromRecords(batch.Schema(), []arrow.RecordBatch{batch})
	defer table.Release()
	var out bytes.Buffer
	props = append([]parquet.WriterProperty{parquet.WithCompression(compress.Codecs.Zstd)}, props...)
	if err := pqarrow.WriteTable(table, &out, 2, parquet.NewWriterProperties(props...), writer); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestForeignColumns reads columns as other writers lay them out, and as they were
// before schema evolution gave them another type.
func TestForeignColumns(t *testing.T) {
	micros := arrow.FixedWidthTypes.Timestamp_us
	decimal := func(p, s int32) arrow.DataType { return &arrow.Decimal128Type{Precision: p, Scale: s} }
	plain := pqarrow.DefaultWriterProps()
	for _, c := range []struct {
		name   string
		have   arrow.DataType
		rows   string // values as JSON
		want   arrow.DataType
		result string
		writer pqarrow.ArrowWriterProperties
		props  []parquet.WriterProperty
	}{
		{
			"INT96 timestamps", arrow.FixedWidthTypes.Timestamp_ns, `"2026-01-02T03:04:05.123456789Z",null,"1900-01-01T00:00:00Z"`, micros,
			`"2026-01-02T03:04:05.123456Z" null "1900-01-01T00:00:00Z"`, pqarrow.NewArrowWriterProperties(pqarrow.WithDeprecatedInt96Timestamps(true)), nil,
		},
		{
			"nanoseconds", arrow.FixedWidthTypes.Timestamp_ns, `"2026-01-02T03:04:05.123456789Z"`, micros, `"2026-01-02T03:04:05.123456Z"`, plain,
			[]parquet.WriterProperty{parquet.WithVersion(parquet.V2_6)},
		},
		{"milliseconds", arrow.FixedWidthTypes.Timestamp_ms, `"2026-01-02T03:04:05.123Z"`, micros, `"2026-01-02T03:04:05.123Z"`, plain, nil},
		{"without a zone", &arrow.TimestampType{Unit: arrow.Microsecond}, `"2026-01-02 03:04:05"`, micros, `"2026-01-02T03:04:05Z"`, plain, nil},
		{
			"decimals in 32 bits", decimal(5, 2), `"-1.25","999.99"`, decimal(5, 2), `"-1.25" "999.99"`, plain,
			[]parquet.WriterProperty{parquet.WithStoreDecimalAsInteger(true)},
		},
		{"decimals in 64 bits", decimal(18, 4), `"-48.9999"`, decimal(18, 4), `"-48.9999"`, plain, []parquet.WriterProperty{parquet.WithStoreDecimalAsInteger(true)}},
		{"large text", arrow.BinaryTypes.LargeString, `"x",null`, arrow.BinaryTypes.String, `"x" null`, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()), nil},
		{
			"text by dictionary", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, `"x","y","x",null`, arrow.BinaryTypes.String,
			`"x" "y" "x" null`, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()), nil,
		},
		{"fixed size as binary", &arrow.FixedSizeBinaryType{ByteWidth: 2}, `"AQI="`, arrow.BinaryTypes.Binary, `"AQI="`, plain, nil},

		{"int to long", arrow.PrimitiveTypes.Int32, `-5,null`, arrow.PrimitiveTypes.Int64, `-5 null`, plain, nil},
		{"int to double", arrow.PrimitiveTypes.Int32, `-5`, arrow.PrimitiveTypes.Float64, `-5`, plain, nil},
		{"long to float", arrow.PrimitiveTypes.Int64, `16777217`, arrow.PrimitiveTypes.Float32, `16777216`, plain, nil},
		{"int to text", arrow.PrimitiveTypes.Int32, `-5,null`, arrow.BinaryTypes.String, `"-5" null`, plain, nil},
		{"int to decimal", arrow.PrimitiveTypes.Int32, `-5`, decimal(10, 2), `"-5"`, plain, nil},
		{"float to double keeps the digits", arrow.PrimitiveTypes.Float32, `0.1,-1.5,3e38,null`, arrow.PrimitiveTypes.Float64, `0.1 -1.5 3e+38 null`, plain, nil},
		{"double to text", arrow.PrimitiveTypes.Float64, `1e10,0.5`, arrow.BinaryTypes.String, `"1.0E10" "0.5"`, plain, nil},
		{"double to decimal", arrow.PrimitiveTypes.Float64, `1.25`, decimal(10, 2), `"1.25"`, plain, nil},
		{"decimal to a wider one", decimal(5, 2), `"1.25"`, decimal(12, 4), `"1.25"`, plain, nil},
		{"decimal to text", decimal(5, 2), `"1.50"`, arrow.BinaryTypes.String, `"1.50"`, plain, nil},
		{"date to text", arrow.FixedWidthTypes.Date32, `"2026-01-02"`, arrow.BinaryTypes.String, `"2026-01-02"`, plain, nil},
		{"text to date", arrow.BinaryTypes.String, `"2026-01-02",null`, arrow.FixedWidthTypes.Date32, `"2026-01-02" null`, plain, nil},
		{"text to decimal", arrow.BinaryTypes.String, `"-1.25"`, decimal(10, 2), `"-1.25"`, plain, nil},
		{"text to binary", arrow.BinaryTypes.String, `"x"`, arrow.BinaryTypes.Binary, `"eA=="`, plain, nil},
		{"within a list", arrow.ListOf(arrow.PrimitiveTypes.Int32), `[1,null],null`, arrow.ListOf(arrow.BinaryTypes.String), `["1",null] null`, plain, nil},

		{"long to int", arrow.PrimitiveTypes.Int64, `1`, arrow.PrimitiveTypes.Int32, `refused: column c: the file has int64 for it`, plain, nil},
		{"decimal to a narrower one", decimal(12, 4), `"1.25"`, decimal(5, 2), `refused: column c: the file has decimal(12, 4) for it`, plain, nil},
		{"text that is no date", arrow.BinaryTypes.String, `"soon"`, arrow.FixedWidthTypes.Date32, `refused: column c: make a date of "soon"`, plain, nil},
		{"text that is no number", arrow.BinaryTypes.String, `"soon"`, decimal(5, 2), `refused: column c: make decimal(5, 2) of soon`, plain, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rows := make([]string, 0, 4)
			for _, v := range splitValues(c.rows) {
				rows = append(rows, `{"c":`+v+`}`)
			}
			data := foreignParquet(t, []arrow.Field{{Name: "c", Type: c.have, Nullable: true}}, "["+strings.Join(rows, ",")+"]", c.writer, c.props...)
			if got := foreignText(t, data, c.want); got != c.result && (!strings.HasPrefix(c.result, "refused: ") || !strings.Contains(got, strings.TrimPrefix(c.result, "refused: "))) {
				t.Errorf("got %s, want %s", got, c.result)
			}
		})
	}
}

// splitValues splits at commas outside of brackets.
func splitValues(s string) []string {
	var out []string
	depth, from := 0, 0
	for i, c := range s {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ',' && depth == 0:
			out, from = append(out, s[from:i]), i+1
		}
	}
	return append(out, s[from:])
}

// foreignText is the column c of a file, read as a type: its values, or the error.
func foreignText(t *testing.T, data []byte, want arrow.DataType) string {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "c", Type: want, Nullable: true}}, nil)
	r, err := Open(bytes.NewReader(data), int64(len(data)), schema)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	var out []string
	for {
		batch, err := r.Next()
		if batch == nil {
			if len(out) == 0 || !strings.Contains(err.Error(), "EOF") {
				return err.Error()
			}
			return strings.Join(out, " ")
		}
		for row := range int(batch.NumRows()) {
			text := strings.TrimSuffix(strings.TrimPrefix(basetest.RowJSON(batch, row), `{"c":`), "}")
			if text == "{" {
				text = "null"
			}
			out = append(out, text)
		}
		batch.Release()
	}
}

// Timestamps of 96 bits may lie beyond the years that 64 bits of nanoseconds hold.
func TestInt96(t *testing.T) {
	for text, want := range map[string]string{
		"0001-01-01": "0001-01-01T00:00:00Z",
		"9999-12-31": "9999-12-31T00:00:00Z",
	} {
		days := basetest.FromJSON(t, []arrow.Field{{Name: "d", Type: arrow.FixedWidthTypes.Date32}}, `[{"d":"`+text+`"}]`).Column(0).(*array.Date32).Value(0)
		var v parquet.Int96
		day := uint32(int64(days) + julianEpoch)
		v[8], v[9], v[10], v[11] = byte(day), byte(day>>8), byte(day>>16), byte(day>>24)
		if got := int96Micros(v).ToTime(arrow.Microsecond).Format("2006-01-02T15:04:05Z"); got != want {
			t.Errorf("%s: got %s", text, got)
		}
	}
}
