package pipeline_test

import (
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/pipeline"
)

// oneRound lets a drain take all that there is in one round.
func oneRound(o *options) { o.Interval = time.Minute }

// dropWide updates a row, and with key also its key, but for the column that is outside of its
// block, and drops that.
var dropWide = []string{
	"update t set n = n + 1 where id <= 2", "update t set id = 20 where id = 2",
	"alter table t drop big", "insert into t values (3, 3)", "update t set n = n + 1 where id = 20",
}

// TestFillDropped drops a column in the round of an update that left its value, which is outside
// of its block, as it was: nobody asks for that value any more.
func TestFillDropped(t *testing.T) {
	t.Parallel()
	for _, policy := range []pipeline.SchemaPolicy{pipeline.EvolveSchema, pipeline.FreezeSchema} {
		for _, partitioned := range []bool{false, true} {
			t.Run(string(policy), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, "create table t (id int primary key, n int, big text)", "alter table t alter big set storage external",
					"insert into t select i, 0, repeat('x', 5000) from generate_series(1, 2) i")
				r.table = func(v *change.Table) pipeline.TableOptions {
					o := pipeline.TableOptions{}
					if partitioned {
						o = partitionedBy(t, "n")(v)
					}
					o.Schema.Policy = policy
					return o
				}
				r.drain()
				r.db.Exec(t, dropWide...)
				if err := r.once(oneRound); err != nil {
					t.Fatal(err)
				}
				if got := r.column("t", "n"); len(got) != len("1 2 3") {
					t.Errorf("the lake holds %q", got)
				}
				r.equal(nil)
			})
		}
	}
}

// TestDrainDropped does it while the table is paused, so that all comes in one drain.
func TestDrainDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, n int, big text)", "alter table t alter big set storage external",
		"insert into t select i, 0, repeat('x', 5000) from generate_series(1, 2) i")
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	run.ask(pipeline.Pause, "public.t")
	r.await("it is paused", func() bool { return run.table("public.t").State == pipeline.Paused })
	for _, sql := range dropWide {
		r.db.Exec(t, sql)
		at := r.lsn("select pg_current_wal_lsn()")
		r.await("it is in the spool", func() bool { return r.confirmed() >= at })
	}
	run.ask(pipeline.Resume, "public.t")
	r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming && r.spooled("t") == 0 })
	r.equal(run)
}
