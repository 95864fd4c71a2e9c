// Package basetest makes rows of every type for tests, and the base files that other
// writers would make of them.
package basetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lakefeed/hudi/schema"
)

// Schema has a column of each kind, the meta columns before them.
func Schema() *arrow.Schema {
	return schema.ArrowWithMeta(arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "i", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "f", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
		{Name: "d", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "b", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "raw", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "ts", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "small", Type: &arrow.Decimal128Type{Precision: 9, Scale: 2}, Nullable: true},
		{Name: "price", Type: &arrow.Decimal128Type{Precision: 18, Scale: 4}, Nullable: true},
		{Name: "big", Type: &arrow.Decimal128Type{Precision: 38, Scale: 18}, Nullable: true},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "point", Type: arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int32, Nullable: true}), Nullable: true},
		{Name: "m", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int32), Nullable: true},
	}, nil))
}

const rows = `[
{"_hoodie_commit_time": "20260101000000000", "_hoodie_commit_seqno": "20260101000000000_0_1", "_hoodie_record_key": "9", "_hoodie_partition_path": "", "_hoodie_file_name": "f.parquet",
 "id": 9, "i": -5, "f": 1.5, "d": -0.1, "b": true, "s": "grüße 😀", "raw": "AP8=", "day": "1582-10-04", "ts": "1899-12-31T23:59:59.999999Z", "small": "-1234567.89", "price": "-48.9999", "big": "-99999999999999999999.999999999999999999", "tags": ["a", null, ""], "point": {"x": 7}, "m": [{"key": "k", "value": 1}]},
{"_hoodie_commit_time": "20260101000000000", "_hoodie_commit_seqno": "20260101000000000_0_2", "_hoodie_record_key": "10", "_hoodie_partition_path": "", "_hoodie_file_name": "f.parquet",
 "id": 10, "i": null, "f": null, "d": null, "b": null, "s": null, "raw": null, "day": null, "ts": null, "small": null, "price": null, "big": null, "tags": null, "point": null, "m": null},
{"_hoodie_commit_time": "20260101000000000", "_hoodie_commit_seqno": "20260101000000000_0_3", "_hoodie_record_key": "11", "_hoodie_partition_path": "", "_hoodie_file_name": "f.parquet",
 "id": 11, "i": 0, "f": 0, "d": 0, "b": false, "s": "", "raw": "", "day": "9999-12-31", "ts": "9999-12-31T23:59:59Z", "small": "0.00", "price": "99999999999999.9999", "big": "0", "tags": [], "point": {"x": null}, "m": []}
]`

// Batch has three rows of [Schema].
func Batch(t testing.TB) arrow.RecordBatch {
	t.Helper()
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, Schema(), strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// Rows makes rows with these keys and random values.
func Rows(rnd *rand.Rand, sc *arrow.Schema, keys []string, name string) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, sc)
	defer b.Release()
	instant := fmt.Sprintf("2026010100000%04d", rnd.IntN(20))
	for i, k := range keys {
		for c, v := range []string{instant, fmt.Sprintf("%s_0_%d", instant, i), k, "", name} {
			b.Field(c).(*array.StringBuilder).Append(v)
		}
		for c := len(schema.MetaFields); c < sc.NumFields(); c++ {
			appendRandom(rnd, b.Field(c), sc.Field(c).Nullable)
		}
	}
	return b.NewRecordBatch()
}

