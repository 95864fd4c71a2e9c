package hudi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/storage"
	"lakefeed/storage/file"
)

// listCounter counts the listings of folders that hold data files.
type listCounter struct {
	storage.Store

	mu    sync.Mutex
	lists int
}

func (c *listCounter) List(ctx context.Context, folder string, deep bool) iter.Seq2[storage.Info, error] {
	if folder != metaFolder {
		c.mu.Lock()
		c.lists++
		c.mu.Unlock()
	}
	return c.Store.List(ctx, folder, deep)
}

func (c *listCounter) taken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.lists
	c.lists = 0
	return n
}

// TestRefreshReadsCommits lets a table follow another writer by what its commits say.
func TestRefreshReadsCommits(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, store := t.Context(), newStore(t)
		writer, err := Create(ctx, store, placeOptions(typ))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 1})); err != nil {
			t.Fatal(err)
		}
		counter := &listCounter{Store: store}
		follower, err := Open(ctx, counter, Options{})
		if err != nil {
			t.Fatal(err)
		}
		counter.taken()
		for i := range 6 {
			var err error
			switch i {
			case 0:
				_, err = writer.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 2}, placeRow{"b", "new", 0, 2}))
			case 1:
				_, err = writer.DeleteFrom(ctx, map[string][]string{"place=new": {"b"}})
			case 2:
				_, err = writer.Compact(ctx, CompactOptions{})
			case 3:
				_, err = writer.Rewrite(ctx, nil, nil, func(b arrow.RecordBatch) (arrow.RecordBatch, error) { return b, nil })
			case 4:
				_, err = writer.Upsert(ctx, placeBatch(placeRow{"c", "eu", 0, 3}))
			case 5:
				_, err = writer.Clean(ctx, CleanOptions{RetainCommits: 1})
			}
			if err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			if err := follower.Refresh(ctx); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			if n := counter.taken(); n > 0 {
				t.Errorf("step %d: %d listings", i, n)
			}
			diffLines(t, readPlaces(t, follower, ReadOptions{}), readPlaces(t, writer, ReadOptions{}))
		}
		x, err := writer.Begin(ctx, TxnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Abort(ctx); err != nil {
			t.Fatal(err)
		}
		if err := follower.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		if n := counter.taken(); n == 0 {
			t.Error("a rollback was not listed for")
		}
	})
}

// TestRefreshAfterUnseenArchival lets a reader look again when commits that it has not
// seen were archived already: of groups replaced and cleaned, of rows written, and one
// that was pending when it looked.
func TestRefreshAfterUnseenArchival(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string]func(unseenArchival){
		"replaced": func(u unseenArchival) {
			u.look()
			for seq := range int64(2) {
				_, err := u.writer.InsertOverwriteTable(u.t.Context(), placeBatch(placeRow{"b", "eu", 0, 2 + seq}))
				u.check(err)
				_, err = u.writer.Clean(u.t.Context(), CleanOptions{RetainVersions: 1})
				u.check(err)
			}
		},
		"upserted": func(u unseenArchival) {
			u.look()
			u.upsert(u.writer, placeRow{"b", "eu", 0, 2})
			u.upsert(u.writer, placeRow{"c", "us", 0, 3})
		},
		"pending": func(u unseenArchival) {
			_, err := u.writer.transactOnce(u.t.Context(), Upsert, func(x *Txn) error {
				other, err := Open(u.t.Context(), u.writer.store, Options{Concurrency: u.writer.opts.Concurrency})
				u.check(err)
				u.upsert(other, placeRow{"c", "eu", 0, 3})
				u.look()
				g, err := x.Group(u.t.Context(), "place=us", 0)
				u.check(err)
				batch := placeBatch(placeRow{"b", "us", 0, 2})
				keys, err := RecordKeys(batch, []string{"id"})
				u.check(err)
				u.check(g.Upsert(u.t.Context(), batch, keys))
				return g.Close(u.t.Context())
			})
			u.check(err)
		},
	} {
		for _, typ := range []TableType{CopyOnWrite, MergeOnRead} {
			t.Run(name+"-"+string(typ), func(t *testing.T) {
				t.Parallel()
				opts := placeOptions(typ)
				opts.Buckets, opts.Concurrency = 1, Concurrency{Mode: Optimistic}
				writer, err := Create(t.Context(), newStore(t), opts)
				if err != nil {
					t.Fatal(err)
				}
				u := unseenArchival{t: t, writer: writer}
				u.upsert(writer, placeRow{"a", "eu", 0, 1})
				u.follower, err = Open(t.Context(), writer.store, Options{})
				u.check(err)
				steps(u)
				res, err := writer.Archive(t.Context(), ArchiveOptions{KeepMin: 1, KeepMax: 1})
				u.check(err)
				if res.Instants == 0 {
					t.Fatalf("nothing was archived: %+v", res)
				}
				diffLines(t, u.look(), readPlaces(t, writer, ReadOptions{}))
			})
		}
	}
}

