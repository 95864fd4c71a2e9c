package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// newSeed is the seed of a random test: one of each run's own in a soak, else LAKEFEED_SEED or 1.
func newSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(1)
	switch s := os.Getenv("LAKEFEED_SEED"); {
	case s != "":
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	case soak():
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return seed
}

func soak() bool { return os.Getenv("LAKEFEED_SOAK") != "" }

// inParts makes the server stream transactions of more than 64 kB while they are in progress.
func inParts(t *testing.T, db *pgtest.Database) {
	t.Helper()
	db.Exec(t, "ALTER DATABASE "+db.Name+" SET logical_decoding_work_mem = '64kB'")
}

// streamedOnes is how many transactions came in parts through a slot.
func streamedOnes(t *testing.T, db *pgtest.Database, slot string) string {
	t.Helper()
	return db.Query(t, `SELECT coalesce(sum(stream_txns), 0)::int FROM pg_stat_replication_slots WHERE slot_name = '`+postgres.SlotName(slot)+`'`)[0][0]
}

// twoFeeds reads a database through two slots, with transactions in parts and in one piece.
func twoFeeds(t *testing.T, db *pgtest.Database, opts postgres.Options) (parts, whole *feed) {
	t.Helper()
	inParts(t, db)
	parts = open(t, db, opts)
	opts.WholeTransactions, opts.Pipeline = true, db.Name+"_whole"
	whole = open(t, db, opts)
	// A slot waits for transactions that run, as the other's making is: one after the other.
	return parts.begin().stream(), whole.begin().stream()
}

