package change

import "github.com/apache/arrow-go/v18/arrow/array"

// Before is what a chunk, which ends within the transaction that commits at lsn, has of
// the transactions before it: their batches and failures, and no messages, of which it is not known.
func (c *Chunk) Before(lsn LSN) *Chunk {
	out := &Chunk{Whole: true, End: min(c.End, lsn), Time: c.Time, Last: c.Last}
	for _, b := range c.Batches {
		if before, _ := b.Split(lsn); before != nil {
			out.Batches = append(out.Batches, before)
		}
	}
	for _, s := range c.Signals {
		if s.At.Commit < lsn {
			out.Signals = append(out.Signals, s)
		}
	}
	for _, l := range c.Leaves {
		if l.Since < lsn {
			out.Leaves = append(out.Leaves, l)
		}
	}
	for _, f := range c.Failures {
		if f.Since < lsn {
			out.Failures = append(out.Failures, f)
		}
	}
	return out
}

// Slice is the rows from i up to, not including, j. It shares their memory.
func (b *Batch) Slice(i, j int) *Batch {
	if i == 0 && j == b.Len() {
		return b
	}
	s := &Batch{
		Table: b.Table, Rows: b.Rows.NewSlice(int64(i), int64(j)),
		Ops: b.Ops[i:j], At: b.At[i:j], Times: b.Times[i:j], Xids: b.Xids[i:j],
		Moved: b.Moved.slice(i, j),
	}
	if b.Unchanged != nil {
		s.Unchanged = make([]*Bits, len(b.Unchanged))
		for c, u := range b.Unchanged {
			s.Unchanged[c] = u.slice(i, j)
		}
	}
	if b.Keys != nil {
		s.Keys = array.NewSlice(b.Keys, int64(i), int64(j)).(*array.String)
	}
	for row, r := range b.Rejects {
		if i <= row && row < j {
			s.Reject(row-i, r)
		}
	}
	return s
}

// slice is the members from i up to j, counted from i; nil where there are none.
func (b *Bits) slice(i, j int) *Bits {
	var s *Bits
	for r := i; r < j; r++ {
		if b.Get(r) {
			if s == nil {
				s = new(Bits)
			}
			s.Set(r - i)
		}
	}
	return s
}

// Split cuts the batch before the first row whose commit is at or behind lsn;
// a half is nil where it has no rows.
func (b *Batch) Split(lsn LSN) (before, rest *Batch) {
	n := b.Len()
	i := 0
	for i < n && b.At[i].Commit < lsn {
		i++
	}
	switch i {
	case 0:
		return nil, b
	case n:
		return b, nil
	}
	return b.Slice(0, i), b.Slice(i, n)
}

// Reject notes that a row is one that its table cannot hold.
func (b *Batch) Reject(row int, r *Reject) {
	if b.Rejects == nil {
		b.Rejects = map[int]*Reject{}
	}
	b.Rejects[row] = r
}
