package main

import (
	"context"
	"crypto/md5" //nolint:gosec // texts like those of the SQL
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lakefeed/hudi"
)

// orders is the table of bench/orders.sql.
var orders = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "customer_id", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "status", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "amount", Type: &arrow.Decimal128Type{Precision: 12, Scale: 2}, Nullable: true},
	{Name: "tax", Type: &arrow.Decimal128Type{Precision: 12, Scale: 2}, Nullable: true},
	{Name: "currency", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "quantity", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "is_gift", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
	{Name: "note", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "attrs", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "score", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "created_at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
	{Name: "updated_at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
}, nil)

// wideOrders has a column of long texts.
var wideOrders = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "amount", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "doc", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "updated_at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
}, nil)

const batchRows = 16 << 10

// makeRows makes n rows from an id on, in their version-th version.
func makeRows(from, n, version int64) arrow.RecordBatch {
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = from + int64(i)
	}
	return rowsOf(ids, version)
}

func rowsOf(ids []int64, version int64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, orders)
	defer b.Release()
	text := func(c int, s string) { b.Field(c).(*array.StringBuilder).Append(s) }
	const created, updated, second = 1735689600_000000, 1748736000_000000, 1_000_000
	for _, i := range ids {
		v := i + version*13
		b.Field(0).(*array.Int64Builder).Append(i)
		b.Field(1).(*array.Int32Builder).Append(int32(i * 7919 % 1000003))
		text(2, []string{"new", "paid", "shipped", "delivered", "cancelled"}[v%5])
		b.Field(3).(*array.Decimal128Builder).Append(decimal128.FromI64(v * 37 % 1000000))
		b.Field(4).(*array.Decimal128Builder).Append(decimal128.FromI64(v * 3 % 10000))
		text(5, []string{"USD", "EUR", "GBP"}[i%3])
		b.Field(6).(*array.Int32Builder).Append(int32(v % 20))
		b.Field(7).(*array.BooleanBuilder).Append(i%7 == 0)
		text(8, "order note "+hash(i)+" "+hash(v * 2)[:12])
		text(9, fmt.Sprintf(`{"sku": "SKU-%d", "tags": ["a%d", "b%d"], "channel": "%s"}`, i%5000, i%10, i%17, []string{"web", "app", "pos"}[i%3]))
		b.Field(10).(*array.Float64Builder).Append(float64(i%1000) / 7)
		b.Field(11).(*array.TimestampBuilder).Append(arrow.Timestamp(created + i%31536000*second))
		b.Field(12).(*array.TimestampBuilder).Append(arrow.Timestamp(updated + v%31536000*second))
	}
	return b.NewRecordBatch()
}

func hash(i int64) string {
	sum := md5.Sum([]byte(strconv.FormatInt(i, 10))) //nolint:gosec // texts like those of the SQL
	return hex.EncodeToString(sum[:])
}

// writeSource writes the Parquet file that tables are filled from.
func writeSource(name string, rows int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w, err := pqarrow.NewFileWriter(orders, f, parquet.NewWriterProperties(
		parquet.WithCompression(compress.Codecs.Snappy), parquet.WithMaxRowGroupLength(8*batchRows), // its reader holds one
	), pqarrow.DefaultWriterProps())
	if err != nil {
		return err
	}
	for from := int64(1); from <= rows; from += batchRows {
		batch := makeRows(from, min(batchRows, rows+1-from), 0)
		if err := w.WriteBuffered(batch); err != nil {
			return err
		}
		batch.Release()
	}
	return w.Close()
}

// bulkInsert fills a table from the file.
func bulkInsert(ctx context.Context, t *hudi.Table, source string) error {
	r, err := file.OpenParquetFile(source, false)
	if err != nil {
		return err
	}
	defer r.Close()
	fr, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: batchRows}, memory.DefaultAllocator)
	if err != nil {
		return err
	}
	rows, err := fr.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return err
	}
	defer rows.Release()
	return insert(ctx, t, func() (arrow.RecordBatch, error) {
		if !rows.Next() {
			return nil, rows.Err()
		}
		rec := rows.RecordBatch()
		rec.Retain()
		return rec, nil
	}, hudi.BulkOptions{})
}

// insertWide fills the table of long texts: those of one row in 25.
func insertWide(ctx context.Context, t *hudi.Table, rows int64) error {
	from := int64(1)
	return insert(ctx, t, func() (arrow.RecordBatch, error) {
		if from > rows {
			return nil, nil //nolint:nilnil // the end
		}
		b := array.NewRecordBuilder(memory.DefaultAllocator, wideOrders)
		defer b.Release()
		for ; b.Field(0).Len() < batchRows && from <= rows; from++ {
			b.Field(0).(*array.Int64Builder).Append(from)
			b.Field(1).(*array.Int64Builder).Append(from * 31)
			if from%25 == 0 {
				doc := hash(from)
				b.Field(2).(*array.StringBuilder).Append(strings.Repeat(doc+hash(from+1)+doc[:17], 10_000/81))
			} else {
				b.Field(2).AppendNull()
			}
			b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(from))
		}
		return b.NewRecordBatch(), nil
	}, hudi.BulkOptions{})
}

// insert writes batches in one transaction.
func insert(ctx context.Context, t *hudi.Table, next func() (arrow.RecordBatch, error), opts hudi.BulkOptions) error {
	_, err := t.BulkInsert(ctx, func(yield func(arrow.RecordBatch, error) bool) {
		for {
			rows, err := next()
			if rows == nil && err == nil {
				return
			}
			if !yield(rows, err) || err != nil {
				return
			}
			rows.Release()
		}
	}, opts)
	return err
}
