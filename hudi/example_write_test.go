package hudi_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi"
	"lakefeed/hudi/keyindex"
	"lakefeed/storage/mem"
)

// A transaction whose parts are written one by one: each file group by a writer of its
// own, several at a time if need be. The extra metadata is in the commit: both are there,
// or neither. A program that fails on the way calls Abort.
func ExampleTable_Begin() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{Options: hudi.Options{Buckets: 2}})
	txn, err := t.Begin(ctx, hudi.TxnOptions{})
	check(err)
	for id, row := range map[string]string{
		"1": `[{"id": 1, "name": "Roma", "version": 1}]`,
		"2": `[{"id": 2, "name": "Oslo", "version": 1}]`,
	} {
		group, err := txn.Group(ctx, "", t.Bucket(id))
		check(err)
		batch := rows(row)
		keys, err := hudi.RecordKeys(batch, t.RecordKey())
		check(err)
		check(group.Upsert(ctx, batch, keys))
		check(group.Close(ctx))
	}
	_, err = txn.Commit(ctx, map[string]string{"offset": "17"})
	check(err)

	offset, _, err := t.LastExtra(ctx, "offset")
	check(err)
	fmt.Println("up to", offset)
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// up to 17
	// 1 Roma 1
	// 2 Oslo 1
}

// Many new rows at once, sorted into files of about Options.MaxFileBytes.
func ExampleTable_BulkInsert() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{Options: hudi.Options{Index: hudi.IndexSimple}})
	_, err := t.BulkInsert(ctx, func(yield func(arrow.RecordBatch, error) bool) {
		_ = yield(rows(`[{"id": 2, "name": "Oslo", "version": 1}]`), nil) &&
			yield(rows(`[{"id": 1, "name": "Roma", "version": 1}]`), nil)
	}, hudi.BulkOptions{})
	check(err)
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// 1 Roma 1
	// 2 Oslo 1
}

// A table in partitions, with an index of keys on the local disk: a change that has only
// the key finds its row, and a row whose partition column changes leaves its old partition.
func ExampleCreateOptions_partitions() {
	ctx := context.Background()
	keys, err := keyindex.OpenMem() // keyindex.Open(folder) on a disk
	check(err)
	t := newCities(hudi.CreateOptions{
		PartitionBy: []string{"name"}, HiveStyle: true,
		Options: hudi.Options{Index: hudi.IndexGlobalKey, Keys: keys},
	})
	upsert(t, `[{"id": 1, "name": "Rom", "version": 1}, {"id": 2, "name": "Oslo", "version": 1}]`)
	upsert(t, `[{"id": 1, "name": "Roma", "version": 2}]`)
	fmt.Println(t.Partitions())
	_, err = t.Delete(ctx, "2")
	check(err)
	show(t.Read(ctx, hudi.ReadOptions{Columns: []string{"_hoodie_partition_path", "id"}}))
	_, err = t.InsertOverwrite(ctx, rows(`[{"id": 7, "name": "Roma", "version": 3}]`)) // that partition's rows
	check(err)
	show(t.Read(ctx, hudi.ReadOptions{}))
	_, err = t.DeletePartitions(ctx, "name=Roma")
	check(err)
	show(t.Read(ctx, hudi.ReadOptions{}))
	check(keys.Close())
	// Output:
	// [name=Oslo name=Rom name=Roma]
	// name=Roma 1
	// 7 Roma 3
}

// New rows fill small files, without a look whether their keys are there; rows are deleted
// where they are; and all rows are replaced.
func ExampleTable_Insert() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{PartitionBy: []string{"name"}, HiveStyle: true, Options: hudi.Options{Index: hudi.IndexSimple}})
	_, err := t.Insert(ctx, rows(`[{"id": 1, "name": "Roma", "version": 1}, {"id": 2, "name": "Oslo", "version": 1}]`))
	check(err)
	_, err = t.DeleteFrom(ctx, map[string][]string{"name=Roma": {"1"}})
	check(err)
	show(t.Read(ctx, hudi.ReadOptions{}))
	_, err = t.InsertOverwriteTable(ctx, rows(`[{"id": 3, "name": "Lima", "version": 2}]`))
	check(err)
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// 2 Oslo 1
	// 3 Lima 2
}

