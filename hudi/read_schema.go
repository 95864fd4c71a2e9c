package hudi

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
)

// ReadSchema names the schema that a table is read in.
type ReadSchema string

const (
	// SchemaThen is the schema that the table had at the instant that it is read as of.
	SchemaThen ReadSchema = "then"
	// SchemaNow is the schema of the last commit: what was added since is null, what was
	// dropped is left out. A column that was dropped since and added again is another one.
	SchemaNow ReadSchema = "now"
)

// readSchemas finds the schema of a read, with the meta columns, and how its columns are
// found in files; full and latest are the table's of now.
func (t *Table) readSchemas(ctx context.Context, tl *timeline.Timeline, opts ReadOptions, full *arrow.Schema, latest string) (*arrow.Schema, *schemaHistory, error) {
	switch opts.Schema {
	case "", SchemaThen, SchemaNow:
	default:
		return nil, nil, fmt.Errorf("schema %q: want %s or %s", opts.Schema, SchemaThen, SchemaNow)
	}
	if opts.AsOf == "" {
		history, err := t.historyOf(ctx, tl, latest, "")
		return full, history, err
	}
	if opts.Schema == SchemaNow {
		history, err := t.historyOf(ctx, tl, latest, "")
		if err != nil {
			return nil, nil, err
		}
		return t.inLaterSchema(ctx, tl, opts.AsOf, full, history)
	}
	then, err := t.schemaAsOf(ctx, tl, opts.AsOf, full)
	if err != nil {
		return nil, nil, err
	}
	if latest, err = t.latestSchema(ctx, tl, opts.AsOf); err != nil {
		return nil, nil, err
	}
	history, err := t.historyOf(ctx, tl, latest, opts.AsOf)
	return then, history, err
}

// inLaterSchema is the schema, full, of a later instant as the table of an instant is read in
// it, and how its columns are found in files: one that need not have had a value then is
// nullable. History is that of the later one, up to which the timeline goes.
func (t *Table) inLaterSchema(ctx context.Context, tl *timeline.Timeline, asOf string, full *arrow.Schema, history *schemaHistory) (*arrow.Schema, *schemaHistory, error) {
	then, err := t.schemaAsOf(ctx, tl, asOf, full)
	if err == nil && history == nil {
		history, err = t.historySince(ctx, tl, asOf, then)
	}
	if err != nil || history == nil {
		return full, nil, err
	}
	full, err = readAsNow(then, full, history, asOf)
	return full, history, err
}

// readAsNow is full as rows of then are read in it. A column that was rewritten since as a type
// in which its values of then are not read is refused.
func readAsNow(then, full *arrow.Schema, h *schemaHistory, asOf string) (*arrow.Schema, error) {
	fields := slices.Clone(full.Fields())
	for i, f := range h.now.In(h.at(asOf), full).Fields() {
		old, found := then.FieldsByName(f.Name)
		fields[i].Nullable = fields[i].Nullable || !found || old[0].Nullable
		if !found {
			continue
		}
		none := array.MakeArrayOfNull(column.Allocator, old[0].Type, 0)
		col, err := column.Evolve(none, f.Type)
		if none.Release(); err != nil {
			return nil, &SchemaError{full.Field(i).Name, fmt.Sprintf("it was %s as of %s, which is not read as %s, its type of now: read it in the schema of then", old[0].Type, asOf, f.Type)}
		}
		col.Release()
	}
	return arrow.NewSchema(fields, nil), nil
}

// historySince numbers the columns of a table that was read by name at an instant, so
// that those which were dropped since are not taken for others of their names.
func (t *Table) historySince(ctx context.Context, tl *timeline.Timeline, asOf string, then *arrow.Schema) (*schemaHistory, error) {
	later := slices.DeleteFunc(tl.Completed(), func(i timeline.Instant) bool { return i.Time <= asOf })
	first := schema.NewInternal(then)
	h, last, bad := &schemaHistory{now: first, versions: []*schema.Internal{first}}, "", error(nil)
	err := t.eachCommit(ctx, later, func(i timeline.Instant, m *timeline.CommitMetadata) bool {
		avro := m.ExtraMetadata[timeline.SchemaKey]
		if avro == "" || avro == last {
			return true
		}
		var s *arrow.Schema
		if s, bad = schema.ToArrow(avro); bad != nil {
			bad = &CorruptError{t.instantFile(i), bad}
			return false
		}
		h.now, last = h.now.Next(s), avro
		return true
	})
	if err = cmp.Or(err, bad); err != nil || h.now == first {
		return nil, err
	}
	return h, nil
}

// SchemaAsOf is the schema of the data columns that a read as of an instant, or a time,
// has: that of the newest commit up to it.
func (t *Table) SchemaAsOf(ctx context.Context, asOf string) (*arrow.Schema, error) {
	asOf, err := parsePoint("instant", asOf)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", t.name, err)
	}
	t.mu.RLock()
	full, tl := t.full, t.timeline
	t.mu.RUnlock()
	full, err = t.schemaAsOf(ctx, tl, asOf, full)
	if err != nil {
		return nil, fmt.Errorf("schema of %s as of %s: %w", t.name, asOf, err)
	}
	return arrow.NewSchema(full.Fields()[metaCount:], nil), nil
}
