package hudi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/storage"
)

// meanwhile is a store that lets something happen before folders are listed: once for each
// that stands in it.
type meanwhile struct {
	storage.Store

	before map[string]func() // by the folder that is listed
}

func (m *meanwhile) List(ctx context.Context, folder string, deep bool) iter.Seq2[storage.Info, error] {
	if step := m.before[folder]; step != nil {
		delete(m.before, folder)
		step()
	}
	return m.Store.List(ctx, folder, deep)
}

// overtaken is a table of two partitions, and what is done to it while a reader lists it.
type overtaken struct {
	unseenArchival
}

func newOvertaken(t *testing.T, typ TableType) overtaken {
	t.Helper()
	writer, err := Create(t.Context(), newStore(t), placeOptions(typ))
	o := overtaken{unseenArchival{t: t, writer: writer}}
	o.check(err)
	_, err = writer.Upsert(t.Context(), placeBatch(placeRow{"a", "eu", 0, 1}, placeRow{"b", "us", 0, 1}))
	o.check(err)
	return o
}

// supersede writes the rows of both partitions anew and cleans away what was before.
func (o overtaken) supersede(seq int64) {
	o.t.Helper()
	_, err := o.writer.Upsert(o.t.Context(), placeBatch(placeRow{"a", "eu", 0, seq}, placeRow{"b", "us", 0, seq}))
	o.check(err)
	if o.writer.Type() == MergeOnRead {
		_, err = o.writer.Compact(o.t.Context(), CompactOptions{})
		o.check(err)
	}
	o.clean()
}

func (o overtaken) clean() {
	o.t.Helper()
	_, err := o.writer.Clean(o.t.Context(), CleanOptions{RetainVersions: 1})
	o.check(err)
}

func (o overtaken) archive() {
	o.t.Helper()
	_, err := o.writer.Archive(o.t.Context(), ArchiveOptions{KeepMin: 1, KeepMax: 1})
	o.check(err)
}

// TestOpenWhileOvertaken opens, and loads anew, a table while what it lists is superseded
// and cleaned away: the reader sees the rows as of a commit, and all of them.
func TestOpenWhileOvertaken(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(o overtaken){
		"superseded": func(o overtaken) { o.supersede(2) },
		"replaced": func(o overtaken) {
			_, err := o.writer.InsertOverwriteTable(o.t.Context(), placeBatch(placeRow{"b", "us", 0, 2}, placeRow{"c", "asia", 0, 2}))
			o.check(err)
			o.clean()
		},
		"archived": func(o overtaken) {
			for seq := range int64(3) {
				o.supersede(2 + seq)
				o.archive()
			}
		},
		"with a column": func(o overtaken) {
			fields := append(o.writer.Schema().Fields(), arrow.Field{Name: "more", Type: arrow.PrimitiveTypes.Int64, Nullable: true})
			x, err := o.writer.Begin(o.t.Context(), TxnOptions{Schema: arrow.NewSchema(fields, nil)})
			o.check(err)
			_, err = x.Commit(o.t.Context(), nil)
			o.check(err)
			o.supersede(2)
		},
		"taken back": func(o overtaken) {
			at, err := o.writer.Upsert(o.t.Context(), placeBatch(placeRow{"a", "eu", 0, 2}, placeRow{"b", "us", 0, 2}))
			o.check(err)
			_, err = o.writer.Rollback(o.t.Context(), at)
			o.check(err)
			o.supersede(3)
		},
	} {
		for _, typ := range []TableType{CopyOnWrite, MergeOnRead} {
			for _, folder := range []string{"place=eu", "place=us"} {
				t.Run(strings.Join([]string{name, string(typ), folder}, " "), func(t *testing.T) {
					t.Parallel()
					o := newOvertaken(t, typ)
					store := &meanwhile{o.writer.store, map[string]func(){folder: func() { step(o) }}}
					reader, err := Open(t.Context(), store, Options{})
					o.check(err)
					o.compare(reader)

					reader.stale = true // so that it loads anew
					store.before[folder] = func() { o.supersede(9) }
					o.check(reader.Refresh(t.Context()))
					o.compare(reader)
				})
			}
		}
	}
}

// compare wants the reader to be where the writer is, and to follow it from there.
func (o overtaken) compare(reader *Table) {
	o.t.Helper()
	diffLines(o.t, readPlaces(o.t, reader, ReadOptions{}), readPlaces(o.t, o.writer, ReadOptions{}))
	if got, want := reader.Schema(), o.writer.Schema(); !got.Equal(want) {
		o.t.Errorf("schema %v, want %v", got, want)
	}
	if got, want := reader.Timeline().Instants(), o.writer.Timeline().Instants(); len(got) != len(want) {
		o.t.Errorf("timeline %v, want %v", got, want)
	}
	o.upsert(o.writer, placeRow{"d", "eu", 0, 7})
	o.check(reader.Refresh(o.t.Context()))
	diffLines(o.t, readPlaces(o.t, reader, ReadOptions{}), readPlaces(o.t, o.writer, ReadOptions{}))
}

