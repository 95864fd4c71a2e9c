package hudi

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/scalar"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/column"
)

// Filter is a condition on the columns of a row. The zero value is true of every row.
// A read yields the rows of which it is true, and looks only into files, row groups and
// pages that may hold some.
//
// As in SQL a comparison with null is neither true nor false, and so is its negation. A
// float that is no number equals nothing, itself included, and is neither less nor greater.
type Filter struct {
	op     filterOp
	column string
	values []scalar.Scalar
	of     []Filter
}

type filterOp uint8

const (
	filterAll filterOp = iota
	filterIn
	filterNotIn
	filterLess
	filterLessEqual
	filterGreater
	filterGreaterEqual
	filterNull
	filterNotNull
	filterAnd
	filterOr
	filterNot
)

// Comparison is how [Compare] compares.
type Comparison string

// The comparisons.
const (
	Equal        Comparison = "="
	NotEqual     Comparison = "<>"
	Less         Comparison = "<"
	LessEqual    Comparison = "<="
	Greater      Comparison = ">"
	GreaterEqual Comparison = ">="
)

var comparisons = map[Comparison]filterOp{
	Equal: filterIn, NotEqual: filterNotIn, Less: filterLess, LessEqual: filterLessEqual,
	Greater: filterGreater, GreaterEqual: filterGreaterEqual,
}

// Compare compares a column with a value: one of the column's type, an integer for any
// type of numbers, or a text that is read as the column's type. Columns of lists, maps
// and structs are not compared.
func Compare(column string, how Comparison, value scalar.Scalar) Filter {
	return Filter{op: comparisons[how], column: column, values: []scalar.Scalar{value}}
}

// In is true where the column has one of the values, which are as for [Compare].
func In(column string, values ...scalar.Scalar) Filter {
	return Filter{op: filterIn, column: column, values: values}
}

// IsNull is true where the column is null. It is never unknown.
func IsNull(column string) Filter { return Filter{op: filterNull, column: column} }

// And is true where all conditions are.
func And(of ...Filter) Filter { return Filter{op: filterAnd, of: of} }

// Or is true where one of the conditions is.
func Or(of ...Filter) Filter { return Filter{op: filterOr, of: of} }

// Not is true where the condition is false.
func Not(of Filter) Filter { return Filter{op: filterNot, of: []Filter{of}} }

// condition is a filter on a schema, without negations.
type condition struct {
	op     filterOp
	column string
	typ    arrow.DataType
	values []basefile.Value
	of     []condition
}

var negated = map[filterOp]filterOp{
	filterIn: filterNotIn, filterNotIn: filterIn, filterLess: filterGreaterEqual, filterGreaterEqual: filterLess,
	filterGreater: filterLessEqual, filterLessEqual: filterGreater, filterNull: filterNotNull, filterNotNull: filterNull,
	filterAnd: filterOr, filterOr: filterAnd,
}

// bind makes a condition of the filter, or of its negation.
func (f Filter) bind(sc *arrow.Schema, not bool) (condition, error) {
	if f.op == filterNot {
		return f.of[0].bind(sc, !not)
	}
	c := condition{op: f.op, column: f.column}
	switch {
	case f.op == filterAll && f.column != "":
		return c, fmt.Errorf("filter on column %s: no such comparison", f.column)
	case f.op == filterAll:
		c.op = filterAnd // of nothing
	}
	if not {
		c.op = negated[c.op]
	}
	for _, part := range f.of {
		b, err := part.bind(sc, not)
		if err != nil {
			return c, err
		}
		c.of = append(c.of, b)
	}
	if f.column == "" {
		return c, nil
	}
	field, ok := sc.FieldsByName(f.column)
	if !ok {
		return c, &SchemaError{f.column, "the table does not have it"}
	}
	c.typ = field[0].Type
	for _, v := range f.values {
		bound, err := bindConstant(v, c.typ)
		if err != nil {
			return c, fmt.Errorf("filter on column %s: %w", f.column, err)
		}
		c.values = append(c.values, bound)
	}
	return c, nil
}

