package pipeline

import (
	"context"
	"fmt"
	"iter"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi"
)

// filled is where the values come from that the source did not send, for one
// run of surviving changes: an earlier change of the round, or the row that the
// table has stored under the key that the row had before the round.
type filled struct {
	rows   map[string]ref // stored key -> its row in parts
	parts  []arrow.RecordBatch
	offset []int32           // first row of each part in the joined columns
	slab   int32             // number of the stored rows among the slabs
	names  map[string]string // source column -> lake column
}

// MissingRowError is a row whose unchanged values should be in the table, but
// the row is not there.
type MissingRowError struct{ Table, Key, Column string }

// Error names the row.
func (e *MissingRowError) Error() string {
	return fmt.Sprintf("the source left the value of %s unchanged in the row with key %q of %s, and that row is not in the lake: the two are out of step; %s", e.Column, e.Key, e.Table, CopyAnew)
}

// fill finds the values that the rows sel lack; nil where they lack none.
func fill(ctx context.Context, t *hudi.Table, l *layout, r *reduction, sel []ref, in *places) (*filled, error) {
	want := map[groupID]map[string]bool{}
	columns := map[string]string{}
	buckets := bucketsOf(t)
	any := false
	for _, at := range sel {
		s := r.slabs[at.slab]
		if !s.HasUnchanged(int(at.row)) {
			continue
		}
		any = true
		for c, key := range l.lacking(r, at) {
			columns[s.Table.Columns[c].Name] = l.names[columnIndex(l.table, s.Table.Columns[c].Name)]
			partition, there := in.old[key]
			if in.known && !there {
				continue // it is missed below
			}
			g := groupID{partition, buckets.of(key)}
			if want[g] == nil {
				want[g] = map[string]bool{}
			}
			want[g][key] = true
		}
	}
	if !any {
		return nil, nil
	}
	f := &filled{rows: map[string]ref{}, slab: int32(len(r.slabs)), names: columns}
	for group, keys := range want {
		if err := f.look(ctx, t, group, keys); err != nil {
			return nil, err
		}
	}
	return f, f.complete(l, r, sel)
}

// look reads the stored rows of one file group.
func (f *filled) look(ctx context.Context, t *hudi.Table, group groupID, want map[string]bool) error {
	keys := make([]string, 0, len(want))
	for k := range want {
		keys = append(keys, k)
	}
	columns := make([]string, 0, len(f.names))
	for _, lake := range f.names {
		columns = append(columns, lake)
	}
	rec, at, err := t.Lookup(ctx, group.partition, group.bucket, keys, columns)
	if err != nil {
		return fmt.Errorf("look up %d rows to fill in %s: %w", len(keys), group, err)
	}
	first := int32(0)
	if n := len(f.parts); n > 0 {
		first = f.offset[n-1] + int32(f.parts[n-1].NumRows())
	}
	if rec == nil {
		return nil
	}
	f.parts, f.offset = append(f.parts, rec), append(f.offset, first)
	for i, k := range keys {
		if at[i] >= 0 {
			f.rows[k] = ref{f.slab, first + int32(at[i])}
		}
	}
	return nil
}

// complete checks that every row to fill was found: never null, never a placeholder.
func (f *filled) complete(l *layout, r *reduction, sel []ref) error {
	for _, at := range sel {
		for c, key := range l.lacking(r, at) {
			if _, found := f.rows[key]; !found {
				return &MissingRowError{l.table.String(), key, r.slabs[at.slab].Table.Columns[c].Name}
			}
		}
	}
	return nil
}

// lacking yields the columns of row at whose value no change of the round has, each with the key
// whose stored row has it. One that was dropped since is not asked for.
func (l *layout) lacking(r *reduction, at ref) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		s := r.slabs[at.slab]
		for c, u := range s.Unchanged {
			if !u.Get(int(at.row)) || columnIndex(l.table, s.Table.Columns[c].Name) < 0 {
				continue
			}
			if _, key, ok := r.value(at, c); !ok && !yield(c, key) {
				return
			}
		}
	}
}

// from is the row that has the value of a column which row at lacks.
func (f *filled) from(r *reduction, at ref, column string) (ref, bool) {
	s := r.slabs[at.slab]
	if s.Unchanged == nil {
		return at, false
	}
	c := columnIndex(s.Table, column)
	if c < 0 || !s.Unchanged[c].Get(int(at.row)) {
		return at, false
	}
	row, key, ok := r.value(at, c)
	if !ok {
		row = f.rows[key]
	}
	return row, true
}

// column is the stored values of a source column, nil where none was needed.
func (f *filled) column(name string, dt arrow.DataType) (arrow.Array, error) {
	lake, ok := f.names[name]
	if !ok || len(f.parts) == 0 {
		return nil, nil
	}
	arrays := make([]arrow.Array, len(f.parts))
	var sel []ref
	for i, p := range f.parts {
		a, err := as(p.Column(p.Schema().FieldIndices(lake)[0]), dt)
		if err != nil {
			return nil, err
		}
		arrays[i] = a
		for row := range a.Len() {
			sel = append(sel, ref{int32(i), int32(row)})
		}
	}
	if len(arrays) == 1 {
		return arrays[0], nil
	}
	return gather(dt, arrays, sel)
}
