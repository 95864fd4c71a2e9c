package e2e

import (
	"os"
	"strings"
	"testing"

	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
)

// TestResetsLong runs over a network that resets every connection after 1 MiB, while more
// comes than that within a commit interval: the lake gets on all the same, and is right.
func TestResetsLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := twoTables(t)
	proxy, url := pgtest.NewProxy(t, db.URL)
	b := newBad(t, url, allTables, "    commit_interval: 3s")
	r := startRun(t, b.Lake)
	await(t, "the tables are copied", func() bool { return strings.Count(b.Run(0, "status"), "  streaming  ") == 2 })
	proxy.ResetEvery(1 << 20)
	db.Exec(t, `DO $$ BEGIN FOR n IN 1..300 LOOP
		INSERT INTO t SELECT n*100+i, repeat(md5(i::text), 8) FROM generate_series(0, 99) i;
		UPDATE u SET id = id + 1; COMMIT; END LOOP; END $$`)
	awaitAck(t, db, r)
	r.check()
	if n := proxy.Resets(); n < 5 {
		t.Errorf("%d resets", n)
	}
	proxy.ResetEvery(0)
	r.stop()
	b.rewrite(url, db.URL)
	b.well()
}

// TestFrozen runs over a network that swallows what it is given and says nothing.
func TestFrozen(t *testing.T) {
	t.Parallel()
	db := twoTables(t)
	db.Exec(t, "ALTER DATABASE "+db.Name+" SET wal_sender_timeout = '3s'")
	proxy, url := pgtest.NewProxy(t, db.URL)
	b := newBad(t, url, allTables, "    commit_interval: 200ms")
	b.rewrite("heartbeat_interval: 1s", "receive_timeout: 2s")
	r := startRun(t, b.Lake)
	await(t, "the log is read", func() bool {
		return db.Query(t, `SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid
			WHERE s.slot_name = '`+b.slotName()+`' AND r.state = 'streaming'`)[0][0] == "1"
	})
	proxy.Freeze()
	db.Exec(t, `INSERT INTO t VALUES (77, 'frozen')`)
	await(t, "the connection is made anew", func() bool { return strings.Contains(b.table("public/t"), `"id": 77`) })
	r.check()
	r.stop()
	b.says("run", r.out.String(), `has not answered for 2s`)
	b.well()
}

// TestPublicationDropped has somebody drop our publication while it is read: the server
// then refuses to read the log from there on, also when there is a new one.
func TestPublicationDropped(t *testing.T) {
	t.Parallel()
	db, b, r := streaming(t)
	db.Exec(t, `DROP PUBLICATION `+b.slotName(), `INSERT INTO t VALUES (2, 'lost')`, `INSERT INTO u VALUES (2)`)
	if err := <-r.done; err == nil {
		t.Error("the run ends well")
	}
	says := `publication "` + b.slotName() + `" does not exist: somebody dropped it.*drop the slot.*copied anew`
	b.says("run", r.out.String(), says)
	b.once(final, says)
	await(t, "the server has noticed that nobody reads the slot", func() bool {
		return len(db.Query(t, `SELECT 1 FROM pg_replication_slots WHERE active AND slot_name = '`+b.slotName()+`'`)) == 0
	})
	db.Exec(t, `SELECT pg_drop_replication_slot('`+b.slotName()+`')`)
	if err := os.RemoveAll(b.Dir); err != nil {
		t.Fatal(err)
	}
	b.well()
}

// TestIdleSlotLong lets PostgreSQL 18 end a slot that nobody read for a while.
func TestIdleSlotLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Version: 18, Conf: map[string]string{"idle_replication_slot_timeout": "1s"}})
	db := server.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	b := newBad(t, db.URL, allTables, "")
	b.once(0)
	await(t, "the slot is ended", func() bool {
		db.Exec(t, `SELECT pg_switch_wal()`, `CHECKPOINT`)
		return db.Query(t, `SELECT count(*) FROM pg_replication_slots WHERE invalidation_reason = 'idle_timeout'`)[0][0] == "1"
	})
	b.check(found, `error .*slot `+b.slotName(), `idle_replication_slot_timeout`)
	b.once(final, `slot `+b.slotName()+`.*idle_replication_slot_timeout.*drop the slot`)
}

// TestNoText: a database without an encoding may hold bytes that are no text. Its table
// stops, by the row, whether they are met in a first copy or in the log; the others go on.
func TestNoText(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t, 0)
	db := server.NewDatabase(t)
	server.Exec(t, "DROP DATABASE "+db.Name, "CREATE DATABASE "+db.Name+" TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, `INSERT INTO t VALUES (1, 'Zürich')`, `CREATE TABLE u (id int PRIMARY KEY, v text)`, `CREATE TABLE w (id int PRIMARY KEY, v text)`,
		`INSERT INTO w VALUES (5, E'no \xff\xfe text')`)
	b := newBad(t, db.URL, allTables, "")
	b.once(final, `table public\.w: .*column v.*UTF-8`, `public\.t +streaming`)
	db.Exec(t, `INSERT INTO u VALUES (1, 'ü')`, `INSERT INTO t VALUES (2, E'no \xff\xfe text')`, `INSERT INTO u VALUES (2, 'x')`)
	b.once(final, `table public\.t: .*column v.*id.*2.*UTF-8`, `public\.u +streaming`)
	b.table("public/u", `"v": "ü"`, `"id": 2`)
	b.table("public/t", `"v": "Zürich"`, `-"id": 2`)
	db.Exec(t, `DELETE FROM w`, `UPDATE t SET v = 'text' WHERE id = 2`)
	b.forget("public/t")
	b.forget("public/w")
	b.well()
}
