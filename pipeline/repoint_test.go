package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// moving is a table that moves from one server to another, with a pipeline for each and one lake.
type moving struct {
	t        *testing.T
	old, new *rig
}

const movingTable = "create table t (id int primary key, v text, big text, region text not null default 'r0', d date)"

const movingRows = "insert into t select i, 'v' || i, repeat(md5(i::text), 100), 'r' || i %% 3 from generate_series(%d, %d) i"

// newMoving makes the table on both servers, and rows in the old one.
func newMoving(t *testing.T, table func(*change.Table) pipeline.TableOptions) *moving {
	t.Helper()
	m := &moving{t: t, old: newRig(t, movingTable, "alter table t alter big set storage external", fmt.Sprintf(movingRows, 1, 300), "create table other (id int primary key)", "insert into other values (1)")}
	m.new = newRigOn(t, pgtest.Start(t, pgtest.Options{}).NewDatabase(t), movingTable, "alter table t alter big set storage external")
	m.new.name += "_new"
	m.new.lake = m.old.lake
	m.old.table, m.new.table = table, table
	m.old.types, m.new.types = quarantines, quarantines
	m.new.mods = append(m.new.mods, func(o *options) {
		o.RetryTable = func(err error) bool { _, ofLake := errors.AsType[*pipeline.LakeError](err); return ofLake } // as the program has it
	})
	for range 3 { // its positions are greater
		m.old.db.Exec(t, "select pg_logical_emit_message(false, 'test', '')", "select pg_switch_wal()")
	}
	return m
}

// both runs statements in both databases, as replication between them does.
func (m *moving) both(sql ...string) {
	m.t.Helper()
	m.old.db.Exec(m.t, sql...)
	m.new.db.Exec(m.t, sql...)
}

func (m *moving) origin() *pipeline.Origin {
	return &pipeline.Origin{Pipeline: m.old.name, Table: "public.t"}
}

// ask says something of the table to the new pipeline, which nobody runs.
func (m *moving) ask(a pipeline.Adoption) error {
	m.t.Helper()
	a.From = m.origin()
	_, err := pipeline.RequestAdoption(m.t.Context(), m.new.lake, m.new.name, "public.t", a)
	return err
}

// leave asks the old pipeline, which nobody runs, to leave the table.
func (m *moving) leave(at change.LSN) (bool, error) {
	m.t.Helper()
	return m.leaveAs(pipeline.Leaving{To: m.new.name, Path: "public/t", At: at})
}

func (m *moving) leaveAs(l pipeline.Leaving) (bool, error) {
	m.t.Helper()
	o, err := pipeline.RequestLeave(m.t.Context(), m.old.lake, m.old.name, "public.t", l)
	return err == nil && o.Leaves.Left, err
}

func (m *moving) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// prepared is a table whose changes the new pipeline keeps. Nothing runs. Some changes came before that, and some since,
// which the old pipeline has not read. A row was in quarantine, and fits now.
func prepared(t *testing.T) *moving {
	t.Helper()
	m := newMoving(t, nil)
	m.old.db.Exec(t, "update t set d = 'infinity' where id = 5")
	m.old.drain()
	m.new.db.Exec(t, fmt.Sprintf(movingRows, 1, 300))
	m.both("update t set d = null, big = repeat('z', 3000) where id = 5", "update t set v = 'before' where id % 13 = 0", "delete from t where id = 15")
	m.must(m.ask(pipeline.Adoption{}))
	m.new.says(m.new.once(), "are kept from")
	m.both("update t set v = 'between' where id % 7 = 0", "delete from t where id % 50 = 0", fmt.Sprintf(movingRows, 301, 310), "update t set id = id + 1000 where id % 40 = 0")
	return m
}

// takenOver lets the new pipeline go on, and holds the lake against the new source.
func (m *moving) takenOver() {
	m.t.Helper()
	m.new.db.Exec(m.t, "update t set v = 'new' where id % 9 = 0", fmt.Sprintf(movingRows, 2001, 2010)+" on conflict do nothing", "delete from t where id % 11 = 0")
	m.must(m.ask(pipeline.Adoption{Stopped: true}))
	m.new.drain()
	m.new.equal(nil)
	if problems := m.new.sound("public/t"); len(problems) > 0 {
		m.t.Errorf("the table is not sound: %v", problems)
	}
}

