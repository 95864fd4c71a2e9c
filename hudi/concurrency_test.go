package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lakefeed/hudi/lock"
	"lakefeed/internal/long"
	"lakefeed/storage"
	"lakefeed/storage/file"
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

// testLocks are the locks that need no server.
var testLocks = map[string]func(storage.Store) lock.Locker{
	"process": func(storage.Store) lock.Locker { return nil },
	"file": func(s storage.Store) lock.Locker {
		return lock.NewFile(s, lock.FileOptions{Poll: 2 * time.Millisecond})
	},
	"storage": testStorageLock,
}

// TestWritersSideBySideLong lets writers race, on the same keys and on others, with a
// compaction between: the table is what its commits make, in the order of their
// instants.
func TestWritersSideBySideLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, lock := range testLocks {
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

// childWriter is what TestKilledWriterLong asks of a process of its own.
const childWriter = "LAKEFEED_WRITER_CHILD"
