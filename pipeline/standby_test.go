package pipeline_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
)

// newPairOf is a primary with its standby, and a rig that knows of the primary.
func newPairOf(t *testing.T, version int, standbyConf map[string]string, sql ...string) *pair {
	t.Helper()
	p := &pair{primary: pgtest.Start(t, pgtest.Options{Version: version})}
	p.primary.Exec(t, "create database shop")
	p.standby = p.primary.Standby(t, standbyConf)
	p.rig = newRigOn(t, &pgtest.Database{Server: p.primary, Name: "shop", URL: p.primary.URL("shop")}, sql...)
	return p
}

// newStandbyRig is a rig that reads a standby, and writes into its primary.
func newStandbyRig(t *testing.T, version int, standbyConf map[string]string, sql ...string) *pair {
	t.Helper()
	p := newPairOf(t, version, standbyConf, sql...)
	p.url, p.rig.primary = p.standby.URL("shop"), p.primary.URL("shop")
	p.caughtUp()
	return p
}

// load writes transactions of some rows, one after the other, until it is stopped or the server
// is gone; stop returns how many rows were written at least, and at most.
func (p *pair) load() (stop func() (least, most int)) {
	p.t.Helper()
	conn, err := pgx.Connect(p.t.Context(), p.primary.URL("shop"))
	if err != nil {
		p.t.Fatal(err)
	}
	var over atomic.Bool
	var done, tried int
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { _ = conn.Close(p.t.Context()) }()
		for err := error(nil); err == nil && !over.Load(); {
			tried += 10
			_, err = conn.Exec(p.t.Context(), fmt.Sprintf("insert into t select i, repeat('x', 100) from generate_series(%d, %d) i", tried-9, tried))
			if err == nil {
				_, err = conn.Exec(p.t.Context(), fmt.Sprintf("update t set v = 'changed %d' where id = %d", tried, tried/2))
				done = tried
			}
			<-time.After(2 * time.Millisecond) // others want the processor
		}
	}()
	return func() (int, int) { over.Store(true); <-ended; return done, tried }
}

// onStandby is the first value of a statement on the standby.
func (p *pair) onStandby(sql string) string {
	p.t.Helper()
	return p.standby.Query(p.t, sql)[0][0]
}

// TestStandby: a standby is read without a heartbeat: what comes, how much log it may still take, and
// what it held at a time; then it is promoted under the pipeline.
func TestStandby(t *testing.T) {
	t.Parallel()
	p := newStandbyRig(t, 18, map[string]string{"max_slot_wal_keep_size": "64MB", "wal_keep_size": "0"}, schemaT, "insert into t values (1, 'a')")
	source := p.quiet()
	run := p.start(func(o *options) { o.Source, o.WALBudget.Every = source, 100*time.Millisecond })
	p.await("the copy is in the lake", func() bool { return p.column("t", "id") == "1" })
	p.db.Exec(t, "insert into t values (2, 'b')")
	p.await("the change is in the lake", func() bool { return p.column("t", "id") == "1 2" })
	p.standby.Exec(t, "select pg_wal_replay_pause()")
	says := func() bool {
		return run.Status().Slot != nil && strings.Contains(run.Status().Slot.Text(), "has its replay paused")
	}
	p.await("it is said that the replay is paused", says)
	p.standby.Exec(t, "select pg_wal_replay_resume()")
	p.await("it is said no more", func() bool { return !says() })
	const segments = 5 * 16 << 20 // that of the slot, and what it may keep behind that
	p.await("the slot is measured", func() bool { return run.Status().Slot != nil && run.Status().Slot.SlotFigures != nil })
	if slot := run.Status().Slot; slot.Safe <= 0 || slot.Safe > segments || slot.Safe < segments-slot.Kept-16<<20 {
		t.Errorf("%d bytes may still come, %d are kept", slot.Safe, slot.Kept)
	}
	when, err := time.Parse("2006-01-02 15:04:05.999999Z07", p.query("select clock_timestamp() at time zone 'utc'")+"Z")
	if err != nil {
		t.Fatal(err)
	}
	var cut *pipeline.ConsistentCut
	p.await("it is known what there was by then", func() bool {
		p.db.Exec(t, "checkpoint")
		p.standby.Exec(t, "checkpoint")
		cut, err = p.findCut(func(o *pipeline.CutOptions) { o.At = when })
		return err == nil
	})
	if cut.Time.After(when) || len(cut.Tables) != 1 {
		t.Errorf("as of %s: %+v", when, cut)
	}
	p.promote()
	p.db.URL = p.standby.URL("shop")
	p.db.Exec(t, "insert into t values (3, 'c')")
	p.await("the lake has what came after", func() bool { return p.column("t", "id") == "1 2 3" })
	run.stop()
	p.equal(nil)
}

