package postgres_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestCopyInParts copies a table of many blocks over several connections.
func TestCopyInParts(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text) WITH (fillfactor = 10)`, // some ten rows a block
		`INSERT INTO t SELECT i, repeat('x', 60) FROM generate_series(1, 45000) i`)
	f := open(t, db, postgres.Options{CopyConnections: 3, ChunkBytes: 200_000}).begin()
	db.Exec(t, `DELETE FROM t WHERE id % 2 = 0`, `UPDATE t SET v = 'late'`) // behind the snapshot
	seen := make([]bool, 45001)
	var inside atomic.Int32
	batches := 0
	err := f.Copy(t.Context(), f.tables["t"], func(b *change.Batch) error {
		if inside.Add(1) != 1 {
			t.Error("emit is called concurrently")
		}
		defer inside.Add(-1)
		batches++
		ids, vs := b.Rows.Column(0).(*array.Int32), b.Rows.Column(1).(*array.String)
		for i := range b.Len() {
			if seen[ids.Value(i)] || len(vs.Value(i)) != 60 {
				t.Errorf("row %d comes twice or is not the snapshot's", ids.Value(i))
			}
			if seen[ids.Value(i)] = true; b.Ops[i] != change.Read || b.At[i] != (change.Position{Commit: f.start}) {
				t.Errorf("row %d: %c at %v", ids.Value(i), b.Ops[i], b.At[i])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id := 1; id <= 45000; id++ {
		if !seen[id] {
			t.Fatalf("row %d is missing", id)
		}
	}
	if batches < 10 {
		t.Errorf("%d batches", batches)
	}
	// The snapshot stands, and the table is free for its owner.
	db.Exec(t, `SET lock_timeout = '5s'; ALTER TABLE t ADD w int`)
	if n := len(f.copied("t")); n != 45000 {
		t.Errorf("a second copy has %d rows", n)
	}
}

func TestCopyEnds(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t SELECT generate_series(1, 1000)`, `CREATE TABLE empty (id int)`)
	f := open(t, db, postgres.Options{}).begin()
	table := f.tables["t"]
	if got := f.copied("empty"); got != nil {
		t.Errorf("rows of an empty table: %v", got)
	}
	stop := errors.New("enough")
	if err := f.Copy(t.Context(), table, func(*change.Batch) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the error of emit", err)
	}
	if n := len(f.copied("t")); n != 1000 {
		t.Errorf("after it, a copy has %d rows", n)
	}
	lock := db.Conn(t)
	if _, err := lock.Exec(t.Context(), "BEGIN; LOCK TABLE t"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := f.Copy(ctx, table, func(*change.Batch) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	if _, err := lock.Exec(t.Context(), "DROP TABLE t; COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := f.Copy(t.Context(), table, func(*change.Batch) error { return nil }); err == nil || postgres.Retryable(err) {
		t.Errorf("the copy of a table that is gone: %v", err)
	}
	if err := f.CloseSnapshot(t.Context()); err != nil {
		t.Error(err)
	}
	if err := f.Copy(t.Context(), table, func(*change.Batch) error { return nil }); err == nil {
		t.Error("a copy without a snapshot")
	}
}

// TestCreateSlotIsCancelled: making a slot waits for open transactions; giving up
// leaves no slot behind.
func TestCreateSlotIsCancelled(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
	blocker := db.Conn(t)
	if _, err := blocker.Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	f := open(t, db, postgres.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := f.CreateSlot(ctx); err == nil {
		t.Fatal("a slot was made beside an open transaction")
	}
	if _, err := blocker.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if s, err := f.Slot(t.Context()); err != nil || s != nil {
		t.Fatalf("slot %+v, %v", s, err)
	}
	f.begin()
}
