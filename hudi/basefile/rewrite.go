package basefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/zeebo/xxh3"

	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/schema"
	"lakefeed/internal/arrowsize"
)

// Rewrite writes a base file that is an older one with changes. What does not
// change is copied as bytes: row groups whole; in those with changes each page, of each
// column, in which no value changes. A changed row stays in its place, a new one goes to
// the end of the last row group.
//
// Changed rows wait in memory for the older file's rows to come by, up to the size of a
// row group. What is more is written ahead, and the older rows go.
type Rewrite struct {
	w       *Writer
	old     *File
	copy    *groupCopy // nil: nothing can be copied
	name    string     // of the new file
	changed map[KeyHash]fate
	keys    []string // changed ones, sorted in the end
	many    bool     // they are too many to be kept
	held    []arrow.RecordBatch
	size    int64             // of held
	rows    map[KeyHash]int32 // of held
	count   int32
	lost    bool // a row with the least or the greatest key is gone
	fill    bool // the filter is made anew, of all keys
	copied  int64
}

// fate says what becomes of a key, and whether the older file has it.
type fate uint8

const (
	toUpsert fate = 1 << iota
	toDelete
	wasFound
)

// maxWantedKeys is how many keys are kept to pass over pages that hold none of them.
const maxWantedKeys = 1 << 16

// NewRewrite begins to write changes into w, which has nothing yet.
func NewRewrite(w *Writer, name string) *Rewrite {
	return &Rewrite{w: w, name: name, changed: map[KeyHash]fate{}, rows: map[KeyHash]int32{}}
}

// open opens the older file.
func (r *Rewrite) open(old io.ReaderAt, size int64) (err error) {
	if r.old, err = openParquet(old, size); err != nil {
		return fmt.Errorf("open base file: %w", err)
	}
	r.copy, err = newGroupCopy(r.old, r.w.leaves, r.name, int(r.w.opts.PageBytes))
	if err != nil && !errors.Is(err, errNoCopy) {
		return err
	}
	if r.scattered() {
		r.copy = nil
	}
	return nil
}

// scattered tells whether the older file has become many small row groups, which are
// worth being joined.
func (r *Rewrite) scattered() bool {
	groups, size := int64(len(r.old.meta.RowGroups)), int64(0)
	for _, g := range r.old.meta.RowGroups {
		size += g.TotalByteSize
	}
	return groups > 8 && size < groups*r.w.opts.RowGroupBytes/16
}

// Upsert takes rows, with their meta columns.
func (r *Rewrite) Upsert(rows arrow.RecordBatch) error {
	if err := r.w.check(rows); err != nil {
		return err
	}
	moved := r.w.moved(rows, r.name)
	keys := moved.Column(r.w.key).(*array.String)
	r.w.addKeys(keys)
	for i := range keys.Len() {
		h := HashKey(keys.Value(i))
		r.changed[h] = toUpsert
		r.rows[h] = r.count
		r.count++
		r.want(keys.Value(i))
	}
	r.held = append(r.held, moved)
	if r.size += arrowsize.Batch(moved); r.size < r.w.opts.RowGroupBytes {
		return nil
	}
	return r.writeHeld()
}

// Delete takes keys whose rows go.
func (r *Rewrite) Delete(keys []string) {
	for _, k := range keys {
		r.changed[HashKey(k)] = toDelete
		r.want(k)
	}
}

// DeleteHash takes a key that is not known itself.
func (r *Rewrite) DeleteHash(key KeyHash) { r.changed[key] = toDelete }

func (r *Rewrite) want(key string) {
	if r.many = r.many || len(r.keys) == maxWantedKeys; r.many {
		r.keys = nil
		return
	}
	r.keys = append(r.keys, strings.Clone(key))
}

// Size is about how large the file is, without what is taken over.
func (r *Rewrite) Size() int64 { return r.w.Size() + r.size/2 }

// writeHeld writes rows ahead.
func (r *Rewrite) writeHeld() error {
	for _, batch := range r.held {
		if err := r.w.add(batch); err != nil {
			return err
		}
		batch.Release()
	}
	r.held, r.size, r.count = nil, 0, 0
	clear(r.rows)
	return nil
}

