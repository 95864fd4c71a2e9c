package postgres

import (
	"cmp"
	"maps"
	"slices"

	"lakefeed/change"
)

// TableTypes say how the values of a table land; each field's zero value is its default.
type TableTypes struct {
	// OutOfRange is what becomes of a value that its column in the lake cannot hold.
	OutOfRange OutOfRange
	// Numeric is the form of numerics without a declared precision, or with one over 38.
	Numeric NumericForm
	// Arrays is the form of arrays.
	Arrays ArrayForm
	// Composites is the form of composite types.
	Composites CompositeForm
	// Vectors is the form of pgvector's vector and halfvec.
	Vectors VectorForm
	// Geometry is the form of PostGIS's geometry and geography.
	Geometry GeometryForm
	// Columns are exceptions, by the source's name of the column. Columns of those are ignored.
	Columns map[string]TableTypes
}

// OutOfRange is what becomes of a value that its column cannot hold: NaN or infinity in a
// numeric, more digits than a decimal has, infinity or a year outside 1 to 9999 in a date
// or timestamp, a null or a second dimension in a list, text that is not UTF-8.
type OutOfRange string

// The ways. None changes a value.
const (
	Stop       OutOfRange = "stop"       // the table stops; the default
	Quarantine OutOfRange = "quarantine" // its row is handed out as a [change.Reject]
	AsText     OutOfRange = "text"       // columns that cannot hold all values of their type are text, as PostgreSQL prints it
)

// NumericForm is how numerics land that no decimal holds for sure.
type NumericForm string

// The forms of numerics.
const (
	NumericDecimal NumericForm = "decimal" // decimal(38,18), or of the declared scale; the default
	NumericText    NumericForm = "text"
)

// ArrayForm is how arrays land.
type ArrayForm string

// The forms of arrays.
const (
	ArrayJSON ArrayForm = "json" // JSON as text: any dimension, with nulls; the default
	ArrayList ArrayForm = "list" // lists: one dimension, without nulls
	ArrayText ArrayForm = "text" // as PostgreSQL prints them, with their lower bounds
)

// CompositeForm is how composite types land.
type CompositeForm string

// The forms of composites.
const (
	CompositeNested CompositeForm = "nested" // as structs; the default
	CompositeText   CompositeForm = "text"   // as PostgreSQL prints them
)

// VectorForm is how vectors land.
type VectorForm string

// The forms of vectors.
const (
	VectorText VectorForm = "text" // as pgvector prints them; the default
	VectorList VectorForm = "list" // lists of float32
)

// GeometryForm is how geometries land.
type GeometryForm string

// The forms of geometries.
const (
	GeometryText GeometryForm = "text" // as PostGIS prints them, EWKB in hexadecimal; the default
	GeometryEWKB GeometryForm = "ewkb" // bytes in EWKB, with SRID, Z and M
)

// of is what holds for a column.
func (t TableTypes) of(column string) TableTypes { return t.With(t.Columns[column]) }

// With is t where e, of a table or a column within, says nothing else.
func (t TableTypes) With(e TableTypes) TableTypes {
	t.OutOfRange, t.Numeric = cmp.Or(e.OutOfRange, t.OutOfRange), cmp.Or(e.Numeric, t.Numeric)
	t.Arrays, t.Composites = cmp.Or(e.Arrays, t.Arrays), cmp.Or(e.Composites, t.Composites)
	t.Vectors, t.Geometry = cmp.Or(e.Vectors, t.Vectors), cmp.Or(e.Geometry, t.Geometry)
	columns := maps.Clone(t.Columns)
	for name, c := range e.Columns {
		if columns == nil {
			columns = map[string]TableTypes{}
		}
		columns[name] = columns[name].With(c)
	}
	t.Columns = columns
	return t
}

// land is d in the form that the rules t ask for; flat allows no nested form, as in a
// key or within JSON.
func (d dataType) land(t TableTypes, flat bool) dataType {
	switch d.kind {
	case numeric:
		if t.OutOfRange == AsText || t.Numeric == NumericText && (d.precision == 0 || d.precision > maxPrecision || d.scale > maxPrecision) {
			d.landing = asText
		}
	case date, timestamp, timestampTZ:
		if t.OutOfRange == AsText {
			d.landing = asText
		}
	case list:
		switch {
		case t.Arrays == ArrayText:
			d.landing = asText
		case t.Arrays == ArrayList && !flat:
			e := d.elem.land(t, false)
			d.elem, d.landing = &e, nested
		}
	case composite:
		if t.Composites == CompositeText || flat || len(d.attributes) == 0 { // neither Parquet nor Spark has a struct without fields
			d.landing = asText
			break
		}
		d.landing = nested
		d.attributes = slices.Clone(d.attributes)
		for i := range d.attributes {
			d.attributes[i].dataType = d.attributes[i].land(t, false)
		}
	case embedding, halfEmbedding:
		if t.Vectors == VectorList && !flat {
			d.landing = nested
		}
	case geometry:
		if t.Geometry == GeometryEWKB && !flat {
			d.landing = nested
		}
	default:
	}
	return d
}

// landTypes gives the columns of a table whose key is known their form.
func (c *Connector) landTypes(t *change.Table, types []dataType) {
	rules := c.rules(t.Schema, t.Name)
	for i := range types {
		types[i] = types[i].land(rules.of(t.Columns[i].Name), slices.Contains(t.Key, i))
		t.Columns[i].Arrow, t.Columns[i].Reads = types[i].arrow(), types[i].reads()
	}
}

// rules are those of a table.
func (c *Connector) rules(schema, table string) TableTypes {
	if c.opts.Types == nil {
		return TableTypes{}
	}
	return c.opts.Types(schema, table)
}

// quarantines are the columns whose rows are handed out where a value does not fit.
func (c *Connector) quarantines(t *change.Table) []bool {
	rules := c.rules(t.Schema, t.Name)
	out := make([]bool, len(t.Columns))
	for i, col := range t.Columns {
		out[i] = rules.of(col.Name).OutOfRange == Quarantine
	}
	return out
}