// TestStandbyLong: a standby is read under load, with first copies, a comparison and a restart in
// between; then it is promoted under the pipeline, which goes on exactly.
func TestStandbyLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := newStandbyRig(t, 17, nil, schemaT, "insert into t select -i, 'old' from generate_series(1, 1000) i", "create table log (v text)")
	stop := p.load()
	p.drain() // under load: the slot's snapshot and the stream behind it meet
	if slots := p.query("select count(*) from pg_replication_slots where slot_name = '%s'", p.slot()); slots != "0" {
		t.Errorf("the primary has %s slots of ours", slots)
	}
	run := p.start()
	p.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	p.db.Exec(t, "create table later (id int primary key)", "insert into later select generate_series(1, 100)", "insert into log values ('a')")
	p.await("a table that came is copied beside", func() bool { return run.table("public.later").State == pipeline.Streaming })
	p.equal(run)
	p.db.Exec(t, "alter table later add column v text default 'd'", "insert into later values (101)")
	p.await("the lake has the column", func() bool { return strings.Contains(p.column("later", "id"), "101") })
	run.stop()
	p.drain()
	run = p.start()
	p.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	p.promote()
	least, most := stop()
	p.db.URL = p.standby.URL("shop")
	p.db.Exec(t, "insert into t values (1000000, 'after')", "delete from t where id = -1")
	p.await("the lake has what came after", func() bool { return strings.Contains(" "+p.column("t", "id")+" ", " 1000000 ") })
	p.equal(run)
	run.stop()
	if timeline := run.Status().Source.Timeline; timeline != 2 {
		t.Errorf("the lake follows timeline %d", timeline)
	}
	p.drain()
	p.equal(nil)
	if have := len(strings.Fields(p.column("t", "id"))) - 1000; have < 1 || have > most {
		t.Errorf("%d rows came, %d to %d were written", have, least, most)
	}
}

// TestStandbyByHandLong: without a way to the primary, publications are made by hand; what is to be
// run is said, and `run --once` drains to what the standby has replayed.
func TestStandbyByHandLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := newStandbyRig(t, 16, nil, schemaT, "insert into t values (1, 'a')")
	p.rig.primary = ""
	err := p.once()
	p.says(err, "standby", "primary_url", "CREATE PUBLICATION")
	p.byHand()
	p.onIdle(func() error { return p.once() })
	p.db.Exec(t, "insert into t values (2, 'b')", "create table other (id int primary key)")
	p.caughtUp()
	p.says(p.once(), "public.other", "ALTER PUBLICATION", "ADD TABLE")
	if got := p.column("t", "id"); got != "1 2" {
		t.Errorf("the lake holds %s", got)
	}
}

// TestStandbySlotLostLong: the primary removes catalog rows that the standby's slot needs, or is run
// with too low a wal_level. That is said; resync makes the slot anew and copies all tables.
func TestStandbySlotLostLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := newStandbyRig(t, 17, map[string]string{"hot_standby_feedback": "off"}, schemaT, "insert into t values (1, 'a')")
	p.drain()
	p.db.Exec(t, "create table gone (id int)", "drop table gone", "insert into t values (2, 'b')", "vacuum pg_class, pg_attribute, pg_type")
	p.await("the slot is invalid", func() bool {
		return p.onStandby("select invalidation_reason is not null from pg_replication_slots where slot_name = '"+p.slot()+"'") == "t"
	})
	p.refused(p.once(), "lost its log", "hot_standby_feedback")
	if err := pipeline.ResyncAll(t.Context(), p.lake, p.name); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.equal(nil)
	p.primary.Exec(t, "alter system set wal_level = replica")
	for _, again := range []func() error{func() error { return p.primary.Stop("fast") }, p.primary.Start} {
		if err := again(); err != nil {
			t.Fatal(err)
		}
	}
	p.await("the slot is invalid", func() bool {
		return p.onStandby("select invalidation_reason from pg_replication_slots where slot_name = '"+p.slot()+"'") == "wal_level_insufficient"
	})
	p.refused(p.once(), "lost its log", "wal_level below logical")
	if err := pipeline.ResyncAll(t.Context(), p.lake, p.name); err != nil {
		t.Fatal(err)
	}
	p.says(p.once(), "wal_level", "ALTER SYSTEM SET wal_level = 'logical'")
}
