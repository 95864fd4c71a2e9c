package logfile_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/avro"

	"lakefeed/hudi/logfile"
	"lakefeed/hudi/schema"
)

func wideSchema() *arrow.Schema {
	point := arrow.StructOf(
		arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Float64},
		arrow.Field{Name: "tag", Type: arrow.BinaryTypes.String, Nullable: true},
	)
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "i", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "f", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
		{Name: "d", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "b", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "raw", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "ts", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "price", Type: &arrow.Decimal128Type{Precision: 18, Scale: 4}, Nullable: true},
		{Name: "big", Type: &arrow.Decimal128Type{Precision: 38, Scale: 18}, Nullable: true},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "nested", Type: arrow.ListOf(arrow.ListOf(arrow.PrimitiveTypes.Int64)), Nullable: true},
		{Name: "point", Type: point, Nullable: true},
		{Name: "points", Type: arrow.ListOf(point), Nullable: true},
		{Name: "m", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64), Nullable: true},
	}, nil)
}

const wideRows = `[
{"id": 1, "i": -2147483648, "f": 1.5, "d": -0.1, "b": true, "s": "grüße 😀", "raw": "AP8=", "day": "1582-10-04", "ts": "1899-12-31T23:59:59.999999Z", "price": "-48.9999", "big": "-99999999999999999999.999999999999999999", "tags": ["a", null, ""], "nested": [[1, -2], [], null], "point": {"x": 1.25, "tag": null}, "points": [{"x": 2, "tag": "t"}], "m": [{"key": "k", "value": 1}]},
{"id": -9223372036854775808, "i": null, "f": null, "d": null, "b": null, "s": null, "raw": null, "day": null, "ts": null, "price": null, "big": null, "tags": null, "nested": null, "point": null, "points": null, "m": null},
{"id": 9223372036854775807, "i": 2147483647, "f": 0, "d": 0, "b": false, "s": "", "raw": "", "day": "9999-12-31", "ts": "9999-12-31T23:59:59Z", "price": "99999999999999.9999", "big": "0", "tags": [], "nested": [], "point": {"x": 0, "tag": ""}, "points": [], "m": []}
]`

func batchOf(t testing.TB, sc *arrow.Schema, rows string) arrow.RecordBatch {
	t.Helper()
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, sc, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// encode returns the Avro schema of the batch and its records.
func encode(t testing.TB, batch arrow.RecordBatch) (avroSchema string, records [][]byte) {
	t.Helper()
	text, err := schema.FromArrow("t", batch.Schema())
	if err != nil {
		t.Fatal(err)
	}
	enc, err := logfile.NewEncoder(text, batch.Schema())
	if err != nil {
		t.Fatal(err)
	}
	for row := range int(batch.NumRows()) {
		record, err := enc.Append(nil, batch, row)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record[4:])
	}
	return text, records
}

func decode(t testing.TB, avroSchema string, reader *arrow.Schema, records [][]byte) arrow.RecordBatch {
	t.Helper()
	dec, err := logfile.NewDecoder(avroSchema, reader)
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, reader)
	defer b.Release()
	for _, r := range records {
		if err := dec.Append(b, r); err != nil {
			t.Fatal(err)
		}
	}
	return b.NewRecordBatch()
}

func TestRoundTrip(t *testing.T) {
	whole := batchOf(t, wideSchema(), wideRows)
	for _, batch := range []arrow.RecordBatch{whole, whole.NewSlice(1, 3), whole.NewSlice(0, 1)} {
		text, records := encode(t, batch)
		got := decode(t, text, batch.Schema(), records)
		if !array.RecordEqual(got, batch) {
			t.Errorf("got  %v\nwant %v", got, batch)
		}
	}
}

// A second opinion on the bytes: an Avro library reads them.
func TestAvroLibraryReadsRecords(t *testing.T) {
	batch := batchOf(t, wideSchema(), wideRows)
	text, records := encode(t, batch)
	s := avro.MustParse(text)
	for row, record := range records {
		var got map[string]any
		rest, err := s.Decode(record, &got)
		if err != nil || len(rest) > 0 {
			t.Fatalf("row %d: %v, %d bytes left", row, err, len(rest))
		}
		if got["id"] != batch.Column(0).(*array.Int64).Value(row) {
			t.Errorf("row %d: id %v", row, got["id"])
		}
		if row > 0 {
			continue
		}
		want := map[string]string{"s": "grüße 😀", "i": "-2147483648", "tags": "[a <nil> ]", "nested": "[[1 -2] [] <nil>]", "m": "map[k:1]"}
		for name, text := range want {
			if v := fmt.Sprint(got[name]); v != text {
				t.Errorf("%s = %s, want %s", name, v, text)
			}
		}
	}
}

