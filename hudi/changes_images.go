package hudi

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/column"
)

// Images are made partition by partition, as a key may go from one file group to
// another in a replace commit. The rows that were written in range are new or have an
// old row of the same key; what was deleted are the old rows whose keys are gone.

const (
	changeRows  = 64 << 10 // changed rows that are held, at most
	changeBytes = 32 << 20 // and about their size in memory
	changeKeys  = 2 << 20  // keys of a state that are held
)

// imageSchema is the schema of batches with images.
func (c *changeReader) imageSchema() *arrow.Schema {
	row := arrow.StructOf(c.wanted.Fields()...)
	return arrow.NewSchema([]arrow.Field{
		{Name: OpColumn, Type: arrow.BinaryTypes.String},
		{Name: BeforeColumn, Type: row, Nullable: true},
		{Name: AfterColumn, Type: row, Nullable: true},
	}, nil)
}

// upserts yields the rows that were written in range, beside their old ones.
func (c *changeReader) upserts(ctx context.Context, partition string, yield func(arrow.RecordBatch) error) error {
	var held []arrow.RecordBatch
	var rows, size int64
	defer func() { releaseBatches(held) }()
	flush := func() error {
		err := c.pair(ctx, partition, held, yield)
		releaseBatches(held)
		held, rows, size = nil, 0, 0
		return err
	}
	err := c.written(ctx, partition, func(batch arrow.RecordBatch) error {
		batch.Retain()
		held = append(held, batch)
		rows += batch.NumRows()
		if size += sizeOf(batch); rows < changeRows && size < changeBytes {
			return nil
		}
		return flush()
	})
	if err != nil || len(held) == 0 {
		return err
	}
	return flush()
}

// sizeOf is about what a batch takes in memory.
func sizeOf(batch arrow.RecordBatch) int64 {
	size := uint64(0)
	for _, col := range batch.Columns() {
		size += col.Data().SizeInBytes()
	}
	return int64(size)
}

func releaseBatches(batches []arrow.RecordBatch) {
	for _, b := range batches {
		b.Release()
	}
}

