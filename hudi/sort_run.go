package hudi

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"lakefeed/hudi/internal/column"
	"lakefeed/internal/scratch"
)

// sortRun is a sorted run of rows in a file: a stream of Arrow IPC.
type sortRun struct {
	schema *arrow.Schema // with the sort key
	level  int
	f      *os.File
	buf    *bufio.Writer
	w      *ipc.Writer
	ends   [2][]byte // its first and last key

	// While it is read:
	from   func() (arrow.RecordBatch, error) // what has the rows, in the place of the file; nil: the file
	number int                               // among those that are merged: of rows of one key the lowest comes first
	r      *ipc.Reader
	keys   *array.Binary
	row    int
	prefix sortPrefix // of the row's key
	batch  int32      // where the row's batch is in runMerge
}

// newSortRun begins a run.
func newSortRun(dir string, schema *arrow.Schema, level int) (*sortRun, error) {
	f, err := scratch.Create(dir, "lakefeed-sort")
	if err != nil {
		return nil, err
	}
	r := &sortRun{schema: schema, level: level, f: f, buf: bufio.NewWriterSize(f, 64<<10)}
	r.w = ipc.NewWriter(r.buf, ipc.WithSchema(schema), ipc.WithAllocator(column.Allocator))
	return r, nil
}

func (r *sortRun) write(rows arrow.RecordBatch) error {
	keys := keysIn(rows)
	if r.ends[0] == nil {
		r.ends[0] = bytes.Clone(keys.Value(0))
	}
	r.ends[1] = append(r.ends[1][:0], keys.Value(keys.Len()-1)...)
	if err := r.w.Write(rows); err != nil {
		return fmt.Errorf("spill rows to sort: %w", err)
	}
	return nil
}

// end makes it ready to be read.
func (r *sortRun) end() error {
	if err := errors.Join(r.w.Close(), r.buf.Flush()); err != nil {
		return fmt.Errorf("spill rows to sort: %w", err)
	}
	r.w, r.buf = nil, nil
	return nil
}

func (r *sortRun) close() {
	r.rest()
	closeFile(r.f)
}

func closeRuns(runs []*sortRun) {
	for _, r := range runs {
		r.close()
	}
}

// rest ends reading it.
func (r *sortRun) rest() {
	if r.r != nil {
		r.r.Release()
	}
	r.r, r.keys = nil, nil
}

// open begins to read it.
func (r *sortRun) open(number int) error {
	r.rest()
	if r.number = number; r.from != nil {
		return nil
	}
	if _, err := r.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read rows to sort: %w", err)
	}
	var err error
	if r.r, err = ipc.NewReader(bufio.NewReader(r.f), ipc.WithAllocator(column.Allocator)); err != nil {
		return fmt.Errorf("read rows to sort: %w", err)
	}
	return nil
}

// next is the run's next batch, nil at its end. It is the caller's to release.
func (r *sortRun) next() (arrow.RecordBatch, error) {
	if r.from != nil {
		return r.from()
	}
	if !r.r.Next() {
		if err := r.r.Err(); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read rows to sort: %w", err)
		}
		return nil, nil //nolint:nilnil // the end
	}
	batch := r.r.RecordBatch()
	batch.Retain()
	return batch, nil
}

func (r *sortRun) key() []byte { return r.keys.Value(r.row) }

// merge passes the rows of runs on, in order.
func (s *rowSorter) merge(ctx context.Context, runs []*sortRun, schema *arrow.Schema, rows int, pass func(arrow.RecordBatch) error) error {
	m := &runMerge{limit: rows, emit: func(batches []arrow.RecordBatch, at []column.RowAt) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return passGathered(schema, batches, at, pass)
	}}
	defer m.release()
	m.same = sameIn(runs)
	if err := m.begin(runs); err != nil {
		return err
	}
	return m.run()
}

// begin goes to the first row of each run.
func (m *runMerge) begin(runs []*sortRun) error {
	for n, r := range runs {
		if err := r.open(n); err != nil {
			return err
		}
		if more, err := m.load(r); err != nil {
			return err
		} else if more {
			m.heap = append(m.heap, r)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	return nil
}

// sameIn is how many bytes all keys of runs begin with alike.
func sameIn(runs []*sortRun) int {
	same := len(runs[0].ends[0])
	for _, r := range runs {
		for _, end := range r.ends {
			same = min(same, commonLen(runs[0].ends[0], end))
		}
	}
	return same
}

// runMerge picks rows out of the batches that runs are at.
type runMerge struct {
	same  int
	limit int // rows that are emitted at a time
	emit  func(batches []arrow.RecordBatch, at []column.RowAt) error

	heap    []*sortRun // the one with the smallest row first
	batches []arrow.RecordBatch
	at      []column.RowAt // the rows that are picked
}

// load goes to a run's next batch; false at its end.
func (m *runMerge) load(r *sortRun) (bool, error) {
	batch, err := r.next()
	if batch == nil {
		return false, err
	}
	r.keys, r.row, r.batch = keysIn(batch), 0, int32(len(m.batches))
	r.prefix = prefixOf(r.key(), m.same)
	m.batches = append(m.batches, batch)
	return true, nil
}

func (m *runMerge) run() error {
	for len(m.heap) > 0 {
		if err := m.pick(); err != nil {
			return err
		}
	}
	if len(m.at) == 0 {
		return nil
	}
	return m.emit(m.batches, m.at)
}

// pick takes the smallest row.
func (m *runMerge) pick() error {
	r := m.heap[0]
	m.at = append(m.at, column.RowAt{Batch: r.batch, Row: int32(r.row)})
	if err := m.advance(r); err != nil {
		return err
	}
	if len(m.at) < m.limit {
		return nil
	}
	return m.flush()
}

// advance leaves the smallest row behind, which is r's.
func (m *runMerge) advance(r *sortRun) error {
	r.row++
	if r.row < r.keys.Len() {
		r.prefix = prefixOf(r.key(), m.same)
	} else if more, err := m.load(r); err != nil {
		return err
	} else if !more {
		last := len(m.heap) - 1
		m.heap[0], m.heap = m.heap[last], m.heap[:last]
	}
	m.down(0)
	return nil
}

// flush emits what is picked, and lets the batches go that are used up.
func (m *runMerge) flush() error {
	if err := m.emit(m.batches, m.at); err != nil {
		return err
	}
	m.at = m.at[:0]
	used := make([]arrow.RecordBatch, len(m.heap))
	for i, r := range m.heap {
		used[i], m.batches[r.batch] = m.batches[r.batch], nil
		r.batch = int32(i)
	}
	m.release()
	m.batches = append(m.batches[:0], used...)
	return nil
}

func (m *runMerge) release() {
	for _, b := range m.batches {
		if b != nil {
			b.Release()
		}
	}
	m.batches = slices.Delete(m.batches, 0, len(m.batches))
}

func (m *runMerge) less(a, b *sortRun) bool {
	if c := a.prefix.compare(b.prefix); c != 0 {
		return c < 0
	}
	return cmp.Or(bytes.Compare(a.key(), b.key()), cmp.Compare(a.number, b.number)) < 0
}

// down moves a run down the heap to its place.
func (m *runMerge) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(m.heap) {
			return
		}
		if child+1 < len(m.heap) && m.less(m.heap[child+1], m.heap[child]) {
			child++
		}
		if !m.less(m.heap[child], m.heap[i]) {
			return
		}
		m.heap[i], m.heap[child] = m.heap[child], m.heap[i]
		i = child
	}
}
