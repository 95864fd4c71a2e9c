package pipeline_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
)

// divided makes the table r@ with partitions of January and February, and an empty table of
// March's rows, where @ is a number.
func (r *rig) divided(n int) {
	r.t.Helper()
	r.do(n, "create table r@ (id int, d date, v text, primary key (id, d)) partition by range (d)",
		"create table jan@ partition of r@ for values from ('2026-01-01') to ('2026-02-01')",
		"create table feb@ partition of r@ for values from ('2026-02-01') to ('2026-03-01')",
		"insert into r@ select i, '2026-01-10'::date + i, 'x' from generate_series(1, 40) i",
		"create table mar@ (like r@ including all)")
	for _, name := range []string{"jan", "jan2", "feb", "mar", "apr", "q2", "q21"} {
		r.skip[fmt.Sprint(name, n)] = true
	}
}

// do runs statements, @ being a number.
func (r *rig) do(n int, sql ...string) {
	r.t.Helper()
	for _, s := range sql {
		r.db.Exec(r.t, strings.Split(strings.ReplaceAll(s, "@", strconv.Itoa(n)), "; ")...)
	}
}

// copiesAnew notes why tables are copied anew, and lets them be.
type copiesAnew struct {
	mu  sync.Mutex
	why map[string]string
}

func (c *copiesAnew) let(o *options) {
	c.why = map[string]string{}
	c.more(o)
}

// more is let that remembers what was noted before.
func (c *copiesAnew) more(o *options) {
	o.Recopy = func(v *change.Table, why *pipeline.AnewError) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.why[v.String()] += why.What
		return why.Schema
	}
}

// of fails the test unless a table was copied anew because of what, or, without that, was not.
func (c *copiesAnew) of(t testing.TB, table, what string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := c.why[table]; (got == "") != (what == "") || !strings.Contains(got, what) {
		t.Errorf("%s was copied anew because of %q, not %q", table, got, what)
	}
}

// leafCase is what is done to the partitions of a table, @ being its number, and why that is copied anew then.
type leafCase struct{ sql, anew string }

// meetLeaves does what the cases say to a table each while the pipeline runs, between two looks.
func (r *rig) meetLeaves(cases []leafCase) {
	r.t.Helper()
	for n := range cases {
		r.divided(n)
	}
	var copies copiesAnew
	run := r.start(copies.let)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	for range 2 { // the second look finds the partitions where they were
		r.passLook(run)
	}
	for n, c := range cases {
		r.do(n, c.sql)
	}
	r.passLook(run)
	for n := range cases {
		r.await("it streams again", func() bool { return run.table(fmt.Sprint("public.r", n)).State == pipeline.Streaming })
	}
	r.equal(run)
	run.stop()
	for n, c := range cases {
		copies.of(r.t, fmt.Sprint("public.r", n), strings.ReplaceAll(c.anew, "@", strconv.Itoa(n)))
	}
	r.drain()
	r.equal(nil)
}

// TestPartitionsComeAndGoLong attaches, detaches, drops and truncates partitions: what that does
// to the rows of their table is in no log, and the lake is right all the same. Where it does
// nothing to them, or takes rows away that can be told, the table is not copied anew.
func TestPartitionsComeAndGoLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cases := []leafCase{
		{"create table apr@ partition of r@ for values from ('2026-04-01') to ('2026-05-01'); insert into r@ values (1, '2026-04-01', 'april')", ""},
		{"alter table r@ attach partition mar@ for values from ('2026-03-01') to ('2026-04-01')", ""},
		{"insert into mar@ values (1, '2026-03-01', 'march'); alter table r@ attach partition mar@ for values from ('2026-03-01') to ('2026-04-01')", "public.mar@ was attached to public.r@ with rows"},
		{"begin; create table apr@ (like r@ including all); insert into apr@ values (1, '2026-04-02', 'a'); alter table r@ attach partition apr@ for values from ('2026-04-01') to ('2026-05-01'); commit", "public.apr@ was attached"},
		{"create table q2@ (like r@ including all) partition by list (id); create table q21@ partition of q2@ for values in (1); insert into q2@ values (1, '2026-05-05', 'q'); alter table r@ attach partition q2@ for values from ('2026-04-01') to ('2026-07-01')", "public.q21@ was attached"},
		{"alter table r@ detach partition jan@; insert into jan@ values (99, '2026-01-01', 'of no concern')", ""},
		{"alter table r@ detach partition jan@ concurrently", ""},
		{"drop table jan@; insert into r@ values (99, '2026-02-03', 'goes on')", ""},
		{"alter table r@ detach partition jan@; create table jan2@ partition of r@ for values from ('2026-01-01') to ('2026-02-01'); insert into r@ values (7, '2026-01-07', 'new')", "written since"},
		{"alter table r@ detach partition jan@; delete from jan@ where id = 3; alter table r@ attach partition jan@ for values from ('2026-01-01') to ('2026-02-01')", "public.jan@ was attached"},
		{"truncate jan@", "public.jan@ of public.r@ was emptied"},
		{"truncate jan@; insert into r@ values (7, '2026-01-07', 'new'); analyze jan@", "public.jan@ of public.r@ was emptied"},
		{"truncate r@; insert into r@ values (7, '2026-01-07', 'new')", ""},
		{"vacuum full jan@; alter table feb@ set (fillfactor = 50)", ""},
		{"cluster jan@ using jan@_pkey", ""},
		{"alter table r@ alter v type text using v || id", "column v of public.r@ was altered and every row was written anew"},
		{"alter table r@ add n serial", "column n was added to public.r@ and every row was written anew"},
		{"alter table r@ add w int default 7; alter table r@ alter v set not null", ""},
	}
	newRig(t).meetLeaves(cases)
}

