package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"lakefeed/pipeline"
)

// TestCopiedWithinARound has a table copied anew while a round is open that has changes from
// before the copy's snapshot: they must not come on top of the copy.
func TestCopiedWithinARound(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"rewritten": "update t set v = 'b'; alter table t alter v type text using v || '!'",
		"emptied":   "truncate t; insert into t values (7, 'g'), (8, 'h')",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
			run := r.start(func(o *options) { o.Interval = 3 * time.Second })
			r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
			r.db.Exec(t, "insert into other values (1)")
			r.await("a round ends", func() bool { return r.column("other", "id") == "1" })
			r.db.Exec(t, strings.Split(sql, "; ")...)
			was := run.table("public.t").Instant
			run.ask(pipeline.Resync, "public.t")
			r.await("it is copied", func() bool { s := run.table("public.t"); return s.Instant != was && s.Note == "" })
			r.db.Exec(t, "insert into t values (9, 'i')", "insert into other values (2)")
			r.await("the round is written", func() bool {
				return r.column("other", "id") == "1 2" && strings.Contains(r.column("t", "id"), "9")
			})
			r.equal(run)
			run.stop()
			r.drain()
			r.equal(nil)
		})
	}
}
