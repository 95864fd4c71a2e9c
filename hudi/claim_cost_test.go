package hudi

import (
	"context"
	"iter"
	"strings"
	"testing"

	"lakefeed/storage"
)

// costCounter counts how often the timeline is listed, and how large the claims are.
type costCounter struct {
	storage.Store
	lists  int
	claims []int
}

func (c *costCounter) List(ctx context.Context, folder string, deep bool) iter.Seq2[storage.Info, error] {
	if folder == metaFolder {
		c.lists++
	}
	return c.Store.List(ctx, folder, deep)
}

func (c *costCounter) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	if name == claimFile {
		c.claims = append(c.claims, len(data))
	}
	return c.Store.PutIfMatch(ctx, name, data, v)
}

// TestCommitListsOnce: a commit lists the timeline when it begins, and once more only where
// another writer had the claim since.
func TestCommitListsOnce(t *testing.T) {
	t.Parallel()
	for _, exclusive := range []bool{false, true} {
		ctx, inner := t.Context(), newStore(t)
		newTable(t, inner, MergeOnRead, 1)
		c := &costCounter{Store: inner}
		opts := Options{Buckets: 1, Services: &ServicesOptions{}, Concurrency: Concurrency{Exclusive: exclusive}}
		table, err := Open(ctx, c, opts)
		if err != nil {
			t.Fatal(err)
		}
		mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}})
		c.lists = 0
		mustUpsert(t, table, map[string]modelRow{"a": {seq: 2}})
		if c.lists != 1 {
			t.Errorf("exclusive %v: a commit listed the timeline %d times", exclusive, c.lists)
		}
		x := begin(t, table, Upsert, "b")
		other, err := Open(ctx, inner, Options{Buckets: 1, Concurrency: Concurrency{Exclusive: true}})
		if err == nil {
			err = upsertOne(ctx, other, "c")
		}
		if err != nil {
			t.Fatal(err)
		}
		conflict(t, x)
		checkBoth(t, inner, &soleWriter{acked: []string{"a", "c"}})
	}
}

// TestClaimStaysSmall: a commit's metadata stands in the claim until the commit is put, and a
// beat does not repeat it.
func TestClaimStaysSmall(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), &costCounter{Store: newStore(t)}
	table := newTable(t, c, MergeOnRead, 1)
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}})
	x := begin(t, table, Upsert, "b")
	if _, err := x.Commit(ctx, map[string]string{"offset": strings.Repeat("0", 1<<16)}); err != nil {
		t.Fatal(err)
	}
	if last := c.claims[len(c.claims)-1]; last < 1<<16 {
		t.Fatalf("the commit was decided in %d bytes", last)
	}
	if err := table.beatClaim(ctx); err != nil {
		t.Fatal(err)
	}
	if last := c.claims[len(c.claims)-1]; last > 1<<10 {
		t.Errorf("a beat wrote %d bytes", last)
	}
}