// rows are those of the table as of an instant, sorted.
func (m *moving) rows(instant string, columns ...string) string {
	m.t.Helper()
	table, err := hudi.Open(m.t.Context(), storage.Sub(m.old.lake, "public/t"), hudi.Options{})
	m.must(err)
	var rows []string
	for rec, err := range table.Read(m.t.Context(), hudi.ReadOptions{Columns: columns, AsOf: instant}) {
		m.must(err)
		for i := range int(rec.NumRows()) {
			var row strings.Builder
			for _, c := range rec.Columns() {
				row.WriteString(c.ValueStr(i) + " ")
			}
			rows = append(rows, row.String())
		}
	}
	slices.Sort(rows)
	return strings.Join(rows, "\n")
}

// newest is the table's newest instant.
func (m *moving) newest() string {
	m.t.Helper()
	table, err := hudi.Open(m.t.Context(), storage.Sub(m.old.lake, "public/t"), hudi.Options{})
	m.must(err)
	done := table.Timeline().Completed()
	return done[len(done)-1].Time
}

// load changes rows until it is stopped.
func load(t *testing.T, db *pgtest.Database, from int) (stop func()) {
	t.Helper()
	conn := db.Conn(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		for n := from; ; n++ {
			for _, sql := range []string{
				fmt.Sprintf("insert into t values (%d, 'load', repeat('x', 5000))", n),
				fmt.Sprintf("update t set v = v || '.' where id %% 17 = %d", n%17),
				fmt.Sprintf("update t set id = id + 100000 where id = %d", n-5),
				fmt.Sprintf("delete from t where id = %d or id = %d", n-10, n+99990),
			} {
				if ctx.Err() != nil { // every statement is whole
					done <- nil
					return
				}
				if _, err := conn.Exec(context.WithoutCancel(ctx), sql); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// TestRepoint moves a table that is written all the time to another server, by PostgreSQL's own replication, and
// lets its lake table go on from there.
func TestRepoint(t *testing.T) {
	for name, options := range map[string]pipeline.TableOptions{
		"mor partitioned": {Type: hudi.MergeOnRead, PartitionBy: []pipeline.PartitionField{{Column: "region"}}},
		"cow":             {Type: hudi.CopyOnWrite},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repointUnderLoad(t, newMoving(t, func(v *change.Table) pipeline.TableOptions {
				if v.Name != "t" {
					return pipeline.TableOptions{}
				}
				return options
			}))
		})
	}
}

func repointUnderLoad(t *testing.T, m *moving) {
	stop := load(t, m.old.db, 1000)
	first := m.old.start()
	m.old.await("the old pipeline streams", func() bool { return first.table("public.t").State == pipeline.Streaming })
	m.old.db.Exec(t, "create publication "+m.old.db.Slot("moving")+" for table t")
	m.new.db.Exec(t, fmt.Sprintf("create subscription moving connection '%s' publication %s with (slot_name = '%s')", m.old.db.URL, m.old.db.Slot("moving"), m.old.db.Slot("moving")))
	second := m.new.start()
	m.new.await("it is the old pipeline's", func() bool {
		return strings.Contains(second.table("public.t").Error, "belongs to table public.t of pipeline "+m.old.name)
	})
	second.adopt(pipeline.Adoption{From: m.origin()})
	second.waits("goes on with it", "are kept from")
	stop()
	content := func(db *pgtest.Database) string {
		return db.Query(t, "select count(*) || md5(coalesce(string_agg(t::text, ',' order by id), '')) from t")[0][0]
	}
	m.new.await("the new database has all", func() bool { return content(m.old.db) == content(m.new.db) })
	second.adopt(pipeline.Adoption{Stopped: true, From: m.origin()}) // too early: nobody has asked the old pipeline
	second.waits("has not handed it over")
	o, err := first.Leave(t.Context(), "public.t", pipeline.Leaving{To: m.new.name, Path: "public/t"})
	m.must(err)
	m.new.db.Exec(t, "drop subscription moving")
	stop = load(t, m.new.db, 500_000)
	m.old.await("the old pipeline has left it", func() bool { return first.table("public.t").Table == "" })
	was := m.newest()
	then := m.rows(was, "id", "v", "big", "region")
	if at := o.Leaves.At; at == 0 {
		t.Error("it is left at no position")
	}
	m.old.db.Exec(t, "update t set v = 'somebody writes to the old database'", "insert into other values (2)")
	second.takenOver()
	m.old.await("the old pipeline goes on", func() bool { return m.old.column("other", "id") == "1 2" })
	m.old.await("that is done", func() bool {
		orders, err := pipeline.ReadOrders(t.Context(), m.new.lake, m.new.name)
		return err == nil && orders["public.t"].Adopt == nil
	})
	_, err = first.Instruct(t.Context(), "public.t", pipeline.Add)
	m.old.says(err, "pipeline "+m.new.name+" goes on with it", "repoint --from")
	first.stop()
	m.old.db.Exec(t, "delete from t", "insert into other values (3)")
	m.old.drain() // by mistake
	m.old.drain()
	m.old.equal(nil) // but for the table that is not its any more
	stop()
	m.new.equal(second)
	second.stop()
	m.new.db.Exec(t, "update t set v = 'at last' where id % 3 = 0")
	m.new.drain()
	m.new.equal(nil)
	if now := m.rows(was, "id", "v", "big", "region"); now != then {
		t.Error("the table as of before is another")
	}
	end := m.new.lsn("select pg_current_wal_lsn()")
	for row := range strings.SplitSeq(m.rows("", "_event_lsn"), "\n") {
		if at, err := strconv.ParseUint(strings.TrimSpace(row), 10, 64); err != nil || change.LSN(at) > end {
			t.Fatalf("a row is of position %s, which the log does not have, %v", row, err)
		}
	}
	if problems := m.new.sound("public/t"); len(problems) > 0 {
		t.Errorf("the table is not sound: %v", problems)
	}
}

// TestRepointKilled ends one of both processes where a table goes from the one to the other: the next runs go on.
func TestRepointKilled(t *testing.T) {
	for when, name := range map[storagetest.When]string{storagetest.Before: "not noted", storagetest.After: "noted"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := prepared(t)
			left, err := m.leave(m.old.lsn("select pg_current_wal_lsn()"))
			if m.must(err); left {
				t.Fatal("it is left before all is read")
			}
			m.must(m.ask(pipeline.Adoption{Stopped: true}))
			m.new.says(m.new.once(), "as soon as it has all before")
			dies := storagetest.NewFaulty(m.old.lake, storagetest.Fault{At: 1, When: when, Dead: true, Only: func(c storagetest.Call) bool { return strings.HasPrefix(c.Name, "_lakefeed/tables/") }})
			if err := m.old.once(func(o *options) { o.Lake = dies }); err == nil || !dies.Fired() {
				t.Fatalf("it did not die: %v", err)
			}
			if when == storagetest.Before {
				m.new.says(m.new.once(), "as soon as it has all before")
			}
			m.old.drain()
			m.takenOver()
		})
	}
	for _, phase := range []string{"taken over", "marker", "copied"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			m := prepared(t)
			m.old.drain()
			left, err := m.leave(m.old.recorded())
			if m.must(err); !left {
				t.Fatal("it is not left")
			}
			m.must(m.ask(pipeline.Adoption{Stopped: true}))
			m.new.cutAt(phase, 1, []string{"update t set v = 'killed' where id % 5 = 0", "delete from t where id = 33"})
			m.old.drain() // in between, by mistake
			m.takenOver()
			orders, err := pipeline.ReadOrders(t.Context(), m.new.lake, m.new.name)
			if err != nil || orders["public.t"].Adopt != nil {
				t.Errorf("it is still to be taken over: %+v, %v", orders, err)
			}
		})
	}
}

