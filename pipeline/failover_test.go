package pipeline_test

import (
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage/mem"
)

// pair is a primary, its physical standby, and a rig whose URL names both.
type pair struct {
	*rig
	primary, standby *pgtest.Server
}

func newPair(t *testing.T, version int, primaryConf, standbyConf map[string]string, sql ...string) *pair {
	t.Helper()
	p := &pair{primary: pgtest.Start(t, pgtest.Options{Version: version, Conf: primaryConf})}
	p.primary.Exec(t, "create database shop")
	p.standby = p.primary.Standby(t, standbyConf)
	u, err := url.Parse(p.primary.URL("shop"))
	if err != nil {
		t.Fatal(err)
	}
	u.Host = fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", p.primary.Port(), p.standby.Port())
	u.RawQuery += "&target_session_attrs=primary"
	p.rig = newRigOn(t, &pgtest.Database{Server: p.primary, Name: "shop", URL: u.String()}, sql...)
	return p
}

// promote ends the primary as a power cut does, and makes the standby the primary.
func (p *pair) promote() {
	p.t.Helper()
	if err := p.primary.Stop("immediate"); err != nil {
		p.t.Fatal(err)
	}
	p.standby.Exec(p.t, "select pg_promote(true, 60)")
}

// caughtUp waits until the standby has all of the primary's log.
func (p *pair) caughtUp() {
	p.t.Helper()
	at := p.query("select pg_current_wal_flush_lsn()")
	p.await("the standby has it", func() bool {
		return p.standby.Query(p.t, "select pg_last_wal_replay_lsn() >= '"+at+"'")[0][0] == "t"
	})
}

// failoverSlot marks the pipeline's slot as one that goes over to the standby, and waits until it has.
func (p *pair) failoverSlot() {
	p.t.Helper()
	p.failover = postgres.FailoverOn
	p.drain()
	if got := p.query("select failover from pg_replication_slots where slot_name = '%s'", p.slot()); got != "t" {
		p.t.Fatal("the slot does not go over to the standby")
	}
	p.synced()
}

// synced waits until the standby has the slot as the primary has it.
func (p *pair) synced() {
	p.t.Helper()
	p.await("the slot is on the standby", func() bool {
		p.primary.Exec(p.t, "select pg_log_standby_snapshot()") // behind which the slot can move
		p.drain()                                               // and does
		rows := p.standby.Query(p.t, "select synced and not temporary from pg_replication_slots where slot_name = '"+p.slot()+"'")
		return len(rows) == 1 && rows[0][0] == "t"
	})
}

var syncing = map[string]string{"sync_replication_slots": "on"}

// TestFailoverSlotLong: the primary dies under load; the standby that has the slot is promoted, and
// the pipeline that runs goes on there, exactly.
func TestFailoverSlotLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := newPair(t, 17, map[string]string{"synchronized_standby_slots": "standby"},
		map[string]string{"sync_replication_slots": "on", "synchronized_standby_slots": ""}, schemaT) // else it would wait for a standby of its own
	p.drain()
	p.failoverSlot()
	run := p.start()
	p.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	written := make(chan int)
	stop := make(chan struct{})
	go func() { // what is written until the primary is gone
		n := 0
		defer func() { written <- n }()
		conn, err := pgx.Connect(t.Context(), p.primary.URL("shop"))
		for ; err == nil; n++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err = conn.Exec(t.Context(), "insert into t values ($1, repeat('x', 200))", n)
		}
	}()
	p.await("some of it is in the lake", func() bool { return len(strings.Fields(p.column("t", "id"))) > 100 })
	p.promote()
	close(stop)
	n := <-written
	p.db.Exec(t, "insert into t values (1000000, 'after')", "update t set v = 'changed' where id < 10", "delete from t where id = 11")
	p.await("the lake has what came after", func() bool { return strings.Contains(" "+p.column("t", "id")+" ", " 1000000 ") })
	p.equal(run)
	run.stop()
	p.drain()
	p.equal(nil)
	if have := len(strings.Fields(p.column("t", "id"))); have < 100 || have > n+1 {
		t.Errorf("%d rows of %d", have, n)
	}
}

// TestFailoverWithoutSlotLong: where the promoted standby does not have the slot, that is refused.
func TestFailoverWithoutSlotLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := newPair(t, 0, nil, nil, schemaT, "insert into t values (1, 'a')")
	p.drain()
	p.caughtUp()
	p.promote()
	p.db.Exec(t, "insert into t values (2, 'b')")
	p.refused(p.once(), p.slot(), "gone")
}

