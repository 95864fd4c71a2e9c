package pipeline

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
)

// A table that is frozen, or lands by a list of its columns, is seen through a view: of
// each version of the source table, the columns that the lake has, under the names and in
// the types that they have there. The spool keeps the changes as they came: what is left
// out is left out where rows are written.

// view is what is shown of one version of a source table.
type view struct {
	of     *change.Table
	table  *change.Table // what is shown, under the names and types of the lake
	source *change.Table // the same columns under their own, to be copied
	from   []int         // for each column of the table, that of the version
	left   []change.Column
}

// shownColumn is a column that a view is to show.
type shownColumn struct {
	knownColumn
	dt arrow.DataType // in the lake; nil: as in the source
}

// frozenColumns are those of a table in the lake. Numbers are of no use for another table
// that has its name now.
func frozenColumns(at *checkpoint, v *change.Table, lake *arrow.Schema) []shownColumn {
	out := make([]shownColumn, len(at.Columns))
	for i, k := range at.Columns {
		if at.TableID != v.ID {
			k.ID = 0
		}
		out[i] = shownColumn{knownColumn: k}
		if f := lake.FieldIndices(k.Lake); len(f) > 0 {
			out[i].dt = lake.Field(f[0]).Type
		}
	}
	return out
}

// listedColumns are those that the configuration lists, and the key's.
func listedColumns(v *change.Table, list []string) ([]shownColumn, error) {
	for _, name := range list {
		if columnIndex(v, name) < 0 {
			return nil, fmt.Errorf("schema.columns lists %s, and %s has no such column: mend the list", name, v)
		}
	}
	var out []shownColumn
	for i, c := range v.Columns {
		if slices.Contains(list, c.Name) || inKey(v, i) {
			out = append(out, shownColumn{knownColumn: knownColumn{Name: c.Name, ID: c.ID}})
		}
	}
	return out, nil
}

// newView shows columns of a version. A column that the version does not have is left
// out; one whose values cannot be brought into its type is an error.
func newView(v *change.Table, columns []shownColumn) (*view, error) {
	table, source := *v, *v
	w := &view{of: v, table: &table, source: &source}
	table.Columns, table.Key, source.Columns, source.Key = nil, nil, nil, nil
	shown := map[int]int{}
	for _, c := range columns {
		i := find(v, c.knownColumn)
		if i < 0 {
			continue
		}
		col := v.Columns[i]
		source.Columns = append(source.Columns, col)
		if col.Name = c.Name; c.dt != nil && !arrow.TypeEqual(c.dt, col.Arrow) {
			if !narrows(col.Arrow, c.dt) {
				return nil, fmt.Errorf("column %s is %s (%s) in the source, which cannot be brought into %s", v.Columns[i].Name, col.Type, col.Arrow, c.dt)
			}
			col.Arrow, col.Missing = c.dt, nil
		}
		shown[i] = len(table.Columns)
		table.Columns, w.from = append(table.Columns, col), append(w.from, i)
		if lake := columnNames(&table)[shown[i]]; c.Lake != "" && c.Lake != lake {
			return nil, fmt.Errorf("column %s would be named %s in the lake, and is %s there", col.Name, lake, c.Lake)
		}
	}
	for i, c := range v.Columns {
		if _, there := shown[i]; !there {
			w.left = append(w.left, c)
		}
	}
	source.Left = slices.Concat(w.left, v.Left)
	for _, k := range v.Key {
		at, there := shown[k]
		if !there {
			return nil, fmt.Errorf("column %s of the key is not among the frozen ones", v.Columns[k].Name)
		}
		table.Key, source.Key = append(table.Key, at), append(source.Key, at)
	}
	return w, nil
}

// find is the column of a version that a known one is: by its number, else by its name.
func find(v *change.Table, k knownColumn) int {
	if k.ID != 0 {
		if i := slices.IndexFunc(v.Columns, func(c change.Column) bool { return c.ID == k.ID }); i >= 0 {
			return i
		}
	}
	return columnIndex(v, k.Name)
}

