package hudi

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
	"lakefeed/internal/arrowsize"
)

// rowSorter sorts rows, as many as there are: what does not fit into memory waits in
// files, each a sorted run (sort_run.go), which are merged at the end. A row is copied
// when its run is written and when runs are merged.
type rowSorter struct {
	schema *arrow.Schema
	keys   sortKeyMaker
	limit  int64  // bytes of Arrow that wait in memory
	dir    string // for the runs; "": the system's

	held []arrow.RecordBatch // each with its sort keys behind its columns
	size int64               // of held
	runs []*sortRun          // in the order of their rows, of falling levels

	rows, bytes int64 // of all that was added
}

// sortKeyMaker makes, for each row, the bytes that rows are sorted by.
type sortKeyMaker func(batch arrow.RecordBatch) (arrow.Array, error)

// sortKeyColumn holds what rows are compared by: bytes whose order is theirs.
const sortKeyColumn = "_lakefeed_sort_key"

const (
	sortedRows  = 4096      // in a batch that comes out, at most
	sortedBytes = 1 << 20   // in one, about
	runBytes    = 256 << 10 // in a batch of a run, about: one of each run is in memory while they are merged

	// runsPerLevel is how many runs of a level there may be. They are merged into one of
	// the next then, so that few files are open, whatever there is to sort.
	runsPerLevel = 64
)

func newRowSorter(schema *arrow.Schema, keys sortKeyMaker, limit int64, dir string) *rowSorter {
	return &rowSorter{schema: schema, keys: keys, limit: limit, dir: dir}
}

// add takes rows.
func (s *rowSorter) add(ctx context.Context, batch arrow.RecordBatch) error {
	n := batch.NumRows()
	if n == 0 {
		return nil
	}
	keys, err := s.keys(batch)
	if err != nil {
		return err
	}
	defer keys.Release()
	fields := append(slices.Clone(batch.Schema().Fields()), arrow.Field{Name: sortKeyColumn, Type: arrow.BinaryTypes.Binary})
	s.held = append(s.held, array.NewRecordBatch(arrow.NewSchema(fields, nil), append(slices.Clone(batch.Columns()), keys), n))
	size := arrowsize.Batch(batch) + arrowsize.Column(keys)
	s.rows, s.bytes = s.rows+n, s.bytes+size
	if s.size += size + n*sortRefBytes; s.size < s.limit {
		return nil
	}
	return s.spill(ctx)
}

// rowsOf is how many rows make so many bytes, on average.
func (s *rowSorter) rowsOf(bytes int64) int {
	return int(min(max(bytes/(s.bytes/s.rows+1), 1), sortedRows))
}

// outRows and runRows are how many rows come out at a time, and are in a batch of a run:
// of those that may wait a quarter, and as much in all runs.
func (s *rowSorter) outRows() int { return s.rowsOf(min(sortedBytes, s.limit/4)) }
func (s *rowSorter) runRows() int { return s.rowsOf(min(runBytes, s.limit/4/runsPerLevel)) }

// sortRef is a row that is sorted. Most rows differ in prefix, and are compared without
// a look at their keys.
type sortRef struct {
	prefix sortPrefix
	at     column.RowAt
}

const sortRefBytes = 24

// sortPrefix is 16 bytes of a sort key, as numbers that order as they do.
type sortPrefix struct{ high, low uint64 }

// prefixOf is that of a key behind bytes that are the same in all keys.
func prefixOf(key []byte, same int) sortPrefix {
	key = key[min(same, len(key)):]
	if len(key) < 16 {
		var padded [16]byte
		copy(padded[:], key)
		key = padded[:]
	}
	return sortPrefix{bigEndian(key), bigEndian(key[8:])}
}

func bigEndian(b []byte) uint64 {
	_ = b[7]
	return uint64(b[7]) | uint64(b[6])<<8 | uint64(b[5])<<16 | uint64(b[4])<<24 |
		uint64(b[3])<<32 | uint64(b[2])<<40 | uint64(b[1])<<48 | uint64(b[0])<<56
}

func (p sortPrefix) compare(o sortPrefix) int {
	switch {
	case p.high != o.high:
		return cmp.Compare(p.high, o.high)
	default:
		return cmp.Compare(p.low, o.low)
	}
}

