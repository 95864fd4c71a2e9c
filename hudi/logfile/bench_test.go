package logfile_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi/logfile"
	"lakefeed/hudi/schema"
)

// orders is a batch of 13 columns with the five meta columns before them.
func orders(rows int) arrow.RecordBatch {
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
	b := array.NewRecordBuilder(memory.DefaultAllocator, sc)
	defer b.Release()
	text := func(col int, s string) { b.Field(col).(*array.StringBuilder).Append(s) }
	for i := range rows {
		text(0, "20260101000000000")
		text(1, fmt.Sprintf("20260101000000000_0_%d", i))
		text(2, strconv.Itoa(i))
		text(3, "")
		text(4, "00000001-b6f3-4013-9049-d52f615fb82a-0")
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

const benchRows = 10000

func benchContent(b *testing.B) (avroSchema string, batch arrow.RecordBatch, content []byte) {
	b.Helper()
	batch = orders(benchRows)
	avroSchema, err := schema.FromArrow("orders", batch.Schema())
	if err != nil {
		b.Fatal(err)
	}
	enc, err := logfile.NewEncoder(avroSchema, batch.Schema())
	if err != nil {
		b.Fatal(err)
	}
	content = []byte{0, 0, 0, 3, 0, 0, benchRows >> 8, benchRows & 0xff}
	for row := range benchRows {
		if content, err = enc.Append(content, batch, row); err != nil {
			b.Fatal(err)
		}
	}
	return avroSchema, batch, content
}

func report(b *testing.B) {
	b.ReportMetric(float64(benchRows*b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

func BenchmarkEncode(b *testing.B) {
	avroSchema, batch, content := benchContent(b)
	enc, err := logfile.NewEncoder(avroSchema, batch.Schema())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		content = content[:0]
		for row := range benchRows {
			if content, err = enc.Append(content, batch, row); err != nil {
				b.Fatal(err)
			}
		}
	}
	report(b)
}

func BenchmarkDecode(b *testing.B) {
	avroSchema, batch, content := benchContent(b)
	dec, err := logfile.NewDecoder(avroSchema, batch.Schema())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	builder := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema())
	for b.Loop() {
		builder.Reserve(benchRows)
		if err := dec.Decode(builder, content); err != nil {
			b.Fatal(err)
		}
		builder.NewRecordBatch().Release()
	}
	report(b)
}

func BenchmarkScanKeys(b *testing.B) {
	avroSchema, _, content := benchContent(b)
	s, err := logfile.NewScanner(avroSchema, schema.RecordKey)
	if err != nil {
		b.Fatal(err)
	}
	values := make([]logfile.Value, 1)
	b.ReportAllocs()
	for b.Loop() {
		for record, err := range logfile.Records(content) {
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Scan(record, values); err != nil {
				b.Fatal(err)
			}
		}
	}
	report(b)
}