// slab is a slab of the version as it is shown. Where a value does not fit, its row is
// rejected if the rules say so; else it is a *[FrozenValueError].
func (w *view) slab(s *slab, rules SchemaOptions) (*slab, error) {
	b := *s.Batch
	b.Table = w.table
	cols := make([]arrow.Array, len(w.from))
	if s.Unchanged != nil {
		b.Unchanged = make([]*change.Bits, len(w.from))
	}
	for i, from := range w.from {
		a, unfit, err := narrowed(s.Rows.Column(from), w.table.Columns[i].Arrow)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", w.table.Columns[i].Name, err)
		}
		if cols[i] = a; s.Unchanged != nil {
			b.Unchanged[i] = s.Unchanged[from]
		}
		for _, row := range unfit {
			if err := w.reject(&b, s, i, row, rules); err != nil {
				return nil, err
			}
		}
	}
	b.Rows = array.NewRecordBatch(w.table.ArrowSchema(), cols, int64(s.Len()))
	return &slab{Batch: &b, keys: s.keys, route: s.route, gone: s.gone}, nil
}

// FrozenValueError is a value that the frozen type of its column does not hold.
type FrozenValueError struct{ Table, Column, Type, Value, Key string }

// Error names the row.
func (e *FrozenValueError) Error() string {
	return fmt.Sprintf("the value %s of column %s in the row with key %q of %s does not fit into its frozen type %s", e.Value, e.Column, e.Key, e.Table, e.Type)
}

// reject puts a row among the batch's rejects.
func (w *view) reject(b *change.Batch, s *slab, column, row int, rules SchemaOptions) error {
	if s.Ops[row] == change.Delete || s.Ops[row] == change.Truncate || b.Rejects[row] != nil {
		return nil
	}
	from := w.from[column]
	if rules.Quarantine == nil || !rules.Quarantine(s.Table.Columns[from].Name) || slices.Contains(w.table.Key, column) {
		return &FrozenValueError{
			Table: s.Table.String(), Column: s.Table.Columns[from].Name, Type: w.table.Columns[column].Arrow.String(),
			Value: s.Rows.Column(from).ValueStr(row), Key: s.keys.Value(row),
		}
	}
	why := incomplete(s, row)
	why.Column, why.Type = s.Table.Columns[from].Name, s.Table.Columns[from].Type
	why.Reason = "it does not fit into the column's frozen type, " + w.table.Columns[column].Arrow.String()
	rejects := map[int]*change.Reject{row: why}
	maps.Copy(rejects, b.Rejects) // which is another's too
	b.Rejects = rejects
	return nil
}

// narrows reports whether values of one type can be brought into another, those that fit.
func narrows(from, to arrow.DataType) bool {
	a, b := from.ID(), to.ID()
	if a == arrow.DECIMAL128 && b == arrow.DECIMAL128 {
		return true
	}
	return widens(from, to) || a == arrow.INT64 && b == arrow.INT32 || a == arrow.FLOAT64 && b == arrow.FLOAT32
}

// narrowed brings values into another type, exactly, and lists the rows whose value does
// not fit, which are null then.
func narrowed(a arrow.Array, to arrow.DataType) (out arrow.Array, unfit []int, err error) {
	if arrow.TypeEqual(a.DataType(), to) {
		return a, nil, nil
	}
	if !narrows(a.DataType(), to) {
		return nil, nil, fmt.Errorf("%s cannot be brought into %s", a.DataType(), to)
	}
	b := array.NewBuilder(mem, to)
	defer b.Release()
	b.Reserve(a.Len())
	for row := range a.Len() {
		if a.IsNull(row) {
			b.AppendNull()
		} else if !put(b, a, row) {
			b.AppendNull()
			unfit = append(unfit, row)
		}
	}
	return b.NewArray(), unfit, nil
}

// put appends a value where it fits.
func put(b array.Builder, a arrow.Array, row int) bool {
	switch a := a.(type) {
	case *array.Int32:
		b.(*array.Int64Builder).Append(int64(a.Value(row)))
	case *array.Int64:
		v := a.Value(row)
		if v != int64(int32(v)) {
			return false
		}
		b.(*array.Int32Builder).Append(int32(v))
	case *array.Float32:
		b.(*array.Float64Builder).Append(float64(a.Value(row)))
	case *array.Float64:
		v := a.Value(row)
		if v != float64(float32(v)) && !math.IsNaN(v) {
			return false
		}
		b.(*array.Float32Builder).Append(float32(v))
	case *array.Decimal128:
		from, to := a.DataType().(*arrow.Decimal128Type), b.Type().(*arrow.Decimal128Type)
		v, err := a.Value(row).Rescale(from.Scale, to.Scale) // an error where digits are lost
		if err != nil || !v.FitsInPrecision(to.Precision) {
			return false
		}
		b.(*array.Decimal128Builder).Append(v)
	default:
		return false
	}
	return true
}

