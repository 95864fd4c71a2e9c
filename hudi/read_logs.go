package hudi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/offset"
	"lakefeed/hudi/logfile"
)

const (
	keyColumn       = "_hoodie_record_key"
	deletedColumn   = "_hoodie_is_deleted"
	operationColumn = "_hoodie_operation"
)

// mergedLogs are the blocks of a slice's logs that count, and of each key the last
// record. A key takes at most some 75 bytes here, and what its ordering value takes
// where 64 bits do not hold it.
type mergedLogs struct {
	files   []io.Closer
	blocks  []*logfile.Block
	in      map[*logfile.Block]*reading // the file of each
	winners map[basefile.KeyHash]winner
	order   *ordering // nil: the order of the log decides
	fills   fillChains
	schemas map[string]*blockSchema // by the Avro schema in the header
}

// winner is where the record of a key stands that counts.
type winner struct {
	block, record int32 // block below 0: the key is deleted
	order         int64 // what the record has in the ordering fields, as ordering keeps it
}

// In place of a block: a delete, which other records may come after by their ordering
// values, and one that goes without order.
const (
	deleted        = -1
	deletedNatural = -2
)

func (w winner) deleted() bool { return w.block < 0 }
func (w winner) natural() bool { return w.block == deletedNatural }

func (l *mergedLogs) close() {
	for _, f := range l.files {
		closeFile(f)
	}
}

// replace tells whether a key's record takes the place of the base file's row, whatever
// stands in that.
func (l *mergedLogs) replace() bool {
	return len(l.winners) == 0 || l.order == nil && len(l.fills.chains) == 0
}

// openLogs makes the first pass.
func (s *sliceScan) openLogs(ctx context.Context) (*mergedLogs, error) {
	logs := &mergedLogs{winners: map[basefile.KeyHash]winner{}, schemas: map[string]*blockSchema{}}
	err := s.findBlocks(ctx, logs)
	if err == nil && len(logs.blocks) > 0 {
		logs.order, err = newOrdering(s.table.merge.order, s.full)
	}
	if err == nil {
		err = s.scanBlocks(ctx, logs)
	}
	if err != nil {
		logs.close()
		return nil, err
	}
	return logs, nil
}

func (s *sliceScan) findBlocks(ctx context.Context, logs *mergedLogs) error {
	for _, f := range s.slice.Logs {
		if err := s.openLog(ctx, logs, f); err != nil {
			return fmt.Errorf("read %s: %w", f.Name, err)
		}
	}
	logs.blocks = withoutCompacted(logs.blocks)
	return nil
}

func (s *sliceScan) scanBlocks(ctx context.Context, logs *mergedLogs) error {
	for i, b := range logs.blocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.scanBlock(ctx, logs, int32(i), b); err != nil {
			return logs.blame(b, err)
		}
	}
	return nil
}

// blame says of which block an error is.
func (l *mergedLogs) blame(b *logfile.Block, err error) error {
	if err == nil || errors.Is(err, errEnough) {
		return err
	}
	return l.in[b].blame(offset.At(b.Offset, fmt.Errorf("%s block of %s: %w", b.Type, b.Instant(), err)))
}

// openLog collects the blocks of a log file that count.
func (s *sliceScan) openLog(ctx context.Context, logs *mergedLogs, f *DataFile) error {
	file, err := s.open(ctx, f)
	if err != nil {
		return err
	}
	logs.files = append(logs.files, file)
	if logs.in == nil {
		logs.in = map[*logfile.Block]*reading{}
	}
	s.stats.logFiles++
	s.stats.logBytes += file.Size()
	r := logfile.NewReader(file, file.Size())
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return file.blame(err)
		}
		if commit, hit := s.wrote[f.Name].at(b.Offset, b.Offset+b.Len); hit && b.Type == logfile.Corrupt {
			return &CorruptError{f.Path(), offset.At(b.Offset, fmt.Errorf("a block of commit %s is broken", commit))}
		}
		s.stats.logBlocks++
		logs.in[b] = file
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

// withoutCompacted leaves out the blocks of instants that a log compaction merged, and
// puts the blocks that it made of them in the place of the last one.
func withoutCompacted(blocks []*logfile.Block) []*logfile.Block {
	byInstant, instants := map[string][]*logfile.Block{}, []string(nil)
	compacting := false
	for _, b := range blocks {
		i := b.Instant()
		if byInstant[i] == nil {
			instants = append(instants, i)
		}
		byInstant[i] = append(byInstant[i], b)
		compacting = compacting || b.Header[logfile.CompactedBlockTimes] != ""
	}
	if !compacting {
		return blocks
	}
	into, placed := map[string]string{}, map[string]bool{} // instant -> the log compaction that has its rows
	var order []string
	for _, i := range slices.Backward(instants) {
		final := i
		if f, ok := into[i]; ok {
			final = f
		}
		if times := byInstant[i][0].Header[logfile.CompactedBlockTimes]; times != "" {
			for original := range strings.SplitSeq(times, ",") {
				into[strings.TrimSpace(original)] = final
			}
			if final == i && !slices.ContainsFunc(instants, func(o string) bool { return o != i && into[o] == i }) {
				order = append(order, i) // what it merged is gone, it has taken the place
			}
			continue
		}
		if !placed[final] {
			placed[final] = true
			order = append(order, final)
		}
	}
	var out []*logfile.Block
	for _, i := range slices.Backward(order) {
		out = append(out, byInstant[i]...)
	}
	return out
}

