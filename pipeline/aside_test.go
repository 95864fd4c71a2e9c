package pipeline_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lakefeed/pipeline"
)

// TestHeldWithoutSegments fills the spool by one table, and lets others stand aside for a moment while
// it is full: what the source keeps for them comes without a restart of the process.
func TestHeldWithoutSegments(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table filler (id int primary key)", schemaT, "create table copied (id int primary key)")
	run := r.start(func(o *options) { o.SpoolBytes = 1 })
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	run.ask(pipeline.Pause, "public.filler")
	r.await("it is paused", func() bool { return run.table("public.filler").State == pipeline.Paused })
	r.db.Exec(t, "insert into filler values (1)")
	r.await("the spool is full", func() bool { return r.spooled("filler") == 1 })

	run.ask(pipeline.Pause, "public.t")
	r.await("it is paused", func() bool { return run.table("public.t").State == pipeline.Paused })
	r.db.Exec(t, "insert into t values (2, 'b')")
	r.await("the source keeps it", func() bool { return strings.Contains(run.table("public.t").Note, "spool is full") })
	if n := r.spooled("t"); n != 0 {
		t.Fatalf("%d segments", n)
	}
	run.ask(pipeline.Resume, "public.t")
	r.db.Exec(t, "insert into t values (3, 'c')")
	r.await("it is in step", func() bool { return r.column("t", "id") == "2 3" })
	r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })

	at := r.lsn("select pg_current_wal_insert_lsn()")
	run.ask(pipeline.Resync, "public.copied")
	for i := 0; run.table("public.copied").Note != "" || r.ordered("public.copied"); i++ { // rounds that meet the copy
		r.db.Exec(t, fmt.Sprintf("insert into copied values (%d)", i))
		<-time.After(5 * time.Millisecond)
	}
	r.db.Exec(t, "insert into copied values (-1)")
	r.await("it is in step", func() bool { return strings.Contains(" "+r.column("copied", "id"), " -1") })
	run.ask(pipeline.Resume, "public.filler")
	r.await("all stream", func() bool { return run.Status().State == pipeline.Streaming })
	r.await("the source may forget", func() bool { return r.confirmed() > at })
	r.equal(run)
}

// TestCoveredByItsCopy has a round with nothing of a table but changes that its copy has. What comes next
// waits in the spool while the process starts anew: it is not taken for one that lacks something.
func TestCoveredByItsCopy(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	run := r.start(func(o *options) { o.Interval = 2 * time.Second })
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "insert into other values (1)")
	r.await("a round ends", func() bool { return r.column("other", "id") == "1" })
	was := run.table("public.t").Instant
	r.db.Exec(t, "insert into t values (2, 'b')")
	run.ask(pipeline.Resync, "public.t")
	r.await("it is copied", func() bool { s := run.table("public.t"); return s.Instant != was && s.Note == "" })
	r.db.Exec(t, "insert into other values (2)")
	r.await("the round is written", func() bool { return r.column("other", "id") == "1 2" })
	r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming && r.spooled("t") == 0 })
	run.ask(pipeline.Pause, "public.t")
	r.db.Exec(t, "insert into t values (3, 'c')", "insert into other values (3)")
	r.await("it waits in the spool", func() bool { return r.spooled("t") == 1 && r.column("other", "id") == "1 2 3" })
	run.stop()
	run = r.start()
	r.await("it is paused still", func() bool { return run.table("public.t").State == pipeline.Paused })
	run.ask(pipeline.Resume, "public.t")
	r.await("it is in step", func() bool { return r.column("t", "id") == "1 2 3" })
	r.equal(run)
}

// TestCopyOfASpooledTable ends the process when a drain has found that only a copy helps, as the copy
// begins: the start makes it, and misses nothing in the spool.
func TestCopyOfASpooledTable(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	var copies copiesAnew
	run := r.start(copies.let)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	run.ask(pipeline.Pause, "public.t")
	r.await("it is paused", func() bool { return run.table("public.t").State == pipeline.Paused })
	r.db.Exec(t, "insert into t values (2, 'b')", "alter table t rename v to w", "insert into t values (3, 'c')", "insert into other values (1)")
	r.await("it waits in the spool", func() bool { return r.spooled("t") > 0 && r.column("other", "id") == "1" })
	run.stop()

	begun, ended := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(begun) })
	run = r.start(copies.let, func(o *options) {
		o.OnPhase = func(now string) {
			if now == "copy" {
				once()
				<-ended
			}
		}
	})
	r.await("it is paused still", func() bool { return run.table("public.t").State == pipeline.Paused })
	run.ask(pipeline.Resume, "public.t")
	<-begun
	run.cancel()
	close(ended)
	_ = run.end()
	run = r.start(copies.let)
	r.await("it is copied", func() bool { return r.column("t", "id") == "1 2 3" })
	r.await("all stream", func() bool { return run.Status().State == pipeline.Streaming })
	r.equal(run)
}

// TestCopyFailsWithFullSpool has a copy that fails for good, after the spool had no room for what came
// meanwhile: the table stops and waits for a person, and nobody else notices.
func TestCopyFailsWithFullSpool(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table filler (id int primary key)", "create table t (id int primary key, d date)", "create table other (id int primary key)")
	var armed atomic.Bool
	var copies atomic.Int32
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release() // a test that fails must not hang
	run := r.start(func(o *options) {
		o.SpoolBytes = 1
		o.OnPhase = func(now string) {
			if now == "copy" && armed.Load() && copies.Add(1) == 2 { // its changes are followed, and nothing is read
				<-held
			}
		}
	})
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	run.ask(pipeline.Pause, "public.filler")
	r.await("it is paused", func() bool { return run.table("public.filler").State == pipeline.Paused })
	r.db.Exec(t, "insert into filler values (1)", "insert into t values (2, 'infinity')")
	r.await("the spool is full", func() bool { return r.spooled("filler") == 1 })
	r.await("it stops", func() bool { return run.table("public.t").State == pipeline.Failed })
	armed.Store(true)
	run.ask(pipeline.Resync, "public.t")
	r.await("it is copied", func() bool { return copies.Load() == 2 })
	r.db.Exec(t, "insert into t values (3, '2026-01-01')", "insert into other values (1)")
	r.await("the spool has no room", func() bool {
		return r.column("other", "id") == "1" && strings.Contains(run.table("public.t").Note, "spool is full")
	})
	release()
	r.await("the copy fails", func() bool {
		s := run.table("public.t")
		return s.State == pipeline.Failed && strings.Contains(s.Error, "copy:")
	})
	for i := 2; i < 5; i++ {
		r.db.Exec(t, fmt.Sprintf("insert into other values (%d)", i))
		r.await("the other goes on", func() bool { return strings.Count(r.column("other", "id"), " ") == i-1 })
	}
	if s := run.table("public.t"); s.State != pipeline.Failed || copies.Load() != 2 {
		t.Errorf("%d phases of copies, %+v", copies.Load(), s)
	}
}
