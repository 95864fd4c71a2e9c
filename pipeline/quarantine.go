package pipeline

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// QuarantineFolder holds, for each table that has such rows, a Hudi table of the rows that
// the table cannot hold, in a folder of the table's own name.
const QuarantineFolder = "_lakefeed/quarantine"

// quarantineKey is the key of extra metadata that says, in each of its commits, up to where
// the quarantine is that of the source.
const quarantineKey = "lakefeed.quarantine"

// mostQuarantined is how many rows of a table stand in quarantine at most.
const mostQuarantined = 1_000_000

// Columns of a quarantine.
const (
	qKey    = "row_key" // record key, as the table would have it
	qSource = "source_key"
	qOp     = "op"
	qColumn = "column"
	qType   = "column_type"
	qReason = "reason"
	qRow    = "row"
	qUnsent = "unsent"
	qIndex  = "_event_index"
	qAt     = "quarantined_at"
)

var quarantineSchema = arrow.NewSchema([]arrow.Field{
	{Name: qKey, Type: arrow.BinaryTypes.String},
	{Name: qSource, Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: qOp, Type: arrow.BinaryTypes.String},
	{Name: qColumn, Type: arrow.BinaryTypes.String},
	{Name: qType, Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: qReason, Type: arrow.BinaryTypes.String},
	{Name: qRow, Type: arrow.BinaryTypes.String},
	{Name: qUnsent, Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: colLSN, Type: arrow.PrimitiveTypes.Int64},
	{Name: qIndex, Type: arrow.PrimitiveTypes.Int64},
	{Name: colTx, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: colOrigin, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: qAt, Type: arrow.FixedWidthTypes.Timestamp_us},
}, nil)

// quarantine is the rows that one table cannot hold, at the position of the table's
// newest commit: a key is in the table, or here, or in neither. Its commit comes before
// that of the table; one that the table's did not follow is rolled back before the next.
type quarantine struct {
	name    string // of the table
	store   storage.Store
	options hudi.Options
	table   *hudi.Table          // nil until a row comes
	keys    map[uint64]struct{}  // hashes of the record keys in it
	at      change.LSN           // of its newest commit
	stale   bool                 // that says another place, of a log that the source has left
	copying *quarantineWriter    // of a first copy that runs
	report  func(rows int)       // told of how many there are
	warn    func(string, ...any) // of rows that come in
}

func (p *Pipeline) newQuarantine(t *target) *quarantine {
	services := p.opts.services()
	options := hudi.Options{Logger: p.log.With("table", t.name, "quarantine", true), Hook: p.opts.OnPhase, Services: &services, Concurrency: alone}
	options.Buckets = 1 // until a commit says it
	return &quarantine{
		name: t.name, store: storage.Sub(p.opts.Lake, QuarantineOf(t.path, t.shard)), options: options, keys: map[uint64]struct{}{},
		report: func(n int) { t.report(func(s *TableStatus) { s.Quarantined = int64(n) }) },
		warn:   func(msg string, args ...any) { p.log.Warn(msg, append(args, "table", t.name)...) },
	}
}

// QuarantineOf is the folder in the lake of a table's quarantine, or of that of a shard in it.
func QuarantineOf(path, shard string) string {
	if shard == "" {
		return QuarantineFolder + "/" + path
	}
	return QuarantineFolder + "/" + path + "." + shard
}

func hashKey(key string) uint64 { return maphash.String(seed, key) }

func (q *quarantine) has(key string) bool {
	_, ok := q.keys[hashKey(key)]
	return ok
}

// open reads what is in quarantine at the position of the table's newest commit; 0: its
// first copy is to come, which begins anew.
func (q *quarantine) open(ctx context.Context, at change.LSN) error {
	table, err := hudi.Open(ctx, q.store, q.options)
	if errors.Is(err, hudi.ErrNoTable) {
		return nil
	}
	if err == nil {
		err = table.Recover(ctx)
	}
	if err != nil {
		return fmt.Errorf("open its quarantine %s: %w", q.store, err)
	}
	q.table = table
	if at == 0 {
		return nil
	}
	if q.at, err = quarantinePosition(ctx, table); err != nil {
		return err
	}
	q.stale = false
	if err := q.align(ctx, at); err != nil {
		return err
	}
	return q.load(ctx)
}

func quarantinePosition(ctx context.Context, t *hudi.Table) (change.LSN, error) {
	v, _, err := t.LastExtra(ctx, quarantineKey)
	if err != nil || v == "" {
		return 0, err
	}
	return change.ParseLSN(v)
}

// load reads its keys.
func (q *quarantine) load(ctx context.Context) error {
	q.keys = map[uint64]struct{}{}
	err := eachQuarantined(ctx, q.table, []string{qKey}, func(rec arrow.RecordBatch) error {
		keys := rec.Column(0).(*array.String)
		for row := range keys.Len() {
			q.keys[hashKey(keys.Value(row))] = struct{}{}
		}
		return nil
	})
	q.report(len(q.keys))
	return err
}

