package basefile

import (
	"cmp"
	"hash/crc32"
	"slices"
)

// chunkCopy writes the pages of a column chunk. Those that lie in another file are what their checksums say, and
// have one behind it: so they may become longer, and what the chunk says of itself follows.
type chunkCopy struct {
	w    *parquetWriter
	c    *newChunk
	dict int64 // bytes of the dictionary that are not written yet
	next int   // of the chunk's pages
	more int64 // bytes that were added
	rows int64 // values and nulls that were written
}

func (k *chunkCopy) run() error {
	k.dict = k.c.dict
	for _, s := range k.c.segments {
		if err := k.segment(s); err != nil {
			return err
		}
	}
	if m := &k.c.meta; k.rows != m.NumValues {
		return damagedParquet("pages of %d values in a column chunk of %d", k.rows, m.NumValues)
	}
	k.c.meta.TotalUncompressedSize += k.more
	return nil
}

func (k *chunkCopy) segment(s segment) error {
	if s.from != nil {
		return s.from.walkPages(s.at, s.at+s.size, k.pages)
	}
	if p, _ := readFrame(s.start()); p.isData() {
		k.rows += int64(p.rows)
	}
	if size := int64(len(s.head) + len(s.body)); k.dict > 0 {
		k.dict -= size
	} else {
		k.next++
	}
	if err := k.w.put(s.head); err != nil {
		return err
	}
	return k.w.put(s.body)
}

// pages copies pages, as many at a time as need nothing.
func (k *chunkCopy) pages(at int64, data []byte, pages []pageFrame) error {
	done := 0 // of data
	end := 0
	for i := range pages {
		p := &pages[i]
		from := end
		end += p.size()
		head := data[from : from+p.head]
		if !p.summed {
			head = p.withSum(head, crc32.ChecksumIEEE(data[from+p.head:end]))
		}
		if err := k.note(p, at+int64(from), int64(len(head)-p.head)); err != nil {
			return err
		}
		if len(head) == p.head {
			continue
		}
		if err := k.w.put(data[done:from]); err != nil {
			return err
		}
		if err := k.w.put(head); err != nil {
			return err
		}
		done = from + p.head
	}
	return k.w.put(data[done:end])
}

// note takes a page into what the chunk says of its pages; it has grown by some bytes.
func (k *chunkCopy) note(p *pageFrame, at, grown int64) error {
	size := int64(p.size())
	k.more += grown
	if p.isData() {
		k.rows += int64(p.rows)
	}
	switch {
	case k.dict >= size:
		k.dict -= size
		k.c.dict += grown
	case k.dict > 0:
		return damagedParquet("the page at offset %d is longer than the dictionary should be", at)
	case len(k.c.pages) == 0: // nothing is known of them
	case k.next == len(k.c.pages):
		return damagedParquet("the page at offset %d is one that the index does not have", at)
	default:
		pg := &k.c.pages[k.next]
		k.next++
		if err := p.fits(k.c.l, pg); err != nil {
			return atPage(at, err)
		}
		pg.size += grown
	}
	return nil
}

// readOnly lets the files that chunks are copied from be read where their segments lie, and nowhere else,
// until the function that it returns.
func readOnly(chunks []*newChunk) func() {
	only := map[*File][]segment{}
	for _, c := range chunks {
		for _, s := range c.segments {
			if s.from != nil {
				only[s.from] = append(only[s.from], s)
			}
		}
	}
	for f, segments := range only {
		slices.SortFunc(segments, func(a, b segment) int { return cmp.Compare(a.at, b.at) })
		f.r.only = segments
	}
	return func() {
		for f := range only {
			f.r.only = nil
		}
	}
}
