package hudi_test

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi"
	"lakefeed/hudi/keyindex"
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
