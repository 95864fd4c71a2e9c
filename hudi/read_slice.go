package hudi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/timeline"
)

// sliceScan reads one file slice, base and logs merged, in bounded memory: a first
// pass over the logs finds which of a key's records counts, by position; then the
// base file's rows stream by, without those that the logs changed, and behind them
// the records of the logs that count.
type sliceScan struct {
	table     *Table
	slice     *FileSlice
	timeline  *timeline.Timeline
	full      *arrow.Schema          // of the table, with the meta columns
	schema    *arrow.Schema          // of the batches, a part of it
	asOf      string                 // blocks of later instants are left out
	wrote     map[string]writtenFile // what commits say of the files
	only      map[keyHash]int32      // nil: all keys; else the wanted ones
	skip      map[keyHash]mark       // keys whose rows are left out; found ones are marked
	batchRows int
	stats     scanStats
}

// scanStats is what a scan met.
type scanStats struct {
	logFiles, logBlocks, logRecords int64
	logBytes                        int64
	corruptBlocks, rollbackBlocks   int64
	updated, deleted                int64 // rows of the base file that the logs changed
	rows                            int64 // that came out
}

// run calls yield with batches of rows, which are valid during the call.
func (s *sliceScan) run(ctx context.Context, yield func(arrow.RecordBatch) error) error {
	if s.batchRows == 0 {
		s.batchRows = defaultBatchRows
	}
	logs, err := s.openLogs(ctx)
	if err != nil {
		return err
	}
	defer logs.close()
	return s.merge(ctx, logs, yield)
}

// merge streams the base file's rows and behind them those of the logs.
func (s *sliceScan) merge(ctx context.Context, logs *mergedLogs, yield func(arrow.RecordBatch) error) error {
	if s.slice.Base != nil {
		if err := s.base(ctx, logs, yield); err != nil {
			return fmt.Errorf("read %s: %w", s.slice.Base.Name, err)
		}
	}
	return logs.emit(ctx, s, yield)
}

// base streams the base file's rows that the logs leave as they are.
func (s *sliceScan) base(ctx context.Context, logs *mergedLogs, yield func(arrow.RecordBatch) error) error {
	file, err := s.open(ctx, s.slice.Base)
	if err != nil {
		return err
	}
	defer closeFile(file)
	schema, extra := s.baseSchema(logs)
	var groups []int
	if s.only != nil {
		if groups, err = groupsWith(ctx, file, s.only); err != nil || len(groups) == 0 {
			return err
		}
	}
	r, err := openBaseReader(file, file.Size(), schema)
	if err != nil {
		return err
	}
	defer func() { _ = r.close() }()
	if s.only != nil {
		if err := r.restrict(groups); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		batch, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = s.baseBatch(ctx, logs, batch, extra, yield)
		batch.Release()
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// baseSchema is the schema to read the base file with: that of the batches and,
// behind it, what the merge itself must see. Extra is the number of these columns.
func (s *sliceScan) baseSchema(logs *mergedLogs) (schema *arrow.Schema, extra int) {
	var need []string
	if s.filters(logs) {
		need = append(need, keyColumn)
	}
	if logs.ordered && len(logs.winners) > 0 {
		need = append(need, s.table.order)
	}
	fields := s.schema.Fields()
	all := s.full
	for _, name := range need {
		if len(s.schema.FieldIndices(name)) == 0 {
			f, _ := all.FieldsByName(name)
			fields = append(slices.Clip(fields), f...)
			extra++
		}
	}
	return arrow.NewSchema(fields, nil), extra
}

// filters tells whether some of the base file's rows may have to go.
func (s *sliceScan) filters(logs *mergedLogs) bool {
	return s.only != nil || len(s.skip) > 0 || len(logs.winners) > 0
}

func (s *sliceScan) baseBatch(ctx context.Context, logs *mergedLogs, batch arrow.RecordBatch, extra int, yield func(arrow.RecordBatch) error) error {
	wide := batch
	if extra > 0 {
		n := s.schema.NumFields()
		batch = array.NewRecordBatch(s.schema, batch.Columns()[:n], batch.NumRows())
		defer batch.Release()
	}
	if !s.filters(logs) {
		return s.yield(batch, yield)
	}
	keys, err := keysOf(wide)
	if err != nil {
		return err
	}
	order := orderColumn(logs, wide, s.table.order)
	sel := make([]int32, 0, batch.NumRows())
	for row := range int(batch.NumRows()) {
		if s.keep(logs, hashKey(keys.Value(row)), order, row) {
			sel = append(sel, int32(row))
		}
	}
	if len(sel) == 0 {
		return nil
	}
	kept, err := take(ctx, batch, sel)
	if err != nil {
		return err
	}
	defer kept.Release()
	return s.yield(kept, yield)
}

// keep tells whether a row of the base file stays.
func (s *sliceScan) keep(logs *mergedLogs, h keyHash, order arrow.Array, row int) bool {
	if s.only != nil {
		if _, wanted := s.only[h]; !wanted {
			return false
		}
	}
	if m, found := s.skip[h]; found {
		s.skip[h] = m | markFound
		return false
	}
	w, found := logs.winners[h]
	if !found {
		return true
	}
	if o := logs.orders[h]; logs.ordered && !o.natural {
		if v, ok := orderValue(order, row); ok && v > o.value {
			delete(logs.winners, h) // the base file's row is the newer one
			return true
		}
	}
	if w.block < 0 {
		s.stats.deleted++
	} else {
		s.stats.updated++
	}
	return false
}

// yield passes a batch on in pieces of at most batchRows.
func (s *sliceScan) yield(batch arrow.RecordBatch, yield func(arrow.RecordBatch) error) error {
	n := batch.NumRows()
	s.stats.rows += n
	for from := int64(0); from < n; from += int64(s.batchRows) {
		to := min(from+int64(s.batchRows), n)
		if from == 0 && to == n {
			return yield(batch)
		}
		part := batch.NewSlice(from, to)
		err := yield(part)
		part.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// keysOf is the record key column.
func keysOf(batch arrow.RecordBatch) (*array.String, error) {
	at := batch.Schema().FieldIndices(keyColumn)
	if len(at) == 0 {
		return nil, fmt.Errorf("column %s: missing", keyColumn)
	}
	col, ok := batch.Column(at[0]).(*array.String)
	if !ok {
		return nil, fmt.Errorf("column %s: is %s, not text", keyColumn, batch.Column(at[0]).DataType())
	}
	return col, nil
}

func orderColumn(logs *mergedLogs, batch arrow.RecordBatch, name string) arrow.Array {
	if at := batch.Schema().FieldIndices(name); logs.ordered && len(at) > 0 {
		return batch.Column(at[0])
	}
	return nil
}

// orderValue is a value of the ordering column as a number.
func orderValue(col arrow.Array, row int) (int64, bool) {
	if col == nil || col.IsNull(row) {
		return 0, false
	}
	switch col := col.(type) {
	case *array.Int32:
		return int64(col.Value(row)), true
	case *array.Int64:
		return col.Value(row), true
	case *array.Date32:
		return int64(col.Value(row)), true
	case *array.Timestamp:
		return int64(col.Value(row)), true
	}
	return 0, false
}

// orders tells whether values of a type can be compared by orderValue.
func orders(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.INT32, arrow.INT64, arrow.DATE32, arrow.TIMESTAMP:
		return true
	default:
		return false
	}
}
