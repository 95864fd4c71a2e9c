package hudi

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/internal/long"
)

// TestBulkInsertSortsLong spills rows that come in any order, and looks at the files' ranges.
func TestBulkInsertSortsLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, index := range map[string]Options{"SIMPLE": {Index: IndexSimple}, "BUCKET": {Buckets: 4}, "GLOBAL_SIMPLE": {Index: IndexGlobalSimple}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, temp := t.Context(), t.TempDir()
			opts := placeOptions(CopyOnWrite)
			opts.Options = index
			opts.MaxFileBytes, opts.RowGroupBytes = 32<<10, 16<<10
			table, err := Create(ctx, newStore(t), opts)
			if err != nil {
				t.Fatal(err)
			}
			var parts []arrow.RecordBatch
			order := rand.New(rand.NewPCG(5, 6)).Perm(6000)
			for some := range slices.Chunk(order, 250) {
				var rows []placeRow
				for _, n := range some {
					rows = append(rows, placeRow{fmt.Sprintf("%05d", n), []string{"eu", "us"}[n%2], 0, int64(n)})
				}
				parts = append(parts, placeBatch(rows...))
			}
			bulk := BulkOptions{SortBytes: 32 << 10, TempDir: temp}
			again := append(slices.Clone(parts), placeBatch(placeRow{"00077", "us", 0, 1}))
			if _, err := table.BulkInsert(ctx, batches(again...), bulk); err == nil || !strings.Contains(err.Error(), "key 00077 comes twice") {
				t.Fatalf("a key that comes twice: %v", err)
			}
			_, err = table.BulkInsert(ctx, batches(append(slices.Clone(parts), placeBatch(placeRow{"00077", "ap", 0, 1}))...), bulk)
			if global := name == "GLOBAL_SIMPLE"; global != (err != nil && strings.Contains(err.Error(), "key 00077 comes twice")) {
				t.Fatalf("a key in two partitions: %v", err)
			} else if !global {
				if _, err := table.DeletePartitions(ctx, "place=us", "place=eu", "place=ap"); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := table.BulkInsert(ctx, batches(parts...), bulk); err != nil {
				t.Fatal(err)
			}
			if rows := readPlaces(t, table, ReadOptions{}); len(rows) != len(order) {
				t.Errorf("%d rows of %d", len(rows), len(order))
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("%d files are left of sorting, %v", len(left), err)
			}
			if name == "BUCKET" {
				if n := len(table.Slices()); n != 8 {
					t.Errorf("%d file groups of 4 buckets in 2 partitions", n)
				}
				return
			}
			checkRanges(t, table)
		})
	}
}

// checkRanges sees that no two files of a partition may have a key in common.
func checkRanges(t *testing.T, table *Table) {
	t.Helper()
	ranges := map[string][][2]string{}
	for _, s := range table.Slices() {
		seen := readKeys(t, table, s)
		ranges[s.Partition] = append(ranges[s.Partition], [2]string{seen[0], seen[len(seen)-1]})
		if !slices.IsSorted(seen) {
			t.Errorf("%s is not sorted", s.Group())
		}
	}
	for p, all := range ranges {
		if len(all) < 2 {
			t.Errorf("partition %s has %d files, want some", p, len(all))
		}
		slices.SortFunc(all, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
		for i := 1; i < len(all); i++ {
			if all[i][0] <= all[i-1][1] {
				t.Errorf("partition %s: the ranges %v and %v meet", p, all[i-1], all[i])
			}
		}
	}
}

// readKeys are the keys of a slice, as its file has them.
func readKeys(t *testing.T, table *Table, s *FileSlice) []string {
	t.Helper()
	var out []string
	scan := &sliceScan{table: table, slice: s, timeline: table.Timeline(), full: table.full, schema: table.full}
	err := scan.run(t.Context(), func(rows arrow.RecordBatch) error {
		keys, err := keysOf(rows)
		if err != nil {
			return err
		}
		for row := range keys.Len() {
			out = append(out, strings.Clone(keys.Value(row)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
