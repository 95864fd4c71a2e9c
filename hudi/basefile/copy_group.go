package basefile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/format"

	"lakefeed/hudi/schema"
)

// groupCopy makes row groups for a new file of those of an old one.
type groupCopy struct {
	from      *File
	leaves    []leaf // of the new file
	source    []int  // of each of these, the column of the old file; -1: it has none
	fileName  string // that rows say they stand in
	pageBytes int
}

// newGroupCopy pairs the columns of the files. It is an error that is errNoCopy if bytes
// of the one are not values of the other.
func newGroupCopy(from *File, leaves []leaf, fileName string, pageBytes int) (*groupCopy, error) {
	g := &groupCopy{from: from, leaves: leaves, fileName: fileName, pageBytes: pageBytes, source: make([]int, len(leaves))}
	has := map[string]bool{} // in whatever form: a list's leaf has another path in one of two levels
	for i := range from.leaves {
		has[topColumn(from.leaves[i].path)] = true
	}
	for i := range leaves {
		l := &leaves[i]
		g.source[i] = from.leafOf(l.path)
		switch at := g.source[i]; {
		case at >= 0 && !l.same(&from.leaves[at]):
			return nil, noCopy("column %s is stored in another way", l.path)
		case at < 0 && (has[topColumn(l.path)] || !l.topOptional):
			return nil, noCopy("column %s is not in the file", l.path)
		}
	}
	return g, nil
}

func topColumn(path string) string {
	top, _, _ := strings.Cut(path, ".")
	return top
}

// whole copies a row group.
func (c *groupCopy) whole(g int) ([]*newChunk, error) {
	rows := c.from.meta.RowGroups[g].NumRows
	return c.each(rows, func(i int) (*newChunk, error) {
		if at := c.source[i]; at >= 0 {
			return c.from.copyChunk(g, at)
		}
		return nullChunk(&c.leaves[i], rows)
	})
}

// edited copies a row group but for its edits; fresh, a file of one row group, has the
// new rows: those that take the places of others, then tail ones for the end.
func (c *groupCopy) edited(g int, edits []rowEdit, fresh *File, tail int) ([]*newChunk, error) {
	rows := c.from.meta.RowGroups[g].NumRows
	after := rows + int64(tail)
	for _, e := range edits {
		if e.drop {
			after--
		}
	}
	return c.each(after, func(i int) (*newChunk, error) {
		p, err := c.pages(i, g)
		if err != nil {
			return nil, err
		}
		var rows *rowCursor
		if fresh != nil {
			column, err := fresh.column(i)
			if err != nil {
				return nil, err
			}
			rows = newRowCursor(&c.leaves[i], column)
		}
		return p.edit(edits, rows, tail, c.pageBytes)
	})
}

// pages are those of a column, which are null if the old file does not have it.
func (c *groupCopy) pages(i, g int) (*chunkPages, error) {
	if at := c.source[i]; at >= 0 {
		return c.from.pages(g, at)
	}
	l, rows := &c.leaves[i], c.from.meta.RowGroups[g].NumRows
	chunk, err := nullChunk(l, rows)
	if err != nil {
		return nil, err
	}
	page := chunk.pages[0]
	page.raw = slices.Concat(chunk.segments[0].head, chunk.segments[0].body)
	return &chunkPages{f: c.from, l: l, meta: &chunk.meta, rows: rows, pages: []pageAt{page}}, nil
}

// column reads the column of a file of one row group.
func (f *File) column(c int) (*decodedPage, error) {
	p, err := f.pages(0, c)
	if err != nil {
		return nil, err
	}
	return p.all()
}

// each makes a chunk of each column. The file name is the new one in every row.
func (c *groupCopy) each(rows int64, chunk func(i int) (*newChunk, error)) ([]*newChunk, error) {
	chunks := make([]*newChunk, len(c.leaves))
	for i := range c.leaves {
		l := &c.leaves[i]
		var err error
		if l.path == schema.FileName {
			chunks[i], err = constantChunk(l, c.fileName, rows)
		} else {
			chunks[i], err = chunk(i)
		}
		if err != nil {
			return nil, fmt.Errorf("copy column %s: %w", l.path, err)
		}
	}
	return chunks, nil
}

