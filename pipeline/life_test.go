package pipeline_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
	"lakefeed/storage/mem"
)

// ask asks something for a table of a pipeline that runs.
func (p *running) ask(verb pipeline.Verb, table string) {
	p.r.t.Helper()
	if _, err := p.Instruct(p.r.t.Context(), table, verb); err != nil {
		p.r.t.Fatal(err)
	}
}

// TestPause pauses a table over changes of all kinds and a restart, and resumes it.
func TestPause(t *testing.T) {
	t.Parallel()
	r := newRig(t, wildTable, external, "create table other (id int primary key)")
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, wild(1)...)
	r.await("in step", func() bool { return strings.Contains(r.column("t", "w"), "moved") })
	run.ask(pipeline.Pause, "public.t")
	r.await("it is paused", func() bool { return run.table("public.t").State == pipeline.Paused })
	before := r.column("t", "id")
	r.db.Exec(t, wild(2)...)
	r.db.Exec(t, "insert into other values (1)")
	at := r.lsn("select pg_current_wal_lsn()")
	r.await("the other goes on", func() bool { return r.column("other", "id") == "1" && r.confirmed() >= at })
	run.stop()
	r.db.Exec(t, wild(3)...)
	if err := r.once(); !errors.Is(err, pipeline.ErrPaused) {
		t.Errorf("once: %v", err)
	}
	if got := r.column("t", "id"); got != before || r.spooled("t") < 2 {
		t.Errorf("it was written: %q, %d segments", got, r.spooled("t"))
	}
	run = r.start()
	r.await("it is paused still", func() bool { return run.table("public.t").State == pipeline.Paused })
	run.ask(pipeline.Resume, "public.t")
	r.await("it is in step", func() bool { return run.Status().State == pipeline.Streaming && r.spooled("t") == 0 })
	r.equal(run)
	if _, err := run.Instruct(t.Context(), "public.nosuch", pipeline.Pause); err == nil {
		t.Error("a table that is not there is paused")
	}
}

// TestRemoveAndAddLong takes a table out of the pipeline and in again, with the changes of the
// time between.
func TestRemoveAndAddLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	run.ask(pipeline.Remove, "public.t")
	r.await("it is gone", func() bool { return run.table("public.t").Table == "" })
	r.db.Exec(t, "update t set v = 'b'", "insert into other values (1)")
	r.await("the other goes on", func() bool { return r.column("other", "id") == "1" })
	run.stop()
	r.drain()
	if got := r.column("t", "v"); got != "a" {
		t.Errorf("the lake holds %q", got)
	}
	run = r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	run.ask(pipeline.Add, "public.t")
	r.await("it is copied", func() bool { return r.column("t", "v") == "b" })
	r.db.Exec(t, "insert into t values (2, 'c')")
	r.await("it goes on", func() bool { return r.column("t", "id") == "1 2" })
	r.await("all stream", func() bool { return run.Status().State == pipeline.Streaming })
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}

// recopies lets every table that only a new copy helps have one by itself.
func recopies(o *options) { o.Recopy = func(*change.Table, *pipeline.AnewError) bool { return true } }

// TestRecopiedLong changes tables so that only a new copy helps, one change after the other,
// while the pipeline runs and another table is written all the time: each is copied beside
// the stream, readers see rows all the time where the key stays, and the other is in step.
func TestRecopiedLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cases := map[string]string{
		"anew":    "drop table anew; create table anew (id int primary key, v text, n int); insert into anew values (5, 'new', 1)",
		"retyped": "alter table retyped alter n type text using n || 'x'",
		"renamed": "alter table renamed rename v to w",
		"readded": "alter table readded drop v; alter table readded add v text",
		"filled":  "alter table filled add u uuid default gen_random_uuid()",
		"rekeyed": "alter table rekeyed drop constraint rekeyed_pkey; alter table rekeyed add primary key (n)",
	}
	r := newRig(t, "create table other (id int primary key)")
	for name := range cases {
		r.db.Exec(t, "create table "+name+" (id int primary key, v text, n int not null)", "insert into "+name+" select i, 'a', i from generate_series(1, 50) i")
	}
	run := r.start(recopies)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	n := 0
	for name, sql := range cases {
		r.db.Exec(t, strings.Split(sql, "; ")...)
		r.db.Exec(t, "delete from "+name+" where id = 2")
		was := run.table("public." + name).Instant
		r.await(name+" is copied", func() bool {
			n++
			r.db.Exec(t, fmt.Sprintf("insert into other values (%d)", n))
			if name != "rekeyed" && r.column(name, "id") == "" { // whose folder is removed: who reads it then is told so
				t.Fatalf("%s: readers see nothing", name)
			}
			if s := run.table("public.other"); s.Freshness > 20 {
				t.Fatalf("the other is %f s behind", s.Freshness)
			}
			s := run.table("public." + name)
			return s.State == pipeline.Streaming && s.Instant != was && s.Note == "" && !strings.Contains(r.column(name, "id"), "2 3 ")
		})
	}
	r.await("all stream", func() bool { return run.Status().State == pipeline.Streaming })
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}

