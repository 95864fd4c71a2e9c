package hudi

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"weak"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi/internal/column"
)

// TestClosedGroupsKeepNothing writes many groups, one after the other, in transactions whose memory must not follow
// their number: of new files, of base files that are rewritten and of logs.
func TestClosedGroupsKeepNothing(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		t.Parallel()
		const groups = 5
		table := newTable(t, newStore(t), typ, groups)
		for n := range 2 {
			x := beginOver(t, table)
			var held []func() bool
			for bucket := range groups {
				g, err := x.Group(t.Context(), "", bucket)
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, alive(t, g.out))
				key := fmt.Sprintf("k%d", bucket)
				rows := modelBatch([]string{key}, map[string]modelRow{key: {seq: int64(n)}}, table.Schema())
				keys := textArray(key)
				err = g.Upsert(t.Context(), rows, keys)
				if err == nil {
					err = g.Close(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			runtime.GC()
			for bucket, is := range held {
				if is() {
					t.Errorf("transaction %d: what bucket %d was written with is in memory after its writer was closed", n, bucket)
				}
			}
			if _, err := x.Commit(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// alive tells whether a group's output can still be reached.
func alive(t *testing.T, out groupOut) func() bool {
	t.Helper()
	switch out := out.(type) {
	case *baseOut:
		p := weak.Make(out)
		return func() bool { return p.Value() != nil }
	case *logOut:
		p := weak.Make(out)
		return func() bool { return p.Value() != nil }
	}
	t.Fatalf("an output of type %T", out)
	return nil
}

func textArray(values ...string) *array.String {
	b := array.NewStringBuilder(column.Allocator)
	defer b.Release()
	b.AppendValues(values, nil)
	return b.NewStringArray()
}

// TestRowBehindItsDelete deletes keys and writes rows of them in one transaction: the rows stay, by a writer of
// a group and by a sorter, whatever the table's type.
func TestRowBehindItsDelete(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		t.Parallel()
		opts := placeOptions(typ)
		opts.Buckets = 1
		table, err := Create(t.Context(), newStore(t), opts)
		if err != nil {
			t.Fatal(err)
		}
		s := sortOptions(t, 1, true)
		sortedTxn(t, table, s, []arrow.RecordBatch{placeBatch(placeRow{"a", "x", 0, 1}, placeRow{"b", "x", 0, 1}, placeRow{"c", "x", 0, 1})}, nil)
		gone := []string{"a", "b", "z"}
		sortedTxn(t, table, s, []arrow.RecordBatch{placeBatch(placeRow{"b", "x", 0, 2}, placeRow{"z", "x", 0, 2})}, map[string][]string{"place=x": gone})
		diffLines(t, readPlaces(t, table, ReadOptions{}), []string{"place=x b 2", "place=x c 1", "place=x z 2"})
		x := beginOver(t, table)
		g, err := x.Group(t.Context(), "place=x", 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Delete(t.Context(), []string{"b", "c", "y"}); err != nil {
			t.Fatal(err)
		}
		if err := g.Upsert(t.Context(), placeBatch(placeRow{"c", "x", 0, 3}, placeRow{"y", "x", 0, 3}), textArray("c", "y")); err != nil {
			t.Fatal(err)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Commit(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		diffLines(t, readPlaces(t, table, ReadOptions{}), []string{"place=x c 3", "place=x y 3", "place=x z 2"})
	})
}

// TestWriteRunsOfDeletes merges runs of which a range of rows is deleted again: what goes by is let go.
func TestWriteRunsOfDeletes(t *testing.T) {
	t.Parallel()
	const rows, perBatch = 60_000, 500
	table, err := Create(t.Context(), newStore(t), CreateOptions{Name: "places", Schema: placeSchema, RecordKey: []string{"id"}, OrderingField: "seq"})
	if err != nil {
		t.Fatal(err)
	}
	opts := sortOptions(t, 1, true)
	opts.Lanes = 1
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	peak := 0
	run := func(gone bool) Run { // of one bucket: in the order of its keys
		return Run{Newer: gone, Lane: func(context.Context, int) (func() (arrow.RecordBatch, error), func(), error) {
			from := 0
			return func() (arrow.RecordBatch, error) {
				if peak = max(peak, mem.CurrentAlloc()); from == rows {
					return nil, nil //nolint:nilnil // the end
				}
				from += perBatch
				return changesBatch(mem, from-perBatch, perBatch, gone), nil
			}, func() {}, nil
		}}
	}
	batch := changesBatch(mem, 0, perBatch, false)
	one := mem.CurrentAlloc()
	batch.Release()
	x := beginOver(t, table)
	n, err := WriteRuns(t.Context(), x, opts, []Run{run(false), run(true)}, 1)
	if err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
	if _, err := x.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	diffLines(t, readPlaces(t, table, ReadOptions{}), []string{" 0059999 59999"})
	if peak > 64*one {
		t.Errorf("%d batches were in memory at a time, of %d", peak/one, 2*rows/perBatch)
	}
	mem.AssertSize(t, 0)
}

// changesBatch is a batch of a run: rows numbered from first on, or their deletes, but for the last row's.
func changesBatch(mem memory.Allocator, first, n int, gone bool) arrow.RecordBatch {
	schema := arrow.NewSchema(append(slices.Clone(placeSchema.Fields()), sortedExtra...), nil)
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	for i := first; i < first+n; i++ {
		id := fmt.Sprintf("%07d", i)
		if gone && i == 59_999 {
			id = "9999999"
		}
		b.Field(0).(*array.StringBuilder).Append(id)
		b.Field(1).AppendNull()
		b.Field(2).(*array.Date32Builder).Append(0)
		b.Field(3).(*array.Int64Builder).Append(int64(i))
		b.Field(4).(*array.StringBuilder).Append(id)
		b.Field(5).(*array.StringBuilder).Append("")
		b.Field(6).(*array.Int32Builder).Append(0)
		b.Field(7).(*array.BooleanBuilder).Append(gone)
	}
	return b.NewRecordBatch()
}
