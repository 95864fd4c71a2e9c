package hudi

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
	"lakefeed/storage/file"
)

// BenchmarkCommitHistory commits to tables of 10 and of 10,000 instants of history, in
// turns, with archival on: some archivings are part of it. The price must not grow with
// the history.
func BenchmarkCommitHistory(b *testing.B) {
	archive := ArchiveOptions{KeepMin: 10, KeepMax: 20}
	tables := [2]*Table{historyTable(b, 10, 0), historyTable(b, 10_000, 250)}
	benchmarkHistory(b, tables, func(t *Table, i int) {
		rows := placeBatch(placeRow{"a", "", 0, int64(i)})
		if _, err := t.Upsert(b.Context(), rows); err != nil {
			b.Fatal(err)
		}
		if _, err := t.Archive(b.Context(), archive); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkCommitLive commits to tables of 10 and of 1,000 instants that nobody archives:
// what an instant costs that stays on the timeline.
func BenchmarkCommitLive(b *testing.B) {
	tables := [2]*Table{historyTable(b, 10, 0), historyTable(b, 1000, 0)}
	benchmarkHistory(b, tables, func(t *Table, i int) {
		if _, err := t.Upsert(b.Context(), placeBatch(placeRow{"a", "", 0, int64(i)})); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkOpenHistory opens tables whose last 10 and last 10,000 instants nobody
// archived.
func BenchmarkOpenHistory(b *testing.B) {
	tables := [2]*Table{historyTable(b, 10, 0), historyTable(b, 10_000, 0)}
	benchmarkHistory(b, tables, func(t *Table, _ int) {
		if _, err := Open(b.Context(), t.store, Options{}); err != nil {
			b.Fatal(err)
		}
	})
}

func benchmarkHistory(b *testing.B, tables [2]*Table, step func(t *Table, i int)) {
	b.Helper()
	var cpu [2]time.Duration
	for i := 0; b.Loop(); i++ {
		for n, t := range tables {
			from := cpuTime(b)
			pprof.Do(b.Context(), pprof.Labels("instants", []string{"few", "many"}[n]), func(context.Context) { step(t, i) })
			cpu[n] += cpuTime(b) - from
		}
	}
	b.ReportMetric(float64(cpu[0].Microseconds())/float64(b.N)/1000, "cpu-ms/short")
	b.ReportMetric(float64(cpu[1].Microseconds())/float64(b.N)/1000, "cpu-ms/long")
	b.ReportMetric(float64(cpu[1])/float64(cpu[0]), "long/short")
}

// historyTable is a table of one row, of SIMPLE index, with so many instants: its own
// commit and, before it, copies that wrote nothing. Those are archived whenever there are
// so many of them, if it is not 0.
func historyTable(tb testing.TB, instants, archive int) *Table {
	tb.Helper()
	ctx := tb.Context()
	dir := tb.TempDir()
	store, err := file.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	opts := placeOptions(MergeOnRead)
	opts.PartitionBy, opts.Options = nil, Options{Index: IndexSimple, Services: &ServicesOptions{}}
	table, err := Create(ctx, store, opts)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "", 0, 0})); err != nil {
		tb.Fatal(err)
	}
	m := &timeline.CommitMetadata{OperationType: string(Upsert), ExtraMetadata: map[string]string{timeline.SchemaKey: table.AvroSchema()}}
	data, err := m.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	for n := range instants - 1 {
		for _, i := range instantsAt(n) {
			var text []byte
			if i.State == timeline.Completed {
				text = data
			}
			if err := os.WriteFile(filepath.Join(dir, table.instantFile(i)), text, 0o600); err != nil {
				tb.Fatal(err)
			}
		}
		if archive > 0 && (n%archive == archive-1 || n == instants-2) {
			if err := table.Refresh(ctx); err != nil {
				tb.Fatal(err)
			}
			if _, err := table.Archive(ctx, ArchiveOptions{KeepMin: 10, KeepMax: 10}); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if table, err = Open(ctx, store, Options{Services: &ServicesOptions{}}); err != nil {
		tb.Fatal(err)
	}
	if n := len(table.Timeline().Completed()); n != instants && archive == 0 || n > instants {
		tb.Fatalf("%d instants of %d", n, instants)
	}
	return table
}

func instantsAt(n int) [3]timeline.Instant {
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Minute)
	return instants(timeline.FormatTime(at), timeline.DeltaCommit)
}

// readCounter counts what is read of the timeline, and of its archive.
type readCounter struct {
	storage.Store

	mu                sync.Mutex
	timeline, archive int
}

func (c *readCounter) count(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case strings.HasPrefix(name, metaFolder+"/archived"):
		c.archive++
	case strings.HasPrefix(name, metaFolder+"/2"):
		c.timeline++
	}
}

func (c *readCounter) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	c.count(name)
	return c.Store.Get(ctx, name)
}

func (c *readCounter) Open(ctx context.Context, name string) (storage.Reader, error) {
	c.count(name)
	return c.Store.Open(ctx, name)
}

func (c *readCounter) List(ctx context.Context, folder string, deep bool) iter.Seq2[storage.Info, error] {
	c.count(folder)
	return c.Store.List(ctx, folder, deep)
}

// TestHistoryStaysUnread sees that neither opening nor committing reads a long timeline's
// commits, nor the archived timeline.
func TestHistoryStaysUnread(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	table := historyTable(t, 120, 0)
	c := &readCounter{Store: table.store}
	table, err := Open(ctx, c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c.timeline > 1 {
		t.Errorf("%d files of the timeline were read to open the table", c.timeline)
	}
	res, err := table.Archive(ctx, ArchiveOptions{KeepMin: 10})
	if err != nil || res.Instants != 110 {
		t.Fatalf("archived %d instants, held by %q, %v", res.Instants, res.Held, err)
	}
	for i := range int64(5) {
		c.archive = 0
		if table, err = Open(ctx, c, Options{}); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "", 0, i}, placeRow{fmt.Sprint("new", i), "", 0, i})); err != nil {
			t.Fatal(err)
		}
		if rows := readPlaces(t, table, ReadOptions{}); len(rows) != int(i)+2 {
			t.Fatalf("%d rows", len(rows))
		}
		if c.archive > 0 {
			t.Fatalf("the archived timeline was looked at %d times", c.archive)
		}
	}
}
