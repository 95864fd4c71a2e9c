package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/change"
)

// ChangeKind is what a change of a source table's schema does.
type ChangeKind string

// The kinds of changes.
const (
	ColumnAdded       ChangeKind = "column added"
	ColumnDropped     ChangeKind = "column dropped"
	ColumnRenamed     ChangeKind = "column renamed"
	ColumnRetyped     ChangeKind = "column retyped"
	ColumnRewritten   ChangeKind = "column rewritten"   // an ALTER TABLE gave every row another value
	ColumnReadded     ChangeKind = "column readded"     // dropped, and added again under its name
	TypeRedefined     ChangeKind = "type redefined"     // older values read otherwise: an enum's value was renamed
	KeyChanged        ChangeKind = "key changed"        // other columns identify the rows
	TableRemade       ChangeKind = "table made anew"    // another table has its name
	ConstraintChanged ChangeKind = "constraint changed" // of no concern to the lake
	PartitionAttached ChangeKind = "partition attached" // with rows
	PartitionDetached ChangeKind = "partition detached" // or dropped, with its rows
	PartitionEmptied  ChangeKind = "partition emptied"  // it alone was truncated
)

// SchemaChange is one difference between two descriptions of a table.
type SchemaChange struct {
	Kind   ChangeKind `json:"kind"`
	Column string     `json:"column,omitempty"` // its name before, or the constraint's
	From   string     `json:"from,omitempty"`   // name, type, key or definition
	To     string     `json:"to,omitempty"`

	anew      string // why only a new copy helps; empty: it does not need one
	rewritten bool   // the source wrote every row anew with it
	reread    bool   // the source shows older rows otherwise, though it left them alone
	blind     bool   // the source could not number a column, which may be this one under another name
}

// String says it for people.
func (c SchemaChange) String() string {
	switch c.Kind {
	case ColumnAdded:
		return fmt.Sprintf("column %s (%s) was added", c.Column, c.To)
	case ColumnDropped:
		return fmt.Sprintf("column %s was dropped", c.Column)
	case ColumnRenamed:
		return fmt.Sprintf("column %s was renamed to %s", c.Column, c.To)
	case ColumnRetyped:
		if c.To == "" { // the catalogs do not have it any more
			return fmt.Sprintf("column %s has another type and was %s", c.Column, c.From)
		}
		return fmt.Sprintf("column %s is %s and was %s", c.Column, c.To, c.From)
	case ColumnRewritten:
		return fmt.Sprintf("column %s was altered and every row was written anew", c.Column)
	case ColumnReadded:
		return fmt.Sprintf("column %s was dropped and added again", c.Column)
	case TypeRedefined:
		return fmt.Sprintf("older rows of column %s read otherwise: %s", c.Column, c.To)
	case KeyChanged:
		return fmt.Sprintf("the key is %s and was %s", c.To, c.From)
	case TableRemade:
		return "the table was dropped and made anew, or another one was given its name"
	case ConstraintChanged:
		return constraintText(c)
	case PartitionAttached:
		return fmt.Sprintf("partition %s was attached with rows", c.Column)
	case PartitionDetached:
		return fmt.Sprintf("partition %s was detached or dropped", c.Column)
	case PartitionEmptied:
		return fmt.Sprintf("partition %s was emptied", c.Column)
	}
	return string(c.Kind)
}

func constraintText(c SchemaChange) string {
	switch {
	case c.From == "":
		return fmt.Sprintf("constraint %s was added: %s", c.Column, c.To)
	case c.To == "":
		return fmt.Sprintf("constraint %s was dropped: %s", c.Column, c.From)
	case c.To == required || c.From == required:
		return fmt.Sprintf("column %s is %s and was %s", c.Column, c.To, c.From)
	}
	return fmt.Sprintf("constraint %s is %s and was %s", c.Column, c.To, c.From)
}

// What a column says of NULL.
const (
	required = "not null"
	nullable = "nullable"
)

func nullability(notNull bool) string {
	if notNull {
		return required
	}
	return nullable
}

// description is what is known of a source table as it was once.
type description struct {
	TableID uint32        `json:"table_id"` // the source's own number for it
	Storage string        `json:"storage,omitempty"`
	Columns []knownColumn `json:"columns"` // of the source table
	Key     []string      `json:"key"`     // record key columns in the source, empty: append-only
	// Left are the columns that commits left out while the table was frozen: what its rows
	// have of them is not in the lake.
	Left []knownColumn `json:"left,omitempty"`
	// Generated are the numbers of columns that were left out since they were computed.
	Generated []int `json:"generated,omitempty"`
	// Constraints are by name, nil: not known.
	Constraints map[string]string `json:"constraints,omitempty"`

	// Gone are columns in the lake that a shard had, of a table that others have columns in too.
	Gone []string `json:"gone,omitempty"`

	shared bool          // it is of a shard
	leaves []change.Leaf // that the lake's table accounts for; nil: there are none, or it is not known
}

