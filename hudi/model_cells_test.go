package hudi

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"lakefeed/hudi/internal/column"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/scalar"
)

// A cell of the model is nil for null, else a value that == compares: that of the column's
// type in Go, of a decimal its unscaled number, of bytes a string, of a struct its text.

var modelDecimal = &arrow.Decimal128Type{Precision: 12, Scale: 2}

// modelTypes are those of the columns that come and go.
var modelTypes = []arrow.DataType{
	arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64,
	arrow.BinaryTypes.String, arrow.BinaryTypes.Binary, arrow.FixedWidthTypes.Timestamp_us, arrow.FixedWidthTypes.Boolean, modelDecimal,
}

// modelWider are the types that a column of each type may be given.
func modelWider(t arrow.DataType) []arrow.DataType {
	var out []arrow.DataType
	for _, to := range append(modelTypes, &arrow.Decimal128Type{Precision: 13, Scale: 2}) {
		if !arrow.TypeEqual(t, to) && widens(t, to) {
			out = append(out, to)
		}
	}
	return out
}

func randomCell(rnd *rand.Rand, f arrow.Field) any {
	if f.Nullable && rnd.IntN(5) == 0 {
		return nil
	}
	switch f.Type.ID() {
	case arrow.INT32:
		return rnd.Int32N(200) - 100
	case arrow.INT64, arrow.DECIMAL128:
		return rnd.Int64N(1e6) - 1000
	case arrow.TIMESTAMP:
		return arrow.Timestamp(rnd.Int64N(1e15))
	case arrow.FLOAT32:
		return float32(rnd.IntN(1000)) / 4
	case arrow.FLOAT64:
		return float64(rnd.IntN(1000)) / 8
	case arrow.BOOL:
		return rnd.IntN(2) == 0
	default:
		return fmt.Sprint("näme", rnd.IntN(50))
	}
}

func appendCell(b array.Builder, cell any) {
	if cell == nil {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.Int32Builder:
		b.Append(cell.(int32))
	case *array.Int64Builder:
		b.Append(cell.(int64))
	case *array.Float32Builder:
		b.Append(cell.(float32))
	case *array.Float64Builder:
		b.Append(cell.(float64))
	case *array.BooleanBuilder:
		b.Append(cell.(bool))
	case *array.TimestampBuilder:
		b.Append(cell.(arrow.Timestamp))
	case *array.Decimal128Builder:
		b.Append(decimal128.FromI64(cell.(int64)))
	case *array.StringBuilder:
		b.Append(cell.(string))
	case *array.BinaryBuilder:
		b.Append([]byte(cell.(string)))
	default:
		panic(fmt.Sprintf("no cells of %s", b.Type()))
	}
}

func cellOf(c arrow.Array, i int) any {
	if c.IsNull(i) {
		return nil
	}
	switch c := c.(type) {
	case *array.Int32:
		return c.Value(i)
	case *array.Int64:
		return c.Value(i)
	case *array.Float32:
		return c.Value(i)
	case *array.Float64:
		return c.Value(i)
	case *array.Boolean:
		return c.Value(i)
	case *array.Timestamp:
		return c.Value(i)
	case *array.Decimal128:
		return int64(c.Value(i).LowBits())
	case *array.String:
		return string([]byte(c.Value(i)))
	case *array.Binary:
		return string(c.Value(i))
	default:
		panic(fmt.Sprintf("no cells of %s", c.DataType()))
	}
}

// scalarOf is a cell as a filter's value.
func scalarOf(cell any, t arrow.DataType) scalar.Scalar {
	b := array.NewBuilder(column.Allocator, t)
	defer b.Release()
	appendCell(b, cell)
	a := b.NewArray()
	defer a.Release()
	s, err := scalar.GetScalar(a, 0)
	if err != nil {
		panic(err)
	}
	return s
}

// widened is a cell of one type in another.
func widened(cell any, to arrow.DataType) any {
	switch v := cell.(type) {
	case int32:
		switch to.ID() {
		case arrow.INT64:
			return int64(v)
		case arrow.FLOAT64:
			return float64(v)
		case arrow.STRING, arrow.BINARY:
			return strconv.Itoa(int(v))
		default:
		}
	case int64:
		if to.ID() == arrow.STRING || to.ID() == arrow.BINARY {
			return strconv.FormatInt(v, 10)
		}
	case float32:
		if to.ID() == arrow.FLOAT64 {
			return float64(v)
		}
	}
	return cell
}

// modelState is what a table holds: rows with a cell for each column.
type modelState struct {
	schema *arrow.Schema
	rows   map[place][]any
}

func sameColumns(a, b *arrow.Schema) bool {
	return slices.EqualFunc(a.Fields(), b.Fields(), func(a, b arrow.Field) bool { return a.Name == b.Name && arrow.TypeEqual(a.Type, b.Type) })
}

func (s modelState) equal(o modelState) bool {
	if !sameColumns(s.schema, o.schema) || len(s.rows) != len(o.rows) {
		return false
	}
	for p, row := range s.rows {
		if other, ok := o.rows[p]; !ok || !slices.Equal(row, other) {
			return false
		}
	}
	return true
}

// in is the state in another schema: columns are found by name, others are null.
func (s modelState) in(next *arrow.Schema) modelState {
	if s.schema.Equal(next) {
		return s
	}
	from := make([]int, next.NumFields())
	for i, f := range next.Fields() {
		from[i] = slices.IndexFunc(s.schema.Fields(), func(o arrow.Field) bool { return o.Name == f.Name })
	}
	out := modelState{next, make(map[place][]any, len(s.rows))}
	for p, row := range s.rows {
		cells := make([]any, len(from))
		for i, at := range from {
			if at >= 0 {
				cells[i] = widened(row[at], next.Field(i).Type)
			}
		}
		out.rows[p] = cells
	}
	return out
}

// batch makes a record of rows.
func (s modelState) batch(rows [][]any) arrow.RecordBatch {
	b := array.NewRecordBuilder(column.Allocator, s.schema)
	defer b.Release()
	for _, row := range rows {
		for i, cell := range row {
			appendCell(b.Field(i), cell)
		}
	}
	return b.NewRecordBatch()
}

func modelUnion[K comparable, V any](a, b map[K]V) map[K]bool {
	out := map[K]bool{}
	for _, m := range []map[K]V{a, b} {
		for k := range m {
			out[k] = true
		}
	}
	return out
}
