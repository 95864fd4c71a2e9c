package hudi

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/logfile"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// sliceScan reads one file slice, base and logs merged, in bounded memory: a first
// pass over the logs finds which of a key's records counts, by position; then the
// base file's rows stream by, without those that the logs changed, and behind them
// the records of the logs that count.
type sliceScan struct {
	table     *Table
	slice     *FileSlice
	timeline  *timeline.Timeline
	full      *arrow.Schema              // of the table, with the meta columns
	schema    *arrow.Schema              // of the batches, a part of it
	asOf      string                     // blocks of later instants are left out
	wrote     map[string]writtenFile     // what commits say of the files
	only      map[basefile.KeyHash]int32 // nil: all keys; else the wanted ones
	keys      []string                   // the same, sorted
	where     *condition                 // nil: all rows; else those of which it is true
	wanted    *arrow.Schema              // with where: of the batches, the first columns of schema
	skip      map[basefile.KeyHash]mark  // keys whose rows are left out; found ones are marked
	batchRows int
	history   *schemaHistory // nil: columns are found by name
	stats     scanStats

	merging *arrow.Schema // the columns that merging needs
	fill    *filler
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
	if s.where != nil {
		yield = s.where.filtered(s.wanted, yield)
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
	s.fill = &filler{scan: s, logs: logs, yield: yield}
	defer s.fill.reset()
	if s.slice.Base != nil {
		if err := s.base(ctx, logs, yield); err != nil {
			return fmt.Errorf("read %s: %w", s.slice.Base.Name, err)
		}
	}
	if err := s.fill.rest(ctx); err != nil {
		return err
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
	sh := s.shapeOf(schema, s.slice.Base.Instant)
	r, err := s.openBase(file, sh.read, logs)
	if err != nil {
		return file.blame(err)
	}
	defer func() { _ = r.Close() }()
	to := consumer[arrow.RecordBatch]{take: func(batch arrow.RecordBatch) error {
		fit, err := sh.fit(batch)
		if err != nil {
			return err
		}
		defer fit.Release()
		return s.baseBatch(ctx, logs, fit, extra, yield)
	}}
	if err := r.Each(ctx, to.yield); to.err == nil {
		return file.blame(err)
	}
	return to.err
}

// baseRows reads rows of a base file.
type baseRows interface {
	Each(ctx context.Context, fn func(arrow.RecordBatch) error) error
	Close() error
}

// openBase opens a base file for the rows that may be wanted. A row of which the filter
// is not true may be left out only where it says nothing about records of the logs: they
// take its place whatever it is.
func (s *sliceScan) openBase(file storage.Reader, schema *arrow.Schema, logs *mergedLogs) (baseRows, error) {
	switch {
	case s.only != nil:
		return basefile.OpenRows(file, file.Size(), schema, func(f *basefile.File, g int) ([]basefile.Range, error) {
			keys := s.keys
			if len(keys) < len(s.only) { // they are not known
				keys = nil
			}
			return f.RowsWith(g, keys, func(key []byte) bool { _, wanted := s.only[basefile.HashKeyBytes(key)]; return wanted })
		})
	case s.where != nil && s.history == nil && logs.replace():
		return basefile.OpenRows(file, file.Size(), schema, s.where.ranges)
	}
	r, err := basefile.Open(file, file.Size(), schema)
	return r, ofColumn(err)
}

// baseSchema is the schema to read the base file with: that of the batches and,
// behind it, what the merge itself must see. Extra is the number of these columns.
func (s *sliceScan) baseSchema(logs *mergedLogs) (schema *arrow.Schema, extra int) {
	var need []string
	if s.filters(logs) {
		need = append(need, s.table.keys.columns()...)
	}
	if logs.order != nil && len(logs.winners) > 0 {
		need = append(need, s.table.merge.order...)
	}
	fields := s.schema.Fields()
	for _, name := range need {
		f, ok := s.full.FieldsByName(name)
		if ok && !slices.ContainsFunc(fields, func(o arrow.Field) bool { return o.Name == name }) {
			fields = append(slices.Clip(fields), f[0])
			extra++
		}
	}
	if extra == 0 {
		return s.schema, 0
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
	keys, err := s.table.keys.of(wide)
	if err != nil {
		return err
	}
	defer keys.Release()
	f := newBaseFilter(s, logs, wide)
	for row := range int(batch.NumRows()) {
		f.row(basefile.HashKey(keys.Value(row)), row)
	}
	if err := f.filled(ctx, batch); err != nil || len(f.sel) == 0 {
		return err
	}
	kept, err := column.Take(batch, f.sel)
	if err != nil {
		return err
	}
	defer kept.Release()
	return s.yield(kept, yield)
}

// baseFilter decides about rows of the base file.
type baseFilter struct {
	*sliceScan

	logs   *mergedLogs
	orders []arrow.Array
	values []logfile.Value
	sel    []int32 // rows that stay

	fillSel []int32 // rows that log records are filled with
	hashes  []basefile.KeyHash
	newer   []bool
}

func newBaseFilter(s *sliceScan, logs *mergedLogs, batch arrow.RecordBatch) *baseFilter {
	f := &baseFilter{sliceScan: s, logs: logs, sel: make([]int32, 0, batch.NumRows())}
	if logs.order != nil {
		f.orders, f.values = logs.order.columns(batch), make([]logfile.Value, len(logs.order.fields))
	}
	return f
}

func (f *baseFilter) row(h basefile.KeyHash, row int) {
	if f.only != nil {
		if _, wanted := f.only[h]; !wanted {
			return
		}
	}
	if m, found := f.skip[h]; found {
		f.skip[h] = m | markFound
		return
	}
	w, found := f.logs.winners[h]
	if !found {
		f.sel = append(f.sel, int32(row))
		return
	}
	newer := f.newerThan(w, row)
	switch {
	case f.logs.fills.has(h):
		f.stats.updated++
		f.fillSel, f.hashes, f.newer = append(f.fillSel, int32(row)), append(f.hashes, h), append(f.newer, newer)
	case newer:
		delete(f.logs.winners, h)
		f.sel = append(f.sel, int32(row))
	case w.deleted():
		f.stats.deleted++
	default:
		f.stats.updated++
	}
}

// newerThan tells whether a row of the base file comes after the log's record.
func (f *baseFilter) newerThan(w winner, row int) bool {
	if f.orders == nil || w.natural() {
		return false
	}
	return f.logs.order.compare(f.logs.order.rowKey(f.orders, row, f.values), w.order) > 0
}

// filled hands the rows on that log records are filled with.
func (f *baseFilter) filled(ctx context.Context, batch arrow.RecordBatch) error {
	if len(f.fillSel) == 0 {
		return nil
	}
	rows, err := column.Take(batch, f.fillSel)
	if err != nil {
		return err
	}
	defer rows.Release()
	return f.fill.addBase(ctx, rows, f.hashes, f.newer)
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
