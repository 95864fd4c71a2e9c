package pipeline_test

import (
	"sync"
	"testing"

	"lakefeed/change"
	"lakefeed/pipeline"
)

// TestValueMendedBeforeCopy has a value that the table cannot hold, read while its copy has just
// begun and a round is being written, and mended before the copy's snapshot: when the writer comes
// to it, the copy is there, and its rows are right.
func TestValueMendedBeforeCopy(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, n numeric(5,2))", "insert into t values (1, 1)", "create table other (id int primary key)")
	var begun, writing, published sync.Once
	copying, goOn, busy, write, done := make(chan int), make(chan int), make(chan int), make(chan int), make(chan int)
	armed := make(chan int)
	run := r.start(func(o *options) {
		o.OnPhase = func(phase string) {
			select {
			case <-armed:
			default:
				return
			}
			switch phase {
			case "copy":
				begun.Do(func() { close(copying); <-goOn })
			case "reduce":
				writing.Do(func() { close(busy); <-write })
			case "publish":
				select {
				case <-goOn: // the copy's commit: the round's is held
					published.Do(func() { close(done) })
				default:
				}
			}
		}
	})
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	close(armed)
	run.ask(pipeline.Resync, "public.t")
	<-copying
	r.db.Exec(t, "insert into other values (1)")
	<-busy
	r.db.Exec(t, "insert into t values (2, 'NaN')")
	at := r.lsn("select pg_current_wal_insert_lsn()")
	r.await("it is read", func() bool {
		end, err := change.ParseLSN(run.Status().Read)
		return err == nil && end >= at
	})
	r.db.Exec(t, "update t set n = 2 where id = 2")
	close(goOn)
	<-done
	r.await("it is copied", func() bool { return r.column("t", "id") == "1 2" })
	close(write)
	r.db.Exec(t, "insert into t values (3, 3)")
	r.await("it goes on", func() bool {
		if s := run.table("public.t"); s.State == pipeline.Failed && s.Again.IsZero() {
			t.Fatal(s.Error)
		}
		return r.column("t", "id") == "1 2 3" && run.table("public.t").State == pipeline.Streaming
	})
	r.equal(run)
}
