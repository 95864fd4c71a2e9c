package hudi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"golang.org/x/sync/errgroup"

	"lakefeed/hudi/internal/column"
)

// Changes may be sorted in parts, by several sorters, maybe in several processes: what each
// passes on is a run, which its caller keeps, and in the end all runs are merged into one
// transaction.

// laneOf is which lane a file group is in.
func laneOf(partition string, bucket int32, lanes int) int {
	return int((crc32.ChecksumIEEE([]byte(partition)) + uint32(bucket+1)) % uint32(lanes))
}

// laneSortKeys sorts changes by lane, partition, bucket and key.
func laneSortKeys(lanes int) sortKeyMaker {
	return func(batch arrow.RecordBatch) (arrow.Array, error) {
		return placeSortKeys(batch, func(dst []byte, c sortedChanges, row int) []byte {
			return binary.BigEndian.AppendUint32(dst, uint32(laneOf(c.partitions.Value(row), c.buckets.Value(row), lanes)))
		}), nil
	}
}

// placeSortKeys are keys of partition, bucket and key, behind what head puts before them; nil: nothing.
func placeSortKeys(batch arrow.RecordBatch, head func(dst []byte, c sortedChanges, row int) []byte) arrow.Array {
	c := changesOf(batch)
	b := array.NewBinaryBuilder(column.Allocator, arrow.BinaryTypes.Binary)
	defer b.Release()
	var sort []byte
	for row := range c.keys.Len() {
		if sort = sort[:0]; head != nil {
			sort = head(sort, c, row)
		}
		sort = appendEscaped(sort, []byte(c.partitions.Value(row)))
		sort = binary.BigEndian.AppendUint32(sort, uint32(c.buckets.Value(row)+1))
		b.Append(append(sort, c.keys.Value(row)...))
	}
	return b.NewArray()
}

// Schema is that of the rows that [Sorter.Pass] passes on: the data columns, and where each
// row goes.
func (s *Sorter) Schema() *arrow.Schema { return s.sorter.schema }

// PartitionPaths are the partitions that the changes are in, in order.
func (s *Sorter) PartitionPaths() []string { return slices.Sorted(maps.Keys(s.partitions)) }

// RunKeys are the record keys of rows that [Sorter.Pass] has passed on.
func RunKeys(rows arrow.RecordBatch) *array.String { return changesOf(rows).keys }

