package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// newSnapshotRig is a rig that reads the log of a primary, and copies tables on its standby.
func newSnapshotRig(t *testing.T, version int, standbyConf map[string]string, sql ...string) *pair {
	t.Helper()
	p := newPairOf(t, version, standbyConf, sql...)
	p.snapshot = p.standby.URL("shop")
	return p
}

// fromStandby lets every table with a key be copied in chunks, on the standby.
func fromStandby(o *options) { chunky(o); o.Bootstrap.Standby = true }

// shopOnStandby is the first value of a statement in the database on the standby.
func (p *pair) shopOnStandby(sql string) string {
	p.t.Helper()
	db := pgtest.Database{Server: p.standby, Name: "shop", URL: p.standby.URL("shop")}
	return db.Query(p.t, sql)[0][0]
}

// TestCopyOnStandby copies a table on a standby, of a version that does not decode there, while it
// is changed: it waits until the standby has replayed what it needs, which holds nobody up, goes on
// where it was interrupted, and loses no more than a chunk where its sessions are ended there.
func TestCopyOnStandby(t *testing.T) {
	t.Parallel()
	p := newSnapshotRig(t, 15, nil, append(toasted, "create table other (id int) ")...)
	p.caughtUp()
	p.db.Exec(t, "alter table other add primary key (id)")
	p.skip["other"] = true // a copy of another table would stand before it in the queue
	p.standby.Exec(t, "select pg_wal_replay_pause()")
	p.db.Exec(t, "create table log (v text)") // has no key: it is read of the primary
	waits := func(run *running) bool {
		s := run.table("public.t")
		return s.State == pipeline.Copying && strings.Contains(s.Note, "waits for the standby: ") && strings.Contains(s.Note, "has replayed its log up to")
	}
	run := p.start(fromStandby)
	p.await("it waits for the standby", func() bool { return waits(run) })
	p.db.Exec(t, "insert into log values ('a')")
	p.await("others are not held up", func() bool { return p.column("log", "v") == "a" })
	p.db.Exec(t, stormy[0])
	run.stop()
	p.standby.Exec(t, "select pg_wal_replay_resume()")

	var n atomic.Int32
	p.cutAt("chunk noted", 3, stormy[1:4], fromStandby, reads(&n))
	p.caughtUp()
	if left := p.staged(); left < 2 {
		t.Errorf("%d parts of chunks are there", left)
	}

	source := &held{Connector: p.source(), meet: func() {
		if n := p.onStandby("select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'lakefeed'"); n == "0" {
			t.Error("no session is there to be ended")
		}
	}}
	run = p.start(fromStandby, func(o *options) { o.Source = source })
	p.db.Exec(t, stormy[4:]...)
	p.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	if s := run.table("public.t"); s.Note != "" || s.CopyChunks != s.CopyChunksDone || p.staged() != 0 {
		t.Errorf("its status is %+v, and %d parts are left", s, p.staged())
	}
	p.equal(run)
	if rows, err := strconv.Atoi(p.shopOnStandby("select seq_tup_read from pg_stat_user_tables where relname = 't'")); err != nil || rows < 2500 {
		t.Errorf("%d rows were read on the standby, %v", rows, err)
	}
}

// held lets something happen while the first chunk is read.
type held struct {
	*postgres.Connector
	first sync.Once
	meet  func()
}

func (h *held) CopyChunk(ctx context.Context, t *change.Table, chunk change.CopyChunk, limit int64, emit func(*change.Batch) error) (change.CopyChunk, error) {
	return h.Connector.CopyChunk(ctx, t, chunk, limit, func(b *change.Batch) error {
		h.first.Do(h.meet)
		return emit(b)
	})
}

// TestCopyConflictsOnStandby copies on a standby that ends what is in the way of its replay.
func TestCopyConflictsOnStandby(t *testing.T) {
	t.Parallel()
	p := newSnapshotRig(t, 17, map[string]string{"max_standby_streaming_delay": "0", "hot_standby_feedback": "off"}, toasted...)
	p.caughtUp()
	source := &held{Connector: p.source(), meet: func() {
		p.db.Exec(t, "delete from t where id % 5 = 0")
		p.await("there is a conflict", func() bool {
			p.db.Exec(t, "vacuum t") // once the snapshot that was let go is gone from the primary
			return p.shopOnStandby("select confl_snapshot + confl_lock + confl_bufferpin from pg_stat_database_conflicts where datname = 'shop'") != "0"
		})
	}}
	var log strings.Builder
	run := p.start(fromStandby, func(o *options) {
		o.Source = source
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	p.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	p.equal(run)
	run.stop()
	if !strings.Contains(log.String(), "conflict with recovery") {
		t.Errorf("no conflict is told of: %s", &log)
	}
}

// TestCopyOnWrongStandby refuses servers that are no standby of the source, and waits for the
// right one where it may come.
func TestCopyOnWrongStandby(t *testing.T) {
	t.Parallel()
	p := newSnapshotRig(t, 16, nil, toasted...)
	p.caughtUp()
	p.snapshot = p.db.URL
	p.says(p.once(fromStandby), "public.t", "snapshot_url leads to a server that is no standby")
	other := newSnapshotRig(t, 16, nil, "select")
	other.caughtUp()
	p.snapshot = other.snapshot
	p.says(p.once(fromStandby), "public.t", "another database system", "name a standby of the source")

	p.snapshot = p.standby.URL("shop")
	source := &held{Connector: p.source(), meet: func() { p.standby.Exec(t, "select pg_promote(true, 60)") }}
	run := p.start(fromStandby, func(o *options) { o.Source = source })
	p.await("it waits for a standby", func() bool { return strings.Contains(run.table("public.t").Note, "no standby (any more)") })
	run.stop()
	p.snapshot = "" // the primary is read
	p.drain()
	p.equal(nil)
}

// TestRewriteBehindStandby writes a table anew between the position of its copy and the plan, as
// VACUUM FULL does: a standby that has not replayed it shows rows where they lay before, and one
// that has, where they lie now. Neither may come into one copy.
func TestRewriteBehindStandby(t *testing.T) {
	t.Parallel()
	p := newSnapshotRig(t, 15, nil, toasted...)
	p.caughtUp()
	c := p.source()
	tables, err := c.Tables(t.Context())
	if err == nil {
		_, err = c.Prepare(t.Context(), tables, func(*change.Table) bool { return false })
	}
	if err == nil {
		_, err = c.CreateSlot(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	p.caughtUp()
	p.standby.Exec(t, "select pg_wal_replay_pause()")
	p.db.Exec(t, "delete from t where id < 500", "vacuum full t")
	plan, err := c.PlanCopy(t.Context(), tables[0], 200_000)
	if err != nil || len(plan.Chunks) < 2 {
		t.Fatalf("%+v, %v", plan, err)
	}
	var rewritten *change.RewrittenError
	if _, err := c.CopyChunk(t.Context(), tables[0], plan.Chunks[0], 0, func(*change.Batch) error { return nil }); !errors.As(err, &rewritten) {
		t.Errorf("a chunk of the old file: %v", err)
	}
	p.standby.Exec(t, "select pg_wal_replay_resume()")
	p.caughtUp()
	if _, err := c.CopyChunk(t.Context(), tables[0], plan.Chunks[1], 0, func(*change.Batch) error { return nil }); err != nil {
		t.Errorf("a chunk of the file that the plan names: %v", err)
	}
}
