package pipeline

import (
	"slices"

	"lakefeed/change"
)

// learnTypes refuses, by a look at the source that may be older than the checkpoint, a
// table whose older rows show another text than before, because the type of a column was
// altered: an enum's value renamed, a composite type's attributes changed. No change of a
// row tells. V is nil where the table is not in the look. It notes what a type has got since.
func (c *checkpoint) learnTypes(v *change.Table) error {
	if v == nil || v.ID != c.TableID {
		return nil
	}
	same := *v
	same.Columns = slices.DeleteFunc(slices.Clone(v.Columns), func(col change.Column) bool {
		return !slices.ContainsFunc(c.Columns, func(k knownColumn) bool { return k.ID == col.ID && k.Shape == col.Shape })
	})
	for _, change := range c.changes(&same, nil) {
		if change.Kind == TypeRedefined {
			return firstAnew([]SchemaChange{change})
		}
	}
	c.Columns = slices.Clone(c.Columns)
	for i := range c.Columns {
		k := &c.Columns[i]
		for _, col := range same.Columns {
			if k.ID == col.ID {
				k.Type = k.Type.With(col.Definition)
			}
		}
	}
	return nil
}
