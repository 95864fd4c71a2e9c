package hudi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lakefeed/hudi/lock"
	"lakefeed/hudi/timeline"
	"lakefeed/internal/long"
	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// TestDeadWriter lets a writer die in a transaction. While its heartbeat is fresh, its
// transaction is left alone; then another rolls it back; and when it lives after all it
// notices.
func TestDeadWriter(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ahead := time.Duration(0)
		s := &shared{store: newStore(t), typ: typ, buckets: 1, lock: testStorageLock}
		one := s.create(t)
		mustUpsert(t, one, map[string]modelRow{"a": {seq: 7}})
		x := begin(t, s.open(t, s.store), Upsert, "a")
		s.set = func(o *Options) { o.Now = func() time.Time { return time.Now().Add(ahead) } }
		other := s.open(t, s.store)
		if err := other.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := other.Timeline().Pending(); len(p) != 1 || p[0].Time != x.Instant() {
			t.Fatalf("pending: %v; want the living writer's", p)
		}
		ahead = time.Hour
		mustUpsert(t, other, map[string]modelRow{"b": {seq: 8}})
		if p := other.Timeline().Pending(); len(p) != 0 {
			t.Fatalf("pending: %v; want the dead writer's rolled back", p)
		}
		conflict(t, x)
		if err := other.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		compareRows(t, mustRead(t, other, ReadOptions{}), map[string]modelRow{"a": {seq: 7}, "b": {seq: 8}})
		for _, folder := range []string{heartbeatFolder, tempFolder} {
			for info := range s.store.List(t.Context(), folder, true) {
				t.Errorf("left: %v", info.Name)
			}
		}
	})
}

// TestHeartbeat sees that a transaction's heartbeat is written, refreshed and taken
// away, and that one that stood still is noticed.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 1, lock: testStorageLock}
	s.set = func(o *Options) { o.Concurrency.Heartbeat, o.Concurrency.HeartbeatMisses = 20*time.Millisecond, 3000 }
	one := s.create(t)
	x := begin(t, one, Upsert, "a")
	first, err := one.beats(t.Context())
	if err != nil || len(first) != 1 {
		t.Fatalf("beats: %v, %v", first, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		later, err := one.beats(t.Context())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("no second beat: %v, %v", later, err)
		}
		if later[x.Instant()].After(first[x.Instant()]) {
			break
		}
	}
	x.beat.mu.Lock()
	x.beat.lost = true // as if the process had been stopped for long
	x.beat.mu.Unlock()
	if c := conflict(t, x); !strings.Contains(c.Reason, "heartbeat") {
		t.Errorf("%v", c)
	}
	if left, err := one.beats(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestDeadCompactor leaves a compaction half done: it is let alone at first, and
// finished by the next transaction when its heartbeat has expired.
func TestDeadCompactor(t *testing.T) {
	t.Parallel()
	ahead := time.Duration(0)
	s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 1, lock: testStorageLock}
	one := s.create(t)
	for n := range 3 {
		mustUpsert(t, one, map[string]modelRow{"a": {seq: int64(n)}})
	}
	dying := storagetest.NewFaulty(s.store, storagetest.Fault{At: 1, Dead: true, Only: func(c storagetest.Call) bool {
		return c.Op == "Commit" && strings.HasSuffix(c.Name, baseSuffix)
	}})
	if _, err := s.open(t, dying).Compact(t.Context(), CompactOptions{}); !errors.Is(err, storagetest.ErrFault) {
		t.Fatal(err)
	}
	s.set = func(o *Options) {
		o.Now = func() time.Time { return time.Now().Add(ahead) }
		o.Concurrency.Locker = lock.NewStorage(s.store, lock.StorageOptions{Now: o.Now})
		o.Concurrency.RetryFor = time.Millisecond
	}
	two := s.open(t, s.store)
	ahead = 10 * time.Minute // the lock has expired, and the heartbeat
	if err := s.store.Put(t.Context(), heartbeatFile(two.Timeline().Pending()[0].Time), nil); err != nil {
		t.Fatal(err)
	}
	ahead = time.Minute
	if err := s.store.Delete(t.Context(), ".hoodie/.locks/table_lock.json"); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Upsert(t.Context(), modelBatch([]string{"a"}, map[string]modelRow{"a": {seq: 9}}, two.Schema())); !errors.As(err, new(*ConflictError)) {
		t.Fatalf("upsert over a living compaction: %v", err)
	}
	ahead = time.Hour
	mustUpsert(t, two, map[string]modelRow{"a": {seq: 9}})
	if p := two.Timeline().Pending(); len(p) > 0 {
		t.Errorf("pending: %v", p)
	}
	if n := len(slices.DeleteFunc(two.Timeline().Completed(), func(i timeline.Instant) bool { return i.Action != timeline.Compaction })); n != 1 {
		t.Errorf("%d compactions were completed, want 1", n)
	}
	compareRows(t, mustRead(t, two, ReadOptions{}), map[string]modelRow{"a": {seq: 9}})
}