// A table gets another column, which is null in the rows of before, and another name for one.
func ExampleTable_RenameColumn() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{})
	upsert(t, `[{"id": 1, "name": "Roma", "version": 1}]`)
	wider := arrow.NewSchema(append(cities.Fields(), arrow.Field{Name: "people", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), nil)
	txn, err := t.Begin(ctx, hudi.TxnOptions{Schema: wider})
	check(err)
	_, err = txn.Commit(ctx, nil) // it may write rows, too
	check(err)
	_, err = t.RenameColumn(ctx, "name", "city")
	check(err)
	for _, f := range t.Schema().Fields() {
		fmt.Println(f.Name, f.Type)
	}
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// id int64
	// city utf8
	// version int64
	// people int64
	// 1 Roma 1 (null)
}

// A column that is added gets its values in all rows, in one commit.
func ExampleTable_Rewrite() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{})
	upsert(t, `[{"id": 1, "name": "Roma", "version": 1}, {"id": 2, "name": "Oslo", "version": 1}]`)
	wider := arrow.NewSchema(append(cities.Fields(), arrow.Field{Name: "letters", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), nil)
	_, err := t.Rewrite(ctx, wider, nil, func(rows arrow.RecordBatch) (arrow.RecordBatch, error) {
		letters := array.NewInt64Builder(memory.DefaultAllocator)
		for row := range int(rows.NumRows()) {
			letters.Append(int64(len(rows.Column(1).(*array.String).Value(row))))
		}
		return array.NewRecordBatch(wider, append(slices.Clone(rows.Columns()), letters.NewArray()), rows.NumRows()), nil
	})
	check(err)
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// 1 Roma 1 4
	// 2 Oslo 1 4
}

// Where rows of before stand in logs that hudi-rs could not read in the new columns, the table is
// compacted first.
func ExampleTable_CompactFor() {
	ctx := context.Background()
	of := func(count arrow.DataType, more ...arrow.Field) *arrow.Schema {
		return arrow.NewSchema(append([]arrow.Field{
			{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "at", Type: arrow.PrimitiveTypes.Int64}, {Name: "n", Type: count, Nullable: true},
		}, more...), nil)
	}
	narrow := of(arrow.PrimitiveTypes.Int32)
	t, err := hudi.Create(ctx, mem.New(), hudi.CreateOptions{Name: "counts", Schema: narrow, RecordKey: []string{"id"}, OrderingField: "at"})
	check(err)
	for _, text := range []string{`[{"id": "a", "at": 1, "n": 5}]`, `[{"id": "a", "at": 2, "n": 6}]`} {
		batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, narrow, strings.NewReader(text))
		check(err)
		_, err = t.Upsert(ctx, batch)
		check(err)
	}
	next := of(arrow.PrimitiveTypes.Int64, arrow.Field{Name: "note", Type: arrow.BinaryTypes.String, Nullable: true})
	compacted, err := t.CompactFor(ctx, next)
	check(err)
	fmt.Println("compacted:", compacted != "")
	txn, err := t.Begin(ctx, hudi.TxnOptions{Schema: next})
	check(err)
	_, err = txn.Commit(ctx, nil)
	check(err)
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// compacted: true
	// a 2 6 (null)
}

// sorterOf sorts rows of cities, and the keys of some that are to be deleted.
func sorterOf(opts hudi.SortOptions, upserts string, gone ...string) *hudi.Sorter {
	ctx := context.Background()
	sorter := hudi.NewSorter(opts)
	batch := rows(upserts)
	keys, err := hudi.RecordKeys(batch, opts.RecordKey)
	check(err)
	partitions := array.NewStringBuilder(memory.DefaultAllocator) // "" for each row: there are none
	partitions.AppendEmptyValues(int(batch.NumRows()))
	check(sorter.Upsert(ctx, batch, keys, partitions.NewStringArray()))
	check(sorter.Delete(ctx, "", gone))
	return sorter
}

// Many rows take the place of others: what comes again stays, the rest of what was named is gone.
func ExampleSorter_WriteOver() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{})
	upsert(t, `[{"id": 1, "name": "Roma", "version": 1}, {"id": 2, "name": "Oslo", "version": 1}]`)
	sorter := sorterOf(hudi.SortOptions{Schema: cities, RecordKey: t.RecordKey(), Buckets: 1, Lanes: 1},
		`[{"id": 2, "name": "Kristiania", "version": 2}]`, "1", "2")
	defer sorter.Close()
	txn, err := t.Begin(ctx, hudi.TxnOptions{})
	check(err)
	check(sorter.WriteOver(ctx, txn, nil))
	_, err = txn.Commit(ctx, nil)
	check(err)
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// 2 Kristiania 2
}

