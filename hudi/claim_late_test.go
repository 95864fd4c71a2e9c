package hudi

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"lakefeed/storage"
)

// lateClaim is a store on which a replacement of the claim comes late: it is answered with an
// error, and takes place right before the next one.
type lateClaim struct {
	storage.Store
	armed bool
	late  func() error
}

var errCut = errors.New("the line was cut")

func (l *lateClaim) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	if name != claimFile {
		return l.Store.PutIfMatch(ctx, name, data, v)
	}
	if l.armed {
		l.armed = false
		l.late = func() error { _, err := l.Store.PutIfMatch(ctx, name, data, v); return err }
		return "", errCut
	}
	if late := l.late; late != nil {
		l.late = nil
		if err := late(); err != nil {
			return "", err
		}
	}
	return l.Store.PutIfMatch(ctx, name, data, v)
}

// claimOf is what the store's claim says.
func claimOf(t *testing.T, store storage.Store) claimRecord {
	t.Helper()
	data, _, err := store.Get(t.Context(), claimFile)
	r := claimRecord{}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLateBeat lets a beat, which was taken for failed, come right before a decision: it has
// the decision's number and writer, and is not taken for it.
func TestLateBeat(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		store := &lateClaim{Store: newStore(t)}
		table := newTable(t, store, typ, 1)
		x := begin(t, table, Upsert, "a")
		store.armed = true
		if err := table.beatClaim(t.Context()); !errors.Is(err, errCut) {
			t.Fatalf("the beat: %v", err)
		}
		if _, err := x.Commit(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if store.late != nil {
			t.Error("the beat never came")
		}
		if d := claimOf(t, store).Decided; d == nil || d.File != x.files[2].FileName() {
			t.Errorf("the claim says %+v, and the commit was not decided", d)
		}
	})
}

// TestArchivedMeanwhile lets a writer stand still between its decision and its put until
// another one has put the commit and archived it: it is told that it is published.
func TestArchivedMeanwhile(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, inner := t.Context(), newStore(t)
		store := &atFirstPut{Store: inner}
		table := newTable(t, store, typ, 1)
		table.claim.late = 0
		x := begin(t, table, Insert, "a")
		store.suffix = x.files[2].FileName()
		store.do = func() {
			other, err := Open(ctx, inner, Options{Concurrency: Concurrency{Exclusive: true}, Services: &ServicesOptions{}})
			for n := 0; n < 3 && err == nil; n++ {
				err = upsertOne(ctx, other, "b")
			}
			if err == nil {
				_, err = other.Archive(ctx, ArchiveOptions{KeepMin: 2, KeepMax: 2})
			}
			if err == nil && other.Timeline().Has(x.time) {
				err = errors.New("it is not archived")
			}
			if err != nil {
				t.Error(err)
			}
		}
		if _, err := x.Commit(ctx, nil); !errors.As(err, new(*ConflictError)) {
			t.Errorf("commit: %v", err)
		}
		if err := x.Abort(ctx); !errors.Is(err, ErrPublished) {
			t.Errorf("abort: %v", err)
		}
		checkBoth(t, inner, &soleWriter{acked: []string{"a", "b"}})
	})
}

// TestStoodStillPastStart lets a writer stand still in the midst of writing until another one has
// rolled it back and gone on, past the start of the timeline: what it writes then would count as
// that of an archived commit, and goes when it is told of its conflict.
func TestStoodStillPastStart(t *testing.T) {
	t.Parallel()
	for _, exclusive := range []bool{false, true} {
		eachType(t, func(t *testing.T, typ TableType) {
			ctx, store := t.Context(), newStore(t)
			mustUpsert(t, newTable(t, store, typ, 2), map[string]modelRow{"old": {seq: 1}})
			table, err := Open(ctx, store, Options{Concurrency: Concurrency{Exclusive: exclusive}})
			if err != nil {
				t.Fatal(err)
			}
			early, late := twoKeys(table)
			x := begin(t, table, Upsert, early)
			goOnWithout(t, store, x.time)
			if err := writeBucket(ctx, table, x, table.Bucket(late), map[string]modelRow{late: {seq: 1}}); err != nil {
				t.Fatal(err)
			}
			conflict(t, x)
			want := map[string]modelRow{"old": {seq: 1}, "other": {seq: 1}}
			compareRows(t, mustRead(t, table, ReadOptions{}), want)
			fresh, err := Open(ctx, store, Options{})
			if err != nil {
				t.Fatal(err)
			}
			compareRows(t, mustRead(t, fresh, ReadOptions{}), want)
			if report, err := Check(ctx, store, CheckOptions{}); err != nil || !report.Sound() {
				t.Errorf("%v, %v", err, report.Faults)
			}
		})
	}
}

// goOnWithout lets a writer that is told that nobody lives roll a transaction back, and archive
// what came before and after it.
func goOnWithout(t *testing.T, store storage.Store, instant string) {
	t.Helper()
	ctx := t.Context()
	other, err := Open(ctx, store, Options{Concurrency: Concurrency{Exclusive: true}, Services: &ServicesOptions{}})
	for n := 0; n < 4 && err == nil; n++ {
		err = upsertOne(ctx, other, "other")
	}
	if err == nil {
		_, err = other.Archive(ctx, ArchiveOptions{KeepMin: 2, KeepMax: 2})
	}
	if err != nil {
		t.Fatal(err)
	}
	if tl := other.Timeline(); tl.Has(instant) || !tl.BeforeStart(instant) {
		t.Fatalf("%s is not before the start of %v", instant, tl.Instants())
	}
}
