package basefile

import (
	"bytes"
	"encoding/binary"
)

// rowCursor goes through the rows of a leaf column.
type rowCursor struct {
	l     *leaf
	rows  rowValues
	width int // of a value; 0: each has a length
	level int
	data  int
}

func newRowCursor(l *leaf, p *decodedPage) *rowCursor {
	c := &rowCursor{l: l, rows: p.rowValues, width: l.width}
	if p.indexed {
		c.width = 4
	}
	return c
}

// done tells whether the rows are at an end.
func (c *rowCursor) done() bool { return c.level == c.rows.levels }

// take passes over n rows and returns them, without copying.
func (c *rowCursor) take(n int) (rowValues, error) {
	from, data := c.level, c.data
	to := c.rowEnd(n)
	if to < 0 {
		return rowValues{}, damagedParquet("a page of column %s has less rows than it should", c.l.path)
	}
	values := to - from
	if c.l.maxDef > 0 {
		values = bytes.Count(c.rows.def[from:to], []byte{c.l.maxDef})
	}
	if !c.skip(values) {
		return rowValues{}, damagedParquet("a page of column %s has less values than it should", c.l.path)
	}
	c.level = to
	out := rowValues{data: c.rows.data[data:c.data], levels: to - from}
	if c.l.maxRep > 0 {
		out.rep = c.rows.rep[from:to]
	}
	if c.l.maxDef > 0 {
		out.def = c.rows.def[from:to]
	}
	return out, nil
}

// rowEnd is the level at which the next n rows end, -1 if there are less.
func (c *rowCursor) rowEnd(n int) int {
	if c.l.maxRep == 0 {
		if n > c.rows.levels-c.level {
			return -1
		}
		return c.level + n
	}
	at := c.level
	for range n {
		if at == c.rows.levels || c.rows.rep[at] != 0 {
			return -1
		}
		next := bytes.IndexByte(c.rows.rep[at+1:], 0)
		if next < 0 {
			at = c.rows.levels
			continue
		}
		at += 1 + next
	}
	return at
}

// skip passes over n values.
func (c *rowCursor) skip(n int) bool {
	if c.width > 0 {
		if n > (len(c.rows.data)-c.data)/c.width {
			return false
		}
		c.data += n * c.width
		return true
	}
	at, data := c.data, c.rows.data
	for range n {
		if len(data)-at < 4 {
			return false
		}
		size := binary.LittleEndian.Uint32(data[at:])
		if uint64(size) > uint64(len(data)-at-4) {
			return false
		}
		at += 4 + int(size)
	}
	c.data = at
	return true
}

// countRows is the number of rows in a page.
func (p *decodedPage) countRows() int {
	if p.rep == nil {
		return p.levels
	}
	return bytes.Count(p.rep, []byte{0})
}

// add appends rows.
func (r *rowValues) add(o rowValues) {
	r.rep = append(r.rep, o.rep...)
	r.def = append(r.def, o.def...)
	r.data = append(r.data, o.data...)
	r.levels += o.levels
}

func (r *rowValues) equal(o rowValues) bool {
	return bytes.Equal(r.data, o.data) && bytes.Equal(r.def, o.def) && bytes.Equal(r.rep, o.rep)
}

// each passes the values of a column to fn.
func (l *leaf) each(p *decodedPage, dict *dictionary, fn func(v []byte)) error {
	if p.indexed {
		for at := 0; at < len(p.data); at += 4 {
			fn(dict.values[binary.LittleEndian.Uint32(p.data[at:])])
		}
		return nil
	}
	for data := p.data; len(data) > 0; {
		v, rest, ok := l.cutValue(data)
		if !ok {
			return damagedParquet("a value of column %s breaks off", l.path)
		}
		fn(v)
		data = rest
	}
	return nil
}

// stats are the bounds of a page.
func (l *leaf) pageStats(p *decodedPage, dict *dictionary) (valueStats, error) {
	var s valueStats
	if p.indexed {
		used := make([]bool, len(dict.values))
		for at := 0; at < len(p.data); at += 4 {
			used[binary.LittleEndian.Uint32(p.data[at:])] = true
		}
		for i, u := range used {
			if u {
				s.add(l, dict.values[i])
			}
		}
		s.values = int64(len(p.data) / 4)
	} else if err := l.each(p, nil, func(v []byte) { s.add(l, v) }); err != nil {
		return s, err
	}
	s.nulls = int64(p.levels) - s.values
	return s, nil
}