// TestOpenDuringRollback opens a table while a transaction is taken back, between the listings of its
// partitions. What of it was listed must not come to count when it is older than the timeline.
func TestOpenDuringRollback(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, o := t.Context(), newOvertaken(t, typ)
		x, err := o.writer.Begin(ctx, TxnOptions{Operation: Upsert})
		o.check(err)
		rows := placeBatch(placeRow{"a", "eu", 0, 5})
		keys, err := RecordKeys(rows, []string{"id"})
		o.check(err)
		g, err := x.Group(ctx, "place=eu", o.writer.Bucket("a"))
		o.check(err)
		o.check(g.Upsert(ctx, rows, keys))
		o.check(g.Close(ctx))
		store := &meanwhile{o.writer.store, map[string]func(){"place=us": func() { o.check(x.Abort(ctx)) }}}
		reader, err := Open(ctx, store, Options{})
		o.check(err)
		for seq := range int64(4) {
			o.upsert(o.writer, placeRow{"b", "us", 0, 2 + seq})
			o.check(reader.Refresh(ctx))
		}
		o.archive()
		o.check(reader.Refresh(ctx))
		o.compare(reader)
	})
}

// TestOpenOvertakenAgain gives up a table whose timeline is never twice the same, with the
// whole of it gone from one look to the next.
func TestOpenOvertakenAgain(t *testing.T) {
	t.Parallel()
	o := newOvertaken(t, CopyOnWrite)
	store := &meanwhile{o.writer.store, map[string]func(){}}
	var again func()
	again = func() {
		for range 2 {
			o.supersede(2)
			o.archive()
		}
		store.before["place=eu"] = again
	}
	store.before["place=eu"] = again
	if _, err := Open(t.Context(), store, Options{}); !errors.Is(err, errOvertaken) {
		t.Errorf("got %v", err)
	}
}

// late is a store that shows an older listing of the timeline, some times.
type late struct {
	storage.Store

	listing []storage.Info
	times   int
}

func (l *late) List(ctx context.Context, folder string, deep bool) iter.Seq2[storage.Info, error] {
	if folder != metaFolder || l.times == 0 {
		return l.Store.List(ctx, folder, deep)
	}
	l.times--
	return func(yield func(storage.Info, error) bool) {
		for _, info := range l.listing {
			if !yield(info, nil) {
				return
			}
		}
	}
}

// TestReadOfLateListing reads a table of which newer files are known than commits: what
// these wrote is cleaned away, and a read that leaves it out must not pass for whole.
func TestReadOfLateListing(t *testing.T) {
	t.Parallel()
	for _, typ := range []TableType{CopyOnWrite, MergeOnRead} {
		t.Run(string(typ), func(t *testing.T) {
			t.Parallel()
			o := newOvertaken(t, typ)
			store := &late{Store: o.writer.store, times: 2}
			for info, err := range store.Store.List(t.Context(), metaFolder, false) {
				o.check(err)
				store.listing = append(store.listing, info)
			}
			o.supersede(2)
			reader, err := Open(t.Context(), store, Options{})
			o.check(err)
			for _, err = range reader.Read(t.Context(), ReadOptions{}) {
				if err != nil {
					break
				}
			}
			if !errors.Is(err, ErrCleaned) {
				t.Errorf("got %v, want %v", err, ErrCleaned)
			}
		})
	}
}

// flat is a store that lists a tree at once.
type flat struct{ *listCounter }

func (flat) ListsFlat() bool { return true }

// TestListManyPartitions lists a table of many partitions at once where the store can, and few
// one by one, so that what lies in .hoodie is not listed with them.
func TestListManyPartitions(t *testing.T) {
	t.Parallel()
	for partitions, lists := range map[int]int{manyFolders - 2: manyFolders - 1, manyFolders + 10: 1} {
		table, err := Create(t.Context(), newStore(t), placeOptions(MergeOnRead))
		if err != nil {
			t.Fatal(err)
		}
		rows := make([]placeRow, partitions)
		for i := range rows {
			rows[i] = placeRow{"a", fmt.Sprint("p", i), 0, 1}
		}
		for range 2 {
			if _, err := table.Upsert(t.Context(), placeBatch(rows...)); err != nil {
				t.Fatal(err)
			}
		}
		counter := &listCounter{Store: table.store}
		opened, err := Open(t.Context(), storage.Sub(flat{counter}, ""), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n := counter.taken(); n != lists {
			t.Errorf("%d partitions: %d listings, want %d", partitions, n, lists)
		}
		if got, want := readPlaces(t, opened, ReadOptions{}), readPlaces(t, table, ReadOptions{}); len(got) != partitions || !slices.Equal(got, want) {
			t.Errorf("%d partitions: %d rows", partitions, len(got))
		}
	}
}

// TestCommitAmongManyPartitions changes two partitions, of few and of many: what is asked of the
// store is the same.
func TestCommitAmongManyPartitions(t *testing.T) {
	t.Parallel()
	calls := map[int]int64{}
	for _, partitions := range []int{10, 300} {
		table, err := Create(t.Context(), newStore(t), placeOptions(MergeOnRead))
		if err != nil {
			t.Fatal(err)
		}
		rows := make([]placeRow, partitions)
		for i := range rows {
			rows[i] = placeRow{"a", fmt.Sprint("p", i), 0, 1}
		}
		counter := &paced{Store: table.store}
		for range 2 {
			if _, err := table.Upsert(t.Context(), placeBatch(rows...)); err != nil {
				t.Fatal(err)
			}
		}
		opened, err := Open(t.Context(), counter, Options{Concurrency: Concurrency{Exclusive: true}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the first one takes the claim
			counter.calls.Store(0)
			if _, err := opened.Upsert(t.Context(), placeBatch(rows[:2]...)); err != nil {
				t.Fatal(err)
			}
		}
		calls[partitions] = counter.calls.Load()
	}
	if calls[10] != calls[300] || calls[10] > 20 {
		t.Errorf("a commit asks %v times, by partitions", calls)
	}
}
