package postgres_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"golang.org/x/sync/errgroup"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// chunked copies a table by the chunks of its plan, several at once, what is cut off
// behind one as one more, and counts how often each id comes, and the chunks that were read.
func (f *feed) chunked(table string, size, limit int64) (ids map[int32]int, chunks int) {
	f.t.Helper()
	t := f.tables[table]
	plan, err := f.PlanCopy(f.t.Context(), t, size)
	if err != nil {
		f.t.Fatal(err)
	}
	ids = map[int32]int{}
	found := make(chan int32, 1000)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for id := range found {
			ids[id]++
		}
	}()
	read := make(chan struct{}, 10_000)
	g, ctx := errgroup.WithContext(f.t.Context())
	g.SetLimit(f.CopyConnections())
	for _, chunk := range plan.Chunks {
		g.Go(func() error {
			for {
				done, err := f.CopyChunk(ctx, t, chunk, limit, func(b *change.Batch) error {
					for _, id := range b.Rows.Column(0).(*array.Int32).Int32Values() {
						found <- id
					}
					return nil
				})
				read <- struct{}{}
				if err != nil || done.To == chunk.To {
					return err
				}
				chunk.From, chunk.Blocks = done.To, chunk.Blocks-done.Blocks
			}
		})
	}
	if err := g.Wait(); err != nil {
		f.t.Fatal(err)
	}
	close(found)
	<-counted
	return ids, len(read)
}