// plan binds the filter to a table's schema, nil where it is true of every row, and
// puts the columns that it speaks of behind the wanted ones.
func (f Filter) plan(full, wanted *arrow.Schema) (*condition, *arrow.Schema, error) {
	if f.op == filterAll && f.column == "" {
		return nil, wanted, nil
	}
	c, err := f.bind(full, false)
	if err != nil {
		return nil, nil, err
	}
	fields := slices.Clone(wanted.Fields())
	for _, name := range c.columns() {
		if !wanted.HasField(name) {
			field, _ := full.FieldsByName(name)
			fields = append(fields, field[0])
		}
	}
	return &c, arrow.NewSchema(fields, nil), nil
}

// plainPartitions tells whether partition paths are made of the partition columns'
// values as they are.
func (t *Table) plainPartitions() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.props.checkKeyGenerator() == nil
}

// columns are the names that the condition speaks of.
func (c *condition) columns() []string {
	var out []string
	if c.column != "" {
		out = append(out, c.column)
	}
	for i := range c.of {
		for _, name := range c.of[i].columns() {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// bindConstant makes a value comparable with those of a column.
func bindConstant(v scalar.Scalar, t arrow.DataType) (basefile.Value, error) {
	if v == nil || !v.IsValid() {
		return basefile.Value{}, errors.New("compared with null, which is never true: use IsNull")
	}
	if basefile.KindOf(t) == basefile.NoKind {
		return basefile.Value{}, fmt.Errorf("values of type %s are not compared", t)
	}
	text, isText := "", false
	switch v := v.(type) {
	case *scalar.String:
		text, isText = string(v.Data()), true
	case *scalar.Int8, *scalar.Int16, *scalar.Int32, *scalar.Int64, *scalar.Uint8, *scalar.Uint16, *scalar.Uint32, *scalar.Uint64:
		switch t.ID() {
		case arrow.INT32, arrow.INT64, arrow.FLOAT32, arrow.FLOAT64, arrow.DECIMAL128:
			text, isText = v.String(), true
		default:
		}
	}
	c, err := basefile.Value{}, error(nil)
	switch {
	case isText:
		c, err = parseConstant(text, t)
	case arrow.TypeEqual(v.DataType(), t):
		c, err = scalarConstant(v)
	case basefile.KindOf(t) == basefile.FloatKind && basefile.KindOf(v.DataType()) == basefile.FloatKind:
		c, err = scalarConstant(v)
	default:
		err = fmt.Errorf("it is %s, and the value %s", t, v.DataType())
	}
	return c, err
}

// parseConstant reads a text as a value of a type.
func parseConstant(text string, t arrow.DataType) (basefile.Value, error) {
	switch t := t.(type) {
	case *arrow.Decimal128Type:
		return parseDecimal(text, t)
	case *arrow.Float32Type, *arrow.Float64Type:
		f, err := strconv.ParseFloat(text, 64)
		return basefile.Value{Kind: basefile.FloatKind, Float: f}, err
	case *arrow.StringType, *arrow.BinaryType, *arrow.FixedSizeBinaryType:
		return basefile.Value{Kind: basefile.BytesKind, Bytes: []byte(text)}, nil
	}
	v, err := scalar.ParseScalar(t, text)
	if err != nil {
		return basefile.Value{}, fmt.Errorf("%q is no value of type %s: %w", text, t, err)
	}
	return scalarConstant(v)
}

// parseDecimal reads a decimal that loses no digit.
func parseDecimal(text string, t *arrow.Decimal128Type) (basefile.Value, error) {
	c := basefile.Value{Kind: basefile.DecimalKind}
	want, ok := new(big.Rat).SetString(text)
	if !ok {
		return c, fmt.Errorf("%q is no value of type %s", text, t)
	}
	unscaled := new(big.Rat).Mul(want, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil)))
	if !unscaled.IsInt() || unscaled.Num().BitLen() > 127 {
		return c, fmt.Errorf("%q has more digits than type %s", text, t)
	}
	c.Decimal = decimal128.FromBigInt(unscaled.Num())
	return c, nil
}

// scalarConstant takes the value out of a scalar.
func scalarConstant(v scalar.Scalar) (basefile.Value, error) {
	arr, err := scalar.MakeArrayFromScalar(v, 1, column.Allocator)
	if err != nil {
		return basefile.Value{}, err
	}
	defer arr.Release()
	value, err := constantsOf(arr)
	if err != nil {
		return basefile.Value{}, err
	}
	c := value(0)
	c.Bytes = bytes.Clone(c.Bytes)
	return c, nil
}