// TestReadAfterUnseenCleaning reads a table as it was known before its files were cleaned
// and that cleaning archived: they are cleaned away, not damaged.
func TestReadAfterUnseenCleaning(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		writer, err := Create(t.Context(), newStore(t), placeOptions(typ))
		u := unseenArchival{t: t, writer: writer}
		u.check(err)
		u.upsert(writer, placeRow{"a", "eu", 0, 1})
		u.follower, err = Open(t.Context(), writer.store, Options{})
		u.check(err)
		u.look()
		for seq := range int64(3) {
			_, err := writer.InsertOverwriteTable(t.Context(), placeBatch(placeRow{"a", "eu", 0, 2 + seq}))
			u.check(err)
			_, err = writer.Clean(t.Context(), CleanOptions{RetainVersions: 1})
			u.check(err)
			_, err = writer.Archive(t.Context(), ArchiveOptions{KeepMin: 1, KeepMax: 1})
			u.check(err)
		}
		for _, err = range u.follower.Read(t.Context(), ReadOptions{}) {
		}
		if !errors.Is(err, ErrCleaned) {
			t.Errorf("got %v, want %v", err, ErrCleaned)
		}
	})
}

type unseenArchival struct {
	t                *testing.T
	writer, follower *Table
}

func (u unseenArchival) check(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatal(err)
	}
}

func (u unseenArchival) upsert(table *Table, row placeRow) {
	u.t.Helper()
	_, err := table.Upsert(u.t.Context(), placeBatch(row))
	u.check(err)
}

// look is what the follower reads when it has looked for news.
func (u unseenArchival) look() []string {
	u.t.Helper()
	u.check(u.follower.Refresh(u.t.Context()))
	return readPlaces(u.t, u.follower, ReadOptions{})
}

// BenchmarkCommit commits to two partitions of few and of many, in turns, as a writer
// that has the tables open. The price must not grow with the table.
func BenchmarkCommit(b *testing.B) {
	few, many := placesTable(b, 10), placesTable(b, 10_000)
	counter := &listCounter{Store: many.store}
	many.store = counter
	rows := placeBatch(placeRow{"a", "p0", 0, 1}, placeRow{"a", "p1", 0, 1})
	var cpu [2]time.Duration
	for b.Loop() {
		for i, table := range []*Table{few, many} {
			from := cpuTime(b)
			if _, err := table.Upsert(b.Context(), rows); err != nil {
				b.Fatal(err)
			}
			cpu[i] += cpuTime(b) - from
		}
	}
	if n := counter.taken(); n > 0 {
		b.Errorf("%d listings", n)
	}
	b.ReportMetric(float64(cpu[0].Microseconds())/float64(b.N)/1000, "cpu-ms/few")
	b.ReportMetric(float64(cpu[1].Microseconds())/float64(b.N)/1000, "cpu-ms/many")
	b.ReportMetric(float64(cpu[1])/float64(cpu[0]), "many/few")
}

// placesTable is a table of so many partitions, of one row each.
func placesTable(b *testing.B, partitions int) *Table {
	b.Helper()
	store, err := file.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	table, err := Create(b.Context(), store, placeOptions(MergeOnRead))
	if err != nil {
		b.Fatal(err)
	}
	rows := make([]placeRow, partitions)
	for i := range rows {
		rows[i] = placeRow{"a", fmt.Sprint("p", i), 0, 1}
	}
	if _, err := table.Upsert(b.Context(), placeBatch(rows...)); err != nil {
		b.Fatal(err)
	}
	if _, err := table.Upsert(b.Context(), placeBatch(rows[:2]...)); err != nil {
		b.Fatal(err)
	}
	return table
}

// cpuTime is what the process has taken of the processors. Beside other tests it is theirs too.
func cpuTime(b testing.TB) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
