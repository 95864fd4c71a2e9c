package hudi

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// step does something at random.
func (m *tableModel) step() {
	ctx := m.t.Context()
	switch p := m.rnd.IntN(100); {
	case p < 4:
		m.savepoint()
	case p < 8:
		m.takeBack()
	case p < 12:
		m.archive()
	case p < 14:
		m.cluster()
	case p < 17:
		m.convert()
	case p < 50:
		m.transaction(Upsert)
	case p < 54:
		m.transaction(InsertOverwriteTable)
	case p < 60:
		m.insert()
	case p < 64:
		m.dropPartitions()
	case p < 69:
		m.evolve()
	case p < 78:
		instant, err := m.table.Compact(ctx, CompactOptions{MaxGroups: m.rnd.IntN(3)})
		m.note("compact %s", instant)
		m.check(err)
		m.rememberAny(instant)
	case p < 87:
		m.clean()
	case p < 90:
		m.pin()
	case p < 96:
		m.note("reopen")
		m.reopen()
	default:
		m.note("rewrite")
		m.after = m.modelState
		instant, err := m.table.Rewrite(ctx, nil, nil, func(b arrow.RecordBatch) (arrow.RecordBatch, error) { return b, nil })
		m.check(err)
		m.remember(instant)
	}
}

// rememberAny is remember where there was something to do.
func (m *tableModel) rememberAny(instant string) {
	if instant != "" {
		m.remember(instant)
	}
}

func (m *tableModel) options() Options {
	opts := m.create.Options
	opts.Buckets, opts.Concurrency.Exclusive = 0, true
	if len(m.table.Timeline().Completed()) == 0 {
		opts.Buckets = m.table.buckets
	}
	return opts
}

func (m *tableModel) reopen() {
	table, err := Open(m.t.Context(), m.store, m.options())
	m.check(err)
	m.table = table
}

func (m *tableModel) archive() {
	res, err := m.table.Archive(m.t.Context(), ArchiveOptions{KeepMin: 1 + m.rnd.IntN(6), KeepMax: 1})
	m.note("archive %d, held by %q", res.Instants, res.Held)
	m.check(err)
	if res.Instants > 0 {
		m.cleaned()
	}
}

func (m *tableModel) cluster() {
	opts := ClusterOptions{SortBy: []string{"seq", "id"}, SortBytes: 20_000, SmallFileBytes: 6 << 10, TargetFileBytes: 12 << 10}
	if !m.hashed() && m.rnd.IntN(2) == 0 {
		opts.SortBy = nil
	}
	res, err := m.table.Cluster(m.t.Context(), opts)
	m.note("cluster %s: %d into %d", res.Instant, res.Replaced, res.Written)
	m.check(err)
	m.rememberAny(res.Instant)
}

// convert makes the table one of another type, or of another number of buckets.
func (m *tableModel) convert() {
	before, _ := m.table.Timeline().Last()
	opts := ConvertOptions{SortBytes: 20_000}
	if m.hashed() {
		opts.Buckets = 1 + m.rnd.IntN(4)
	}
	if m.rnd.IntN(2) == 0 {
		opts.Type = []TableType{CopyOnWrite, MergeOnRead}[m.rnd.IntN(2)]
	}
	m.note("convert to %d %s", opts.Buckets, opts.Type)
	m.check(m.table.Convert(m.t.Context(), opts))
	if m.table.Buckets() != opts.Buckets || opts.Type != "" && m.table.Type() != opts.Type {
		m.t.Fatalf("the table is %s with %d buckets, want %+v", m.table.Type(), m.table.Buckets(), opts)
	}
	if last, _ := m.table.Timeline().Last(); last != before {
		m.remember(last.Time)
	}
}

// savepoint makes a savepoint, or releases those that there are.
func (m *tableModel) savepoint() {
	ctx := m.t.Context()
	if all := m.table.Savepoints(); len(all) > 1 || len(all) > 0 && m.rnd.IntN(2) == 0 {
		m.note("release %v", all)
		for _, at := range all {
			m.check(m.table.ReleaseSavepoint(ctx, at))
		}
		m.cleaned()
		return
	}
	if at := m.someCommit(); at != "" {
		m.note("savepoint %s", at)
		_, err := m.table.Savepoint(ctx, SavepointOptions{Instant: at})
		m.check(err)
	}
}

