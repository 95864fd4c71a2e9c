package hudi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// TestWriteOver lets rows take the place of others: those that come again stay, whichever was
// sorted first, those that do not are gone, and what nobody named is as it was.
func TestWriteOver(t *testing.T) {
	t.Parallel()
	for _, typ := range []TableType{MergeOnRead, CopyOnWrite} {
		t.Run(string(typ), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			opts := placeOptions(typ)
			opts.Buckets = 3
			table, err := Create(ctx, newStore(t), opts)
			if err != nil {
				t.Fatal(err)
			}
			row := func(n, version int) placeRow {
				return placeRow{fmt.Sprintf("%04d", n), fmt.Sprintf("p%d", n%2), 0, int64(version)}
			}
			var first, again []placeRow
			stored := map[string][]string{}
			var want []string
			for n := range 600 {
				r := row(n, 1)
				first = append(first, r)
				if n%3 > 0 { // those that are replaced
					stored["place="+r.place] = append(stored["place="+r.place], r.id)
				}
				switch n % 3 {
				case 0:
					want = append(want, fmt.Sprintf("place=%s %s 1", r.place, r.id))
				case 1:
					again = append(again, row(n, 2))
					want = append(want, fmt.Sprintf("place=%s %s 2", r.place, r.id))
				}
			}
			sortedTxn(t, table, sortOptions(t, 3, true), []arrow.RecordBatch{placeBatch(first...)}, nil)
			s := sortOptions(t, 3, true)
			s.Lanes = 1
			sorter := overSorter(t, table, s, again, stored)
			defer sorter.Close()
			var looked []string
			x := beginOver(t, table)
			err = sorter.WriteOver(ctx, x, func(_ context.Context, keys []string) error {
				looked = append(looked, keys...)
				return nil
			})
			if err == nil {
				_, err = x.Commit(ctx, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(want)
			diffLines(t, readPlaces(t, table, ReadOptions{}), want)
			if len(looked) != len(again) {
				t.Errorf("%d keys were looked at before they were written, of %d", len(looked), len(again))
			}
			x = beginOver(t, table)
			refused := errors.New("not this one")
			if err := sorter.WriteOver(ctx, x, func(context.Context, []string) error { return refused }); !errors.Is(err, refused) {
				t.Errorf("got %v", err)
			}
			if err := x.Abort(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestWriteOverRefusesDoubles sorts a row twice.
func TestWriteOverRefusesDoubles(t *testing.T) {
	t.Parallel()
	table, err := Create(t.Context(), newStore(t), placeOptions(CopyOnWrite))
	if err != nil {
		t.Fatal(err)
	}
	opts := sortOptions(t, 2, true)
	opts.Lanes = 1
	twice := []placeRow{{"a", "eu", 0, 1}, {"a", "eu", 0, 2}}
	sorter := overSorter(t, table, opts, twice, map[string][]string{"place=eu": {"a"}})
	defer sorter.Close()
	x := beginOver(t, table)
	if err := sorter.WriteOver(t.Context(), x, nil); err == nil {
		t.Error("a key that comes twice is written")
	}
	if err := x.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func beginOver(t *testing.T, table *Table) *Txn {
	t.Helper()
	x, err := table.Begin(t.Context(), TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// overSorter has half of the rows before the keys that they replace, the rest behind them.
func overSorter(t *testing.T, table *Table, opts SortOptions, rows []placeRow, stored map[string][]string) *Sorter {
	t.Helper()
	s := NewSorter(opts)
	add := func(rows []placeRow) {
		keyed, err := table.keyed(placeBatch(rows...))
		if err == nil {
			err = s.Upsert(t.Context(), keyed.rows, keyed.keys, keyed.partitions)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add(rows[:len(rows)/2])
	for partition, keys := range stored {
		for range 2 { // once more does no harm
			if err := s.Delete(t.Context(), partition, keys); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(rows[len(rows)/2:])
	return s
}
