package pipeline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"lakefeed/hudi"
	"lakefeed/internal/arrowsize"
	"lakefeed/storage"
)

// A run is the rows of a part of a chunk, or changes, sorted: one stream of Arrow IPC for each
// lane, one behind the other, compressed.

const runSuffix = ".arrow"

// runBatch is about how many bytes a record of a run has, of which each reader of it has one in memory, within
// bounds, where so many runs are merged in so many lanes within a budget.
func runBatch(budget int64, runs, lanes int) int64 {
	return min(max(budget/4/int64(max(runs*lanes, 1)), 16<<10), 256<<10)
}

// stagedRun is a run in a file.
type stagedRun struct {
	store storage.Store
	name  string
	lanes []stageLane
	size  runSize
	newer bool // what it has replaces what others have
}

// runSize is how much there is of a run; of one that was written before this was noted, nothing.
type runSize struct {
	Rows   int64 `json:"rows"`
	Bytes  int64 `json:"bytes"`            // of the file
	Memory int64 `json:"memory,omitempty"` // that all rows would take
	Record int64 `json:"record,omitempty"` // likewise, of the largest record
}

// putRun writes what a sorter has into a file.
func putRun(ctx context.Context, store storage.Store, name string, s *hudi.Sorter, lanes int, batch int64) (*stagedRun, error) {
	file, err := store.Create(ctx, name+runSuffix)
	if err != nil {
		return nil, fmt.Errorf("stage rows in %s: %w", store, &LakeError{err})
	}
	defer func() { _ = file.Abort() }() // nothing after Commit
	w := &runWriter{to: bufio.NewWriterSize(file, 256<<10), schema: s.Schema(), batch: batch}
	if err := s.Pass(ctx, w.write); err != nil {
		return nil, fmt.Errorf("stage rows in %s: %w", store, err)
	}
	err = w.end(lanes)
	if err == nil {
		err = errors.Join(w.to.Flush(), file.Commit())
	}
	if err != nil {
		return nil, fmt.Errorf("stage rows in %s: %w", store, &LakeError{err})
	}
	w.size.Bytes = w.bytes
	return &stagedRun{store: store, name: name, lanes: w.lanes, size: w.size}, nil
}

// runWriter writes lanes behind one another.
type runWriter struct {
	to     *bufio.Writer
	schema *arrow.Schema
	batch  int64 // bytes of a record, about
	lanes  []stageLane
	bytes  int64
	size   runSize
	sum    hash.Hash32
	w      *ipc.Writer
}

// Write takes the bytes of the stream at hand.
func (w *runWriter) Write(b []byte) (int, error) {
	n, err := w.to.Write(b)
	w.bytes += int64(n)
	_, _ = w.sum.Write(b[:n]) // never fails
	return n, err
}

// write adds rows to a lane, which is the last one or a later one.
func (w *runWriter) write(lane int, rows arrow.RecordBatch) error {
	if err := w.begin(lane); err != nil {
		return err
	}
	n, size := rows.NumRows(), arrowsize.Batch(rows)
	w.size.Rows, w.size.Memory = w.size.Rows+n, w.size.Memory+size
	step := max(n*w.batch/max(size, 1), 1) // one row, however large it is
	for from := int64(0); from < n; from += step {
		some := rows.NewSlice(from, min(from+step, n))
		w.size.Record = max(w.size.Record, arrowsize.Batch(some))
		err := w.w.Write(some)
		some.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// begin goes on to a lane; those that are passed over are empty.
func (w *runWriter) begin(lane int) error {
	if w.w != nil && lane == len(w.lanes)-1 {
		return nil
	}
	if err := w.endLane(); err != nil {
		return err
	}
	for len(w.lanes) < lane {
		w.lanes = append(w.lanes, stageLane{From: w.bytes})
	}
	w.lanes = append(w.lanes, stageLane{From: w.bytes})
	w.sum = crc32.New(castagnoli)
	w.w = ipc.NewWriter(w, ipc.WithSchema(w.schema), ipc.WithLZ4())
	return nil
}

func (w *runWriter) endLane() error {
	if w.w == nil {
		return nil
	}
	err := w.w.Close()
	l := &w.lanes[len(w.lanes)-1]
	l.Size, l.Sum, w.w = w.bytes-l.From, w.sum.Sum32(), nil
	return err
}

// end ends the last lane; those behind it are empty.
func (w *runWriter) end(lanes int) error {
	err := w.endLane()
	for len(w.lanes) < lanes {
		w.lanes = append(w.lanes, stageLane{From: w.bytes})
	}
	return err
}

// run is the run to be read, of each lane two blocks at a time.
func (s *stagedRun) run(block int64) hudi.Run {
	shared := &sharedFile{store: s.store, name: s.name + runSuffix}
	return hudi.Run{Newer: s.newer, Lane: func(ctx context.Context, lane int) (func() (arrow.RecordBatch, error), func(), error) {
		if s.lanes[lane].Size == 0 {
			return func() (arrow.RecordBatch, error) { return nil, nil }, func() {}, nil //nolint:nilnil // the end
		}
		r := &runReader{name: s.store.String() + "/" + shared.name, lane: s.lanes[lane], sum: crc32.New(castagnoli), shared: shared}
		file, err := shared.open(ctx)
		if err != nil {
			return nil, nil, r.failed(err)
		}
		r.ahead = readAhead(file, r.lane.From, r.lane.Size, block)
		return r.next, r.close, nil
	}}
}

// runReader reads one lane of a run.
type runReader struct {
	name   string
	lane   stageLane
	shared *sharedFile
	ahead  *aheadReader
	sum    hash.Hash32
	r      *ipc.Reader
	lost   error // why the store did not give what it has
}

// Read reads the lane's bytes.
func (r *runReader) Read(b []byte) (int, error) {
	n, err := r.ahead.Read(b)
	_, _ = r.sum.Write(b[:n]) // never fails
	if err != nil && !errors.Is(err, io.EOF) {
		r.lost = err
	}
	return n, err
}

// failed says which run could not be read. It is of no use for another try where it is not
// what was written.
func (r *runReader) failed(err error) error {
	if r.lost != nil {
		return fmt.Errorf("read %s: %w", r.name, &LakeError{r.lost})
	}
	if errors.Is(err, errTorn) || errors.Is(err, storage.ErrNotExist) {
		return &staleError{why: fmt.Sprintf("%s: %v", r.name, err)}
	}
	return fmt.Errorf("read %s: %w", r.name, &LakeError{err})
}

func (r *runReader) next() (arrow.RecordBatch, error) {
	if r.r == nil {
		var err error
		if r.r, err = ipc.NewReader(r); err != nil {
			return nil, r.failed(fmt.Errorf("%w: %w", errTorn, err))
		}
	}
	if r.r.Next() {
		rec := r.r.RecordBatch()
		rec.Retain()
		return rec, nil
	}
	if err := r.r.Err(); err != nil && !errors.Is(err, io.EOF) {
		return nil, r.failed(fmt.Errorf("%w: %w", errTorn, err))
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, r.failed(err)
	}
	if r.sum.Sum32() != r.lane.Sum {
		return nil, r.failed(fmt.Errorf("%w: its checksum is another", errTorn))
	}
	return nil, nil //nolint:nilnil // the end
}

func (r *runReader) close() {
	if r.r != nil {
		r.r.Release()
	}
	r.ahead.close()
	r.shared.close()
}