// same compares what the two read, change by change, with positions, times and transactions.
func same(t *testing.T, parts, whole *feed) {
	t.Helper()
	got, failed := parts.drain()
	want, _ := whole.drain()
	if len(failed) > 0 {
		t.Fatal(failed)
	}
	for name, rows := range want {
		if len(rows) != len(got[name]) {
			t.Errorf("%s: %d changes, want %d", name, len(got[name]), len(rows))
			continue
		}
		for i := range rows {
			if have, want := got[name][i].exact(), rows[i].exact(); have != want {
				t.Errorf("%s, change %d:\n%s\nwant\n%s", name, i, have, want)
				break
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("changes of %d tables, want %d", len(got), len(want))
	}
}

// exact is a row with its place, time, transaction and key.
func (r row) exact() string { return fmt.Sprint(r, r.at, r.time, r.xid, r.key) }

// versions are the oldest PostgreSQL there is and the newest; in a soak, all.
func versions(t *testing.T) []int {
	t.Helper()
	all := pgtest.Versions(t)
	if soak() {
		return all
	}
	return slices.Compact([]int{all[0], all[len(all)-1]})
}

// each runs a test on databases of these versions.
func each(t *testing.T, test func(t *testing.T, db *pgtest.Database)) {
	t.Helper()
	for _, v := range versions(t) {
		t.Run(strconv.Itoa(v), func(t *testing.T) { test(t, pgtest.Shared(t, v).NewDatabase(t)) })
	}
}

// TestInParts: what comes in parts is what comes in one piece, where transactions of random
// sessions meet that roll back, nest, alter, truncate and move keys.
func TestInParts(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	each(t, func(t *testing.T, db *pgtest.Database) {
		rng := rand.New(rand.NewPCG(seed, 0))
		const sessions = 4
		db.Exec(t, `CREATE TABLE shared (id int PRIMARY KEY, v text, long text)`, `ALTER TABLE shared ALTER long SET STORAGE EXTERNAL`)
		for i := range sessions {
			db.Exec(t, fmt.Sprintf(`CREATE TABLE own_%d (id int PRIMARY KEY, v text)`, i))
		}
		parts, whole := twoFeeds(t, db, postgres.Options{ChunkBytes: 100_000})
		all := make([]*session, sessions)
		for i := range all {
			all[i] = &session{Conn: db.Conn(t), n: i}
		}
		steps := 80
		if soak() {
			steps = 1500
		}
		for range steps {
			all[rng.IntN(sessions)].step(t, rng)
		}
		for _, s := range all {
			s.end(t, true)
		}
		same(t, parts, whole)
		await(t, func() bool { return streamedOnes(t, db, db.Name) != "0" })
		if n := streamedOnes(t, db, db.Name+"_whole"); n != "0" {
			t.Errorf("%s transactions in parts where they were to come whole", n)
		}
	})
}

// session is a client that works in transactions of its own.
type session struct {
	*pgx.Conn
	n, ids, columns, saves int
	open                   bool
}

func (s *session) run(t *testing.T, sql string) {
	t.Helper()
	if _, err := s.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (s *session) end(t *testing.T, commit bool) {
	t.Helper()
	switch {
	case s.open && commit:
		s.run(t, "COMMIT")
	case s.open:
		s.run(t, "ROLLBACK")
	}
	s.open, s.saves = false, 0
}

// step does one thing of many. Nothing that waits for another session is among them.
func (s *session) step(t *testing.T, rng *rand.Rand) {
	t.Helper()
	if !s.open {
		s.run(t, "BEGIN")
		s.open = true
	}
	low, high := s.n*1_000_000, s.n*1_000_000+s.ids
	some := low + rng.IntN(s.ids+1)
	switch n := rng.IntN(16); n {
	case 0, 1, 2, 3:
		rows := 1 + rng.IntN(600)
		s.run(t, fmt.Sprintf("INSERT INTO shared SELECT i, 'v', repeat(md5(i::text), %d) FROM generate_series(%d, %d) i", 1+rng.IntN(100), high+1, high+rows))
		s.ids += rows
	case 4, 5:
		s.run(t, fmt.Sprintf("UPDATE shared SET v = v || '%d' WHERE id BETWEEN %d AND %d", n, some, some+rng.IntN(400))) // long is not sent
	case 6:
		s.run(t, fmt.Sprintf("DELETE FROM shared WHERE id BETWEEN %d AND %d", some, some+rng.IntN(100)))
	case 7: // keys move, out of reach of the above
		s.run(t, fmt.Sprintf("UPDATE shared SET id = -id WHERE id BETWEEN %d AND %d", max(some, 1), some+rng.IntN(50)))
	case 8:
		s.run(t, fmt.Sprintf("TRUNCATE own_%d", s.n))
	case 9:
		s.columns++
		s.run(t, fmt.Sprintf("ALTER TABLE own_%d ADD c%d text DEFAULT 'd%d'", s.n, s.columns, s.columns))
	case 10, 11:
		s.run(t, fmt.Sprintf("INSERT INTO own_%d (id, v) SELECT i, repeat('w', 200) FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING", s.n, some, some+rng.IntN(500)))
	case 12:
		s.saves++
		s.run(t, fmt.Sprintf("SAVEPOINT s%d", s.saves))
	case 13:
		if s.saves > 0 {
			s.saves = rng.IntN(s.saves) + 1
			s.run(t, fmt.Sprintf("ROLLBACK TO s%d", s.saves))
		}
	case 14:
		if s.saves > 0 {
			s.saves = rng.IntN(s.saves) + 1
			s.run(t, fmt.Sprintf("RELEASE s%d", s.saves))
			s.saves--
		}
	case 15:
		s.end(t, rng.IntN(4) > 0)
	}
}

// TestInPartsNested: parts that are rolled back one within the other, some of them large.
func TestInPartsNested(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	parts, whole := twoFeeds(t, db, postgres.Options{})
	big := func(from int) string {
		return fmt.Sprintf("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(%d, %d) i;", from, from+999)
	}
	db.Exec(t,
		"BEGIN;"+big(0)+"SAVEPOINT a;"+big(1000)+"SAVEPOINT b;"+big(2000)+"RELEASE b; SAVEPOINT c;"+big(3000)+"ROLLBACK TO a;"+big(4000)+"COMMIT",
		"BEGIN; SAVEPOINT a; SAVEPOINT b;"+big(5000)+"RELEASE b;"+big(6000)+"ROLLBACK TO a;"+big(7000)+"COMMIT", // the inner one wrote first
		"BEGIN;"+big(8000)+"ROLLBACK",
		// A sub-transaction for every row, in one that is then rolled back.
		"BEGIN; SAVEPOINT old;"+big(10_000)+`
			DO $$ BEGIN FOR i IN 20000..21000 LOOP BEGIN
				INSERT INTO t VALUES (i, repeat('y', 50));
			EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$;
			ROLLBACK TO old;`+big(11_000)+"COMMIT",
		`DO $$ BEGIN FOR i IN 30000..31500 LOOP BEGIN
			INSERT INTO t VALUES (i, repeat('z', 50)); IF i % 2 = 0 THEN PERFORM 1/0; END IF;
		EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$`)
	same(t, parts, whole)
	await(t, func() bool { return streamedOnes(t, db, db.Name) == "5" })
}

// TestInPartsMadeInside: a type, and a table, that the transaction itself makes are known when
// it has committed, though they are not while its parts come.
func TestInPartsMadeInside(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	parts, whole := twoFeeds(t, db, postgres.Options{})
	db.Exec(t, `BEGIN;
		CREATE TYPE mood AS ENUM ('sad', 'glad');
		ALTER TABLE t ADD m mood DEFAULT 'sad', ADD n numeric(10,2);
		INSERT INTO t SELECT i, repeat('x', 100), 'glad', i/4.0 FROM generate_series(1, 3000) i;
		ALTER TABLE t DROP v;
		INSERT INTO t SELECT i, 'sad', i FROM generate_series(3001, 6000) i;
		COMMIT`)
	same(t, parts, whole)
}

// TestInPartsAsText: the stream begins anew as text while a transaction that came in parts
// is read, and goes on exactly there.
func TestInPartsAsText(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, `CREATE TABLE u (id int PRIMARY KEY)`)
	parts, whole := twoFeeds(t, db, postgres.Options{ChunkBytes: 50_000})
	db.Exec(t, `BEGIN;
		INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 3000) i;
		ALTER TABLE u ADD a aclitem;
		INSERT INTO u SELECT i, 'postgres=r/postgres' FROM generate_series(1, 3000) i;
		COMMIT`)
	same(t, parts, whole)
}

// TestNothingInParts: a transaction that has nothing for us comes in parts all the same, and not at all in
// one piece, as it does where a new stream begins at its commit: the log is not known again by it.
func TestNothingInParts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db *pgtest.Database) {
		db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, `CREATE TABLE other (v text)`)
		inParts(t, db)
		f := open(t, db, postgres.Options{Match: func(_, table string) bool { return table == "t" }}).begin().stream()
		last := func(sql ...string) change.Mark { // that came by the end of what is run
			t.Helper()
			db.Exec(t, append(sql, `SELECT pg_logical_emit_message(false, 'test', 'end')`)...)
			var last change.Mark
			for end := time.Now().Add(90 * time.Second); time.Now().Before(end); {
				chunk, err := f.Next(t.Context(), 100*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				if chunk.Last.Commit != 0 {
					last = chunk.Last
				}
				if len(chunk.Messages) > 0 {
					return last
				}
			}
			t.Fatal("the message did not come")
			return last
		}
		had := last(`INSERT INTO t VALUES (1, 'a')`)
		for _, sql := range []string{
			`INSERT INTO other SELECT repeat('x', 100) FROM generate_series(1, 2000)`,
			`BEGIN; SAVEPOINT s; INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1000, 3000) i; ROLLBACK TO s; COMMIT`,
		} {
			mark := last(sql)
			if mark.Commit == 0 {
				mark = had
			}
			if err := f.EndStream(); err != nil {
				t.Fatal(err)
			}
			awaitFree(t, f)
			f.Expect(mark)
			f.start = mark.Commit
			f.stream()
			if again := last(); again != had {
				t.Errorf("%s: the stream that begins at the commit of transaction %d has %+v, want %+v", sql, mark.Xid, again, had)
			}
		}
		await(t, func() bool { return streamedOnes(t, db, db.Name) != "0" })
	})
}