// TestEmptiedInSavepointLong truncates a table as a whole in a savepoint, whose number no log tells, and partitions of it
// alone behind that, before the next look.
func TestEmptiedInSavepointLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	const emptied = "public.jan@ of public.r@ was emptied"
	fill := func(id int) string {
		return fmt.Sprintf("insert into r@ values (%d, '2026-01-07', 'new'), (%d, '2026-02-07', 'new')", id, id)
	}
	cases := []leafCase{ // what stands between "; " is done at once
		{"begin;savepoint s;truncate r@;" + fill(1) + ";commit", ""},
		{"do $$ begin truncate r@;" + fill(1) + ";exception when division_by_zero then null;end $$", ""},
		{"begin;savepoint s;truncate r@;commit", ""},
		{"begin;savepoint s;truncate r@;" + fill(1) + ";commit; truncate jan@", emptied},
		{"begin;savepoint s;truncate r@;" + fill(1) + ";commit; truncate jan@, feb@", emptied},
		{"begin;savepoint s;truncate r@;" + fill(1) + ";commit; truncate jan@, feb@; " + fill(2), emptied},
		{"begin;truncate r@;" + fill(1) + ";savepoint s;truncate jan@;" + fill(2) + ";commit", emptied},
	}
	newRigAlone(t).meetLeaves(cases) // where no transaction is open
}

// TestPartitionsWhileAwayLong does the same while nobody reads: what cannot be told is copied.
func TestPartitionsWhileAwayLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cases := []leafCase{
		{"create table apr@ partition of r@ for values from ('2026-04-01') to ('2026-05-01'); insert into r@ values (1, '2026-04-01', 'april')", ""},
		{"insert into mar@ values (1, '2026-03-01', 'march'); alter table r@ attach partition mar@ for values from ('2026-03-01') to ('2026-04-01')", "attached"},
		{"drop table jan@", "taken from"},
		{"truncate jan@", "emptied"},
		{"truncate r@; insert into r@ values (7, '2026-01-07', 'new')", ""},
		{"vacuum full jan@", ""},
	}
	r := newRig(t)
	for n := range cases {
		r.divided(n)
	}
	var copies copiesAnew
	run := func() {
		if err := r.once(copies.let); err != nil {
			t.Fatal(err)
		}
	}
	run()
	run()
	for n, c := range cases {
		r.do(n, c.sql)
	}
	run()
	r.equal(nil)
	for n, c := range cases {
		copies.of(t, fmt.Sprint("public.r", n), c.anew)
	}
}