// Changes are sorted in parts, maybe by several processes, and written in one transaction. What a
// part passes on is kept as Arrow's stream, here in memory.
func ExampleWriteRuns() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{Options: hudi.Options{Buckets: 2}})
	opts := hudi.SortOptions{Schema: cities, RecordKey: t.RecordKey(), Buckets: 2, Lanes: 2}
	var parts []hudi.Run
	for _, text := range []string{
		`[{"id": 1, "name": "Rom", "version": 1}, {"id": 2, "name": "Oslo", "version": 1}]`,
		`[{"id": 1, "name": "Roma", "version": 2}]`,
	} {
		sorter := sorterOf(opts, text)
		lanes := make([]bytes.Buffer, opts.Lanes)
		out := make([]*ipc.Writer, opts.Lanes)
		for i := range lanes {
			out[i] = ipc.NewWriter(&lanes[i], ipc.WithSchema(sorter.Schema()))
		}
		check(sorter.Pass(ctx, func(lane int, rows arrow.RecordBatch) error { return out[lane].Write(rows) }))
		sorter.Close()
		for _, w := range out {
			check(w.Close())
		}
		parts = append(parts, hudi.Run{Newer: true, Lane: func(_ context.Context, lane int) (func() (arrow.RecordBatch, error), func(), error) {
			in, err := ipc.NewReader(bytes.NewReader(lanes[lane].Bytes()))
			if err != nil {
				return nil, nil, err
			}
			return func() (arrow.RecordBatch, error) {
				if !in.Next() {
					return nil, in.Err()
				}
				rows := in.RecordBatch()
				rows.Retain()
				return rows, nil
			}, in.Release, nil
		}})
	}
	txn, err := t.Begin(ctx, hudi.TxnOptions{})
	check(err)
	written, err := hudi.WriteRuns(ctx, txn, opts, parts, 2)
	check(err)
	_, err = txn.Commit(ctx, nil)
	check(err)
	fmt.Println(written, "rows")
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// 2 rows
	// 1 Roma 2
	// 2 Oslo 1
}

// A table that other writers kept gets hash buckets: all its rows are written anew, in one
// commit, by which its properties change. What a crash leaves between the two is finished.
func ExampleTakeOver() {
	ctx, store := context.Background(), mem.New()
	theirs, err := hudi.Create(ctx, store, hudi.CreateOptions{
		Name: "cities", Schema: cities, RecordKey: []string{"id"}, OrderingField: "version", Options: hudi.Options{Index: hudi.IndexSimple},
	})
	check(err)
	upsert(theirs, `[{"id": 1, "name": "Roma", "version": 1}]`)

	t, err := hudi.Open(ctx, store, hudi.Options{Buckets: 2})
	check(err)
	txn, err := t.Begin(ctx, hudi.TxnOptions{Operation: hudi.InsertOverwriteTable, TakeOver: &hudi.TakeOver{OrderingField: "version"}})
	check(err)
	sorter := hudi.NewSorter(hudi.SortOptions{Schema: txn.Schema(), RecordKey: t.RecordKey(), Buckets: 2})
	for batch, err := range t.Read(ctx, hudi.ReadOptions{Columns: []string{"id", "name", "version", "_hoodie_record_key", "_hoodie_partition_path"}}) {
		check(err)
		keys, partitions := batch.Column(3).(*array.String), batch.Column(4).(*array.String)
		check(sorter.Upsert(ctx, batch, keys, partitions))
	}
	check(sorter.Write(ctx, txn))
	_, err = txn.Commit(ctx, nil)
	check(err)
	sorter.Close()

	t, err = hudi.Open(ctx, store, hudi.Options{})
	check(err)
	left, err := t.FinishTakeOver(ctx)
	check(err)
	fmt.Println(t.Buckets(), "buckets; anything left to do:", left)
	show(t.Read(ctx, hudi.ReadOptions{}))
	// Output:
	// 2 buckets; anything left to do: false
	// 1 Roma 1
}