// TestInPartsAgain: after a new start transactions in progress come anew from their
// beginning; what was acknowledged does not, and no file stays behind.
func TestInPartsAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	inParts(t, db)
	dir := t.TempDir()
	f := open(t, db, postgres.Options{SpillDir: dir}).begin().stream()
	long := &session{Conn: db.Conn(t)}
	insert := func(from int) {
		long.run(t, fmt.Sprintf("INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(%d, %d) i", from, from+1999))
	}
	long.run(t, "BEGIN")
	insert(0)
	for n := range 3 {
		db.Exec(t, fmt.Sprintf("INSERT INTO t VALUES (%d, 'beside')", -1-n))
		rows, _ := f.drain()
		expect(t, "beside it", texts(rows["t"]), fmt.Sprintf("c %d|beside", -1-n))
		if err := f.Ack(t.Context(), f.last.End); err != nil {
			t.Fatal(err)
		}
		if err := f.EndStream(); err != nil {
			t.Fatal(err)
		}
		f.start = f.last.End
		awaitFree(t, f)
		f.stream()
		insert(2000 * (n + 1))
	}
	long.run(t, "COMMIT")
	rows, _ := f.drain()
	if len(rows["t"]) != 8000 || rows["t"][0].at.Index != 0 || rows["t"][7999].at.Index != 7999 {
		t.Errorf("%d changes", len(rows["t"]))
	}
	await(t, func() bool { return streamedOnes(t, db, db.Name) != "0" })
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("files of transactions: %v, %v", left, err)
	}
}