func TestEvolution(t *testing.T) {
	writer := arrow.NewSchema([]arrow.Field{
		{Name: "gone", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "i", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "point", Type: arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "old", Type: arrow.BinaryTypes.String})},
		{Name: "f", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
	}, nil)
	reader := arrow.NewSchema([]arrow.Field{
		{Name: "f", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "added", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "i", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "point", Type: arrow.StructOf(arrow.Field{Name: "new", Type: arrow.BinaryTypes.String, Nullable: true}, arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64})},
	}, nil)
	text, records := encode(t, batchOf(t, writer, `[{"gone": ["a"], "i": 7, "point": {"x": 1, "old": "o"}, "f": 0.5}, {"gone": null, "i": null, "point": {"x": 2, "old": ""}, "f": null}]`))
	got := decode(t, text, reader, records)
	want := batchOf(t, reader, `[{"f": 0.5, "added": null, "i": 7, "point": {"new": null, "x": 1}}, {"f": null, "added": null, "i": null, "point": {"new": null, "x": 2}}]`)
	if !array.RecordEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	none := decode(t, text, arrow.NewSchema(nil, nil), records)
	if none.NumCols() != 0 {
		t.Errorf("no columns wanted, %d came", none.NumCols())
	}
}

func TestDecoderRefuses(t *testing.T) {
	text := `{"type":"record","name":"t","fields":[{"name":"a","type":"long"},{"name":"p","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}}]}`
	for want, f := range map[string]arrow.Field{
		"column a: no way to read Avro's long":          {Name: "a", Type: arrow.PrimitiveTypes.Int32},
		"column p: no way to read Avro's bytes decimal": {Name: "p", Type: &arrow.Decimal128Type{Precision: 10, Scale: 3}},
		"column b: the records lack it":                 {Name: "b", Type: arrow.PrimitiveTypes.Int32},
	} {
		_, err := logfile.NewDecoder(text, arrow.NewSchema([]arrow.Field{f}, nil))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// What Spark writes and we do not: null last, decimals in bytes, enums, milliseconds.
func TestForeignRecords(t *testing.T) {
	text := `{"type":"record","name":"t","fields":[
		{"name":"s","type":["string","null"]},
		{"name":"p","type":{"type":"bytes","logicalType":"decimal","precision":38,"scale":2}},
		{"name":"e","type":{"type":"enum","name":"colour","symbols":["red","green"]}},
		{"name":"t","type":{"type":"long","logicalType":"timestamp-millis"}},
		{"name":"x","type":{"type":"fixed","name":"x","size":2}},
		{"name":"a","type":{"type":"array","items":"int"}}]}`
	sc, err := schema.ToArrow(text)
	if err != nil {
		t.Fatal(err)
	}
	raw := avro.MustParse(strings.Replace(text, `{"type":"bytes","logicalType":"decimal","precision":38,"scale":2}`, `"bytes"`, 1))
	var records [][]byte
	for _, row := range []map[string]any{
		{"s": "a", "p": []byte{0xff, 0x7f}, "e": "green", "t": int64(-1), "x": [2]byte{1, 2}, "a": []int32{}},
		{"s": nil, "p": []byte{0}, "e": "red", "t": int64(1), "x": [2]byte{3, 4}, "a": []int32{5}},
	} {
		record, err := raw.Encode(row)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	got := decode(t, text, sc, records)
	want := batchOf(t, sc, `[{"s": "a", "p": "-1.29", "e": "green", "t": "1969-12-31T23:59:59.999Z", "x": "AQI=", "a": []}, {"s": null, "p": "0.00", "e": "red", "t": "1970-01-01T00:00:00.001Z", "x": "AwQ=", "a": [5]}]`)
	if !array.RecordEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	// The second block form: a negative count and a size in bytes.
	blocked := append(records[1][:len(records[1])-3:len(records[1])-3], 1, 2, 10, 0)
	if again := decode(t, text, sc, [][]byte{records[0], blocked}); !array.RecordEqual(again, want) {
		t.Errorf("sized array: got %v", again)
	}
}

func TestDecimalsInBytes(t *testing.T) {
	text := `{"type":"record","name":"t","fields":[{"name":"p","type":{"type":"bytes","logicalType":"decimal","precision":38,"scale":0}}]}`
	sc, err := schema.ToArrow(text)
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, sc)
	for _, v := range []int64{0, 1, -1, 127, 128, -128, -129, 255, 256, math.MaxInt64, math.MinInt64} {
		b.Field(0).(*array.Decimal128Builder).Append(decimal128.FromI64(v))
	}
	batch := b.NewRecordBatch()
	enc, err := logfile.NewEncoder(text, sc)
	if err != nil {
		t.Fatal(err)
	}
	sizes := []int{1, 1, 1, 1, 2, 1, 2, 2, 2, 8, 8}
	var records [][]byte
	for row, size := range sizes {
		r, err := enc.Append(nil, batch, row)
		if err != nil {
			t.Fatal(err)
		}
		if len(r) != 4+1+size {
			t.Errorf("row %d: % x, want %d bytes", row, r[5:], size)
		}
		records = append(records, r[4:])
	}
	if got := decode(t, text, sc, records); !array.RecordEqual(got, batch) {
		t.Errorf("got %v\nwant %v", got, batch)
	}
}

func TestEncoderRefuses(t *testing.T) {
	required := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	enc, err := logfile.NewEncoder(tinySchema, required)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enc.Append(nil, batchOf(t, required, `[{"id": null}]`), 0); err == nil || !strings.Contains(err.Error(), "column id is null") {
		t.Errorf("null in a required column: %v", err)
	}
	if _, err := enc.Append(nil, batchOf(t, required, `[{"id": 1}]`), 0); err != nil {
		t.Errorf("the row after an error: %v", err)
	}
	text := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}}, nil)
	if _, err := logfile.NewEncoder(tinySchema, text); err == nil {
		t.Error("a text for a long: no error")
	}
	if _, err := enc.Append(nil, batchOf(t, text, `[{"id": "1"}]`), 0); err == nil {
		t.Error("a batch of texts for a long: no error")
	}
	other := arrow.NewSchema([]arrow.Field{{Name: "key", Type: arrow.PrimitiveTypes.Int64}}, nil)
	if _, err := logfile.NewEncoder(tinySchema, other); err == nil {
		t.Error("another column: no error")
	}

	narrow := arrow.NewSchema([]arrow.Field{{Name: "p", Type: &arrow.Decimal128Type{Precision: 4, Scale: 1}}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, narrow)
	b.Field(0).(*array.Decimal128Builder).Append(decimal128.FromI64(10000))
	avroText, err := schema.FromArrow("t", narrow)
	if err != nil {
		t.Fatal(err)
	}
	if enc, err = logfile.NewEncoder(avroText, narrow); err != nil {
		t.Fatal(err)
	}
	if _, err := enc.Append(nil, b.NewRecordBatch(), 0); err == nil || !strings.Contains(err.Error(), "beyond 4 digits") {
		t.Errorf("a decimal too large: %v", err)
	}
}