// eachQuarantined hands over the rows of a quarantine.
func eachQuarantined(ctx context.Context, t *hudi.Table, columns []string, fn func(arrow.RecordBatch) error) error {
	if len(t.Timeline().Completed()) == 0 {
		return nil
	}
	for rec, err := range t.Read(ctx, hudi.ReadOptions{Columns: columns}) {
		if err == nil {
			err = fn(rec)
		}
		if err != nil {
			return fmt.Errorf("read the quarantine %s: %w", t.Name(), err)
		}
	}
	return nil
}

// shorten lets it be that of the source up to a place where another log begins. What says so is
// committed before the next change.
func (q *quarantine) shorten(end change.LSN) {
	if q.at > end {
		q.at, q.stale = end, true
	}
}

// settleLog commits what shorten has found out: else a later start would take the quarantine for one that is ahead
// of the table, whose next commit may be before the place that it says.
func (q *quarantine) settleLog(ctx context.Context) error {
	txn, err := q.table.Begin(ctx, hudi.TxnOptions{Operation: hudi.Upsert})
	if err == nil {
		if _, err = txn.Commit(ctx, map[string]string{quarantineKey: q.at.String()}); err != nil {
			_, err = published(ctx, txn, err)
		}
	}
	if err != nil {
		return fmt.Errorf("note in its quarantine %s where the source's log was left: %w", q.store, err)
	}
	q.stale = false
	return nil
}

// align rolls back what is ahead of the table's newest commit: the table's own failed.
func (q *quarantine) align(ctx context.Context, at change.LSN) (err error) {
	if q.stale {
		if err := q.settleLog(ctx); err != nil {
			return err
		}
	}
	if q.at <= at {
		return nil
	}
	for q.at > at {
		if _, err = q.table.Rollback(ctx, ""); err != nil {
			return fmt.Errorf("take back the newest commit of its quarantine %s, which the table's did not follow: %w", q.store, err)
		}
		if q.at, err = quarantinePosition(ctx, q.table); err != nil {
			return err
		}
	}
	return q.load(ctx)
}

// quarantineWriter is one commit of a quarantine. It begins with the first change.
type quarantineWriter struct {
	q              *quarantine
	anew           bool // what was there is gone
	txn            *hudi.Txn
	group          *hudi.GroupWriter
	added, cleared []uint64

	rows  *array.RecordBuilder
	keys  *array.StringBuilder
	bytes int64
	first *change.Reject
}

// writer begins a commit; with anew, of a table that was emptied or is copied.
func (q *quarantine) writer(anew bool) *quarantineWriter {
	return &quarantineWriter{q: q, anew: anew}
}

func (w *quarantineWriter) begin(ctx context.Context) (err error) {
	if w.txn != nil {
		return nil
	}
	q := w.q
	if q.table == nil {
		q.table, err = hudi.Create(ctx, q.store, hudi.CreateOptions{
			Name: "quarantine_" + columnName(q.name), Type: hudi.CopyOnWrite, Schema: quarantineSchema, RecordKey: []string{qKey}, OrderingField: colLSN, Options: q.options,
		})
		if err != nil {
			return fmt.Errorf("make the quarantine %s: %w", q.store, err)
		}
	}
	op := hudi.Upsert
	if w.anew && len(q.table.Timeline().Completed()) > 0 {
		op = hudi.InsertOverwriteTable
	}
	if w.txn, err = q.table.Begin(ctx, hudi.TxnOptions{Operation: op}); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	w.group, err = w.txn.Group(ctx, "", 0)
	return err
}

// take brings what a reduction says of the quarantine into it, and deletes the rows that
// go there from the table.
func (w *quarantineWriter) take(ctx context.Context, r *reduction, keyless bool) error {
	if len(w.q.keys) > 0 && !w.anew {
		r.setAside(w.q.has)
		var gone []string
		for _, at := range r.upserts {
			if key := r.key(at); w.q.has(key) {
				gone = append(gone, key)
			}
		}
		for _, key := range r.deletes {
			if w.q.has(key) {
				gone = append(gone, key)
			}
		}
		if err := w.clear(ctx, gone); err != nil {
			return err
		}
	}
	for _, at := range r.aside {
		s, key := r.slabs[at.slab], r.key(at)
		if err := w.add(ctx, key, r.rejects[at], s, int(at.row)); err != nil {
			return err
		}
		if !keyless {
			r.deletes = append(r.deletes, key)
		}
	}
	r.forgetLost()
	return nil
}

// takeCopied takes those of a batch of copied rows that the table cannot hold.
func (w *quarantineWriter) takeCopied(ctx context.Context, s *slab) error {
	for row, why := range s.Rejects {
		if err := w.add(ctx, s.keys.Value(row), why, s, row); err != nil {
			return fmt.Errorf("put a row in quarantine: %w", err)
		}
	}
	return nil
}

