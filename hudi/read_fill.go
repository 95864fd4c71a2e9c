package hudi

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/column"
	"lakefeed/internal/arrowsize"
)

// Some records do not say all of their row: partial updates have the changed columns
// only, and others hold a marker in columns that stay as they were. Such a row is made
// of the record that counts and, for what it leaves out, of the records and the base
// file's row that come behind it.

// fillChains are, for each key whose record leaves something out, the records behind
// it.
type fillChains struct {
	chains map[basefile.KeyHash]fillChain
	pieces []piece
}

// fillChain is the records behind the one that counts, the next one first.
type fillChain struct {
	first  int32 // of fillChains.pieces; -1: none
	closed bool  // the last one leaves nothing out, and the base file's row is not asked
}

// piece is a record of the log and the one behind it.
type piece struct {
	block, record, next int32 // next -1: none
}

func (f *fillChains) has(h basefile.KeyHash) bool {
	_, found := f.chains[h]
	return found
}

// ahead puts a record before the one that counted for its key.
func (f *fillChains) ahead(h basefile.KeyHash, old winner, found bool, w winner, whole bool) {
	c, had := f.chains[h]
	if had {
		delete(f.chains, h)
	}
	if whole || w.deleted() || found && old.deleted() { // nothing of a deleted row is taken over
		return
	}
	if f.chains == nil {
		f.chains = map[basefile.KeyHash]fillChain{}
	}
	if !found {
		f.chains[h] = fillChain{first: -1}
		return
	}
	next := int32(-1)
	if had {
		next = c.first
	}
	f.pieces = append(f.pieces, piece{old.block, old.record, next})
	f.chains[h] = fillChain{int32(len(f.pieces) - 1), !had || c.closed}
}

// behind puts a record, which is older by its ordering value, behind the others.
func (f *fillChains) behind(h basefile.KeyHash, old, w winner, whole bool) {
	c, had := f.chains[h]
	if !had || c.closed || old.deleted() || w.deleted() {
		return
	}
	f.pieces = append(f.pieces, piece{w.block, w.record, -1})
	last := int32(len(f.pieces) - 1)
	if c.first < 0 {
		c.first = last
	} else {
		at := c.first
		for f.pieces[at].next >= 0 {
			at = f.pieces[at].next
		}
		f.pieces[at].next = last
	}
	c.closed = whole
	f.chains[h] = c
}

// fillBytes bounds the rows that are filled at a time, as the base file has them.
const fillBytes = 32 << 20

// filler makes the rows that are filled, some at a time: each time it reads the blocks
// that have a part in them.
type filler struct {
	scan  *sliceScan
	logs  *mergedLogs
	yield func(arrow.RecordBatch) error

	rows    []fillRow
	batches []arrow.RecordBatch // of the base file and of the blocks, in the scan's schema
	lacking []*blockSchema      // of batches; nil for the base file
	size    int64
}

// fillRow is a row in the making: what it is made of, what counts first.
type fillRow struct {
	parts []fillPart
}

// fillPart is a row of the filler's batches.
type fillPart struct{ batch, row int32 }

// addBase takes rows of the base file, whose keys have a chain. Newer tells which of
// them come before the records of the log.
func (f *filler) addBase(ctx context.Context, batch arrow.RecordBatch, hashes []basefile.KeyHash, newer []bool) error {
	at := int32(len(f.batches))
	batch.Retain()
	f.batches, f.lacking = append(f.batches, batch), append(f.lacking, nil)
	f.size += arrowsize.Batch(batch)
	for row, h := range hashes {
		base := fillPart{at, int32(row)}
		f.add(h, &base, newer[row])
	}
	if f.size < fillBytes {
		return nil
	}
	return f.flush(ctx)
}

// add begins a row: its parts of the log are named by block, -1 - block, until flush
// has read them.
func (f *filler) add(h basefile.KeyHash, base *fillPart, newer bool) {
	w, c := f.logs.winners[h], f.logs.fills.chains[h]
	parts := []fillPart{{-1 - w.block, w.record}}
	for at := c.first; at >= 0; at = f.logs.fills.pieces[at].next {
		p := f.logs.fills.pieces[at]
		parts = append(parts, fillPart{-1 - p.block, p.record})
	}
	switch {
	case base == nil:
	case newer:
		parts = slices.Insert(parts, 0, *base)
	case !c.closed:
		parts = append(parts, *base)
	}
	f.rows = append(f.rows, fillRow{parts})
	delete(f.logs.fills.chains, h)
	delete(f.logs.winners, h)
}

