package hudi

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"lakefeed/hudi/lock"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// noLock is the lock of one process.
func noLock(storage.Store) lock.Locker { return nil }

// eachDeath lets a process do something and die at each of its calls in turn, and what follows
// when it left something pending.
func (s *shared) eachDeath(t *testing.T, fill func() []*Table, do func(ctx context.Context, dying *Table) error, then func(at int, tables []*Table, pending []timeline.Instant)) {
	t.Helper()
	for at, died := 1, true; died; at++ {
		s.store = newStore(t)
		tables := fill()
		dying := s.open(t, storagetest.NewFaulty(s.store, storagetest.Fault{At: at, When: storagetest.After, Dead: true}))
		died = errors.Is(do(t.Context(), dying), storagetest.ErrFault)
		if pending := s.open(t, s.store).Timeline().Pending(); died && len(pending) > 0 {
			then(at, tables, pending)
		}
	}
}

// recoverLater recovers as a process does that comes when the other is taken for dead.
func (s *shared) recoverLater(t *testing.T, pending []timeline.Instant) *Table {
	t.Helper()
	later := s.open(t, s.store)
	if len(pending) > 0 {
		later.given = pending[0].Time
	}
	if err := later.Recover(t.Context()); err != nil {
		t.Error(err)
	}
	return later
}

func (s *shared) checkSound(t *testing.T, at int) {
	t.Helper()
	report, err := Check(t.Context(), s.store, CheckOptions{})
	if err != nil || !report.Sound() {
		t.Errorf("died at call %d: %v %v", at, err, report.Faults)
	}
}

// TestRestoreBesideDeadCleaning restores, or makes a savepoint, while a cleaning is half done
// that takes away what the table of that commit needs.
func TestRestoreBesideDeadCleaning(t *testing.T) {
	t.Parallel()
	for _, save := range []bool{false, true} {
		s := &shared{typ: CopyOnWrite, buckets: 1, lock: noLock}
		to := ""
		s.eachDeath(t, func() []*Table {
			one := s.create(t)
			for n := range 6 {
				mustUpsert(t, one, map[string]modelRow{"a": {seq: int64(n)}})
			}
			to = one.Timeline().Completed()[1].Time
			return nil
		}, func(ctx context.Context, dying *Table) error {
			_, err := dying.Clean(ctx, CleanOptions{RetainCommits: 2})
			return err
		}, func(at int, _ []*Table, pending []timeline.Instant) {
			var err error
			if two := s.open(t, s.store); save {
				_, err = two.Savepoint(t.Context(), SavepointOptions{Instant: to})
			} else {
				_, err = two.Restore(t.Context(), to)
			}
			later := s.recoverLater(t, pending)
			if err == nil && save {
				_, err = later.Restore(t.Context(), to)
			} else if err != nil { // refused
				err = nil
			}
			if err != nil {
				t.Errorf("died at call %d: %v", at, err)
			}
			s.checkSound(t, at)
		})
	}
}

// TestWriteBesideDeadRestore writes while a restore is half done, and publishes a transaction
// that had begun before.
func TestWriteBesideDeadRestore(t *testing.T) {
	t.Parallel()
	s := &shared{typ: MergeOnRead, buckets: 4, lock: noLock}
	var a, b, to string
	s.eachDeath(t, func() []*Table {
		one := s.create(t)
		a, b = twoKeys(one)
		mustUpsert(t, one, map[string]modelRow{b: {seq: 1}})
		last, _ := one.Timeline().Last()
		to = last.Time
		mustUpsert(t, one, map[string]modelRow{a: {seq: 1}})
		mustUpsert(t, one, map[string]modelRow{a: {seq: 2}})
		return []*Table{one}
	}, func(ctx context.Context, dying *Table) error {
		_, err := dying.Restore(ctx, to)
		return err
	}, func(at int, _ []*Table, pending []timeline.Instant) {
		if pending[0].Action != timeline.Restore {
			return
		}
		two := s.open(t, s.store)
		if _, err := two.Begin(t.Context(), TxnOptions{}); !errors.As(err, new(*ConflictError)) {
			t.Errorf("died at call %d: began beside a restore: %v", at, err)
		}
		later := s.recoverLater(t, pending)
		s.checkSound(t, at)
		compareRows(t, mustRead(t, later, ReadOptions{}), map[string]modelRow{b: {seq: 1}})
	})

	// The restore is refused beside a transaction, so that none can be published over it.
	s.store = newStore(t)
	one := s.create(t)
	mustUpsert(t, one, map[string]modelRow{b: {seq: 1}})
	last, _ := one.Timeline().Last()
	mustUpsert(t, one, map[string]modelRow{a: {seq: 1}})
	x := begin(t, s.open(t, s.store), Upsert, b)
	if _, err := one.Restore(t.Context(), last.Time); !errors.As(err, new(*ConflictError)) {
		t.Errorf("restored beside a transaction: %v", err)
	}
	if _, err := one.Rollback(t.Context(), ""); !errors.As(err, new(*ConflictError)) {
		t.Errorf("rolled back beside a transaction: %v", err)
	}
	if _, err := x.Commit(t.Context(), nil); err != nil {
		t.Error(err)
	}
	s.checkSound(t, 0)
}

