package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/hudi/keyindex"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage"
	"lakefeed/storage/mem"
)

// spoil is another writer that takes every fifth row away from a table, and changes the texts of
// each one behind it.
func (r *rig) spoil() {
	r.t.Helper()
	r.rewrite(func(t *hudi.Table) (map[homeOf][]string, map[homeOf][]arrow.RecordBatch) {
		gone, wrong := map[homeOf][]string{}, map[homeOf][]arrow.RecordBatch{}
		for rec, err := range t.Read(r.t.Context(), hudi.ReadOptions{Meta: true}) {
			if err != nil {
				r.t.Fatal(err)
			}
			for row := range int(rec.NumRows()) {
				text := func(column string) string {
					return rec.Column(rec.Schema().FieldIndices(column)[0]).ValueStr(row)
				}
				g := homeOf{text("_hoodie_partition_path"), t.Bucket(text("_hoodie_record_key"))}
				switch id := rec.Column(rec.Schema().FieldIndices("id")[0]).(*array.Int32).Value(row); id % 5 {
				case 0:
					gone[g] = append(gone[g], text("_hoodie_record_key"))
				case 1:
					wrong[g] = append(wrong[g], withText(rec, row, t.Schema(), "wrong", "v", "w"))
				}
			}
		}
		return gone, wrong
	})
}

// homeOf is where a row lies in a table.
type homeOf struct {
	partition string
	bucket    int
}

// rewrite is another writer that deletes keys of table t where they lie, and writes rows, in one commit.
func (r *rig) rewrite(plan func(t *hudi.Table) (gone map[homeOf][]string, come map[homeOf][]arrow.RecordBatch)) {
	r.t.Helper()
	ctx, homes := r.t.Context(), map[homeOf]bool{}
	keys, err := keyindex.OpenMem()
	if err != nil {
		r.t.Fatal(err)
	}
	defer keys.Close()
	t, err := hudi.Open(ctx, storage.Sub(r.lake, "public/t"), hudi.Options{Keys: keys})
	if err != nil {
		r.t.Fatal(err)
	}
	gone, come := plan(t)
	txn, err := t.Begin(ctx, hudi.TxnOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	for home := range gone {
		homes[home] = true
	}
	for home := range come {
		homes[home] = true
	}
	for home := range homes {
		w, err := txn.Group(ctx, home.partition, home.bucket)
		if err != nil {
			r.t.Fatal(err)
		}
		err = w.Delete(ctx, gone[home])
		for _, rec := range come[home] {
			names, cause := hudi.RecordKeys(rec, t.RecordKey())
			err = errors.Join(err, cause, w.Upsert(ctx, rec, names))
		}
		if err := errors.Join(err, w.Close(ctx)); err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := txn.Commit(ctx, nil); err != nil {
		r.t.Fatal(err)
	}
}

// withText is a row of which some columns say something else.
func withText(rec arrow.RecordBatch, row int, schema *arrow.Schema, text string, columns ...string) arrow.RecordBatch {
	cols := make([]arrow.Array, schema.NumFields())
	for i, f := range schema.Fields() {
		cols[i] = array.NewSlice(rec.Column(rec.Schema().FieldIndices(f.Name)[0]), int64(row), int64(row)+1)
		if slices.Contains(columns, f.Name) {
			b := array.NewStringBuilder(memory.DefaultAllocator)
			b.Append(text)
			cols[i] = b.NewStringArray()
		}
	}
	return array.NewRecordBatch(schema, cols, 1)
}

// between lets something happen between the moment as of which rows are read, and that in which
// they are given to the pipeline.
type between struct {
	*postgres.Connector
	once  sync.Once
	meet  func()
	early bool // before they are read, under a snapshot that is open; else when the table is locked no more
}

func (b *between) CopyWhere(ctx context.Context, t *change.Table, where string, begun func(change.LSN), emit func(*change.Batch) error) error {
	if b.early {
		b.once.Do(b.meet)
	}
	var read []*change.Batch
	err := b.Connector.CopyWhere(ctx, t, where, begun, func(batch *change.Batch) error {
		read = append(read, batch)
		return nil
	})
	b.once.Do(b.meet)
	for _, batch := range read {
		err = errors.Join(err, emit(batch))
	}
	return err
}

// meeting starts a pipeline that meets changes while rows are read, and has read them before they are placed.
func (r *rig) meeting(early bool, sql []string, mods ...func(*options)) *running {
	r.t.Helper()
	source := &between{Connector: r.source(), early: early}
	run := r.start(append(mods, func(o *options) { o.Source = source })...)
	source.meet = func() {
		r.db.Exec(r.t, sql...)
		at := r.lsn("select pg_current_wal_flush_lsn()")
		r.await("the stream has brought what came meanwhile", func() bool {
			read, err := change.ParseLSN(run.Status().Read)
			return err != nil || read >= at
		})
	}
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	return run
}

// snapshot asks for rows to be read anew, or some of their columns, and waits until they are.
func (p *running) snapshot(where string, columns ...string) pipeline.SnapshotStatus {
	p.r.t.Helper()
	s, err := p.Snapshot(p.r.t.Context(), "public.t", where, columns...)
	if err != nil {
		p.r.t.Fatal(err)
	}
	return p.made(s.ID)
}

func (p *running) made(id string) (now pipeline.SnapshotStatus) {
	p.r.t.Helper()
	p.r.await("the rows are read", func() bool {
		s := p.table("public.t")
		if s.State != pipeline.Streaming {
			p.r.t.Errorf("the table is %s", s.State)
		}
		if s.Snapshot == nil || id != "" && s.Snapshot.ID != id {
			return false
		}
		now = *s.Snapshot
		return now.State == pipeline.SnapshotDone || now.State == pipeline.SnapshotFailed
	})
	return now
}

var spoilable = []string{
	wildTable, external, "alter table t add part text not null default 'a'",
	"insert into t select i, repeat(md5(i::text), 100), 'old', 'p' || i % 3 from generate_series(1, 500) i",
}

// meanwhile changes rows of every kind: a row that was spoiled keeps its large value, twice; another
// gets a new one; one is deleted, and one made anew; keys change, to and fro and in a ring.
var meanwhile = []string{
	"update t set w = 'touched' where id % 10 = 1", "update t set w = 'touched again' where id % 20 = 1",
	"update t set v = repeat('new', 900) where id % 50 in (5, 6)",
	"delete from t where id in (10, 16, 26)", "insert into t values (26, repeat('made', 900), 'anew', 'p1')",
	"update t set id = id + 1000 where id in (36, 46, 56)", "update t set id = 46 where id = 1046",
	"begin; update t set id = 2000 where id = 66; update t set id = 66 where id = 76; update t set id = 76 where id = 2000; commit",
	"update t set part = 'p9' where id in (81, 86)",
	"begin; update t set w = 'no' where id = 96; rollback",
}

// TestSnapshot reads rows anew that the lake lacks or has otherwise, while they are changed.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	for name, mod := range map[string]func(*options){
		"merge on read":              func(*options) {},
		"copy on write, partitioned": partitionBy(t, hudi.CopyOnWrite, "part"),
		"little room":                func(o *options) { o.MemoryBudget = 1 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, spoilable...)
			r.mods = append(r.mods, mod)
			r.drain()
			r.spoil()
			if report, err := r.validation(nil); err != nil || report.OK() {
				t.Fatalf("nothing is wrong: %+v, %v", report, err)
			}
			run := r.meeting(false, meanwhile)
			if s := run.snapshot("id % 5 = 0 -- those that are gone\n or id % 5 = 1"); s.Rows < 200 || s.State != pipeline.SnapshotDone {
				t.Errorf("it is %+v", s)
			}
			r.equal(run)
			run.stop()
			r.drain()
			r.equal(nil)
		})
	}
}

