package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/change"
)

// A spilled row is its columns and, behind them, what a batch says of it.
var spillFields = []arrow.Field{
	{Name: "\x00key", Type: arrow.BinaryTypes.String},
	{Name: "\x00op", Type: arrow.PrimitiveTypes.Uint8},
	{Name: "\x00flags", Type: arrow.PrimitiveTypes.Uint8},
	{Name: "\x00commit", Type: arrow.PrimitiveTypes.Uint64},
	{Name: "\x00index", Type: arrow.PrimitiveTypes.Uint64},
	{Name: "\x00time", Type: arrow.PrimitiveTypes.Int64},
	{Name: "\x00xid", Type: arrow.PrimitiveTypes.Uint32},
	{Name: "\x00route", Type: arrow.PrimitiveTypes.Uint64},
	{Name: "\x00unchanged", Type: arrow.BinaryTypes.Binary, Nullable: true}, // one bit a column, low bit first
	{Name: "\x00reject", Type: arrow.BinaryTypes.Binary, Nullable: true},    // JSON
}

const (
	flagMoved = 1 << iota
	flagGone
)

// spillSchema is the schema of a table's spilled rows.
func spillSchema(t *change.Table) *arrow.Schema {
	return arrow.NewSchema(append(t.ArrowSchema().Fields(), spillFields...), nil)
}

// plain is the slab with a home for every row, the same one: where rows are not divided.
func (b *slab) plain() *slab {
	return &slab{Batch: b.Batch, keys: b.keys, route: make([]uint64, b.Len()), gone: b.gone}
}

// checkSpilled sees that a record from outside can be taken apart: columns that are
// always there have no nulls, and bits for every column where values were not sent.
func checkSpilled(t *change.Table, rec arrow.RecordBatch) error {
	n := len(t.Columns)
	for i, f := range spillFields {
		if c := rec.Column(n + i); !f.Nullable && c.NullN() > 0 {
			return fmt.Errorf("column %q has nulls", f.Name[1:])
		}
	}
	unchanged := rec.Column(n + slices.IndexFunc(spillFields, func(f arrow.Field) bool { return f.Name == "\x00unchanged" })).(*array.Binary)
	for row := range unchanged.Len() {
		if !unchanged.IsNull(row) && len(unchanged.Value(row)) < (n+7)/8 {
			return errors.New("the bits of values that were not sent are cut off")
		}
	}
	rejects := rec.Column(n + len(spillFields) - 1).(*array.Binary)
	for row := range rejects.Len() {
		if !rejects.IsNull(row) && json.Unmarshal(rejects.Value(row), new(change.Reject)) != nil {
			return errors.New("a row that the table cannot hold is not described")
		}
	}
	return nil
}

func spillRecord(b *slab) arrow.RecordBatch {
	fields := append(append([]arrow.Field(nil), b.Rows.Schema().Fields()...), spillFields...)
	n := b.Len()
	op, flags := array.NewUint8Builder(memory.DefaultAllocator), array.NewUint8Builder(memory.DefaultAllocator)
	commit, index := array.NewUint64Builder(memory.DefaultAllocator), array.NewUint64Builder(memory.DefaultAllocator)
	times, xid := array.NewInt64Builder(memory.DefaultAllocator), array.NewUint32Builder(memory.DefaultAllocator)
	route := array.NewUint64Builder(memory.DefaultAllocator)
	unchanged := array.NewBinaryBuilder(memory.DefaultAllocator, arrow.BinaryTypes.Binary)
	rejects := array.NewBinaryBuilder(memory.DefaultAllocator, arrow.BinaryTypes.Binary)
	bits := make([]byte, (len(b.Table.Columns)+7)/8)
	for row := range n {
		op.Append(uint8(b.Ops[row]))
		var f uint8
		if b.Moved.Get(row) {
			f |= flagMoved
		}
		if b.gone.Get(row) {
			f |= flagGone
		}
		flags.Append(f)
		commit.Append(uint64(b.At[row].Commit))
		index.Append(b.At[row].Index)
		if why := b.Rejects[row]; why == nil {
			rejects.AppendNull()
		} else {
			rejects.Append(encodeReject(why))
		}
		if !b.HasUnchanged(row) {
			unchanged.AppendNull()
			continue
		}
		clear(bits)
		for c, u := range b.Unchanged {
			if u.Get(row) {
				bits[c>>3] |= 1 << (c & 7)
			}
		}
		unchanged.Append(bits)
	}
	times.AppendValues(b.Times, nil)
	xid.AppendValues(b.Xids, nil)
	route.AppendValues(b.route, nil)
	cols := append(append([]arrow.Array(nil), b.Rows.Columns()...), b.keys, op.NewArray(), flags.NewArray(),
		commit.NewArray(), index.NewArray(), times.NewArray(), xid.NewArray(), route.NewArray(), unchanged.NewArray(), rejects.NewArray())
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, int64(n))
}

func spilledSlab(t *change.Table, rec arrow.RecordBatch) *slab {
	n := int(rec.NumCols()) - len(spillFields)
	col := func(i int) arrow.Array { return rec.Column(n + i) }
	rows := array.NewRecordBatch(t.ArrowSchema(), rec.Columns()[:n], rec.NumRows())
	b := &change.Batch{Table: t, Rows: rows}
	s := &slab{Batch: b, keys: col(0).(*array.String), route: col(7).(*array.Uint64).Uint64Values()}
	b.Times, b.Xids = col(5).(*array.Int64).Int64Values(), col(6).(*array.Uint32).Uint32Values()
	op, flags := col(1).(*array.Uint8), col(2).(*array.Uint8)
	commit, index := col(3).(*array.Uint64), col(4).(*array.Uint64)
	unchanged, rejects := col(8).(*array.Binary), col(9).(*array.Binary)
	for row := range int(rec.NumRows()) {
		b.Ops = append(b.Ops, change.Op(op.Value(row)))
		b.At = append(b.At, change.Position{Commit: change.LSN(commit.Value(row)), Index: index.Value(row)})
		if flags.Value(row)&flagMoved != 0 {
			if b.Moved == nil {
				b.Moved = new(change.Bits)
			}
			b.Moved.Set(row)
		}
		if flags.Value(row)&flagGone != 0 {
			if s.gone == nil {
				s.gone = new(change.Bits)
			}
			s.gone.Set(row)
		}
		if !rejects.IsNull(row) {
			b.Reject(row, decodeReject(rejects.Value(row)))
		}
		if unchanged.IsNull(row) {
			continue
		}
		for c := range t.Columns {
			if unchanged.Value(row)[c>>3]&(1<<(c&7)) != 0 {
				setUnchanged(b, c, row)
			}
		}
	}
	return s
}

// take is the rows of rec that sel names.
func take(rec arrow.RecordBatch, sel []ref) (arrow.RecordBatch, error) {
	cols := make([]arrow.Array, rec.NumCols())
	for i, c := range rec.Columns() {
		a, err := gather(c.DataType(), []arrow.Array{c}, sel)
		if err != nil {
			return nil, err
		}
		cols[i] = a
	}
	return array.NewRecordBatch(rec.Schema(), cols, int64(len(sel))), nil
}
