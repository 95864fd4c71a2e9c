package column

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
)

// Fit returns col, which a writer of rows gives, as an array of type t: integers
// and floats widened, timestamps in t's unit, nested fields by name. Most columns
// share col's memory. The caller releases the result.
func Fit(col arrow.Array, t arrow.DataType) (arrow.Array, error) {
	return fitter{}.fit(col, t)
}

// Evolve returns col, as a foreign file has it, as an array of type t: as
// Fit does, and where the column's type was changed, as convert says.
func Evolve(col arrow.Array, t arrow.DataType) (arrow.Array, error) {
	return fitter{evolved: true}.fit(col, t)
}

// fitter makes arrays of another type.
type fitter struct {
	evolved bool // the array may be of a type that the column had once
}

func (f fitter) fit(col arrow.Array, t arrow.DataType) (arrow.Array, error) {
	from := col.DataType()
	if arrow.TypeEqual(from, t) {
		col.Retain()
		return col, nil
	}
	switch t := t.(type) {
	case *arrow.ListType:
		if list, ok := col.(*array.List); ok {
			return f.list(list, t, t.Elem())
		}
	case *arrow.MapType:
		if m, ok := col.(*array.Map); ok {
			return f.list(m.List, t, t.Elem())
		}
	case *arrow.StructType:
		if s, ok := col.(*array.Struct); ok {
			return f.structs(s, t)
		}
	}
	if d, ok := col.(*array.Dictionary); ok {
		return f.dictionary(d, t)
	}
	switch {
	case sameLayout(from, t):
		return Relabel(col, t, col.Data().Children()), nil
	case f.evolved:
		if out, ok, err := convert(col, t); ok {
			return out, err
		}
	}
	if Castable(from, t) {
		out, err := compute.CastArray(context.Background(), col, f.castOptions(t))
		if err != nil {
			return nil, fmt.Errorf("make %s of %s: %w", t, from, err)
		}
		return out, nil
	}
	return nil, fmt.Errorf("the file has %s for it, which is not read as %s", from, t)
}

// castOptions are those of a conversion that keeps every value; but what of a time in a
// foreign file is smaller than the type's unit is left out.
func (f fitter) castOptions(t arrow.DataType) *compute.CastOptions {
	opts := compute.SafeCastOptions(t)
	opts.AllowTimeTruncate = f.evolved
	return opts
}

// dictionary is a column of references as the values that they name.
func (f fitter) dictionary(d *array.Dictionary, t arrow.DataType) (arrow.Array, error) {
	values, err := f.fit(d.Dictionary(), t)
	if err != nil {
		return nil, err
	}
	defer values.Release()
	out, err := compute.TakeArrayOpts(context.Background(), values, d.Indices(), compute.TakeOptions{BoundsCheck: true})
	if err != nil {
		return nil, fmt.Errorf("make %s of a dictionary: %w", t, err)
	}
	return out, nil
}

// sameLayout tells whether arrays of type a are arrays of type b with another label.
func sameLayout(a, b arrow.DataType) bool {
	switch b := b.(type) {
	case *arrow.StringType:
		return a.ID() == arrow.BINARY
	case *arrow.BinaryType:
		return a.ID() == arrow.STRING
	case *arrow.TimestampType:
		a, ok := a.(*arrow.TimestampType)
		return ok && a.Unit == b.Unit
	case *arrow.Decimal128Type:
		a, ok := a.(*arrow.Decimal128Type)
		return ok && a.Scale == b.Scale && a.Precision <= b.Precision
	}
	return false
}

// Castable names the conversions that keep every value.
func Castable(a, b arrow.DataType) bool {
	switch b.(type) {
	case *arrow.Int32Type:
		return a.ID() == arrow.INT8 || a.ID() == arrow.INT16 || a.ID() == arrow.UINT8 || a.ID() == arrow.UINT16
	case *arrow.Int64Type:
		return a.ID() == arrow.INT8 || a.ID() == arrow.INT16 || a.ID() == arrow.INT32 ||
			a.ID() == arrow.UINT8 || a.ID() == arrow.UINT16 || a.ID() == arrow.UINT32
	case *arrow.Float64Type:
		return a.ID() == arrow.FLOAT32 || a.ID() == arrow.INT32
	case *arrow.LargeStringType, *arrow.LargeBinaryType:
		return a.ID() == arrow.STRING || a.ID() == arrow.BINARY
	case *arrow.StringType:
		return a.ID() == arrow.LARGE_STRING
	case *arrow.BinaryType:
		return a.ID() == arrow.LARGE_BINARY || a.ID() == arrow.FIXED_SIZE_BINARY
	case *arrow.TimestampType:
		return a.ID() == arrow.TIMESTAMP
	case *arrow.Time64Type:
		return a.ID() == arrow.TIME32
	}
	return false
}

// Relabel is col as an array of type t with these children.
func Relabel(col arrow.Array, t arrow.DataType, children []arrow.ArrayData) arrow.Array {
	d := col.Data()
	data := array.NewData(t, d.Len(), d.Buffers(), children, d.NullN(), d.Offset())
	defer data.Release()
	return array.MakeFromData(data)
}

func (f fitter) list(list *array.List, t, elem arrow.DataType) (arrow.Array, error) {
	values, err := f.fit(list.ListValues(), elem)
	if err != nil {
		return nil, err
	}
	defer values.Release()
	return Relabel(list, t, []arrow.ArrayData{values.Data()}), nil
}

func (f fitter) structs(s *array.Struct, t *arrow.StructType) (arrow.Array, error) {
	have := s.DataType().(*arrow.StructType)
	d := s.Data()
	fields := make([]arrow.Array, t.NumFields())
	children := make([]arrow.ArrayData, t.NumFields())
	defer Release(fields)
	for i, field := range t.Fields() {
		at, ok := have.FieldIdx(field.Name)
		if !ok {
			fields[i] = array.MakeArrayOfNull(Allocator, field.Type, d.Offset()+d.Len())
			children[i] = fields[i].Data()
			continue
		}
		child := array.MakeFromData(d.Children()[at])
		fit, err := f.fit(child, field.Type)
		child.Release()
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", field.Name, err)
		}
		fields[i], children[i] = fit, fit.Data()
	}
	return Relabel(s, t, children), nil
}
