package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// rewriting is a source whose table is truncated or written anew, times times, before
// the nth copy under a snapshot.
type rewriting struct {
	*postgres.Connector
	times, nth int
	do         func()
	copies     int // under this snapshot
}

func (s *rewriting) CreateSlot(ctx context.Context) (change.LSN, error) {
	s.copies = 0
	return s.Connector.CreateSlot(ctx)
}

func (s *rewriting) OpenSnapshot(ctx context.Context) (change.LSN, error) {
	s.copies = 0
	return s.Connector.OpenSnapshot(ctx)
}

func (s *rewriting) Copy(ctx context.Context, t *change.Table, emit func(*change.Batch) error) error {
	if s.copies++; s.copies == s.nth && s.times > 0 {
		s.times--
		s.do()
	}
	return s.Connector.Copy(ctx, t, emit)
}

// rewrites are what makes a snapshot show other rows than it has.
var rewrites = map[string]string{
	"truncate": "truncate t; insert into t values (7, 'after')",
	"alter":    "alter table t alter v type text using v || ''",
}

// validateRewriting validates a pipeline that runs.
func (r *rig) validateRewriting(run *running, source *rewriting) pipeline.TableReport {
	r.t.Helper()
	source.Connector = r.source()
	report, err := pipeline.Validate(r.t.Context(), pipeline.ValidateOptions{
		Name: r.name, Source: source, Lake: r.lake, Cut: run.Cut, Logger: r.logger(),
		Hold: func(ctx context.Context) error { _, err := run.Hold(ctx); return err },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if source.times > 0 {
		r.t.Errorf("the table was to be written anew %d times more", source.times)
	}
	return report.Tables[0]
}

// TestValidateTruncated truncates the table, or has every row of it written anew, while
// it is compared, before the source is read and in between: nothing differs.
func TestValidateTruncated(t *testing.T) {
	t.Parallel()
	for name, sql := range rewrites {
		for nth, table := range []string{"create table t (id int primary key, v text)", "create table t (id int, v text)"} {
			t.Run(fmt.Sprint(name, " before read ", nth+1), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, table, "insert into t select i, 'a' from generate_series(1, 50) i")
				run := r.start(func(o *options) { o.Interval = 300 * time.Millisecond }) // the catalogs are looked at after ten times as long
				r.await("copied", func() bool { return run.table("public.t").Instant != "" })
				report := r.validateRewriting(run, &rewriting{times: 2, nth: nth + 1, do: func() { r.db.Exec(t, sql) }})
				if !report.OK() {
					t.Errorf("%+v", report)
				}
			})
		}
	}
}

// TestValidateTruncatedAlways gives up, and says why.
func TestValidateTruncatedAlways(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	run := r.start()
	r.await("copied", func() bool { return run.table("public.t").Instant != "" })
	report := r.validateRewriting(run, &rewriting{times: 5, nth: 1, do: func() { r.db.Exec(t, "truncate t") }})
	r.says(errors.New(report.Error), "public.t was truncated", "run validate again")
}

// TestCopyTruncated truncates a table after the snapshot of its first copy was opened:
// it is copied under another one, and what the log brings fits.
func TestCopyTruncated(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{rewrites["truncate"], "vacuum full t"} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, schemaT, "insert into t select i, repeat(md5(i::text), 200) from generate_series(1, 50) i", "alter table t alter v set storage external")
			source := &rewriting{Connector: r.source(), times: 2, nth: 1, do: func() { r.db.Exec(t, "update t set id = id + 100 where id in (select max(id) from t)", sql) }}
			if err := r.once(func(o *options) { o.Source = source }); err != nil {
				t.Fatal(err)
			}
			if source.times > 0 {
				t.Error("the table was not written anew")
			}
			r.equal(nil)
		})
	}
}

// TestRewrittenWhileRunning adds a column whose value every row got by itself, which is
// in no log, while the pipeline runs: the table stops with what it had before, and says so.
func TestRewrittenWhileRunning(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "alter table t add u uuid default gen_random_uuid()", "insert into t values (2, 'b')", "insert into other values (1)")
	r.await("it stops", func() bool { return run.table("public.t").State == pipeline.Failed })
	r.says(errors.New(run.table("public.t").Error), "column u was added", "every row was written anew", "copied anew")
	r.await("the other goes on", func() bool { return r.column("other", "id") == "1" })
	if got := r.column("t", "id"); got != "1" {
		t.Errorf("the lake holds %q", got)
	}
}
