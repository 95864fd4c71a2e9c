package hudi

import (
	"bytes"
	"errors"
	"testing"
)

// A replace commit that lost what it replaced would show the old rows beside the new ones.
func TestReplaceCommitSaysWhatItReplaced(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	table := newTable(t, store, CopyOnWrite, 1)
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}})
	if _, err := table.InsertOverwriteTable(t.Context(), modelBatch([]string{"b"}, map[string]modelRow{"b": {seq: 2}}, table.Schema())); err != nil {
		t.Fatal(err)
	}
	damage(t, store, pick(t, store, ".hoodie/", ".replacecommit"), func(d []byte) []byte {
		return bytes.Replace(d, []byte("partitionToReplaceFileIds"), []byte("partitionToReplaceFileIdz"), 1)
	})
	table, err := Open(t.Context(), store, Options{})
	if err == nil {
		_, err = readModel(t.Context(), table, ReadOptions{})
	}
	if corrupt := new(CorruptError); !errors.As(err, &corrupt) {
		t.Errorf("got %v", err)
	}
}

func TestColumnsAndSortByAreOptions(t *testing.T) {
	t.Parallel()
	table := newTable(t, newStore(t), CopyOnWrite, 1)
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}})
	_, twice := readModel(t.Context(), table, ReadOptions{Columns: []string{"id", "id"}})
	_, ghost := table.Cluster(t.Context(), ClusterOptions{SortBy: []string{"ghost"}})
	for name, err := range map[string]error{"a column twice": twice, "to sort by none": ghost} {
		if option := new(OptionError); !errors.As(err, &option) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
