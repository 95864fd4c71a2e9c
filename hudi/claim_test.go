package hudi

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"lakefeed/internal/seed"
	"lakefeed/storage"
)

// soleWriter is one of two writers each of which is told that it is the only one.
type soleWriter struct {
	t     *testing.T
	name  string
	store storage.Store
	exact bool // the other one stands still meanwhile: nothing may fail
	heeds bool // it leaves alone who shows that it is at work; else it is told that nobody lives
	acked []string
}

// write opens the table and lives through what a writer does.
func (w *soleWriter) write() {
	table, err := Open(w.t.Context(), w.store, Options{Buckets: 1, Concurrency: Concurrency{Exclusive: !w.heeds}})
	if err != nil {
		if w.exact || !errors.Is(err, storage.ErrNotExist) { // archived while it was read
			w.t.Errorf("%s: %v", w.name, err)
		}
		return
	}
	table.claim.late = 0 // it may stand still at any call
	for n := range 3 {
		key := fmt.Sprint(w.name, n)
		if w.step("upsert", func(ctx context.Context) error { return upsertOne(ctx, table, key) }) {
			w.acked = append(w.acked, key)
		}
		switch n {
		case 0:
			w.step("compact", func(ctx context.Context) error { _, err := table.Compact(ctx, CompactOptions{}); return err })
		case 1:
			w.step("clean", func(ctx context.Context) error {
				_, err := table.Clean(ctx, CleanOptions{RetainCommits: 2})
				return err
			})
			w.step("archive", func(ctx context.Context) error {
				_, err := table.Archive(ctx, ArchiveOptions{KeepMin: 2, KeepMax: 2})
				return err
			})
		}
	}
}

// step does one thing, in which it may meet the other writer, or miss a file that this one
// cleaned away or archived.
func (w *soleWriter) step(what string, do func(ctx context.Context) error) (done bool) {
	err := do(w.t.Context())
	met := errors.As(err, new(*ConflictError)) || errors.Is(err, storage.ErrNotExist) || errors.Is(err, ErrCleaned)
	if err != nil && (w.exact || !met) {
		w.t.Errorf("%s: %s: %v", w.name, what, err)
	}
	return err == nil
}

func upsertOne(ctx context.Context, table *Table, key string) error {
	_, err := table.Upsert(ctx, modelBatch([]string{key}, map[string]modelRow{key: {seq: 1}}, table.Schema()))
	return err
}

// meet lets A begin, B at A's call at, A go on when B is at its call then (0: has ended),
// and B go on when A has ended. It returns the stores, which tell of the calls that each made.
// Two that heed each other begin with an empty table.
func meet(t *testing.T, typ TableType, heed bool, at, then int64) (mine, theirs *paced) {
	t.Helper()
	inner := newStore(t)
	first := newTable(t, inner, typ, 1)
	old := &soleWriter{}
	if !heed {
		for n := range 2 {
			old.acked = append(old.acked, fmt.Sprint("old", n))
			mustUpsert(t, first, map[string]modelRow{old.acked[n]: {seq: 1}})
		}
	}
	begun, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	theirs = &paced{Store: inner, before: func(n int64) {
		if n == then {
			close(begun)
			<-goOn
		}
	}}
	two := &soleWriter{t: t, name: "b", store: theirs, exact: then == 0 && !heed, heeds: heed}
	mine = &paced{Store: inner, before: func(n int64) {
		if n != at {
			return
		}
		go func() { defer close(ended); two.write() }()
		select {
		case <-begun:
		case <-ended:
		}
	}}
	one := &soleWriter{t: t, name: "a", store: mine, heeds: heed}
	one.write()
	close(goOn)
	if mine.calls.Load() >= at {
		<-ended
	}
	if mine.calls.Load() < at && len(one.acked) != 3 {
		t.Errorf("A was alone, and wrote %v", one.acked)
	}
	checkBoth(t, inner, old, one, two)
	return mine, theirs
}

