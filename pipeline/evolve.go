package pipeline

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/change"
)

// CopyAnew is the way out for a table that cannot go on.
const CopyAnew = "let it be copied anew, beside the others: lakefeed resync"

// AnewError is a table of the source that is no longer what its table in the lake
// was made from, in a way that the log does not tell: it has to be copied anew.
type AnewError struct {
	What   string
	Schema bool // a change of its schema is why
}

// Error says what has changed, and the way out.
func (e *AnewError) Error() string { return e.What + ": " + CopyAnew }

func anew(format string, args ...any) error { return &AnewError{What: fmt.Sprintf(format, args...)} }

// settle takes over what the source says of the columns that the lake has, where v was
// found to be still the same: a table that is written anew by VACUUM FULL, and altered
// in a harmless way long after, is not one that an ALTER TABLE wrote anew.
func (c *checkpoint) settle(v *change.Table) {
	if c.TableID != v.ID {
		return
	}
	if v.Storage != "" {
		c.Storage = v.Storage
	}
	c.Columns = slices.Clone(c.Columns)
	for i := range c.Columns {
		for _, col := range v.Columns {
			if k := &c.Columns[i]; k.ID == col.ID && k.ID != 0 {
				k.Shape, k.Default, k.Type, k.Reads = col.Shape, col.Default, k.Type.With(col.Definition), cmp.Or(col.Reads, k.Reads)
			}
		}
	}
}

// evolve is the lake's schema with the columns that v has beyond it, and those
// columns. A type that a lake table cannot take on in place is an [AnewError].
func evolve(v *change.Table, lake *arrow.Schema) (*arrow.Schema, []int, error) {
	names := columnNames(v)
	fields := append([]arrow.Field(nil), lake.Fields()...)
	var added []int
	for i, c := range v.Columns {
		idx := lake.FieldIndices(names[i])
		if len(idx) == 0 {
			added = append(added, i)
			fields = append(fields, arrow.Field{Name: names[i], Type: c.Arrow, Nullable: true})
			continue
		}
		f := &fields[idx[0]]
		if arrow.TypeEqual(f.Type, c.Arrow) || widens(c.Arrow, f.Type) {
			continue
		}
		if !widens(f.Type, c.Arrow) {
			return nil, nil, &AnewError{What: unlike(c, names[i], lake), Schema: true}
		}
		f.Type = c.Arrow
	}
	return arrow.NewSchema(fields, nil), added, nil
}