func TestScanner(t *testing.T) {
	text, records := encode(t, batchOf(t, wideSchema(), wideRows))
	s, err := logfile.NewScanner(text, "ts", "id", "nothing", "s", "d")
	if err != nil {
		t.Fatal(err)
	}
	values := make([]logfile.Value, 5)
	if err := s.Scan(records[0], values); err != nil {
		t.Fatal(err)
	}
	if values[0].Int != -2208988800000001 || values[1].Int != 1 || values[2].Valid || string(values[3].Bytes) != "grüße 😀" || values[4].Float != -0.1 {
		t.Errorf("row 0: %+v", values)
	}
	if err := s.Scan(records[1], values); err != nil {
		t.Fatal(err)
	}
	if values[0].Valid || !values[1].Valid || values[3].Valid {
		t.Errorf("row 1: %+v", values)
	}
	if _, err := logfile.NewScanner(text, "tags"); err == nil {
		t.Error("a list: no error")
	}
}

// Neither decoder nor scanner panics on a record that is not one, and both agree.
func FuzzDecoder(f *testing.F) {
	text, records := encode(f, batchOf(f, wideSchema(), wideRows))
	for _, r := range records {
		f.Add(r)
	}
	dec, err := logfile.NewDecoder(text, wideSchema())
	if err != nil {
		f.Fatal(err)
	}
	skip, err := logfile.NewDecoder(text, arrow.NewSchema(nil, nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		b := array.NewRecordBuilder(memory.DefaultAllocator, wideSchema())
		defer b.Release()
		none := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(nil, nil))
		defer none.Release()
		read, skipped := dec.Append(b, record), skip.Append(none, record)
		if (read == nil) != (skipped == nil) && !strings.Contains(read.Error(), "more than 128 bits") {
			t.Errorf("decoding: %v, stepping over: %v", read, skipped)
		}
	})
}
