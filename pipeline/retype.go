package pipeline

import (
	"slices"

	"lakefeed/change"
)

// sameTypes refuses a source table whose older rows show another text than before,
// because the type of a column was altered: an enum's value renamed, a composite type's
// attributes changed. No change of a row tells.
func (c *checkpoint) sameTypes(v *change.Table) error {
	for _, k := range c.Columns {
		for _, col := range v.Columns {
			if col.ID == 0 || k.ID != col.ID {
				continue
			}
			if why := k.Type.Broken(col.Definition); why != "" {
				return anew("column %s of %s shows older rows otherwise than the lake: %s, which is no change of a row", col.Name, v, why)
			}
		}
	}
	return nil
}

// learnTypes is sameTypes for a look at the source that may be older than the
// checkpoint, nil where the table is not in it. It notes what a type has got since.
func (c *checkpoint) learnTypes(v *change.Table) error {
	if v == nil || v.ID != c.TableID {
		return nil
	}
	same := *v
	same.Columns = slices.DeleteFunc(slices.Clone(v.Columns), func(col change.Column) bool {
		return !slices.ContainsFunc(c.Columns, func(k knownColumn) bool { return k.ID == col.ID && k.Shape == col.Shape })
	})
	if err := c.sameTypes(&same); err != nil {
		return err
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
