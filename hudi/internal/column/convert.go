package column

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// A column whose type was changed by schema evolution stands in older files as it was.
// These are the changes that Hudi allows, with the values that Spark reads then:
// numbers to wider ones and to text, a float to the double of the same digits, decimals
// to wider ones, dates to text, and text to dates, decimals and binary. A whole number that
// became text, and that bytes, is read where the table was written anew between these.

// convert makes a column of type t of one of another type; ok is false where Hudi
// allows no such change.
func convert(col arrow.Array, t arrow.DataType) (out arrow.Array, ok bool, err error) {
	from := col.DataType()
	switch t.ID() {
	case arrow.STRING:
		switch from.ID() {
		case arrow.INT32, arrow.INT64, arrow.FLOAT32, arrow.FLOAT64, arrow.DECIMAL128, arrow.DATE32:
			out, err = textsOf(col)
			return out, true, err
		default:
		}
	case arrow.FLOAT32, arrow.FLOAT64:
		switch from.ID() {
		case arrow.INT32, arrow.INT64:
			out, err = cast(col, t)
			return out, true, err
		case arrow.FLOAT32:
			return doubleOf(col.(*array.Float32)), true, nil
		default:
		}
	case arrow.DECIMAL128:
		switch from.ID() {
		case arrow.INT32, arrow.INT64, arrow.FLOAT32, arrow.FLOAT64, arrow.DECIMAL128, arrow.STRING:
			if t := t.(*arrow.Decimal128Type); !narrows(from, t) {
				out, err = decimalsOf(col, t)
				return out, true, err
			}
		default:
		}
	case arrow.BINARY:
		if from.ID() == arrow.INT32 || from.ID() == arrow.INT64 {
			if out, err = textsOf(col); err != nil {
				return nil, true, err
			}
			defer out.Release()
			return Relabel(out, t, nil), true, nil
		}
	case arrow.DATE32:
		if text, isText := col.(*array.String); isText {
			out, err = datesOf(text)
			return out, true, err
		}
	default:
	}
	return nil, false, nil
}

// narrows tells whether a decimal type holds less than another one.
func narrows(from arrow.DataType, t *arrow.Decimal128Type) bool {
	f, ok := from.(*arrow.Decimal128Type)
	return ok && (f.Scale > t.Scale || f.Precision-f.Scale > t.Precision-t.Scale)
}

func cast(col arrow.Array, t arrow.DataType) (arrow.Array, error) {
	out, err := compute.CastArray(context.Background(), col, compute.UnsafeCastOptions(t))
	if err != nil {
		return nil, fmt.Errorf("make %s of %s: %w", t, col.DataType(), err)
	}
	return out, nil
}

// textsOf writes values as Java does.
func textsOf(col arrow.Array) (arrow.Array, error) {
	write, err := Text(col)
	if err != nil {
		return nil, err
	}
	b := array.NewStringBuilder(Allocator)
	defer b.Release()
	var text []byte
	for row := range col.Len() {
		if col.IsNull(row) {
			b.AppendNull()
			continue
		}
		text = write(text[:0], row)
		b.BinaryBuilder.Append(text)
	}
	return b.NewArray(), nil
}

// doubleOf makes of each float the double that is written with the same digits.
func doubleOf(col *array.Float32) arrow.Array {
	b := array.NewFloat64Builder(Allocator)
	defer b.Release()
	var text []byte
	for row := range col.Len() {
		v := col.Value(row)
		d := float64(v)
		if exact := d == math.Trunc(d) && math.Abs(d) < 1<<24; !exact && !math.IsInf(d, 0) && d == d {
			text = strconv.AppendFloat(text[:0], d, 'e', -1, 32)
			d, _ = strconv.ParseFloat(string(text), 64) // what was written is a number
		}
		if col.IsNull(row) {
			b.AppendNull()
		} else {
			b.Append(d)
		}
	}
	return b.NewArray()
}

// decimalsOf makes decimals of numbers and texts. One that the type does not hold is an
// error.
func decimalsOf(col arrow.Array, t *arrow.Decimal128Type) (arrow.Array, error) {
	b := array.NewDecimal128Builder(Allocator, t)
	defer b.Release()
	for row := range col.Len() {
		if col.IsNull(row) {
			b.AppendNull()
			continue
		}
		v, err := decimalOf(col, row, t)
		if err != nil {
			return nil, fmt.Errorf("make %s of %s: %w", t, col.ValueStr(row), err)
		}
		b.Append(v)
	}
	return b.NewArray(), nil
}

func decimalOf(col arrow.Array, row int, t *arrow.Decimal128Type) (v decimal128.Num, err error) {
	switch col := col.(type) {
	case *array.Decimal128:
		return col.Value(row).Rescale(col.DataType().(*arrow.Decimal128Type).Scale, t.Scale)
	case *array.Float32:
		return decimal128.FromString(strconv.FormatFloat(float64(col.Value(row)), 'f', -1, 32), t.Precision, t.Scale)
	case *array.Float64:
		return decimal128.FromString(strconv.FormatFloat(col.Value(row), 'f', -1, 64), t.Precision, t.Scale)
	default:
		return decimal128.FromString(col.ValueStr(row), t.Precision, t.Scale)
	}
}

func datesOf(col *array.String) (arrow.Array, error) {
	b := array.NewDate32Builder(Allocator)
	defer b.Release()
	for row := range col.Len() {
		if col.IsNull(row) {
			b.AppendNull()
			continue
		}
		d, err := time.Parse(time.DateOnly, col.Value(row))
		if err != nil {
			return nil, fmt.Errorf("make a date of %q: want yyyy-MM-dd", col.Value(row))
		}
		b.Append(arrow.Date32FromTime(d))
	}
	return b.NewArray(), nil
}