// viewOf is what is shown of a version of the table; nil: all of it, as it is. Accepted is
// a version that a person has taken on, whatever is frozen.
func (t *target) viewOf(v *change.Table, accepted bool) (*view, error) {
	o := t.options.Schema
	if o.Policy != FreezeSchema || v.LogOnly {
		return nil, nil
	}
	if t.table != nil && t.at.LSN != 0 && !accepted {
		return newView(v, frozenColumns(&t.at, v, t.table.Schema()))
	}
	if len(o.Columns) == 0 {
		return nil, nil
	}
	columns, err := listedColumns(v, o.Columns)
	if err != nil {
		return nil, err
	}
	return newView(v, columns)
}

// ofCopy is the view of what is read for a copy: only the columns that are shown.
func (w *view) ofCopy() *view {
	if w == nil {
		return nil
	}
	all := make([]int, len(w.from))
	for i := range all {
		all[i] = i
	}
	return &view{of: w.source, table: w.table, source: w.source, from: all, left: w.left}
}

// met is how a version of a table's source is taken: with what is shown of it.
type met struct {
	t        *target
	version  *change.Table
	view     *view // nil: all is shown as it is
	accepted bool  // a person has taken it on
	views    map[*change.Table]*view
}

// shown is the version as it is shown.
func (m *met) shown() *change.Table {
	if m.view == nil {
		return m.version
	}
	return m.view.table
}

// read is what is read of the source for a copy.
func (m *met) read() *change.Table {
	if m.view == nil {
		return m.version
	}
	return m.view.source
}

// frozen reports whether the lake's columns stay as they are.
func (m *met) frozen() bool {
	return m.view != nil && !m.accepted && m.t.table != nil && m.t.at.LSN != 0
}

// describe notes in a checkpoint what the table looks like. Frozen columns that the source
// has no more are kept, and the types that the others had.
func (m *met) describe(c *checkpoint) {
	c.describe(m.shown())
	if m.view == nil {
		return
	}
	for _, col := range m.view.left {
		c.Left = append(c.Left, knownColumn{Name: col.Name, ID: col.ID, SQL: col.Type})
	}
	if !m.frozen() {
		return
	}
	for _, old := range m.t.at.Columns {
		i := slices.IndexFunc(c.Columns, func(k knownColumn) bool { return k.Name == old.Name })
		if i < 0 {
			c.Columns = append(c.Columns, old)
		} else {
			c.Columns[i].SQL, c.Columns[i].Required = old.SQL, old.Required
		}
	}
}

// slabs are slabs as they are shown.
func (m *met) slabs(in []*slab) ([]*slab, error) {
	if m.view == nil {
		return in, nil
	}
	out := make([]*slab, len(in))
	for i, s := range in {
		w, err := m.viewOf(s.Table)
		if err != nil {
			return nil, err
		}
		if out[i], err = w.slab(s, m.t.options.Schema); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// viewOf is the view of another version in the same commit.
func (m *met) viewOf(v *change.Table) (*view, error) {
	if v == m.view.of {
		return m.view, nil
	}
	if w := m.views[v]; w != nil {
		return w, nil
	}
	w, err := m.t.viewOf(v, m.accepted)
	if err == nil {
		if m.views == nil {
			m.views = map[*change.Table]*view{}
		}
		m.views[v] = w
	}
	return w, err
}

// copied is a batch that was read for a copy, as it is shown, with its record keys.
func (m *met) copied(b *change.Batch) (*slab, error) {
	keys, err := recordKeys(b)
	if err != nil {
		return nil, err
	}
	s := &slab{Batch: b, keys: keys}
	if m.view == nil {
		return s, nil
	}
	return m.view.ofCopy().slab(s, m.t.options.Schema)
}
