package hudi

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// rounds writes some commits of a table, each of which a reader may want, and returns
// their instants. Each overwrites the file slices before it.
func rounds(t *testing.T, table *Table, from, n int) []string {
	t.Helper()
	var out []string
	for i := range n {
		row := modelRow{seq: int64(from + i)}
		out = append(out, mustUpsert(t, table, map[string]modelRow{"a": row, "b": row}))
		if _, err := table.Compact(t.Context(), CompactOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func mustClean(t *testing.T, table *Table) CleanResult {
	t.Helper()
	res, err := table.Clean(t.Context(), CleanOptions{RetainCommits: 1})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// TestPin reads as of an old instant across 50 cleanings.
func TestPin(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		store := newStore(t)
		now := time.Now()
		table, err := Create(t.Context(), store, CreateOptions{
			Name: "model", Type: typ, Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq",
			Options: Options{Buckets: 2, Now: func() time.Time { return now }},
		})
		if err != nil {
			t.Fatal(err)
		}
		old := rounds(t, table, 0, 3)
		pin, err := table.Pin(t.Context(), old[1], time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		reader, err := Open(t.Context(), store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]modelRow{"a": {seq: 1}, "b": {seq: 1}}
		for n := range 50 {
			now = now.Add(time.Minute)
			if n%2 == 0 {
				rounds(t, table, 10+n, 1)
			}
			mustClean(t, table)
			if err := pin.Renew(t.Context(), time.Hour); err != nil {
				t.Fatal(err)
			}
			compareRows(t, mustRead(t, reader, ReadOptions{AsOf: old[1]}), want)
		}
		if pins, err := table.Pins(t.Context()); err != nil || len(pins) != 1 || pins[0] != pin.Info() {
			t.Errorf("pins: %v, %v", pins, err)
		}
		now = now.Add(time.Hour + pinGrace + time.Second)
		if res := mustClean(t, table); res.Files == 0 {
			t.Error("nothing was cleaned when the pin had expired")
		}
		if pins, err := table.Pins(t.Context()); err != nil || len(pins) != 0 {
			t.Errorf("an expired pin is left: %v, %v", pins, err)
		}
		if err := pin.Renew(t.Context(), time.Hour); !errors.Is(err, ErrPinLost) {
			t.Errorf("an expired pin was renewed: %v", err)
		}
		if _, err := table.Pin(t.Context(), old[1], time.Hour); !errors.Is(err, ErrCleaned) {
			t.Errorf("what is cleaned was pinned: %v", err)
		}
		for info := range store.List(t.Context(), pinFolder, true) {
			t.Errorf("left: %v", info.Name)
		}
	})
}

// TestPinRelease sees that a released pin holds nothing up, and what others do with it.
func TestPinRelease(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	table := newTable(t, store, MergeOnRead, 1)
	if _, err := table.Pin(t.Context(), "", time.Hour); err == nil {
		t.Error("a table without commits was pinned")
	}
	instants := rounds(t, table, 0, 3)
	pin, err := table.Pin(t.Context(), instants[0], time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if res := mustClean(t, table); res.Files != 0 {
		t.Errorf("%d files were cleaned", res.Files)
	}
	newest, err := table.Pin(t.Context(), "99999999999999999", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	last, _ := table.Timeline().Last()
	if got := newest.Info().Instant; got != last.Time {
		t.Errorf("the newest is pinned as %s, want %s", got, last.Time)
	}
	if err := pin.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := pin.Renew(t.Context(), time.Hour); !errors.Is(err, ErrPinLost) {
		t.Errorf("a released pin was renewed: %v", err)
	}
	if res := mustClean(t, table); res.Files == 0 {
		t.Error("nothing was cleaned")
	}
	if _, err := table.Pin(t.Context(), "", 0); err == nil {
		t.Error("a pin for no time")
	}
	if err := table.Unpin(t.Context(), "../../hoodie.properties"); err == nil {
		t.Error("a pin that is none was released")
	}
	rounds(t, table, 3, 6) // or there is nothing to clean
	for _, text := range []string{"", "{", "null", `{"id":"x"}`} {
		if err := store.Put(t.Context(), pinFile("x"), []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Clean(t.Context(), CleanOptions{RetainCommits: 1}); !errors.As(err, new(*CorruptError)) {
			t.Errorf("a pin file %q: %v", text, err)
		}
	}
}

// TestReadHoldsPin cleans in the middle of a long read, that asked for a pin or not.
func TestReadHoldsPin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, readHoldsPin)
}

func readHoldsPin(t *testing.T) {
	store := newStore(t)
	table := newTable(t, store, CopyOnWrite, 4)
	rows := map[string]modelRow{}
	for k := range strings.FieldsSeq("a b c d e f g h i j k l") {
		rows[k] = modelRow{seq: 1}
	}
	mustUpsert(t, table, rows)
	read := func(pin time.Duration) error {
		reader, err := Open(t.Context(), store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for batch, err := range reader.Read(t.Context(), ReadOptions{Pin: pin, BatchRows: 1}) {
			if err != nil {
				return err
			}
			if got += int(batch.NumRows()); got == 1 {
				for range 2 {
					mustUpsert(t, table, rows)
				}
				time.Sleep(pin * 2) //nolint:forbidigo // of the test's own time: longer than the pin lasts that is not renewed
				mustClean(t, table)
			}
		}
		if got != len(rows) {
			t.Errorf("%d rows, want %d", got, len(rows))
		}
		return nil
	}
	if err := read(time.Minute); err != nil {
		t.Errorf("with a pin: %v", err)
	}
	if pins, err := table.Pins(t.Context()); err != nil || len(pins) > 0 {
		t.Errorf("the reader left pins: %v, %v", pins, err)
	}
	if err := read(0); !errors.Is(err, ErrCleaned) && !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("without a pin: %v", err)
	}
}

// TestChangesHoldPin cleans away both states in the middle of a long read of changes, that
// asked for a pin or not.
func TestChangesHoldPin(t *testing.T) {
	t.Parallel()
	for name, images := range map[string]bool{"rows": false, "images": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachType(t, func(t *testing.T, typ TableType) {
				synctest.Test(t, func(t *testing.T) { changesHoldPin(t, typ, images) })
			})
		})
	}
}

func changesHoldPin(t *testing.T, typ TableType, images bool) {
	store := newStore(t)
	table := newTable(t, store, typ, 4)
	rows := map[string]modelRow{}
	for k := range strings.FieldsSeq("a b c d e f g h i j k l") {
		rows[k] = modelRow{seq: 1}
	}
	write := func() string {
		at := mustUpsert(t, table, rows)
		if _, err := table.Compact(t.Context(), CompactOptions{}); err != nil {
			t.Fatal(err)
		}
		return at
	}
	from := write()
	delete(rows, "a")
	if _, err := table.Delete(t.Context(), "a"); err != nil { // of which images tell before all else
		t.Fatal(err)
	}
	to := write()
	want, pinned := len(rows), to
	if images {
		want, pinned = want+1, from
	}
	read := func(pin time.Duration) error {
		reader, err := Open(t.Context(), store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for batch, err := range reader.Changes(t.Context(), ChangesOptions{From: from, To: to, Images: images, Pin: pin, BatchRows: 1}) {
			if err != nil {
				return err
			}
			if got += int(batch.NumRows()); got > 1 {
				continue
			}
			pins, err := table.Pins(t.Context())
			if err != nil || pin > 0 && (len(pins) != 1 || pins[0].Instant != pinned) {
				t.Errorf("the pins are %v, %v; want one of %s", pins, err, pinned)
			}
			for range 3 {
				write()
				time.Sleep(pin) //nolint:forbidigo // of the test's own time: the three last longer than a pin that is not renewed
				mustClean(t, table)
			}
		}
		if got != want {
			t.Errorf("%d rows, want %d", got, want)
		}
		return nil
	}
	if err := read(time.Minute); err != nil {
		t.Errorf("with a pin: %v", err)
	}
	if pins, err := table.Pins(t.Context()); err != nil || len(pins) > 0 {
		t.Errorf("the reader left pins: %v, %v", pins, err)
	}
	if err := read(0); !errors.Is(err, ErrCleaned) && !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("without a pin: %v", err)
	}
	if err := read(time.Minute); !errors.Is(err, ErrCleaned) {
		t.Errorf("a pin of what is cleaned away: %v", err)
	}
	if pins, err := table.Pins(t.Context()); err != nil || len(pins) > 0 {
		t.Errorf("a refused reader left pins: %v, %v", pins, err)
	}
}

// TestPinRacesClean lets a reader pin an old instant before and after each call that a
// cleaning makes: either the pin is refused, or what it needs stays.
func TestPinRacesClean(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		pinned, refused := 0, 0
		for at := 1; ; at++ {
			inner := newStore(t)
			table := newTable(t, inner, typ, 1)
			old := rounds(t, table, 0, 3)
			reader, err := Open(t.Context(), inner, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var perr error
			racing := false
			store := storagetest.NewFaulty(inner, storagetest.Fault{Hook: func(n int, _ storagetest.Call) {
				if n == at {
					racing = true
					_, perr = reader.Pin(t.Context(), old[0], time.Hour)
				}
			}})
			cleaner, err := Open(t.Context(), store, Options{})
			if err != nil {
				t.Fatal(err)
			}
			mustClean(t, cleaner)
			switch {
			case !racing:
				if pinned == 0 || refused == 0 {
					t.Errorf("%d pins, %d refused: want some of both", pinned, refused)
				}
				return
			case errors.Is(perr, ErrCleaned):
				refused++
			case perr != nil:
				t.Fatalf("pin at call %d: %v", at, perr)
			default:
				pinned++
				compareRows(t, mustRead(t, reader, ReadOptions{AsOf: old[0]}), map[string]modelRow{"a": {}, "b": {}})
			}
			if p := cleaner.Timeline().Pending(); len(p) > 0 {
				t.Errorf("pending: %v", p)
			}
		}
	})
}

// TestPinAndDeadClean lets a cleaning die right after its plan was written, before it
// looked who reads: the next one withdraws it for a reader's sake.
func TestPinAndDeadClean(t *testing.T) {
	t.Parallel()
	inner := newStore(t)
	table := newTable(t, inner, CopyOnWrite, 1)
	old := rounds(t, table, 0, 3)
	reader, err := Open(t.Context(), inner, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var pin *Pin
	store := storagetest.NewFaulty(inner, storagetest.Fault{At: 1, When: storagetest.After, Dead: true, Hook: func(n int, _ storagetest.Call) {
		if n == 1 {
			if pin, err = reader.Pin(t.Context(), old[0], time.Hour); err != nil {
				t.Error(err)
			}
		}
	}})
	dying, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dying.Clean(t.Context(), CleanOptions{RetainCommits: 1}); !errors.Is(err, storagetest.ErrFault) {
		t.Fatal(err)
	}
	if err := table.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	compareRows(t, mustRead(t, reader, ReadOptions{AsOf: old[0]}), map[string]modelRow{"a": {}, "b": {}})
	if p := table.Timeline().Pending(); len(p) > 0 {
		t.Errorf("pending: %v", p)
	}
	if err := pin.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res := mustClean(t, table); res.Files == 0 {
		t.Error("nothing was cleaned")
	}
}

// TestCleanKeepsForWriters cleans beside another writer's transaction, which began
// before: what it reads stays.
func TestCleanKeepsForWriters(t *testing.T) {
	t.Parallel()
	s := &shared{store: newStore(t), typ: CopyOnWrite, buckets: 4, lock: testStorageLock}
	one := s.create(t)
	a, b := twoKeys(one)
	rounds := map[string]modelRow{a: {seq: 1}, b: {seq: 1}}
	mustUpsert(t, one, rounds)
	two := s.open(t, s.store)
	x, err := two.Begin(t.Context(), TxnOptions{Operation: InsertOverwriteTable})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		mustUpsert(t, one, rounds)
	}
	mustClean(t, one)
	compareRows(t, mustRead(t, two, ReadOptions{}), rounds)
	if err := x.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res := mustClean(t, one); res.Files == 0 {
		t.Errorf("nothing was cleaned: %v", one.Timeline().Instants())
	}
}

func TestPinSurvivesFaults(t *testing.T) {
	t.Parallel()
	for at := 1; at < 4; at++ {
		for _, when := range []storagetest.When{storagetest.Before, storagetest.After} {
			inner := newStore(t)
			rounds(t, newTable(t, inner, MergeOnRead, 1), 0, 2)
			faulty := storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: when})
			reader, err := Open(t.Context(), faulty, Options{})
			if err != nil {
				t.Fatal(err)
			}
			pin := pinThrough(t.Context(), t, reader)
			if err := pin.Renew(t.Context(), time.Hour); err != nil && !errors.Is(err, storagetest.ErrFault) {
				t.Errorf("call %d, %d: %v", at, when, err)
			}
			if err := pin.Renew(t.Context(), 2*time.Hour); err != nil && !errors.Is(err, storagetest.ErrFault) {
				t.Errorf("call %d, %d: renewing again: %v", at, when, err)
			}
			for pin.Release(t.Context()) != nil {
			}
		}
	}
}

