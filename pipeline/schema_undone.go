package pipeline

import (
	"cmp"
	"fmt"
	"slices"

	"lakefeed/change"
)

// The newest version of a table that a round brings is held against what the lake has. What was
// changed and changed back in between shows in neither: it is told by the versions in between.

// undone lists what is otherwise in a version that the changes have rows of than in the newest
// one, so that these rows mean something else: other columns under the same names, another key,
// another table.
func (p *pending) undone() []SchemaChange {
	var out []SchemaChange
	had := map[string]bool{} // columns of the newest version that an earlier one had
	for _, w := range p.versions {
		if w != p.version {
			out = append(out, p.target.at.undone(w, p.version)...)
		}
		for _, col := range p.version.Columns {
			if there := find(w, knownColumn{Name: col.Name, ID: col.ID}) >= 0; had[col.Name] && !there {
				out = append(out, readded(col, p.version))
			} else if there {
				had[col.Name] = true
			}
		}
	}
	return out
}

func readded(col change.Column, v *change.Table) SchemaChange {
	return SchemaChange{Kind: ColumnReadded, Column: col.Name, To: col.Type, anew: fmt.Sprintf("column %s of %s was dropped and added again", col.Name, v)}
}

// undone is what version w, which comes before v, has otherwise than v and than all that
// follows from v alone.
func (d *description) undone(w, v *change.Table) []SchemaChange {
	if w.ID != v.ID {
		return []SchemaChange{{Kind: TableRemade, anew: fmt.Sprintf("the name %s belonged to another table of the source for a while", v)}}
	}
	var out []SchemaChange
	if had, key := keyNames(w), keyNames(v); !slices.Equal(had, key) {
		out = append(out, SchemaChange{Kind: KeyChanged, From: said(had), To: said(key), anew: fmt.Sprintf("the key of %s was %s for a while", v, said(had))})
	}
	for _, was := range w.Columns {
		for _, col := range v.Columns {
			k, known := d.known(col)
			numbered, same := was.ID != 0 && col.ID != 0, was.Name == col.Name
			switch {
			case numbered && same && was.ID != col.ID:
				out = append(out, readded(col, v))
			case same && known && was.Reads != "" && was.Reads != col.Reads && k.Reads == col.Reads:
				out = append(out, SchemaChange{
					Kind: ColumnRetyped, Column: cmp.Or(k.Name, col.Name), From: k.SQL, To: was.Type, reread: true,
					anew: fmt.Sprintf("column %s of %s had another type for a while, in which its values read otherwise", col.Name, v),
				})
			case numbered && !same && was.ID == col.ID, known && was.ID == 0 && d.unknown(was) && find(w, knownColumn{Name: col.Name, ID: col.ID}) < 0:
				name := cmp.Or(k.Name, col.Name)
				out = append(out, SchemaChange{
					Kind: ColumnRenamed, Column: name, To: was.Name, blind: was.ID == 0,
					anew: fmt.Sprintf("column %s of %s was named %s for a while", name, v, was.Name),
				})
			}
		}
	}
	return out
}

// known is what is known of a column, by its number or by its name.
func (d *description) known(col change.Column) (knownColumn, bool) {
	if k, ok := d.numbered(col.ID); ok {
		return k, true
	}
	return d.named(col.Name)
}

func (d *description) unknown(col change.Column) bool { _, known := d.known(col); return !known }

// strayError is a table of which changes came under the name of another one of the pipeline.
type strayError struct {
	number uint32     // the table's own in the source
	to     string     // the name
	at     change.LSN // the commit of the last of them
}

func (e *strayError) Error() string {
	return "changes of it came under the name " + e.to + ", which was another table's in the lake: it was renamed, if only for a while"
}

// strayed reports whether changes of what a copy shows came under another name behind its snapshot.
func (t *target) strayed() bool {
	s := t.recopy.stray
	return s != nil && s.number == t.source.ID && s.at >= t.at.Copied
}
