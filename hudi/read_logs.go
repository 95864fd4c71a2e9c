package hudi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/logfile"
)

const (
	keyColumn       = "_hoodie_record_key"
	deletedColumn   = "_hoodie_is_deleted"
	operationColumn = "_hoodie_operation"
)

// mergedLogs are the blocks of a slice's logs that count, and of each key the last
// record.
type mergedLogs struct {
	files   []io.Closer
	blocks  []*logfile.Block
	winners map[keyHash]winner
	ordered bool                 // the ordering field decides, not the order of the log
	orders  map[keyHash]ordering // then of each winner

	// By the schemas of the blocks, which are few.
	scanners map[string]*logfile.Scanner
	decoders map[string]*logfile.Decoder
}

// winner is where the record of a key stands that counts.
type winner struct {
	block, record int32 // block -1: the key is deleted
}

// ordering is what a record has in the ordering field.
type ordering struct {
	value   int64
	natural bool // a delete that wins whatever the order
}

func (l *mergedLogs) close() {
	for _, f := range l.files {
		closeFile(f)
	}
}

// openLogs makes the first pass.
func (s *sliceScan) openLogs(ctx context.Context) (*mergedLogs, error) {
	logs := &mergedLogs{
		winners: map[keyHash]winner{}, ordered: s.table.eventTime, orders: map[keyHash]ordering{},
		scanners: map[string]*logfile.Scanner{}, decoders: map[string]*logfile.Decoder{},
	}
	for _, f := range s.slice.Logs {
		if err := s.openLog(ctx, logs, f); err != nil {
			logs.close()
			return nil, fmt.Errorf("read %s: %w", f.Name, err)
		}
	}
	if logs.ordered && len(logs.blocks) > 0 {
		f, _ := s.full.FieldsByName(s.table.order)
		if len(f) == 0 || !orders(f[0].Type) {
			logs.close()
			return nil, &UnsupportedError{"ordering field", s.table.order, "only whole numbers, dates and timestamps are compared here; compact the table by Spark"}
		}
	}
	for i, b := range logs.blocks {
		if err := s.scanBlock(logs, int32(i), b); err != nil {
			logs.close()
			return nil, fmt.Errorf("read %s block of %s in the logs of %s: %w", b.Type, b.Instant(), s.slice.FileID, err)
		}
	}
	return logs, nil
}

// openLog collects the blocks of a log file that count.
func (s *sliceScan) openLog(ctx context.Context, logs *mergedLogs, f *DataFile) error {
	file, err := s.open(ctx, f)
	if err != nil {
		return err
	}
	logs.files = append(logs.files, file)
	s.stats.logFiles++
	s.stats.logBytes += file.Size()
	r := logfile.NewReader(file, file.Size())
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if commit, hit := s.wrote[f.Name].at(b.Offset, b.Offset+b.Len); hit && b.Type == logfile.Corrupt {
			return &CorruptError{f.Name, fmt.Errorf("a block of commit %s is broken at offset %d", commit, b.Offset)}
		}
		s.stats.logBlocks++
		s.addBlock(logs, b)
	}
}

func (s *sliceScan) addBlock(logs *mergedLogs, b *logfile.Block) {
	if target, ok := b.RollbackTarget(); ok {
		s.stats.rollbackBlocks++
		kept := logs.blocks[:0]
		for _, o := range logs.blocks {
			if o.Instant() != target {
				kept = append(kept, o)
			}
		}
		logs.blocks = kept
		return
	}
	switch b.Type {
	case logfile.Corrupt:
		s.stats.corruptBlocks++
	case logfile.Command, logfile.CDCData:
	default:
		if counts(s.timeline, b.Instant()) && (s.asOf == "" || b.Instant() <= s.asOf) {
			logs.blocks = append(logs.blocks, b)
		}
	}
}

// scanBlock notes the keys of a block.
func (s *sliceScan) scanBlock(logs *mergedLogs, i int32, b *logfile.Block) error {
	switch b.Type {
	case logfile.Delete:
		content, err := b.Content(nil)
		if err != nil {
			return err
		}
		return s.scanDeletes(logs, content)
	case logfile.AvroData:
		content, err := b.Content(nil)
		if err != nil {
			return err
		}
		return s.scanRecords(logs, i, b.Header[logfile.Schema], content)
	case logfile.ParquetData:
		return s.scanParquet(logs, i, b)
	default:
	}
	return &UnsupportedError{"log block", b.Type.String(), "compact the table by Spark"}
}

func (s *sliceScan) scanDeletes(logs *mergedLogs, content []byte) error {
	records, err := logfile.DecodeDeletes(content)
	if err != nil {
		return err
	}
	for _, d := range records {
		s.note(logs, d.Key, winner{block: -1}, ordering{d.Ordering.Int, d.Ordering.Natural()})
	}
	return nil
}

func (s *sliceScan) scanRecords(logs *mergedLogs, i int32, schema string, content []byte) error {
	columns := []string{keyColumn, deletedColumn, operationColumn}
	if logs.ordered {
		columns = append(columns, s.table.order)
	}
	scanner := logs.scanners[schema]
	if scanner == nil {
		var err error
		if scanner, err = logfile.NewScanner(schema, columns...); err != nil {
			return err
		}
		logs.scanners[schema] = scanner
	}
	values := make([]logfile.Value, len(columns))
	n := int32(0)
	for record, err := range logfile.Records(content) {
		if err != nil {
			return err
		}
		if err := scanner.Scan(record, values); err != nil {
			return err
		}
		w, o := winner{i, n}, ordering{}
		if values[1].Valid && values[1].Int != 0 || values[2].Valid && string(values[2].Bytes) == "D" {
			w.block = -1
		}
		if logs.ordered {
			o.value = values[3].Int
		}
		s.note(logs, string(values[0].Bytes), w, o)
		n++
	}
	return nil
}

