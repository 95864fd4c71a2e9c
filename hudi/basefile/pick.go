package basefile

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"lakefeed/hudi/schema"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go/format"
)

// Range is the rows of a row group from one to before another.
type Range struct{ From, To int64 }

// RowReader reads some rows of a base file, and as few pages as they need. The rows
// of a row group are gathered, still encoded, into a Parquet file in memory, from
// which Arrow makes batches.
type RowReader struct {
	file   *File
	schema *arrow.Schema
	meta   *parquetMeta // of the files in memory
	leaves []int        // of these, the columns of the file
	pick   func(g int) ([]Range, error)
	group  int
	ranges []Range // of the group that are not read yet
	given  int64   // up to which row of the group rows were given out
	rows   *Reader
	skip   int64 // rows at the beginning of rows that were given out before
}

// OpenRows opens a base file for the columns of schema, as [Open] does, and the rows of
// each row group that pick names, in order. It may read more rows than these.
func OpenRows(r io.ReaderAt, size int64, schema *arrow.Schema, pick func(f *File, g int) ([]Range, error)) (*RowReader, error) {
	f, err := openParquet(r, size)
	if err != nil {
		return nil, fmt.Errorf("open base file: %w", err)
	}
	p := &RowReader{file: f, schema: schema, group: -1}
	p.pick = func(g int) ([]Range, error) { return pick(f, g) }
	p.project()
	return p, nil
}

// project finds the columns, and makes the metadata of files that have these only.
func (p *RowReader) project() {
	meta := p.file.meta
	root := meta.Schema[0]
	elements, children, leaf := []format.SchemaElement{}, int32(0), 0
	for at := 1; at < len(meta.Schema); {
		end := schemaEnd(meta.Schema, at)
		wanted := p.schema.HasField(meta.Schema[at].Name)
		for _, e := range meta.Schema[at:end] {
			if e.Type.Valid {
				if wanted {
					p.leaves = append(p.leaves, leaf)
				}
				leaf++
			}
		}
		if wanted {
			elements, children = append(elements, meta.Schema[at:end]...), children+1
		}
		at = end
	}
	root.NumChildren.Set(children)
	meta.Schema = append([]format.SchemaElement{root}, elements...)
	meta.ColumnOrders = nil
	p.meta = &meta
}

// schemaEnd is where the element after the one at an index, and its children, begins.
func schemaEnd(schema []format.SchemaElement, at int) int {
	end := at + 1
	for range schema[at].NumChildren.V {
		end = schemaEnd(schema, end)
	}
	return end
}