// TestAttachedRowsUpdated updates rows of a partition that brought them, before a look has found it, and leaves their
// large values alone, which are neither in the log nor in the lake.
func TestAttachedRowsUpdated(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for n := range 2 {
		r.divided(n)
		r.do(n, "alter table r@ alter v set storage external; alter table mar@ alter v set storage external",
			"insert into mar@ select i, '2026-03-01', repeat('x', 5000) from generate_series(1, 5) i",
			"alter table r@ add n int; alter table mar@ add n int")
	}
	r.table = func(v *change.Table) pipeline.TableOptions {
		return pipeline.TableOptions{Schema: pipeline.SchemaOptions{Policy: map[string]pipeline.SchemaPolicy{"r1": pipeline.PauseSchema}[v.Name]}}
	}
	var copies copiesAnew
	run := r.start(copies.let)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.passLook(run)
	for n := range 2 {
		r.do(n, "begin; alter table r@ attach partition mar@ for values from ('2026-03-01') to ('2026-04-01'); update r@ set n = 7 where id = 3; commit")
	}
	r.await("it is copied", func() bool {
		return run.table("public.r0").State == pipeline.Streaming && len(strings.Fields(r.column("r0", "id"))) == 45
	})
	copies.of(t, "public.r0", "public.mar0 was attached to public.r0 with rows")
	r.await("the other waits", func() bool { return run.table("public.r1").State == pipeline.Paused })
	r.says(errors.New(run.table("public.r1").Note), "public.mar1 was attached to public.r1 with rows", "schema apply")
	run.ask(pipeline.Resume, "public.r1")
	r.await("the other is copied", func() bool {
		return run.table("public.r1").State == pipeline.Streaming && len(strings.Fields(r.column("r1", "id"))) == 45
	})
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}

// TestPartitionPassesBy has partitions that come, are written and go between two looks, while the
// pipeline runs, behind a look that it did not live to see, and while it stands still. Whether it then
// is one that came and went, or one that went, is a matter of when a look came.
func TestPartitionPassesBy(t *testing.T) {
	t.Parallel()
	cases := []leafCase{
		{"begin; create table apr@ partition of r@ for values from ('2026-04-01') to ('2026-05-01'); insert into r@ values (1, '2026-04-01', 'april'); drop table apr@; commit", "partition public.apr@ "},
		{"begin; alter table r@ attach partition mar@ for values from ('2026-03-01') to ('2026-04-01'); insert into r@ values (1, '2026-03-01', 'march'); alter table r@ detach partition mar@; commit", "partition public.mar@ "},
		{"insert into r@ values (1, '2026-01-01', 'new'), (2, '2026-02-02', 'new'); create table apr@ partition of r@ for values from ('2026-04-01') to ('2026-05-01'); insert into r@ values (1, '2026-04-01', 'stays')", ""},
		{"begin; create table apr@ partition of r@ for values from ('2026-04-01') to ('2026-05-01'); drop table apr@; truncate r@, other; commit; insert into r@ values (1, '2026-01-01', 'new')", ""},
	}
	for _, when := range []string{"running", "killed", "away"} {
		t.Run(when, func(t *testing.T) {
			r := newRig(t, "create table other (id int primary key)", "insert into other values (0)")
			for n := range cases {
				r.divided(n)
			}
			var copies copiesAnew
			run := r.start(copies.let)
			r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
			for range 2 {
				r.passLook(run)
			}
			if when == "away" {
				run.stop()
			}
			for n, c := range cases {
				r.do(n, c.sql)
			}
			r.db.Exec(t, "insert into other values (1)")
			if when == "killed" {
				r.await("it is in the lake", func() bool { return r.column("other", "id") == "1" })
			}
			if when != "running" {
				run.stop()
				if err := r.once(copies.more); err != nil {
					t.Fatal(err)
				}
				run = r.start(recopies)
				r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
			}
			r.passLook(run)
			r.await("all stream", func() bool { return run.Status().State == pipeline.Streaming })
			r.equal(run)
			run.stop()
			for n, c := range cases {
				copies.of(t, fmt.Sprint("public.r", n), strings.ReplaceAll(c.anew, "@", strconv.Itoa(n)))
			}
			if len(r.files("_lakefeed/leaves/"+r.name+"/written")) != 0 {
				t.Errorf("what is noted stays: %s", r.files("_lakefeed/leaves/"+r.name+"/written"))
			}
		})
	}
}

// TestPartitionsPausedLong leaves it to a person what becomes of the rows of a partition that is gone.
func TestPartitionsPausedLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t)
	r.divided(0)
	r.table = func(*change.Table) pipeline.TableOptions {
		return pipeline.TableOptions{Schema: pipeline.SchemaOptions{Policy: pipeline.PauseSchema}}
	}
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	for range 2 {
		r.passLook(run)
	}
	r.db.Exec(t, "drop table jan0")
	r.await("it waits", func() bool { return run.table("public.r0").State == pipeline.Paused })
	r.says(errors.New(run.table("public.r0").Note), "partition public.jan0 was taken from public.r0", "schema apply")
	if _, err := run.Instruct(t.Context(), "public.r0", pipeline.Resume); err != nil {
		t.Fatal(err)
	}
	r.await("it streams", func() bool {
		return run.table("public.r0").State == pipeline.Streaming && len(strings.Fields(r.column("r0", "id"))) == 19
	})
	r.equal(run)
	run.stop()
}

