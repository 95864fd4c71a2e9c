package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"lakefeed/internal/long"
	"lakefeed/pipeline"
)

// TestCopiesTakeTurnsLong copies two tables on a standby that stands still: neither of them holds up the other, nor
// an incremental snapshot, nor a table that comes and is read of the primary.
func TestCopiesTakeTurnsLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := newSnapshotRig(t, 15, nil, "create table other (id int primary key)", "insert into other values (1)")
	p.caughtUp()
	run := p.start(fromStandby, func(o *options) { o.Bootstrap.Patience = time.Second })
	p.await("it streams", func() bool { return run.table("public.other").State == pipeline.Streaming })
	p.standby.Exec(t, "select pg_wal_replay_pause()")
	p.db.Exec(t, toasted...)
	p.db.Exec(t, "create table u (id int primary key, v text)", "insert into u select i, repeat('u', 600) from generate_series(1, 2000) i")
	waits := func(table string) bool {
		s := run.table(table)
		return s.State == pipeline.Copying && strings.Contains(s.Note, "waits for the standby: ")
	}
	for _, table := range []string{"public.t", "public.u", "public.t", "public.u"} {
		p.await(table+" has its turn", func() bool { return waits(table) })
	}
	p.db.Exec(t, "create table log (v text)", "insert into log values ('a')")
	p.await("what is read of the primary is there", func() bool { return p.column("log", "v") == "a" })
	p.await("another one has its turn", func() bool { return waits("public.t") || waits("public.u") })
	if _, err := run.Snapshot(t.Context(), "public.other", "id > 0"); err != nil {
		t.Fatal(err)
	}
	snapshot := func(state pipeline.SnapshotState) bool {
		s := run.table("public.other").Snapshot
		return s != nil && s.State == state
	}
	p.await("the incremental snapshot has its turn", func() bool { return snapshot(pipeline.SnapshotReading) })
	p.standby.Exec(t, "select pg_wal_replay_resume()")
	p.await("all are made", func() bool {
		return run.table("public.t").State == pipeline.Streaming && run.table("public.u").State == pipeline.Streaming && snapshot(pipeline.SnapshotDone)
	})
	for _, s := range run.Status().Tables {
		if s.Note != "" {
			t.Errorf("%s: %s", s.Table, s.Note)
		}
	}
	p.equal(run)
}
