package pipeline_test

import (
	"fmt"
	"testing"

	"lakefeed/pipeline"
)

// unsent leaves rows in quarantine that fit: a value of theirs was not sent.
func unsent(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, "create table t (id int, k text, d date, body text, primary key (k, id))", "alter table t alter body set storage external",
		`insert into t select i, E'it''s \\ "' || i, 'infinity', repeat('a', 5000) from generate_series(1, 6) i`)
	r.types = quarantines
	r.drain()
	r.db.Exec(t, "update t set d = '2026-01-01' where id < 6")
	r.drain()
	if report, err := r.validation(nil); err != nil || report.Tables[0].Different != 5 {
		t.Fatalf("%+v, %v", report, err)
	}
	return r
}

func (r *rig) replay() {
	r.t.Helper()
	if err := pipeline.RequestReplay(r.t.Context(), r.lake, r.name, nil); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) replayed() bool {
	r.t.Helper()
	pending, err := pipeline.ReplayPending(r.t.Context(), r.lake, r.name)
	if err != nil {
		r.t.Fatal(err)
	}
	return !pending
}

// TestReplay reads rows of a quarantine from the source, as they are now and in their
// place among the changes.
func TestReplay(t *testing.T) {
	t.Parallel()
	r := unsent(t)
	r.replay()
	r.db.Exec(t, "update t set d = '2026-02-02' where id = 1", "delete from t where id = 2", "update t set d = 'infinity' where id = 3", "update t set id = 40 where id = 4")
	r.drain()
	if !r.replayed() {
		t.Error("the request is still there")
	}
	// Row 4 was not found under the key that it had.
	r.want("columns", r.asideColumns(), `k:it's \ "3,id:3 d,k:it's \ "4,id:40 body,k:it's \ "6,id:6 d`)
	r.replay()
	r.drain()
	r.equal(nil)
	r.db.Exec(t, "update t set d = '2026-01-03'")
	r.drain()
	r.replay()
	r.drain()
	r.equal(nil)
	r.want("in quarantine", r.quarantined("t"), "")
}

// TestReplayWhileRunning asks a pipeline that runs, while rows change.
func TestReplayWhileRunning(t *testing.T) {
	t.Parallel()
	r := unsent(t)
	run := r.start()
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	r.replay()
	for i := 0; !r.replayed(); i++ {
		r.db.Exec(t, fmt.Sprintf("update t set d = '2026-03-01'::date + %d where id = %d", i, 1+i%5), fmt.Sprintf("update t set d = '%s' where id = 6", []string{"infinity", "2026-01-01"}[i%2]))
	}
	r.db.Exec(t, "update t set d = 'infinity' where id = 6")
	r.equal(run)
	if n := run.table("public.t").Quarantined; n != 1 {
		t.Errorf("%d rows are in quarantine", n)
	}
	run.stop()
}

// TestReplayWaitsAlone asks for a replay while a transaction is open that keeps snapshots waiting: the
// stream goes on meanwhile, and the replay comes when that has ended.
func TestReplayWaitsAlone(t *testing.T) {
	t.Parallel()
	r := unsent(t)
	r.db.Exec(t, "create table busy (id int primary key)", "create table other (id int primary key)")
	r.drain()
	tx, err := r.db.Conn(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "insert into busy values (1)")
	}
	if err != nil {
		t.Fatal(err)
	}
	r.replay()
	r.says(r.once(), "were not replayed")
	run := r.start()
	r.db.Exec(t, "insert into other values (1)")
	r.await("the stream goes on", func() bool { return r.column("other", "id") == "1" })
	if r.replayed() {
		t.Error("there was no snapshot to read rows under")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	run.stop()
	r.db.Exec(t, "update t set d = '2026-01-03'")
	r.drain()
	if !r.replayed() {
		t.Error("the request is still there")
	}
	r.equal(nil)
}
