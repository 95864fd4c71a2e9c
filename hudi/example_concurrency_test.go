package hudi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi"
	"lakefeed/hudi/lock"
	"lakefeed/storage/mem"
)

var counterSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.BinaryTypes.String},
	{Name: "n", Type: arrow.PrimitiveTypes.Int64},
}, nil)

func counter(n int) arrow.RecordBatch {
	rows, _, err := array.RecordFromJSON(memory.DefaultAllocator, counterSchema, strings.NewReader(fmt.Sprintf(`[{"id":"a","n":%d}]`, n)))
	if err != nil {
		panic(err)
	}
	return rows
}

// Two programs write to one table. Each takes the same lock; who is later begins anew.
func ExampleConcurrency() {
	ctx, store := context.Background(), mem.New()
	shared := hudi.Options{Concurrency: hudi.Concurrency{
		Mode:   hudi.Optimistic,
		Locker: lock.NewStorage(store, lock.StorageOptions{}),
	}}
	one, err := hudi.Create(ctx, store, hudi.CreateOptions{
		Name: "counters", Schema: counterSchema, RecordKey: []string{"id"}, OrderingField: "n", Options: shared,
	})
	if err != nil {
		panic(err)
	}
	two, err := hudi.Open(ctx, store, shared)
	if err != nil {
		panic(err)
	}
	for n, table := range []*hudi.Table{one, two, one} {
		if _, err := table.Upsert(ctx, counter(n)); err != nil { // retried for RetryFor
			panic(err)
		}
	}
	fmt.Println(len(one.Timeline().Completed()), "commits")
	// Output: 3 commits
}

// A reader keeps the table as of an instant, for as long as it needs it.
func ExampleTable_Pin() {
	ctx, store := context.Background(), mem.New()
	table, err := hudi.Create(ctx, store, hudi.CreateOptions{
		Name: "counters", Type: hudi.CopyOnWrite, Schema: counterSchema, RecordKey: []string{"id"}, OrderingField: "n",
	})
	if err != nil {
		panic(err)
	}
	first, err := table.Upsert(ctx, counter(1))
	if err != nil {
		panic(err)
	}
	pin, err := table.Pin(ctx, first, 2*time.Hour)
	if err != nil {
		panic(err)
	}
	for n := 2; n < 6; n++ {
		if _, err := table.Upsert(ctx, counter(n)); err != nil {
			panic(err)
		}
	}
	clean := func() {
		res, err := table.Clean(ctx, hudi.CleanOptions{RetainCommits: 1})
		if err != nil {
			panic(err)
		}
		fmt.Println(res.Files, "files cleaned")
	}
	clean()
	if err := pin.Renew(ctx, time.Hour); err != nil { // for an hour from now on
		panic(err)
	}
	if err := pin.Release(ctx); err != nil {
		panic(err)
	}
	clean()
	// Output:
	// 0 files cleaned
	// 4 files cleaned
}

// A reader that does not know how long it takes has its pin renewed, until it is done. Were it
// to die, the pin would stay for a minute.
func ExamplePin_Hold() {
	ctx, store := context.Background(), mem.New()
	table, err := hudi.Create(ctx, store, hudi.CreateOptions{
		Name: "counters", Schema: counterSchema, RecordKey: []string{"id"}, OrderingField: "n",
	})
	if err != nil {
		panic(err)
	}
	if _, err := table.Upsert(ctx, counter(1)); err != nil {
		panic(err)
	}
	pin, err := table.Pin(ctx, "", time.Minute) // of the newest commit
	if err != nil {
		panic(err)
	}
	release := pin.Hold(ctx, time.Minute)
	held, err := table.Pins(ctx)
	if err != nil {
		panic(err)
	}
	release()
	left, err := table.Pins(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(held), "pin held,", len(left), "left")
	// Output: 1 pin held, 0 left
}

// A transaction whose rows follow from what the table holds is done anew, with its read, when
// another writer was first.
func ExampleTable_Retry() {
	ctx, store := context.Background(), mem.New()
	shared := hudi.Options{Concurrency: hudi.Concurrency{Mode: hudi.Optimistic, Locker: lock.NewStorage(store, lock.StorageOptions{})}}
	one, err := hudi.Create(ctx, store, hudi.CreateOptions{
		Name: "counters", Schema: counterSchema, RecordKey: []string{"id"}, OrderingField: "n", Options: shared,
	})
	check(err)
	_, err = one.Upsert(ctx, counter(1))
	check(err)
	two, err := hudi.Open(ctx, store, shared)
	check(err)

	tries := 0
	check(one.Retry(ctx, func(ctx context.Context) error {
		tries++
		txn, err := one.Begin(ctx, hudi.TxnOptions{})
		if err != nil {
			return err
		}
		found, _, err := one.Lookup(ctx, "", 0, []string{"a"}, []string{"n"})
		check(err)
		if tries == 1 { // another writer is faster
			_, err := two.Upsert(ctx, counter(10))
			check(err)
		}
		return commitCounter(ctx, txn, int(found.Column(0).(*array.Int64).Value(0))+1)
	}))
	fmt.Println(tries, "tries")
	for batch, err := range one.Read(ctx, hudi.ReadOptions{Columns: []string{"n"}}) {
		check(err)
		fmt.Println("n is", batch.Column(0).ValueStr(0))
	}
	// Output:
	// 2 tries
	// n is 11
}

// commitCounter writes the counter's row and commits, or takes the transaction back.
func commitCounter(ctx context.Context, txn *hudi.Txn, n int) error {
	group, err := txn.Group(ctx, "", 0)
	if err == nil {
		var keys *array.String
		keys, err = hudi.RecordKeys(counter(n), []string{"id"})
		check(err)
		err = errors.Join(group.Upsert(ctx, counter(n), keys), group.Close(ctx))
	}
	if err == nil {
		_, err = txn.Commit(ctx, nil)
	}
	if err != nil {
		return errors.Join(err, txn.Abort(ctx))
	}
	return nil
}