// Finish writes the rows of the older file, changed as they are, and the footer.
func (r *Rewrite) Finish(ctx context.Context, old io.ReaderAt, size int64) (stats Stats, err error) {
	defer recoverParquet("rewrite", &err)
	if err := r.open(old, size); err != nil {
		return stats, err
	}
	fresh, err := r.joinHeld()
	if err != nil {
		return Stats{}, err
	}
	if fresh != nil {
		defer fresh.Release()
	}
	slices.Sort(r.keys)
	r.startFilter()
	groups := len(r.old.meta.RowGroups)
	for g := range groups {
		if err := ctx.Err(); err != nil {
			return Stats{}, err
		}
		if err := r.group(ctx, g, fresh, g == groups-1); err != nil {
			return Stats{}, fmt.Errorf("row group %d: %w", g, err)
		}
	}
	if rest := r.rest(); len(rest) > 0 { // there is no row group that they could go to
		if err := r.write(fresh, rest); err != nil {
			return Stats{}, err
		}
	}
	if err := r.w.flush(); err != nil {
		return Stats{}, err
	}
	r.w.stats.Rows = r.w.out.meta.NumRows
	if err := r.endKeys(ctx); err != nil {
		return Stats{}, err
	}
	return r.w.Close()
}

// joinHeld makes one batch of the held rows.
func (r *Rewrite) joinHeld() (arrow.RecordBatch, error) {
	if len(r.held) == 0 {
		return nil, nil
	}
	columns := make([]arrow.Array, r.w.opts.Schema.NumFields())
	defer column.Release(columns)
	parts := make([]arrow.Array, len(r.held))
	for i := range columns {
		for j, batch := range r.held {
			parts[j] = batch.Column(i)
		}
		col, err := array.Concatenate(parts, column.Allocator)
		if err != nil {
			return nil, fmt.Errorf("join column %s: %w", r.w.opts.Schema.Field(i).Name, err)
		}
		columns[i] = col
	}
	for _, batch := range r.held {
		batch.Release()
	}
	r.held = nil
	return array.NewRecordBatch(r.w.opts.Schema, columns, int64(r.count)), nil
}

// groupChange is what changes in a row group.
type groupChange struct {
	edits []rowEdit
	fresh []int32 // held rows, in the order of the edits that they are for
}

// group writes a row group of the older file.
func (r *Rewrite) group(ctx context.Context, g int, fresh arrow.RecordBatch, last bool) error {
	change, err := r.find(ctx, g)
	if err != nil {
		return err
	}
	var tail []int32
	if last {
		tail = r.tail(g, fresh)
	}
	old := &r.old.meta.RowGroups[g]
	drops := int64(len(change.edits) - len(change.fresh))
	r.copied += old.NumRows - int64(len(change.edits))
	if drops == old.NumRows && len(tail) == 0 {
		return nil
	}
	err = errNoCopy
	if r.copy != nil {
		err = r.splice(g, change, fresh, tail)
	}
	if errors.Is(err, errNoCopy) {
		err = r.decode(ctx, g, change, fresh, tail)
	}
	return err
}

// splice copies a row group, or what does not change of it.
func (r *Rewrite) splice(g int, change groupChange, fresh arrow.RecordBatch, tail []int32) error {
	rows := r.old.meta.RowGroups[g].NumRows
	if len(change.edits) == 0 && len(tail) == 0 {
		chunks, err := r.copy.whole(g)
		if err != nil {
			return err
		}
		return r.w.out.group(rows, chunks)
	}
	var mini *File
	if wanted := slices.Concat(change.fresh, tail); len(wanted) > 0 {
		some, err := column.Take(fresh, wanted)
		if err != nil {
			return err
		}
		defer some.Release()
		if mini, err = r.w.encodePlain(some); err != nil {
			return err
		}
	}
	chunks, err := r.copy.edited(g, change.edits, mini, len(tail))
	if err != nil {
		return err
	}
	return r.w.out.group(rows+int64(len(tail)+len(change.fresh)-len(change.edits)), chunks)
}

// decode reads a row group and writes its rows anew.
func (r *Rewrite) decode(ctx context.Context, g int, change groupChange, fresh arrow.RecordBatch, tail []int32) error {
	edits, row := change.edits, int64(0)
	err := r.eachBatch(ctx, g, r.w.opts.Schema, func(batch arrow.RecordBatch) error {
		sel := make([]int32, 0, batch.NumRows())
		for i := range int32(batch.NumRows()) {
			if len(edits) > 0 && edits[0].row == row {
				edits = edits[1:]
			} else {
				sel = append(sel, i)
			}
			row++
		}
		kept, err := column.Take(batch, sel)
		if err != nil {
			return err
		}
		defer kept.Release()
		moved := r.w.moved(kept, r.name)
		defer moved.Release()
		if err := r.w.check(moved); err != nil {
			return err
		}
		return r.w.add(moved)
	})
	if err != nil {
		return err
	}
	return r.write(fresh, slices.Concat(change.fresh, tail))
}

// write writes held rows as they come.
func (r *Rewrite) write(fresh arrow.RecordBatch, rows []int32) error {
	if len(rows) == 0 {
		return nil
	}
	some, err := column.Take(fresh, rows)
	if err != nil {
		return err
	}
	defer some.Release()
	return r.w.add(some)
}

