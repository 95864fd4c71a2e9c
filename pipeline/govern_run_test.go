package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
	"lakefeed/storage"
	"lakefeed/storage/mem"
)

// elsewhere is a lake that is now and then away: its calls fail, or nobody answers them.
type elsewhere struct {
	storage.Store
	away, silent atomic.Bool
	under        string // what of it is; "": all
}

var errNoRoute = errors.New("no route to host")

func (s *elsewhere) call(ctx context.Context, name string) error {
	switch {
	case !s.away.Load(), !strings.HasPrefix(name, s.under):
		return nil
	case s.silent.Load():
		<-ctx.Done()
		return ctx.Err()
	}
	return errNoRoute
}

func (s *elsewhere) Open(ctx context.Context, name string) (storage.Reader, error) {
	if err := s.call(ctx, name); err != nil {
		return nil, err
	}
	return s.Store.Open(ctx, name)
}

func (s *elsewhere) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	if err := s.call(ctx, name); err != nil {
		return nil, "", err
	}
	return s.Store.Get(ctx, name)
}

func (s *elsewhere) Create(ctx context.Context, name string) (storage.Writer, error) {
	if err := s.call(ctx, name); err != nil {
		return nil, err
	}
	return s.Store.Create(ctx, name)
}

func (s *elsewhere) Put(ctx context.Context, name string, data []byte) error {
	if err := s.call(ctx, name); err != nil {
		return err
	}
	return s.Store.Put(ctx, name, data)
}

func (s *elsewhere) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if err := s.call(ctx, name); err != nil {
		return err
	}
	return s.Store.PutIfAbsent(ctx, name, data)
}

func (s *elsewhere) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	if err := s.call(ctx, name); err != nil {
		return "", err
	}
	return s.Store.PutIfMatch(ctx, name, data, v)
}

func (s *elsewhere) List(ctx context.Context, folder string, recursive bool) iter.Seq2[storage.Info, error] {
	if err := s.call(ctx, folder); err != nil {
		return func(yield func(storage.Info, error) bool) { yield(storage.Info{}, err) }
	}
	return s.Store.List(ctx, folder, recursive)
}

func (s *elsewhere) Dirs(ctx context.Context, folder string) ([]string, error) {
	if err := s.call(ctx, folder); err != nil {
		return nil, err
	}
	return s.Store.Dirs(ctx, folder)
}

func (s *elsewhere) Delete(ctx context.Context, name string) error {
	if err := s.call(ctx, name); err != nil {
		return err
	}
	return s.Store.Delete(ctx, name)
}

// newRigAlone is a rig on a server of its own: a slot's lag counts what other databases write, too.
func newRigAlone(t testing.TB, sql ...string) *rig {
	t.Helper()
	return newRigOn(t, pgtest.Start(t, pgtest.Options{}).NewDatabase(t), sql...)
}

// looksOften lets the governor see soon whether the lake is away, and back.
func looksOften(o *options) {
	o.WALBudget.Every, o.WALBudget.Answer = 100*time.Millisecond, 200*time.Millisecond
}

// governed is a rig whose spool has a place of its own, with a budget that is measured often.
func governed(t *testing.T, budget pipeline.WALBudget) (*rig, *elsewhere) {
	t.Helper()
	newRig := newRig
	if budget.Spool > 0 {
		newRig = newRigAlone
	}
	r := newRig(t, wildTable, external, "create table other (id int primary key)")
	lake := &elsewhere{Store: mem.New()}
	r.lake, r.spool = lake, mem.New()
	r.mods = append(r.mods, retryLake, func(o *options) { o.WALBudget = budget }, looksOften)
	return r, lake
}

// passes runs rounds of changes, each of which the source is to be told that it may forget.
func (r *rig) forgets(run *running, from, to int) {
	r.t.Helper()
	for i := from; i < to; i++ {
		r.db.Exec(r.t, wild(i)...)
		at := r.lsn("select pg_current_wal_lsn()")
		r.await(fmt.Sprintf("the source may forget round %d", i), func() bool { return r.confirmed() >= at })
	}
	if s := run.Status(); s.Spooled == 0 {
		r.t.Errorf("nothing is in the spool: %+v", s)
	}
}

