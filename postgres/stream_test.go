package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if want = strings.ReplaceAll(strings.TrimSpace(want), "\t", ""); got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

func TestCopyAndStream(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, `INSERT INTO t VALUES (1, 'one'), (2, NULL)`)
	f := open(t, db, postgres.Options{}).begin()
	db.Exec(t, `INSERT INTO t VALUES (3, 'three')`) // behind the slot's consistent point
	expect(t, "copy", texts(f.copied("t")), "r 1|one\nr 2|NULL")
	f.stream()
	db.Exec(t, `UPDATE t SET v = 'uno' WHERE id = 1`, `DELETE FROM t WHERE id = 2`, `UPDATE t SET id = 30 WHERE id = 3`, `TRUNCATE t`,
		`BEGIN; INSERT INTO t VALUES (5, 'gone'); ROLLBACK`, `INSERT INTO t SELECT i, i::text FROM generate_series(6, 7) i`)
	rows, _ := f.drain()
	expect(t, "stream", texts(rows["t"]), `
		c 3|three
		u 1|uno
		d 2|NULL
		d 3|NULL
		u> 30|three
		t NULL|NULL
		c 6|6
		c 7|7`)
	if !f.last.Whole || f.last.Time.IsZero() {
		t.Errorf("the last chunk: %+v", f.last)
	}
}

