package hudi

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/column"
)

// truth is what a condition is of a row.
type truth int8

const (
	isFalse truth = iota
	isTrue
	isUnknown
)

// constantsOf are the values of a column.
func constantsOf(col arrow.Array) (func(row int) basefile.Value, error) {
	integer := func(at func(row int) int64) func(int) basefile.Value {
		return func(row int) basefile.Value { return basefile.Value{Kind: basefile.IntKind, Int: at(row)} }
	}
	switch col := col.(type) {
	case *array.Boolean:
		return integer(func(row int) int64 {
			if col.Value(row) {
				return 1
			}
			return 0
		}), nil
	case *array.Int32:
		return integer(func(row int) int64 { return int64(col.Value(row)) }), nil
	case *array.Int64:
		return integer(col.Value), nil
	case *array.Date32:
		return integer(func(row int) int64 { return int64(col.Value(row)) }), nil
	case *array.Time32:
		return integer(func(row int) int64 { return int64(col.Value(row)) }), nil
	case *array.Time64:
		return integer(func(row int) int64 { return int64(col.Value(row)) }), nil
	case *array.Timestamp:
		return integer(func(row int) int64 { return int64(col.Value(row)) }), nil
	case *array.Float32:
		return func(row int) basefile.Value {
			return basefile.Value{Kind: basefile.FloatKind, Float: float64(col.Value(row))}
		}, nil
	case *array.Float64:
		return func(row int) basefile.Value { return basefile.Value{Kind: basefile.FloatKind, Float: col.Value(row)} }, nil
	case *array.String:
		return func(row int) basefile.Value {
			return basefile.Value{Kind: basefile.BytesKind, Bytes: []byte(col.Value(row))}
		}, nil
	case *array.Binary:
		return func(row int) basefile.Value { return basefile.Value{Kind: basefile.BytesKind, Bytes: col.Value(row)} }, nil
	case *array.FixedSizeBinary:
		return func(row int) basefile.Value { return basefile.Value{Kind: basefile.BytesKind, Bytes: col.Value(row)} }, nil
	case *array.Decimal128:
		return func(row int) basefile.Value {
			return basefile.Value{Kind: basefile.DecimalKind, Decimal: col.Value(row)}
		}, nil
	}
	return nil, fmt.Errorf("values of type %s are not compared", col.DataType())
}

// eval tells what the condition is of each row.
func (c *condition) eval(batch arrow.RecordBatch) ([]truth, error) {
	if c.op == filterAnd || c.op == filterOr {
		return c.evalParts(batch)
	}
	out := make([]truth, batch.NumRows())
	at := batch.Schema().FieldIndices(c.column)
	if len(at) == 0 {
		return nil, &SchemaError{c.column, "the rows do not have it"}
	}
	col := batch.Column(at[0])
	if c.op == filterNull || c.op == filterNotNull {
		for row := range out {
			if col.IsNull(row) == (c.op == filterNull) {
				out[row] = isTrue
			}
		}
		return out, nil
	}
	value, err := constantsOf(col)
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", c.column, err)
	}
	for row := range out {
		if col.IsNull(row) {
			out[row] = isUnknown
			continue
		}
		v := value(row)
		if c.holds(&v) {
			out[row] = isTrue
		}
	}
	return out, nil
}

// evalParts joins what the parts of the condition are.
func (c *condition) evalParts(batch arrow.RecordBatch) ([]truth, error) {
	out := make([]truth, batch.NumRows())
	decides, other := isFalse, isTrue // of and: one that is false; all true otherwise
	if c.op == filterOr {
		decides, other = isTrue, isFalse
	}
	for row := range out {
		out[row] = other
	}
	for i := range c.of {
		part, err := c.of[i].eval(batch)
		if err != nil {
			return nil, err
		}
		for row, t := range part {
			if t == decides || t == isUnknown && out[row] != decides {
				out[row] = t
			}
		}
	}
	return out, nil
}

// holds tells whether a comparison is true of a value that is not null.
func (c *condition) holds(v *basefile.Value) bool {
	if c.op == filterIn || c.op == filterNotIn {
		found := slices.ContainsFunc(c.values, func(o basefile.Value) bool {
			order, ok := v.Compare(&o)
			return ok && order == 0
		})
		return found == (c.op == filterIn)
	}
	order, ok := v.Compare(&c.values[0])
	return ok && inOrder(c.op, order)
}

// inOrder tells whether two values in that order are what a comparison asks for.
func inOrder(op filterOp, order int) bool {
	switch op {
	case filterLess:
		return order < 0
	case filterLessEqual:
		return order <= 0
	case filterGreater:
		return order > 0
	default:
		return order >= 0
	}
}

// filtered makes of a function that takes batches one that takes rows of which the
// condition is true, and of these the first columns.
func (c *condition) filtered(columns *arrow.Schema, yield func(arrow.RecordBatch) error) func(arrow.RecordBatch) error {
	return func(batch arrow.RecordBatch) error {
		truths, err := c.eval(batch)
		if err != nil {
			return err
		}
		sel := make([]int32, 0, len(truths))
		for row, t := range truths {
			if t == isTrue {
				sel = append(sel, int32(row))
			}
		}
		if len(sel) == 0 {
			return nil
		}
		narrow := array.NewRecordBatch(columns, batch.Columns()[:columns.NumFields()], batch.NumRows())
		defer narrow.Release()
		kept, err := column.Take(narrow, sel)
		if err != nil {
			return err
		}
		defer kept.Release()
		return yield(kept)
	}
}
