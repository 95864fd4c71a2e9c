package pipeline_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/storage"
	"lakefeed/storage/mem"
)

// unnoted makes the first copies of a rig's tables and ends before a record says that they are there,
// as a process does that dies then.
func (r *rig) unnoted() {
	r.t.Helper()
	run := r.start(func(o *options) { o.Interval = time.Hour })
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	run.stop()
	b, _, err := r.lake.Get(r.t.Context(), "_lakefeed/progress/"+r.name)
	r.must(err)
	if strings.Contains(string(b), `"commits"`) {
		r.t.Fatalf("the record knows of the copies: %s", b)
	}
}

// passes waits until the source may forget what was written till now.
func (r *rig) passes() {
	r.t.Helper()
	at := r.lsn("select pg_current_wal_lsn()")
	r.await("the source may forget", func() bool { return r.confirmed() >= at })
}

// TestUnnotedCopyWithoutLake starts without the lake, twice, when no record says that the table has its
// first copy: what comes then is in the spool, and lands when the lake is back.
func TestUnnotedCopyWithoutLake(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	lake := &elsewhere{Store: mem.New()}
	r.lake, r.spool = lake, mem.New()
	r.mods = append(r.mods, retryLake, looksOften)
	r.unnoted()
	lake.away.Store(true)
	for _, row := range []string{"(2, 'b')", "(3, 'c')"} {
		run := r.start()
		r.db.Exec(t, "insert into t values "+row)
		r.passes()
		run.stop()
	}
	lake.away.Store(false)
	r.drain()
	r.equal(nil)
}

// TestUnnotedCopyUnread starts while one table's folder cannot be read, and no record says that the table has
// its first copy: the next start finds in the spool what came then. So it is where the folder can be read
// again while it runs.
func TestUnnotedCopyUnread(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"the next start", "the same"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
			lake := &elsewhere{Store: mem.New(), under: "public/t/"}
			r.lake = lake
			r.mods = append(r.mods, retryLake)
			r.unnoted()
			copies := copiesOf(r)
			lake.away.Store(true)
			run := r.start()
			r.await("it stops", func() bool { return run.table("public.t").State == pipeline.Failed })
			r.db.Exec(t, "insert into t values (2, 'b')", "insert into other values (1)")
			r.passes()
			r.readAgain(lake, run, name == "the same")
			if n := copiesOf(r); n != copies {
				t.Errorf("it was copied anew")
			}
		})
	}
}

// readAgain lets a folder be read again, by a process that runs or by the next one alone, and compares.
func (r *rig) readAgain(lake *elsewhere, run *running, same bool) {
	r.t.Helper()
	if same {
		lake.away.Store(false)
		r.await("it goes on", func() bool { return run.Status().State == pipeline.Streaming })
		r.equal(run)
	}
	run.stop()
	lake.away.Store(false)
	r.drain()
	r.equal(nil)
}

// copiesOf is where the newest copy of the table t was made.
func copiesOf(r *rig) (at change.LSN) {
	r.t.Helper()
	t, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, "public/t"), hudi.Options{})
	r.must(err)
	text, _, err := t.LastExtra(r.t.Context(), pipeline.CheckpointKey(r.name))
	r.must(err)
	var c struct{ Copied change.LSN }
	r.must(json.Unmarshal([]byte(text), &c))
	return c.Copied
}

// TestLeftOutUnread takes a table in again that was left out for a while, while its folder cannot be read: it
// is copied anew, by that process or by the next, and not taken for one that was followed.
func TestLeftOutUnread(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"the next start", "the same"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
			lake := &elsewhere{Store: mem.New(), under: "public/t/"}
			r.lake = lake
			r.mods = append(r.mods, retryLake, recopies)
			r.drain()
			r.skip["t"] = true
			r.db.Exec(t, "insert into t values (2, 'b')", "insert into other values (1)")
			r.drain()
			r.skip = map[string]bool{}
			lake.away.Store(true)
			run := r.start()
			r.await("it stops", func() bool { return run.table("public.t").State == pipeline.Failed })
			r.db.Exec(t, "insert into t values (3, 'c')", "insert into other values (2)")
			r.passes()
			r.readAgain(lake, run, name == "the same")
		})
	}
}

// TestWrongFolder gives a table the folder of another for a while: what came then was passed over, so that the
// table waits for a new copy when it has its own folder again.
func TestWrongFolder(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	r.mods = append(r.mods, func(o *options) {
		o.Recopy = func(v *change.Table, _ *pipeline.AnewError) bool { return v.Name == "other" }
	})
	r.drain()
	wrong := func(o *options) {
		o.Table = func(v *change.Table) pipeline.TableOptions {
			return pipeline.TableOptions{Path: map[string]string{"t": "public/other", "other": "public/elsewhere"}[v.Name]}
		}
	}
	r.db.Exec(t, "insert into t values (2, 'b')")
	r.stopped(r.once(wrong), "public.t", "belongs to table public.other")
	r.stopped(r.once(), "public.t", pipeline.CopyAnew)
	if _, err := pipeline.Instruct(t.Context(), r.lake, r.name, "public.t", pipeline.Resync, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds no note of what was wrong
		r.drain()
		r.equal(nil)
	}
}

// TestUnreadWithoutRecord starts without a record while a table's folder cannot be read: what comes is kept
// for it.
func TestUnreadWithoutRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	lake := &elsewhere{Store: mem.New(), under: "public/t/"}
	r.lake = lake
	r.drain()
	r.db.Exec(t, "insert into other values (0)")
	r.drain() // the other table has all that the source may forget
	r.must(r.lake.Delete(t.Context(), "_lakefeed/progress/"+r.name))
	lake.away.Store(true)
	r.db.Exec(t, "insert into t values (2, 'b')", "insert into other values (1)")
	if err := r.once(); !errors.Is(err, errNoRoute) {
		t.Fatalf("it ends with %v", err)
	}
	if got := r.column("other", "id"); len(got) != 3 {
		t.Errorf("the other table has %q", got)
	}
	lake.away.Store(false)
	r.drain()
	r.equal(nil)
}

// TestRemakeUnread makes the slot anew while a table's folder cannot be read, whose record knows of its copy, or does
// not: the next start finds it waiting for the copy that it needs since.
func TestRemakeUnread(t *testing.T) {
	t.Parallel()
	for _, noted := range []bool{true, false} {
		t.Run(fmt.Sprintf("noted %t", noted), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
			lake := &elsewhere{Store: mem.New(), under: "public/t/"}
			r.lake = lake
			r.mods = append(r.mods, retryLake, func(o *options) { o.Remake = true })
			if r.unnoted(); noted {
				r.drain()
			}
			r.dropSlot()
			r.db.Exec(t, "insert into t values (2, 'b')")
			lake.away.Store(true)
			run := r.start()
			r.await("the other is copied", func() bool { return run.table("public.other").State == pipeline.Streaming })
			r.db.Exec(t, "insert into other values (1)")
			r.passes()
			run.stop()
			lake.away.Store(false)
			r.drain()
			r.equal(nil)
		})
	}
}
