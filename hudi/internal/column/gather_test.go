package column

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
)

// anyTypes are types of columns.
func anyTypes() []arrow.DataType {
	text := arrow.Field{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}
	list := arrow.ListOf(arrow.PrimitiveTypes.Int64)
	return []arrow.DataType{
		arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32,
		arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64, arrow.FixedWidthTypes.Date32,
		arrow.FixedWidthTypes.Timestamp_us, &arrow.Decimal128Type{Precision: 20, Scale: 3}, &arrow.FixedSizeBinaryType{ByteWidth: 3},
		arrow.BinaryTypes.String, arrow.BinaryTypes.Binary, arrow.BinaryTypes.LargeString, list, arrow.ListOf(list),
		arrow.MapOf(arrow.BinaryTypes.String, list), arrow.StructOf(text, arrow.Field{Name: "l", Type: arrow.ListOf(arrow.StructOf(text)), Nullable: true}),
		&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, arrow.Null,
	}
}

// TestGather holds gathered rows of every type against those that Arrow takes of joined
// batches. Some batches are slices, some have no nulls.
func TestGather(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, typ := range anyTypes() {
		schema := arrow.NewSchema([]arrow.Field{{Name: "c", Type: typ, Nullable: true}, {Name: "key", Type: arrow.PrimitiveTypes.Int32, Nullable: true}}, nil)
		var batches []arrow.RecordBatch
		var at []RowAt
		var sel []int32
		for n := range 4 {
			b := randomBatch(rnd, schema, 20, n > 1)
			if n%2 == 1 {
				b = b.NewSlice(3, 17)
			}
			batches = append(batches, b)
		}
		all, err := Join(batches)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			n, before := rnd.IntN(len(batches)), int64(0)
			for _, b := range batches[:n] {
				before += b.NumRows()
			}
			row := rnd.Int32N(int32(batches[n].NumRows()))
			at, sel = append(at, RowAt{int32(n), row}), append(sel, int32(before)+row)
		}
		bare := arrow.NewSchema(schema.Fields()[:1], nil)
		got, err := Gather(bare, batches, at)
		if err != nil {
			t.Fatal(err)
		}
		if got.NumRows() != int64(len(at)) || !got.Schema().Equal(bare) {
			t.Errorf("%s: %d rows of %s", typ, got.NumRows(), got.Schema())
		}
		sameRows(t, got, all, sel)
		none, err := Gather(bare, batches, nil)
		if err != nil || none.NumRows() != 0 {
			t.Errorf("%s: no rows: %v, %v", typ, none, err)
		}
	}
}

// TestTake holds rows that are taken, alone and many that lie one behind the other, against
// those that Arrow's kernel takes.
func TestTake(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, typ := range anyTypes() {
		schema := arrow.NewSchema([]arrow.Field{{Name: "c", Type: typ, Nullable: true}}, nil)
		for _, nulls := range []bool{false, true} {
			all := randomBatch(rnd, schema, 200, nulls)
			for _, batch := range []arrow.RecordBatch{all, all.NewSlice(13, 150), all.NewSlice(8, 8)} {
				for _, left := range []int{0, 1, 2, 20} { // one of so many rows is left out
					sel := []int32{}
					for row := range int32(batch.NumRows()) {
						if left == 0 || rnd.IntN(left) > 0 {
							sel = append(sel, row)
						}
					}
					got, err := Take(batch, sel)
					if err != nil {
						t.Fatal(err)
					}
					sameRows(t, got, batch, sel)
				}
			}
		}
	}
}

// sameRows tells that the first column of got is that of the rows of batch, as Arrow takes
// them.
func sameRows(t *testing.T, got, batch arrow.RecordBatch, sel []int32) {
	t.Helper()
	typ := batch.Column(0).DataType()
	b := array.NewInt32Builder(Allocator)
	b.AppendValues(sel, nil)
	want, err := compute.TakeArrayOpts(t.Context(), batch.Column(0), b.NewArray(), compute.TakeOptions{BoundsCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	if got.Column(0).Len() != len(sel) || got.Column(0).NullN() != want.NullN() {
		t.Errorf("%s: %d rows, %d of them null, not %d and %d", typ, got.NumRows(), got.Column(0).NullN(), len(sel), want.NullN())
		return
	}
	for row := range sel {
		if a, b := got.Column(0).ValueStr(row), want.ValueStr(row); a != b {
			t.Errorf("%s: row %d is %s, not %s", typ, row, a, b)
		}
	}
}

// randomBatch makes n rows.
func randomBatch(rnd *rand.Rand, schema *arrow.Schema, n int, nulls bool) arrow.RecordBatch {
	b := array.NewRecordBuilder(Allocator, schema)
	for i := range schema.NumFields() {
		for range n {
			appendAny(rnd, b.Field(i), nulls)
		}
	}
	return b.NewRecordBatch()
}

func appendAny(rnd *rand.Rand, b array.Builder, nulls bool) {
	if nulls && rnd.IntN(3) == 0 {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			appendAny(rnd, b.FieldBuilder(i), nulls)
		}
	case *array.MapBuilder:
		b.Append(true)
		for range rnd.IntN(3) {
			appendAny(rnd, b.KeyBuilder(), false)
			appendAny(rnd, b.ItemBuilder(), nulls)
		}
	case *array.ListBuilder:
		b.Append(true)
		for range rnd.IntN(3) {
			appendAny(rnd, b.ValueBuilder(), nulls)
		}
	case *array.FixedSizeBinaryBuilder:
		b.Append([]byte(fmt.Sprintf("%03d", rnd.IntN(1000))))
	case *array.BooleanBuilder:
		b.Append(rnd.IntN(2) == 0)
	case *array.BinaryBuilder:
		b.Append(make([]byte, rnd.IntN(5)))
	case *array.NullBuilder:
		b.AppendNull()
	case *array.Date32Builder:
		b.Append(arrow.Date32(rnd.IntN(1000)))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(rnd.Int64()))
	default:
		if err := b.AppendValueFromString(strconv.Itoa(rnd.IntN(100))); err != nil {
			panic(err)
		}
	}
}

// BenchmarkTake takes all rows but one of fifty, as a merge with logs does, beside Arrow's
// kernel in the same run.
func BenchmarkTake(b *testing.B) {
	rnd := rand.New(rand.NewPCG(5, 6))
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "s", Type: arrow.BinaryTypes.String},
		{Name: "i", Type: arrow.PrimitiveTypes.Int64},
		{Name: "d", Type: &arrow.Decimal128Type{Precision: 20, Scale: 3}},
		{Name: "t", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	batch, sel := randomBatch(rnd, schema, 10_000, false), []int32{}
	for row := range int32(batch.NumRows()) {
		if rnd.IntN(50) > 0 {
			sel = append(sel, row)
		}
	}
	b.Run("runs", func(b *testing.B) {
		for b.Loop() {
			if _, err := Take(batch, sel); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("kernel", func(b *testing.B) {
		at := array.NewInt32Builder(Allocator)
		at.AppendValues(sel, nil)
		indices := at.NewArray()
		for b.Loop() {
			for _, col := range batch.Columns() {
				if _, err := compute.TakeArrayOpts(b.Context(), col, indices, compute.TakeOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
