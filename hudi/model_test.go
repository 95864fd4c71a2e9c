package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"lakefeed/hudi/internal/column"
	"lakefeed/internal/seed"
	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// modelRow is what a row of the model's table holds beside its key.
type modelRow struct {
	name  string // "" is null
	price int64  // of scale 2
	at    int64
	data  string
	seq   int64
	note  int64 // of the column that comes later; 0 is null
}

var modelSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.BinaryTypes.String},
	{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "price", Type: &arrow.Decimal128Type{Precision: 12, Scale: 2}, Nullable: true},
	{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
	{Name: "data", Type: arrow.BinaryTypes.Binary, Nullable: true},
	{Name: "seq", Type: arrow.PrimitiveTypes.Int64},
}, nil)

var modelSchemaLater = arrow.NewSchema(append(modelSchema.Fields(),
	arrow.Field{Name: "note", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), nil)

// modelBatch makes a record of rows, with the later column or without.
func modelBatch(keys []string, rows map[string]modelRow, schema *arrow.Schema) arrow.RecordBatch {
	b := array.NewRecordBuilder(column.Allocator, schema)
	defer b.Release()
	for _, k := range keys {
		r := rows[k]
		b.Field(0).(*array.StringBuilder).Append(k)
		if r.name == "" {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(r.name)
		}
		b.Field(2).(*array.Decimal128Builder).Append(decimal128.FromI64(r.price))
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(r.at))
		b.Field(4).(*array.BinaryBuilder).Append([]byte(r.data))
		b.Field(5).(*array.Int64Builder).Append(r.seq)
		if schema.NumFields() == 6 {
			continue
		}
		if r.note == 0 {
			b.Field(6).AppendNull()
		} else {
			b.Field(6).(*array.Int64Builder).Append(r.note)
		}
	}
	return b.NewRecordBatch()
}

// readModel reads a table back into a map, and fails on a key that comes twice.
func readModel(ctx context.Context, table *Table, opts ReadOptions) (map[string]modelRow, error) {
	rows := map[string]modelRow{}
	for batch, err := range table.Read(ctx, opts) {
		if err != nil {
			return nil, err
		}
		ids := batch.Column(0).(*array.String)
		for i := range int(batch.NumRows()) {
			r := modelRow{
				price: int64(batch.Column(2).(*array.Decimal128).Value(i).LowBits()),
				at:    int64(batch.Column(3).(*array.Timestamp).Value(i)),
				data:  string(batch.Column(4).(*array.Binary).Value(i)),
				seq:   batch.Column(5).(*array.Int64).Value(i),
			}
			if c := batch.Column(1).(*array.String); c.IsValid(i) {
				r.name = c.Value(i)
			}
			if batch.NumCols() > 6 {
				if c := batch.Column(6).(*array.Int64); c.IsValid(i) {
					r.note = c.Value(i)
				}
			}
			key := ids.Value(i)
			if _, twice := rows[key]; twice {
				return nil, fmt.Errorf("key %s comes twice", key)
			}
			rows[key] = r
		}
	}
	return rows, nil
}

// model is a table and the map that it must equal.
type model struct {
	t     *testing.T
	rnd   *rand.Rand
	store storage.Store
	table *Table
	// follower only reads.
	follower *Table

	rows   map[string]modelRow
	seq    int64
	schema *arrow.Schema
	past   map[string]map[string]modelRow // instant -> rows
	then   map[string]*arrow.Schema       // instant -> schema
	log    []string

	dying bool // the store's process may die: see die
	after struct {
		rows   map[string]modelRow // what the step that is at work leads to
		schema *arrow.Schema
	}
}

func newModel(t *testing.T, typ TableType, seed uint64) *model {
	t.Helper()
	m := &model{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), store: newStore(t),
		rows: map[string]modelRow{}, schema: modelSchema, past: map[string]map[string]modelRow{},
		then: map[string]*arrow.Schema{},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, %s: %q", seed, typ, m.log)
		}
	})
	table, err := Create(t.Context(), m.store, CreateOptions{
		Name: "model", Type: typ, Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq",
		Options: Options{Buckets: 1 + m.rnd.IntN(3), BlockBytes: 512, RowGroupBytes: 4096, Now: fakeClock(m.rnd), Services: &ServicesOptions{}}, // its steps run them
	})
	if err != nil {
		t.Fatal(err)
	}
	m.table = table
	return m
}