// Next returns the next batch, to be released by the caller, or io.EOF.
func (p *RowReader) Next() (batch arrow.RecordBatch, err error) {
	defer recoverParquet("read", &err)
	for {
		if p.rows != nil {
			batch, err := p.rows.Next()
			if err == nil && p.skip > 0 {
				if batch = p.behind(batch); batch == nil {
					continue
				}
			}
			if !errors.Is(err, io.EOF) {
				return batch, err
			}
			if err := p.Close(); err != nil {
				return nil, err
			}
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
}

// behind is what a batch has behind the rows to skip, nil for nothing.
func (p *RowReader) behind(batch arrow.RecordBatch) arrow.RecordBatch {
	defer batch.Release()
	n := min(p.skip, batch.NumRows())
	if p.skip -= n; n == batch.NumRows() {
		return nil
	}
	return batch.NewSlice(n, batch.NumRows())
}

// Each calls fn with the batches that are left, which are valid during the call.
func (p *RowReader) Each(ctx context.Context, fn func(arrow.RecordBatch) error) error {
	return each(ctx, p.Next, fn)
}

// advance opens the next rows.
func (p *RowReader) advance() error {
	for len(p.ranges) == 0 {
		if err := p.nextGroup(); err != nil {
			return err
		}
	}
	if p.isWhole() {
		return p.whole()
	}
	err := p.gather()
	if errors.Is(err, errNoCopy) {
		return p.whole()
	}
	return err
}

// nextGroup picks rows of the next row group.
func (p *RowReader) nextGroup() (err error) {
	if p.group, p.given = p.group+1, 0; p.group >= len(p.file.meta.RowGroups) {
		return io.EOF
	}
	if p.ranges, err = p.pick(p.group); err != nil {
		return fmt.Errorf("row group %d: %w", p.group, err)
	}
	p.ranges = slices.DeleteFunc(p.ranges, func(r Range) bool { return r.From >= r.To })
	return nil
}

// isWhole tells whether all rows of the row group are wanted.
func (p *RowReader) isWhole() bool {
	return len(p.ranges) > 0 && p.ranges[0] == p.file.AllRows(p.group)[0]
}

// whole reads the row group, without what was given out of it, and those behind it that
// are wanted as a whole, as they stand in the file.
func (p *RowReader) whole() (err error) {
	groups, given := []int{p.group}, p.given
	for p.ranges = nil; len(p.ranges) == 0; {
		err := p.nextGroup()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if p.isWhole() {
			groups, p.ranges = append(groups, p.group), nil
		}
	}
	if p.rows, err = Open(p.file.raw, p.file.size, p.schema); err != nil {
		return err
	}
	p.skip = given
	return p.rows.Restrict(groups)
}

// gather makes a file of as many of the wanted rows as fit into memory well.
func (p *RowReader) gather() error {
	left := p.batchRows()
	var now []Range
	rest := slices.Clone(p.ranges)
	rows := int64(0)
	for len(rest) > 0 && left > 0 {
		r := rest[0]
		if r.To-r.From > left {
			r.To = r.From + left
			rest[0].From = r.To
		} else {
			rest = rest[1:]
		}
		now, left, rows = append(now, r), left-(r.To-r.From), rows+r.To-r.From
	}
	chunks, err := p.cut(now)
	if err != nil {
		return err
	}
	var data bytes.Buffer
	w, err := newParquetWriter(&countingWriter{w: &data}, p.meta)
	if err != nil {
		return err
	}
	if err := errors.Join(w.group(rows, chunks), w.close(nil)); err != nil {
		return err
	}
	p.ranges, p.given = rest, now[len(now)-1].To
	p.rows, err = Open(bytes.NewReader(data.Bytes()), int64(data.Len()), p.schema)
	return err
}

// cut makes a chunk of each column with some rows of the row group. The pages that these
// need are known before the first is read, so that little else is.
func (p *RowReader) cut(rows []Range) ([]*newChunk, error) {
	all := make([]*chunkPages, len(p.leaves))
	only := []segment{}
	for i, leaf := range p.leaves {
		pages, err := p.file.pages(p.group, leaf)
		if err != nil {
			return nil, err
		}
		all[i] = pages
		only = append(only, segment{at: pages.dictAt, size: pages.dictTo - pages.dictAt})
		for _, pg := range pages.pages {
			if len(pg.within(rows)) > 0 {
				only = append(only, segment{at: pg.at, size: pg.size})
			}
		}
	}
	slices.SortFunc(only, func(a, b segment) int { return cmp.Compare(a.at, b.at) })
	p.file.r.only = only
	defer func() { p.file.r.only = nil }()
	chunks := make([]*newChunk, len(all))
	for i, pages := range all {
		var err error
		if chunks[i], err = pages.cut(rows); err != nil {
			return nil, fmt.Errorf("column %s: %w", pages.l.path, err)
		}
	}
	return chunks, nil
}

// within are those of some rows of the row group that the page has.
func (pg *pageAt) within(rows []Range) []Range {
	from, _ := slices.BinarySearchFunc(rows, pg.first, func(r Range, at int64) int { return cmp.Compare(r.To, at+1) })
	return Intersect(rows[from:], []Range{{pg.first, pg.first + pg.rows}})
}

// batchRows is how many rows of the group make about the bytes of a batch.
func (p *RowReader) batchRows() int64 {
	g := &p.file.meta.RowGroups[p.group]
	size := int64(0)
	for _, leaf := range p.leaves {
		size += g.Columns[leaf].Meta.TotalUncompressedSize
	}
	return max(maxBatchBytes/(size/max(g.NumRows, 1)+1), 1)
}

// Close lets go of the reader's buffers, not of the file.
func (p *RowReader) Close() error {
	if p.rows == nil {
		return nil
	}
	rows := p.rows
	p.rows = nil
	return rows.Close()
}

// cut makes a chunk of some rows. A page whose rows are all wanted is copied.
func (p *chunkPages) cut(ranges []Range) (*newChunk, error) {
	e := &chunkEdit{p: p, out: &newChunk{l: p.l, meta: *p.meta}}
	e.out.meta.NumValues, e.out.meta.TotalUncompressedSize = 0, 0
	e.out.meta.Encodings, e.out.meta.EncodingStats, e.out.meta.Stats.Valid = slices.Clone(p.meta.Encodings), nil, false
	var err error
	if e.dict, e.dictPlain, err = p.readDictionary(); err != nil {
		return nil, err
	}
	for i := range p.pages {
		pg := &p.pages[i]
		within := pg.within(ranges)
		if len(within) == 0 {
			continue
		}
		if err := e.cut(pg, within); err != nil {
			return nil, err
		}
	}
	e.edited = false
	return e.out, e.finish()
}

// cut keeps some rows of a page.
func (e *chunkEdit) cut(pg *pageAt, within []Range) error {
	held, err := e.p.hold(pg)
	if err != nil {
		return err
	}
	pg = &held
	old, plain, err := e.p.read(pg, e.dict)
	if err != nil {
		return err
	}
	if within[0] == (Range{pg.first, pg.first + pg.rows}) {
		e.out.meta.NumValues += int64(old.levels)
		e.out.meta.TotalUncompressedSize += plain
		e.copy(pg)
		return nil
	}
	next := &decodedPage{encoding: old.encoding, indexed: old.indexed}
	c, at := newRowCursor(e.p.l, &old), pg.first
	for _, r := range within {
		if _, err := c.take(int(r.From - at)); err != nil {
			return err
		}
		rows, err := c.take(int(r.To - r.From))
		if err != nil {
			return err
		}
		next.add(rows)
		at = r.To
	}
	return e.put(next)
}

// RowsWith finds the rows of a row group whose record keys are wanted. Where all of
// these are given, sorted, pages that cannot have them are passed over.
func (f *File) RowsWith(g int, all []string, wanted func(key []byte) bool) (found []Range, err error) {
	leaf := f.leafOf(schema.RecordKey)
	if leaf < 0 || !f.leaves[leaf].isText() {
		return f.AllRows(g), nil
	}
	want := sortedKeys(all).between
	if all == nil {
		want = nil
	} else if s := f.leaves[leaf].chunkStats(&f.meta.RowGroups[g].Columns[leaf].Meta); s.min != nil && !want(s.min, s.max) {
		return nil, nil
	}
	err = f.keysOfGroup(g, leaf, want, func(row int64, key []byte) error {
		if wanted(key) {
			if n := len(found); n > 0 && found[n-1].To == row {
				found[n-1].To++
			} else {
				found = append(found, Range{row, row + 1})
			}
		}
		return nil
	})
	if errors.Is(err, errNoCopy) {
		return f.AllRows(g), nil
	}
	return found, err
}

// sortedKeys are record keys in the order of their bytes.
type sortedKeys []string

// between tells whether one of the keys lies between two others.
func (k sortedKeys) between(low, high []byte) bool {
	at, _ := slices.BinarySearch(k, string(low))
	return at < len(k) && k[at] <= string(high)
}

// AllRows are those of a row group, as one range.
func (f *File) AllRows(g int) []Range { return []Range{{0, f.meta.RowGroups[g].NumRows}} }
