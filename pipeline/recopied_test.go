package pipeline_test

import (
	"context"
	"sync"
	"testing"

	"lakefeed/change"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage/mem"
)

// bySchema lets tables be copied by themselves where a change of their schema is why, as `lakefeed run` does.
func bySchema(o *options) {
	o.Recopy = func(_ *change.Table, why *pipeline.AnewError) bool { return why.Schema }
}

// stalling does not open the first snapshot that it is asked for: it waits for the session's end.
type stalling struct {
	*postgres.Connector
	asked   sync.Once
	reached chan struct{}
}

func (s *stalling) OpenSnapshot(ctx context.Context) (at change.LSN, err error) {
	first := false
	s.asked.Do(func() { first = true; close(s.reached) })
	if first {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return s.Connector.OpenSnapshot(ctx)
}

// TestRecopyInterrupted has a session end while a table is copied because of its schema, when the source has
// forgotten what the copy was to bring and the spool has what came since: the next one copies it, whatever is
// left of the spool, and be it that the table cannot be read at once.
func TestRecopyInterrupted(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"process", "connection", "spool discarded", "unread"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
			lake := &elsewhere{Store: mem.New(), under: "_lakefeed/quarantine/public/t"}
			r.lake = lake
			r.mods = append(r.mods, bySchema, retryLake)
			r.drain()
			source := &stalling{Connector: r.source(), reached: make(chan struct{})}
			run := r.start(func(o *options) { o.Source = source })
			r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
			r.db.Exec(t, "alter table t alter v type text using v || '!'", "insert into t values (2, 'b')")
			<-source.reached
			r.db.Exec(t, "insert into t values (3, 'c')", "insert into other values (1)")
			at := r.lsn("select pg_current_wal_lsn()")
			r.await("the source may forget", func() bool { return r.spooled("t") > 0 && r.confirmed() >= at })
			if how == "connection" {
				r.db.Exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where active and slot_name = '"+r.slot()+"'")
			} else {
				_ = run.end() // that it was cancelled
				if how == "spool discarded" {
					r.must(r.lake.DeleteAll(t.Context(), "_lakefeed/spool"))
				}
				lake.away.Store(how == "unread")
				run = r.start()
			}
			if how == "unread" {
				r.await("it cannot be read", func() bool { return run.table("public.t").State == pipeline.Failed })
				lake.away.Store(false)
			}
			r.await("it is copied", func() bool {
				return run.table("public.t").State == pipeline.Streaming && r.column("t", "id") == "1 2 3"
			})
			r.db.Exec(t, "insert into t values (4, 'd')")
			r.await("it goes on", func() bool { return r.column("t", "id") == "1 2 3 4" })
			r.equal(run)
			run.stop()
			r.drain()
			r.equal(nil)
		})
	}
}
