package pipeline_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"lakefeed/pipeline"
	"lakefeed/storage/mem"
)

// holding stops a run as it enters a phase for the n-th time, until it may go on.
func holding(phase string, n int32) (mod func(*options), reached <-chan struct{}, goOn func()) {
	var seen atomic.Int32
	come, on := make(chan struct{}), make(chan struct{})
	return func(o *options) {
		o.OnPhase = func(now string) {
			if now == phase && seen.Add(1) == n {
				close(come)
				<-on
			}
		}
	}, come, sync.OnceFunc(func() { close(on) })
}

// TestCopyGivenUp has a copy fail for good that was to fill a gap: what came behind the gap is not written into
// the table that has it.
func TestCopyGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, n int)", "insert into t values (1, 1)")
	var full atomic.Bool
	r.lake = &noRoom{Store: mem.New(), full: &full, folder: "public/t/"}
	r.drain()
	hold, reached, goOn := holding("copy", 2) // where its table is published, and a snapshot shows it
	t.Cleanup(goOn)
	run := r.start(recopies, hold)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	publication := r.query("select pubname from pg_publication_tables where tablename = 't'")
	r.db.Exec(t, "alter publication "+publication+" drop table t", "insert into t values (2, 2)", "alter publication "+publication+" add table t")
	<-reached
	r.db.Exec(t, "insert into t values (3, 3)")
	r.await("it is in the spool", func() bool { return r.spooled("t") == 1 })
	full.Store(true)
	goOn()
	r.await("it is given up", func() bool { return strings.HasPrefix(run.table("public.t").Error, "copy: ") })
	full.Store(false)
	r.await("the spool is empty", func() bool { return r.spooled("t") == 0 })
	if got := r.column("t", "id"); got != "1" {
		t.Errorf("the lake has rows %s", got)
	}
	run.ask(pipeline.Resync, "public.t")
	r.await("it is copied", func() bool { return run.table("public.t").State == pipeline.Streaming })
	r.equal(run)
}

// TestLargeTableGoneOnce drops a large table in the source while Once waits to copy it: it does not wait on.
func TestLargeTableGoneOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, toasted...)
	r.db.Exec(t, "create table u (id int primary key)", "insert into u select generate_series(1, 2000)")
	hold, reached, goOn := holding("chunk read", 1)
	t.Cleanup(goOn)
	run := r.start(chunky, hold, func(o *options) { o.Once = true })
	t.Cleanup(run.cancel)
	<-reached
	r.db.Exec(t, "drop table u")
	r.await("it is gone", func() bool { return run.table("public.u").Table == "" })
	goOn()
	ended := make(chan error, 1)
	go func() { ended <- run.await() }()
	r.await("it ends", func() bool { return len(ended) > 0 })
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	r.equal(nil)
}

// TestStageOfLostTable copies a table in chunks of which the spool had nothing of use before, and fails
// on the way: what came since it began stays in the spool for the next try.
func TestStageOfLostTable(t *testing.T) {
	t.Parallel()
	r := newRig(t, toasted...)
	var full atomic.Bool
	r.lake = &noRoom{Store: mem.New(), full: &full, folder: "_lakefeed/bootstrap/"}
	r.drain()
	hold, reached, goOn := holding("chunk staged", 4)
	t.Cleanup(goOn)
	var n atomic.Int32
	run := r.start(retryLake, chunky, hold, func(o *options) {
		held := o.OnPhase
		o.OnPhase = func(phase string) {
			if phase == "chunk read" {
				n.Add(1)
			}
			held(phase)
		}
	})
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "alter table t alter n type bigint", "insert into t values (5000, 1, 'new', null)")
	r.await("it stops", func() bool { return run.table("public.t").State == pipeline.Failed })
	run.ask(pipeline.Resync, "public.t")
	<-reached
	r.db.Exec(t, "update t set n = 7 where id < 50", "delete from t where id between 50 and 60")
	r.await("it is in the spool", func() bool { return r.spooled("t") > 0 })
	full.Store(true)
	goOn()
	r.await("it fails", func() bool { return !run.table("public.t").Again.IsZero() })
	had, read := r.staged(), int(n.Load())
	full.Store(false)
	r.await("it is copied", func() bool { return run.table("public.t").State == pipeline.Streaming })
	if again, all := int(n.Load())-read, run.table("public.t").CopyChunks; had == 0 || again > all-had {
		t.Errorf("%d of %d chunks were read once more, though %d were there", again, all, had)
	}
	r.equal(run)
}