// syntheticPage puts a page into a chunk that has no other.
func (c *newChunk) syntheticPage(page *decodedPage, rows int64, dict *dictionary, stats valueStats) error {
	head, body, plain, err := encodePage(c.l, page, format.Uncompressed, dict)
	if err != nil {
		return err
	}
	c.segments = append(c.segments, segment{head: head, body: body})
	c.pages = []pageAt{{size: int64(len(head) + len(body)), rows: rows, stats: &stats}}
	c.meta.NumValues = int64(page.levels)
	c.meta.TotalUncompressedSize += int64(len(head) + plain)
	c.meta.Stats = c.l.statistics(stats)
	return nil
}

func newSynthetic(l *leaf, encodings ...format.Encoding) *newChunk {
	return &newChunk{l: l, meta: chunkMeta{
		Type: l.elem.Type.V, Encodings: encodings, Path: strings.Split(l.path, "."), Codec: format.Uncompressed,
	}}
}

// constantChunk is a column of texts that are all the same: a dictionary of one, and a
// run of its index.
func constantChunk(l *leaf, text string, rows int64) (*newChunk, error) {
	if rows > maxPageValues || l.maxRep > 0 || l.elem.Type.V != format.ByteArray {
		return nil, noCopy("a column of %d texts", rows)
	}
	c := newSynthetic(l, format.Plain, format.RLE, format.RLEDictionary)
	dict := &dictionary{encoding: format.Plain, values: [][]byte{[]byte(text)}, bytes: len(text)}
	head, body, plain, err := encodeDictionary(l, dict, format.Uncompressed)
	if err != nil {
		return nil, err
	}
	c.dict = int64(len(head) + len(body))
	c.segments = append(c.segments, segment{head: head, body: body})
	c.meta.TotalUncompressedSize = int64(len(head) + plain)
	page := &decodedPage{indexed: true, encoding: format.RLEDictionary}
	page.levels, page.data = int(rows), make([]byte, 4*rows)
	if l.maxDef > 0 {
		page.def = bytes.Repeat([]byte{l.maxDef}, int(rows))
	}
	stats := valueStats{values: rows, min: []byte(text), max: []byte(text)}
	return c, c.syntheticPage(page, rows, dict, stats)
}

// nullChunk is a column without values.
func nullChunk(l *leaf, rows int64) (*newChunk, error) {
	if rows > maxPageValues {
		return nil, noCopy("a column of %d nulls", rows)
	}
	c := newSynthetic(l, format.Plain, format.RLE)
	page := &decodedPage{encoding: format.Plain}
	page.levels, page.def = int(rows), make([]byte, rows)
	if l.maxRep > 0 {
		page.rep = make([]byte, rows)
	}
	return c, c.syntheticPage(page, rows, nil, valueStats{nulls: rows})
}

// keysOfGroup passes the record keys of a row group to fn, row by row. Pages for which
// want, if any, says no are passed over.
func (f *File) keysOfGroup(g, leaf int, want func(low, high []byte) bool, fn func(row int64, key []byte) error) error {
	p, err := f.pages(g, leaf)
	if err != nil {
		return err
	}
	dict, _, err := p.readDictionary()
	if err != nil {
		return err
	}
	for i := range p.pages {
		pg := &p.pages[i]
		if s := pg.stats; s != nil && s.min != nil && want != nil && !want(s.min, s.max) {
			continue
		}
		page, _, err := p.read(pg, dict)
		if err != nil {
			return err
		}
		if err := eachKey(p.l, pg, &page, dict, fn); err != nil {
			return err
		}
	}
	return nil
}

func eachKey(l *leaf, pg *pageAt, page *decodedPage, dict *dictionary, fn func(row int64, key []byte) error) error {
	data := page.data
	for row := range page.levels {
		if page.def != nil && page.def[row] != l.maxDef {
			return damagedParquet("row %d has no record key", pg.first+int64(row))
		}
		var key []byte
		if page.indexed {
			key, data = dict.values[binary.LittleEndian.Uint32(data)], data[4:]
		} else {
			var ok bool
			if key, data, ok = l.cutValue(data); !ok {
				return damagedParquet("a record key breaks off")
			}
		}
		if err := fn(pg.first+int64(row), key); err != nil {
			return err
		}
	}
	return nil
}
