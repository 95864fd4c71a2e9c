package hudi

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/lock"
	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

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

// newLogged is a table that several share with something to compact: the file group of one key is
// logged on, that of another is not there.
func newLogged(t *testing.T) (s *shared, table *Table, logged, other string) {
	t.Helper()
	s = &shared{store: newStore(t), typ: MergeOnRead, buckets: 4, lock: testStorageLock}
	table = s.create(t)
	logged, other = twoKeys(table)
	for seq := int64(1); seq < 3; seq++ {
		mustUpsert(t, table, map[string]modelRow{logged: {seq: seq}})
	}
	return s, table, logged, other
}

// startCompaction lets a Table of its own compact, and stand still at its data file until goOn, which
// waits for its end.
func startCompaction(t *testing.T, s *shared) (compactor *Table, goOn func()) {
	t.Helper()
	at := newPause("data file")
	s.set = func(o *Options) { o.Hook = at.hook }
	compactor = s.open(t, s.store)
	s.set = nil
	result := make(chan error, 1)
	go func() {
		_, err := compactor.Compact(t.Context(), CompactOptions{})
		result <- err
	}()
	<-at.reached
	return compactor, func() {
		close(at.goOn)
		if err := <-result; err != nil {
			t.Errorf("compact: %v", err)
		}
	}
}

// TestConflictWithCompaction lets a compaction be at work for long: file groups that it
// has before it cannot be written to, and those that were are not published.
func TestConflictWithCompaction(t *testing.T) {
	t.Parallel()
	s, one, a, b := newLogged(t)
	early := begin(t, s.open(t, s.store), Upsert, a)
	_, goOn := startCompaction(t, s)
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
	goOn()
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
