package postgres

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/change"
	"lakefeed/postgres/pgoutput"
)

// rows collects changes of one table until they are handed out as a batch.
type rows struct {
	table *change.Table
	types []dataType
	cols  []column

	ops       []change.Op
	at        []change.Position
	times     []int64
	xids      []uint32
	unchanged []*change.Bits
	moved     *change.Bits
	keys      *array.StringBuilder // nil unless the table has no key
	keyBuf    []byte

	quarantine []bool // columns whose misfits are handed out as rejects; nil: none
	rejects    map[int]*change.Reject
	misfit     misfit // of the row at hand
}

func (c *Connector) newRows(t *change.Table, types []dataType) *rows {
	r := newRows(t, types)
	r.quarantine = c.quarantines(t)
	return r
}

func newRows(t *change.Table, types []dataType) *rows {
	r := &rows{table: t, types: types, cols: make([]column, len(types))}
	for i := range types {
		r.cols[i] = newColumn(&types[i])
		r.cols[i].inKey = slices.Contains(t.Key, i)
	}
	if t.KeyKind == change.NoKey {
		r.keys = array.NewStringBuilder(memory.DefaultAllocator)
	}
	return r
}

func (r *rows) len() int { return len(r.ops) }

// stamp is what all changes of a transaction share, and the number of the change.
type stamp struct {
	change.Position
	time int64 // Unix microseconds
	xid  uint32
}

// add ends a row whose columns were appended.
func (r *rows) add(op change.Op, s stamp) {
	r.ops = append(r.ops, op)
	r.at = append(r.at, s.Position)
	r.times = append(r.times, s.time)
	r.xids = append(r.xids, s.xid)
	if r.keys != nil {
		r.keyBuf = appendStreamKey(r.keyBuf[:0], s.Position)
		r.keys.BinaryBuilder.Append(r.keyBuf)
	}
}

// appendStreamKey is the record key of a change of a table without a key: commit
// LSN and index, 16 and 8 hexadecimal digits, in the order of the log as text.
func appendStreamKey(dst []byte, p change.Position) []byte {
	return fmt.Appendf(dst, "%016x-%08x", uint64(p.Commit), p.Index)
}

// insert appends a whole new row. Where a value was not sent it takes it from old,
// the old row or its key, if it is there, and else marks it unchanged.
func (r *rows) insert(op change.Op, s stamp, row, old []pgoutput.Value) error {
	n := r.len()
	for i := range row {
		c, v := &r.cols[i], &row[i]
		if v.Kind == pgoutput.Unchanged && i < len(old) && old[i].Kind != pgoutput.Null {
			v = &old[i]
		}
		if v.Kind == pgoutput.Unchanged {
			r.markUnchanged(i, n)
		}
		if err := r.take(i, c.append(v)); err != nil {
			return &ValueError{Table: r.table.String(), Column: r.table.Columns[i].Name, Key: r.keyText(s, row, old), Err: err}
		}
	}
	r.reject(func(i int) ([]byte, form) { return logged(row, old, i) })
	r.add(op, s)
	return nil
}

// delete appends the deletion of the row that old is, or is the key of.
func (r *rows) delete(s stamp, old []pgoutput.Value) error {
	for i := range r.cols {
		if !slices.Contains(r.table.Key, i) {
			r.cols[i].AppendNull()
			continue
		}
		if old[i].Kind == pgoutput.Null {
			return fmt.Errorf("column %s of the key is not in the log: the replica identity does not hold it", r.table.Columns[i].Name)
		}
		if err := r.take(i, r.cols[i].append(&old[i])); err != nil {
			return &ValueError{Table: r.table.String(), Column: r.table.Columns[i].Name, Key: r.keyText(s, old, nil), Err: err}
		}
	}
	r.reject(func(i int) ([]byte, form) { return logged(old, nil, i) })
	r.add(change.Delete, s)
	return nil
}

// truncate appends the deletion of everything.
func (r *rows) truncate(s stamp) {
	for i := range r.cols {
		r.cols[i].AppendNull()
	}
	r.add(change.Truncate, s)
}

// keyChanged reports whether the row's key is another than that of old.
func (r *rows) keyChanged(old, row []pgoutput.Value) bool {
	for _, i := range r.table.Key {
		o, n := &old[i], &row[i]
		if n.Kind != pgoutput.Unchanged && (o.Kind != n.Kind || string(o.Data) != string(n.Data)) {
			return true
		}
	}
	return false
}

func (r *rows) markMoved() {
	if r.moved == nil {
		r.moved = new(change.Bits)
	}
	r.moved.Set(r.len() - 1)
}

func (r *rows) markUnchanged(col, row int) {
	if r.unchanged == nil {
		r.unchanged = make([]*change.Bits, len(r.cols))
	}
	if r.unchanged[col] == nil {
		r.unchanged[col] = new(change.Bits)
	}
	r.unchanged[col].Set(row)
}

func (c *column) append(v *pgoutput.Value) error {
	switch v.Kind {
	case pgoutput.Binary:
		return c.put(v.Data, c.binary)
	case pgoutput.Text:
		return c.put(v.Data, c.text)
	default:
		c.AppendNull()
		return nil
	}
}

// flush hands out what was collected, nil where there is nothing, and begins anew.
// A row that an error left unfinished is not in it.
func (r *rows) flush() *change.Batch {
	n := r.len()
	cols := make([]arrow.Array, len(r.cols))
	for i := range r.cols {
		cols[i] = r.cols[i].NewArray()
		if cols[i].Len() > n {
			cols[i] = array.NewSlice(cols[i], 0, int64(n))
		}
	}
	b := &change.Batch{
		Table: r.table, Rows: array.NewRecordBatch(r.table.ArrowSchema(), cols, int64(n)),
		Ops: r.ops, At: r.at, Times: r.times, Xids: r.xids, Unchanged: r.unchanged, Moved: r.moved, Rejects: r.rejects,
	}
	if r.keys != nil {
		b.Keys = r.keys.NewStringArray()
	}
	// The next batch is likely to be as long.
	r.ops, r.at, r.times, r.xids = make([]change.Op, 0, n), make([]change.Position, 0, n), make([]int64, 0, n), make([]uint32, 0, n)
	r.unchanged, r.moved, r.rejects = nil, nil, nil
	if n == 0 {
		return nil
	}
	return b
}
