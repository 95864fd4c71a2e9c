package basefile

import (
	"encoding/binary"
	"slices"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// rowEdit changes a row of a row group: it goes, or the next of the new rows takes its
// place.
type rowEdit struct {
	row  int64
	drop bool
}

// newChunk is a column chunk that is to be written.
type newChunk struct {
	l        *leaf
	meta     chunkMeta // offsets and the compressed size are set when it is written
	dict     int64     // bytes of the dictionary page, the first of segments
	segments []segment
	pages    []pageAt // sizes, rows and statistics; nil: not known
}

// segment is a page, or where pages lie, one behind the other.
type segment struct {
	head, body []byte
	from       *File
	at, size   int64
}

// start has the header of a page that is at hand.
func (s *segment) start() []byte {
	if s.head != nil {
		return s.head
	}
	return s.body
}

// copyChunk is a column chunk as it is.
func (f *File) copyChunk(g, c int) (*newChunk, error) {
	chunk := &f.meta.RowGroups[g].Columns[c]
	p := &chunkPages{f: f, l: &f.leaves[c], meta: &chunk.Meta, rows: f.meta.RowGroups[g].NumRows}
	from, to := chunkRange(p.meta)
	out := &newChunk{l: p.l, meta: *p.meta, dict: p.meta.DataPageOffset - from}
	out.segments = []segment{{from: f, at: from, size: to - from}}
	out.trust()
	found, err := p.byIndex(chunk)
	if found {
		out.pages = p.pages
	}
	return out, err
}

// trust states what holds, where what is stated is in doubt: the new file is not doubted.
func (c *newChunk) trust() {
	if c.l.maybeEmpty && c.meta.Stats.Valid {
		c.meta.Stats = c.l.statistics(c.l.chunkStats(&c.meta))
	}
}

// chunkEdit makes a column chunk of another one by changing some of its rows. Pages
// in which nothing changes are copied as bytes.
type chunkEdit struct {
	p         *chunkPages
	fresh     *rowCursor // the new rows, in their order
	pageBytes int        // from here on a page takes no more rows at its end
	out       *newChunk
	dict      *dictionary
	dictPlain int64
	added     valueStats // of the new rows
	nulls     int64      // more than before
	edited    bool
}

// edit applies edits, in the order of their rows, and appends tail new rows.
func (p *chunkPages) edit(edits []rowEdit, fresh *rowCursor, tail, pageBytes int) (*newChunk, error) {
	e := &chunkEdit{p: p, fresh: fresh, pageBytes: pageBytes, out: &newChunk{l: p.l, meta: *p.meta}}
	e.out.meta.Encodings, e.out.meta.EncodingStats = slices.Clone(p.meta.Encodings), slices.Clone(p.meta.EncodingStats)
	e.out.trust()
	var err error
	if e.dict, e.dictPlain, err = p.readDictionary(); err != nil {
		return nil, err
	}
	row := int64(0)
	for i := range p.pages {
		pg := &p.pages[i]
		n, _ := slices.BinarySearchFunc(edits, pg.first+pg.rows, func(e rowEdit, row int64) int { return int(e.row - row) })
		more := 0
		if i == len(p.pages)-1 && int(pg.size) < pageBytes {
			more, tail = tail, 0
		}
		if err := e.page(pg, edits[:n], more); err != nil {
			return nil, err
		}
		edits = edits[n:]
		row = pg.first + pg.rows
	}
	if len(edits) > 0 {
		return nil, damagedParquet("pages of column %s end with row %d", p.l.path, row)
	}
	if err := e.append(tail); err != nil {
		return nil, err
	}
	return e.out, e.finish()
}

// page applies the edits of a page.
func (e *chunkEdit) page(pg *pageAt, edits []rowEdit, tail int) error {
	if len(edits) == 0 && tail == 0 {
		e.copy(pg)
		return nil
	}
	old, plain, err := e.p.read(pg, e.dict)
	if err != nil {
		return err
	}
	before := old.levels - e.p.l.count(&old)
	encoding := old.encoding
	next, changed, err := e.change(pg, &old, edits, tail)
	if err != nil {
		return err
	}
	if !changed {
		e.copy(pg)
		return nil
	}
	e.edited = true
	e.nulls -= int64(before)
	e.out.meta.NumValues -= int64(old.levels)
	e.out.meta.TotalUncompressedSize -= plain
	e.out.meta.count(encoding, -1)
	return e.put(next)
}

// change makes the rows of a page anew.
func (e *chunkEdit) change(pg *pageAt, old *decodedPage, edits []rowEdit, tail int) (next *decodedPage, changed bool, err error) {
	wanted := tail
	for _, ed := range edits {
		if !ed.drop {
			wanted++
		}
	}
	fresh, err := e.take(old, wanted)
	if err != nil {
		return nil, false, err
	}
	c := newRowCursor(e.p.l, old)
	next = &decodedPage{encoding: old.encoding, indexed: old.indexed}
	next.data = make([]byte, 0, len(old.data)+len(old.data)/8)
	next.def = make([]byte, 0, len(old.def)+wanted)
	at := pg.first
	for _, ed := range edits {
		kept, err := c.take(int(ed.row - at))
		if err != nil {
			return nil, false, err
		}
		next.add(kept)
		was, err := c.take(1)
		if err != nil {
			return nil, false, err
		}
		at = ed.row + 1
		if ed.drop {
			changed = true
			continue
		}
		changed = changed || !was.equal(fresh[0])
		next.add(fresh[0])
		fresh = fresh[1:]
	}
	kept, err := c.take(int(pg.first + pg.rows - at))
	if err != nil {
		return nil, false, err
	}
	if !c.done() || c.data != len(old.data) {
		return nil, false, damagedParquet("the page at offset %d has values behind its rows", pg.at)
	}
	next.add(kept)
	for _, run := range fresh {
		next.add(run)
	}
	return next, changed || tail > 0, nil
}

// take takes the next new rows in the form that the rows of page have. Where the
// dictionary has no room for them, page gives its own up.
func (e *chunkEdit) take(page *decodedPage, n int) ([]rowValues, error) {
	runs := make([]rowValues, n)
	for i := range runs {
		run, err := e.fresh.take(1)
		if err != nil {
			return nil, err
		}
		e.note(run)
		runs[i] = run
	}
	if !page.indexed {
		return runs, nil
	}
	indices := make([]rowValues, n)
	for i, run := range runs {
		data, ok := e.index(run.data)
		if !ok {
			return runs, page.expand(e.p.l, e.dict)
		}
		indices[i] = run
		indices[i].data = data
	}
	return indices, nil
}

// note takes the values of a new row into the statistics.
func (e *chunkEdit) note(run rowValues) {
	for data := run.data; len(data) > 0; {
		v, rest, ok := e.p.l.cutValue(data)
		if !ok {
			return
		}
		e.added.add(e.p.l, v)
		data = rest
	}
}

// index puts indices in the place of values.
func (e *chunkEdit) index(data []byte) (indices []byte, ok bool) {
	for len(data) > 0 {
		v, rest, ok := e.p.l.cutValue(data)
		if !ok {
			return nil, false
		}
		i, ok := e.dict.index(v)
		if !ok {
			return nil, false
		}
		indices, data = binary.LittleEndian.AppendUint32(indices, i), rest
	}
	return indices, true
}

// append makes pages of the new rows that are left.
func (e *chunkEdit) append(tail int) error {
	for tail > 0 {
		page := &decodedPage{encoding: format.Plain}
		if e.dict != nil {
			page.indexed, page.encoding = true, format.RLEDictionary
			if e.dict.encoding == plainDictionary {
				page.encoding = plainDictionary
			}
		}
		for tail > 0 && len(page.data) < e.pageBytes && page.levels < maxPageRows {
			runs, err := e.take(page, 1)
			if err != nil {
				return err
			}
			page.add(runs[0])
			tail--
		}
		if err := e.put(page); err != nil {
			return err
		}
	}
	return nil
}

// copy takes over a page as bytes.
func (e *chunkEdit) copy(pg *pageAt) {
	e.out.pages = append(e.out.pages, *pg)
	if pg.raw != nil {
		e.out.segments = append(e.out.segments, segment{body: pg.raw})
		return
	}
	if n := len(e.out.segments); n > 0 {
		if last := &e.out.segments[n-1]; last.from == e.p.f && last.at+last.size == pg.at {
			last.size += pg.size
			return
		}
	}
	e.out.segments = append(e.out.segments, segment{from: e.p.f, at: pg.at, size: pg.size})
}

// put writes a page anew.
func (e *chunkEdit) put(page *decodedPage) error {
	if page.levels == 0 {
		return nil
	}
	head, body, plain, err := encodePage(e.p.l, page, e.out.meta.Codec, e.dict)
	if err != nil {
		return err
	}
	stats, err := e.p.l.pageStats(page, e.dict)
	if err != nil {
		return err
	}
	e.edited = true
	e.nulls += stats.nulls
	e.out.segments = append(e.out.segments, segment{head: head, body: body})
	e.out.pages = append(e.out.pages, pageAt{size: int64(len(head) + len(body)), rows: int64(page.countRows()), stats: &stats})
	m := &e.out.meta
	m.NumValues += int64(page.levels)
	m.TotalUncompressedSize += int64(len(head) + plain)
	m.count(page.encoding, 1)
	return nil
}

// count notes that there are pages more or less of an encoding.
func (m *chunkMeta) count(enc format.Encoding, pages int32) {
	if pages > 0 && !slices.Contains(m.Encodings, enc) {
		m.Encodings = append(m.Encodings, enc)
	}
	if m.EncodingStats == nil {
		return
	}
	for i := range m.EncodingStats {
		s := &m.EncodingStats[i]
		if s.Encoding == enc && (s.PageType == format.DataPage || s.PageType == format.DataPageV2) && s.Count+pages >= 0 {
			s.Count += pages
			return
		}
	}
	if pages > 0 {
		m.EncodingStats = append(m.EncodingStats, format.PageEncodingStats{PageType: format.DataPage, Encoding: enc, Count: pages})
	}
}

// finish puts the dictionary in front, and the statistics of the chunk.
func (e *chunkEdit) finish() error {
	m := &e.out.meta
	m.EncodingStats = slices.DeleteFunc(m.EncodingStats, func(s format.PageEncodingStats) bool { return s.Count == 0 })
	if e.dict != nil {
		first := segment{from: e.p.f, at: e.p.dictAt, size: e.p.dictTo - e.p.dictAt}
		e.out.dict = first.size
		if e.dict.grown {
			head, body, plain, err := encodeDictionary(e.p.l, e.dict, m.Codec)
			if err != nil {
				return err
			}
			first = segment{head: head, body: body}
			e.out.dict = int64(len(head) + len(body))
			m.TotalUncompressedSize += int64(plain) + int64(len(head)) - e.dictPlain
		}
		e.out.segments = slices.Insert(e.out.segments, 0, first)
	}
	if e.edited {
		m.Stats = e.stats()
	}
	return nil
}

// stats are those of the pages where each is known, else the old ones, widened.
func (e *chunkEdit) stats() thrift.Null[chunkStats] {
	var sum valueStats
	for _, pg := range e.out.pages {
		if pg.stats == nil || pg.stats.unknown {
			old := e.p.l.chunkStats(e.p.meta)
			nulls := old.nulls
			old.merge(e.p.l, e.added)
			if old.nulls = -1; nulls >= 0 {
				old.nulls = nulls + e.nulls
			}
			return e.p.l.statistics(old)
		}
		sum.merge(e.p.l, *pg.stats)
	}
	return e.p.l.statistics(sum)
}

// count is the number of values that are not null.
func (l *leaf) count(p *decodedPage) int {
	if l.maxDef == 0 {
		return p.levels
	}
	n := 0
	for _, d := range p.def {
		if d == l.maxDef {
			n++
		}
	}
	return n
}

// maxPageRows is how many rows a page has at most, as in Parquet's Java library: who
// looks for one row does not decode many more.
const maxPageRows = 20_000
