package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"lakefeed/change"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage"
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

// flickering is a lake that answers once when it is asked what was asked for tables, and then does not.
type flickering struct {
	*elsewhere
	asked atomic.Int32 // since the lake came back
}

func (f *flickering) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	if strings.HasPrefix(name, f.under) && f.asked.Add(1) == 2 {
		f.away.Store(true)
	}
	return f.elsewhere.Get(ctx, name)
}

// TestRecalledLater has the lake come back, and what was asked for tables go away as it is to be read: the source may
// forget all the same, and no table is written before that is known.
func TestRecalledLater(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	orders := &flickering{elsewhere: &elsewhere{Store: mem.New(), under: "_lakefeed/tables/"}}
	orders.asked.Store(2)
	lake := &elsewhere{Store: orders}
	r.lake, r.spool = lake, mem.New()
	r.mods = append(r.mods, retryLake, looksOften)
	r.drain()
	if _, err := pipeline.Instruct(t.Context(), r.lake, r.name, "public.other", pipeline.Pause, nil); err != nil {
		t.Fatal(err)
	}
	lake.away.Store(true)
	run := r.start()
	r.db.Exec(t, "insert into t values (2, 'b')", "insert into other values (2)")
	r.passes()
	orders.asked.Store(0)
	lake.away.Store(false)
	r.await("it has read in vain what was asked for", orders.away.Load)
	r.db.Exec(t, "insert into t values (3, 'c')", "insert into other values (3)")
	r.passes()
	if got := r.column("t", "id") + r.column("other", "id"); got != "1" {
		t.Errorf("the lake has rows %s", got)
	}
	orders.away.Store(false)
	r.await("it is in step", func() bool {
		return run.table("public.t").State == pipeline.Streaming && run.table("public.other").State == pipeline.Paused && r.spooled("t") == 0
	})
	if got := r.column("other", "id"); got != "" {
		t.Errorf("the table that is paused has rows %s", got)
	}
	run.ask(pipeline.Resume, "public.other")
	r.await("the other is in step", func() bool { return run.Status().State == pipeline.Streaming })
	r.equal(run)
}

// TestSnapshotPartitionGone takes a partition away while its rows are read anew: they do not come back.
func TestSnapshotPartitionGone(t *testing.T) {
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