// fakeClock is a clock that sometimes steps back.
func fakeClock(rnd *rand.Rand) func() time.Time {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return func() time.Time {
		now = now.Add(time.Duration(rnd.IntN(200)-20) * time.Millisecond)
		return now
	}
}

func (m *model) key() string { return "k" + strconv.Itoa(m.rnd.IntN(300)) }

func (m *model) row() modelRow {
	m.seq++
	r := modelRow{price: m.rnd.Int64N(1e6), at: m.rnd.Int64N(1e15), data: fmt.Sprint("data", m.rnd.Int64()), seq: m.seq}
	if m.rnd.IntN(4) > 0 {
		r.name = fmt.Sprint("näme", m.rnd.IntN(50))
	}
	if m.schema.NumFields() > 6 && m.rnd.IntN(2) > 0 {
		r.note = 1 + m.rnd.Int64N(99)
	}
	return r
}

// change makes a transaction's upserts and deletes, and the rows after it.
func (m *model) change() (up map[string]modelRow, del []string, after map[string]modelRow) {
	up, after = map[string]modelRow{}, maps.Clone(m.rows)
	for range m.rnd.IntN(60) {
		up[m.key()] = m.row()
	}
	for range m.rnd.IntN(20) {
		if k := m.key(); up[k].seq == 0 {
			if _, known := after[k]; known || m.rnd.IntN(2) == 0 {
				del = append(del, k)
				delete(after, k)
				up[k] = modelRow{} // a key comes once
			}
		}
	}
	for _, k := range del {
		delete(up, k)
	}
	maps.Copy(after, up)
	return up, del, after
}

