package pipeline_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
	"lakefeed/storage/mem"
)

// TestMadeAnewWaits makes tables anew under policies that leave that to a person: they wait
// over restarts, though what is done to them is not published, and are copied when somebody
// takes that on.
func TestMadeAnewWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table pausing (id int primary key, v text)", "create table freezing (id int primary key, v text)", "insert into pausing values (1, 'old')", "insert into freezing values (1, 'old')")
	r.table = func(v *change.Table) pipeline.TableOptions {
		return pipeline.TableOptions{Schema: pipeline.SchemaOptions{Policy: map[string]pipeline.SchemaPolicy{"pausing": pipeline.PauseSchema, "freezing": pipeline.FreezeSchema}[v.Name]}}
	}
	names := []string{"pausing", "freezing"}
	waits := func(run *running) {
		t.Helper()
		for _, name := range names {
			r.await(name+" waits", func() bool {
				s := run.table("public." + name)
				return s.State == pipeline.Paused && s.Error == "" && strings.Contains(s.Note, "schema plan")
			})
		}
	}
	run := r.start(recopies)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	for _, name := range names { // another key, so that the frozen one waits as well
		r.db.Exec(t, "drop table "+name, "create table "+name+" (id int, v text primary key)", "insert into "+name+" values (2, 'new')")
	}
	waits(run)
	run.stop()
	run = r.start(recopies)
	waits(run)
	for _, name := range names {
		r.db.Exec(t, "insert into "+name+" values (3, 'newer')")
		run.ask(pipeline.Apply, "public."+name)
	}
	for _, name := range names {
		r.await(name+" is copied", func() bool { return r.column(name, "id") == "2 3" || r.column(name, "id") == "3 2" })
		r.await(name+" streams", func() bool { return run.table("public."+name).State == pipeline.Streaming })
	}
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}

// TestResyncAtOnce asks for a copy when nothing was read since the one that is there.
func TestResyncAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	var copies atomic.Int32
	count := func(o *options) {
		o.OnPhase = func(phase string) {
			if phase == "copy" {
				copies.Add(1)
			}
		}
	}
	ask := func() {
		t.Helper()
		if _, err := pipeline.Instruct(t.Context(), r.lake, r.name, "public.t", pipeline.Resync, nil); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		if err := r.once(count); err != nil {
			t.Fatal(err)
		}
		if want := int32(n + 1); copies.Load() != want {
			t.Errorf("%d copies, not %d", copies.Load(), want)
		}
		if n < 2 {
			ask()
		}
	}
	if err := r.once(count); err != nil || copies.Load() != 3 {
		t.Errorf("%d copies, %v", copies.Load(), err)
	}
	if orders, err := pipeline.ReadOrders(t.Context(), r.lake, r.name); err != nil || len(orders) != 0 {
		t.Errorf("orders %v, %v", orders, err)
	}
	run := r.start()
	r.await("streaming", func() bool { return run.table("public.t").State == pipeline.Streaming })
	for range 2 {
		was := run.table("public.t").Instant
		run.ask(pipeline.Resync, "public.t")
		r.await("it is copied", func() bool {
			s := run.table("public.t")
			return s.State == pipeline.Streaming && s.Instant != was
		})
	}
	r.equal(run)
}

// TestFirstCopyLakeAwayLong has tables come while the lake takes nothing: they are copied when it is back.
func TestFirstCopyLakeAwayLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	var full atomic.Bool
	r.lake, r.spool = &noRoom{Store: mem.New(), full: &full}, mem.New()
	run := r.start(retryLake, looksOften)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	full.Store(true)
	for i := range 3 {
		r.db.Exec(t, fmt.Sprintf("create table n%d (id int primary key)", i), fmt.Sprintf("insert into n%d values (1)", i))
	}
	r.await("a copy fails", func() bool { return run.table("public.n0").State == pipeline.Failed })
	r.db.Exec(t, "insert into n0 values (2)", "insert into t values (2, 'b')")
	r.await("the lake is away", func() bool { return strings.Contains(run.table("public.t").Error, "is away") })
	r.db.Exec(t, "create table n3 (id int primary key)", "insert into n3 values (1)") // of which not even the folder can be looked at
	r.await("it fails too", func() bool { return run.table("public.n3").State == pipeline.Failed })
	full.Store(false)
	for i := range 4 {
		name := fmt.Sprintf("public.n%d", i)
		r.await(name+" streams", func() bool { return run.table(name).State == pipeline.Streaming })
	}
	r.await("all is in step", func() bool { return run.table("public.t").State == pipeline.Streaming && r.spooled("t") == 0 })
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}

// TestInherited has a table that others inherit from: it lands with its own rows, and each
// heir is a table like any other.
func TestInherited(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table parent (id int primary key, v text)", "create table child (w int default 1, primary key (id)) inherits (parent)",
		"insert into parent values (1, 'own')", "insert into child values (2, 'heir', 3)")
	run := r.start(recopies)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "create table late (primary key (id)) inherits (parent)", "insert into late values (4, 'late')", "update parent set v = v || '!'", "insert into parent values (5, 'own')", "delete from parent where id = 5", "insert into child values (6, 'x')")
	r.await("all have come", func() bool {
		return r.column("parent", "v") == "own!" && r.column("child", "id") == "2 6" && r.column("late", "v") == "late!"
	})
	r.equal(run)
	r.db.Exec(t, "alter table late no inherit parent", "alter table parent add n int default 7", "update parent set v = 'both'")
	r.await("they have come", func() bool { return r.column("child", "v") == "both both" && r.column("child", "n") == "7 7" })
	r.equal(run)
	r.db.Exec(t, "truncate parent", "insert into child values (7, 'after')")
	r.await("it is emptied with its heirs", func() bool { return r.column("parent", "id") == "" && r.column("child", "id") == "7" })
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}

// TestNoLongerComputed lets a column be one like any other that was computed, and left out.
func TestNoLongerComputed(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, pgtest.Shared(t, 15).NewDatabase(t), "create table t (id int primary key, n int generated always as (id * 10) stored)", "insert into t values (1), (2)")
	run := r.start(recopies)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "alter table t alter n drop expression", "insert into t values (3, 5)")
	r.await("it has come", func() bool { return r.hasColumn("t", "n") && strings.Contains(r.column("t", "n"), "10 20") })
	r.equal(run)
	run.stop()
}