// checkBoth sees that a table is sound, that what two writers were told is committed is there,
// and that one which comes after them writes, and heeds nobody who is gone.
func checkBoth(t *testing.T, store storage.Store, writers ...*soleWriter) {
	t.Helper()
	fresh, err := Open(t.Context(), store, Options{Buckets: 1})
	if err == nil {
		err = upsertOne(t.Context(), fresh, "fresh")
	}
	if err != nil {
		t.Errorf("a third writer: %v", err)
	}
	writers = append(writers, &soleWriter{acked: []string{"fresh"}})
	table, err := Open(t.Context(), store, Options{Concurrency: Concurrency{Exclusive: true}})
	if err == nil {
		err = table.Recover(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	rows := mustRead(t, table, ReadOptions{})
	for _, w := range writers {
		for _, key := range w.acked {
			if _, found := rows[key]; !found {
				t.Errorf("row %s, which was acknowledged, is lost", key)
			}
		}
	}
	report, err := Check(t.Context(), store, CheckOptions{})
	if err != nil || !report.Sound() {
		t.Errorf("%v, %v", err, report.Faults)
	}
}

// eachMeeting runs a test for two writers of which each takes the other one for dead, and
// for two that heed each other.
func eachMeeting(t *testing.T, test func(t *testing.T, typ TableType, heed bool)) {
	eachType(t, func(t *testing.T, typ TableType) {
		for name, heed := range map[string]bool{"careless": false, "heedful": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, typ, heed)
			})
		}
	})
}

// TestTwoSoleWriters lets a second writer at a table at each call of a first one to the
// store: nothing that either was told is committed may be lost, and the table must be sound.
func TestTwoSoleWriters(t *testing.T) {
	t.Parallel()
	eachMeeting(t, func(t *testing.T, typ TableType, heed bool) {
		alone, _ := meet(t, typ, heed, 1<<40, 0)
		calls := alone.calls.Load()
		for at := int64(1); at <= calls; at++ {
			if meet(t, typ, heed, at, 0); t.Failed() {
				t.Fatalf("B came at A's call %d of %d", at, calls)
			}
		}
	})
}

// turns are all pairs of calls, in an order by chance, of which every other one is a pair that
// decides something as long as there are such: both stand still before they write the claim or
// the timeline.
func turns(rnd *rand.Rand, mine, theirs *paced) (pairs [][2]int64) {
	var decide, others [][2]int64
	for at := int64(1); at <= mine.calls.Load(); at++ {
		for then := int64(1); then <= theirs.calls.Load(); then++ {
			if p := [2]int64{at, then}; slices.Contains(mine.decides, at) && slices.Contains(theirs.decides, then) {
				decide = append(decide, p)
			} else {
				others = append(others, p)
			}
		}
	}
	for _, l := range [][][2]int64{decide, others} {
		rnd.Shuffle(len(l), func(i, j int) { l[i], l[j] = l[j], l[i] })
	}
	n := min(len(decide), len(others))
	for i := range n {
		pairs = append(pairs, decide[i], others[i])
	}
	return slices.Concat(pairs, decide[n:], others[n:])
}

// TestTwoSoleWritersInTurns lets the second one stand still too, at any of its calls, and the
// first go on meanwhile.
func TestTwoSoleWritersInTurns(t *testing.T) {
	t.Parallel()
	eachMeeting(t, func(t *testing.T, typ TableType, heed bool) {
		mine, theirs := meet(t, typ, heed, 1, 0)
		calls, others := mine.calls.Load(), theirs.calls.Load()
		rnd := rand.New(rand.NewPCG(seed.New(t), 11))
		pairs := turns(rnd, mine, theirs)
		if !soak() {
			pairs = pairs[:min(len(pairs), 100)]
		}
		for _, p := range pairs {
			if meet(t, typ, heed, p[0], p[1]); t.Failed() {
				t.Fatalf("B came at A's call %d of %d, and stood still at its own call %d of %d", p[0], calls, p[1], others)
			}
		}
	})
}