// TestNoRoomForParts: where there is no room for them, that is said with the way out.
func TestNoRoomForParts(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	inParts(t, db)
	f := open(t, db, postgres.Options{SpillDir: t.TempDir() + "/none"}).begin().stream()
	db.Exec(t, `INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 3000) i`)
	_, err := f.Next(t.Context(), 10*time.Second)
	for end := time.Now().Add(90 * time.Second); err == nil && time.Now().Before(end); {
		_, err = f.Next(t.Context(), time.Second)
	}
	if err == nil || !strings.Contains(err.Error(), "spill_dir") {
		t.Errorf("got %v", err)
	}
}

// TestTwoPhase: prepared transactions come when they are committed, whatever restarts lie
// between, and not when they are rolled back; in parts and in one piece.
func TestTwoPhase(t *testing.T) {
	t.Parallel()
	for _, v := range versions(t) {
		t.Run(strconv.Itoa(v), func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t, pgtest.Options{Version: v, Conf: map[string]string{"max_prepared_transactions": "10"}})
			db := server.NewDatabase(t)
			db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
			inParts(t, db)
			f := open(t, db, postgres.Options{}).begin().stream()
			prepare := func(name string, from, rows int) {
				db.Exec(t, fmt.Sprintf(`BEGIN; INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(%d, %d) i; PREPARE TRANSACTION '%s'`, from, from+rows-1, name))
			}
			prepare("small", 1, 1)
			prepare("large", 1000, 2000)
			prepare("small gone", 5000, 1)
			prepare("large gone", 6000, 2000)
			if rows, _ := f.drain(); len(rows) != 0 {
				t.Fatalf("prepared transactions came: %s", texts(rows["t"]))
			}
			if err := f.Ack(t.Context(), f.last.End); err != nil {
				t.Fatal(err)
			}
			if err := f.EndStream(); err != nil {
				t.Fatal(err)
			}
			if err := server.Stop("immediate"); err != nil {
				t.Fatal(err)
			}
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			f.start = f.last.End
			f.stream()
			db.Exec(t, `ROLLBACK PREPARED 'small gone'`, `ROLLBACK PREPARED 'large gone'`, `COMMIT PREPARED 'large'`, `INSERT INTO t VALUES (0, 'between')`, `COMMIT PREPARED 'small'`)
			rows, _ := f.drain()
			if got := rows["t"]; len(got) != 2002 || got[0].values[0] != "1000" || got[2000].values[0] != "0" || got[2001].values[0] != "1" {
				t.Errorf("%d changes", len(got))
			}
			if err := f.EndStream(); err != nil {
				t.Fatal(err)
			}
			await(t, func() bool { s, err := f.Slot(t.Context()); return err == nil && !s.Active })
			// A slot that sends them before they commit is none of ours.
			db.Exec(t, `SELECT pg_drop_replication_slot('`+postgres.SlotName(db.Name)+`')`,
				`SELECT pg_create_logical_replication_slot('`+postgres.SlotName(db.Name)+`', 'pgoutput', false, true)`)
			if err := f.Stream(t.Context(), f.last.End); err == nil || !strings.Contains(err.Error(), "two_phase") {
				t.Errorf("a slot with two_phase: %v", err)
			}
		})
	}
}
