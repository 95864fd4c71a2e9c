package hudi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/lock"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/storagetest"
)

// shared is a table that several writers share.
type shared struct {
	store   storage.Store
	typ     TableType
	buckets int
	lock    func(storage.Store) lock.Locker
	set     func(*Options)
}

func testStorageLock(s storage.Store) lock.Locker {
	return lock.NewStorage(s, lock.StorageOptions{Poll: 2 * time.Millisecond})
}

func (s *shared) options(store storage.Store) Options {
	o := Options{Buckets: s.buckets, Concurrency: Concurrency{Mode: Optimistic, Locker: s.lock(store), RetryFor: 5 * time.Minute}}
	if s.set != nil {
		s.set(&o)
	}
	return o
}

func (s *shared) create(t *testing.T) *Table {
	t.Helper()
	table, err := Create(t.Context(), s.store, CreateOptions{
		Name: "model", Type: s.typ, Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq", Options: s.options(s.store),
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// open is the table as another process has it.
func (s *shared) open(t *testing.T, store storage.Store) *Table {
	t.Helper()
	table, err := Open(t.Context(), store, s.options(store))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func fileStore(t *testing.T, dir string) storage.Store {
	t.Helper()
	s, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// committed is one commit of a test's writer.
type committed struct {
	instant string
	up      map[string]modelRow
	del     []string
}

// TestWritersSideBySide lets writers race, on the same keys and on others, with a
// compaction between: the table is what its commits make, in the order of their
// instants.
func TestWritersSideBySide(t *testing.T) {
	t.Parallel()
	locks := map[string]func(storage.Store) lock.Locker{
		"process": func(storage.Store) lock.Locker { return nil },
		"file": func(s storage.Store) lock.Locker {
			return lock.NewFile(s, lock.FileOptions{Poll: 2 * time.Millisecond})
		},
		"storage": testStorageLock,
	}
	for name, lock := range locks {
		for _, where := range []string{"mem", "file"} {
			for _, typ := range []TableType{CopyOnWrite, MergeOnRead} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, where, typ), func(t *testing.T) {
					t.Parallel()
					s := &shared{store: newStore(t), typ: typ, buckets: 6, lock: lock}
					if where == "file" {
						s.store = fileStore(t, t.TempDir())
					}
					race(t, s, 3, 6)
				})
			}
		}
	}
}

func race(t *testing.T, s *shared, writers, rounds int) {
	t.Helper()
	first := s.create(t)
	var mu sync.Mutex
	var all []committed
	var done sync.WaitGroup
	for w := range writers {
		table := s.open(t, s.store)
		done.Go(func() {
			for n := range rounds {
				c := raceStep(t, table, w, n)
				mu.Lock()
				all = append(all, c)
				mu.Unlock()
			}
		})
	}
	done.Wait()
	if err := first.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b committed) int { return strings.Compare(a.instant, b.instant) })
	want := map[string]modelRow{}
	for _, c := range all {
		for _, k := range c.del {
			delete(want, k)
		}
		maps.Copy(want, c.up)
	}
	compareRows(t, mustRead(t, first, ReadOptions{}), want)
	if left := first.Timeline().Pending(); len(left) > 0 {
		t.Errorf("pending: %v", left)
	}
	for _, folder := range []string{heartbeatFolder, tempFolder} {
		for info, err := range s.store.List(t.Context(), folder, true) {
			t.Errorf("left: %v, %v", info.Name, err)
		}
	}
}

// raceStep is one transaction: rows of the writer's own, or some that all change.
func raceStep(t *testing.T, table *Table, w, n int) committed {
	t.Helper()
	c := committed{up: map[string]modelRow{}}
	row := modelRow{name: fmt.Sprintf("writer %d", w), seq: int64(n)}
	rnd := rand.New(rand.NewPCG(uint64(w), uint64(n)))
	var err error
	switch n % 3 {
	case 0:
		c.up["own-"+strconv.Itoa(w)] = row
	case 1:
		for range 4 {
			c.up["shared-"+strconv.Itoa(rnd.IntN(8))] = row
		}
	default:
		c.del = []string{"shared-" + strconv.Itoa(rnd.IntN(8))}
		c.instant, err = table.Delete(t.Context(), c.del...)
	}
	if n%3 < 2 {
		c.instant, err = table.Upsert(t.Context(), modelBatch(slices.Sorted(maps.Keys(c.up)), c.up, table.Schema()))
	}
	if err != nil {
		t.Error(err)
	}
	if w == 0 && n%2 == 0 {
		if _, err := table.Compact(t.Context(), CompactOptions{}); err != nil && !errors.As(err, new(*ConflictError)) {
			t.Errorf("compact: %v", err)
		}
	}
	return c
}

