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

// TestSorterLong writes rows of many partitions, with and without knowing the number of
// buckets beforehand, and then changes and deletes some.
func TestSorterLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, buckets := range []int{1, 3} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d buckets, known %v", buckets, known), func(t *testing.T) {
				t.Parallel()
				opts := placeOptions(MergeOnRead)
				opts.Buckets, opts.RowGroupBytes = buckets, 4096
				table, err := Create(t.Context(), newStore(t), opts)
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]string{}
				var parts []arrow.RecordBatch
				for some := range slices.Chunk(rand.New(rand.NewPCG(1, 2)).Perm(2000), 100) {
					var rows []placeRow
					for _, n := range some {
						r := placeRow{fmt.Sprintf("%04d", n), fmt.Sprintf("p%02d", n%40), 0, 1}
						rows = append(rows, r)
						want[r.id] = fmt.Sprintf("place=%s %s 1", r.place, r.id)
					}
					parts = append(parts, placeBatch(rows...))
				}
				s := sortOptions(t, buckets, known)
				sortedTxn(t, table, s, parts, nil)
				if n := len(table.Slices()); n != 40*buckets {
					t.Errorf("%d file groups of %d buckets in 40 partitions", n, buckets)
				}
				gone := map[string][]string{}
				for n := range 100 {
					id, place := fmt.Sprintf("%04d", n), fmt.Sprintf("place=p%02d", n%40)
					delete(want, id)
					gone[place] = append(gone[place], id)
				}
				want["0500"] = "place=p20 0500 2"
				sortedTxn(t, table, s, []arrow.RecordBatch{placeBatch(placeRow{"0500", "p20", 0, 2})}, gone)
				var lines []string
				for _, line := range want {
					lines = append(lines, line)
				}
				slices.Sort(lines)
				diffLines(t, readPlaces(t, table, ReadOptions{}), lines)
				if left, err := os.ReadDir(s.TempDir); err != nil || len(left) > 0 {
					t.Errorf("%d files are left of sorting, %v", len(left), err)
				}
			})
		}
	}
}

func sortOptions(t *testing.T, buckets int, known bool) SortOptions {
	s := SortOptions{Schema: placeSchema, RecordKey: []string{"id"}, SortBytes: 4096, TempDir: t.TempDir()}
	if known {
		s.Buckets = buckets
	} else if buckets > 1 {
		s.SortBytes = 1 << 20 // all of it
	}
	return s
}

// sortedTxn is a transaction of a sorter's changes.
func sortedTxn(t *testing.T, table *Table, opts SortOptions, parts []arrow.RecordBatch, gone map[string][]string) {
	t.Helper()
	ctx := t.Context()
	s := NewSorter(opts)
	defer s.Close()
	for _, rows := range parts {
		keyed, err := table.keyed(rows)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Upsert(ctx, rows, keyed.keys, keyed.partitions); err != nil {
			t.Fatal(err)
		}
	}
	for partition, keys := range gone {
		if err := s.Delete(ctx, partition, keys); err != nil {
			t.Fatal(err)
		}
	}
	for try := range 2 { // a transaction may have to be begun anew
		x, err := table.Begin(ctx, TxnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Write(ctx, x); err != nil {
			t.Fatal(err)
		}
		if try == 0 {
			err = x.Abort(ctx)
		} else {
			_, err = x.Commit(ctx, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestSorterRefusesDoubles sorts a key twice into one partition.
func TestSorterRefusesDoubles(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	table, err := Create(ctx, newStore(t), placeOptions(CopyOnWrite))
	if err != nil {
		t.Fatal(err)
	}
	s := NewSorter(sortOptions(t, 2, true))
	defer s.Close()
	for range 2 {
		keyed, err := table.keyed(placeBatch(placeRow{"a", "eu", 0, 1}))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Upsert(ctx, keyed.rows, keyed.keys, keyed.partitions); err != nil {
			t.Fatal(err)
		}
	}
	x, err := table.Begin(ctx, TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(ctx, x); err == nil || !strings.Contains(err.Error(), "key a comes twice") {
		t.Errorf("got %v", err)
	}
	if err := x.Abort(ctx); err != nil {
		t.Fatal(err)
	}
}
