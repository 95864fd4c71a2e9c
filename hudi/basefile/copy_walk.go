package basefile

// maxKnownHead is how much is read of a page of which nothing is known yet.
const maxKnownHead = 1 << 10

// walkPages passes the pages between two offsets to fn, as many at a time as are in memory:
// their bytes, one behind the other, and the frame of each. They are what their checksums say.
func (f *File) walkPages(from, to int64, fn func(at int64, data []byte, pages []pageFrame) error) error {
	var pages []pageFrame
	need := int64(1)
	for at := from; at < to; {
		data, err := f.r.view(at, need, to)
		if err != nil {
			return err
		}
		size := int64(0)
		pages, size, need, err = wholePages(pages[:0], at, to, data)
		if err != nil {
			return err
		}
		if size == 0 {
			continue
		}
		if err := fn(at, data[:size], pages); err != nil {
			return err
		}
		at += size
	}
	return nil
}

// wholePages finds the pages at the start of data, all that are whole, and says how many bytes the next one
// needs.
func wholePages(pages []pageFrame, at, to int64, data []byte) (all []pageFrame, size, need int64, err error) {
	for {
		rest := data[size:]
		if len(rest) == 0 {
			return pages, size, 1, nil
		}
		p, ok := readFrame(rest)
		left := to - at - size
		switch {
		case !ok && (int64(len(rest)) == left || len(rest) > maxFrameHead):
			return nil, 0, 0, damagedParquet("no page at offset %d", at+size)
		case !ok:
			return pages, size, min(max(int64(len(rest))*4, maxKnownHead), left), nil
		case int64(p.size()) > left:
			return nil, 0, 0, damagedParquet("the page at offset %d is longer than its column chunk", at+size)
		case p.size() > len(rest):
			return pages, size, int64(p.size()), nil
		}
		if err := p.check(rest[p.head:p.size()]); err != nil {
			return nil, 0, 0, atPage(at+size, err)
		}
		pages, size = append(pages, p), size+int64(p.size())
	}
}

// fits sees that the page is one that stands in that place of a column chunk.
func (p *pageFrame) fits(l *leaf, want *pageAt) error {
	switch {
	case !p.isData():
		return damagedParquet("a page of type %s where data are due", p.kind)
	case int64(p.size()) != want.size:
		return damagedParquet("a page of %d bytes, of which the index says %d", p.size(), want.size)
	case l.maxRep == 0 && int64(p.rows) != want.rows:
		return damagedParquet("a page of %d rows, of which the index says %d", p.rows, want.rows)
	}
	return nil
}
