package pipeline

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
)

// looked is what a lookup brings of rows with a text of some size.
func looked(rows, size int) *filled {
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{{Name: "big", Type: arrow.BinaryTypes.String}}, nil))
	for range rows {
		b.Field(0).(*array.StringBuilder).Append(strings.Repeat("x", size))
	}
	return &filled{parts: []arrow.RecordBatch{b.NewRecordBatch()}}
}

// TestFillSize looks up as many rows at once as fit in memory.
func TestFillSize(t *testing.T) {
	t.Parallel()
	const budget = 128 << 20
	var s fillSize
	if n := s.rows(budget); n != fillFirst {
		t.Errorf("%d rows at first", n)
	}
	s.note(looked(0, 0))
	s.note(looked(fillFirst, 100))
	if n := s.rows(budget); n != fillRows {
		t.Errorf("%d rows of 100 bytes", n)
	}
	s.note(looked(10, 1<<20))
	if n := s.rows(budget); n < 6 || n > 8 {
		t.Errorf("%d rows of 1 MiB", n)
	}
	if n := s.rows(1 << 20); n != 1 {
		t.Errorf("%d rows with a small budget", n)
	}
	if n := s.rows(1 << 40); int64(n)<<20 > fillBytes {
		t.Errorf("%d rows with a large budget", n)
	}
	for was := s.rows(budget); was < fillRows; was = s.rows(budget) {
		if s.note(looked(was, 100)); s.rows(budget) < was || s.rows(budget) > 2*was+1 {
			t.Fatalf("%d rows, after %d", s.rows(budget), was)
		}
	}
	c := newChanges()
	var rows []ref
	for i := range 200 {
		c.add(change.Update, i, i, map[bool]string{true: "sent"}[i%2 == 0], false)
		rows = append(rows, ref{0, int32(i)})
	}
	r := &reduction{slabs: []*slab{{Batch: c.done()}}}
	if n := chunkOf(r, rows, 5); n != 10 {
		t.Errorf("a chunk of %d rows for 5 to look up", n)
	}
	if n := chunkOf(r, rows, fillRows); n != 200 {
		t.Errorf("a chunk of %d rows", n)
	}
}
