package basefile

import (
	"fmt"
	"io"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/schema"
)

// benchBatch is a batch of 13 columns with the five meta columns before them.
func benchBatch(rows int) arrow.RecordBatch {
	sc := schema.ArrowWithMeta(arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "customer", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "status", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "total", Type: &arrow.Decimal128Type{Precision: 12, Scale: 2}, Nullable: true},
		{Name: "weight", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "paid", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "created", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "updated", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "note", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "quantity", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "_change_operation_type", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "_event_lsn", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	}, nil))
	b := array.NewRecordBuilder(column.Allocator, sc)
	defer b.Release()
	text := func(col int, s string) { b.Field(col).(*array.StringBuilder).Append(s) }
	for i := range rows {
		text(0, "20260101000000000")
		text(1, fmt.Sprintf("20260101000000000_0_%d", i))
		text(2, strconv.Itoa(i))
		text(3, "")
		text(4, "00000001-b6f3-4013-9049-d52f615fb82a-0_1-0-1_20260101000000000.parquet")
		b.Field(5).(*array.Int64Builder).Append(int64(i))
		b.Field(6).(*array.Int64Builder).Append(int64(i * 7919 % 100000))
		text(7, []string{"open", "paid", "sent", "closed"}[i%4])
		b.Field(8).(*array.Decimal128Builder).Append(decimal128.FromI64(int64(i*31) % 1e9))
		b.Field(9).(*array.Float64Builder).Append(float64(i) / 3)
		b.Field(10).(*array.BooleanBuilder).Append(i%3 == 0)
		b.Field(11).(*array.Date32Builder).Append(arrow.Date32(20000 + i%365))
		b.Field(12).(*array.TimestampBuilder).Append(arrow.Timestamp(1.7e15 + int64(i)*1e6))
		b.Field(13).AppendNull()
		text(14, "leave the parcel at the door "+strconv.Itoa(i%1000))
		b.Field(15).(*array.Int32Builder).Append(int32(i % 50))
		text(16, "c")
		b.Field(17).(*array.Int64Builder).Append(int64(1e9 + i))
	}
	return b.NewRecordBatch()
}

const benchRows = 200_000

func BenchmarkWrite(b *testing.B) {
	batch := benchBatch(benchRows)
	opts := testOptions(b, batch.Schema())
	for _, codec := range []string{"snappy", "zstd"} {
		b.Run(codec, func(b *testing.B) {
			opts.Codec = codec
			b.ReportAllocs()
			var size int64
			for b.Loop() {
				w, err := NewWriter(io.Discard, opts)
				if err != nil {
					b.Fatal(err)
				}
				for i := int64(0); i < benchRows; i += 10_000 {
					if err := w.Write(batch.NewSlice(i, i+10_000)); err != nil {
						b.Fatal(err)
					}
				}
				stats, err := w.Close()
				if err != nil {
					b.Fatal(err)
				}
				size = stats.Bytes
			}
			b.ReportMetric(float64(benchRows*b.N)/b.Elapsed().Seconds()/1e3, "krows/s")
			b.ReportMetric(float64(size)/benchRows, "B/row")
		})
	}
}

// BenchmarkRead reads all columns, and those of them that are read here also by the Parquet
// library's reader of records.
func BenchmarkRead(b *testing.B) {
	batch := benchBatch(benchRows)
	data, _ := writeFile(b, testOptions(b, batch.Schema()), batch)
	key := arrow.NewSchema([]arrow.Field{{Name: schema.RecordKey, Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	for _, c := range []struct {
		name    string
		schema  *arrow.Schema
		library bool
	}{{"all", batch.Schema(), false}, {"all by the library", batch.Schema(), true}, {"keys", key, false}, {"keys by the library", key, true}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				batches, err := readBatches(data, c.schema, c.library, 0)
				if err != nil {
					b.Fatal(err)
				}
				for _, got := range batches {
					got.Release()
				}
			}
			b.ReportMetric(float64(benchRows*b.N)/b.Elapsed().Seconds()/1e3, "krows/s")
		})
	}
}
