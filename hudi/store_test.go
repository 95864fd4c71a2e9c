package hudi

import (
	"context"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/internal/long"
	"lakefeed/internal/s3test"
	"lakefeed/storage"
	"lakefeed/storage/mem"
	"lakefeed/storage/s3"
)

// newStore is an empty store: in memory, for the tests of TestOnS3 a bucket.
func newStore(t *testing.T) storage.Store {
	t.Helper()
	if strings.HasPrefix(t.Name(), "TestOnS3") {
		return newBucket(t)
	}
	return mem.New()
}

var s3Servers sync.Map // by the name of the test that they end with

func newBucket(t *testing.T) storage.Store {
	t.Helper()
	server, ok := s3Servers.Load(t.Name())
	if !ok {
		server = s3test.Start(t)
		s3Servers.Store(t.Name(), server)
		t.Cleanup(func() { s3Servers.Delete(t.Name()) })
	}
	o, err := s3.ParseURL(server.(*s3test.Server).Bucket(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := s3.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// dated is a store that rounds its files' times down, by a clock that is behind.
type dated struct {
	storage.Store

	step, behind time.Duration
}

func (s dated) ModTimeStep() time.Duration { return s.step }

func (s dated) List(ctx context.Context, folder string, recursive bool) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for info, err := range s.Store.List(ctx, folder, recursive) {
			info.ModTime = info.ModTime.Add(-s.behind).Truncate(s.step)
			if !yield(info, err) {
				return
			}
		}
	}
}

// TestDatesLong lays base files over others, by each kind of writer: by their
// dates the commits must not have been completed before they began. Spark with Hudi 1.2.0
// would not see what is logged on these base files.
func TestDatesLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, mode := range []ConcurrencyMode{SingleWriter, Optimistic} {
		for _, clock := range []dated{
			{step: time.Second},
			{step: time.Second, behind: 3 * time.Millisecond},
			{step: time.Second, behind: 1300 * time.Millisecond},
			{step: 10 * time.Millisecond},
		} {
			for name, lay := range map[string]func(*testing.T, *Table) []string{"logged on": layLogged, "converted": layConverted} {
				t.Run(fmt.Sprintf("%s, %s, steps of %s, %s behind", name, mode, clock.step, clock.behind), func(t *testing.T) {
					t.Parallel()
					opts := placeOptions(MergeOnRead)
					if name == "converted" {
						opts = placeOptions(CopyOnWrite)
					}
					opts.Options = Options{Index: IndexSimple, Concurrency: Concurrency{Mode: mode}}
					store := dated{mem.New(), clock.step, clock.behind}
					table, err := Create(t.Context(), store, opts)
					if err != nil {
						t.Fatal(err)
					}
					checkDates(t, store, lay(t, table))
					if n := len(table.Slices()); n != 1 {
						t.Errorf("%d slices", n)
					}
				})
			}
		}
	}
}

// noted notes the instants of writes that must not fail.
func noted(t *testing.T, writes ...func() (string, error)) (instants []string) {
	t.Helper()
	for _, write := range writes {
		instant, err := write()
		if err != nil {
			t.Fatal(err)
		}
		instants = append(instants, instant)
	}
	return instants
}

// layLogged lays base files under what is logged, by inserts and by a compaction, and
// returns the instants.
func layLogged(t *testing.T, table *Table) []string {
	t.Helper()
	ctx := t.Context()
	at := noted(t,
		func() (string, error) { return table.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 1})) },
		func() (string, error) { return table.Insert(ctx, placeBatch(placeRow{"b", "eu", 0, 1})) }, // into the small file
		func() (string, error) { return table.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 2})) },
		func() (string, error) { return table.Compact(ctx, CompactOptions{}) },
	)
	return []string{at[1], at[3]}
}

// layConverted makes a merge-on-read table of a copy-on-write one.
func layConverted(t *testing.T, table *Table) []string {
	t.Helper()
	upsert := func() (string, error) { return table.Upsert(t.Context(), placeBatch(placeRow{"a", "eu", 0, 1})) }
	at := noted(t, upsert, upsert, upsert)
	if err := table.Convert(t.Context(), ConvertOptions{Type: MergeOnRead}); err != nil {
		t.Fatal(err)
	}
	return at[2:]
}

// checkDates sees that no instant's commit is dated before it, and that no heartbeat stays.
func checkDates(t *testing.T, store storage.Store, instants []string) {
	t.Helper()
	found := 0
	for info, err := range store.List(t.Context(), metaFolder, true) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(info.Name, heartbeatFolder) {
			t.Errorf("%s stays", info.Name)
		}
		instant, kind, _ := strings.Cut(path.Base(info.Name), ".")
		if !slices.Contains(instants, instant) || kind != "commit" && kind != "deltacommit" {
			continue
		}
		found++
		if dated := timeline.FormatTime(info.ModTime); dated < instant {
			t.Errorf("%s is dated %s", info.Name, dated)
		}
	}
	if found != len(instants) {
		t.Errorf("%d of %d commits", found, len(instants))
	}
}