// TestRepointDiesLong lets each pipeline die wherever it writes while a table goes from the one to the other, again and
// again: what comes of it is exact.
func TestRepointDiesLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	m := prepared(t)
	_, err := m.leave(m.old.lsn("select pg_current_wal_lsn()"))
	m.must(err)
	m.must(m.ask(pipeline.Adoption{Stopped: true}))
	for _, r := range []*rig{m.old, m.new} {
		for at := 1; ; at++ {
			m.new.db.Exec(t, fmt.Sprintf("insert into t values (%d, 'died')", 10_000*len(r.name)+at), fmt.Sprintf("update t set v = v || '%d' where id %% 5 = 0", at))
			m.old.db.Exec(t, "update t set v = 'somebody writes to the old database'")
			dies := storagetest.NewFaulty(r.lake, storagetest.Fault{At: at, When: storagetest.When(at % 2), Dead: true})
			err := r.once(func(o *options) { o.Lake = dies })
			if !dies.Fired() {
				m.must(err)
				break
			}
			if err == nil {
				t.Fatalf("call %d: the run does not tell of its fault", at)
			}
		}
	}
	m.new.equal(nil)
	m.new.db.Exec(t, "delete from t where id % 2 = 0")
	m.new.drain()
	m.new.equal(nil)
}

