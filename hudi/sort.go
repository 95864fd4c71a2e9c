package hudi

import (
	"bytes"
	"cmp"
	pq "container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"lakefeed/hudi/internal/column"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// rowSorter sorts rows, as many as there are: what does not fit into memory waits in
// files, each a sorted run, which are merged at the end.
type rowSorter struct {
	schema *arrow.Schema
	keys   sortKeyMaker
	limit  int64  // bytes of Arrow that wait in memory
	dir    string // for the runs; "": the system's

	held []arrow.RecordBatch // each with its sort keys behind its columns
	size int64
	runs []*os.File
}

// sortKeyMaker makes, for each row, the bytes that rows are sorted by.
type sortKeyMaker func(batch arrow.RecordBatch) (arrow.Array, error)

// sortKeyColumn holds what rows are compared by: bytes whose order is theirs.
const sortKeyColumn = "_lakefeed_sort_key"

// mergeRows bounds the rows of the batches that come out, and of those in the runs.
const mergeRows = 4096

func newRowSorter(schema *arrow.Schema, keys sortKeyMaker, limit int64, dir string) *rowSorter {
	return &rowSorter{schema: schema, keys: keys, limit: limit, dir: dir}
}

// add takes rows.
func (s *rowSorter) add(ctx context.Context, batch arrow.RecordBatch) error {
	if batch.NumRows() == 0 {
		return nil
	}
	keys, err := s.keys(batch)
	if err != nil {
		return err
	}
	defer keys.Release()
	fields := append(slices.Clone(batch.Schema().Fields()), arrow.Field{Name: sortKeyColumn, Type: arrow.BinaryTypes.Binary})
	s.held = append(s.held, array.NewRecordBatch(arrow.NewSchema(fields, nil), append(slices.Clone(batch.Columns()), keys), batch.NumRows()))
	if s.size += column.BatchBytes(batch) + column.Bytes(keys); s.size < s.limit {
		return nil
	}
	return s.spill(ctx)
}

// sorted is what is held, in order.
func (s *rowSorter) sorted(ctx context.Context) (arrow.RecordBatch, error) {
	all, err := column.Join(s.held)
	if err != nil {
		return nil, err
	}
	defer all.Release()
	for _, b := range s.held {
		b.Release()
	}
	s.held, s.size = s.held[:0], 0
	keys := all.Column(int(all.NumCols()) - 1).(*array.Binary)
	sel := make([]int32, all.NumRows())
	for i := range sel {
		sel[i] = int32(i)
	}
	slices.SortStableFunc(sel, func(a, b int32) int { return bytes.Compare(keys.Value(int(a)), keys.Value(int(b))) })
	return column.Take(ctx, all, sel)
}

// spill writes what is held into a run.
func (s *rowSorter) spill(ctx context.Context) error {
	rows, err := s.sorted(ctx)
	if err != nil {
		return err
	}
	defer rows.Release()
	f, err := os.CreateTemp(s.dir, "lakefeed-sort-*")
	if err != nil {
		return fmt.Errorf("spill rows to sort: %w", err)
	}
	s.runs = append(s.runs, f)
	w := ipc.NewWriter(f, ipc.WithSchema(rows.Schema()), ipc.WithAllocator(column.Allocator))
	for from := int64(0); from < rows.NumRows(); from += mergeRows {
		part := rows.NewSlice(from, min(from+mergeRows, rows.NumRows()))
		err = errors.Join(err, w.Write(part))
		part.Release()
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("spill rows to sort: %w", err)
	}
	return nil
}

// each passes all rows on, in order. A batch is valid during the call.
func (s *rowSorter) each(ctx context.Context, pass func(arrow.RecordBatch) error) error {
	if len(s.runs) == 0 {
		if len(s.held) == 0 {
			return nil
		}
		rows, err := s.sorted(ctx)
		if err != nil {
			return err
		}
		defer rows.Release()
		return s.pass(rows, pass)
	}
	if len(s.held) > 0 {
		if err := s.spill(ctx); err != nil {
			return err
		}
	}
	return s.merge(ctx, pass)
}

// pass passes rows on without their sort keys.
func (s *rowSorter) pass(rows arrow.RecordBatch, pass func(arrow.RecordBatch) error) error {
	n := int(rows.NumCols()) - 1
	for from := int64(0); from < rows.NumRows(); from += mergeRows {
		part := rows.NewSlice(from, min(from+mergeRows, rows.NumRows()))
		bare := array.NewRecordBatch(s.schema, part.Columns()[:n], part.NumRows())
		err := pass(bare)
		bare.Release()
		part.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// close deletes the runs.
func (s *rowSorter) close() {
	for _, b := range s.held {
		b.Release()
	}
	for _, f := range s.runs {
		closeFile(f)
		_ = os.Remove(f.Name()) // it is of no use, and in a temporary folder
	}
	s.held, s.runs = nil, nil
}

// sortRun is a run that is being merged.
type sortRun struct {
	number int
	r      *ipc.Reader
	batch  arrow.RecordBatch // valid until next
	keys   *array.Binary
	row    int
	from   int32 // of the batch in the joined one
}

// next goes to the run's next batch; false at its end.
func (r *sortRun) next() (bool, error) {
	if !r.r.Next() {
		if err := r.r.Err(); err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("read rows to sort: %w", err)
		}
		return false, nil
	}
	r.batch, r.row = r.r.RecordBatch(), 0
	r.keys = r.batch.Column(int(r.batch.NumCols()) - 1).(*array.Binary)
	return true, nil
}

// sortHeap has the runs, the one with the smallest row first.
type sortHeap []*sortRun

func (h sortHeap) Len() int { return len(h) }
func (h sortHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	return cmp.Or(bytes.Compare(a.keys.Value(a.row), b.keys.Value(b.row)), cmp.Compare(a.number, b.number)) < 0
}
func (h sortHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push adds a run, for container/heap.
func (h *sortHeap) Push(x any) { *h = append(*h, x.(*sortRun)) }

// Pop takes the last one away, for container/heap.
func (h *sortHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// merge passes the rows of all runs on, in order. Rows are picked out of one record of
// the batches that the runs are at, until one of these is used up.
func (s *rowSorter) merge(ctx context.Context, pass func(arrow.RecordBatch) error) error {
	runs := &sortHeap{}
	for n, f := range s.runs {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("read rows to sort: %w", err)
		}
		r, err := ipc.NewReader(f, ipc.WithAllocator(column.Allocator))
		if err != nil {
			return fmt.Errorf("read rows to sort: %w", err)
		}
		defer r.Release()
		run := &sortRun{number: n, r: r}
		if more, err := run.next(); err != nil {
			return err
		} else if more {
			*runs = append(*runs, run)
		}
	}
	pq.Init(runs)
	for runs.Len() > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.mergeSome(ctx, runs, pass); err != nil {
			return err
		}
	}
	return nil
}

// mergeSome merges until a run's batch is used up, and goes on to its next.
func (s *rowSorter) mergeSome(ctx context.Context, runs *sortHeap, pass func(arrow.RecordBatch) error) error {
	heads, from := make([]arrow.RecordBatch, 0, runs.Len()), int32(0)
	for _, r := range *runs {
		head := r.batch.NewSlice(int64(r.row), r.batch.NumRows())
		defer head.Release()
		heads = append(heads, head)
		r.from = from - int32(r.row)
		from += int32(head.NumRows())
	}
	var sel []int32
	first := func() *sortRun { return (*runs)[0] }
	for {
		r := first()
		sel = append(sel, r.from+int32(r.row))
		if r.row++; int64(r.row) == r.batch.NumRows() {
			break
		}
		pq.Fix(runs, 0)
	}
	all, err := column.Join(heads)
	if err != nil {
		return err
	}
	defer all.Release()
	rows, err := column.Take(ctx, all, sel)
	if err != nil {
		return err
	}
	defer rows.Release()
	if err := s.pass(rows, pass); err != nil {
		return err
	}
	more, err := first().next()
	if err != nil {
		return err
	}
	if more {
		pq.Fix(runs, 0)
	} else {
		pq.Pop(runs)
	}
	return nil
}