// changes lists what version v of the table has otherwise. Names alone do not tell: a table
// may be made anew under its old name, a column dropped and added again, and an ALTER TABLE
// may write every row anew. Lake is the schema of its table there, nil: not asked for.
func (d *description) changes(v *change.Table, lake *arrow.Schema) []SchemaChange {
	if d.TableID != v.ID {
		return []SchemaChange{{Kind: TableRemade, anew: fmt.Sprintf("the name %s belongs to another table of the source now (it was dropped and made anew, or renamed)", v)}}
	}
	out := d.keyChanges(v)
	names := columnNames(v)
	for i := range v.Columns {
		out = append(out, d.columnChanges(v, i, names[i], lake)...)
	}
	out = append(out, d.dropped(v, out)...)
	return append(out, d.constraintChanges(v)...)
}

func (d *description) keyChanges(v *change.Table) []SchemaChange {
	key := keyNames(v)
	if slices.Equal(d.Key, key) {
		return nil
	}
	return []SchemaChange{{Kind: KeyChanged, From: said(d.Key), To: said(key), anew: fmt.Sprintf("the key of %s is no longer (%s)", v, joined(d.Key))}}
}

// said is a key, for people.
func said(key []string) string {
	if len(key) == 0 {
		return "none"
	}
	return "(" + joined(key) + ")"
}

func keyNames(v *change.Table) []string {
	names := make([]string, len(v.Key))
	for i, k := range v.Key {
		names[i] = v.Columns[k].Name
	}
	return names
}

// columnChanges is what became of column i of v, which lands as name.
func (d *description) columnChanges(v *change.Table, i int, name string, lake *arrow.Schema) []SchemaChange {
	col := v.Columns[i]
	old, known := d.numbered(col.ID)
	before, named := d.named(col.Name)
	rewritten := d.Storage != "" && v.Storage != "" && d.Storage != v.Storage || rewrittenLeaves(d.leaves, v.Leaves)
	altered := func(c SchemaChange) []SchemaChange {
		c.rewritten, c.anew = true, fmt.Sprintf("column %s of %s was altered and every row was written anew: what it holds now is not in the log", col.Name, v)
		return []SchemaChange{c}
	}
	switch {
	case known && old.Name != col.Name:
		return []SchemaChange{{Kind: ColumnRenamed, Column: old.Name, To: col.Name, anew: fmt.Sprintf("column %s of %s was renamed to %s", old.Name, v, col.Name)}}
	case !known && named && col.ID != 0 && before.ID != 0:
		return []SchemaChange{readded(col, v)}
	case known && old.Lake != "" && old.Lake != name:
		return []SchemaChange{{Kind: ColumnRenamed, Column: old.Name, To: col.Name, anew: fmt.Sprintf("column %s of %s would be named %s in the lake, and is %s there", col.Name, v, name, old.Lake)}}
	case !known && !named:
		return []SchemaChange{d.added(v, col, name, rewritten, lake)}
	}
	if !known {
		old = before // the source's catalogs are ahead of the stream
	}
	retyped := SchemaChange{Kind: ColumnRetyped, Column: old.Name, From: old.SQL, To: col.Type}
	if rewritten && known && old.Shape != col.Shape && (old.Default == 0 || old.Default != col.Default) {
		if old.SQL == "" || old.SQL == col.Type {
			retyped = SchemaChange{Kind: ColumnRewritten, Column: col.Name, To: col.Type}
		}
		return altered(retyped)
	}
	var out []SchemaChange
	if why := old.Type.Broken(col.Definition); known && why != "" {
		out = append(out, SchemaChange{
			Kind: TypeRedefined, Column: col.Name, To: why,
			anew: fmt.Sprintf("column %s of %s shows older rows otherwise than the lake: %s, which is no change of a row", col.Name, v, why),
		})
	}
	other := old.SQL != "" && old.SQL != col.Type
	retyped.anew, retyped.reread = unlike(col, name, lake), old.Reads != "" && col.Reads != "" && old.Reads != col.Reads
	if retyped.reread || old.Reads == "" && col.Reads != "" && other { // of before it was noted
		retyped.anew = cmp.Or(retyped.anew, fmt.Sprintf("column %s of %s has another type, in which older rows read otherwise than in the lake: that is no change of a row", col.Name, v))
	}
	if retyped.anew != "" || other {
		out = append(out, retyped)
	}
	if old.SQL != "" && old.Required == col.Nullable {
		out = append(out, SchemaChange{Kind: ConstraintChanged, Column: col.Name, From: nullability(old.Required), To: nullability(!col.Nullable)})
	}
	return out
}