func (s *sliceScan) scanParquet(logs *mergedLogs, i int32, b *logfile.Block) error {
	full := s.full
	fields, _ := full.FieldsByName(keyColumn)
	for _, name := range []string{deletedColumn, s.table.order} {
		if f, ok := full.FieldsByName(name); ok && (name == deletedColumn || logs.ordered) {
			fields = append(slices.Clip(fields), f...)
		}
	}
	n := int32(0)
	return eachParquet(b, arrow.NewSchema(fields, nil), func(batch arrow.RecordBatch) error {
		keys, err := keysOf(batch)
		if err != nil {
			return err
		}
		deleted := batch.Schema().FieldIndices(deletedColumn)
		order := orderColumn(logs, batch, s.table.order)
		for row := range int(batch.NumRows()) {
			w, o := winner{i, n}, ordering{}
			o.value, _ = orderValue(order, row)
			if len(deleted) > 0 {
				if col, ok := batch.Column(deleted[0]).(*array.Boolean); ok && col.IsValid(row) && col.Value(row) {
					w.block = -1
				}
			}
			s.note(logs, keys.Value(row), w, o)
			n++
		}
		return nil
	})
}

// note lets a record of the log stand for its key, if it is the newer one.
func (s *sliceScan) note(logs *mergedLogs, key string, w winner, o ordering) {
	s.stats.logRecords++
	h := hashKey(key)
	if s.only != nil {
		if _, wanted := s.only[h]; !wanted {
			return
		}
	}
	if logs.ordered {
		if old, found := logs.orders[h]; found && !o.natural && !old.natural && o.value < old.value {
			return
		}
		logs.orders[h] = o
	}
	logs.winners[h] = w
}

// emit yields the log records that count, block by block.
func (l *mergedLogs) emit(ctx context.Context, s *sliceScan, yield func(arrow.RecordBatch) error) error {
	records := make([][]int32, len(l.blocks))
	for h, w := range l.winners {
		if m, found := s.skip[h]; found {
			if w.block >= 0 {
				s.skip[h] = m | markFound
			}
		} else if w.block >= 0 {
			records[w.block] = append(records[w.block], w.record)
		}
	}
	for i, b := range l.blocks {
		if len(records[i]) == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		wanted := records[i]
		records[i] = nil
		slices.Sort(wanted)
		emit := l.emitAvro
		if b.Type == logfile.ParquetData {
			emit = l.emitParquet
		}
		if err := emit(ctx, s, b, wanted, yield); err != nil {
			return fmt.Errorf("read %s block of %s in the logs of %s: %w", b.Type, b.Instant(), s.slice.FileID, err)
		}
	}
	return nil
}

func (l *mergedLogs) decoder(avro string, schema *arrow.Schema) (*logfile.Decoder, error) {
	if d := l.decoders[avro]; d != nil {
		return d, nil
	}
	d, err := logfile.NewDecoder(avro, schema)
	if err == nil {
		l.decoders[avro] = d
	}
	return d, err
}

func (l *mergedLogs) emitAvro(_ context.Context, s *sliceScan, b *logfile.Block, wanted []int32, yield func(arrow.RecordBatch) error) error {
	content, err := b.Content(nil)
	if err != nil {
		return err
	}
	dec, err := l.decoder(b.Header[logfile.Schema], s.schema)
	if err != nil {
		return err
	}
	rows := array.NewRecordBuilder(allocator, s.schema)
	defer rows.Release()
	flush := func() error {
		batch := rows.NewRecordBatch()
		defer batch.Release()
		return s.yield(batch, yield)
	}
	n, held := int32(0), 0
	for record, err := range logfile.Records(content) {
		if err != nil {
			return err
		}
		if len(wanted) > 0 && wanted[0] == n {
			wanted = wanted[1:]
			if err := dec.Append(rows, record); err != nil {
				return err
			}
			held++
		}
		if n++; held == s.batchRows {
			if err := flush(); err != nil {
				return err
			}
			held = 0
		}
	}
	if held == 0 {
		return nil
	}
	return flush()
}

func (l *mergedLogs) emitParquet(ctx context.Context, s *sliceScan, b *logfile.Block, wanted []int32, yield func(arrow.RecordBatch) error) error {
	n := int32(0)
	return eachParquet(b, s.schema, func(batch arrow.RecordBatch) error {
		var sel []int32
		end := n + int32(batch.NumRows())
		for ; len(wanted) > 0 && wanted[0] < end; wanted = wanted[1:] {
			sel = append(sel, wanted[0]-n)
		}
		n = end
		if len(sel) == 0 {
			return nil
		}
		kept, err := take(ctx, batch, sel)
		if err != nil {
			return err
		}
		defer kept.Release()
		return s.yield(kept, yield)
	})
}

// eachParquet reads a log block that is a Parquet file.
func eachParquet(b *logfile.Block, schema *arrow.Schema, fn func(arrow.RecordBatch) error) error {
	section := b.Section()
	r, err := openBaseReader(section, section.Size(), schema)
	if err != nil {
		return err
	}
	defer func() { _ = r.close() }()
	for {
		batch, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = fn(batch)
		batch.Release()
		if err != nil {
			return err
		}
	}
}