// rest makes the rows that the base file does not have.
func (f *filler) rest(ctx context.Context) error {
	if err := f.flush(ctx); err != nil {
		return err
	}
	left := make([]basefile.KeyHash, 0, len(f.logs.fills.chains))
	for h := range f.logs.fills.chains {
		if m, found := f.scan.skip[h]; found {
			f.scan.skip[h] = m | markFound
			continue
		}
		left = append(left, h)
	}
	winners := f.logs.winners
	slices.SortFunc(left, func(a, b basefile.KeyHash) int {
		x, y := winners[a], winners[b]
		return cmp.Or(cmp.Compare(x.block, y.block), cmp.Compare(x.record, y.record))
	})
	for n, h := range left {
		f.add(h, nil, false)
		if n%fillRows == fillRows-1 {
			if err := f.flush(ctx); err != nil {
				return err
			}
		}
	}
	return f.flush(ctx)
}

// fillRows bounds the rows that are filled at a time where the base file has none.
const fillRows = 64 << 10

// flush makes the rows that are held.
func (f *filler) flush(ctx context.Context) error {
	defer f.reset()
	if len(f.rows) == 0 {
		return nil
	}
	if err := f.readLogs(ctx); err != nil {
		return err
	}
	schema := f.scan.schema
	columns := make([]arrow.Array, schema.NumFields())
	defer column.Release(columns)
	for c, field := range schema.Fields() {
		col, err := f.column(ctx, c, field.Name)
		if err != nil {
			return fmt.Errorf("fill column %s: %w", field.Name, err)
		}
		columns[c] = col
	}
	out := array.NewRecordBatch(schema, columns, int64(len(f.rows)))
	defer out.Release()
	return f.scan.yield(out, f.yield)
}

func (f *filler) reset() {
	for _, b := range f.batches {
		b.Release()
	}
	f.rows, f.batches, f.lacking, f.size = f.rows[:0], f.batches[:0], f.lacking[:0], 0
}

// readLogs reads the records of the log that the rows are made of.
func (f *filler) readLogs(ctx context.Context) error {
	wanted := map[int32][]int32{}
	for _, r := range f.rows {
		for _, p := range r.parts {
			if p.batch < 0 {
				wanted[-1-p.batch] = append(wanted[-1-p.batch], p.row)
			}
		}
	}
	found := map[fillPart]fillPart{}
	for block := range int32(len(f.logs.blocks)) {
		records := wanted[block]
		if len(records) == 0 {
			continue
		}
		slices.Sort(records)
		if err := f.readBlock(ctx, block, slices.Compact(records), found); err != nil {
			return err
		}
	}
	for _, r := range f.rows {
		for i, p := range r.parts {
			if p.batch < 0 {
				r.parts[i] = found[p]
			}
		}
	}
	return nil
}

func (f *filler) readBlock(ctx context.Context, block int32, records []int32, found map[fillPart]fillPart) error {
	b := f.logs.blocks[block]
	bs, err := f.logs.schema(f.scan, b)
	if err != nil {
		return err
	}
	err = f.logs.rows(ctx, f.scan, b, f.scan.schema, records, func(batch arrow.RecordBatch) error {
		at := int32(len(f.batches))
		batch.Retain()
		f.batches, f.lacking = append(f.batches, batch), append(f.lacking, bs)
		for row := range int32(batch.NumRows()) {
			found[fillPart{-1 - block, records[row]}] = fillPart{at, row}
		}
		records = records[batch.NumRows():]
		return nil
	})
	if err == nil && len(records) > 0 {
		err = fmt.Errorf("it has no record %d any more", records[0])
	}
	if err != nil {
		return f.logs.blame(b, err)
	}
	return nil
}

// column makes a column: of each row the first part that says something.
func (f *filler) column(ctx context.Context, c int, name string) (arrow.Array, error) {
	parts := make([]arrow.Array, len(f.batches))
	starts := make([]int32, len(f.batches))
	n := int32(0)
	for i, b := range f.batches {
		parts[i], starts[i] = b.Column(c), n
		n += int32(b.NumRows())
	}
	all, err := array.Concatenate(parts, column.Allocator)
	if err != nil {
		return nil, err
	}
	defer all.Release()
	picks := array.NewInt32Builder(column.Allocator)
	defer picks.Release()
	for _, r := range f.rows {
		p := r.parts[len(r.parts)-1]
		for _, q := range r.parts {
			if !f.leavesOut(q, parts[q.batch], name) {
				p = q
				break
			}
		}
		picks.Append(starts[p.batch] + p.row)
	}
	indices := picks.NewArray()
	defer indices.Release()
	return compute.TakeArrayOpts(ctx, all, indices, compute.TakeOptions{BoundsCheck: false})
}

// leavesOut tells whether a part keeps the value of the part behind it.
func (f *filler) leavesOut(p fillPart, col arrow.Array, name string) bool {
	if bs := f.lacking[p.batch]; bs != nil && bs.lacks(name) {
		return true
	}
	switch rule := f.scan.table.merge; rule.fill {
	case fillMarker:
		return isMarker(col, int(p.row), rule.marker)
	case fillNulls:
		return col.IsNull(int(p.row))
	default:
		return false
	}
}
