package pipeline_test

import (
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
	"lakefeed/storage/storagetest"
)

// TestSchemaCrashLong dies at every access to the records that a change of a schema makes, under
// each policy: the change is logged once, and in the end the table equals the source.
func TestSchemaCrashLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for policy, want := range map[pipeline.SchemaPolicy]pipeline.Decision{
		pipeline.EvolveSchema: pipeline.CopiedAnew, pipeline.FreezeSchema: pipeline.Recorded, pipeline.PauseSchema: pipeline.Waits,
	} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, schemaT, "insert into t select i, 'a' from generate_series(1, 50) i")
			r.table = func(*change.Table) pipeline.TableOptions {
				return pipeline.TableOptions{Schema: pipeline.SchemaOptions{Policy: policy}}
			}
			r.drain()
			r.db.Exec(t, "insert into t values (51, 'b')", "alter table t rename v to w", "update t set w = 'c' where id = 5")
			r.dieAtEach()
			if got := r.logged("t", pipeline.ColumnRenamed); got != want {
				t.Errorf("it is %q, want %q", got, want)
			}
			if policy != pipeline.PauseSchema {
				r.equal(nil)
			}
			look, err := r.source().Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pipeline.Instruct(t.Context(), r.lake, r.name, "public.t", pipeline.Apply, look); err != nil {
				t.Fatal(err)
			}
			r.dieAtEach()
			if !r.hasColumn("t", "w") || r.hasColumn("t", "v") {
				t.Error("it is not taken on")
			}
			r.logged("t", pipeline.ColumnRenamed)
			r.drain()
			r.equal(nil)
		})
	}
}

// dieAtEach runs until a run comes to its end, each dying one access to the records later.
func (r *rig) dieAtEach() {
	r.t.Helper()
	inner := r.lake
	defer func() { r.lake = inner }()
	for at := 1; ; at++ {
		faulty := storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: storagetest.Partly, Dead: true, Only: func(c storagetest.Call) bool {
			return strings.HasPrefix(c.Name, "_lakefeed/schema") || strings.HasPrefix(c.Name, "_lakefeed/tables") || strings.HasPrefix(c.Name, "_lakefeed/spool") || strings.HasPrefix(c.Name, "_lakefeed/progress")
		}})
		r.lake = faulty
		_ = r.once(recopies) // it dies, or a table waits
		if !faulty.Fired() {
			r.t.Logf("%d accesses", at-1)
			return
		}
	}
}