// TestCutBeforeADetach asks for a state of before a partition was detached, whose rows it has.
func TestCutBeforeADetach(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table other (id int primary key)")
	r.divided(1)
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "insert into other values (1)")
	at := r.lsn("select pg_current_wal_insert_lsn()")
	r.await("it is there", func() bool { return r.column("other", "id") == "1" })
	r.passLook(run)
	had, instant := r.column("r1", "id"), run.table("public.r1").Instant
	r.do(1, "alter table r@ detach partition jan@")
	r.await("its rows are gone", func() bool { return r.column("r1", "id") != had })
	r.db.Exec(t, "insert into other values (2)")
	r.await("it goes on", func() bool { return r.column("other", "id") == "1 2" && r.recorded() > at })
	for _, table := range r.mustCut(before(at)).Tables {
		if table.Table == "public.r1" && table.Instant != instant {
			t.Errorf("the cut has instant %s, the rows were there until %s", table.Instant, instant)
		}
	}
}

// TestLeafByLeaf takes partitions one by one, and not their root: rows that move between them,
// truncates of the root, partitions that come with rows and that go and are written alone.
func TestLeafByLeaf(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table r (id int, d date, v text, primary key (id, d)) partition by range (d)", "alter table r alter v set storage external",
		"create table jan partition of r for values from ('2026-01-01') to ('2026-02-01')", "create table feb partition of r for values from ('2026-02-01') to ('2026-03-01')",
		"insert into r select i, '2026-01-10'::date + i, repeat('x', 5000) || i from generate_series(1, 40) i", "create table kept (id int primary key)")
	r.skip["r"] = true
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	count := func(table string) int { return len(strings.Fields(r.column(table, "id"))) }
	if run.table("public.r").Table != "" || count("jan") != 21 || count("feb") != 19 {
		t.Errorf("%+v", run.Status().Tables)
	}
	r.db.Exec(t, "insert into r values (100, '2026-01-05', 'a'), (101, '2026-02-05', 'b')",
		"update r set d = '2026-02-20' where id between 2 and 9", "update r set d = d - 20, v = 'moved and changed' where id = 30",
		"begin; update r set d = '2026-02-21' where id = 100; update r set d = '2026-01-21' where id = 100; delete from r where id = 101; commit")
	r.equal(run)
	if got := r.query("select count(*) from jan where id = 30 and v = 'moved and changed'"); got != "1" {
		t.Fatal("no row moved")
	}
	r.db.Exec(t, "create table mar (like r including all)", "insert into mar values (1, '2026-03-01', 'march')",
		"begin; create table apr (like r including all); insert into apr values (1, '2026-04-02', 'april'); alter table r attach partition apr for values from ('2026-04-01') to ('2026-05-01'); commit",
		"alter table r attach partition mar for values from ('2026-03-01') to ('2026-04-01')",
		"update r set d = '2026-03-03' where id = 1 and d < '2026-02-01'", "update r set d = '2026-02-03' where d = '2026-04-02'", "insert into r values (7, '2026-04-07', 'later')")
	r.await("they are taken in", func() bool {
		return run.table("public.mar").State == pipeline.Streaming && run.table("public.apr").State == pipeline.Streaming
	})
	r.equal(run)
	r.db.Exec(t, "alter table r detach partition feb", "insert into feb values (200, '2029-01-01', 'alone')", "delete from feb where id = 25", "update feb set v = 'later' where id = 26")
	r.equal(run)
	r.db.Exec(t, "truncate r", "insert into r values (300, '2026-01-03', 'anew'), (301, '2026-03-03', 'anew')", "insert into feb values (302, '2026-02-03', 'stays')")
	r.equal(run)
	if count("feb") < 20 || r.column("jan", "id") != "300" || r.column("mar", "id") != "301" || r.column("apr", "id") != "" {
		t.Errorf("jan %s, feb %s, mar %s, apr %s", r.column("jan", "id"), r.column("feb", "id"), r.column("mar", "id"), r.column("apr", "id"))
	}
	run.stop()
	r.db.Exec(t, "delete from feb where id = 200", "alter table r attach partition feb for values from ('2026-02-01') to ('2026-03-01')",
		"update r set d = '2026-02-22' where id = 300", "drop table apr")
	r.drain()
	r.equal(nil)
	if r.column("jan", "id") != "" || r.query("select count(*) from feb where id = 300") != "1" {
		t.Errorf("jan %s, feb %s", r.column("jan", "id"), r.column("feb", "id"))
	}
}
