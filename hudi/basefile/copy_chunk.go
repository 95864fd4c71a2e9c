package basefile

import (
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/format"
)

// pageAt is a data page of a column chunk.
type pageAt struct {
	at, size    int64  // of its bytes in the file, header and all
	raw         []byte // these bytes, where the page is in no file
	first, rows int64  // of the row group
	stats       *valueStats
}

// chunkPages is a column chunk as the pages that it is made of.
type chunkPages struct {
	f              *File
	l              *leaf
	meta           *chunkMeta
	rows           int64
	dictAt, dictTo int64
	pages          []pageAt
}

// pages finds the pages of a column chunk, by its offset index or from header to header.
func (f *File) pages(g, c int) (*chunkPages, error) {
	chunk := &f.meta.RowGroups[g].Columns[c]
	p := &chunkPages{f: f, l: &f.leaves[c], meta: &chunk.Meta, rows: f.meta.RowGroups[g].NumRows}
	found, err := p.byIndex(chunk)
	if err == nil && !found {
		err = p.walk()
	}
	if err != nil {
		return nil, fmt.Errorf("column %s of row group %d: %w", p.l.path, g, err)
	}
	return p, nil
}

// byIndex takes the pages from the offset index; false if there is none that tells
// of every byte and row of the chunk.
func (p *chunkPages) byIndex(chunk *parquetChunk) (bool, error) {
	if chunk.OffsetIndexLength <= 0 {
		return false, nil
	}
	var index offsetIndex
	if err := p.f.readThrift(chunk.OffsetIndexOffset, int64(chunk.OffsetIndexLength), &index); err != nil {
		return false, fmt.Errorf("read offset index: %w", err)
	}
	from, to := chunkRange(p.meta)
	at, row := p.meta.DataPageOffset, int64(-1)
	p.pages = make([]pageAt, len(index.Pages))
	for i, l := range index.Pages {
		size := int64(l.CompressedPageSize)
		if l.Offset != at || size <= 0 || l.FirstRowIndex <= row || i == 0 && l.FirstRowIndex != 0 {
			return false, nil
		}
		row = l.FirstRowIndex
		p.pages[i] = pageAt{at: at, size: size, first: row}
		at += size
	}
	if at != to || row >= p.rows {
		return false, nil
	}
	for i := range p.pages {
		end := p.rows
		if i+1 < len(p.pages) {
			end = p.pages[i+1].first
		}
		p.pages[i].rows = end - p.pages[i].first
	}
	p.dictAt, p.dictTo = from, p.meta.DataPageOffset
	return true, p.readColumnIndex(chunk)
}

// readColumnIndex takes the bounds of each page from the column index, if there is one.
func (p *chunkPages) readColumnIndex(chunk *parquetChunk) error {
	if chunk.ColumnIndexLength <= 0 {
		return nil
	}
	var index columnIndex
	if err := p.f.readThrift(chunk.ColumnIndexOffset, int64(chunk.ColumnIndexLength), &index); err != nil {
		return fmt.Errorf("read column index: %w", err)
	}
	n := len(p.pages)
	if len(index.NullPages) != n || len(index.Mins) != n || len(index.Maxs) != n || len(index.NullCounts) != n && index.NullCounts != nil {
		return damagedParquet("a column index of %d pages, where there are %d", len(index.NullPages), n)
	}
	for i := range p.pages {
		s := &valueStats{nulls: -1}
		if index.NullCounts != nil {
			s.nulls = index.NullCounts[i]
		}
		switch {
		case index.NullPages[i]:
		case p.l.compare != nil && p.l.statBytes(index.Mins[i]) && p.l.statBytes(index.Maxs[i]):
			s.min, s.max = p.l.least(index.Mins[i]), index.Maxs[i]
		default:
			s.unknown = true
		}
		p.pages[i].stats = s
	}
	return nil
}

// walk finds the pages from header to header. Only of columns without repetition
// do these tell the rows.
func (p *chunkPages) walk() error {
	if p.l.maxRep > 0 {
		return noCopy("it repeats, and there is no offset index")
	}
	p.pages = nil
	at, to := chunkRange(p.meta)
	p.dictAt, p.dictTo = at, at
	row := int64(0)
	for at < to {
		h, n, err := p.header(at, to)
		if err != nil {
			return err
		}
		size := int64(n) + int64(h.CompressedSize)
		if h.CompressedSize < 0 || size > to-at {
			return damagedParquet("the page at offset %d is longer than its column chunk", at)
		}
		rows := int64(h.Data.V.NumValues) + int64(h.DataV2.V.NumValues)
		switch {
		case h.Dictionary.Valid && len(p.pages) == 0:
			p.dictTo = at + size
		case rows < 0 || rows > p.rows-row:
			return damagedParquet("the page at offset %d has %d rows, more than its row group", at, rows)
		case rows > 0:
			p.pages = append(p.pages, pageAt{at: at, size: size, first: row, rows: rows})
		default:
			return noCopy("a page of type %s without rows", h.Type)
		}
		at, row = at+size, row+rows
	}
	if row != p.rows {
		return damagedParquet("pages of %d rows in a row group of %d", row, p.rows)
	}
	return nil
}

