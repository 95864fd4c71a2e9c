package hudi

import (
	"errors"
	"maps"
	"strings"
	"testing"
)

// beginLater starts a transaction that gives the table a later schema and writes one row.
func beginLater(t *testing.T, table *Table, key string) *Txn {
	t.Helper()
	x, err := table.Begin(t.Context(), TxnOptions{Schema: modelSchemaLater})
	if err != nil {
		t.Fatal(err)
	}
	writeOne(t, table, x, key, modelRow{seq: 1, note: 2})
	return x
}

func mustCommit(t *testing.T, x *Txn) {
	t.Helper()
	if _, err := x.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// wantLater wants the table to have the later schema for whoever opens it, and these rows.
func wantLater(t *testing.T, s *shared, want map[string]modelRow) {
	t.Helper()
	table := s.open(t, s.store)
	if !table.Schema().Equal(modelSchemaLater) {
		t.Errorf("the schema is %v", table.Schema())
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), want)
}

// TestConflictWithNewerInstant lets a transaction that changes the schema meet a commit
// that began later: readers would take the schema of that one, so it begins anew.
func TestConflictWithNewerInstant(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		s := &shared{store: newStore(t), typ: typ, buckets: 4, lock: testStorageLock}
		one := s.create(t)
		a, b := twoKeys(one)
		x := beginLater(t, s.open(t, s.store), a)
		y := begin(t, one, Upsert, b)
		mustCommit(t, y)
		if c := conflict(t, x); c.Other != y.Instant() || !strings.Contains(c.Reason, "schema") {
			t.Errorf("%v; want it against %s", c, y.Instant())
		}
		mustCommit(t, beginLater(t, s.open(t, s.store), a))
		mustUpsert(t, one, map[string]modelRow{b: {seq: 2}})
		wantLater(t, s, map[string]modelRow{a: {seq: 1, note: 2}, b: {seq: 2}})
	})
}

// TestNewerInstantTakesSchemaOn publishes a schema under a transaction that began later and
// is still at work: that one takes it on. Of two that give the table the same schema either
// may be the newer.
func TestNewerInstantTakesSchemaOn(t *testing.T) {
	t.Parallel()
	for name, newer := range map[string]func(*testing.T, *Table, string) *Txn{
		"of before": func(t *testing.T, table *Table, key string) *Txn {
			t.Helper()
			return begin(t, table, Upsert, key)
		},
		"the same": beginLater,
	} {
		for _, first := range []bool{true, false} {
			if !first && name == "of before" {
				continue // a conflict
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := &shared{store: newStore(t), typ: MergeOnRead, buckets: 4, lock: testStorageLock}
				one := s.create(t)
				a, b := twoKeys(one)
				x := beginLater(t, s.open(t, s.store), a)
				y := newer(t, one, b)
				if !first {
					x, y = y, x
				}
				mustCommit(t, x)
				mustCommit(t, y)
				want := map[string]modelRow{a: {seq: 1, note: 2}, b: {seq: 1}}
				if name == "the same" {
					want[b] = modelRow{seq: 1, note: 2}
				}
				wantLater(t, s, want)
			})
		}
	}
}

// TestSchemaBesideCompaction changes the schema while a compaction that began later is at
// work on other file groups. Other engines publish the schema all the same: the compaction
// goes on with the one that it finds then, and not with that of its beginning.
func TestSchemaBesideCompaction(t *testing.T) {
	t.Parallel()
	for _, ours := range []bool{true, false} {
		s, _, b, a := newLogged(t)
		x := beginLater(t, s.open(t, s.store), a)
		compactor, goOn := startCompaction(t, s)
		if ours {
			if c := conflict(t, x); !strings.Contains(c.Reason, "schema") {
				t.Errorf("%v", c)
			}
			mustCommit(t, beginLater(t, s.open(t, s.store), a))
		} else {
			publishAnyway(t, x)
		}
		goOn()
		wantLater(t, s, map[string]modelRow{a: {seq: 1, note: 2}, b: {seq: 2}})
		if got := compactor.Schema(); !got.Equal(modelSchemaLater) {
			t.Errorf("the compactor's schema is %v", got)
		}
	}
}

// publishAnyway publishes a transaction as writers do that do not look what began later.
func publishAnyway(t *testing.T, x *Txn) {
	t.Helper()
	m, _, err := x.metadata(nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.Encode()
	if err == nil {
		err = x.table.putInstant(t.Context(), x.files[2], data)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Abort(t.Context()); !errors.Is(err, ErrPublished) {
		t.Fatalf("Abort returned %v", err)
	}
}

// TestConvertBesideEmptyCommit gives a table another number of buckets while a commit that
// wrote nothing is published under a later instant, with the number of before.
func TestConvertBesideEmptyCommit(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		for _, buckets := range []int{2, 8} {
			at := newPause("data file")
			s := &shared{store: newStore(t), typ: typ, buckets: 4, lock: testStorageLock}
			one := s.create(t)
			a, b := twoKeys(one)
			want := map[string]modelRow{a: {seq: 1}, b: {seq: 1}}
			mustUpsert(t, one, want)
			s.set = func(o *Options) { o.Hook = at.hook }
			converter := s.open(t, s.store)
			s.set, s.buckets = nil, 0
			result := make(chan error, 1)
			go func() { result <- converter.Convert(t.Context(), ConvertOptions{Buckets: buckets}) }()
			<-at.reached
			empty, err := one.Upsert(t.Context(), modelBatch(nil, nil, modelSchema))
			if err != nil {
				t.Fatal(err)
			}
			close(at.goOn)
			c := new(ConflictError)
			if err := <-result; !errors.As(err, &c) || c.Other != empty {
				t.Errorf("%d buckets: Convert returned %v; want a conflict with %s", buckets, err, empty)
			}
			if err := s.open(t, s.store).Convert(t.Context(), ConvertOptions{Buckets: buckets}); err != nil {
				t.Fatal(err)
			}
			after := s.open(t, s.store)
			if after.Buckets() != buckets {
				t.Errorf("%d buckets, want %d", after.Buckets(), buckets)
			}
			want = maps.Clone(want)
			for key := range want {
				want[key] = modelRow{seq: 2}
			}
			mustUpsert(t, after, want)
			compareRows(t, mustRead(t, after, ReadOptions{}), want)
		}
	})
}
