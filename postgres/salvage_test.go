package postgres_test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// through opens a connector whose connections pass a proxy.
func through(t *testing.T, db *pgtest.Database, opts postgres.Options) (*feed, *pgtest.Proxy) {
	t.Helper()
	p, url := pgtest.NewProxy(t, db.URL)
	direct := db.URL
	db.URL = url
	defer func() { db.URL = direct }()
	return open(t, db, opts), p
}

// TestCutAnywhere: where the connection breaks within a message, what came before is
// handed out up to the last whole transaction, then the error; a new stream goes on there.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	f, proxy := through(t, db, postgres.Options{})
	f.begin()
	const transactions, rows = 60, 20
	db.Exec(t, fmt.Sprintf(`DO $$ BEGIN FOR n IN 0..%d LOOP
		INSERT INTO t SELECT n*%d+i, repeat('x', 100) FROM generate_series(0, %d) i; COMMIT; END LOOP; END $$`, transactions-1, rows, rows-1))
	got, cuts := 0, 0
	proxy.ResetEvery(20_011) // a prime: each cut is elsewhere
	for end := time.Now().Add(90 * time.Second); got < transactions*rows && time.Now().Before(end); {
		_ = f.EndStream() // broken
		if err := f.CloseSnapshot(t.Context()); err != nil && !postgres.Retryable(err) {
			t.Fatal(err)
		}
		if err := f.Stream(t.Context(), f.start); err != nil {
			if !postgres.Retryable(err) {
				t.Fatal(err)
			}
			continue
		}
		for {
			chunk, err := f.Next(t.Context(), time.Second)
			if err != nil {
				if !postgres.Retryable(err) {
					t.Fatal(err)
				}
				cuts++
				break
			}
			if !chunk.Whole || chunk.End < f.start {
				t.Fatalf("a chunk up to %s, whole: %t", chunk.End, chunk.Whole)
			}
			f.start = chunk.End
			for _, b := range chunk.Batches {
				for _, r := range explode(t, b) {
					if want := strconv.Itoa(got); r.values[0] != want {
						t.Fatalf("row %s, want %s", r.values[0], want)
					}
					got++
				}
			}
			if got == transactions*rows {
				break
			}
		}
	}
	if got != transactions*rows || cuts < 5 {
		t.Errorf("%d rows over %d cuts", got, cuts)
	}
}

// TestSilence: a server, or a network, that has fallen silent is noticed in time, while one
// that has nothing to say is not taken for that.
func TestSilence(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`)
	db.Exec(t, "ALTER DATABASE "+db.Name+" SET wal_sender_timeout = '2s'") // the server's own patience
	const timeout = time.Second
	f, proxy := through(t, db, postgres.Options{ReceiveTimeout: timeout})
	f.begin().stream()
	for began := time.Now(); time.Since(began) < 3*timeout; {
		if chunk, err := f.Next(t.Context(), time.Hour); err != nil || len(chunk.Batches) > 0 { // an hour is more than there is patience for
			t.Fatal(chunk, err)
		}
	}
	silent := func(what string) {
		t.Helper()
		began := time.Now()
		for {
			_, err := f.Next(t.Context(), 100*time.Millisecond)
			took := time.Since(began)
			if err == nil && took < 90*time.Second {
				continue
			}
			if err == nil || !postgres.Retryable(err) || !strings.Contains(err.Error(), "receive_timeout") || took > 60*time.Second {
				t.Fatalf("%s: %v after %s", what, err, took)
			}
			return
		}
	}
	again := func(v string) {
		t.Helper()
		if err := f.EndStream(); err != nil {
			t.Fatal(err)
		}
		await(t, func() bool { s, err := f.Slot(t.Context()); return err == nil && !s.Active })
		f.stream()
		if rows, _ := f.drain(); !strings.Contains(texts(rows["t"]), v) {
			t.Errorf("after it: %s", texts(rows["t"]))
		}
	}
	proxy.Freeze()
	db.Exec(t, `INSERT INTO t VALUES (1, 'frozen')`)
	silent("a network that swallows everything")
	again("frozen")
	pid := walsender(t, f)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Skipf("stop the server's process: %v", err)
	}
	db.Exec(t, `INSERT INTO t VALUES (2, 'stopped')`)
	silent("a server that stands still")
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	again("stopped")
}

// walsender is the server's process that serves the stream.
func walsender(t *testing.T, f *feed) int {
	t.Helper()
	var s *change.SlotState
	await(t, func() bool {
		var err error
		s, err = f.Slot(t.Context())
		return err == nil && s.Active
	})
	return s.PID
}

// TestBusyServer: a server that decodes for long what nobody wants is not taken for silent.
func TestBusyServer(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `CREATE TABLE other (id int, v text)`)
	f := open(t, db, postgres.Options{ReceiveTimeout: time.Second, WholeTransactions: true, Match: func(_, table string) bool { return table == "t" }}).begin()
	rows := 300_000
	if soak() {
		rows = 10_000_000
	}
	db.Exec(t, fmt.Sprintf(`INSERT INTO other SELECT i, repeat('x', 50) FROM generate_series(1, %d) i`, rows), `INSERT INTO t VALUES (1)`)
	f.stream()
	if got, _ := f.drain(); texts(got["t"]) != "c 1" {
		t.Errorf("got %s", texts(got["t"]))
	}
}
