package basefile

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/parquet/schema"
)

// checkedPages is a Parquet file whose pages are compared with their checksums while the library reads
// them: piece by piece, in the order in which a column chunk lies there, and each page's last piece before any of
// it is decoded. It keeps no more of a page than a header that comes in two pieces.
type checkedPages struct {
	r       io.ReaderAt
	chunks  []chunkAt // in the order of the file; none are known until the footer is read
	columns *schema.Schema

	mu      sync.Mutex // nested columns may be read side by side
	open    map[int]*pageStream
	damaged error // the first that was found
}

// chunkAt is where a column chunk lies.
type chunkAt struct {
	from, to int64
	values   int64 // and nulls
	column   int
}

// setChunks tells where the column chunks lie.
func (c *checkedPages) setChunks(chunks []chunkAt, columns *schema.Schema) {
	slices.SortFunc(chunks, func(a, b chunkAt) int { return cmp.Compare(a.from, b.from) })
	c.chunks, c.columns, c.open = chunks, columns, map[int]*pageStream{}
}

// ReadAt is that of [io.ReaderAt].
func (c *checkedPages) ReadAt(into []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(into, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, err //nolint:wrapcheck // the reader of the file says what it read
	}
	at, _ := slices.BinarySearchFunc(c.chunks, off, func(c chunkAt, off int64) int { return cmp.Compare(c.from, off+1) })
	if at--; at < 0 || off >= c.chunks[at].to {
		return n, err
	}
	if damage := c.pass(at, off, into[:n]); damage != nil {
		return 0, damage
	}
	return n, err
}

// pass compares a piece of a column chunk.
func (c *checkedPages) pass(at int, off int64, data []byte) error {
	chunk := &c.chunks[at]
	s := c.stream(at, off)
	if s == nil {
		return nil
	}
	if err := s.pass(data); err != nil {
		err = fmt.Errorf("column %s: %w", c.columns.Column(chunk.column).Path(), atPage(s.page, err))
		c.mu.Lock()
		defer c.mu.Unlock()
		c.damaged = cmp.Or(c.damaged, err)
		return err
	}
	if s.at >= s.to {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.open, at)
	}
	return nil
}

// stream is the one that goes on at an offset, a new one at the chunk's beginning. Whoever reads elsewhere reads
// unchecked; the library does not.
func (c *checkedPages) stream(at int, off int64) *pageStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s, open := c.open[at]; {
	case off == c.chunks[at].from:
		c.open[at] = &pageStream{at: off, to: c.chunks[at].to, stated: c.chunks[at].values}
	case open && s.at != off:
		delete(c.open, at)
	}
	return c.open[at]
}

// damage is what was found, in whatever words the library says it.
func (c *checkedPages) damage() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.damaged
}

// pageStream follows a column chunk from page to page.
type pageStream struct {
	at, to int64
	page   int64  // where the page begins
	held   []byte // of a header that is not complete
	frame  pageFrame
	left   int64 // of the page's body
	values int64 // and nulls, of the pages up to this one
	stated int64 // of all
	sum    uint32
	lost   bool // there is no header where one is due: the library will say so, if it needs it
}

// pass takes the next bytes.
func (s *pageStream) pass(data []byte) error {
	data = data[:min(int64(len(data)), s.to-s.at)]
	end := s.at + int64(len(data))
	defer func() { s.at = end }()
	for len(data) > 0 && !s.lost {
		if s.left == 0 {
			data = s.header(data, end)
			if s.values > s.stated || s.frame.rows < 0 {
				return s.miscounted()
			}
			if s.left > 0 || s.held != nil || s.lost {
				continue
			}
		}
		n := min(int64(len(data)), s.left)
		if s.frame.summed {
			s.sum = crc32.Update(s.sum, crc32.IEEETable, data[:n])
		}
		if s.left, data = s.left-n, data[n:]; s.left > 0 || !s.frame.summed {
			continue
		}
		if err := checkSum(s.sum, s.frame.sum); err != nil {
			return err
		}
	}
	if end == s.to && s.values < s.stated && !s.lost {
		return s.miscounted()
	}
	return nil
}

// miscounted is the damage of pages that have other numbers of values, all together, than the footer says. No
// checksum is of the header that says how many a page has.
func (s *pageStream) miscounted() error {
	return damagedParquet("with it there are pages of %d values, of the %d that the footer states", s.values, s.stated)
}

// header takes a page's header, and returns what is behind it. The bytes are those before the offset end.
func (s *pageStream) header(data []byte, end int64) []byte {
	head := data
	if s.held != nil {
		s.held = append(s.held, data...)
		head = s.held
	} else {
		s.page = end - int64(len(data))
	}
	f, ok := readFrame(head)
	if !ok {
		if s.lost = len(head) > maxFrameHead; s.held == nil {
			s.held = slices.Clone(data)
		}
		return nil
	}
	s.frame, s.sum, s.left, s.held = f, 0, int64(f.body), nil
	if s.lost = s.left > s.to-s.page-int64(f.head); f.isData() {
		s.values += int64(f.rows)
	}
	return data[len(data)-(len(head)-f.head):]
}