// takeBack restores the table to a commit or rolls the newest one back.
func (m *tableModel) takeBack() {
	ctx := m.t.Context()
	commits := m.table.Timeline().Completed()
	if len(m.past) < 2 {
		return
	}
	for _, at := range m.table.Savepoints() {
		m.check(m.table.ReleaseSavepoint(ctx, at))
	}
	m.cleaned()
	to, last := m.someCommit(), commits[len(commits)-1].Time
	var res RestoreResult
	var err error
	m.after = m.past[to]
	if before := commits[len(commits)-2].Time; m.past[before].schema != nil && m.rnd.IntN(2) == 0 {
		to = before
		m.after = m.past[to]
		res, err = m.table.Rollback(ctx, last)
	} else {
		res, err = m.table.Restore(ctx, to)
	}
	m.note("take back to %s: %v", to, res.TakenBack)
	m.check(err)
	for _, gone := range res.TakenBack {
		delete(m.past, gone)
	}
	m.modelState = m.past[to]
}

func (m *tableModel) clean() {
	n := 1 + m.rnd.IntN(4)
	opts := []CleanOptions{{RetainCommits: n}, {RetainVersions: n}, {Retain: time.Duration(n) * 300 * time.Millisecond}}[m.rnd.IntN(3)]
	res, err := m.table.Clean(m.t.Context(), opts)
	m.note("clean %+v: %d files", opts, res.Files)
	m.check(err)
	if res.Instant != "" {
		m.cleaned()
	}
}

// pin keeps what a commit needs for a while.
func (m *tableModel) pin() {
	at := m.someCommit()
	if at == "" {
		return
	}
	d := time.Duration(m.rnd.IntN(3000)) * time.Millisecond
	p, err := m.table.Pin(m.t.Context(), at, d+time.Millisecond)
	m.note("pin %s for %v: %v", at, d, err)
	if errors.Is(err, ErrCleaned) { // a savepoint has it
		return
	}
	m.check(err)
	if until := p.Info().Until; until.After(m.pins[at]) {
		m.pins[at] = until
	}
}

// cleaned forgets the past that the last cleaning did not keep.
func (m *tableModel) cleaned() {
	m.t.Helper()
	now := m.table.opts.Now()
	for instant := range m.past {
		_, err := m.table.plan(m.t.Context(), ReadOptions{AsOf: instant})
		if errors.Is(err, ErrCleaned) {
			if until := m.pins[instant]; until.After(now.Add(time.Second)) {
				m.t.Fatalf("%v, though %s is pinned until %v, and it is %v", err, instant, until, now)
			}
			delete(m.past, instant)
			continue
		}
		m.check(err)
	}
	if last, _ := m.table.Timeline().Last(); m.past[last.Time].schema == nil {
		m.t.Fatalf("a cleaning took the last commit %s away", last.Time)
	}
}

// change makes a transaction's upserts and deletes, each place once, and the state after.
func (m *tableModel) change(rows map[place][]any) (up [][]any, del []place, after modelState) {
	after = modelState{m.schema, maps.Clone(rows)}
	seen := map[string]bool{}
	for range m.rnd.IntN(30) {
		if k := m.key(); !seen[k] {
			seen[k] = true
			up = append(up, m.row(k))
		}
	}
	for range m.rnd.IntN(10) {
		if k := m.key(); !seen[k] {
			seen[k] = true
			del = append(del, place{m.path(m.part()), k})
		}
	}
	for _, p := range del {
		if delete(after.rows, p); m.global() {
			m.forget(after.rows, p.key)
		}
	}
	for _, row := range up {
		m.set(after.rows, row)
	}
	return up, del, after
}

// transaction upserts and deletes rows in one commit, or takes that back.
func (m *tableModel) transaction(op Operation) {
	rows := m.rows
	if op == InsertOverwriteTable {
		rows = map[place][]any{}
	}
	up, del, after := m.change(rows)
	m.commit(TxnOptions{Operation: op}, up, del, after)
}