// TestCounter lets writers read a row and write it greater by one: no step is lost.
func TestCounter(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		s := &shared{store: newStore(t), typ: typ, buckets: 2, lock: testStorageLock}
		first := s.create(t)
		const writers, rounds = 3, 4
		var done sync.WaitGroup
		for range writers {
			table := s.open(t, s.store)
			done.Go(func() {
				for range rounds {
					if err := table.Retry(t.Context(), func(ctx context.Context) error { return countUp(ctx, table) }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		done.Wait()
		if err := first.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := mustRead(t, first, ReadOptions{})["n"].seq; got != writers*rounds {
			t.Errorf("counted %d, want %d", got, writers*rounds)
		}
	})
}

func countUp(ctx context.Context, table *Table) error {
	x, err := table.Begin(ctx, TxnOptions{})
	if err != nil {
		return err
	}
	rows, err := readModel(ctx, table, ReadOptions{})
	if err == nil {
		up := map[string]modelRow{"n": {seq: rows["n"].seq + 1}}
		err = writeBucket(ctx, table, x, table.Bucket("n"), up)
	}
	if err == nil {
		_, err = x.Commit(ctx, nil)
	}
	if err != nil {
		return errors.Join(err, x.Abort(ctx))
	}
	return nil
}

// begin starts a transaction that wrote one row.
func begin(t *testing.T, table *Table, op Operation, key string) *Txn {
	t.Helper()
	x, err := table.Begin(t.Context(), TxnOptions{Operation: op})
	if err != nil {
		t.Fatal(err)
	}
	if err := writeBucket(t.Context(), table, x, table.Bucket(key), map[string]modelRow{key: {seq: 1}}); err != nil {
		t.Fatal(err)
	}
	return x
}

// conflict sees that a transaction meets a conflict, aborts it and returns it.
func conflict(t *testing.T, x *Txn) *ConflictError {
	t.Helper()
	_, err := x.Commit(t.Context(), nil)
	c := new(ConflictError)
	if !errors.As(err, &c) {
		t.Fatalf("Commit returned %v; want a conflict", err)
	}
	if err := x.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// twoKeys are keys of two buckets.
func twoKeys(table *Table) (a, b string) {
	for a, b = "a", "b"; table.Bucket(a) == table.Bucket(b); b += "b" {
	}
	return a, b
}

// TestConflictByGroup sees which transactions may be published over which others.
func TestConflictByGroup(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		for _, old := range []bool{true, false} { // the file groups are there, or both make them
			s := &shared{store: newStore(t), typ: typ, buckets: 4, lock: testStorageLock}
			one := s.create(t)
			two := s.open(t, s.store)
			a, b := twoKeys(one)
			if old {
				mustUpsert(t, one, map[string]modelRow{a: {seq: 1}, b: {seq: 1}})
			}
			x, y, z := begin(t, one, Upsert, a), begin(t, two, Upsert, b), begin(t, s.open(t, s.store), Upsert, a)
			all := begin(t, s.open(t, s.store), InsertOverwriteTable, b)
			instant, err := x.Commit(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := y.Commit(t.Context(), nil); err != nil {
				t.Errorf("another file group: %v", err)
			}
			c := conflict(t, z)
			if c.Other != instant || len(c.Groups) != 1 || !strings.Contains(c.Error(), instant) || !strings.Contains(c.Error(), c.Groups[0].String()) {
				t.Errorf("the same file group: %v; want it against %s", c, instant)
			}
			conflict(t, all)
			if err := one.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			compareRows(t, mustRead(t, one, ReadOptions{}), map[string]modelRow{a: {seq: 1}, b: {seq: 1}})
		}
	})
}

// TestCompactionTakenOver lets a process take over a compaction that another one is at
// work on, as it may when it slept, and die at each of its calls: whichever of the two
// completes it, its files are there, and those of the other are not left.
func TestCompactionTakenOver(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for at, died := 1, true; died; at++ {
		s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 2, lock: func(storage.Store) lock.Locker { return nil }}
		table := s.create(t)
		a, b := twoKeys(table)
		for seq := range int64(3) {
			mustUpsert(t, table, map[string]modelRow{a: {seq: seq}, b: {seq: seq}})
		}
		want := mustRead(t, table, ReadOptions{})
		var files atomic.Int32
		takeOver := func() {
			other := s.open(t, storagetest.NewFaulty(s.store, storagetest.Fault{At: at, When: storagetest.After, Dead: true}))
			other.given = other.Timeline().Pending()[0].Time
			err := other.Recover(ctx)
			if died = errors.Is(err, storagetest.ErrFault); err != nil && !died {
				t.Error(err)
			}
		}
		s.set = func(o *Options) {
			o.Hook = func(phase string) {
				if phase == "data file" && files.Add(1) == 2 { // the other one is written meanwhile
					takeOver()
				}
			}
		}
		one := s.open(t, s.store)
		s.set = nil
		if _, err := one.Compact(ctx, CompactOptions{}); err != nil && !errors.As(err, new(*ConflictError)) {
			t.Errorf("died at call %d: %v", at, err)
		}
		last := s.open(t, s.store)
		if p := last.Timeline().Pending(); len(p) > 0 {
			last.given = p[0].Time
		}
		if err := last.Recover(ctx); err != nil {
			t.Fatal(err)
		}
		compareRows(t, mustRead(t, last, ReadOptions{}), want)
		report, err := Check(ctx, s.store, CheckOptions{})
		if err != nil || !report.Sound() {
			t.Errorf("died at call %d: %v, %v", at, err, report.Faults)
		}
	}
}

// TestConflictWithSchema lets a transaction be published over another's new schema,
// which stays, but not another change of it.
func TestConflictWithSchema(t *testing.T) {
	t.Parallel()
	s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 4, lock: testStorageLock}
	one := s.create(t)
	a, b := twoKeys(one)
	x := begin(t, s.open(t, s.store), Upsert, a)
	other := arrow.NewSchema(append(modelSchema.Fields(), arrow.Field{Name: "other", Type: arrow.BinaryTypes.String, Nullable: true}), nil)
	z, err := s.open(t, s.store).Begin(t.Context(), TxnOptions{Schema: other})
	if err != nil {
		t.Fatal(err)
	}
	y, err := one.Begin(t.Context(), TxnOptions{Schema: modelSchemaLater})
	if err != nil {
		t.Fatal(err)
	}
	writeOne(t, one, y, b, modelRow{seq: 1, note: 2})
	for _, txn := range []*Txn{y, x} {
		if _, err := txn.Commit(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if c := conflict(t, z); !strings.Contains(c.Reason, "schema") {
		t.Errorf("%v", c)
	}
	late := s.open(t, s.store)
	if !late.Schema().Equal(modelSchemaLater) {
		t.Errorf("the schema is %v", late.Schema())
	}
	compareRows(t, mustRead(t, late, ReadOptions{}), map[string]modelRow{a: {seq: 1}, b: {seq: 1, note: 2}})
}

// pause stops a writer at a phase until it may go on.
type pause struct {
	phase   string
	reached chan struct{}
	goOn    chan struct{}
	once    sync.Once
}

func newPause(phase string) *pause {
	return &pause{phase: phase, reached: make(chan struct{}), goOn: make(chan struct{})}
}

func (p *pause) hook(phase string) {
	if phase == p.phase {
		p.once.Do(func() {
			close(p.reached)
			<-p.goOn
		})
	}
}

// TestConflictWithCompaction lets a compaction be at work for long: file groups that it
// has before it cannot be written to, and those that were are not published.
func TestConflictWithCompaction(t *testing.T) {
	t.Parallel()
	at := newPause("data file")
	s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 4, lock: testStorageLock}
	one := s.create(t)
	a, b := twoKeys(one)
	mustUpsert(t, one, map[string]modelRow{a: {seq: 1}})
	mustUpsert(t, one, map[string]modelRow{a: {seq: 2}})
	early := begin(t, s.open(t, s.store), Upsert, a)
	s.set = func(o *Options) { o.Hook = at.hook }
	compactor := s.open(t, s.store)
	s.set = nil
	var done sync.WaitGroup
	done.Go(func() {
		if _, err := compactor.Compact(t.Context(), CompactOptions{}); err != nil {
			t.Errorf("compact: %v", err)
		}
	})
	<-at.reached
	mustUpsert(t, one, map[string]modelRow{b: {seq: 3}}) // goes on beside it
	x, err := one.Begin(t.Context(), TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Group(t.Context(), "", one.Bucket(a)); !errors.As(err, new(*ConflictError)) {
		t.Errorf("a group that is being compacted was opened: %v", err)
	}
	if err := x.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	conflict(t, early)
	late := begin(t, s.open(t, s.store), Upsert, b)
	close(at.goOn)
	done.Wait()
	if _, err := late.Commit(t.Context(), nil); err != nil {
		t.Errorf("another file group: %v", err)
	}
	mustUpsert(t, one, map[string]modelRow{a: {seq: 5}})
	compareRows(t, mustRead(t, one, ReadOptions{}), map[string]modelRow{a: {seq: 5}, b: {seq: 1}})
	if len(one.Timeline().Pending()) > 0 {
		t.Errorf("pending: %v", one.Timeline().Pending())
	}
}

// TestStolenLock takes the lock away right before a commit is published, by another's
// record or by none: nothing is published.
func TestStolenLock(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		for name, steal := range map[string]func(s storage.Store) error{
			"taken": func(s storage.Store) error {
				until := time.Now().Add(-400 * time.Millisecond).UnixMilli()
				return s.Put(t.Context(), ".hoodie/.locks/table_lock.json", fmt.Appendf(nil, `{"expired":false,"validUntil":%d,"owner":"thief"}`, until))
			},
			"deleted": func(s storage.Store) error { return s.Delete(t.Context(), ".hoodie/.locks/table_lock.json") },
		} {
			s := &shared{store: newStore(t), typ: typ, buckets: 1, lock: testStorageLock}
			one := s.create(t)
			mustUpsert(t, one, map[string]modelRow{"a": {seq: 7}})
			s.set = func(o *Options) {
				o.Hook = func(phase string) {
					if phase == "publish" {
						if err := steal(s.store); err != nil {
							t.Error(err)
						}
					}
				}
			}
			x := begin(t, s.open(t, s.store), Upsert, "a")
			if c := conflict(t, x); !errors.Is(c, lock.ErrLost) {
				t.Errorf("%s: %v", name, c)
			}
			if err := one.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			compareRows(t, mustRead(t, one, ReadOptions{}), map[string]modelRow{"a": {seq: 7}})
		}
	})
}

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

func TestConcurrencyOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []Concurrency{
		{Mode: "NON_BLOCKING"}, {Locker: lock.NewProcess("x")}, {Mode: Optimistic, Heartbeat: -1},
	} {
		_, err := Open(t.Context(), newStore(t), Options{Concurrency: c})
		if err == nil || !strings.Contains(err.Error(), "concurrency") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// childWriter is what TestKilledWriter asks of a process of its own.
const childWriter = "LAKEFEED_WRITER_CHILD"

func childShared(t *testing.T, dir string) *shared {
	t.Helper()
	return &shared{store: fileStore(t, dir), typ: MergeOnRead, buckets: 64, lock: func(s storage.Store) lock.Locker {
		return lock.NewStorage(s, lock.StorageOptions{Validity: time.Second, Renew: 100 * time.Millisecond, Poll: 5 * time.Millisecond})
	}, set: func(o *Options) {
		o.Concurrency.Heartbeat, o.Concurrency.HeartbeatMisses = 250*time.Millisecond, 4
	}}
}

// TestWriterChild is the part of TestKilledWriter that runs in another process: it
// writes until it is killed, and says what is committed.
func TestWriterChild(t *testing.T) {
	dir := os.Getenv(childWriter)
	if dir == "" {
		t.Skip("started by TestKilledWriter")
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

// TestKilledWriter kills one of two processes that write to a table: the other goes on
// once the lock and the heartbeat have expired, and nothing that was committed is lost.
func TestKilledWriter(t *testing.T) {
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