// TestRestoreBesideCompaction restores while a compaction is at work that has merged what is
// to be taken back, or is about to.
func TestRestoreBesideCompaction(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one group after the other
	for _, at := range []int32{1, 2} {
		s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 4, lock: testStorageLock}
		one := s.create(t)
		a, b := twoKeys(one)
		mustUpsert(t, one, map[string]modelRow{a: {seq: 1}, b: {seq: 1}})
		mustUpsert(t, one, map[string]modelRow{b: {seq: 2}})
		last, _ := one.Timeline().Last()
		mustUpsert(t, one, map[string]modelRow{a: {seq: 2}})
		mustUpsert(t, one, map[string]modelRow{a: {seq: 3}})
		var n atomic.Int32
		other := *s
		s.set = func(o *Options) {
			o.Hook = func(phase string) {
				if phase != "data file" || n.Add(1) != at {
					return
				}
				if _, err := other.open(t, s.store).Restore(t.Context(), last.Time); !errors.As(err, new(*ConflictError)) {
					t.Errorf("restored beside a compaction: %v", err)
				}
			}
		}
		if _, err := s.open(t, s.store).Compact(t.Context(), CompactOptions{}); err != nil {
			t.Error(err)
		}
		if n.Load() < at {
			t.Fatal("the compaction did not come to the hook")
		}
		compareRows(t, mustRead(t, other.open(t, s.store), ReadOptions{}), map[string]modelRow{a: {seq: 3}, b: {seq: 2}})
	}
}

