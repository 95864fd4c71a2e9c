package pipeline_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"lakefeed/pipeline"
)

// locks locks tables as VACUUM FULL does, until release is called.
func (r *rig) locks(tables string) (release func()) {
	r.t.Helper()
	lock, err := r.db.Conn(r.t).Begin(r.t.Context())
	if err == nil {
		_, err = lock.Exec(r.t.Context(), "lock table "+tables)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return func() {
		r.t.Helper()
		if err := lock.Rollback(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestStartsBesideLocks starts, and is to copy, while somebody has tables locked: one that is left out, and one
// that it follows. Neither the start nor the stream waits for them.
func TestStartsBesideLocks(t *testing.T) {
	t.Parallel()
	r := newRigAlone(t, schemaT, "create table left_out (id int primary key)", "create table held (id int primary key)", "insert into held values (1)")
	r.skip["left_out"] = true
	r.drain()
	release := r.locks("left_out, held")
	run := r.start()
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "insert into t values (1, 'a')")
	r.await("rows come", func() bool { return r.column("t", "id") == "1" })
	run.ask(pipeline.Resync, "public.held")
	r.await("the copy has not waited for long", func() bool {
		s := run.table("public.held")
		return s.State == pipeline.Failed && strings.Contains(s.Error, "lock") && !s.Again.IsZero()
	})
	r.db.Exec(t, "alter table t add w int", "insert into t values (2, 'b', 3)") // the catalogs are asked
	r.await("rows come, of other columns too", func() bool { return r.column("t", "id") == "1 2" })
	release()
	r.await("it is copied", func() bool { return run.table("public.held").State == pipeline.Streaming })
	r.equal(run)
}

// TestFirstCopyLocked has somebody lock a table while the one before it has its first copy: that is tried again
// beside the stream, which does not wait for it.
func TestFirstCopyLocked(t *testing.T) {
	t.Parallel()
	r := newRigAlone(t, "create table a (id int primary key)", "insert into a values (1)", "create table b (id int primary key)", "insert into b values (1)")
	r.copyLock = 100 * time.Millisecond
	release := make(chan func(), 1)
	var once sync.Once
	run := r.start(func(o *options) {
		o.OnPhase = func(phase string) {
			if phase == "copy" {
				once.Do(func() { release <- r.locks("b") })
			}
		}
	})
	r.await("the others stream", func() bool { return run.table("public.a").State == pipeline.Streaming })
	r.db.Exec(t, "insert into a values (2)")
	r.await("they go on", func() bool { return r.column("a", "id") == "1 2" })
	r.await("the locked one waits", func() bool {
		s := run.table("public.b")
		return s.State == pipeline.Failed && strings.Contains(s.Error, "somebody has locked public.b") && !s.Again.IsZero()
	})
	(<-release)()
	r.await("it is copied", func() bool { return run.table("public.b").State == pipeline.Streaming })
	r.equal(run)
}
