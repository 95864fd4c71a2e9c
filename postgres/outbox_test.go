package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

func outboxOnly(prefix string) bool { return strings.HasPrefix(prefix, "outbox") }

// TestMessagesKept: messages are rows in their transactions or between them, what was
// rolled back is not there, nor is anybody else's or our own; a new start passes over those that the lake has.
func TestMessagesKept(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	f := open(t, db, postgres.Options{Heartbeat: 10 * time.Millisecond, Messages: func(prefix string) bool { return outboxOnly(prefix) || strings.HasPrefix(prefix, "lakefeed") }}).begin()
	if got := f.copied("messages"); len(got) != 0 {
		t.Errorf("a first copy of messages: %s", texts(got))
	}
	f.stream()
	began := time.Now()
	db.Exec(t,
		`BEGIN; SELECT pg_logical_emit_message(true, 'outbox.a', '{"n": 1}'); INSERT INTO t VALUES (1); SELECT pg_logical_emit_message(true, 'outbox.a', 'zwei ü'); COMMIT`,
		`SELECT pg_logical_emit_message(true, 'other', 'x')`,
		`BEGIN; SELECT pg_logical_emit_message(true, 'outbox', 'gone'); ROLLBACK`,
		`BEGIN; SELECT pg_logical_emit_message(false, 'outbox', 'stays'); ROLLBACK`,
		`SELECT pg_logical_emit_message(true, 'outbox', '\x00ff'::bytea)`, `SELECT pg_logical_emit_message(true, 'outbox', '')`)
	rows, failed := f.drain()
	if len(failed) > 0 {
		t.Fatal(failed)
	}
	got := rows["messages"]
	if len(got) != 5 {
		t.Fatalf("%d messages: %s", len(got), texts(got))
	}
	for i, want := range []string{`outbox.a|{"n": 1}|NULL|true`, `outbox.a|zwei ü|NULL|true`, `outbox|stays|NULL|false`, `outbox|NULL|\x00ff|true`, `outbox||NULL|true`} {
		v := got[i].values
		if have := strings.Join([]string{v[0], v[1], v[2], v[4]}, "|"); have != want {
			t.Errorf("message %d is %s, want %s", i, have, want)
		}
		at, err := time.Parse("2006-01-02 15:04:05.000000", v[5])
		if err != nil || at.Before(began.Add(-time.Minute)) || at.After(time.Now().Add(time.Minute)) {
			t.Errorf("message %d is of %s", i, v[5])
		}
		if i > 0 && got[i-1].key >= got[i].key || got[i].at.Commit == 0 {
			t.Errorf("keys %s, %s", got[i-1].key, got[i].key)
		}
	}
	if got[0].at.Commit != rows["t"][0].at.Commit || got[0].at.Index != 0 || rows["t"][0].at.Index != 1 || got[1].at.Index != 2 || got[0].xid == 0 || got[2].xid != 0 {
		t.Errorf("places: %+v, %+v, %+v", got[:3], rows["t"][0], got[2])
	}
	// All of it again, but for what is said to be in the lake.
	if err := f.EndStream(); err != nil {
		t.Fatal(err)
	}
	f.Cover(f.tables["messages"], got[2].at.Commit+1)
	f.stream()
	if again, _ := f.drain(); len(again["t"]) != 1 || texts(again["messages"]) != texts(got[3:]) {
		t.Errorf("again: %s", texts(again["messages"]))
	}
}

// TestMessagesInParts: the parts of a transaction say of no message which sub-transaction
// it is of. What was rolled back is not kept, and the rest is, with the same places.
func TestMessagesInParts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db *pgtest.Database) {
		db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
		parts, whole := twoFeeds(t, db, postgres.Options{Messages: outboxOnly})
		say := func(s string) string { return "SELECT pg_logical_emit_message(true, 'outbox', '" + s + "');" }
		fill := func(from int) string {
			return fmt.Sprintf("INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(%d, %d) i;", from, from+999)
		}
		db.Exec(t, "BEGIN;"+say("first")+fill(0)+"SAVEPOINT a;"+fill(1000)+"RELEASE a;"+say("last")+"COMMIT",
			"BEGIN;"+fill(10_000)+"SAVEPOINT a;"+fill(12_000)+say("in a")+fill(13_000)+"ROLLBACK TO a;"+fill(14_000)+say("behind a")+"COMMIT")
		same(t, parts, whole)
		await(t, func() bool { return streamedOnes(t, db, db.Name) == "2" })
		db.Exec(t, "BEGIN;"+say("before")+fill(20_000)+"SAVEPOINT a;"+say("gone")+fill(21_000)+"ROLLBACK TO a;"+fill(22_000)+say("after")+"COMMIT",
			"BEGIN;"+fill(30_000)+"SAVEPOINT a;"+say("alone and gone")+"ROLLBACK TO a; SAVEPOINT a;"+say("stays")+fill(31_000)+"COMMIT")
		same(t, parts, whole)
	})
}
