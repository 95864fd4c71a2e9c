package pipeline_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lakefeed/pipeline"
	"lakefeed/storage/mem"
)

// retryLake tries again what the lake may let pass.
func retryLake(o *options) {
	o.RetryTable = func(err error) bool { _, ok := errors.AsType[*pipeline.LakeError](err); return ok }
}

// stopped is the record of the tables that stopped.
func (r *rig) stops() map[string]pipeline.Stop {
	r.t.Helper()
	stops, err := pipeline.ReadStopped(r.t.Context(), r.lake, r.name)
	if err != nil {
		r.t.Fatal(err)
	}
	return stops
}

// TestLakeErrorPasses has a lake that refuses one table's files for a while: the table is
// tried again, the others go on, the status says so, and none of it needs a restart.
func TestLakeErrorPasses(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	var full atomic.Bool
	r.lake = &noRoom{Store: mem.New(), full: &full, folder: "public/t/"}
	run := r.start(retryLake)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	full.Store(true)
	r.db.Exec(t, "insert into t values (2, 'b')")
	r.await("it stops", func() bool { return run.table("public.t").State == pipeline.Failed })
	since := run.table("public.t").Since
	r.await("the next try is told", func() bool { return !run.table("public.t").Again.IsZero() })
	tries := map[time.Time]bool{}
	for i := range 2 { // with tries in between
		r.db.Exec(t, "insert into other values ("+string(rune('0'+i))+")")
		r.await("the other goes on", func() bool { return strings.Count(r.column("other", "id"), " ") == i && r.column("other", "id") != "" })
		r.await("another try", func() bool {
			tries[run.table("public.t").Again] = true
			delete(tries, time.Time{})
			return len(tries) > i
		})
	}
	r.await("it stands again", func() bool { return run.table("public.t").State == pipeline.Failed })
	if s := run.table("public.t"); !s.Since.Equal(since) || !strings.Contains(s.Error, errNoRoom.Error()) {
		t.Errorf("it stands since %s and not %s, because of %s", s.Since, since, s.Error)
	}
	if stop := r.stops()["public.t"]; !stop.Since.Equal(since) || !strings.Contains(stop.Why, errNoRoom.Error()) {
		t.Errorf("the lake says %+v", stop)
	}
	full.Store(false)
	r.await("it goes on", func() bool { return strings.Contains(r.column("t", "id"), "2") })
	r.await("the record is gone", func() bool { return len(r.stops()) == 0 })
	if s := run.table("public.t"); s.State != pipeline.Streaming || s.Error != "" || !s.Since.IsZero() {
		t.Errorf("%+v", s)
	}
	r.equal(run)
}

// TestLakeGone has a lake that refuses everything for a while: the pipeline goes on by itself.
func TestLakeGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	var full atomic.Bool
	r.lake = &noRoom{Store: mem.New(), full: &full}
	run := r.start(retryLake)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	full.Store(true)
	r.db.Exec(t, "insert into t values (2, 'b')")
	r.await("it says why", func() bool { return strings.Contains(run.Status().Error, errNoRoom.Error()) })
	full.Store(false)
	r.await("it goes on", func() bool { s := run.Status(); return s.Error == "" && strings.Contains(r.column("t", "id"), "2") })
	run.stop()
	r.drain()
	r.equal(nil)
}

// TestStoppedIsRemembered looks at the lake when the process has ended: it says which
// table stands, since when and why, until the table goes on.
func TestStoppedIsRemembered(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table bad (id int primary key, n numeric(5,2))")
	r.drain()
	if len(r.stops()) != 0 {
		t.Fatalf("nothing stands: %v", r.stops())
	}
	r.db.Exec(t, "insert into bad values (7, 'NaN')")
	r.stopped(r.once(), "public.bad", "NaN")
	first := r.stops()["public.bad"]
	for _, word := range []string{"NaN", "id = 7", "copied anew"} {
		r.says(errors.New(first.Why), word)
	}
	if age := time.Since(first.Since); age < 0 || age > time.Minute {
		t.Errorf("it stands since %s", first.Since)
	}
	r.stopped(r.once(), "public.bad", "NaN") // since the first time
	if again := r.stops()["public.bad"]; !again.Since.Equal(first.Since) {
		t.Errorf("it stands since %s and not %s", again.Since, first.Since)
	}
	r.db.Exec(t, "delete from bad")
	if err := r.lake.DeleteAll(t.Context(), "public/bad"); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if len(r.stops()) != 0 {
		t.Errorf("nothing stands: %v", r.stops())
	}
	r.equal(nil)
}

// TestStoppedIsDamaged goes on with a record that cannot be read.
func TestStoppedIsDamaged(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	if err := r.lake.Put(t.Context(), "_lakefeed/stopped/"+r.name, []byte(`{"public.t": `)); err != nil {
		t.Fatal(err)
	}
	_, err := pipeline.ReadStopped(t.Context(), r.lake, r.name)
	r.says(err, "damaged", "remove the file")
	r.drain()
	r.equal(nil)
}

// TestFolderRemoved takes a table's folder away while the pipeline runs: it says so and
// how to go on, and the next start copies the table.
func TestFolderRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	run := r.start(retryLake)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	if err := r.lake.DeleteAll(t.Context(), "public/t"); err != nil {
		t.Fatal(err)
	}
	r.db.Exec(t, "insert into t values (2, 'b')", "insert into other values (1)")
	r.await("it stops", func() bool { return run.table("public.t").State == pipeline.Failed })
	r.says(errors.New(run.table("public.t").Error), "public/t", "is gone from the lake", "copied anew")
	r.await("the other goes on", func() bool { return r.column("other", "id") == "1" })
	at := r.lsn("select pg_current_wal_lsn()")
	r.await("the source may forget", func() bool { return r.confirmed() >= at })
	run.stop()
	if err := r.lake.DeleteAll(t.Context(), "public/t"); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.equal(nil)
	if got := r.column("t", "id"); len(got) != 3 {
		t.Errorf("the lake holds %q", got)
	}
}
