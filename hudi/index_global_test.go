package hudi

import (
	"errors"
	"strings"
	"testing"
)

// eachGlobal runs a test with each index by which a key has one row in the table.
func eachGlobal(t *testing.T, test func(t *testing.T, table *Table)) {
	t.Helper()
	for _, index := range []IndexType{IndexGlobalKey, IndexGlobalSimple, IndexGlobalBloom} {
		t.Run(string(index), func(t *testing.T) {
			t.Parallel()
			if index == IndexGlobalKey {
				test(t, keyTable(t, MergeOnRead, newKeyStore(t)))
				return
			}
			opts := placeOptions(CopyOnWrite)
			opts.Options = Options{Index: index}
			table, err := Create(t.Context(), newStore(t), opts)
			if err != nil {
				t.Fatal(err)
			}
			test(t, table)
		})
	}
}

// TestDeleteFromOnePartition deletes a key from a partition that does not have it: the row is
// in another one, and stays.
func TestDeleteFromOnePartition(t *testing.T) {
	t.Parallel()
	eachGlobal(t, func(t *testing.T, table *Table) {
		if _, err := table.Upsert(t.Context(), placeBatch(placeRow{"a", "eu", 0, 1}, placeRow{"b", "us", 0, 1})); err != nil {
			t.Fatal(err)
		}
		if _, err := table.DeleteFrom(t.Context(), map[string][]string{"place=us": {"a", "b"}}); err != nil {
			t.Fatal(err)
		}
		diffLines(t, readPlaces(t, table, ReadOptions{}), []string{"place=eu a 1"})
		if _, err := table.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		diffLines(t, readPlaces(t, table, ReadOptions{}), nil)
	})
}

// TestOverwriteKeepsKeysAlone refuses to write a key into a partition anew that has its row in
// another one, which stays.
func TestOverwriteKeepsKeysAlone(t *testing.T) {
	t.Parallel()
	eachGlobal(t, func(t *testing.T, table *Table) {
		ctx := t.Context()
		if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 1}, placeRow{"b", "us", 0, 1}, placeRow{"c", "us", 0, 1})); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Delete(ctx, "c"); err != nil {
			t.Fatal(err)
		}
		_, err := table.InsertOverwrite(ctx, placeBatch(placeRow{"a", "us", 0, 2}))
		if bad, refused := errors.AsType[*RowError](err); !refused || !bad.Twice {
			t.Errorf("got %v", err)
		}
		if _, cheap := table.index().(*keyIndex); cheap {
			if _, err = table.Insert(ctx, placeBatch(placeRow{"a", "us", 0, 2})); !errors.As(err, new(*RowError)) {
				t.Errorf("got %v", err)
			}
		}
		diffLines(t, readPlaces(t, table, ReadOptions{}), []string{"place=eu a 1", "place=us b 1"})
		// Both partitions are replaced, so the row moves; what was deleted may come again.
		if _, err = table.InsertOverwrite(ctx, placeBatch(placeRow{"a", "us", 0, 2}, placeRow{"c", "eu", 0, 2})); err != nil {
			t.Fatal(err)
		}
		diffLines(t, readPlaces(t, table, ReadOptions{}), []string{"place=eu c 2", "place=us a 2"})
	})
}

// TestOverwriteOfDeletedKeys: a key whose row only the logs have taken away is in no partition.
func TestOverwriteOfDeletedKeys(t *testing.T) {
	t.Parallel()
	eachGlobal(t, func(t *testing.T, table *Table) {
		ctx := t.Context()
		if err := table.Convert(ctx, ConvertOptions{Type: CopyOnWrite, Buckets: table.Buckets()}); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "us", 0, 1}, placeRow{"b", "us", 0, 1})); err != nil {
			t.Fatal(err)
		}
		if err := table.Convert(ctx, ConvertOptions{Type: MergeOnRead, Buckets: table.Buckets()}); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Delete(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := table.InsertOverwrite(ctx, placeBatch(placeRow{"a", "eu", 0, 2}, placeRow{"c", "eu", 0, 2})); err != nil {
			t.Fatal(err)
		}
		diffLines(t, readPlaces(t, table, ReadOptions{}), []string{"place=eu a 2", "place=eu c 2", "place=us b 1"})
		_, err := table.InsertOverwrite(ctx, placeBatch(placeRow{"a", "eu", 0, 3}, placeRow{"b", "eu", 0, 3}))
		if bad, refused := errors.AsType[*RowError](err); !refused || !strings.Contains(bad.Reason, `"b"`) {
			t.Errorf("got %v", err)
		}
	})
}