// commit does one transaction.
func (m *tableModel) commit(opts TxnOptions, up [][]any, del []place, after modelState) {
	ctx := m.t.Context()
	m.after = after
	x, err := m.table.Begin(ctx, opts)
	m.check(err)
	if m.create.Index == IndexBucket && m.rnd.IntN(2) == 0 {
		m.check(m.writeGroups(ctx, x, up, del, after))
	} else {
		m.check(m.writeRows(ctx, x, up, del, after))
	}
	if m.rnd.IntN(5) == 0 {
		m.note("abort %s", x.Instant())
		m.check(x.Abort(ctx))
		return
	}
	instant, err := x.Commit(ctx, map[string]string{"checkpoint": strconv.FormatInt(m.seq, 10)})
	m.check(err)
	m.note("%s %s: %d up, %d del", opts.Operation, instant, len(up), len(del))
	m.modelState = after
	m.remember(instant)
	value, at, err := m.table.LastExtra(ctx, "checkpoint")
	m.check(err)
	if at != instant || value != strconv.FormatInt(m.seq, 10) {
		m.t.Fatalf("last checkpoint is %s of %s, want %d of %s", value, at, m.seq, instant)
	}
}

// writeRows lets the table's index find where rows are.
func (m *tableModel) writeRows(ctx context.Context, x *Txn, up [][]any, del []place, after modelState) error {
	batch := after.batch(up)
	defer batch.Release()
	keyed, err := m.table.keyed(batch)
	if err != nil {
		return err
	}
	defer keyed.release()
	w := rowWriter{txn: x, index: m.table.index(), rows: keyed, lookUp: x.op == Upsert, fill: x.op == Upsert}
	if x.op != Upsert {
		del = nil
	}
	return w.write(ctx, keyed.last(m.global()), del)
}

// writeGroups writes bucket after bucket, each with deletes before and behind its rows.
func (m *tableModel) writeGroups(ctx context.Context, x *Txn, up [][]any, del []place, after modelState) error {
	ups, gone := map[bucketID][][]any{}, map[bucketID][]string{}
	for _, row := range up {
		p := m.placeOf(row, after.schema)
		id := bucketID{p.partition, m.table.Bucket(p.key)}
		ups[id] = append(ups[id], row)
	}
	for _, p := range del {
		id := bucketID{p.partition, m.table.Bucket(p.key)}
		gone[id] = append(gone[id], p.key)
	}
	all := modelUnion(ups, map[bucketID][][]any{})
	maps.Copy(all, modelUnion(gone, map[bucketID][]string{}))
	for _, id := range slices.SortedFunc(maps.Keys(all), func(a, b bucketID) int {
		return compareGroups(GroupID{a.partition, bucketKey(a.bucket)}, GroupID{b.partition, bucketKey(b.bucket)})
	}) {
		if err := m.writeGroup(ctx, x, id, after.batch(ups[id]), gone[id]); err != nil {
			return err
		}
	}
	return nil
}

func (m *tableModel) writeGroup(ctx context.Context, x *Txn, id bucketID, batch arrow.RecordBatch, gone []string) error {
	defer batch.Release()
	g, err := x.Group(ctx, id.partition, id.bucket)
	if err != nil {
		return err
	}
	half := len(gone) / 2
	if err := g.Delete(ctx, gone[:half]); err != nil {
		return err
	}
	names, err := RecordKeys(batch, m.create.RecordKey)
	if err != nil {
		return err
	}
	defer names.Release()
	if err := g.Upsert(ctx, batch, names); err != nil {
		return err
	}
	if err := g.Delete(ctx, gone[half:]); err != nil {
		return err
	}
	return g.Close(ctx)
}

