package hudi

import (
	"bufio"
	"bytes"
	"cmp"
	pq "container/heap"
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
	runs []sortedFile // in the order of their rows, of falling levels
}

// sortedFile is a run on disk. Runs of one level are merged into one of the next when
// they are many, so that few files are open at a time, whatever there is to sort.
type sortedFile struct {
	f     *os.File
	level int
}

// runsPerLevel is how many runs of a level there may be.
const runsPerLevel = 16

// sortKeyMaker makes, for each row, the bytes that rows are sorted by.
type sortKeyMaker func(batch arrow.RecordBatch) (arrow.Array, error)

// sortKeyColumn holds what rows are compared by: bytes whose order is theirs.
const sortKeyColumn = "_lakefeed_sort_key"

// The batches that come out, and those in the runs, have so many rows at most, and about
// so many bytes.
const (
	mergeRows  = 4096
	mergeBytes = 1 << 20
)

// mergeStep is how many rows of some a batch has.
func mergeStep(rows arrow.RecordBatch) int64 {
	return min(max(mergeBytes/(column.BatchBytes(rows)/max(rows.NumRows(), 1)+1), 1), mergeRows)
}

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
	err = s.writeRun(rows.Schema(), 0, func(w *ipc.Writer) error { return writeSteps(w, rows) })
	if err != nil {
		return err
	}
	return s.mergeLevels(ctx)
}

// writeRun adds a run of what fn writes.
func (s *rowSorter) writeRun(schema *arrow.Schema, level int, fn func(*ipc.Writer) error) error {
	f, err := os.CreateTemp(s.dir, "lakefeed-sort-*")
	if err != nil {
		return fmt.Errorf("spill rows to sort: %w", err)
	}
	s.runs = append(s.runs, sortedFile{f, level})
	w := ipc.NewWriter(f, ipc.WithSchema(schema), ipc.WithAllocator(column.Allocator))
	err = fn(w)
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("spill rows to sort: %w", err)
	}
	return nil
}

func writeSteps(w *ipc.Writer, rows arrow.RecordBatch) error {
	step := mergeStep(rows)
	for from := int64(0); from < rows.NumRows(); from += step {
		part := rows.NewSlice(from, min(from+step, rows.NumRows()))
		err := w.Write(part)
		part.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// mergeLevels merges the last runs, while they are as many as their level may have.
func (s *rowSorter) mergeLevels(ctx context.Context) error {
	for len(s.runs) >= runsPerLevel {
		from := len(s.runs) - runsPerLevel
		level := s.runs[from].level
		if s.runs[len(s.runs)-1].level != level {
			return nil
		}
		some := s.runs[from:len(s.runs):len(s.runs)]
		err := s.writeRun(s.keyed(), level+1, func(w *ipc.Writer) error { return s.merge(ctx, some, w.Write) })
		for _, r := range some {
			r.remove()
		}
		s.runs = slices.Delete(s.runs, from, from+runsPerLevel)
		if err != nil {
			return err
		}
	}
	return nil
}

// keyed is the schema with the sort keys.
func (s *rowSorter) keyed() *arrow.Schema {
	return arrow.NewSchema(append(slices.Clone(s.schema.Fields()), arrow.Field{Name: sortKeyColumn, Type: arrow.BinaryTypes.Binary}), nil)
}

// each passes all rows on, in order; it may be called again. A batch is valid during the call.
func (s *rowSorter) each(ctx context.Context, pass func(arrow.RecordBatch) error) error {
	if len(s.runs) == 0 {
		if len(s.held) == 0 {
			return nil
		}
		rows, err := s.sorted(ctx)
		if err != nil {
			return err
		}
		s.held, s.size = append(s.held, rows), column.BatchBytes(rows)
		return s.pass(rows, pass)
	}
	if len(s.held) > 0 {
		if err := s.spill(ctx); err != nil {
			return err
		}
	}
	return s.merge(ctx, s.runs, func(rows arrow.RecordBatch) error { return s.pass(rows, pass) })
}

// pass passes rows on without their sort keys.
func (s *rowSorter) pass(rows arrow.RecordBatch, pass func(arrow.RecordBatch) error) error {
	n, step := int(rows.NumCols())-1, mergeStep(rows)
	for from := int64(0); from < rows.NumRows(); from += step {
		part := rows.NewSlice(from, min(from+step, rows.NumRows()))
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
	for _, r := range s.runs {
		r.remove()
	}
	s.held, s.runs = nil, nil
}

func (r sortedFile) remove() {
	closeFile(r.f)
	_ = os.Remove(r.f.Name()) // it is of no use, and in a temporary folder
}

// sortRun is a run that is being merged.
type sortRun struct {
	number int
	r      *ipc.Reader
	batch  arrow.RecordBatch // valid until next
	keys   *array.Binary
	row    int
	taken  int   // the first row that was not passed on yet
	at     int32 // where the rows from taken on are in the joined record
}

// next goes to the run's next batch; false at its end.
func (r *sortRun) next() (bool, error) {
	if !r.r.Next() {
		if err := r.r.Err(); err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("read rows to sort: %w", err)
		}
		return false, nil
	}
	r.batch, r.row, r.taken = r.r.RecordBatch(), 0, 0
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

// merge passes the rows of some runs on, in order, with their sort keys. Rows are picked
// out of one record of those of each run that come next, until a run's batch is used up.
func (s *rowSorter) merge(ctx context.Context, files []sortedFile, pass func(arrow.RecordBatch) error) error {
	runs := &sortHeap{}
	for n, file := range files {
		if _, err := file.f.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("read rows to sort: %w", err)
		}
		r, err := ipc.NewReader(bufio.NewReaderSize(file.f, 256<<10), ipc.WithAllocator(column.Allocator))
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
		if err := mergeSome(ctx, runs, pass); err != nil {
			return err
		}
	}
	return nil
}

// mergeSome merges until a run's batch is used up, and goes on to its next.
func mergeSome(ctx context.Context, runs *sortHeap, pass func(arrow.RecordBatch) error) error {
	all := slices.Clone(*runs)
	var order []*sortRun
	first := func() *sortRun { return (*runs)[0] }
	for {
		r := first()
		order = append(order, r)
		if r.row++; int64(r.row) == r.batch.NumRows() {
			break
		}
		pq.Fix(runs, 0)
	}
	rows, err := interleave(ctx, all, order)
	if err != nil {
		return err
	}
	defer rows.Release()
	if err := pass(rows); err != nil {
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

// interleave takes the next row of a run, again and again, in that order of runs.
func interleave(ctx context.Context, runs, order []*sortRun) (arrow.RecordBatch, error) {
	parts, n := make([]arrow.RecordBatch, 0, len(runs)), int32(0)
	for _, r := range runs {
		if r.row == r.taken {
			continue
		}
		part := r.batch.NewSlice(int64(r.taken), int64(r.row))
		defer part.Release()
		parts = append(parts, part)
		r.at, r.taken = n, r.row
		n += int32(part.NumRows())
	}
	sel := make([]int32, len(order))
	for i, r := range order {
		sel[i] = r.at
		r.at++
	}
	joined, err := column.Join(parts)
	if err != nil {
		return nil, err
	}
	defer joined.Release()
	return column.Take(ctx, joined, sel)
}