// TestSnapshotMeets reads rows while the table is emptied, altered or renamed.
func TestSnapshotMeets(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string][]string{
		"truncated": {"truncate t", "insert into t values (5, 'new', 'new')"},
		"early":     {"truncate t", "insert into t values (5, 'new', 'new')"},
		"altered":   {"alter table t add n int default 7", "update t set w = 'altered' where id = 1"},
		"unseen":    {"alter table t add n int default 7"},
		"dropped":   {"alter table t drop w"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, spoilable...)
			r.drain()
			r.spoil()
			run := r.meeting(name == "early", sql, looksOften, recopies)
			s, err := run.Snapshot(t.Context(), "public.t", "id % 5 < 2")
			if err != nil {
				t.Fatal(err)
			}
			r.await("the rows are read", func() bool {
				now := run.table("public.t").Snapshot
				return now != nil && now.ID == s.ID && now.State == pipeline.SnapshotDone
			})
			r.await("it is in step", func() bool { report, err := r.validation(run); return err == nil && report.OK() })
		})
	}
}

// TestSnapshotConditions refuses what is no condition, and goes on where one fails.
func TestSnapshotConditions(t *testing.T) {
	t.Parallel()
	r := newRig(t, wildTable, "create table log (n int)", "insert into t values (1, 'a', 'b')", "create function pg_temp.f() returns int language sql as 'select 1'")
	run := r.start()
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	for where, says := range map[string]string{
		"id = ":                               "syntax error",
		"nosuch > 1":                          `column "nosuch" does not exist`,
		"true; drop table t":                  "syntax error",
		"true) union (select 1, '', ''":       "syntax error",
		"true)) to program 'true' --":         "syntax error",
		"true then true end from t --":        "syntax error",
		"id = $1":                             "parameters",
		"id":                                  "boolean",
		"count(*) > 1":                        "aggregate",
		"":                                    "syntax error",
		"id = 1 /* or":                        "unterminated",
		"w = 'it''s' and v like '%' or id = ": "syntax error",
	} {
		_, err := run.Snapshot(t.Context(), "public.t", where)
		var condition *change.ConditionError
		if !errors.As(err, &condition) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", where, err)
		}
	}
	_, err := run.Snapshot(t.Context(), "public.log", "n = 1")
	r.says(err, "public.log", "append-only", "no primary key")
	_, err = run.Snapshot(t.Context(), "public.nosuch", "n = 1")
	r.says(err, "no such table")

	if s := run.snapshot("1 / (id - id) = 1"); s.State != pipeline.SnapshotFailed || !strings.Contains(s.Error, "division by zero") {
		t.Errorf("it is %+v", s)
	}
	if s := run.snapshot("pg_catalog.set_config('transaction_read_only', 'off', false) = 'off'"); s.State != pipeline.SnapshotFailed || !strings.Contains(s.Error, "read-write mode") {
		t.Errorf("it is %+v", s)
	}
	if s := run.snapshot(`w = 'it''s \' or id = 1`); s.State != pipeline.SnapshotDone || s.Rows != 1 {
		t.Errorf("it is %+v", s)
	}
	r.db.Exec(t, "insert into t values (2, 'a', 'b')")
	r.equal(run)
	if _, _, err := r.lake.Get(t.Context(), "_lakefeed/snapshots/"+r.name); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("the record is still there: %v", err)
	}
}