func (m *model) write(ctx context.Context, x *Txn, up map[string]modelRow, del []string) error {
	n := m.table.Buckets()
	keys, gone := make([][]string, n), make([][]string, n)
	for k := range up {
		keys[m.table.Bucket(k)] = append(keys[m.table.Bucket(k)], k)
	}
	for _, k := range del {
		gone[m.table.Bucket(k)] = append(gone[m.table.Bucket(k)], k)
	}
	for b := range n {
		if len(keys[b])+len(gone[b]) == 0 {
			continue
		}
		g, err := x.Group(ctx, "", b)
		if err != nil {
			return err
		}
		half := len(gone[b]) / 2
		if err := g.Delete(ctx, gone[b][:half]); err != nil {
			return err
		}
		batch := modelBatch(keys[b], up, x.Schema())
		names, err := RecordKeys(batch, []string{"id"})
		if err != nil {
			return err
		}
		if err := g.Upsert(ctx, batch, names); err != nil {
			return err
		}
		if err := g.Delete(ctx, gone[b][half:]); err != nil {
			return err
		}
		if err := g.Close(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step does something at random.
func (m *model) step() {
	ctx := m.t.Context()
	note := func(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }
	switch p := m.rnd.IntN(100); {
	case p < 4:
		m.savepoint()
	case p < 8:
		m.takeBack()
	case p < 12:
		res, err := m.table.Archive(ctx, ArchiveOptions{KeepMin: 1 + m.rnd.IntN(6), KeepMax: 1})
		note("archive %d, held by %q", res.Instants, res.Held)
		m.check(err)
		if res.Instants > 0 {
			m.cleaned()
		}
	case p < 14:
		res, err := m.table.Cluster(ctx, ClusterOptions{SortBy: []string{"name", "price"}, SortBytes: 20_000})
		note("cluster %s", res.Instant)
		m.check(err)
		if res.Instant != "" {
			m.remember(res.Instant)
		}
	case p < 17:
		m.convert()
	case p < 60:
		m.transaction(Upsert, nil)
	case p < 66:
		m.transaction(InsertOverwriteTable, nil)
	case p < 69:
		m.transaction(Upsert, modelSchemaLater)
	case p < 79:
		instant, err := m.table.Compact(ctx, CompactOptions{})
		note("compact %s", instant)
		m.check(err)
		if instant != "" {
			m.remember(instant)
		}
	case p < 89:
		n := 1 + m.rnd.IntN(4)
		opts := []CleanOptions{{RetainCommits: n}, {RetainVersions: n}, {Retain: time.Duration(n) * 300 * time.Millisecond}}[m.rnd.IntN(3)]
		res, err := m.table.Clean(ctx, opts)
		note("clean %+v: %d files", opts, res.Files)
		m.check(err)
		if res.Instant != "" {
			m.cleaned()
		}
	case p < 95:
		note("reopen")
		opts := m.table.opts
		opts.Buckets = 0
		if len(m.table.Timeline().Completed()) == 0 {
			opts.Buckets = m.table.buckets
		}
		table, err := Open(ctx, m.store, opts)
		m.check(err)
		m.table = table
	default:
		note("rewrite")
		instant, err := m.table.Rewrite(ctx, nil, nil, func(b arrow.RecordBatch) (arrow.RecordBatch, error) { return b, nil })
		m.check(err)
		m.remember(instant)
	}
}

// remember what the table is as of an instant.
func (m *model) remember(instant string) { m.past[instant], m.then[instant] = m.rows, m.schema }

// someCommit is one of the commits that can still be read.
func (m *model) someCommit() string {
	all := slices.Sorted(maps.Keys(m.past))
	if len(all) == 0 {
		return ""
	}
	return all[m.rnd.IntN(len(all))]
}

// convert makes the table one of another type, or of another number of buckets.
func (m *model) convert() {
	before, _ := m.table.Timeline().Last()
	opts := ConvertOptions{Buckets: 1 + m.rnd.IntN(4), SortBytes: 20_000}
	if m.rnd.IntN(2) == 0 {
		opts.Type = []TableType{CopyOnWrite, MergeOnRead}[m.rnd.IntN(2)]
	}
	m.log = append(m.log, fmt.Sprintf("convert to %d %s", opts.Buckets, opts.Type))
	m.check(m.table.Convert(m.t.Context(), opts))
	if m.table.Buckets() != opts.Buckets || opts.Type != "" && m.table.Type() != opts.Type {
		m.t.Fatalf("the table is %s with %d buckets, want %+v", m.table.Type(), m.table.Buckets(), opts)
	}
	if last, _ := m.table.Timeline().Last(); last != before {
		m.remember(last.Time)
	}
}

// savepoint makes a savepoint, or releases those that there are.
func (m *model) savepoint() {
	ctx := m.t.Context()
	if all := m.table.Savepoints(); len(all) > 1 || len(all) > 0 && m.rnd.IntN(2) == 0 {
		m.log = append(m.log, fmt.Sprint("release ", all))
		for _, at := range all {
			m.check(m.table.ReleaseSavepoint(ctx, at))
		}
		m.cleaned()
		return
	}
	if at := m.someCommit(); at != "" {
		m.log = append(m.log, "savepoint "+at)
		_, err := m.table.Savepoint(ctx, SavepointOptions{Instant: at})
		m.check(err)
	}
}

// takeBack restores the table to a commit or rolls the newest one back.
func (m *model) takeBack() {
	ctx := m.t.Context()
	all := slices.Sorted(maps.Keys(m.past))
	commits := m.table.Timeline().Completed()
	if len(all) < 2 {
		return
	}
	for _, at := range m.table.Savepoints() {
		m.check(m.table.ReleaseSavepoint(ctx, at))
	}
	m.cleaned()
	to, last := m.someCommit(), commits[len(commits)-1].Time
	var res RestoreResult
	var err error
	m.after.rows, m.after.schema = m.past[to], m.then[to]
	if before := commits[len(commits)-2].Time; m.past[before] != nil && m.rnd.IntN(2) == 0 {
		to = before
		m.after.rows, m.after.schema = m.past[to], m.then[to]
		res, err = m.table.Rollback(ctx, last)
	} else {
		res, err = m.table.Restore(ctx, to)
	}
	m.log = append(m.log, fmt.Sprintf("take back to %s: %v", to, res.TakenBack))
	m.check(err)
	for _, gone := range res.TakenBack {
		delete(m.past, gone)
	}
	m.rows, m.schema = m.past[to], m.then[to]
}

// cleaned forgets the past that the last cleaning did not keep.
func (m *model) cleaned() {
	for instant := range m.past {
		_, err := readModel(m.t.Context(), m.table, ReadOptions{AsOf: instant})
		if errors.Is(err, ErrCleaned) {
			delete(m.past, instant)
			continue
		}
		m.check(err)
	}
	if last, _ := m.table.Timeline().Last(); m.past[last.Time] == nil {
		m.t.Fatalf("a cleaning took the last commit %s away", last.Time)
	}
}

func (m *model) transaction(op Operation, schema *arrow.Schema) {
	ctx := m.t.Context()
	before, schemaBefore := m.rows, m.schema
	if schema != nil {
		m.schema = schema
	}
	if op == InsertOverwriteTable {
		m.rows = map[string]modelRow{}
	}
	up, del, after := m.change()
	m.after.rows, m.after.schema = after, m.schema
	x, err := m.table.Begin(ctx, TxnOptions{Operation: op, Schema: schema})
	m.check(err)
	m.check(m.write(ctx, x, up, del))
	if m.rnd.IntN(5) == 0 {
		m.log = append(m.log, "abort "+x.Instant())
		m.check(x.Abort(ctx))
		m.rows, m.schema = before, schemaBefore
		return
	}
	instant, err := x.Commit(ctx, map[string]string{"checkpoint": strconv.FormatInt(m.seq, 10)})
	m.check(err)
	m.log = append(m.log, fmt.Sprintf("%s %s: %d up, %d del", op, instant, len(up), len(del)))
	m.rows = after
	m.remember(instant)
	value, at, err := m.table.LastExtra(ctx, "checkpoint")
	m.check(err)
	if at != instant || value != strconv.FormatInt(m.seq, 10) {
		m.t.Fatalf("last checkpoint is %s of %s, want %d of %s", value, at, m.seq, instant)
	}
}

func (m *model) check(err error) {
	m.t.Helper()
	if m.dying && errors.Is(err, storagetest.ErrFault) {
		panic(modelDeath{})
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// compare reads the table and compares it with the model.
func (m *model) compare(opts ReadOptions, want map[string]modelRow) {
	m.t.Helper()
	got, err := readModel(m.t.Context(), m.table, opts)
	m.check(err)
	compareRows(m.t, got, want)
}

func compareRows(t *testing.T, got, want map[string]modelRow) {
	t.Helper()
	shown := 0
	for k, w := range want {
		if g, found := got[k]; (!found || g != w) && shown < 3 {
			t.Errorf("row %s: got %+v (%v), want %+v", k, g, found, w)
			shown++
		}
	}
	for k := range got {
		if _, found := want[k]; !found && shown < 3 {
			t.Errorf("row %s should not be there", k)
			shown++
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// follow lets a Table that writes nothing take in what happened.
func (m *model) follow() {
	m.t.Helper()
	if m.follower == nil {
		opts := m.table.opts
		opts.Buckets = m.table.Buckets()
		follower, err := Open(m.t.Context(), m.store, opts)
		m.check(err)
		m.follower = follower
	}
	m.check(m.follower.Refresh(m.t.Context()))
	got, err := readModel(m.t.Context(), m.follower, ReadOptions{})
	m.check(err)
	compareRows(m.t, got, m.rows)
}

func (m *model) lookup() {
	m.t.Helper()
	n := m.table.Buckets()
	bucket := m.rnd.IntN(n)
	var keys []string
	seen := map[string]bool{}
	for range 20 {
		if k := m.key(); m.table.Bucket(k) == bucket && !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	rec, at, err := m.table.Lookup(m.t.Context(), "", bucket, keys, []string{"seq", "name"})
	m.check(err)
	defer rec.Release()
	for i, k := range keys {
		want, known := m.rows[k]
		switch {
		case known != (at[i] >= 0):
			m.t.Fatalf("lookup of %s: row %d, want it there: %v", k, at[i], known)
		case known && rec.Column(0).(*array.Int64).Value(at[i]) != want.seq:
			m.t.Fatalf("lookup of %s: seq %d, want %d", k, rec.Column(0).(*array.Int64).Value(at[i]), want.seq)
		}
	}
}

func TestModel(t *testing.T) {
	for _, typ := range []TableType{CopyOnWrite, MergeOnRead} {
		t.Run(string(typ), func(t *testing.T) {
			steps := 60
			if testing.Short() {
				steps = 20
			}
			newModel(t, typ, seed.New(t)).live(steps)
		})
	}
}
