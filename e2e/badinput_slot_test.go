package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// slotName is the name of the pipeline's slot.
func (b *bad) slotName() string { return postgres.SlotName(b.Name) }

// TestServerSettingsLong has a server that is not set up for replication, and then does what check says.
func TestServerSettingsLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := pgtest.Start(t, pgtest.Options{Conf: map[string]string{"wal_level": "replica", "max_replication_slots": "1", "max_wal_senders": "2"}})
	db := s.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t VALUES (1)`)
	b := newBad(t, db.URL, allTables, "")
	mend := func(checked string) {
		t.Helper()
		db.Exec(t, mending(checked)...)
		if err := s.Stop("fast"); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	out := b.check(found, `wal_level is replica`, `> ALTER SYSTEM SET wal_level = 'logical'`, "1 thing must")
	b.once(final, "wal_level", `ALTER SYSTEM SET wal_level = 'logical'`)
	mend(out)

	db.Exec(t, `SELECT pg_create_physical_replication_slot('another', true)`)
	out = b.check(found, `all 1 replication slots are taken`, `> ALTER SYSTEM SET max_replication_slots = 3`, "1 thing must")
	b.once(final, "max_replication_slots")
	mend(out)
	b.well()
	db.Exec(t, `SELECT pg_drop_replication_slot('another')`)

	// A server that is away when a process starts may come back.
	if err := s.Stop("fast"); err != nil {
		t.Fatal(err)
	}
	run := startRun(t, b.Lake)
	b.run(0, []string{"status"}, `source: .*connection refused`)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	db.Exec(t, `INSERT INTO t VALUES (2)`)
	awaitAck(t, db, run)
	run.stop()
	b.well()
}

// reader reads a slot as another program would, until the test ends.
func reader(t *testing.T, db *pgtest.Database, slot string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), db.Server.Bin("pg_recvlogical"), "-d", db.URL, "--slot", slot, "--start", "-f", "/dev/null",
		"-o", "proto_version=1", "-o", "publication_names=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	await(t, "the slot is read", func() bool {
		return db.Query(t, `SELECT active FROM pg_replication_slots WHERE slot_name = '`+slot+`'`)[0][0] == "t"
	})
}

func TestSlotInUse(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	b := newBad(t, db.URL, allTables, "")
	b.once(0)
	reader(t, db, b.slotName())
	b.check(found, `slot `+b.slotName()+` is read by process \d+ .* another program`, `> SELECT pg_terminate_backend\(\d+\)`)
	b.once(retry, `slot `+b.slotName()+` is .* by process \d+ `, `pg_recvlogical`, `pg_terminate_backend\(\d+\)`)
}

// TestSlotNotOurs has slots that somebody dropped, made anew, moved or made for another database.
func TestSlotNotOurs(t *testing.T) {
	t.Parallel()
	drop := `SELECT pg_drop_replication_slot('SLOT')`
	create := `SELECT pg_create_logical_replication_slot('SLOT', 'pgoutput')`
	for name, c := range map[string]struct{ here, there, says string }{
		"dropped":             {drop, ``, `is gone`},
		"made anew":           {drop + `; INSERT INTO t VALUES (2); ` + create, ``, `made it anew`},
		"moved":               {`INSERT INTO t VALUES (2); SELECT pg_replication_slot_advance('SLOT', pg_current_wal_lsn())`, ``, `was moved`},
		"of another database": {drop, create, `database `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, other := pgtest.NewDatabase(t), pgtest.NewDatabase(t)
			db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t VALUES (1)`)
			b := newBad(t, db.URL, allTables, "")
			b.once(0)
			await(t, "the slot is free", func() bool {
				return db.Query(t, `SELECT active FROM pg_replication_slots WHERE slot_name = '`+b.slotName()+`'`)[0][0] == "f"
			})
			for sql := range strings.SplitSeq(c.here, ";") {
				db.Exec(t, strings.ReplaceAll(sql, "SLOT", b.slotName()))
			}
			other.Exec(t, strings.ReplaceAll(c.there, "SLOT", b.slotName()))
			b.check(found, `error .*slot `+b.slotName(), c.says)
			b.once(final, `slot `+b.slotName(), c.says, "drop|give the pipeline")
		})
	}
	t.Run("of another server", func(t *testing.T) {
		t.Parallel()
		db, other := pgtest.NewDatabase(t), pgtest.NewDatabase(t)
		db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		other.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		b := newBad(t, db.URL, allTables, "")
		b.once(0)
		b.rewrite(db.URL, other.URL)
		b.check(found, `error .*another source`, db.Name, other.Name)
		b.once(final, `another source`, `database is `+other.Name+`, was `+db.Name)
	})
}

// TestPublicationTampered has somebody take a table out of our publication: what it
// missed is in no log.
func TestPublicationTampered(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t VALUES (1)`, `CREATE TABLE u (id int PRIMARY KEY)`)
	b := newBad(t, db.URL, allTables, "")
	b.once(0)
	db.Exec(t, `ALTER PUBLICATION `+b.slotName()+` DROP TABLE t`, `INSERT INTO t VALUES (2)`, `INSERT INTO u VALUES (1)`)
	for range 2 {
		b.once(final, `table public\.t: .*not published`, `copied anew`, `public\.u +streaming +`)
	}
	b.forget("public/t")
	b.well()
}

// TestTableMadeAnew drops a table and makes it again: nothing of the drop is in the log.
func TestTableMadeAnew(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t VALUES (1)`, `CREATE TABLE u (id int PRIMARY KEY)`)
	b := newBad(t, db.URL, allTables, "")
	b.once(0)
	db.Exec(t, `DROP TABLE t`, `CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t VALUES (2)`, `INSERT INTO u VALUES (1)`)
	b.once(0, `table was dropped and made anew`, `copied anew`, `public\.u +streaming`)
	b.table("public/t", `"id": 2`, `-"id": 1`)
	b.well()
}

// TestSecondProcess runs a pipeline twice.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t VALUES (1)`)
	b := newBad(t, db.URL, allTables, "")
	first := startRun(t, b.Lake)
	awaitAck(t, db, first)
	host, err := exec.CommandContext(context.Background(), "uname", "-n").Output()
	if err != nil {
		t.Fatal(err)
	}
	b.check(0, `note .*run by process \d+ on `+strings.TrimSpace(string(host)))
	b.once(retry, `run by process \d+ on `+strings.TrimSpace(string(host)), `stop that one`)
	first.check()
	first.stop()
	b.well()
}