// TestSnapshotBeginsAnew ends the process while rows are read: the next one begins anew, a run with Once too.
func TestSnapshotBeginsAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, spoilable...)
	r.lake = mem.New()
	r.drain()
	r.spoil()
	s, err := pipeline.RequestSnapshot(t.Context(), r.lake, r.name, "public.t", "id % 5 < 2")
	if err != nil {
		t.Fatal(err)
	}
	reading := make(chan struct{})
	source := &between{Connector: r.source(), meet: func() { close(reading) }}
	run := r.start(func(o *options) { o.Source = source })
	<-reading
	_, err = pipeline.RequestSnapshot(t.Context(), r.lake, r.name, "public.t", "true")
	if _, locked := errors.AsType[*pipeline.LockedError](err); !locked {
		t.Errorf("beside a pipeline that runs: %v", err)
	}
	run.stop()
	r.freeSlot()
	r.db.Exec(t, meanwhile...)
	r.drain()
	r.equal(nil)
	run = r.start()
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	if now := run.table("public.t").Snapshot; now != nil && now.ID == s.ID {
		t.Errorf("it is made once more: %+v", now)
	}
}

// TestSnapshotOnStandby reads rows on a standby, which shows more or less than the log that is read.
func TestSnapshotOnStandby(t *testing.T) {
	t.Parallel()
	p := newSnapshotRig(t, 15, nil, spoilable...)
	p.caughtUp()
	p.drain()
	p.spoil()
	p.standby.Exec(t, "select pg_wal_replay_pause()")
	run := p.meeting(false, meanwhile)
	s, err := run.Snapshot(t.Context(), "public.t", "id % 5 < 2")
	if err != nil {
		t.Fatal(err)
	}
	p.db.Exec(t, "update t set w = 'seen there' where id in (101, 111)")
	p.standby.Exec(t, "select pg_wal_replay_resume()")
	if s := run.made(s.ID); s.State != pipeline.SnapshotDone {
		t.Errorf("it is %+v", s)
	}
	p.equal(run)
	if p.shopOnStandby("select seq_tup_read from pg_stat_user_tables where relname = 't'") == "0" {
		t.Error("nothing was read on the standby")
	}

	p.standby.Exec(t, "select pg_wal_replay_pause()") // one that stands still keeps nobody from taking it back
	p.db.Exec(t, "update t set w = 'not seen there' where id = 101")
	if s, err = run.Snapshot(t.Context(), "public.t", "true"); err != nil {
		t.Fatal(err)
	}
	state := func() pipeline.SnapshotState {
		if now := run.table("public.t").Snapshot; now != nil && now.ID == s.ID {
			return now.State
		}
		return ""
	}
	p.await("it is read", func() bool { return state() == pipeline.SnapshotReading })
	run.ask(pipeline.StopSnapshot, "public.t")
	p.await("it is stopped", func() bool { return state() == pipeline.SnapshotStopped })
	p.standby.Exec(t, "select pg_wal_replay_resume()")
	p.equal(run)
}
