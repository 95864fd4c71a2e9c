package pipeline_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
	"lakefeed/internal/long"
	"lakefeed/internal/seed"
)

// load changes rows of the tables t and keyless until the test ends.
func (r *rig) load() {
	r.t.Helper()
	r.db.Exec(r.t, schemaT, "create table keyless (n int, v text)")
	seed := seed.New(r.t)
	ctx, stop := context.WithCancel(r.t.Context())
	var done sync.WaitGroup
	conns := []*pgx.Conn{r.db.Conn(r.t), r.db.Conn(r.t)} // two, so that transactions overlap
	r.t.Cleanup(func() { stop(); done.Wait() })          // before they are closed
	for worker, conn := range conns {
		done.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(worker)))
			for ctx.Err() == nil {
				if err := r.work(ctx, conn, rng); err != nil && ctx.Err() == nil {
					r.t.Errorf("a statement of the application failed: %v", err)
					return
				}
			}
		})
	}
}

func (r *rig) work(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		from := rng.IntN(300)
		for _, sql := range []string{
			"insert into keyless values (%d, 'k')",
			"insert into t values (%d, 'new') on conflict (id) do update set v = t.v || 'x'",
			"delete from t where id = %d",
		}[:1+rng.IntN(3)] {
			if _, err := tx.Exec(ctx, fmt.Sprintf(sql, from)); err != nil {
				return err
			}
			from++ // rising, so that no two wait for each other
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rng.IntN(3)) * time.Millisecond):
		}
		return nil
	})
}

// TestHoldAndCut validates a pipeline that runs, under load, many times: each cut must
// hold exactly what the snapshot shows.
func TestHoldAndCut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.load()
	run := r.start()
	for range 10 {
		r.equal(run)
	}
	run.stop()
	r.equal(nil)
}

// TestCutWithoutPipelineLong brings a lake that nobody feeds to a position, under load.
func TestCutWithoutPipelineLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t)
	r.load()
	for range 5 {
		r.drain()
		r.equal(nil)
	}
}

// TestHoldIsForgotten has somebody ask who does not come back for the cut.
func TestHoldIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.load()
	run := r.start()
	for range 2 {
		at, err := run.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if read, err := change.ParseLSN(run.Status().Read); err != nil || at != read || at == 0 {
			t.Errorf("held at %s, read up to %s, %v", at, read, err)
		}
	}
	r.equal(run) // another comes
}

// TestOnceDrains has everything that was committed before it in the lake, and the
// snapshot's transactions exactly where it is told to end.
func TestOnceDrains(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT)
	for i := range 5 {
		r.db.Exec(t, fmt.Sprintf("insert into t values (%d, 'a')", i))
		r.drain()
		if got := r.column("t", "id"); len(got) != 2*i+1 {
			t.Fatalf("drain %d: the lake holds %q", i, got)
		}
	}
	open := r.db.Conn(t)
	tx, err := open.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "insert into t values (100, 'committed later')"); err != nil {
		t.Fatal(err)
	}
	r.db.Exec(t, "insert into t values (5, 'before')")
	until := r.lsn("select pg_current_wal_lsn()")
	r.db.Exec(t, "insert into t values (6, 'behind')")
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.once(func(o *options) { o.Until = until }); err != nil {
		t.Fatal(err)
	}
	if got := r.column("t", "id"); got != "0 1 2 3 4 5" {
		t.Errorf("up to %s the lake holds %q", until, got)
	}
	if got := r.recorded(); got > until {
		t.Errorf("the lake says that it holds %s", got)
	}
	r.drain()
	r.equal(nil)
}

// TestSpilledLong does the same with rounds that do not fit in memory.
func TestSpilledLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, schemaT)
	r.drain()
	r.db.Exec(t, "insert into t select i, repeat('x', 200) from generate_series(1, 20000) i",
		"update t set id = id + 100000, v = v || 'y' where id % 3 = 0", "delete from t where id % 7 = 0", "update t set v = 'z' where id % 11 = 0")
	p, c := r.pipeline(func(o *options) { o.Once, o.MemoryBudget = true, 256<<10 })
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.close(c)
	if p.Status().Spilled == 0 {
		t.Error("nothing was spilled")
	}
	r.equal(nil)
}

// TestCutOfCleanedTableLong keeps nothing but the newest commit, which may be a compaction.
func TestCutOfCleanedTableLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, schemaT)
	r.mods = append(r.mods, func(o *options) { o.CompactAfter, o.RetainCommits = 1, 1 })
	r.drain()
	for i := range 4 {
		r.db.Exec(t, fmt.Sprintf("insert into t values (%d, 'a')", i), "update t set v = v || 'x'")
		r.equal(nil)
		r.equal(nil) // with nothing new
	}
}