// header reads the page header at an offset, and how long it is.
func (p *chunkPages) header(at, to int64) (h pageHeader, n int, err error) {
	for size := int64(1 << 10); ; size *= 16 {
		size = min(size, to-at)
		data := make([]byte, size)
		if err := readFull(p.f.r, data, at); err != nil {
			return h, 0, err
		}
		h = pageHeader{}
		n, err = decodeThrift(data, &h)
		if !errors.Is(err, errDamaged) || size == to-at || size >= 1<<18 {
			return h, n, err
		}
	}
}

// hold is a page with its bytes.
func (p *chunkPages) hold(pg *pageAt) (pageAt, error) {
	held := *pg
	if held.raw != nil {
		return held, nil
	}
	held.raw = make([]byte, pg.size)
	return held, readFull(p.f.r, held.raw, pg.at)
}

// read reads a page, and says how long it is without compression.
func (p *chunkPages) read(pg *pageAt, dict *dictionary) (page decodedPage, plain int64, err error) {
	held, err := p.hold(pg)
	if err != nil {
		return page, 0, err
	}
	raw := held.raw
	var h pageHeader
	n, err := decodeThrift(raw, &h)
	if err != nil {
		return page, 0, err
	}
	if int64(n)+int64(h.CompressedSize) != pg.size {
		return page, 0, damagedParquet("the page at offset %d has %d bytes, not %d", pg.at, int64(n)+int64(h.CompressedSize), pg.size)
	}
	if err = h.check(raw[n:]); err == nil {
		page, err = decodePage(p.l, &h, p.meta.Codec, raw[n:], dict)
	}
	if err != nil {
		return page, 0, atPage(pg.at, err)
	}
	if page.rep != nil && page.levels > 0 && page.rep[0] != 0 {
		return page, 0, noCopy("the page at offset %d begins within a row", pg.at)
	}
	if rows := page.countRows(); int64(rows) != pg.rows {
		return page, 0, damagedParquet("the page at offset %d has %d rows, not %d", pg.at, rows, pg.rows)
	}
	return page, int64(n) + int64(h.UncompressedSize), nil
}

// readDictionary reads the chunk's dictionary, nil if there is none.
func (p *chunkPages) readDictionary() (d *dictionary, plain int64, err error) {
	if p.dictTo == p.dictAt {
		return nil, 0, nil
	}
	raw := make([]byte, p.dictTo-p.dictAt)
	if err := readFull(p.f.r, raw, p.dictAt); err != nil {
		return nil, 0, err
	}
	var h pageHeader
	n, err := decodeThrift(raw, &h)
	if err != nil {
		return nil, 0, err
	}
	if h.Type != format.DictionaryPage || !h.Dictionary.Valid || n+int(h.CompressedSize) != len(raw) {
		return nil, 0, damagedParquet("no dictionary at offset %d", p.dictAt)
	}
	if err := h.check(raw[n:]); err != nil {
		return nil, 0, atPage(p.dictAt, err)
	}
	data, err := decompress(p.meta.Codec, raw[n:], int(h.UncompressedSize))
	if err != nil {
		return nil, 0, err
	}
	d, err = decodeDictionary(p.l, &h, data)
	return d, int64(n) + int64(h.UncompressedSize), err
}

// all reads every page of a chunk as one, without dictionary.
func (p *chunkPages) all() (*decodedPage, error) {
	dict, _, err := p.readDictionary()
	if err != nil {
		return nil, err
	}
	out := &decodedPage{encoding: format.Plain}
	for i := range p.pages {
		page, _, err := p.read(&p.pages[i], dict)
		if err != nil {
			return nil, err
		}
		if err := page.expand(p.l, dict); err != nil {
			return nil, err
		}
		if i == 0 {
			out.rowValues = page.rowValues
			continue
		}
		out.add(page.rowValues)
	}
	return out, nil
}

// expand puts the values in the place of their indices.
func (p *decodedPage) expand(l *leaf, dict *dictionary) error {
	if !p.indexed {
		return nil
	}
	data := make([]byte, 0, len(p.data)*2)
	if err := l.each(p, dict, func(v []byte) { data = l.appendValue(data, v) }); err != nil {
		return err
	}
	p.data, p.indexed, p.encoding = data, false, format.Plain
	return nil
}