// added is a column that was not there.
func (d *description) added(v *change.Table, col change.Column, name string, rewritten bool, lake *arrow.Schema) SchemaChange {
	c := SchemaChange{Kind: ColumnAdded, Column: col.Name, To: col.Type}
	if !col.Nullable {
		c.To += ", " + required
	}
	if col.Missing != nil {
		c.To += ", older rows " + col.Missing.ValueStr(0)
	}
	switch {
	case rewritten && col.ID != 0 && col.Missing == nil:
		c.rewritten, c.anew = true, fmt.Sprintf("column %s was added to %s and every row was written anew: what it holds in older rows is not in the log", col.Name, v)
	case slices.Contains(d.Generated, col.ID) && col.ID != 0:
		c.anew = fmt.Sprintf("column %s of %s was computed, and left out: what older rows have of it is not in the lake", col.Name, v)
	case slices.ContainsFunc(d.Left, func(k knownColumn) bool { return k.ID == col.ID && k.ID != 0 || k.Name == col.Name }):
		c.anew = fmt.Sprintf("column %s of %s was left out while the table was frozen: what rows have of it is not in the lake", col.Name, v)
	case lake != nil && len(lake.FieldIndices(name)) > 0 && (!d.shared || slices.Contains(d.Gone, name)):
		c.Kind, c.anew = ColumnReadded, fmt.Sprintf("column %s of %s was dropped and added again: the lake has its values of before", col.Name, v)
	}
	return c
}

// unlike says why the lake cannot take a column on as it is now, empty: it can.
func unlike(col change.Column, name string, lake *arrow.Schema) string {
	if lake == nil {
		return ""
	}
	at := lake.FieldIndices(name)
	if len(at) == 0 {
		return ""
	}
	if f := lake.Field(at[0]); !arrow.TypeEqual(f.Type, col.Arrow) && !widens(col.Arrow, f.Type) && !widens(f.Type, col.Arrow) {
		return fmt.Sprintf("column %s is %s (%s) in the source and %s in the lake", col.Name, col.Type, col.Arrow, f.Type)
	}
	return ""
}

// dropped are the columns that v has no more. Where the source could not number a new one,
// that may be an old one under another name.
func (d *description) dropped(v *change.Table, found []SchemaChange) []SchemaChange {
	unnumbered := slices.IndexFunc(v.Columns, func(c change.Column) bool {
		_, named := d.named(c.Name)
		return !named && c.ID == 0
	})
	added := slices.ContainsFunc(found, func(c SchemaChange) bool { return c.Kind == ColumnAdded })
	var out []SchemaChange
	for _, k := range d.Columns {
		there := columnIndex(v, k.Name) >= 0 || k.ID != 0 && slices.ContainsFunc(v.Columns, func(c change.Column) bool { return c.ID == k.ID })
		if there {
			continue
		}
		c := SchemaChange{Kind: ColumnDropped, Column: k.Name, From: k.SQL}
		if unnumbered >= 0 || k.ID == 0 && added {
			c.blind, c.anew = true, fmt.Sprintf("column %s is gone from %s and another is new: a renamed column's old values cannot be told from a new column's", k.Name, v)
		}
		out = append(out, c)
	}
	return out
}

func (d *description) constraintChanges(v *change.Table) []SchemaChange {
	if d.Constraints == nil || v.Constraints == nil {
		return nil
	}
	var out []SchemaChange
	names := slices.Sorted(maps.Keys(d.Constraints))
	for _, name := range slices.Sorted(maps.Keys(v.Constraints)) {
		if _, had := d.Constraints[name]; !had {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if from, to := d.Constraints[name], v.Constraints[name]; from != to {
			out = append(out, SchemaChange{Kind: ConstraintChanged, Column: name, From: from, To: to})
		}
	}
	return out
}

func (d *description) numbered(id int) (knownColumn, bool) {
	if id != 0 {
		for _, k := range d.Columns {
			if k.ID == id {
				return k, true
			}
		}
	}
	return knownColumn{}, false
}

func (d *description) named(name string) (knownColumn, bool) {
	for _, k := range d.Columns {
		if k.Name == name {
			return k, true
		}
	}
	return knownColumn{}, false
}

// firstAnew is the error of the first change that only a new copy helps, nil where none is.
func firstAnew(changes []SchemaChange) error {
	for _, c := range changes {
		if c.anew != "" {
			return &AnewError{What: c.anew, Schema: true}
		}
	}
	return nil
}