// commonLen is how many bytes two keys begin with alike.
func commonLen(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// keysIn is a batch's sort keys.
func keysIn(batch arrow.RecordBatch) *array.Binary {
	return batch.Column(int(batch.NumCols()) - 1).(*array.Binary)
}

// sorted are the rows that are held, in order. Rows of one key stay as they came.
func (s *rowSorter) sorted() []column.RowAt {
	keys := make([]*array.Binary, len(s.held))
	n, same := 0, -1
	for i, b := range s.held {
		keys[i] = keysIn(b)
		n += keys[i].Len()
	}
	first := keys[0].Value(0)
	for _, k := range keys {
		for row := range k.Len() {
			if at := commonLen(first, k.Value(row)); same < 0 || at < same {
				same = at
				first = first[:same]
			}
		}
	}
	refs := make([]sortRef, 0, n)
	for i, k := range keys {
		for row := range k.Len() {
			refs = append(refs, sortRef{prefixOf(k.Value(row), same), column.RowAt{Batch: int32(i), Row: int32(row)}})
		}
	}
	slices.SortFunc(refs, func(a, b sortRef) int {
		if c := a.prefix.compare(b.prefix); c != 0 {
			return c
		}
		c := bytes.Compare(keys[a.at.Batch].Value(int(a.at.Row)), keys[b.at.Batch].Value(int(b.at.Row)))
		return cmp.Or(c, cmp.Compare(a.at.Batch, b.at.Batch), cmp.Compare(a.at.Row, b.at.Row))
	})
	at := make([]column.RowAt, n)
	for i := range refs {
		at[i] = refs[i].at
	}
	return at
}

// passHeld passes on what is held, in order.
func (s *rowSorter) passHeld(ctx context.Context, schema *arrow.Schema, rows int, pass func(arrow.RecordBatch) error) error {
	for part := range slices.Chunk(s.sorted(), rows) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := passGathered(schema, s.held, part, pass); err != nil {
			return err
		}
	}
	return nil
}

func (s *rowSorter) forget() {
	for _, b := range s.held {
		b.Release()
	}
	clear(s.held)
	s.held, s.size = s.held[:0], 0
}

// passGathered passes on rows of batches, with those columns that schema has.
func passGathered(schema *arrow.Schema, batches []arrow.RecordBatch, at []column.RowAt, pass func(arrow.RecordBatch) error) error {
	rows, err := column.Gather(schema, batches, at)
	if err != nil {
		return err
	}
	defer rows.Release()
	return pass(rows)
}

// spill writes what is held into a run.
func (s *rowSorter) spill(ctx context.Context) error {
	schema := s.held[0].Schema()
	err := s.writeRun(schema, 0, func(run *sortRun) error { return s.passHeld(ctx, schema, s.runRows(), run.write) })
	if err != nil {
		return err
	}
	s.forget()
	return s.mergeLevels(ctx)
}

// writeRun adds a run of the batches that fill writes.
func (s *rowSorter) writeRun(schema *arrow.Schema, level int, fill func(*sortRun) error) error {
	run, err := newSortRun(s.dir, schema, level)
	if err != nil {
		return fmt.Errorf("spill rows to sort: %w", err)
	}
	s.runs = append(s.runs, run)
	if err := fill(run); err != nil {
		return err
	}
	return run.end()
}

// mergeLevels merges the last runs, while they are as many as their level may have.
func (s *rowSorter) mergeLevels(ctx context.Context) error {
	for len(s.runs) >= runsPerLevel {
		from := len(s.runs) - runsPerLevel
		some := slices.Clone(s.runs[from:])
		if some[0].level != some[len(some)-1].level {
			return nil
		}
		err := s.writeRun(some[0].schema, some[0].level+1, func(run *sortRun) error {
			return s.merge(ctx, some, run.schema, s.runRows(), run.write)
		})
		closeRuns(some)
		s.runs = slices.Delete(s.runs, from, from+runsPerLevel)
		if err != nil {
			return err
		}
	}
	return nil
}

// each passes all rows on, in order; it may be called again. A batch is valid during the call.
func (s *rowSorter) each(ctx context.Context, pass func(arrow.RecordBatch) error) error {
	if len(s.held) > 0 && len(s.runs) > 0 {
		if err := s.spill(ctx); err != nil {
			return err
		}
	}
	switch {
	case len(s.runs) > 0:
		return s.merge(ctx, s.runs, s.schema, s.outRows(), pass)
	case len(s.held) > 0:
		return s.passHeld(ctx, s.schema, s.outRows(), pass)
	}
	return nil
}

// close deletes the runs.
func (s *rowSorter) close() {
	s.forget()
	closeRuns(s.runs)
	s.runs = nil
}