// TestCopyChunks copies tables of every kind chunk by chunk: each row comes once.
func TestCopyChunks(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE even (id int PRIMARY KEY, v text)`, `INSERT INTO even SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i`,
		`CREATE TABLE bloated (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off)`,
		`INSERT INTO bloated SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i`, `DELETE FROM bloated WHERE id % 100 > 0`,
		`CREATE TABLE wide (id int PRIMARY KEY, v text)`, `ALTER TABLE wide ALTER v SET STORAGE EXTERNAL`,
		`INSERT INTO wide SELECT i, repeat('x', 20000) FROM generate_series(1, 300) i`,
		`CREATE TABLE parts (id int, day int, PRIMARY KEY (id, day)) PARTITION BY LIST (day)`,
		`CREATE TABLE "Part 1" PARTITION OF parts FOR VALUES IN (1)`, `CREATE TABLE p2 PARTITION OF parts FOR VALUES IN (2)`,
		`INSERT INTO parts SELECT i, 1 + i % 2 FROM generate_series(1, 20000) i`,
		`CREATE TABLE empty (id int PRIMARY KEY)`, `VACUUM ANALYZE even, wide, parts, empty`, `ANALYZE bloated`)
	f := open(t, db, postgres.Options{CopyConnections: 3}).begin()
	db.Exec(t, `UPDATE even SET v = v || '!' WHERE id < 500`, `DELETE FROM wide WHERE id = 7`, `INSERT INTO empty VALUES (1)`) // behind the snapshot
	for _, test := range []struct {
		table              string
		size, limit        int64
		rows, least, atMos int
	}{
		{"even", 1 << 20, 0, 20000, 4, 6},
		{"even", 1 << 40, 0, 20000, 1, 1},
		{"bloated", 1 << 20, 0, 200, 1, 1}, // few bytes in many blocks
		{"wide", 1 << 20, 0, 300, 2, 8},    // many bytes, which are outside of its two blocks
		{"parts", 200_000, 0, 20000, 4, 12},
		{"empty", 1 << 20, 0, 0, 1, 1},
	} {
		ids, chunks := f.chunked(test.table, test.size, test.limit)
		if len(ids) != test.rows || chunks < test.least || chunks > test.atMos {
			t.Errorf("%s: %d rows in %d chunks", test.table, len(ids), chunks)
		}
		for id, n := range ids {
			if n != 1 {
				t.Errorf("%s: row %d comes %d times", test.table, id, n)
			}
		}
	}
}

// TestCopyChunkEndsEarly has a chunk of which the statistics knew too little, since its values
// lie outside of its blocks in one place only.
func TestCopyChunkEndsEarly(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, `INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i`, `VACUUM ANALYZE t`)
	f := open(t, db, postgres.Options{}).begin()
	plan, err := f.PlanCopy(t.Context(), f.tables["t"], 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	chunk := plan.Chunks[0]
	chunk.Bytes = 1 << 40 // a block is a piece
	rows := 0
	done, err := f.CopyChunk(t.Context(), f.tables["t"], chunk, 100_000, func(b *change.Batch) error { rows += b.Len(); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if done.To <= 0 || done.To > 40 || rows < 100 || rows > 1000 {
		t.Errorf("it ended at block %d, after %d rows", done.To, rows)
	}
	rest := chunk
	rest.From, rest.Blocks, rest.Bytes = done.To, chunk.Blocks-done.Blocks, 1
	if _, err := f.CopyChunk(t.Context(), f.tables["t"], rest, 0, func(b *change.Batch) error { rows += b.Len(); return nil }); err != nil {
		t.Fatal(err)
	}
	if rows != 20000 {
		t.Errorf("%d rows in all", rows)
	}
}

// TestCopyRate copies no faster than it is allowed to.
func TestCopyRate(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, `INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 5000) i`)
	o := postgres.Options{CopyRate: postgres.NewRate(2<<20, 0), ChunkBytes: 100_000, CopyLag: time.Minute}
	f := open(t, db, o).begin()
	began := time.Now()
	if n := len(f.copied("t")); n != 5000 {
		t.Errorf("%d rows", n)
	}
	if took := time.Since(began); took < 400*time.Millisecond { // a megabyte
		t.Errorf("it took %v", took)
	}
	other := pgtest.NewDatabase(t)
	other.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, `INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 5000) i`)
	g := open(t, other, o).begin()
	began = time.Now()
	var both errgroup.Group
	for _, f := range []*feed{f, g} {
		both.Go(func() error { return f.Copy(t.Context(), f.tables["t"], func(*change.Batch) error { return nil }) })
	}
	if err := both.Wait(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 800*time.Millisecond { // both keep it together
		t.Errorf("two of them took %v", took)
	}
}

// TestCopyPauses waits for a standby that lags, and goes on when it does not any more.
func TestCopyPauses(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Options{})
	standby := primary.Standby(t, nil)
	db := primary.NewDatabase(t)
	var log watchedLog
	f := open(t, db, postgres.Options{ChunkBytes: 100_000, CopyLag: 500 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, `INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 5000) i`)
	f.look()
	f.begin()
	standby.Exec(t, `SELECT pg_wal_replay_pause()`)
	db.Exec(t, `UPDATE t SET v = 'late'`)
	log.on("copies pause", func() { standby.Exec(t, `SELECT pg_wal_replay_resume()`) })
	for n := 0; log.count("copies go on") == 0; n++ {
		if n == 100 {
			t.Fatalf("copies never paused: %s", log.String())
		}
		if n := len(f.copied("t")); n != 5000 {
			t.Fatalf("%d rows", n)
		}
	}
}

// watchedLog is a log that does something at its first line that has a text.
type watchedLog struct {
	mu   sync.Mutex
	text strings.Builder
	what string
	do   func()
}

func (l *watchedLog) on(what string, do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.what, l.do = what, do
}

func (l *watchedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	do := l.do
	if do == nil || !strings.Contains(string(b), l.what) {
		do = func() {}
	} else {
		l.do = nil
	}
	defer func() { l.mu.Unlock(); do() }()
	return l.text.Write(b)
}

func (l *watchedLog) count(what string) int { return strings.Count(l.String(), what) }

func (l *watchedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestSnapshotWithoutSlot sees that a snapshot beside a slot keeps no log of the server's, and
// that one whose holder is gone is worth another try.
func TestSnapshotWithoutSlot(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t VALUES (1), (2)`)
	f := open(t, db, postgres.Options{})
	f.prepare()
	if _, err := f.OpenSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	db.Exec(t, `INSERT INTO t VALUES (3)`)
	await(t, func() bool { // the server drops the slot that the snapshot came with as it notices that nobody holds it
		return len(db.Query(t, `SELECT slot_name FROM pg_replication_slots WHERE database = current_database()`)) == 0
	})
	if ids, _ := f.chunked("t", 1<<20, 0); len(ids) != 2 {
		t.Errorf("rows %v", ids)
	}
	db.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()`)
	_, err := f.CopyChunk(t.Context(), f.tables["t"], change.CopyChunk{Table: f.tables["t"].ID, Name: "t", Whole: true}, 0, func(*change.Batch) error { return nil })
	if !postgres.Retryable(err) {
		t.Errorf("got %v", err)
	}
	if err := f.CloseSnapshot(t.Context()); err != nil {
		t.Error(err)
	}
}