// clear takes rows out.
func (w *quarantineWriter) clear(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	if err := w.begin(ctx); err != nil {
		return err
	}
	for _, key := range keys {
		w.cleared = append(w.cleared, hashKey(key))
	}
	return w.group.Delete(ctx, keys)
}

// add puts a row in.
func (w *quarantineWriter) add(ctx context.Context, key string, why *change.Reject, s *slab, row int) error {
	if w.first == nil {
		w.first = why
	}
	if w.added = append(w.added, hashKey(key)); len(w.added) > mostQuarantined || !w.anew && len(w.added)+len(w.q.keys) > mostQuarantined {
		return &QuarantineError{Table: w.q.name, Column: why.Column, Reason: why.Reason}
	}
	if w.rows == nil {
		w.rows, w.keys = array.NewRecordBuilder(memory.DefaultAllocator, quarantineSchema), array.NewStringBuilder(memory.DefaultAllocator)
	}
	w.keys.Append(key)
	text := func(i int, v string) { w.rows.Field(i).(*array.StringBuilder).Append(v) }
	number := func(i int, v int64, known bool) {
		if b := w.rows.Field(i).(*array.Int64Builder); known {
			b.Append(v)
		} else {
			b.AppendNull()
		}
	}
	text(0, key)
	text(1, jsonList(why.Key))
	text(2, string(s.Ops[row]))
	text(3, why.Column)
	text(4, why.Type)
	text(5, why.Reason)
	text(6, string(why.Row))
	if len(why.Unsent) > 0 {
		text(7, jsonList(why.Unsent))
	} else {
		w.rows.Field(7).AppendNull()
	}
	number(8, int64(s.At[row].Commit), true)
	number(9, int64(s.At[row].Index), true)
	number(10, int64(s.Xids[row]), s.Xids[row] != 0)
	number(11, s.Times[row]/1000, s.Times[row] != 0)
	w.rows.Field(12).(*array.TimestampBuilder).Append(arrow.Timestamp(time.Now().UnixMicro()))
	if w.bytes += why.Bytes(); w.bytes > 4<<20 {
		return w.flush(ctx)
	}
	return nil
}

// flush writes the rows that are held.
func (w *quarantineWriter) flush(ctx context.Context) error {
	if w.rows == nil || w.keys.Len() == 0 {
		return nil
	}
	if err := w.begin(ctx); err != nil {
		return err
	}
	w.bytes = 0
	rec := w.rows.NewRecordBatch()
	defer rec.Release()
	return w.group.Upsert(ctx, rec, w.keys.NewStringArray())
}

// commit makes it the state of the quarantine at a position; nothing where nothing has changed.
func (w *quarantineWriter) commit(ctx context.Context, at change.LSN) error {
	q := w.q
	if err := w.flush(ctx); err != nil {
		return err
	}
	if w.anew && w.txn == nil && q.table != nil && (len(q.keys) > 0 || q.at == 0 && len(q.table.Timeline().Completed()) > 0) {
		if err := w.begin(ctx); err != nil {
			return err
		}
	}
	if w.txn == nil {
		return nil
	}
	err := w.group.Close(ctx)
	if err == nil {
		_, err = w.txn.Commit(ctx, map[string]string{quarantineKey: at.String()})
	}
	if err != nil {
		if _, err = published(ctx, w.txn, err); err != nil {
			return err
		}
	}
	w.txn = nil
	w.settle(at)
	return nil
}

// settle notes what was committed.
func (w *quarantineWriter) settle(at change.LSN) {
	q := w.q
	if q.at, q.stale = at, false; w.anew {
		q.keys = map[uint64]struct{}{}
	}
	for _, h := range w.cleared {
		delete(q.keys, h)
	}
	for _, h := range w.added {
		q.keys[h] = struct{}{}
	}
	q.report(len(q.keys))
	if len(w.added) > 0 {
		q.warn("rows that the table cannot hold are in quarantine", "rows", len(w.added), "column", w.first.Column, "reason", w.first.Reason)
	}
}

// abort takes back what was not committed, and adds to err what came of that.
func (w *quarantineWriter) abort(ctx context.Context, err *error) {
	if w.txn == nil {
		return
	}
	if cause := w.txn.Abort(context.WithoutCancel(ctx)); cause != nil {
		*err = errors.Join(*err, fmt.Errorf("take back what goes into quarantine: %w", cause))
	}
	w.txn = nil
}

// QuarantineError is a table of which too many rows do not fit.
type QuarantineError struct{ Table, Column, Reason string }

// Error says what to do.
func (e *QuarantineError) Error() string {
	return fmt.Sprintf("more than %s rows of %s would stand in quarantine, the last for column %s (%s): its columns are not made for what it holds; let such columns land as text (types: {columns: {%s: {out_of_range: text}}})",
		strconv.Itoa(mostQuarantined), e.Table, e.Column, e.Reason, e.Column)
}
