package hudi

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
)

// A column that was dropped stays in the files of before, where readers find it by its
// name. So its name is not free again while one of these files may be left.

// checkReused refuses new columns, by their paths, that files of before may have values
// for.
func (x *Txn) checkReused(ctx context.Context, added []string) error {
	if len(added) == 0 {
		return nil
	}
	used, err := x.table.usedNames(ctx, x.timeline)
	if err != nil {
		return fmt.Errorf("look for columns that were dropped: %w", err)
	}
	for _, name := range added {
		if used[strings.ToLower(name)] {
			return &SchemaError{name, "there was one of that name, and its values, which old files still have, would come back: take another name, or " + wayOut}
		}
	}
	return nil
}

// usedNames are the paths, in lower case, of the columns and fields that the table had
// since it was last written anew as a whole. It reads all commits, archived ones too.
func (t *Table) usedNames(ctx context.Context, tl *timeline.Timeline) (map[string]bool, error) {
	since, newest := "", map[string]string{} // each schema's newest commit
	look := func(i timeline.Instant, m *timeline.CommitMetadata) {
		if m == nil {
			return
		}
		if avro := m.ExtraMetadata[timeline.SchemaKey]; avro != "" {
			newest[avro] = max(newest[avro], i.Time)
		}
		if m.OperationType == string(InsertOverwriteTable) {
			since = max(since, i.Time)
		}
	}
	r := archiveReader{store: t.store, yield: func(i ArchivedInstant) error {
		look(i.Instant, i.Commit)
		return nil
	}}
	if err := r.read(ctx, t.Properties()); err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("read the archived timeline: %w", err)
	}
	err := t.eachCommit(ctx, tl.Completed(), func(i timeline.Instant, m *timeline.CommitMetadata) bool {
		look(i, m)
		return true
	})
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for avro, last := range newest {
		if last < since {
			continue
		}
		s, err := schema.ToArrow(avro)
		if err != nil {
			return nil, fmt.Errorf("read the schema of commit %s: %w", last, err)
		}
		addNames(used, "", s.Fields())
	}
	return used, nil
}

// addNames adds the paths of fields, as [evolve] writes them.
func addNames(names map[string]bool, path string, fields []arrow.Field) {
	for _, f := range fields {
		name := path + f.Name
		names[strings.ToLower(name)] = true
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