// TestChunks: a transaction larger than a chunk comes in several, of which only
// the last is whole, and positions count through.
func TestChunks(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	f := open(t, db, postgres.Options{ChunkBytes: 10_000}).begin().stream()
	db.Exec(t, `INSERT INTO t SELECT i, repeat('x', 50) FROM generate_series(1, 2000) i`, `INSERT INTO t VALUES (0, 'last')`)
	n, parts, end := uint64(0), 0, f.start
	for n < 2001 {
		chunk, err := f.Next(t.Context(), 200*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if chunk.End < end {
			t.Errorf("the end went back from %s to %s", end, chunk.End)
		}
		end = chunk.End
		for _, b := range chunk.Batches {
			for i := range b.Len() {
				if n < 2000 && b.At[i].Index != n || n == 2000 && b.At[i].Index != 0 {
					t.Fatalf("change %d is at %v", n, b.At[i])
				}
				if chunk.Whole == (b.At[i].Commit > chunk.End) {
					t.Fatalf("commit %s in a chunk that ends at %s, whole: %t", b.At[i].Commit, chunk.End, chunk.Whole)
				}
				n++
			}
		}
		if !chunk.Whole {
			parts++
		}
	}
	if parts < 5 {
		t.Errorf("%d parts", parts)
	}
}

// TestWholeChunks: a backlog whose transactions end anywhere within chunks has a
// whole chunk at least at the end of every transaction that a chunk cuts.
func TestWholeChunks(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	f := open(t, db, postgres.Options{ChunkBytes: 40_000}).begin().stream()
	for _, rows := range []int{70, 1000} { // some 7 and 100 kB
		db.Exec(t, fmt.Sprintf(`DO $$ BEGIN FOR n IN 0..19 LOOP
			INSERT INTO t SELECT %d*1000000+n*1000+i, repeat('x', 50) FROM generate_series(1, %d) i; COMMIT; END LOOP; END $$`, rows, rows))
		n, open := 0, change.LSN(0) // the transaction that the last chunk cut
		for n < 20*rows {
			chunk, err := f.Next(t.Context(), 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range chunk.Batches {
				n += b.Len()
				if last := b.At[b.Len()-1].Commit; open != 0 && last != open {
					t.Fatalf("transaction %s was cut, and its end is in a chunk with the next one", open)
				} else if open = last; chunk.Whole {
					open = 0
				}
			}
		}
	}
}

// TestAckRules: the position moves by Ack alone, and a new stream begins there.
func TestAckRules(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `ALTER ROLE postgres SET wal_sender_timeout = '1s'`)
	defer db.Exec(t, `ALTER ROLE postgres RESET wal_sender_timeout`)
	f := open(t, db, postgres.Options{}).begin().stream()
	confirmed := func() change.LSN {
		s, err := f.Slot(t.Context())
		if err != nil || s == nil {
			t.Fatal(s, err)
		}
		return s.Confirmed
	}
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	first, _ := f.drain()
	end := f.last.End
	db.Exec(t, `INSERT INTO t VALUES (2)`)
	f.drain()
	// The server hears from us longer than it waits for a sign of life, without a call of Next.
	now := db.Query(t, `SELECT now()`)[0][0]
	await(t, func() bool {
		return len(db.Query(t, `SELECT FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid
			WHERE s.slot_name = '`+postgres.SlotName(db.Name)+`' AND r.reply_time > '`+now+`'::timestamptz + interval '1.5 s'`)) == 1
	})
	if at := confirmed(); at != f.start {
		t.Errorf("confirmed %s without an acknowledgement, the slot began at %s", at, f.start)
	}
	if err := f.Ack(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	if err := f.Ack(t.Context(), end-8); err != nil { // an older one changes nothing
		t.Fatal(err)
	}
	await(t, func() bool { return confirmed() == end })
	if s, err := f.Figures(t.Context()); err != nil || s.Lag() <= 0 || s.Kept() < s.Lag() || s.Status == "" {
		t.Errorf("%+v, %v", s, err)
	}
	if err := f.Stream(t.Context(), end); err != nil && !errors.As(err, new(*postgres.SlotActiveError)) {
		t.Fatal(err)
	} else if err != nil {
		awaitFree(t, f)
		if err := f.Stream(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	again, _ := f.drain()
	expect(t, "before", texts(first["t"]), "c 1")
	expect(t, "behind the acknowledged", texts(again["t"]), "c 2")
}

// await waits until ok is, without luck: the server needs a moment for a message.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 4500 { // a minute and a half
		if ok() {
			return
		}
		<-tick.C
	}
	t.Fatal("it did not come to that")
}

// TestIdleEnd: while only other databases write, the end moves on, and so may the slot.
func TestIdleEnd(t *testing.T) {
	t.Parallel()
	db, other := pgtest.NewDatabase(t), pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	f := open(t, db, postgres.Options{Heartbeat: 50 * time.Millisecond}).begin().stream()
	other.Exec(t, `CREATE TABLE o AS SELECT generate_series(1, 10000)`)
	goal := lsn(t, db.Query(t, "SELECT pg_current_wal_lsn()")[0][0])
	await(t, func() bool {
		chunk, err := f.Next(t.Context(), 50*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if !chunk.Whole || len(chunk.Batches)+len(chunk.Messages) > 0 {
			t.Errorf("an idle chunk: %+v", chunk)
		}
		return chunk.End >= goal
	})
}

func lsn(t *testing.T, s string) change.LSN {
	t.Helper()
	l, err := change.ParseLSN(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNextIsCancelled(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	f := open(t, db, postgres.Options{}).begin().stream()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := f.Next(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	rows, _ := f.drain()
	expect(t, "behind it", texts(rows["t"]), "c 1")
}

func TestSlotInUse(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	f := open(t, db, postgres.Options{}).begin().stream()
	s, err := f.Slot(t.Context())
	if err != nil || !s.Active || s.PID == 0 || s.Plugin != "pgoutput" || s.Database != db.Name || s.Lost {
		t.Fatalf("slot %+v, %v", s, err)
	}
	g := open(t, db, postgres.Options{})
	var active *postgres.SlotActiveError
	if err := g.Stream(t.Context(), f.start); !errors.As(err, &active) || active.PID != s.PID || !postgres.Retryable(err) {
		t.Errorf("stream: %v", err)
	}
	if err := g.DropSlot(t.Context()); !errors.As(err, &active) {
		t.Errorf("drop: %v", err)
	}
	if _, err := g.CreateSlot(t.Context()); err == nil || postgres.Retryable(err) {
		t.Errorf("create: %v", err)
	}
	closeFeed(t, f)
	if err := g.DropSlot(t.Context()); err != nil {
		t.Error(err)
	}
	if s, err := g.Slot(t.Context()); s != nil || err != nil {
		t.Errorf("slot %+v, %v", s, err)
	}
	if err := g.DropSlot(t.Context()); err != nil {
		t.Errorf("drop again: %v", err)
	}
}

// TestServerStops: a crash of the server is worth a retry, nothing that was not
// acknowledged is lost, and a shutdown does not wait for a pipeline that stands.
func TestServerStops(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, pgtest.Options{Conf: map[string]string{"fsync": "on"}})
	db := s.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	f := open(t, db, postgres.Options{Heartbeat: 20 * time.Millisecond}).begin().stream()
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	before, err := f.Identity(t.Context())
	if err != nil || before.SystemID == "" || before.Timeline != 1 || before.Database != db.Name || before.Slot != postgres.SlotName(db.Name) {
		t.Fatalf("identity %+v, %v", before, err)
	}
	for _, mode := range []string{"immediate", "fast"} {
		if err := s.Stop(mode); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { // what had come is still delivered, then the error
			_, err := f.Next(t.Context(), time.Second)
			return err != nil
		})
		if _, err := f.Next(t.Context(), time.Second); !postgres.Retryable(err) {
			t.Errorf("%s: %v", mode, err)
		}
		if _, err := f.Slot(t.Context()); err == nil || !postgres.Retryable(err) {
			t.Errorf("%s: %v", mode, err)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		awaitFree(t, f)
		f.stream()
	}
	rows, _ := f.drain()
	expect(t, "after it", texts(rows["t"]), "c 1")
	if after, err := f.Identity(t.Context()); err != nil || after != before {
		t.Errorf("identity %+v, %v", after, err)
	}
}
