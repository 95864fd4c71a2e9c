package pipeline

import (
	"context"
	"fmt"
	"slices"

	"lakefeed/change"
	"lakefeed/hudi"
)

// A patch is some columns of a row, as they were read anew (docs/adr/0022). It is written into the row that its
// key has, by the changes before it or in the table, and where there is none it is left out.

// ColumnError is a column that cannot be read anew without the rest of its row.
type ColumnError struct{ Table, Column, Why string }

// Error says why.
func (e *ColumnError) Error() string {
	return fmt.Sprintf("column %s of %s cannot be read anew: %s", e.Column, e.Table, e.Why)
}

// checkColumns sees that columns of a table can be read anew and written into its rows.
func checkColumns(v *change.Table, columns []string) error {
	for i, name := range columns {
		c := columnIndex(v, name)
		why := ""
		switch {
		case slices.Contains(columns[:i], name):
			why = "it is named twice"
		case c < 0 && slices.ContainsFunc(v.Left, func(c change.Column) bool { return c.Name == name }):
			why = "the table's publication leaves it out, so that the lake does not have it"
		case c < 0:
			why = fmt.Sprintf("there is no such column, or none that lands (one that is generated and not stored does not); there are %q", columnsOf(v))
		case isShardColumn(v.Columns[c]):
			why = "it is Lakefeed's own, and says of which database a row is"
		case inKey(v, c):
			why = "rows are found by it, since it is of the key; ask for rows as a whole, by a condition and without columns"
		}
		if why != "" {
			return &ColumnError{v.String(), name, why}
		}
	}
	return nil
}

func columnsOf(v *change.Table) []string {
	names := make([]string, len(v.Columns))
	for i, c := range v.Columns {
		names[i] = c.Name
	}
	return names
}

// onlyColumns is a table that has only the key and some of its columns.
func onlyColumns(v *change.Table, columns []string) *change.Table {
	out, at := *v, map[int]int{}
	out.Columns, out.Key, out.Left = nil, nil, slices.Clone(v.Left)
	for i, c := range v.Columns {
		if inKey(v, i) || isShardColumn(c) || slices.Contains(columns, c.Name) {
			at[i] = len(out.Columns)
			out.Columns = append(out.Columns, c)
		} else {
			out.Left = append(out.Left, c)
		}
	}
	for _, k := range v.Key {
		out.Key = append(out.Key, at[k])
	}
	return &out
}

// leftOut is patches for which there is no row.
type leftOut struct {
	rows  int64
	first string // the key of one
}

func (l *leftOut) add(o leftOut) {
	if l.rows == 0 {
		l.first = o.first
	}
	l.rows += o.rows
}

func (r *reduction) leaveOut(key string) { r.left.add(leftOut{1, key}) }

// patches is the survivors that are nothing but patches of a row that only the table may have, by
// their numbers among the upserts.
func (r *reduction) patches() (out []int) {
	for i, at := range r.upserts {
		for r.op(at) == change.Patch {
			before, ok := r.prev[at]
			if !ok {
				out = append(out, i)
				break
			}
			at = before
		}
	}
	return out
}

func (r *reduction) op(at ref) change.Op { return r.slabs[at.slab].Ops[at.row] }

// dropPatches takes out the patches whose rows are not there.
func (r *reduction) dropPatches(patches []int, there func(n int) bool) {
	gone := map[int]bool{}
	for n, i := range patches {
		if !there(n) {
			gone[i] = true
			r.leaveOut(r.key(r.upserts[i]))
		}
	}
	if len(gone) == 0 {
		return
	}
	kept := make([]ref, 0, len(r.upserts)-len(gone))
	for i, at := range r.upserts {
		if !gone[i] {
			kept = append(kept, at)
		}
	}
	r.upserts = kept
}

// meetRows takes out the patches of rows that the table does not have.
func (t *target) meetRows(ctx context.Context, txn *hudi.Txn, r *reduction, truncated bool) error {
	patches := r.patches()
	if len(patches) == 0 {
		return nil
	}
	there := make([]bool, len(patches))
	if !truncated {
		keys := make([]string, len(patches))
		for n, i := range patches {
			keys[n] = r.key(r.upserts[i])
		}
		if err := t.haveRows(ctx, txn, keys, there); err != nil {
			return fmt.Errorf("look for the rows of which some columns were read anew: %w", err)
		}
	}
	r.dropPatches(patches, func(n int) bool { return there[n] })
	return nil
}

// haveRows notes which keys have a row in the table.
func (t *target) haveRows(ctx context.Context, txn *hudi.Txn, keys []string, there []bool) error {
	if len(t.partitions) > 0 {
		for from := 0; from < len(keys); from += chunkRows {
			found, err := txn.Partitions(ctx, keys[from:min(from+chunkRows, len(keys))])
			if err != nil {
				return err
			}
			for i, partition := range found {
				there[from+i] = partition != ""
			}
		}
		return nil
	}
	home, groups := bucketsOf(t.table), map[int][]int{}
	for n, key := range keys {
		b := home.of(key)
		groups[b] = append(groups[b], n)
	}
	for b, list := range groups {
		some := make([]string, len(list))
		for i, n := range list {
			some[i] = keys[n]
		}
		rec, at, err := t.table.Lookup(ctx, "", b, some, nil)
		if err != nil {
			return err
		}
		rec.Release()
		for i, n := range list {
			there[n] = at[i] >= 0
		}
	}
	return nil
}

// tellLeftOut tells of the patches of a commit for which there was no row.
func (p *Pipeline) tellLeftOut(pend *pending, r *round) {
	left := pend.left
	if left.rows == 0 {
		return
	}
	if r.window != nil && p.targetOf(r.window.table) == pend.target {
		r.window.leaveOut(left.rows)
	}
	p.log.Warn("columns were read anew of rows that are not in the lake, and are left out", "table", pend.target.name, "rows", left.rows, "first", left.first)
}