// TestRepointExactly writes all that commits before the position, and nothing of what somebody writes to the old
// database behind it, and be it in the same round.
func TestRepointExactly(t *testing.T) {
	t.Parallel()
	m := prepared(t)
	at := m.old.lsn("select pg_current_wal_lsn()")
	m.old.db.Exec(t, "update t set v = 'too late'", "insert into t values (9999, 'too late')", "delete from t where id = 1")
	_, err := m.leave(at)
	m.must(err)
	m.old.drain()
	if got := m.rows("", "v"); strings.Contains(got, "too late") {
		t.Error("a change of behind the position is in the lake")
	}
	m.takenOver()
}

// TestRepointRunning finds the position by itself, while changes come to other tables, and refuses others.
func TestRepointRunning(t *testing.T) {
	t.Parallel()
	m := prepared(t)
	run := m.old.start()
	leave := func(l pipeline.Leaving) error {
		l.To, l.Path = m.new.name, "public/t"
		_, err := run.Leave(t.Context(), "public.t", l)
		return err
	}
	m.old.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	m.old.says(leave(pipeline.Leaving{At: 0xFFFF_00000000}), "log ends at")
	m.old.says(leave(pipeline.Leaving{At: 1}), "has read up to")
	_, err := run.Leave(t.Context(), "public.none", pipeline.Leaving{To: m.new.name})
	m.old.says(err, "no such table")
	_, err = run.Instruct(t.Context(), "public.t", pipeline.Pause)
	m.must(err)
	m.old.await("it is paused", func() bool { return run.table("public.t").State == pipeline.Paused })
	m.old.says(leave(pipeline.Leaving{}), "it is paused")
	_, err = run.Instruct(t.Context(), "public.t", pipeline.Resume)
	m.must(err)
	m.old.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	m.must(leave(pipeline.Leaving{}))
	m.must(leave(pipeline.Leaving{})) // once more
	_, err = run.Leave(t.Context(), "public.t", pipeline.Leaving{To: "another"})
	m.old.says(err, "pipeline "+m.new.name)
	m.old.await("it is left", func() bool { return run.table("public.t").Table == "" })
	m.takenOver()
}