// rest are the held rows that found no place, in their order; they are asked for once.
func (r *Rewrite) rest() []int32 {
	out := make([]int32, 0, len(r.rows))
	for _, row := range r.rows {
		out = append(out, row)
	}
	clear(r.rows)
	slices.Sort(out)
	return out
}

// tail are the held rows that the last row group takes in: the rest, if there is room.
func (r *Rewrite) tail(g int, fresh arrow.RecordBatch) []int32 {
	if len(r.rows) == 0 {
		return nil
	}
	perRow := max(arrowsize.Batch(fresh)/fresh.NumRows(), 1)
	if (r.old.meta.RowGroups[g].NumRows+int64(len(r.rows)))*perRow > r.w.opts.RowGroupBytes {
		return nil
	}
	return r.rest()
}

// find finds the rows of a row group that change.
func (r *Rewrite) find(ctx context.Context, g int) (groupChange, error) {
	type hit struct {
		row int64
		key KeyHash
	}
	var hits []hit
	err := r.keysOf(ctx, g, func(row int64, key []byte) error {
		if r.fill {
			r.w.bloom.set(string(key))
		}
		h := xxh3.Hash128Seed(key, keySeed)
		if m, found := r.changed[h]; found {
			if row == 0 || len(hits) > 0 && hits[len(hits)-1].row >= row {
				hits = hits[:0] // the pass began anew, by way of Arrow
			}
			hits = append(hits, hit{row, h})
			r.lost = r.lost || m&toDelete != 0 && r.isBound(string(key))
		}
		return nil
	})
	if err != nil {
		return groupChange{}, err
	}
	var c groupChange
	for _, hit := range hits {
		r.changed[hit.key] |= wasFound
		at, held := r.rows[hit.key]
		c.edits = append(c.edits, rowEdit{row: hit.row, drop: !held})
		if held {
			c.fresh = append(c.fresh, at)
			delete(r.rows, hit.key)
		}
	}
	return c, nil
}

// keysOf passes the keys of a row group to fn, but for those of pages that hold none
// of the changed keys.
func (r *Rewrite) keysOf(ctx context.Context, g int, fn func(row int64, key []byte) error) error {
	want := sortedKeys(r.keys).between
	if r.fill || r.many || len(r.keys) < len(r.changed) {
		want = nil
	} else if s := r.chunkKeys(g); s.min != nil && !want(s.min, s.max) {
		return nil
	}
	err := errNoCopy
	if leaf := r.old.leafOf(schema.RecordKey); leaf >= 0 && r.old.leaves[leaf].isText() {
		err = r.old.keysOfGroup(g, leaf, want, fn)
	}
	if errors.Is(err, errNoCopy) {
		return r.decodeKeys(ctx, g, fn)
	}
	return err
}

func (r *Rewrite) chunkKeys(g int) valueStats {
	if leaf := r.old.leafOf(schema.RecordKey); leaf >= 0 {
		return r.old.leaves[leaf].chunkStats(&r.old.meta.RowGroups[g].Columns[leaf].Meta)
	}
	return valueStats{}
}

// decodeKeys reads keys by way of Arrow.
func (r *Rewrite) decodeKeys(ctx context.Context, g int, fn func(row int64, key []byte) error) error {
	f, _ := r.w.opts.Schema.FieldsByName(schema.RecordKey)
	row := int64(0)
	return r.eachBatch(ctx, g, arrow.NewSchema(f, nil), func(batch arrow.RecordBatch) error {
		keys := batch.Column(0).(*array.String) // as NewWriter saw
		for i := range keys.Len() {
			if err := fn(row, []byte(keys.Value(i))); err != nil {
				return err
			}
			row++
		}
		return nil
	})
}

// eachBatch decodes a row group.
func (r *Rewrite) eachBatch(ctx context.Context, g int, schema *arrow.Schema, fn func(arrow.RecordBatch) error) error {
	b, err := Open(r.old.raw, r.old.size, schema)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	if err := b.Restrict([]int{g}); err != nil {
		return err
	}
	return b.Each(ctx, fn)
}

// Found counts, once the rewrite is finished, the rows of the older file that were
// changed.
func (r *Rewrite) Found() (updated, deleted int64) {
	for _, f := range r.changed {
		switch f {
		case toUpsert | wasFound:
			updated++
		case toDelete | wasFound:
			deleted++
		default:
		}
	}
	return updated, deleted
}

// Unchanged is how many rows of the older file were taken over as they are.
func (r *Rewrite) Unchanged() int64 { return r.copied }