// pinThrough pins, again where a fault hinders it.
func pinThrough(ctx context.Context, t *testing.T, table *Table) *Pin {
	t.Helper()
	for {
		pin, err := table.Pin(ctx, "", time.Hour)
		if err == nil {
			return pin
		}
		if !errors.Is(err, storagetest.ErrFault) {
			t.Fatal(err)
		}
	}
}

// TestPinBeforeTheTable refuses to keep what there was not: it would hold all cleaning.
func TestPinBeforeTheTable(t *testing.T) {
	t.Parallel()
	table := newTable(t, newStore(t), CopyOnWrite, 1)
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}})
	if _, err := table.Pin(t.Context(), "20000101000000000", time.Minute); !errors.As(err, new(*OptionError)) {
		t.Errorf("got %v", err)
	}
	pins, err := table.Pins(t.Context())
	if err != nil || len(pins) > 0 {
		t.Errorf("pins %v, %v", pins, err)
	}
}

// TestPinOutlivesSavepoint reads as of an instant that cleanings have passed, and which a savepoint
// kept until a reader, and then another, had pinned it.
func TestPinOutlivesSavepoint(t *testing.T) {
	t.Parallel()
	store, now := newStore(t), time.Now()
	table, err := Create(t.Context(), store, CreateOptions{
		Name: "model", Type: CopyOnWrite, Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq",
		Options: Options{Buckets: 2, Now: func() time.Time { return now }},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := rounds(t, table, 0, 1)[0]
	if _, err := table.Savepoint(t.Context(), SavepointOptions{}); err != nil {
		t.Fatal(err)
	}
	rounds(t, table, 1, 3)
	mustClean(t, table)
	pin := func(d time.Duration) *Pin {
		t.Helper()
		p, err := table.Pin(t.Context(), at, d)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := pin(time.Hour)
	if err := table.ReleaseSavepoint(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	want := map[string]modelRow{"a": {}, "b": {}}
	holds := func() {
		t.Helper()
		rounds(t, table, 10, 1)
		mustClean(t, table)
		reader, err := Open(t.Context(), store, Options{Now: table.opts.Now})
		if err != nil {
			t.Fatal(err)
		}
		compareRows(t, mustRead(t, reader, ReadOptions{AsOf: at}), want)
	}
	holds()
	second := pin(time.Minute)
	if err := first.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	holds()
	if err := second.Renew(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	now = now.Add(59 * time.Minute)
	holds()
	now = now.Add(2 * time.Minute)
	if _, err := table.plan(t.Context(), ReadOptions{AsOf: at}); !errors.Is(err, ErrCleaned) {
		t.Errorf("as of a pin that expired: %v", err)
	}
	if _, err := table.Pin(t.Context(), at, time.Hour); !errors.Is(err, ErrCleaned) {
		t.Errorf("a pin of what no pin keeps any more: %v", err)
	}
}