// appendRandom appends a random value, now and then null.
func appendRandom(rnd *rand.Rand, b array.Builder, nullable bool) {
	if nullable && rnd.IntN(4) == 0 {
		b.AppendNull()
		return
	}
	n := rnd.Int64N(1000) - 500
	switch b := b.(type) {
	case *array.Int32Builder:
		b.Append(int32(n))
	case *array.Int64Builder:
		b.Append(n << rnd.IntN(40))
	case *array.Float32Builder:
		b.Append(float32(n) / 3)
	case *array.Float64Builder:
		b.Append([]float64{float64(n), math.Copysign(0, -1), 0, math.Inf(1)}[rnd.IntN(4)])
	case *array.BooleanBuilder:
		b.Append(n > 0)
	case *array.StringBuilder:
		b.Append(strings.Repeat(strconv.FormatInt(n%7, 10), rnd.IntN(30)))
	case *array.BinaryBuilder:
		b.Append(bytes.Repeat([]byte{byte(n)}, rnd.IntN(9)))
	case *array.Date32Builder:
		b.Append(arrow.Date32(n))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(n * 1e9))
	case *array.Decimal128Builder:
		b.Append(decimal128.FromI64(n))
	case *array.ListBuilder:
		b.Append(true)
		for range rnd.IntN(4) {
			appendRandom(rnd, b.ValueBuilder(), true)
		}
	case *array.MapBuilder:
		b.Append(true)
		for i := range rnd.IntN(3) {
			b.KeyBuilder().(*array.StringBuilder).Append(strconv.Itoa(i))
			appendRandom(rnd, b.ItemBuilder(), true)
		}
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			appendRandom(rnd, b.FieldBuilder(i), true)
		}
	default:
		panic(fmt.Sprintf("%T", b))
	}
}

// Foreign writes a base file as other writers might.
func Foreign(t testing.TB, rnd *rand.Rand, avro string, batch arrow.RecordBatch) []byte {
	t.Helper()
	var out bytes.Buffer
	version := []parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2}[rnd.IntN(2)]
	props := []parquet.WriterProperty{
		parquet.WithCompression([]compress.Compression{compress.Codecs.Snappy, compress.Codecs.Zstd, compress.Codecs.Gzip, compress.Codecs.Uncompressed}[rnd.IntN(4)]),
		parquet.WithDictionaryDefault(rnd.IntN(2) == 0), parquet.WithDataPageVersion(version),
		parquet.WithDataPageSize(int64(200 + rnd.IntN(5000))), parquet.WithBatchSize(int64(1 + rnd.IntN(50))),
		parquet.WithDictionaryPageSizeLimit(int64(100 + rnd.IntN(5000))), parquet.WithStats(rnd.IntN(3) > 0),
		parquet.WithPageIndexEnabled(rnd.IntN(2) == 0), parquet.WithRootRepetition(parquet.Repetitions.Required),
	}
	if rnd.IntN(4) == 0 {
		props = append(props, parquet.WithEncodingFor("i", parquet.Encodings.DeltaBinaryPacked), parquet.WithDictionaryFor("i", false))
	}
	w, err := pqarrow.NewFileWriter(batch.Schema(), &out, parquet.NewWriterProperties(props...), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	rows := batch.NumRows()
	for from := int64(0); from < rows; from += rows/3 + 1 {
		if err := w.Write(batch.NewSlice(from, min(from+rows/3+1, rows))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.AppendKeyValueMetadata("parquet.avro.schema", avro), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// RowJSON is a row without its nulls, the columns in their order.
func RowJSON(batch arrow.RecordBatch, row int) string {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, col := range batch.Columns() {
		if col.IsNull(row) {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(jsonValue(col, row))
		if err != nil {
			value = []byte(err.Error())
		}
		fmt.Fprintf(&b, "%q:%s", batch.ColumnName(i), value)
	}
	b.WriteByte('}')
	return b.String()
}

func jsonValue(col arrow.Array, row int) any {
	if t, ok := col.(*array.Timestamp); ok {
		return t.Value(row).ToTime(t.DataType().(*arrow.TimestampType).Unit).UTC().Format("2006-01-02T15:04:05.999999999Z")
	}
	return col.GetOneForMarshal(row)
}

// FromJSON makes a batch of a list of objects.
func FromJSON(t testing.TB, fields []arrow.Field, text string) arrow.RecordBatch {
	t.Helper()
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema(fields, nil), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}
