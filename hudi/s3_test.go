package hudi

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lakefeed/internal/seed"
	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// What TestModel and TestCrash do in memory, some of it in a bucket.
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
		t.Run("crash "+string(typ), func(t *testing.T) {
			t.Parallel()
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
	t.Run("requests", testRequests)
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
		if n := made.Total(); n > commitRequests {
			t.Errorf("a commit of two buckets made %d requests, want %d at most", n, commitRequests)
		}
	}
	log, err := table.store.Open(context.Background(), partitionFile) // a request that is no commit's
	if err != nil {
		t.Fatal(err)
	}
	closeFile(log)
}

// commitRequests are those of a merge-on-read commit that touches two buckets.
const commitRequests = 14
