package hudi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
)

// A column that was dropped stays in the files of before, where readers find it by its
// name. So its name is not free again while one of these files may be left. Nor may a
// number that became text become bytes: text is read of its files, and bytes are not.

// checkUsed refuses what files of before stand in the way of, though it is no matter to
// those of the schema of now.
func (x *Txn) checkUsed(ctx context.Context, e *evolution) error {
	if len(e.added)+len(e.bytes) == 0 {
		return nil
	}
	used, err := x.table.usedNames(ctx, x.timeline)
	if err != nil {
		return fmt.Errorf("look for columns that were dropped: %w", err)
	}
	for _, name := range e.bytes {
		if _, found := used[strings.ToLower(name)+numberMark]; found {
			return &SchemaError{name, "its type may not change from utf8 to binary, as it was a number once, and no engine reads as binary what old files still have of then: " + wayOut}
		}
	}
	for _, name := range e.added {
		if _, found := used[strings.ToLower(name)]; found {
			return &SchemaError{name, "there was one of that name, and its values, which old files still have, would come back: take another name, or " + wayOut}
		}
	}
	return nil
}

// numberMark is behind the path of a column, where that tells that it was a whole number.
const numberMark = ":number"

// usedNames are the paths, in lower case, of the columns and fields that the table had
// since it was last written anew as a whole, with numberMark once more where they were
// numbers, and the newest instants that had them. It
// reads all commits, archived ones too.
func (t *Table) usedNames(ctx context.Context, tl *timeline.Timeline) (map[string]string, error) {
	u := newUsedColumns()
	r := archiveReader{store: t.store, yield: func(i ArchivedInstant) error { return u.look(i.Instant, i.Commit) }}
	if err := r.read(ctx, t.Properties()); err != nil {
		return nil, fmt.Errorf("read the archived timeline: %w", err)
	}
	kept, _, err := t.keptColumns(ctx) // after the archive, of which it takes over what is deleted
	if err != nil {
		return nil, err
	}
	var bad error
	err = t.eachCommit(ctx, tl.Completed(), func(i timeline.Instant, m *timeline.CommitMetadata) bool {
		bad = u.look(i, m)
		return bad == nil
	})
	return u.names(kept), cmp.Or(err, bad)
}

// usedColumns collects what commits say of a table's columns.
type usedColumns struct {
	since   string              // when the table was last written anew as a whole
	newest  map[string]string   // the newest instant of each schema
	columns map[string][]string // its columns and fields
}

func newUsedColumns() *usedColumns {
	return &usedColumns{newest: map[string]string{}, columns: map[string][]string{}}
}

// look takes in what a commit says; nil is none.
func (u *usedColumns) look(i timeline.Instant, m *timeline.CommitMetadata) error {
	if m == nil {
		return nil
	}
	if m.OperationType == string(InsertOverwriteTable) {
		u.since = max(u.since, i.Time)
	}
	avro := m.ExtraMetadata[timeline.SchemaKey]
	if avro == "" {
		return nil
	}
	if u.newest[avro] = max(u.newest[avro], i.Time); u.columns[avro] != nil {
		return nil
	}
	s, err := schema.ToArrow(avro)
	if err != nil {
		return fmt.Errorf("read the schema of commit %s: %w", i.Time, err)
	}
	u.columns[avro] = slices.Collect(maps.Keys(namesOf(s)))
	return nil
}

// names are the columns and fields that files may be left of, with the newest instant of
// each: those of the commits, and kept ones.
func (u *usedColumns) names(kept map[string]string) map[string]string {
	out := map[string]string{}
	add := func(name, last string) {
		if last >= u.since {
			out[name] = max(out[name], last)
		}
	}
	for name, last := range kept {
		add(name, last)
	}
	for avro, columns := range u.columns {
		for _, name := range columns {
			add(name, u.newest[avro])
		}
	}
	return out
}

// namesOf are the paths, in lower case, of a schema's columns and fields, those of whole
// numbers once more with numberMark.
func namesOf(s *arrow.Schema) map[string]bool {
	names := map[string]bool{}
	addNames(names, "", s.Fields())
	return names
}

// addNames adds the paths of fields, as [evolve] writes them.
func addNames(names map[string]bool, path string, fields []arrow.Field) {
	for _, f := range fields {
		name := path + f.Name
		names[strings.ToLower(name)] = true
		if id := f.Type.ID(); id == arrow.INT32 || id == arrow.INT64 {
			names[strings.ToLower(name)+numberMark] = true
		}
		addNested(names, name, f.Type)
	}
}

func addNested(names map[string]bool, path string, t arrow.DataType) {
	switch t := t.(type) {
	case *arrow.StructType:
		addNames(names, path+".", t.Fields())
	case *arrow.ListType:
		addNested(names, path+".element", t.Elem())
	case *arrow.MapType:
		addNested(names, path+".value", t.ItemType())
	}
}
