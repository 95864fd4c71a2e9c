package hudi

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/internal/long"
)

// stagedRun sorts changes, and keeps what comes out in memory.
func stagedRun(t *testing.T, table *Table, opts SortOptions, newer bool, rows []placeRow, gone map[string][]string) Run {
	t.Helper()
	ctx := t.Context()
	s := NewSorter(opts)
	defer s.Close()
	for some := range slices.Chunk(rows, 100) {
		keyed, err := table.keyed(placeBatch(some...))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Upsert(ctx, keyed.rows, keyed.keys, keyed.partitions); err != nil {
			t.Fatal(err)
		}
	}
	for partition, keys := range gone {
		if err := s.Delete(ctx, partition, keys); err != nil {
			t.Fatal(err)
		}
	}
	lanes := make([][]arrow.RecordBatch, opts.Lanes)
	last := 0
	err := s.Pass(ctx, func(lane int, rows arrow.RecordBatch) error {
		if lane < last {
			t.Errorf("lane %d comes behind lane %d", lane, last)
		}
		last = lane
		rows.Retain()
		lanes[lane] = append(lanes[lane], rows)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return Run{Newer: newer, Lane: func(_ context.Context, lane int) (func() (arrow.RecordBatch, error), func(), error) {
		rest := lanes[lane]
		return func() (arrow.RecordBatch, error) {
			if len(rest) == 0 {
				return nil, nil //nolint:nilnil // the end
			}
			b := rest[0]
			rest = rest[1:]
			b.Retain()
			return b, nil
		}, func() {}, nil
	}}
}

// TestWriteRunsLong merges runs that were sorted apart, of which the last changes rows of the others.
func TestWriteRunsLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("buckets known %v", known), func(t *testing.T) {
			t.Parallel()
			table, err := Create(t.Context(), newStore(t), placeOptions(MergeOnRead))
			if err != nil {
				t.Fatal(err)
			}
			opts := sortOptions(t, 2, known)
			opts.Lanes = 3
			want := map[string]string{}
			var all []Run
			for some := range slices.Chunk(rand.New(rand.NewPCG(1, 2)).Perm(20000), 4000) {
				var rows []placeRow
				for _, n := range some {
					r := placeRow{fmt.Sprintf("%05d", n), fmt.Sprintf("p%02d", n%7), 0, 1}
					rows = append(rows, r)
					want[r.id] = fmt.Sprintf("place=%s %s 1", r.place, r.id)
				}
				all = append(all, stagedRun(t, table, opts, false, rows, nil))
			}
			var changed []placeRow
			gone := map[string][]string{"place=p05": {"nothing"}}
			for n := range 3000 {
				id, place := fmt.Sprintf("%05d", n*7), fmt.Sprintf("p%02d", n*7%7)
				if n%3 == 0 {
					delete(want, id)
					gone["place="+place] = append(gone["place="+place], id)
					continue
				}
				changed = append(changed, placeRow{id, place, 0, 2})
				want[id] = fmt.Sprintf("place=%s %s 2", place, id)
			}
			all = append(all, stagedRun(t, table, opts, false, []placeRow{{"00007", "p00", 0, 9}}, nil)) // seen twice, and changed
			all = append(all, stagedRun(t, table, opts, true, changed, gone))
			x, err := table.Begin(t.Context(), TxnOptions{Operation: BulkInsert})
			if err != nil {
				t.Fatal(err)
			}
			n, err := WriteRuns(t.Context(), x, opts, all, 2)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := x.Commit(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if n != int64(len(want)) {
				t.Errorf("%d rows, want %d", n, len(want))
			}
			lines := make([]string, 0, len(want))
			for _, line := range want {
				lines = append(lines, line)
			}
			slices.Sort(lines)
			diffLines(t, readPlaces(t, table, ReadOptions{}), lines)
		})
	}
}

// TestWriteRunsRefusesDoubles merges runs of which two have a key that none replaces.
func TestWriteRunsRefusesDoubles(t *testing.T) {
	t.Parallel()
	table, err := Create(t.Context(), newStore(t), placeOptions(CopyOnWrite))
	if err != nil {
		t.Fatal(err)
	}
	opts := sortOptions(t, 2, true)
	opts.Lanes = 2
	var all []Run
	for range 2 {
		all = append(all, stagedRun(t, table, opts, false, []placeRow{{"a", "eu", 0, 1}, {"b", "eu", 0, 1}}, nil))
	}
	x, err := table.Begin(t.Context(), TxnOptions{Operation: BulkInsert})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteRuns(t.Context(), x, opts, all, 2); err == nil || !strings.Contains(err.Error(), "comes twice") {
		t.Errorf("got %v", err)
	}
	if err := x.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}