// insert writes rows of keys that the table does not have, in one of the ways for that.
func (m *tableModel) insert() {
	ctx := m.t.Context()
	rows := m.fresh(30)
	if len(rows) == 0 {
		return
	}
	m.after = modelState{m.schema, maps.Clone(m.rows)}
	batch := m.batch(rows)
	defer batch.Release()
	how := m.rnd.IntN(3)
	if how == 2 {
		for _, row := range rows {
			p := m.placeOf(row, m.schema)
			maps.DeleteFunc(m.after.rows, func(o place, _ []any) bool { return o.partition == p.partition })
		}
	}
	for _, row := range rows {
		m.set(m.after.rows, row)
	}
	var instant string
	var err error
	switch how {
	case 0:
		instant, err = m.table.Insert(ctx, batch)
	case 1:
		n := batch.NumRows() / 2
		instant, err = m.table.BulkInsert(ctx, batches(batch.NewSlice(0, n), batch.NewSlice(n, batch.NumRows())), BulkOptions{SortBytes: 1000})
	default:
		instant, err = m.table.InsertOverwrite(ctx, batch)
	}
	m.note("%s of %d rows: %s", []string{"insert", "bulk insert", "overwrite"}[how], len(rows), instant)
	m.check(err)
	m.modelState = m.after
	m.remember(instant)
}

func (m *tableModel) dropPartitions() {
	if len(m.create.PartitionBy) == 0 {
		return
	}
	gone := m.path(m.part())
	m.after = modelState{m.schema, maps.Clone(m.rows)}
	maps.DeleteFunc(m.after.rows, func(p place, _ []any) bool { return p.partition == gone })
	instant, err := m.table.DeletePartitions(m.t.Context(), gone)
	m.note("drop %s: %s", gone, instant)
	m.check(err)
	m.modelState = m.after
	m.remember(instant)
}

// evolve gives the table another schema, most often with rows of it in the same commit.
func (m *tableModel) evolve() {
	ctx := m.t.Context()
	fields := slices.Clone(m.schema.Fields())
	i := m.rnd.IntN(len(fields))
	free := !slices.Contains([]string{"id", "part", "seq"}, fields[i].Name)
	m.names++
	switch p := m.rnd.IntN(5); {
	case p == 0 && len(fields) < 12:
		f := arrow.Field{Name: "c" + strconv.Itoa(m.names), Type: modelTypes[m.rnd.IntN(len(modelTypes))], Nullable: true}
		fields = slices.Insert(fields, i, f)
	case p == 1 && free:
		fields = slices.Delete(fields, i, i+1)
	case p == 2 && free:
		m.rename(fields[i].Name, "c"+strconv.Itoa(m.names))
		return
	case p == 3 && free:
		if wider := modelWider(fields[i].Type); len(wider) > 0 {
			fields[i].Type = wider[m.rnd.IntN(len(wider))]
		}
	default:
		m.rnd.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	}
	next := arrow.NewSchema(fields, nil)
	instant, err := m.table.CompactFor(ctx, next)
	m.check(err)
	m.rememberAny(instant)
	if m.bytesOfNumber(next) {
		return
	}
	m.note("evolve to %v", fields)
	was := m.modelState
	m.modelState = m.in(next)
	up, del, after := m.change(m.rows)
	m.modelState = was
	m.commit(TxnOptions{Operation: Upsert, Schema: next}, up, del, after)
}

// bytesOfNumber tells that a column is not to become bytes, as files may be left of when it was
// a number.
func (m *tableModel) bytesOfNumber(next *arrow.Schema) bool {
	for _, f := range next.Fields() {
		switch old, _ := m.schema.FieldsByName(f.Name); {
		case old == nil || arrow.TypeEqual(old[0].Type, f.Type):
		case f.Type.ID() == arrow.STRING:
			m.numbers[f.Name] = true
		case f.Type.ID() == arrow.BINARY && m.numbers[f.Name]:
			x, err := m.table.Begin(m.t.Context(), TxnOptions{Schema: next})
			if bad, refused := errors.AsType[*SchemaError](err); refused && bad.Column == f.Name {
				return true
			}
			m.check(err)
			m.check(x.Abort(m.t.Context()))
		}
	}
	return false
}

func (m *tableModel) rename(from, to string) {
	m.note("rename %s to %s", from, to)
	fields := slices.Clone(m.schema.Fields())
	fields[m.at(from)].Name = to
	m.after = modelState{arrow.NewSchema(fields, nil), m.rows}
	instant, err := m.table.RenameColumn(m.t.Context(), from, to)
	m.check(err)
	m.modelState = m.after
	m.remember(instant)
}