// TestRepointRefused says why a table cannot go on from the new source, and leaves it as it is.
func TestRepointRefused(t *testing.T) {
	t.Parallel()
	m := newMoving(t, nil)
	m.old.db.Exec(t, "update t set d = 'infinity' where id = 5")
	m.old.drain()
	m.old.says(m.ask(pipeline.Adoption{Stopped: true}), "does not keep its changes yet")
	m.must(m.ask(pipeline.Adoption{}))
	m.new.db.Exec(t, "alter table t drop v, drop d, alter region type varchar(9), alter big type int using 1, add n int", "insert into t values (1, 1, 'r1', 2), (2, 3, 'r0', null)")
	m.new.says(m.new.once(), "are kept from")
	before := m.newest()
	refuse := func(words ...string) {
		t.Helper()
		m.new.says(m.new.once(), words...)
		if m.newest() != before {
			t.Fatal("the table was written")
		}
	}
	_, err := m.leave(0)
	m.old.says(err, "nobody runs the pipeline", "--until")
	m.must(m.ask(pipeline.Adoption{Stopped: true}))
	refuse("has not handed it over")
	left, err := m.leave(m.old.recorded())
	if m.must(err); !left {
		t.Fatal("it is not left")
	}
	if _, err := m.leaveAs(pipeline.Leaving{To: "another", Path: "public/t"}); err == nil {
		t.Error("it is left twice")
	}
	refuse("column n is not in it", "column v is in it, and not in the source", "column big is", "column d is in it, and not in the source", "1 rows are in its quarantine", "repoint --switch --copy")
	m.must(m.ask(pipeline.Adoption{Stopped: true, Copy: true}))
	refuse("--retype")
	m.must(m.ask(pipeline.Adoption{Stopped: true, Copy: true, Retype: true}))
	m.new.drain()
	m.new.equal(nil)
	if was := m.rows(before, "id"); strings.Count(was, "\n") != 298 { // 300 rows, of which one is in quarantine
		t.Errorf("the rows of before are not there any more:\n%s", was)
	}
	m.new.db.Exec(t, "update t set n = 7")
	m.new.drain()
	m.new.equal(nil)
}

// TestRepointOverflows does not go on where changes of the new source were passed over since somebody was told that
// they are kept: a copy does.
func TestRepointOverflows(t *testing.T) {
	t.Parallel()
	m := newMoving(t, nil)
	m.old.drain()
	m.new.db.Exec(t, fmt.Sprintf(movingRows, 1, 300))
	run := m.new.start(func(o *options) { o.SpoolBytes = 20_000 })
	run.adopt(pipeline.Adoption{From: m.origin()})
	run.waits("are kept from")
	for i, change := range []string{"update t set v = 'between' where id = 4", fmt.Sprintf(movingRows, 301, 360)} { // beyond the bound with the second
		m.new.db.Exec(t, change)
		m.new.await("the spool has it", func() bool { return m.new.spooled("t") == i+1 })
	}
	m.new.db.Exec(t, "update t set v = 'beyond' where id = 5")
	left, err := m.leave(m.old.recorded())
	if m.must(err); !left {
		t.Fatal("it is not left")
	}
	m.new.await("it says that the spool is full", func() bool { return strings.Contains(run.table("public.t").Note, "spool is full") })
	run.adopt(pipeline.Adoption{Stopped: true, From: m.origin()})
	run.waits("are not kept any more", "--copy")
	run.adopt(pipeline.Adoption{Stopped: true, Copy: true, From: m.origin()})
	run.takenOver()
	m.new.equal(run)
}

// TestRepointBack brings a table back to where it came from, and gives a move up before it is done.
func TestRepointBack(t *testing.T) {
	t.Parallel()
	m := prepared(t)
	m.old.drain()
	_, err := m.leave(m.old.recorded())
	m.must(err)
	m.takenOver()
	m.old.db.Exec(t, "delete from t")
	for _, row := range m.new.db.Query(t, "select id, v, region from t") {
		m.old.db.Exec(t, fmt.Sprintf("insert into t values (%s, '%s', repeat(md5('%[1]s'), 100), '%[3]s')", row[0], row[1], row[2]))
	}
	m.new.db.Exec(t, "update t set big = repeat(md5(id::text), 100)")
	m.old, m.new = m.new, m.old
	m.must(m.ask(pipeline.Adoption{}))
	m.new.says(m.new.once(), "are kept from")
	m.old.drain()
	_, err = m.leave(m.old.recorded())
	m.must(err)
	instruct := func(r *rig, verb pipeline.Verb) error {
		_, err := pipeline.Instruct(t.Context(), r.lake, r.name, "public.t", verb, nil)
		return err
	}
	m.old.says(instruct(m.old, pipeline.Add), "is about to go on with it")
	m.must(instruct(m.new, pipeline.Remove))
	m.must(instruct(m.old, pipeline.Add))
	m.old.drain()
	m.old.equal(nil)
	m.must(instruct(m.new, pipeline.Add))
	m.must(m.ask(pipeline.Adoption{}))
	m.new.says(m.new.once(), "are kept from")
	_, err = m.leave(m.old.recorded())
	m.must(err)
	m.takenOver()
}