// TestCommitBesideTakingBack publishes a transaction while another engine, which lets it be, is
// at taking back a commit that it builds upon, or was: a dead rollback is finished first.
func TestCommitBesideTakingBack(t *testing.T) {
	t.Parallel()
	for _, action := range []timeline.Action{timeline.Rollback, timeline.Restore} {
		s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 4, lock: testStorageLock}
		one := s.create(t)
		a, b := twoKeys(one)
		mustUpsert(t, one, map[string]modelRow{a: {seq: 1}, b: {seq: 1}})
		first, _ := one.Timeline().Last()
		mustUpsert(t, one, map[string]modelRow{a: {seq: 2}})
		last, _ := one.Timeline().Last()
		x := begin(t, s.open(t, s.store), Upsert, b)
		if err := one.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		there, err := one.listFiles(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		plan, err := one.planTakeBack(t.Context(), last, there)
		if err == nil && action == timeline.Rollback {
			_, err = one.startRollback(t.Context(), plan)
		} else if err == nil {
			_, err = one.schedule(t.Context(), timeline.Restore, &timeline.RestorePlan{
				SavepointToRestoreTimestamp: first.Time, InstantsToRollback: []timeline.InstantInfo{{CommitTime: last.Time, Action: string(last.Action)}},
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Commit(t.Context(), nil); !errors.As(err, new(*ConflictError)) {
			t.Errorf("%s: published beside it: %v", action, err)
		}
		if err := x.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		pending := s.open(t, s.store).Timeline().Pending()
		later := s.recoverLater(t, pending)
		s.checkSound(t, 0)
		compareRows(t, mustRead(t, later, ReadOptions{}), map[string]modelRow{a: {seq: 1}, b: {seq: 1}})
	}
}

// TestSavepointBesideTransaction makes a savepoint while a transaction has begun a log file,
// which is aborted then: its rows must not come back when it is archived.
func TestSavepointBesideTransaction(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 4, lock: testStorageLock}
	one := s.create(t)
	a, b := twoKeys(one)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mustUpsert(t, one, map[string]modelRow{a: {seq: 1}, b: {seq: 1}})
	mustUpsert(t, one, map[string]modelRow{b: {seq: 2}})
	x, err := s.open(t, s.store).Begin(ctx, TxnOptions{})
	must(err)
	must(writeBucket(ctx, one, x, one.Bucket(a), map[string]modelRow{a: {seq: 99}}))
	at, err := s.open(t, s.store).Savepoint(ctx, SavepointOptions{})
	must(err)
	must(x.Abort(ctx))
	for n := range 4 {
		mustUpsert(t, one, map[string]modelRow{a: {seq: int64(10 + n)}, b: {seq: int64(10 + n)}})
		_, err = one.Compact(ctx, CompactOptions{})
		must(err)
	}
	_, err = one.Clean(ctx, CleanOptions{RetainCommits: 1})
	must(err)
	_, err = one.Restore(ctx, at)
	must(err)
	for n := range 4 {
		mustUpsert(t, one, map[string]modelRow{b: {seq: int64(20 + n)}})
	}
	_, err = one.Archive(ctx, ArchiveOptions{KeepMin: 1, KeepMax: 1})
	must(err)
	compareRows(t, mustRead(t, s.open(t, s.store), ReadOptions{}), map[string]modelRow{a: {seq: 1}, b: {seq: 23}})

	// One that began before the commit may complete behind the savepoint, and be there in part.
	x, err = s.open(t, s.store).Begin(ctx, TxnOptions{})
	must(err)
	mustUpsert(t, one, map[string]modelRow{b: {seq: 30}})
	if _, err := one.Savepoint(ctx, SavepointOptions{}); !errors.As(err, new(*ConflictError)) {
		t.Errorf("made a savepoint over a transaction: %v", err)
	}
	must(x.Abort(ctx))
}

// TestRestoreType restores a table that was converted since, to a commit that had log files.
func TestRestoreType(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), newStore(t)
	table := newTable(t, store, MergeOnRead, 4)
	a, b := twoKeys(table)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mustUpsert(t, table, map[string]modelRow{a: {seq: 1}, b: {seq: 1}})
	mustUpsert(t, table, map[string]modelRow{a: {seq: 2}})
	mustUpsert(t, table, map[string]modelRow{a: {seq: 3}})
	mustUpsert(t, table, map[string]modelRow{b: {seq: 2}})
	at, err := table.Compact(ctx, CompactOptions{MaxGroups: 1})
	must(err)
	_, err = table.Savepoint(ctx, SavepointOptions{Instant: at})
	must(err)
	for n := range 3 {
		mustUpsert(t, table, map[string]modelRow{a: {seq: int64(10 + n)}})
	}
	_, err = table.Archive(ctx, ArchiveOptions{KeepMin: 1, KeepMax: 1})
	must(err)
	must(table.Convert(ctx, ConvertOptions{Type: CopyOnWrite}))
	must(table.ReleaseSavepoint(ctx, at))
	_, err = table.Restore(ctx, at)
	must(err)
	for _, s := range table.Slices() {
		if table.Type() == CopyOnWrite && len(s.Logs) > 0 {
			t.Error("copy-on-write with log files")
		}
	}

	// Behind the conversion it stays what it became.
	must(table.Convert(ctx, ConvertOptions{Type: CopyOnWrite}))
	mustUpsert(t, table, map[string]modelRow{a: {seq: 20}})
	last, _ := table.Timeline().Last()
	mustUpsert(t, table, map[string]modelRow{a: {seq: 21}})
	_, err = table.Restore(ctx, last.Time)
	must(err)
	if table.Type() != CopyOnWrite {
		t.Error("a restore behind the conversion undid it")
	}
}
