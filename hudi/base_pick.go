package hudi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go/format"
)

// rowRange is rows of a row group.
type rowRange struct{ from, to int64 }

// pickReader reads some rows of a base file, and as few pages as they need. The rows
// of a row group are gathered, still encoded, into a Parquet file in memory, from
// which Arrow makes batches.
type pickReader struct {
	file   *parquetFile
	schema *arrow.Schema
	meta   *parquetMeta // of the files in memory
	leaves []int        // of these, the columns of the file
	pick   func(g int) ([]rowRange, error)
	group  int
	ranges []rowRange // of the group that are not read yet
	rows   *baseReader
}

// openPickReader opens a base file for the columns of schema and the rows of each row
// group that pick names, in order. It may read more rows than these.
func openPickReader(r io.ReaderAt, size int64, schema *arrow.Schema, pick func(f *parquetFile, g int) ([]rowRange, error)) (*pickReader, error) {
	f, err := openParquet(r, size)
	if err != nil {
		return nil, fmt.Errorf("open base file: %w", err)
	}
	p := &pickReader{file: f, schema: schema, group: -1}
	p.pick = func(g int) ([]rowRange, error) { return pick(f, g) }
	p.project()
	return p, nil
}

// project finds the columns, and makes the metadata of files that have these only.
func (p *pickReader) project() {
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

// next returns the next batch, to be released by the caller, or io.EOF.
func (p *pickReader) next() (batch arrow.RecordBatch, err error) {
	defer recoverParquet("read", &err)
	for {
		if p.rows != nil {
			batch, err := p.rows.next()
			if !errors.Is(err, io.EOF) {
				return batch, err
			}
			if err := p.close(); err != nil {
				return nil, err
			}
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
}

// advance opens the next rows.
func (p *pickReader) advance() error {
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
func (p *pickReader) nextGroup() (err error) {
	if p.group++; p.group >= len(p.file.meta.RowGroups) {
		return io.EOF
	}
	if p.ranges, err = p.pick(p.group); err != nil {
		return fmt.Errorf("row group %d: %w", p.group, err)
	}
	p.ranges = slices.DeleteFunc(p.ranges, func(r rowRange) bool { return r.from >= r.to })
	return nil
}

// isWhole tells whether all rows of the row group are wanted.
func (p *pickReader) isWhole() bool {
	return len(p.ranges) > 0 && p.ranges[0] == rowRange{0, p.file.meta.RowGroups[p.group].NumRows}
}

// whole reads the row group, and those behind it that are wanted as a whole, as they
// stand in the file.
func (p *pickReader) whole() (err error) {
	groups := []int{p.group}
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
	if p.rows, err = openBaseReader(p.file.raw, p.file.size, p.schema); err != nil {
		return err
	}
	return p.rows.restrict(groups)
}

// gather makes a file of as many of the wanted rows as fit into memory well.
func (p *pickReader) gather() error {
	left := p.batchRows()
	var now []rowRange
	rest := slices.Clone(p.ranges)
	rows := int64(0)
	for len(rest) > 0 && left > 0 {
		r := rest[0]
		if r.to-r.from > left {
			r.to = r.from + left
			rest[0].from = r.to
		} else {
			rest = rest[1:]
		}
		now, left, rows = append(now, r), left-(r.to-r.from), rows+r.to-r.from
	}
	var chunks []*newChunk
	for _, leaf := range p.leaves {
		pages, err := p.file.pages(p.group, leaf)
		if err != nil {
			return err
		}
		chunk, err := pages.cut(now)
		if err != nil {
			return fmt.Errorf("column %s: %w", p.file.leaves[leaf].path, err)
		}
		chunks = append(chunks, chunk)
	}
	var data bytes.Buffer
	w, err := newParquetWriter(&countingWriter{w: &data}, p.meta)
	if err != nil {
		return err
	}
	if err := errors.Join(w.group(rows, chunks), w.close(nil)); err != nil {
		return err
	}
	p.ranges = rest
	p.rows, err = openBaseReader(bytes.NewReader(data.Bytes()), int64(data.Len()), p.schema)
	return err
}

// batchRows is how many rows of the group make about the bytes of a batch.
func (p *pickReader) batchRows() int64 {
	g := &p.file.meta.RowGroups[p.group]
	size := int64(0)
	for _, leaf := range p.leaves {
		size += g.Columns[leaf].Meta.TotalUncompressedSize
	}
	return max(baseBatchBytes/(size/max(g.NumRows, 1)+1), 1)
}

func (p *pickReader) close() error {
	if p.rows == nil {
		return nil
	}
	rows := p.rows
	p.rows = nil
	return rows.close()
}

// cut makes a chunk of some rows. A page whose rows are all wanted is copied.
func (p *chunkPages) cut(ranges []rowRange) (*newChunk, error) {
	e := &chunkEdit{p: p, out: &newChunk{l: p.l, meta: *p.meta}}
	e.out.meta.NumValues, e.out.meta.TotalUncompressedSize = 0, 0
	e.out.meta.Encodings, e.out.meta.EncodingStats, e.out.meta.Stats.Valid = slices.Clone(p.meta.Encodings), nil, false
	var err error
	if e.dict, e.dictPlain, err = p.readDictionary(); err != nil {
		return nil, err
	}
	for i := range p.pages {
		pg := &p.pages[i]
		var within []rowRange
		for _, r := range ranges {
			if r := (rowRange{max(r.from, pg.first), min(r.to, pg.first+pg.rows)}); r.from < r.to {
				within = append(within, r)
			}
		}
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
func (e *chunkEdit) cut(pg *pageAt, within []rowRange) error {
	old, plain, err := e.p.read(pg, e.dict)
	if err != nil {
		return err
	}
	if within[0] == (rowRange{pg.first, pg.first + pg.rows}) {
		e.out.meta.NumValues += int64(old.levels)
		e.out.meta.TotalUncompressedSize += plain
		e.copy(pg)
		return nil
	}
	next := &decodedPage{encoding: old.encoding, indexed: old.indexed}
	c, at := newRowCursor(e.p.l, &old), pg.first
	for _, r := range within {
		if _, err := c.take(int(r.from - at)); err != nil {
			return err
		}
		rows, err := c.take(int(r.to - r.from))
		if err != nil {
			return err
		}
		next.add(rows)
		at = r.to
	}
	return e.put(next)
}

// rowsWith finds the rows of a row group that have one of these keys. Where all are
// given, sorted, pages that cannot have them are passed over.
func (f *parquetFile) rowsWith(g int, keys []string, only map[keyHash]int32) (found []rowRange, err error) {
	all := []rowRange{{0, f.meta.RowGroups[g].NumRows}}
	leaf := f.leafOf(keyColumn)
	if leaf < 0 || !f.leaves[leaf].isText() {
		return all, nil
	}
	want := sortedKeys(keys).between
	if len(keys) < len(only) {
		want = nil
	} else if s := f.leaves[leaf].chunkStats(&f.meta.RowGroups[g].Columns[leaf].Meta); s.min != nil && !want(s.min, s.max) {
		return nil, nil
	}
	err = f.keysOfGroup(g, leaf, want, func(row int64, key []byte) error {
		if _, wanted := only[hashKey(string(key))]; wanted {
			if n := len(found); n > 0 && found[n-1].to == row {
				found[n-1].to++
			} else {
				found = append(found, rowRange{row, row + 1})
			}
		}
		return nil
	})
	if errors.Is(err, errNoCopy) {
		return all, nil
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