// TestCrashShared lets the store die at calls of a shared table's life, and another
// writer go on when the lock and the heartbeats of the dead one have expired.
func TestCrashShared(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		m, steps := crashStory(t, typ)
		alone := m.table.opts
		later := func() time.Time { return time.Now().Add(time.Hour) }
		share := func(store storage.Store, now func() time.Time) {
			m.table.opts = alone
			m.table.opts.Now = now
			m.table.opts.Concurrency = Concurrency{
				Mode: Optimistic, Locker: lock.NewStorage(store, lock.StorageOptions{Now: now, Poll: time.Millisecond}),
				LockWait: 10 * time.Second,
			}
			m.table.opts.Concurrency.setDefaults()
		}
		counter := storagetest.NewFaulty(newStore(t), storagetest.Fault{Only: worthwhile})
		share(counter, time.Now)
		if _, err := tell(t.Context(), counter, m, steps); err != nil {
			t.Fatal(err)
		}
		calls := counter.Calls()
		every := 7
		if testing.Short() {
			every = 24
		}
		for n := 1; n <= len(calls); n += every {
			c := &crash{t: t, m: m, steps: steps, at: n, call: calls[n-1], when: storagetest.When(n / every % 3)}
			inner := newStore(t)
			dying := storagetest.NewFaulty(inner, storagetest.Fault{At: n, When: c.when, Dead: true, Only: worthwhile})
			share(dying, time.Now)
			done, err := tell(t.Context(), dying, m, steps)
			share(inner, later)
			c.look(t.Context(), inner, done, err, storagetest.ErrFault, func() { recoverShared(t.Context(), c, inner) })
		}
		t.Logf("%d calls, of which each %d-th failed", len(calls), every)
	})
}

func recoverShared(ctx context.Context, c *crash, inner storage.Store) {
	table, err := Open(ctx, inner, c.m.table.opts)
	if err == nil {
		err = table.Recover(ctx)
	}
	if err != nil {
		c.fatal("recover: %v", err)
	}
}

func childShared(t *testing.T, dir string) *shared {
	t.Helper()
	return &shared{store: fileStore(t, dir), typ: MergeOnRead, buckets: 64, lock: func(s storage.Store) lock.Locker {
		return lock.NewStorage(s, lock.StorageOptions{Validity: time.Second, Renew: 100 * time.Millisecond, Poll: 5 * time.Millisecond})
	}, set: func(o *Options) {
		o.Concurrency.Heartbeat, o.Concurrency.HeartbeatMisses = 250*time.Millisecond, 4
	}}
}

// TestWriterChild is the part of TestKilledWriterLong that runs in another process: it
// writes until it is killed, and says what is committed.
func TestWriterChild(t *testing.T) {
	dir := os.Getenv(childWriter)
	if dir == "" {
		t.Skip("started by TestKilledWriterLong")
	}
	s := childShared(t, dir)
	table := s.open(t, s.store)
	for n := 1; ; n++ {
		mustUpsert(t, table, map[string]modelRow{"child": {seq: int64(n)}, "both": {name: "child", seq: int64(n)}})
		if _, err := fmt.Fprintln(os.Stdout, "committed", n); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKilledWriterLong kills one of two processes that write to a table: the other goes on
// once the lock and the heartbeat have expired, and nothing that was committed is lost.
func TestKilledWriterLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	dir := t.TempDir()
	s := childShared(t, dir)
	table := s.create(t)
	mustUpsert(t, table, map[string]modelRow{"parent": {seq: 0}, "child": {seq: 0}, "both": {seq: 0}})
	n := 0
	for round := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestWriterChild$")
		cmd.Env = append(os.Environ(), childWriter+"="+dir)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		last := int64(0)
		kill := 1 + round
		for in := bufio.NewScanner(out); in.Scan(); {
			if text, ok := strings.CutPrefix(in.Text(), "committed "); ok {
				if last, err = strconv.ParseInt(text, 10, 64); err != nil {
					t.Fatal(err)
				}
			}
			n++
			mustUpsert(t, table, map[string]modelRow{"parent": {seq: int64(n)}})
			if kill--; kill == 0 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		n++
		mustUpsert(t, table, map[string]modelRow{"parent": {seq: int64(n)}, "both": {name: "parent", seq: int64(n)}})
		rows := mustRead(t, table, ReadOptions{})
		if c := rows["child"].seq; c != last && c != last+1 {
			t.Errorf("round %d: the child's row is %d; it had committed %d", round, c, last)
		}
		delete(rows, "child")
		compareRows(t, rows, map[string]modelRow{"parent": {seq: int64(n)}, "both": {name: "parent", seq: int64(n)}})
	}
	awaitRecovered(t, s, table)
}

// awaitRecovered waits until what the dead left has expired, and is gone.
func awaitRecovered(t *testing.T, s *shared, table *Table) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if err := table.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		left := ""
		for _, folder := range []string{heartbeatFolder, tempFolder} {
			for info := range s.store.List(t.Context(), folder, true) {
				left = path.Base(info.Name)
			}
		}
		if left == "" && len(table.Timeline().Pending()) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %s, pending %v", left, table.Timeline().Pending())
		}
	}
}
