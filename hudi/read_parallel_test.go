package hudi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"lakefeed/storage"
)

// manyGroups is a table of some file groups.
func manyGroups(t *testing.T, typ TableType) (storage.Store, *Table) {
	t.Helper()
	store := newStore(t)
	table := newTable(t, store, typ, 8)
	for v := range 3 {
		rows := map[string]modelRow{}
		for i := range 500 {
			if i%(v+1) == 0 {
				rows[fmt.Sprintf("k%d", i)] = modelRow{seq: int64(v + 1)}
			}
		}
		mustUpsert(t, table, rows)
	}
	return store, table
}

// TestParallelRead reads file groups side by side and finds the rows that it finds one
// after the other.
func TestParallelRead(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		_, table := manyGroups(t, typ)
		want := mustRead(t, table, ReadOptions{Parallel: 1, BatchRows: 10})
		for _, parallel := range []int{0, 2, 3, 100} {
			compareRows(t, mustRead(t, table, ReadOptions{Parallel: parallel, BatchRows: 10}), want)
		}
	})
}

// TestParallelReadEnds stops after some batches, by the reader's will and by the
// context's; no scan goes on and no batch is kept.
func TestParallelReadEnds(t *testing.T) {
	_, table := manyGroups(t, MergeOnRead)
	n := 0
	for _, err := range table.Read(t.Context(), ReadOptions{Parallel: 4, BatchRows: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 5 {
			break
		}
	}
	if n != 5 {
		t.Errorf("%d batches", n)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var last error
	for _, err := range table.Read(ctx, ReadOptions{Parallel: 4, BatchRows: 1}) {
		stop()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("stopped: %v", last)
	}
}

// TestParallelReadErrors damages several file groups: the error is always that of the
// first one.
func TestParallelReadErrors(t *testing.T) {
	store, table := manyGroups(t, CopyOnWrite)
	slices := table.Slices()
	for _, s := range slices[2:6] {
		damage(t, store, s.Base.Path(), func(data []byte) []byte {
			for i := 4; i < len(data)/2; i++ {
				data[i] ^= 0xff
			}
			return data
		})
	}
	for range 20 {
		var last error
		for _, err := range table.Read(t.Context(), ReadOptions{Parallel: 4}) {
			last = err
		}
		if last == nil || !strings.Contains(last.Error(), slices[2].Base.Name) {
			t.Fatalf("got %v, want an error about %s", last, slices[2].Base.Name)
		}
	}
}