// Pass passes on all changes, lane after lane, each sorted. A batch is valid during the call.
func (s *Sorter) Pass(ctx context.Context, pass func(lane int, rows arrow.RecordBatch) error) error {
	return s.sorter.each(ctx, func(rows arrow.RecordBatch) error {
		c := changesOf(rows)
		for lane, r := range runs(c.keys.Len(), func(row int) int {
			return laneOf(c.partitions.Value(row), c.buckets.Value(row), s.opts.Lanes)
		}) {
			some := rows.NewSlice(int64(r.from), int64(r.to))
			err := pass(lane, some)
			some.Release()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// A Run is what a [Sorter] has passed on. Runs of one table are sorted with the same
// RecordKey, Buckets, Lanes and Schema.
type Run struct {
	// Lane reads one lane again, from its first batch on: next returns nil at the end, and what it
	// returns is the caller's to release. The function close ends the reading.
	Lane func(ctx context.Context, lane int) (next func() (arrow.RecordBatch, error), close func(), err error)
	// Newer says that a key of the run replaces that of the runs before it, or takes it
	// away where the change is a delete. Without it a key that another run has is an error.
	Newer bool
}

// WriteRuns writes the changes of runs in a transaction, its lanes side by side, readers
// at a time. It returns how many rows it has written.
func WriteRuns(ctx context.Context, x *Txn, opts SortOptions, all []Run, readers int) (int64, error) {
	if x.table.hashed() && opts.Buckets > 0 && opts.Buckets != x.count {
		return 0, &ConflictError{Reason: fmt.Sprintf("it has %d buckets, and what was sorted is for %d", x.count, opts.Buckets)}
	}
	var rows atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(readers, 1))
	for lane := range opts.Lanes {
		g.Go(func() error {
			m := &stagedMerge{opts: opts, out: sortedOut{txn: x, schema: opts.Schema}}
			if x.table.hashed() && opts.Buckets != x.count {
				m.out.split = x.count
			}
			err := m.lane(ctx, lane, all)
			rows.Add(m.rows)
			return err
		})
	}
	err := g.Wait()
	return rows.Load(), err
}

// stagedMerge merges one lane of runs.
type stagedMerge struct {
	runMerge

	opts   SortOptions
	out    sortedOut
	rows   int64
	newer  []bool // of each run
	last   []byte // sort key of the last row
	begun  bool
	picked bool // that row is among those that are picked
	twice  bool // its key came before, and it does not replace that
	key    string
}

func (m *stagedMerge) lane(ctx context.Context, lane int, all []Run) (err error) {
	schema := NewSorter(SortOptions{Schema: m.opts.Schema}).Schema()
	var in []*sortRun
	for _, r := range all {
		next, end, err := r.Lane(ctx, lane)
		if err != nil {
			return err
		}
		defer end()
		in = append(in, &sortRun{from: func() (arrow.RecordBatch, error) { return withSortKeys(next, schema) }})
		m.newer = append(m.newer, r.Newer)
	}
	m.limit = sortedRows
	m.emit = func(batches []arrow.RecordBatch, at []column.RowAt) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.rows += int64(len(at))
		return passGathered(schema, batches, at, func(rows arrow.RecordBatch) error { return m.out.add(ctx, rows) })
	}
	defer m.release()
	if err := m.begin(in); err != nil {
		return err
	}
	if err := m.merge(); err != nil {
		return errors.Join(err, m.out.end(context.WithoutCancel(ctx)))
	}
	return m.out.end(ctx)
}

// withSortKeys is the next batch with the keys to merge it by.
func withSortKeys(next func() (arrow.RecordBatch, error), schema *arrow.Schema) (arrow.RecordBatch, error) {
	batch, err := next()
	if batch == nil {
		return nil, err
	}
	defer batch.Release()
	if !slices.EqualFunc(batch.Schema().Fields(), schema.Fields(), func(a, b arrow.Field) bool { return a.Name == b.Name && arrow.TypeEqual(a.Type, b.Type) }) {
		return nil, &SchemaError{"", "the rows of a run have other columns than the table"}
	}
	keys := placeSortKeys(batch, nil)
	defer keys.Release()
	fields := append(slices.Clone(schema.Fields()), arrow.Field{Name: sortKeyColumn, Type: arrow.BinaryTypes.Binary})
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), append(slices.Clone(batch.Columns()), keys), batch.NumRows()), nil
}

// merge picks one row of each key: the last one.
func (m *stagedMerge) merge() error {
	for len(m.heap) > 0 {
		r := m.heap[0]
		again := m.begun && bytes.Equal(m.last, r.key())
		if !again {
			if err := m.nextKey(r); err != nil {
				return err
			}
		} else if m.picked {
			m.at = m.at[:len(m.at)-1]
		}
		if m.twice = again && !m.newer[r.number]; m.twice {
			m.key = m.keyOf(r)
		}
		if m.picked = !m.gone(r); m.picked {
			m.at = append(m.at, column.RowAt{Batch: r.batch, Row: int32(r.row)})
		}
		if err := m.advance(r); err != nil {
			return err
		}
	}
	if m.twice {
		return comesTwice(m.key)
	}
	if len(m.at) == 0 {
		return nil
	}
	return m.emit(m.batches, m.at)
}

// nextKey begins another key, which is r's row's.
func (m *stagedMerge) nextKey(r *sortRun) error {
	if m.twice {
		return comesTwice(m.key)
	}
	if len(m.at) >= m.limit || len(m.batches) >= maxPassed(len(m.heap)) {
		if err := m.flush(); err != nil {
			return err
		}
	}
	m.last, m.begun = append(m.last[:0], r.key()...), true
	return nil
}

// maxPassed bounds the batches that are in memory of so many runs, which are at one each. Those
// that they have passed were let go with the rows that were picked of them, which are none where
// all were deleted.
func maxPassed(runs int) int { return 4*runs + 16 }

// extra is a column of sortedExtra of the batch that a run is at.
func (m *stagedMerge) extra(r *sortRun, i int) arrow.Array {
	batch := m.batches[r.batch]
	return batch.Column(int(batch.NumCols()) - 1 - len(sortedExtra) + i)
}

func (m *stagedMerge) keyOf(r *sortRun) string {
	return strings.Clone(m.extra(r, 0).(*array.String).Value(r.row))
}

func (m *stagedMerge) gone(r *sortRun) bool {
	return m.extra(r, len(sortedExtra)-1).(*array.Boolean).Value(r.row)
}
