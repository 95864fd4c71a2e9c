package hudi

import (
	"errors"
	"strings"
	"testing"

	"lakefeed/storage/storagetest"
)

// TestCompactionAttempts lets a compaction die before it is completed, and who goes on with
// it die at each call: no commit has two base files in one file group, at no time.
func TestCompactionAttempts(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for at, died := 1, true; died; at++ {
		store := newStore(t)
		table := newTable(t, store, MergeOnRead, 2)
		a, b := twoKeys(table)
		for seq := range int64(2) {
			mustUpsert(t, table, map[string]modelRow{a: {seq: seq}, b: {seq: seq}})
		}
		completion := func(c storagetest.Call) bool { return strings.HasSuffix(c.Name, ".commit") }
		for _, fault := range []storagetest.Fault{{At: 1, Dead: true, Only: completion}, {At: at, When: storagetest.After, Dead: true}} {
			dying, err := Open(ctx, storagetest.NewFaulty(store, fault), Options{})
			if err == nil {
				_, err = dying.Compact(ctx, CompactOptions{})
			}
			if died = errors.Is(err, storagetest.ErrFault); err != nil && !died {
				t.Fatal(err)
			}
		}
		left, err := Open(ctx, store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		files, err := left.listFiles(ctx)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, f := range files {
			if f.IsLog() || !left.Timeline().IsCompleted(f.Instant) {
				continue
			}
			if slice := f.FileID + f.Instant; seen[slice] {
				t.Errorf("died at call %d: %s is not the only base file of its slice", at, f.Name)
			} else {
				seen[slice] = true
			}
		}
	}
}
