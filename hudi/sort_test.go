package hudi

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"lakefeed/hudi/internal/column"
)

// TestSortKeys sees that the bytes of ascending values ascend.
func TestSortKeys(t *testing.T) {
	t.Parallel()
	ints, floats := array.NewInt64Builder(column.Allocator), array.NewFloat64Builder(column.Allocator)
	ints.AppendNull()
	ints.AppendValues([]int64{math.MinInt64, -1, 0, 1, math.MaxInt64}, nil)
	floats.AppendNull()
	floats.AppendValues([]float64{math.Inf(-1), -1.5, -math.SmallestNonzeroFloat64, 0, 1e-300, 2, math.Inf(1), math.NaN()}, nil)
	texts := array.NewStringBuilder(column.Allocator)
	texts.AppendNull()
	texts.AppendValues([]string{"", "\x00", "\x00a", "\x01", "a", "a\x00", "a\x00b", "ab", "b", "ä"}, nil)
	decimals := array.NewDecimal128Builder(column.Allocator, &arrow.Decimal128Type{Precision: 38, Scale: 2})
	decimals.AppendNull()
	for _, v := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64} {
		decimals.Append(decimal128.FromI64(v))
	}
	bools := array.NewBooleanBuilder(column.Allocator)
	bools.AppendNull()
	bools.AppendValues([]bool{false, true}, nil)
	for _, b := range []array.Builder{ints, floats, texts, decimals, bools} {
		col := b.NewArray()
		batch := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "c", Type: col.DataType(), Nullable: true}}, nil), []arrow.Array{col}, int64(col.Len()))
		keys, err := sortKeys(batch, []string{"c"})
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i < keys.Len(); i++ {
			if a, b := keys.(*array.Binary).Value(i-1), keys.(*array.Binary).Value(i); bytes.Compare(a, b) >= 0 {
				t.Errorf("%s: the key of %s is not before that of %s", col.DataType(), col.ValueStr(i-1), col.ValueStr(i))
			}
		}
	}
}

// TestSort sorts by two columns, in memory and through runs.
func TestSort(t *testing.T) {
	t.Parallel()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: arrow.PrimitiveTypes.Int32, Nullable: true}, {Name: "b", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	for _, limit := range []int64{1 << 30, 20_000, 300} {
		rnd := rand.New(rand.NewPCG(1, uint64(limit)))
		s := newRowSorter(schema, byColumns("a", "b"), limit, t.TempDir())
		var want []string
		for range 60 {
			b := array.NewRecordBuilder(column.Allocator, schema)
			for range rnd.IntN(200) {
				a, text := rnd.Int32N(50)-25, strings.Repeat("x", rnd.IntN(4))
				b.Field(0).(*array.Int32Builder).Append(a)
				b.Field(1).(*array.StringBuilder).Append(text)
				want = append(want, fmt.Sprintf("%04d %s", a+100, text))
			}
			if err := s.add(t.Context(), b.NewRecordBatch()); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(want)
		if runs := len(s.runs); limit < 1<<30 && runs < 2 || limit == 1<<30 && runs > 0 || runs >= 2*runsPerLevel {
			t.Errorf("%d runs with a limit of %d bytes", runs, limit)
		}
		var got []string
		err := s.each(t.Context(), func(batch arrow.RecordBatch) error {
			for row := range int(batch.NumRows()) {
				got = append(got, fmt.Sprintf("%04d %s", batch.Column(0).(*array.Int32).Value(row)+100, batch.Column(1).(*array.String).Value(row)))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s.close()
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: %d rows, not the %d in order", limit, len(got), len(want))
		}
	}
}

// TestSortStable sorts by bytes as they are, which share much and end anywhere: in
// memory, through runs, and through runs of runs. Rows of one key stay in the order in
// which they came, and all come again when asked again.
func TestSortStable(t *testing.T) {
	t.Parallel()
	schema := arrow.NewSchema([]arrow.Field{{Name: "key", Type: arrow.BinaryTypes.Binary}, {Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	byKey := func(batch arrow.RecordBatch) (arrow.Array, error) {
		batch.Column(0).Retain()
		return batch.Column(0), nil
	}
	type row struct {
		key string
		n   int64
	}
	for _, same := range []string{"", "all keys begin so"} {
		for level, limit := range []int64{1 << 30, 30_000, 200} {
			rnd := rand.New(rand.NewPCG(3, uint64(limit)))
			s := newRowSorter(schema, byKey, limit, t.TempDir())
			var want, got []row
			for range 2*runsPerLevel + 20 {
				b := array.NewRecordBuilder(column.Allocator, schema)
				for range 1 + rnd.IntN(30) {
					r := row{same + strings.Repeat("\x00", rnd.IntN(3)) + strings.Repeat("ab", rnd.IntN(12)) + string(rune('a'+rnd.IntN(2))), int64(len(want))}
					b.Field(0).(*array.BinaryBuilder).AppendString(r.key)
					b.Field(1).(*array.Int64Builder).Append(r.n)
					want = append(want, r)
				}
				if err := s.add(t.Context(), b.NewRecordBatch()); err != nil {
					t.Fatal(err)
				}
			}
			slices.SortStableFunc(want, func(a, b row) int { return strings.Compare(a.key, b.key) })
			if level == 0 && len(s.runs) > 0 || level > 0 && (len(s.runs) == 0 || s.runs[0].level != level-1) {
				t.Errorf("%d runs with a limit of %d bytes", len(s.runs), limit)
			}
			for range 2 {
				got = got[:0]
				err := s.each(t.Context(), func(batch arrow.RecordBatch) error {
					for i := range int(batch.NumRows()) {
						got = append(got, row{string(batch.Column(0).(*array.Binary).Value(i)), batch.Column(1).(*array.Int64).Value(i)})
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%d rows of %d are not in order, limit %d", len(got), len(want), limit)
				}
			}
			s.close()
		}
	}
}