// pair looks up the old rows of new ones.
func (c *changeReader) pair(ctx context.Context, partition string, batches []arrow.RecordBatch, yield func(arrow.RecordBatch) error) error {
	old := &lookup{only: map[basefile.KeyHash]int32{}, schema: c.wanted}
	defer old.release()
	for _, b := range batches {
		keys, err := keysOf(b)
		if err != nil {
			return err
		}
		for row := range keys.Len() {
			old.only[basefile.HashKey(keys.Value(row))] = -1
		}
	}
	for _, s := range c.scans(c.before, partition, withColumns(c.wanted, c.full, keyColumn)) {
		s.only = old.only
		if err := s.run(ctx, old.add); err != nil {
			return err
		}
	}
	before, err := old.record()
	if err != nil {
		return err
	}
	defer before.Release()
	for _, b := range batches {
		out, err := c.pairBatch(ctx, b, before, old.only)
		if err != nil {
			return err
		}
		err = yield(out)
		out.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// pairBatch puts the old rows, at the places that only has of their keys, beside new ones.
func (c *changeReader) pairBatch(ctx context.Context, batch, old arrow.RecordBatch, only map[basefile.KeyHash]int32) (arrow.RecordBatch, error) {
	keys, err := keysOf(batch)
	if err != nil {
		return nil, err
	}
	ops, at := array.NewStringBuilder(column.Allocator), array.NewInt32Builder(column.Allocator)
	defer ops.Release()
	defer at.Release()
	for row := range keys.Len() {
		if i := only[basefile.HashKey(keys.Value(row))]; i >= 0 {
			ops.Append(OpUpdate)
			at.Append(i)
		} else {
			ops.Append(OpInsert)
			at.AppendNull()
		}
	}
	indices := at.NewInt32Array()
	defer indices.Release()
	before, err := takeStruct(ctx, old, indices)
	if err != nil {
		return nil, err
	}
	defer before.Release()
	after := structOf(c.wanted, batch.Columns()[:c.wanted.NumFields()], int(batch.NumRows()), nil, 0)
	defer after.Release()
	op := ops.NewStringArray()
	defer op.Release()
	return array.NewRecordBatch(c.imageSchema(), []arrow.Array{op, before, after}, batch.NumRows()), nil
}

// takeStruct makes structs of rows; of a null place a null.
func takeStruct(ctx context.Context, rows arrow.RecordBatch, at *array.Int32) (arrow.Array, error) {
	columns := make([]arrow.Array, rows.NumCols())
	defer column.Release(columns)
	for i, col := range rows.Columns() {
		if rows.NumRows() == 0 {
			columns[i] = array.MakeArrayOfNull(column.Allocator, col.DataType(), at.Len())
			continue
		}
		out, err := compute.TakeArrayOpts(ctx, col, at, compute.TakeOptions{BoundsCheck: false})
		if err != nil {
			return nil, fmt.Errorf("select rows of column %s: %w", rows.ColumnName(i), err)
		}
		columns[i] = out
	}
	return structOf(rows.Schema(), columns, at.Len(), at.Data().Buffers()[0], at.NullN()), nil
}

// structOf makes structs of columns, with a bitmap of those that are valid.
func structOf(s *arrow.Schema, columns []arrow.Array, rows int, valid *memory.Buffer, nulls int) arrow.Array {
	children := make([]arrow.ArrayData, len(columns))
	for i, col := range columns {
		children[i] = col.Data()
	}
	data := array.NewData(arrow.StructOf(s.Fields()...), rows, []*memory.Buffer{valid}, children, nulls, 0)
	defer data.Release()
	return array.NewStructData(data)
}

// deletes yields the old rows whose keys the new state does not have. It goes through
// the keys in as many passes as it needs to hold no more than changeKeys of them.
func (c *changeReader) deletes(ctx context.Context, partition string, yield func(arrow.RecordBatch) error) error {
	if len(c.scans(c.before, partition, c.wanted)) == 0 {
		return nil
	}
	for part, parts := uint64(0), uint64(1); part < parts; part++ {
		kept, n, err := c.keysAfter(ctx, partition, part, parts)
		if err != nil {
			return err
		}
		parts = n
		if err := c.gone(ctx, partition, part, parts, kept, yield); err != nil {
			return err
		}
	}
	return nil
}

// keysAfter are the keys of the new state that fall into one of so many parts. If these
// are too many, it is the first part that is asked for, and the keys are divided finer.
func (c *changeReader) keysAfter(ctx context.Context, partition string, part, parts uint64) (map[basefile.KeyHash]bool, uint64, error) {
	kept := map[basefile.KeyHash]bool{}
	for _, s := range c.scans(c.after, partition, c.keySchema()) {
		err := s.run(ctx, func(batch arrow.RecordBatch) error {
			keys, err := keysOf(batch)
			if err != nil {
				return err
			}
			for row := range keys.Len() {
				if h := basefile.HashKey(keys.Value(row)); h.Lo%parts == part {
					kept[h] = true
				}
			}
			for part == 0 && len(kept) > c.maxKeys() {
				parts *= 2
				for h := range kept {
					if h.Lo%parts != part {
						delete(kept, h)
					}
				}
			}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return kept, parts, nil
}

func (c *changeReader) maxKeys() int {
	if c.heldKeys > 0 {
		return c.heldKeys
	}
	return changeKeys
}

func (c *changeReader) keySchema() *arrow.Schema {
	return withColumns(arrow.NewSchema(nil, nil), c.full, keyColumn)
}

// gone yields the old rows of a part whose keys are not among those that were kept.
func (c *changeReader) gone(ctx context.Context, partition string, part, parts uint64, kept map[basefile.KeyHash]bool, yield func(arrow.RecordBatch) error) error {
	only := map[basefile.KeyHash]int32{}
	for _, s := range c.scans(c.before, partition, c.keySchema()) {
		err := s.run(ctx, func(batch arrow.RecordBatch) error {
			keys, err := keysOf(batch)
			if err != nil {
				return err
			}
			for row := range keys.Len() {
				if h := basefile.HashKey(keys.Value(row)); h.Lo%parts == part && !kept[h] {
					only[h] = -1
				}
			}
			if len(only) < changeRows {
				return nil
			}
			err = c.yieldGone(ctx, partition, only, yield)
			clear(only)
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(only) == 0 {
		return nil
	}
	return c.yieldGone(ctx, partition, only, yield)
}

// yieldGone yields old rows of these keys as deletes.
func (c *changeReader) yieldGone(ctx context.Context, partition string, only map[basefile.KeyHash]int32, yield func(arrow.RecordBatch) error) error {
	for _, s := range c.scans(c.before, partition, withColumns(c.wanted, c.full, keyColumn)) {
		s.only = only
		err := s.run(ctx, func(batch arrow.RecordBatch) error {
			n := int(batch.NumRows())
			op := column.Repeat(OpDelete, n)
			defer op.Release()
			before := structOf(c.wanted, batch.Columns()[:c.wanted.NumFields()], n, nil, 0)
			defer before.Release()
			after := array.MakeArrayOfNull(column.Allocator, before.DataType(), n)
			defer after.Release()
			out := array.NewRecordBatch(c.imageSchema(), []arrow.Array{op, before, after}, batch.NumRows())
			defer out.Release()
			return yield(out)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
