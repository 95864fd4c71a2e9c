package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"lakefeed/internal/long"
	"lakefeed/internal/seed"
	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// What TestModel does in memory, some of it in a bucket.
func TestOnS3(t *testing.T) {
	t.Parallel()
	for _, typ := range []TableType{CopyOnWrite, MergeOnRead} {
		t.Run("model "+string(typ), func(t *testing.T) {
			t.Parallel()
			m := newModel(t, typ, seed.New(t))
			for range 12 {
				m.step()
				m.compare(ReadOptions{BatchRows: 17}, m.rows)
				m.lookup()
			}
		})
	}
	t.Run("requests", testRequests)
	t.Run("requests of partitions", testPartitionRequests)
}

// TestOnS3CrashLong does the same for TestCrash.
func TestOnS3CrashLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		m, steps := crashStory(t, typ)
		counter := storagetest.NewFaulty(newStore(t), storagetest.Fault{Only: worthwhile})
		if _, err := tell(t.Context(), counter, m, steps); err != nil {
			t.Fatal(err)
		}
		calls := counter.Calls()
		rnd := rand.New(rand.NewPCG(seed.New(t), 8))
		for n := 1 + rnd.IntN(len(calls)/8); n <= len(calls); n += len(calls) / 8 {
			crash := &crash{t: t, m: m, steps: steps, at: n, call: calls[n-1], when: storagetest.When(rnd.IntN(3))}
			crash.run()
		}
	})
}

// bucketRows are n rows for each of some buckets of a table.
func bucketRows(table *Table, n int, buckets ...int) map[string]modelRow {
	rows := map[string]modelRow{}
	for _, b := range buckets {
		for i, left := 0, n; left > 0; i++ {
			if key := fmt.Sprintf("k%d", i); table.Bucket(key) == b {
				rows[key] = modelRow{name: "x", seq: 1}
				left--
			}
		}
	}
	return rows
}

// testRequests bounds what a commit asks of the server: docs/performance.md has the list.
func testRequests(t *testing.T) {
	t.Parallel()
	table := newTable(t, newStore(t), MergeOnRead, 8)
	table.claim.late = time.Hour // or a server that takes its time is asked more
	mustUpsert(t, table, bucketRows(table, 3, 0, 1, 2, 3, 4, 5, 6, 7))
	mustUpsert(t, table, bucketRows(table, 3, 0, 1, 2, 3, 4, 5, 6, 7))
	for i := range 3 {
		var made storage.Requests
		ctx := storage.CountRequests(t.Context(), &made)
		rows := bucketRows(table, 2, 3, 5)
		if _, err := table.Upsert(ctx, modelBatch(slices.Sorted(maps.Keys(rows)), rows, table.Schema())); err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, op := range slices.Sorted(maps.Keys(made.ByOperation())) {
			list = append(list, fmt.Sprintf("%s %d", op, made.ByOperation()[op].Requests))
		}
		t.Logf("commit %d: %d requests: %s", i, made.Total(), strings.Join(list, ", "))
		if n := made.Total(); n != commitRequests {
			t.Errorf("a commit of two buckets made %d requests, want %d", n, commitRequests)
		}
	}
	log, err := table.store.Open(context.Background(), partitionFile) // a request that is no commit's
	if err != nil {
		t.Fatal(err)
	}
	closeFile(log)
}

// requestsOf counts what a step asks of the server.
func requestsOf(t *testing.T, what string, step func(ctx context.Context) error) int {
	t.Helper()
	var made storage.Requests
	if err := step(storage.CountRequests(t.Context(), &made)); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, op := range slices.Sorted(maps.Keys(made.ByOperation())) {
		list = append(list, fmt.Sprintf("%s %d", op, made.ByOperation()[op].Requests))
	}
	t.Logf("%s: %d requests: %s", what, made.Total(), strings.Join(list, ", "))
	return int(made.Total())
}

// bounded counts what a step asks of the server, which must be want, or one more or less.
func bounded(t *testing.T, what string, want int, step func(ctx context.Context) error) {
	t.Helper()
	if made := requestsOf(t, what, step); made < want-1 || made > want+1 {
		t.Errorf("%s: %d requests, want about %d, as docs/performance.md has it", what, made, want)
	}
}

// testPartitionRequests bounds what a table of 20 partitions asks of the server when two
// of them change, when these are compacted, clustered and cleaned, and when commits are archived.
func testPartitionRequests(t *testing.T) {
	t.Parallel()
	opts := placeOptions(MergeOnRead)
	opts.Options = Options{Buckets: 1}
	table, err := Create(t.Context(), newStore(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	table.claim.late = time.Hour // as above
	var all []placeRow
	for p := range 20 {
		all = append(all, placeRow{fmt.Sprint("k", p), fmt.Sprint("p", p), 0, 0})
	}
	if _, err := table.Upsert(t.Context(), placeBatch(all...)); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		bounded(t, "a commit of two partitions", commitRequests, func(ctx context.Context) error {
			_, err := table.Upsert(ctx, placeBatch(placeRow{"k3", "p3", 0, int64(i)}, placeRow{"k7", "p7", 0, int64(i)}))
			return err
		})
	}
	bounded(t, "a compaction of two file groups", compactRequests, func(ctx context.Context) error {
		at, err := table.Compact(ctx, CompactOptions{})
		if err == nil && at == "" {
			err = errors.New("there was nothing to compact")
		}
		return err
	})
	bounded(t, "archiving four instants", archiveRequests, func(ctx context.Context) error {
		res, err := table.Archive(ctx, ArchiveOptions{KeepMin: 1, KeepMax: 1})
		if err == nil && res.Instants != 4 {
			err = fmt.Errorf("%d instants were archived", res.Instants)
		}
		return err
	})
	bounded(t, "a clustering of two file groups", clusterRequests, func(ctx context.Context) error {
		res, err := table.Cluster(ctx, ClusterOptions{SortBy: []string{"seq"}, Partitions: []string{"place=p3", "place=p7"}})
		if err == nil && res.Replaced != 2 {
			err = fmt.Errorf("%d file groups were clustered", res.Replaced)
		}
		return err
	})
	bounded(t, "a cleaning of two partitions", cleanRequests, func(ctx context.Context) error {
		res, err := table.Clean(ctx, CleanOptions{RetainCommits: 1})
		if err == nil && res.Files != 8 {
			err = fmt.Errorf("%d files were deleted", res.Files)
		}
		return err
	})
}

const (
	compactRequests = 34 // one of them looks for a metadata table before it completes
	archiveRequests = 36 // and one after it: the claim says no longer that it is at work
	clusterRequests = 20
	cleanRequests   = 17 // of which a DELETE for each of 8 files
)

// commitRequests are those of a merge-on-read commit that touches two buckets.
const commitRequests = 16
