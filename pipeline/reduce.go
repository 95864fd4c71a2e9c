package pipeline

import (
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
)

// slab is consecutive changes of one table in memory, with their record keys.
type slab struct {
	*change.Batch
	keys *array.String
	// Of spilled rows: route is the home of a row's history, gone marks rows that
	// only say that their key's history went to another home (see spill.go).
	route []uint64
	gone  *change.Bits
}

// ref is one row of one slab.
type ref struct{ slab, row int32 }

// reduction is what remains of a run of slabs: one change for every key.
type reduction struct {
	slabs   []*slab
	upserts []ref
	deletes []string // keys that are gone
	aside   []ref    // rows that the table cannot hold; what it had under their keys is gone
	rejects map[ref]*change.Reject
	// prev leads from an upsert with values that were not sent to the row that
	// its key had before, as far as the slabs know; fill has the rest.
	prev map[ref]ref
	fill map[ref]string // first row of such a chain -> the key whose stored row has the values

	left leftOut // patches of no row
}

// reduce keeps the last change of every key, in the order in which the keys were
// last changed. Rows whose commit is at or behind limit (when it is not zero) do not count.
func reduce(slabs []*slab, limit change.LSN) *reduction {
	r := &reduction{slabs: slabs, prev: map[ref]ref{}, fill: map[ref]string{}, rejects: map[ref]*change.Reject{}}
	n := 0
	for _, s := range slabs {
		n += s.Len()
	}
	last := make(map[string]ref, n)
	type leaving struct {
		key string
		row ref
		had bool
	}
	var left leaving // the delete before a moved row: the key it leaves, and its row before
	for si, s := range slabs {
		for row := range s.Len() {
			if limit != 0 && s.At[row].Commit >= limit {
				break
			}
			key, at := s.keys.Value(row), ref{int32(si), int32(row)}
			if s.gone.Get(row) {
				delete(last, key)
				continue
			}
			if s.Ops[row] == change.Patch {
				if before, had := last[key]; had && (r.isDelete(before) || r.rejects[before] != nil) {
					r.leaveOut(key)
					continue
				}
			}
			if s.Ops[row] == change.Delete {
				before, had := last[key]
				left = leaving{key, before, had && !r.isDelete(before)}
			} else if why := s.Rejects[row]; why != nil {
				r.rejects[at] = why
			} else if s.HasUnchanged(row) || s.Ops[row] == change.Patch {
				from := leaving{key: key}
				if s.Moved.Get(row) {
					from = left
				} else if before, ok := last[key]; ok && !r.isDelete(before) {
					from.row, from.had = before, true
				}
				if from.had && r.rejects[from.row] != nil {
					r.rejects[at] = incomplete(s, row)
				} else if from.had {
					r.prev[at] = from.row
				} else {
					r.fill[at] = from.key
				}
			}
			last[key] = at
		}
	}
	r.collect(last)
	return r
}

// key is the record key of a row.
func (r *reduction) key(at ref) string { return r.slabs[at.slab].keys.Value(int(at.row)) }

func (r *reduction) isDelete(at ref) bool { return r.slabs[at.slab].Ops[at.row] == change.Delete }

// collect lists the survivors in their order in the slabs.
func (r *reduction) collect(last map[string]ref) {
	for si, s := range r.slabs {
		for row := range s.Len() {
			key, at := s.keys.Value(row), ref{int32(si), int32(row)}
			if l, ok := last[key]; !ok || l != at {
				continue
			}
			switch {
			case s.Ops[row] == change.Delete:
				r.deletes = append(r.deletes, key)
			case r.rejects[at] != nil:
				r.aside = append(r.aside, at)
			default:
				r.upserts = append(r.upserts, at)
			}
		}
	}
}

// value is the row that has the value of a source column of row at; when no row
// of the slabs has it, the key whose stored row has.
func (r *reduction) value(at ref, column int) (ref, string, bool) {
	name := ""
	for {
		s := r.slabs[at.slab]
		c := column
		if name != "" { // a row of another version of the table may have the column elsewhere
			c = columnIndex(s.Table, name)
		} else {
			name = s.Table.Columns[column].Name
		}
		if c < 0 || s.Unchanged == nil || !s.Unchanged[c].Get(int(at.row)) {
			return at, "", true
		}
		before, ok := r.prev[at]
		if !ok {
			return ref{}, r.fill[at], false
		}
		at = before
	}
}

func columnIndex(t *change.Table, name string) int {
	for i, c := range t.Columns {
		if c.Name == name {
			return i
		}
	}
	return -1
}