// TestResyncAsked copies a table anew because somebody wants it, with changes meanwhile.
func TestResyncAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t, wildTable, external, "create table bad (id int primary key, n numeric(5,2))")
	r.db.Exec(t, wild(1)...)
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	run.ask(pipeline.Resync, "public.t")
	r.db.Exec(t, wild(2)...)
	r.await("it is copied", func() bool {
		s := run.table("public.t")
		return s.State == pipeline.Streaming && s.Note == "" && s.Rows > 20 && !r.ordered("public.t")
	})
	r.await("it is in step", func() bool { report, err := r.validation(run); return err == nil && report.OK() })
	r.equal(run)
	// One that stopped at a value is helped by it, once the value is mended.
	r.db.Exec(t, "insert into bad values (1, 'NaN')")
	r.await("it stops", func() bool { return run.table("public.bad").State == pipeline.Failed })
	run.ask(pipeline.Resync, "public.bad")
	r.await("the copy fails as well", func() bool {
		s := run.table("public.bad")
		return s.State == pipeline.Failed && strings.Contains(s.Error, "copy:")
	})
	r.db.Exec(t, "update bad set n = 1")
	run.ask(pipeline.Resync, "public.bad")
	r.await("it is copied", func() bool { return r.column("bad", "id") == "1" })
	r.db.Exec(t, "insert into bad values (2, 2)")
	r.await("it goes on", func() bool { return r.column("bad", "id") == "1 2" })
	r.await("all stream", func() bool { return run.Status().State == pipeline.Streaming })
	r.equal(run)
}

// TestLakeAway has a lake that refuses every write while a spool of its own does not: the
// source forgets what comes, over a start of the source's connection too, and when the lake
// is back all of it is there.
func TestLakeAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, wildTable, external, "create table other (id int primary key)")
	var full atomic.Bool
	r.lake, r.spool = &noRoom{Store: mem.New(), full: &full}, mem.New()
	run := r.start(retryLake, looksOften)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	full.Store(true)
	for i := range 3 {
		r.db.Exec(t, wild(i)...)
		r.db.Exec(t, fmt.Sprintf("insert into other values (%d)", i))
		at := r.lsn("select pg_current_wal_lsn()")
		r.await("the source may forget", func() bool { return r.confirmed() >= at })
	}
	if r.spooled("t") == 0 || r.spooled("other") == 0 {
		t.Error("the spool has nothing")
	}
	r.db.Exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where active and slot_name = '"+r.slot()+"'")
	r.db.Exec(t, wild(4)...)
	at := r.lsn("select pg_current_wal_lsn()")
	r.await("the source may forget", func() bool { return r.confirmed() >= at })
	full.Store(false)
	r.await("all is in step", func() bool {
		return run.Status().State == pipeline.Streaming && r.spooled("t") == 0 && r.spooled("other") == 0
	})
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}

// ordered reports whether a copy is asked for that was not made yet.
func (r *rig) ordered(table string) bool {
	r.t.Helper()
	orders, err := pipeline.ReadOrders(r.t.Context(), r.lake, r.name)
	if err != nil {
		r.t.Fatal(err)
	}
	return orders[table].Resync != 0
}

// TestNotInStepBetweenCopies asks for the state of a pipeline at each of its first copies: it does not
// stream before the last one is made.
func TestNotInStepBetweenCopies(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table a (id int primary key)", "create table b (id int primary key)", "create table c (id int primary key)")
	var p *pipeline.Pipeline
	var states []pipeline.State
	p, c := r.pipeline(func(o *options) {
		o.Once = true
		o.OnPhase = func(phase string) {
			if phase == "copy" {
				states = append(states, p.Status().State)
			}
		}
	})
	defer r.close(c)
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(states) != 3 || slices.Contains(states, pipeline.Streaming) || p.Status().State != pipeline.Streaming {
		t.Errorf("it was %q, and is %s", states, p.Status().State)
	}
}
