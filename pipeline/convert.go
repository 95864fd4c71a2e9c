package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/change"
)

// convert makes rows of the lake table out of the surviving changes sel, with
// their record keys. Values that were not sent come from filled (fill.go).
func (p *Pipeline) convert(l *layout, r *reduction, sel []ref, filled *filled) (arrow.RecordBatch, *array.String, error) {
	cols := make([]arrow.Array, l.schema.NumFields())
	var err error
	for i, f := range l.schema.Fields() {
		if c := l.source[i]; c >= 0 {
			cols[i], err = sourceColumn(l.table, c, f.Type, r, sel, filled)
		} else {
			cols[i], err = p.extraColumn(f, r, sel)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
	}
	if err := l.derive(cols); err != nil {
		return nil, nil, err
	}
	keys := make([]arrow.Array, len(r.slabs))
	for i, s := range r.slabs {
		keys[i] = s.keys
	}
	k, err := gather(arrow.BinaryTypes.String, keys, sel)
	if err != nil {
		return nil, nil, err
	}
	return array.NewRecordBatch(l.schema, cols, int64(len(sel))), k.(*array.String), nil
}

// derive makes the columns that partitions derive of others.
func (l *layout) derive(cols []arrow.Array) error {
	for _, c := range l.partitions {
		if !c.derived() {
			continue
		}
		from, to := l.schema.FieldIndices(c.From), l.schema.FieldIndices(c.Lake)
		if len(from) == 0 || len(to) == 0 {
			return fmt.Errorf("column %s: the lake's schema has no %s to make it of", c.Lake, c.From)
		}
		var err error
		if cols[to[0]], err = derive(cols[from[0]], c.unit()); err != nil {
			return err
		}
	}
	return nil
}

// sourceColumn gathers column c of the newest version of the table, as type dt.
func sourceColumn(t *change.Table, c int, dt arrow.DataType, r *reduction, sel []ref, filled *filled) (arrow.Array, error) {
	column := t.Columns[c]
	arrays := make([]arrow.Array, len(r.slabs), len(r.slabs)+2)
	patched := false
	patch := func() {
		if !patched {
			sel, patched = append([]ref(nil), sel...), true
		}
	}
	for i, s := range r.slabs {
		at := c
		if s.Table != t {
			at = columnIndex(s.Table, column.Name)
		}
		if at < 0 {
			continue
		}
		a, err := as(s.Rows.Column(at), dt)
		if err != nil {
			return nil, err
		}
		arrays[i] = a
	}
	if filled != nil {
		for i, at := range sel {
			if from, ok := filled.from(r, at, column.Name); ok {
				patch()
				sel[i] = from
			}
		}
		a, err := filled.column(column.Name, dt)
		if err != nil {
			return nil, err
		}
		arrays = append(arrays, a) // slab number len(r.slabs): the stored rows
	}
	if column.Missing != nil { // rows that are older than the column
		missing := ref{slab: int32(len(arrays))}
		for i, at := range sel {
			if int(at.slab) < len(r.slabs) && arrays[at.slab] == nil {
				patch()
				sel[i] = missing
			}
		}
		a, err := as(column.Missing, dt)
		if err != nil {
			return nil, err
		}
		arrays = append(arrays, a)
	}
	return gather(dt, arrays, sel)
}

// as is a as type dt; the types differ only where a column was widened.
func as(a arrow.Array, dt arrow.DataType) (arrow.Array, error) {
	if arrow.TypeEqual(a.DataType(), dt) {
		return a, nil
	}
	return compute.CastArray(context.Background(), a, compute.SafeCastOptions(dt))
}

// extraColumn makes one of the columns that are not the source's; a source
// column that is gone is null from then on.
func (p *Pipeline) extraColumn(f arrow.Field, r *reduction, sel []ref) (arrow.Array, error) {
	switch f.Name {
	case colOp:
		b := array.NewStringBuilder(memory.DefaultAllocator)
		b.Reserve(len(sel))
		for _, at := range sel {
			b.Append(opNames[r.slabs[at.slab].Ops[at.row]])
		}
		return b.NewArray(), nil
	case colKey:
		keys := make([]arrow.Array, len(r.slabs))
		for i, s := range r.slabs {
			keys[i] = s.keys
		}
		return gather(f.Type, keys, sel)
	case colLSN:
		return int64Column(sel, func(at ref) (int64, bool) { return int64(r.slabs[at.slab].At[at.row].Commit), true }), nil
	case colTx:
		return int64Column(sel, func(at ref) (int64, bool) {
			x := r.slabs[at.slab].Xids[at.row]
			return int64(x), x != 0
		}), nil
	case colOrigin:
		return int64Column(sel, func(at ref) (int64, bool) {
			t := r.slabs[at.slab].Times[at.row]
			return t / 1000, t != 0
		}), nil
	case colProcessed:
		now := time.Now().UnixMilli()
		return int64Column(sel, func(ref) (int64, bool) { return now, true }), nil
	default:
		return array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, len(sel)), nil
	}
}

var opNames = map[change.Op]string{change.Create: "c", change.Update: "u", change.Read: "r", change.Patch: "r"}

func int64Column(sel []ref, value func(ref) (int64, bool)) arrow.Array {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	b.Reserve(len(sel))
	for _, at := range sel {
		if v, ok := value(at); ok {
			b.UnsafeAppend(v)
		} else {
			b.AppendNull()
		}
	}
	return b.NewArray()
}
