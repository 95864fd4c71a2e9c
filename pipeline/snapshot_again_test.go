package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// stubborn fails to read rows of one table anew, by an error that passes.
type stubborn struct {
	*postgres.Connector
	table string
}

func (s *stubborn) CopyWhere(ctx context.Context, t *change.Table, where string, begun func(change.LSN), emit func(*change.Batch) error) error {
	if t.Name == s.table {
		return errNoRoute
	}
	return s.Connector.CopyWhere(ctx, t, where, begun, emit)
}

// TestSnapshotGivesWay has the first of two incremental snapshots fail again and again: the other is made.
func TestSnapshotGivesWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table a (id int primary key)", "create table b (id int primary key)", "insert into b values (1)")
	run := r.start(func(o *options) {
		o.Source = &stubborn{r.source(), "a"}
		o.Retryable = func(err error) bool { return errors.Is(err, errNoRoute) }
	})
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	for _, name := range []string{"a", "b"} {
		if _, err := run.Snapshot(t.Context(), "public."+name, "id > 0"); err != nil {
			t.Fatal(err)
		}
	}
	state := func(name string) (s pipeline.SnapshotStatus) {
		if now := run.table("public." + name).Snapshot; now != nil {
			s = *now
		}
		return s
	}
	r.await("the second is made", func() bool { return state("b").State == pipeline.SnapshotDone })
	if s := state("a"); s.State == pipeline.SnapshotDone || s.State == pipeline.SnapshotFailed {
		t.Errorf("the first is %+v", s)
	}
}

// TestSnapshotMovesWithItsTable moves a table to another slot, and drops the one that it was in, while rows of it
// are to be read anew: they are, through the other.
func TestSnapshotMovesWithItsTable(t *testing.T) {
	t.Parallel()
	r := newGroupRig(t, "create table a (id int primary key)", "create table b (id int primary key)", "insert into a values (1)")
	r.slots = named("hot: a")
	if err := r.group(func(o *options) { o.Once = true }).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked, err := pipeline.RequestSnapshot(t.Context(), r.lake, r.name, "public.a", "id > 0")
	r.must(err)
	r.slots = pipeline.Slots{}
	run := r.start()
	run.streams("a default", "b default")
	r.await("the rows are read", func() bool {
		s := run.table("a").Snapshot
		return s != nil && s.ID == asked.ID && s.State == pipeline.SnapshotDone
	})
	for info, err := range r.lake.List(t.Context(), "_lakefeed/snapshots", true) {
		t.Errorf("%s is left, %v", info.Name, err)
	}
	r.equal(run)
}

// TestSnapshotPartitionGoneLong takes a partition away while its rows are read anew: they do not come back.
func TestSnapshotPartitionGoneLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, w text) partition by range (id)", "create table low partition of t for values from (0) to (100)",
		"create table high partition of t for values from (100) to (200)", "insert into t select i, 'a' from generate_series(98, 101) i")
	source := &between{Connector: r.source()}
	run := r.start(func(o *options) { o.Source = source })
	source.meet = func() {
		r.db.Exec(t, "drop table high")
		r.await("its rows are gone from the lake", func() bool { return len(strings.Fields(r.column("t", "id"))) == 2 })
	}
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	for i := range 3 { // which partition has which rows is asked by one look, and known by the next
		r.db.Exec(t, fmt.Sprintf("create table look%d (id int primary key)", i))
		r.await("it is looked at", func() bool { return run.table(fmt.Sprintf("public.look%d", i)).State == pipeline.Streaming })
	}
	s, err := run.Snapshot(t.Context(), "public.t", "id > 0")
	r.must(err)
	r.await("the rows are read", func() bool {
		now := run.table("public.t").Snapshot
		return now != nil && now.ID == s.ID && now.State == pipeline.SnapshotDone
	})
	r.equal(run)
}

// TestSnapshotSpoolFull has no room in the spool for rows that were read anew: they are not said to be in the lake,
// and are read again.
func TestSnapshotSpoolFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, spoilable[0], spoilable[1], "insert into t select i, 'v', 'w' from generate_series(1, 50) i", "create table filler (id int primary key)")
	r.drain()
	r.spoil()
	source := &between{Connector: r.source()}
	run := r.start(func(o *options) { o.Source, o.SpoolBytes = source, 1 })
	source.meet = func() {
		run.ask(pipeline.Pause, "public.t")
		r.await("it is paused", func() bool { return run.table("public.t").State == pipeline.Paused })
	}
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	run.ask(pipeline.Pause, "public.filler")
	r.db.Exec(t, "insert into filler values (1)")
	r.await("the spool is full", func() bool { return r.spooled("filler") == 1 })
	s, err := run.Snapshot(t.Context(), "public.t", "true")
	r.must(err)
	state := func() (st pipeline.SnapshotStatus) {
		if now := run.table("public.t").Snapshot; now != nil && now.ID == s.ID {
			st = *now
		}
		return st
	}
	r.await("its rows were passed over", func() bool { return state().State == pipeline.SnapshotDone || state().Error != "" })
	if st := state(); st.State == pipeline.SnapshotDone {
		t.Errorf("it is %+v", st)
	}
	run.ask(pipeline.Resume, "public.t")
	run.ask(pipeline.Resume, "public.filler")
	r.await("the rows are read", func() bool { return state().State == pipeline.SnapshotDone })
	r.equal(run)
}

// TestSnapshotOnce asks twice for rows of a table that is found to need a copy as a whole while they are read: a run
// with Once ends, with the copy.
func TestSnapshotOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, n int)", "insert into t values (1, 1)")
	r.drain()
	for _, where := range []string{"id > 0", "id > 1"} {
		_, err := pipeline.RequestSnapshot(t.Context(), r.lake, r.name, "public.t", where)
		r.must(err)
	}
	var run *running
	started := make(chan struct{})
	source := &between{Connector: r.source(), meet: func() {
		<-started
		r.db.Exec(t, "alter table t alter n type bigint", "insert into t values (2, 2)")
		r.await("it is to be copied", func() bool { return strings.Contains(run.table("public.t").Note, "copied anew") })
	}}
	run = r.start(recopies, func(o *options) { o.Source, o.Once = source, true })
	close(started)
	r.await("it ends", func() bool { return len(run.done) > 0 })
	r.must(run.await())
	if got := r.column("t", "n"); len(got) != 3 {
		t.Errorf("the lake has %s", got)
	}
}
