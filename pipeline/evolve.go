package pipeline

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/change"
)

// CopyAnew is the way out for a table that cannot go on.
const CopyAnew = "stop the pipeline, remove the table's folder from the lake, and start it: the table is copied anew"

// AnewError is a table of the source that is no longer what its table in the lake
// was made from, in a way that the log does not tell: it has to be copied anew.
type AnewError struct{ What string }

// Error says what has changed, and the way out.
func (e *AnewError) Error() string { return e.What + ": " + CopyAnew }

func anew(format string, args ...any) error { return &AnewError{fmt.Sprintf(format, args...)} }

// still checks that version v of the source table is the one that the checkpoint
// is of, or came from it by changes that the stream brings. Names alone do not tell:
// a table may be made anew under its old name, a column dropped and added again, and
// an ALTER TABLE may write every row anew.
func (c *checkpoint) still(v *change.Table) error {
	if c.TableID != v.ID {
		return anew("the name %s belongs to another table of the source now (it was dropped and made anew, or renamed)", v)
	}
	if err := c.sameKey(v); err != nil {
		return err
	}
	byName, byID := map[string]knownColumn{}, map[int]knownColumn{}
	for _, k := range c.Columns {
		byName[k.Name], byID[k.ID] = k, k
	}
	rewritten := c.Storage != "" && v.Storage != "" && c.Storage != v.Storage
	names := columnNames(v)
	for i, col := range v.Columns {
		if col.ID == 0 {
			continue // the source's catalogs are ahead of the stream
		}
		old, known := byID[col.ID]
		before, named := byName[col.Name]
		switch {
		case known && old.Name != col.Name:
			return anew("column %s of %s was renamed to %s", old.Name, v, col.Name)
		case !known && named && before.ID != 0:
			return anew("column %s of %s was dropped and added again", col.Name, v)
		case known && old.Lake != names[i]:
			return anew("column %s of %s would be named %s in the lake, and is %s there", col.Name, v, names[i], old.Lake)
		case rewritten && !known && !named && col.Missing == nil:
			return anew("column %s was added to %s and every row was written anew: what it holds in older rows is not in the log", col.Name, v)
		case rewritten && known && old.Shape != col.Shape && old.Missing == (col.Missing != nil):
			return anew("column %s of %s was altered and every row was written anew: what it holds now is not in the log", col.Name, v)
		}
	}
	return c.sameTypes(v)
}

// settle takes over what the source says of the columns that the lake has, where v was
// found to be still the same: a table that is written anew by VACUUM FULL, and altered
// in a harmless way long after, is not one that an ALTER TABLE wrote anew.
func (c *checkpoint) settle(v *change.Table) {
	if v.Storage != "" {
		c.Storage = v.Storage
	}
	c.Columns = slices.Clone(c.Columns)
	for i := range c.Columns {
		for _, col := range v.Columns {
			if k := &c.Columns[i]; k.ID == col.ID && k.Name == col.Name {
				k.Shape, k.Missing, k.Type = col.Shape, col.Missing != nil, k.Type.With(col.Definition)
			}
		}
	}
}

// sameKey refuses a source table whose rows are identified by other columns than before.
func (c *checkpoint) sameKey(v *change.Table) error {
	key := make([]string, len(v.Key))
	for i, k := range v.Key {
		key[i] = v.Columns[k].Name
	}
	if slices.Equal(c.Key, key) {
		return nil
	}
	return anew("the key of %s is no longer (%s)", v, joined(c.Key))
}

// evolve is the lake's schema with the columns that v has beyond it, and those
// columns. A change that a lake table cannot follow in place is an [AnewError].
func evolve(v *change.Table, before *checkpoint, lake *arrow.Schema) (*arrow.Schema, []int, error) {
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
			return nil, nil, anew("column %s is %s (%s) in the source and %s in the lake", c.Name, c.Type, c.Arrow, f.Type)
		}
		f.Type = c.Arrow
	}
	for _, old := range before.Columns {
		if len(added) > 0 && columnIndex(v, old.Name) < 0 && slices.ContainsFunc(added, func(i int) bool { return v.Columns[i].ID == 0 || old.ID == 0 }) {
			// Without the columns' numbers this may be a rename, whose old values would be lost.
			return nil, nil, anew("column %s is gone from %s and %s is new: a renamed column's old values cannot be told from a new column's", old.Name, v, v.Columns[added[0]].Name)
		}
	}
	return arrow.NewSchema(fields, nil), added, nil
}
