package postgres_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestCheckStandby: what is missing for reading a standby is said, with the statement.
func TestCheckStandby(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Options{Version: 17})
	primary.Exec(t, "CREATE DATABASE shop", "CREATE ROLE feed LOGIN REPLICATION PASSWORD 'p'")
	shop := &pgtest.Database{Server: primary, Name: "shop", URL: primary.URL("shop")}
	shop.Exec(t, "CREATE TABLE orders (id int PRIMARY KEY)", "GRANT CREATE ON DATABASE shop TO feed", "ALTER TABLE orders OWNER TO feed")
	standby := primary.Standby(t, map[string]string{"hot_standby_feedback": "off"})
	opts := postgres.Options{URL: standby.URL("shop"), Pipeline: "shop"}
	wants(t, problems(t, opts),
		"hot_standby_feedback is off", "ALTER SYSTEM SET hot_standby_feedback = on",
		`CREATE PUBLICATION "lakefeed_shop" WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true); -- on the primary`,
		`ALTER PUBLICATION "lakefeed_shop" ADD TABLE ONLY "public"."orders"; -- on the primary`)
	opts.PrimaryURL = standby.URL("shop")
	wants(t, problems(t, opts), "primary_url leads to a standby")
	opts.PrimaryURL = pgtest.NewDatabase(t).URL
	wants(t, problems(t, opts), "another database system")
	standby.Exec(t, "ALTER SYSTEM SET hot_standby_feedback = on", "SELECT pg_reload_conf()")
	opts.PrimaryURL = primary.URL("shop")
	for standby.Query(t, "SHOW hot_standby_feedback")[0][0] != "on" { // a moment
	}
	expect(t, "a standby without faults", problems(t, opts), "")
	u, err := url.Parse(opts.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("feed", "p")
	opts.URL = u.String()
	wants(t, problems(t, opts), "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO \"feed\"")
}

// TestCheckSnapshot: what keeps tables from being copied on a standby is said.
func TestCheckSnapshot(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Options{Version: 15})
	primary.Exec(t, "CREATE DATABASE shop")
	(&pgtest.Database{Server: primary, Name: "shop", URL: primary.URL("shop")}).Exec(t, "CREATE TABLE orders (id int PRIMARY KEY)")
	standby := primary.Standby(t, map[string]string{"max_standby_streaming_delay": "5s", "recovery_min_apply_delay": "10ms"})
	opts := postgres.Options{URL: primary.URL("shop"), Pipeline: "shop", SnapshotURL: standby.URL("shop")}
	for standby.Query(t, "SELECT count(*) FROM pg_database WHERE datname = 'shop'")[0][0] != "1" { // a moment
	}
	wants(t, problems(t, opts), "after 5s: chunks of a copy", "SET max_standby_streaming_delay", "late: each copy waits")
	standby.Exec(t, "ALTER SYSTEM SET max_standby_streaming_delay = -1", "ALTER SYSTEM SET recovery_min_apply_delay = 0", "SELECT pg_reload_conf()", "SELECT pg_wal_replay_pause()")
	for standby.Query(t, "SHOW recovery_min_apply_delay")[0][0] != "0" { // a moment
	}
	expect(t, "a paused replay", problems(t, opts), "error : the replay of the standby of snapshot_url is paused: copies wait until it goes on [SELECT pg_wal_replay_resume(); -- on the standby of snapshot_url]")
	standby.Exec(t, "SELECT pg_wal_replay_resume()")
	expect(t, "a standby without faults", problems(t, opts), "")
	// The log is not read there.
	wants(t, problems(t, postgres.Options{URL: standby.URL("shop"), Pipeline: "shop"}), "PostgreSQL 15 does not decode there (16 does): connect to its primary")
	there := open(t, &pgtest.Database{Server: standby, Name: "shop", URL: standby.URL("shop")}, postgres.Options{})
	if _, err := there.Identity(t.Context()); err == nil || postgres.Retryable(err) || !strings.Contains(err.Error(), "connect to its primary") {
		t.Errorf("a standby of 15: %v", err)
	}
	opts.SnapshotURL = opts.URL
	wants(t, problems(t, opts), "snapshot_url leads to a server that is no standby")
	opts.SnapshotURL = "postgres://127.0.0.1:1/shop"
	wants(t, problems(t, opts), "tables cannot be copied on the standby: snapshot_url: ")
}

// TestFailoverOption: the slot goes over to standbys as the option says, whenever that was set.
func TestFailoverOption(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Version: 17})
	db := server.NewDatabase(t)
	db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	start := open(t, db, postgres.Options{}).begin()
	if err := start.CloseSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		option postgres.Failover
		want   bool
	}{{postgres.FailoverAsIs, false}, {postgres.FailoverAuto, true}, {postgres.FailoverAsIs, true}, {postgres.FailoverOff, false}, {postgres.FailoverOn, true}} {
		f := open(t, db, postgres.Options{Failover: step.option})
		f.start = start.start
		closeFeed(t, f.stream())
		slot, err := start.Slot(t.Context())
		if err != nil || slot.Failover != step.want {
			t.Errorf("option %d: %+v, %v", step.option, slot, err)
		}
		server.Exec(t, "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE active")
	}
	other := open(t, db, postgres.Options{Failover: postgres.FailoverOn, Pipeline: "other"}).begin()
	if slot, err := other.Slot(t.Context()); err != nil || !slot.Failover {
		t.Errorf("a new slot: %+v, %v", slot, err)
	}
	old := pgtest.NewDatabase(t)
	old.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	wants(t, problems(t, postgres.Options{URL: old.URL, Pipeline: old.Name, Failover: postgres.FailoverOn}), "error : failover: true, and PostgreSQL 15")
	expect(t, "auto on an old server", problems(t, postgres.Options{URL: old.URL, Pipeline: old.Name, Failover: postgres.FailoverAuto}), "")
}

// TestCheckFailover: what is missing for a slot that goes over is said, on the primary and on
// the standbys of the URL.
func TestCheckFailover(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Options{Version: 17})
	db := primary.NewDatabase(t)
	db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	alone := postgres.Options{URL: db.URL, Pipeline: db.Name, Failover: postgres.FailoverAuto}
	wants(t, problems(t, alone), "no standby reads through a physical slot")
	standby := primary.Standby(t, map[string]string{
		"hot_standby_feedback": "off", "synchronized_standby_slots": "mine",
		"primary_conninfo": fmt.Sprintf("host=127.0.0.1 port=%d user=postgres", primary.Port()),
	})
	closeFeed(t, open(t, db, postgres.Options{Failover: postgres.FailoverOn}).begin())
	asIs := alone
	asIs.Failover = postgres.FailoverAsIs
	expect(t, "a slot that goes over, unasked", problems(t, asIs), "")
	u, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:1", primary.Port(), standby.Port())
	alone.URL = u.String()
	host := fmt.Sprintf("127.0.0.1:%d", standby.Port())
	primary.Exec(t, "ALTER SYSTEM SET synchronized_standby_slots = 'standby'", "SELECT pg_reload_conf()")
	wants(t, problems(t, alone),
		"standby "+host+" does not take slots over [ALTER SYSTEM SET sync_replication_slots = on; SELECT pg_reload_conf() -- on "+host,
		"standby "+host+" has hot_standby_feedback off", "primary_conninfo of standby "+host+" names no database",
		"standby "+host+" has synchronized_standby_slots set", "is not ready on standby "+host, "no connection to 127.0.0.1:1")
}