// TestGovernorSpoolsLong has a lake that gives no answer while changes come: as soon as the
// slot's lag is over the budget nothing waits for the lake any more, and the slot moves. When the lake is
// back, all comes in the order of the log.
func TestGovernorSpoolsLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, silent := range []bool{true, false} {
		t.Run(fmt.Sprintf("silent %t", silent), func(t *testing.T) {
			t.Parallel()
			r, lake := governed(t, pipeline.WALBudget{Spool: 64 << 10})
			run := r.start()
			r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
			r.db.Exec(t, wild(1)...)
			r.await("it is in step", func() bool { return strings.Contains(r.column("t", "w"), "moved") })
			lake.silent.Store(silent)
			lake.away.Store(true)
			r.db.Exec(t, "select pg_logical_emit_message(false, 'ballast', repeat('x', 1 << 17))") // which is over the budget
			r.forgets(run, 2, 6)
			r.await("it says so", func() bool { return strings.Contains(run.Status().Error, "is away") })
			r.db.Exec(t, "create table late (id int primary key)", "insert into late values (1)")
			lake.away.Store(false)
			r.await("it is in step again", func() bool {
				s := run.Status()
				return s.State == pipeline.Streaming && s.Spooled == 0 && s.Error == "" && s.Slot.Step == pipeline.StepNone && len(s.Tables) == 3
			})
			r.db.Exec(t, "insert into t values (-1, 'last', 'last')")
			r.await("the last comes", func() bool { return strings.Contains(r.column("t", "w"), "last") })
			r.equal(run)
			run.stop()
			r.drain()
			r.equal(nil)
		})
	}
}

// TestGovernorDiverts has a lake that answers, and a lag over the budget all the same: rounds
// go to the spool and from there into the tables, until the lag is within the budget.
func TestGovernorDiverts(t *testing.T) {
	t.Parallel()
	r := newRig(t, wildTable, external)
	r.mods = append(r.mods, retryLake, func(o *options) { o.WALBudget = pipeline.WALBudget{Spool: 1, Every: 50 * time.Millisecond} })
	run := r.start()
	r.await("it diverts", func() bool { s := run.Status().Slot; return s != nil && s.Step == pipeline.StepSpool })
	for i := range 4 {
		r.db.Exec(t, wild(i)...)
		want := fmt.Sprintf("touched %d", i)
		r.await("it comes", func() bool { return strings.Contains(r.column("t", "w"), want) })
	}
	r.equal(run)
}

// TestStartWithoutLakeLong starts, and ends, and dies, while the lake is away: the changes go to the
// spool all the time, and who paused a table finds it paused.
func TestStartWithoutLakeLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r, lake := governed(t, pipeline.WALBudget{})
	r.drain()
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	if _, err := run.Instruct(t.Context(), "public.other", pipeline.Pause); err != nil {
		t.Fatal(err)
	}
	r.db.Exec(t, wild(1)...)
	r.await("it is in step", func() bool { return strings.Contains(r.column("t", "w"), "moved") })
	run.stop()
	lake.away.Store(true)
	for i := range 3 {
		lake.silent.Store(i == 1)
		r.db.Exec(t, wild(10*i+2)...)
		r.db.Exec(t, fmt.Sprintf("insert into other values (%d)", i))
		again := r.start()
		r.forgets(again, 10*i+3, 10*i+5)
		if s := again.Status(); !strings.Contains(s.Error, "is away") {
			t.Errorf("it says %q", s.Error)
		}
		again.stop()
	}
	again := r.start()
	r.forgets(again, 40, 41)
	lake.away.Store(false)
	r.await("it is in step again", func() bool {
		return again.table("public.t").State == pipeline.Streaming && again.table("public.other").State == pipeline.Paused && again.Status().Error == ""
	})
	if got := r.column("other", "id"); got != "" {
		t.Errorf("a table that was paused has %q", got)
	}
	if _, err := again.Instruct(t.Context(), "public.other", pipeline.Resume); err != nil {
		t.Fatal(err)
	}
	r.await("the other is in step", func() bool { return again.table("public.other").State == pipeline.Streaming })
	r.equal(again)
}

// TestStartWithoutLakeWaits starts while the lake is away and the record beside the spool is not
// the newest: it waits for the lake. Without any such record it ends, as for a wrong configuration.
func TestStartWithoutLakeWaits(t *testing.T) {
	t.Parallel()
	r, lake := governed(t, pipeline.WALBudget{})
	r.drain()
	old, _, err := r.spool.Get(t.Context(), r.name+"/progress")
	r.must(err)
	r.db.Exec(t, wild(1)...)
	r.drain()
	r.must(r.spool.Put(t.Context(), r.name+"/progress", old))
	r.db.Exec(t, wild(2)...)
	lake.away.Store(true)
	run := r.start()
	r.await("it waits", func() bool { return strings.Contains(run.Status().Error, "only the lake knows more") })
	confirmed := r.confirmed()
	lake.away.Store(false)
	r.await("it goes on", func() bool { return strings.Contains(r.column("t", "w"), "touched 2") })
	if r.confirmed() < confirmed {
		t.Error("the slot went back")
	}
	r.equal(run)
	run.stop()
	lake.away.Store(true)
	r.must(r.spool.Delete(t.Context(), r.name+"/progress"))
	r.says(r.start().await(), errNoRoute.Error())
}

// TestLakeEmptied has a lake that is not where it was, while the spool is: it is refused.
func TestLakeEmptied(t *testing.T) {
	t.Parallel()
	r, _ := governed(t, pipeline.WALBudget{})
	r.drain()
	r.lake = mem.New()
	r.refused(r.once(), "knows nothing", "not mounted")
}
