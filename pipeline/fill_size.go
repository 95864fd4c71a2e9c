package pipeline

import (
	"sync/atomic"
)

// Rows whose stored values are needed are written in chunks that these fit in memory with: how
// large they are is known of those that were looked up last.

const (
	fillRows  = 4096    // of such rows in a chunk at most
	fillFirst = 64      // of a table of which none was looked up yet
	fillBytes = 1 << 30 // of their values at most, whatever the budget: Arrow's texts end at 2 GiB
)

// fillSize is about how large the stored values of a row are.
type fillSize struct{ bytes atomic.Int64 }

// note takes in values that were looked up. It follows larger ones at once, and smaller ones slowly.
func (s *fillSize) note(f *filled) {
	rows, bytes := int64(0), int64(0)
	for _, p := range f.parts {
		rows += p.NumRows()
		for _, c := range p.Columns() {
			bytes += int64(c.Data().SizeInBytes())
		}
	}
	if rows > 0 {
		mean, had := bytes/rows+1, s.bytes.Load()
		s.bytes.Store(max(mean, had-(had-mean)/8))
	}
}

// rows is how many rows to look up at once.
func (s *fillSize) rows(budget int64) int {
	if size := s.bytes.Load(); size > 0 {
		return int(max(1, min(fillRows, min(budget/16, fillBytes)/size)))
	}
	return fillFirst
}