// TestLakeAheadLong: the standby that is promoted lacks what the lake has of one table. That table is
// refused by name until it is copied anew; the other goes on.
func TestLakeAheadLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := newPair(t, 17, nil, syncing, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	p.drain()
	p.db.Exec(t, "insert into other values (1)")
	p.drain()
	p.failoverSlot()
	p.caughtUp()
	if err := p.standby.Stop("fast"); err != nil {
		t.Fatal(err)
	}
	p.db.Exec(t, "insert into t values (2, 'the standby lacks it')")
	p.drain()
	if err := p.primary.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	if err := p.standby.Start(); err != nil {
		t.Fatal(err)
	}
	p.standby.Exec(t, "select pg_promote(true, 60)")
	// The log of the new timeline grows past what the lake has.
	p.db.Exec(t, "insert into other select generate_series(2, 20000)", "insert into t values (3, 'after')")
	for range 2 {
		p.says(p.once(), "public.t", "the lake is ahead of the database", "copied anew")
	}
	if got := len(strings.Fields(p.column("other", "id"))); got != 20000 {
		t.Errorf("the other table has %d rows", got)
	}
	if _, err := pipeline.Instruct(t.Context(), p.lake, p.name, "public.t", pipeline.Resync, nil); err != nil {
		t.Fatal(err)
	}
	run := p.start()
	p.await("it is copied anew", func() bool { return run.table("public.t").State == pipeline.Streaming && p.column("t", "id") == "1 3" })
	p.equal(run)
}

// TestQuarantineAtFailoverLong: the standby that is promoted has all that a table holds, and not all of the
// log up to its position. What is in quarantine stays there, and what comes within that stretch of the log is
// taken, also where the lake refuses it at first.
func TestQuarantineAtFailoverLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := newPair(t, 17, nil, syncing, "create table t (id int primary key, d date)")
	var full atomic.Bool
	p.lake, p.types = &noRoom{Store: mem.New(), full: &full, folder: "public/t/"}, quarantines
	p.drain()
	p.failoverSlot()
	source := p.quiet()
	run := p.start(func(o *options) { o.Source, o.Interval = source, time.Minute })
	p.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	p.db.Exec(t, "insert into t values (1, '2026-01-01'), (2, 'infinity')")
	p.caughtUp()
	p.must(p.standby.Stop("fast"))
	_, err := run.Hold(t.Context())
	p.must(err)
	noise := func() { // of another database
		p.primary.Exec(t, "select count(pg_logical_emit_message(false, 'noise', repeat('n', 1 << 20))) from generate_series(1, 16)")
	}
	noise()
	at := p.lsn("select pg_current_wal_insert_lsn()")
	noise()
	_, err = run.Cut(t.Context(), at)
	p.must(err)
	run.stop()
	p.close(source)
	aside := p.quarantined("t")
	if got := p.column("t", "id"); got != "1" || !strings.HasPrefix(aside, "2 d ") {
		t.Fatalf("the lake holds %q, and %q aside", got, aside)
	}
	p.must(p.primary.Stop("immediate"))
	p.must(p.standby.Start())
	p.standby.Exec(t, "select pg_promote(true, 60)")
	full.Store(true)
	run = p.start(retryLake)
	p.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	p.db.Exec(t, "insert into t values (3, '2026-01-03')")
	if end := p.lsn("select pg_current_wal_lsn()"); end >= at {
		t.Fatalf("the log ends at %s, behind what the lake says, %s", end, at)
	}
	p.await("it is in the spool", func() bool { return p.spooled("t") > 0 })
	full.Store(false)
	p.await("it is in step", func() bool { return p.spooled("t") == 0 && run.Status().State == pipeline.Streaming })
	p.want("the lake", p.column("t", "id"), "1 3")
	p.want("put aside", p.quarantined("t"), aside)
	p.equal(run)
	run.stop()
	p.drain()
	p.want("put aside, after a restart", p.quarantined("t"), aside)
	p.equal(nil)
}

// TestFormerPrimaryLong: the primary of before a promotion comes back beside the new one; its log is
// none that the lake's comes from.
func TestFormerPrimaryLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := newPair(t, 17, nil, syncing, schemaT, "insert into t values (1, 'a')")
	p.drain()
	p.failoverSlot()
	p.caughtUp()
	p.promote()
	p.db.Exec(t, "insert into t values (2, 'b')")
	p.drain()
	if got := p.column("t", "id"); got != "1 2" {
		t.Errorf("the lake holds %s", got)
	}
	if err := p.primary.Start(); err != nil { // the first in the URL
		t.Fatal(err)
	}
	p.refused(p.once(), "timeline 2", "timeline 1", "former primary")
}