// TestSoleBesideShared lets a writer that takes itself for the only one at a table on which
// one with a heartbeat is at work: it is refused until that has ended or died.
func TestSoleBesideShared(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx := t.Context()
		s := &shared{store: newStore(t), typ: typ, buckets: 1, lock: testStorageLock}
		sharing := s.create(t)
		mustUpsert(t, sharing, map[string]modelRow{"a": {seq: 1}})
		x := begin(t, sharing, Upsert, "b")
		ahead := time.Duration(0)
		alone, err := Open(ctx, s.store, Options{Buckets: 1, Now: func() time.Time { return time.Now().Add(ahead) }})
		if err != nil {
			t.Fatal(err)
		}
		for name, verb := range map[string]func() error{
			"recover":   func() error { return alone.Recover(ctx) },
			"clean":     func() error { _, err := alone.Clean(ctx, CleanOptions{}); return err },
			"savepoint": func() error { _, err := alone.Savepoint(ctx, SavepointOptions{}); return err },
			"upsert":    func() error { return upsertOne(ctx, alone, "c") },
			"cluster": func() error {
				_, err := alone.Cluster(ctx, ClusterOptions{SortBy: []string{"name"}})
				return err
			},
		} {
			if err := verb(); !errors.As(err, new(*ConflictError)) {
				t.Errorf("%s beside a living transaction: %v", name, err)
			}
		}
		if _, err := x.Commit(ctx, nil); err != nil {
			t.Fatal(err)
		}
		x = begin(t, sharing, Upsert, "d")
		ahead = time.Hour // it died
		if err := upsertOne(ctx, alone, "c"); err != nil {
			t.Error(err)
		}
		conflict(t, x)
		compareRows(t, mustRead(t, alone, ReadOptions{}), map[string]modelRow{"a": {seq: 1}, "b": {seq: 1}, "c": {seq: 1}})
	})
}

// TestClaimDamaged refuses a claim that cannot be read, with its name.
func TestClaimDamaged(t *testing.T) {
	store := newStore(t)
	table := newTable(t, store, MergeOnRead, 1)
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}})
	if err := store.Put(t.Context(), claimFile, []byte("{")); err != nil {
		t.Fatal(err)
	}
	other, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	corrupt := new(CorruptError)
	if err := upsertOne(t.Context(), other, "b"); !errors.As(err, &corrupt) || corrupt.File != claimFile {
		t.Errorf("write over a damaged claim: %v", err)
	}
	if err := store.Delete(t.Context(), claimFile); err != nil {
		t.Fatal(err)
	}
	mustUpsert(t, other, map[string]modelRow{"b": {seq: 1}})
	mustUpsert(t, table, map[string]modelRow{"c": {seq: 1}})
	rows := mustRead(t, table, ReadOptions{})
	if keys := slices.Sorted(func(yield func(string) bool) {
		for k := range rows {
			if !yield(k) {
				return
			}
		}
	}); strings.Join(keys, "") != "abc" {
		t.Errorf("rows: %q", keys)
	}
}

// TestReleasedSavepointStaysReleased: what was decided last before it was a savepoint, which a
// writer that comes later must not put again, since it is gone.
func TestReleasedSavepointStaysReleased(t *testing.T) {
	t.Parallel()
	for _, mode := range []ConcurrencyMode{SingleWriter, Optimistic} {
		store := newStore(t)
		mustUpsert(t, newTable(t, store, MergeOnRead, 1), map[string]modelRow{"a": {}})
		opts := Options{Concurrency: Concurrency{Mode: mode}, Services: &ServicesOptions{}}
		var instant string
		for step, do := range []func(*Table) error{
			func(table *Table) (err error) {
				instant, err = table.Savepoint(t.Context(), SavepointOptions{})
				return err
			},
			func(table *Table) error { return table.ReleaseSavepoint(t.Context(), instant) },
			func(table *Table) error { mustUpsert(t, table, map[string]modelRow{"b": {}}); return nil },
		} {
			table, err := Open(t.Context(), store, opts)
			if err == nil {
				err = do(table)
			}
			if err != nil {
				t.Fatalf("%s, step %d: %v", mode, step, err)
			}
		}
		table, err := Open(t.Context(), store, opts)
		if err != nil || len(table.Savepoints()) != 0 {
			t.Errorf("%s: the savepoints are %v, %v", mode, table.Savepoints(), err)
		}
		mustUpsert(t, table, map[string]modelRow{"c": {}})
		if len(table.Savepoints()) != 0 {
			t.Errorf("%s: the savepoints are %v", mode, table.Savepoints())
		}
	}
}