// scanBlock notes the keys of a block.
func (s *sliceScan) scanBlock(ctx context.Context, logs *mergedLogs, i int32, b *logfile.Block) error {
	switch b.Type {
	case logfile.Delete:
		content, err := b.Content(nil)
		if err != nil {
			return err
		}
		return s.scanDeletes(logs, content)
	case logfile.AvroData:
		if !s.table.keys.virtual {
			return s.scanRecords(logs, i, b)
		}
		return s.scanRows(ctx, logs, i, b)
	case logfile.ParquetData:
		return s.scanRows(ctx, logs, i, b)
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
		w, key := winner{block: deletedNatural}, orderKey{}
		if logs.order != nil {
			if k, ok := logs.order.deleteKey(d.Ordering); ok {
				w.block, key = deleted, k
			}
		}
		s.note(logs, basefile.HashKey(s.table.keys.ofDelete(d.Key)), w, key, true)
	}
	return nil
}

// scanRecords notes the records of an Avro block, of which it looks at no more than
// merging needs.
func (s *sliceScan) scanRecords(logs *mergedLogs, i int32, b *logfile.Block) error {
	bs, err := logs.schema(s, b)
	if err != nil {
		return err
	}
	content, err := b.Content(nil)
	if err != nil {
		return err
	}
	scan, err := bs.scan(s)
	if err != nil {
		return err
	}
	n, whole := int32(0), bs.whole(s.table.merge)
	for record, err := range logfile.Records(content) {
		if err != nil {
			return err
		}
		if err := scan.scanner.Scan(record, scan.values); err != nil {
			return err
		}
		w, key := winner{block: i, record: n}, orderKey{}
		if logs.order != nil {
			key = scan.orderKey(logs.order)
		}
		if scan.deletes(&s.table.merge) {
			w.block = deletedAs(logs.order, key)
		}
		s.note(logs, basefile.HashKeyBytes(scan.values[scanKey].Bytes), w, key, whole || scan.whole(s.table.merge.marker))
		n++
	}
	return nil
}

// deletedAs is what stands for a block where the record itself is a delete.
func deletedAs(order *ordering, key orderKey) int32 {
	if order == nil || key.zero {
		return deletedNatural
	}
	return deleted
}

// note lets a record of the log stand for its key, if it is the newer one. Whole says
// that it takes nothing over from an older one.
func (s *sliceScan) note(logs *mergedLogs, h basefile.KeyHash, w winner, key orderKey, whole bool) {
	s.stats.logRecords++
	if s.only != nil {
		if _, wanted := s.only[h]; !wanted {
			return
		}
	}
	old, found := logs.winners[h]
	if logs.order != nil {
		if found && !w.natural() && !old.natural() && logs.order.compare(key, old.order) < 0 {
			logs.fills.behind(h, old, w, whole)
			return
		}
		if !w.natural() {
			w.order = logs.order.keep(key)
		}
	}
	logs.winners[h] = w
	logs.fills.ahead(h, old, found, w, whole)
	if found && logs.order != nil && !old.natural() && logs.order.forget(old.order) {
		logs.tidy()
	}
}

// tidy keeps the winners' ordering values anew, without those that were.
func (l *mergedLogs) tidy() {
	old := *l.order
	l.order.arena, l.order.waste = nil, 0
	for h, w := range l.winners {
		if !w.natural() {
			w.order = l.order.keep(orderKey{bytes: old.kept(w.order)})
			l.winners[h] = w
		}
	}
}

// emit yields the log records that count, block by block, but for those that are
// filled.
func (l *mergedLogs) emit(ctx context.Context, s *sliceScan, yield func(arrow.RecordBatch) error) error {
	records := make([][]int32, len(l.blocks))
	for h, w := range l.winners {
		if m, found := s.skip[h]; found {
			if !w.deleted() {
				s.skip[h] = m | markFound
			}
		} else if !w.deleted() && !l.fills.has(h) {
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
		to := consumer[arrow.RecordBatch]{take: func(batch arrow.RecordBatch) error { return s.yield(batch, yield) }}
		err := l.rows(ctx, s, b, s.schema, wanted, to.yield)
		if to.err != nil {
			return to.err
		}
		if err != nil {
			return l.blame(b, err)
		}
	}
	return nil
}
