package hudi_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/scalar"

	"lakefeed/hudi"
	"lakefeed/storage/mem"
)

// newCities makes a table of cities; table says what is different about it.
func newCities(table hudi.CreateOptions) *hudi.Table {
	table.Name, table.Schema = "cities", cities
	table.OrderingField = "version"
	if table.RecordKey == nil {
		table.RecordKey = []string{"id"}
	}
	t, err := hudi.Create(context.Background(), mem.New(), table)
	check(err)
	return t
}

// upsert writes rows and returns the instant of the commit.
func upsert(t *hudi.Table, json string) string {
	instant, err := t.Upsert(context.Background(), rows(json))
	check(err)
	return instant
}

// show prints the rows of a read, in order.
func show(batches func(func(arrow.RecordBatch, error) bool)) {
	var lines []string
	for batch, err := range batches {
		check(err)
		for row := range int(batch.NumRows()) {
			var values []string
			for _, column := range batch.Columns() {
				values = append(values, column.ValueStr(row))
			}
			lines = append(lines, strings.Join(values, " "))
		}
	}
	slices.SortFunc(lines, cmp.Compare)
	fmt.Println(strings.Join(lines, "\n")) //nolint:forbidigo // what an example shows
}

// A read as of an instant; and one of some columns and rows, by a filter that leaves out
// files, row groups and pages too.
func ExampleTable_Read() {
	t := newCities(hudi.CreateOptions{})
	first := upsert(t, `[{"id": 1, "name": "Rom", "version": 1}, {"id": 2, "name": "Oslo", "version": 1}]`)
	upsert(t, `[{"id": 1, "name": "Roma", "version": 2}, {"id": 3, "name": "Lima", "version": 2}]`)

	ctx := context.Background()
	show(t.Read(ctx, hudi.ReadOptions{AsOf: first}))
	fmt.Println("-")
	show(t.Read(ctx, hudi.ReadOptions{
		Columns: []string{"name"},
		Filter:  hudi.Compare("version", hudi.Greater, scalar.NewInt64Scalar(1)),
	}))
	// Output:
	// 1 Rom 1
	// 2 Oslo 1
	// -
	// Lima
	// Roma
}

// Conditions on columns, as in SQL: a comparison with null is not true, nor is its negation.
func ExampleFilter() {
	t := newCities(hudi.CreateOptions{})
	upsert(t, `[{"id": 1, "name": "Roma", "version": 1}, {"id": 2, "name": "Oslo", "version": 2}, {"id": 3, "name": null, "version": 2}]`)
	for _, f := range []hudi.Filter{
		hudi.In("name", scalar.NewStringScalar("Roma"), scalar.NewStringScalar("Lima")),
		hudi.And(hudi.Compare("version", hudi.GreaterEqual, scalar.NewInt64Scalar(2)), hudi.Not(hudi.IsNull("name"))),
		hudi.Or(hudi.IsNull("name"), hudi.Compare("id", hudi.Equal, scalar.NewInt64Scalar(1))),
	} {
		show(t.Read(context.Background(), hudi.ReadOptions{Columns: []string{"id"}, Filter: f}))
		fmt.Println("-")
	}
	// Output:
	// 1
	// -
	// 2
	// -
	// 1
	// 3
	// -
}

// The columns that a table had, and the oldest commit as of which it can still be read.
func ExampleTable_SchemaAsOf() {
	ctx := context.Background()
	t := newCities(hudi.CreateOptions{Type: hudi.CopyOnWrite})
	first := upsert(t, `[{"id": 1, "name": "Roma", "version": 1}]`)
	_, err := t.RenameColumn(ctx, "name", "city")
	check(err)
	then, err := t.SchemaAsOf(ctx, first)
	check(err)
	fmt.Println(then.Field(1).Name, "then,", t.Schema().Field(1).Name, "now")

	oldest, err := t.OldestAsOf(ctx)
	check(err)
	fmt.Println(oldest == first)
	_, err = t.Clean(ctx, hudi.CleanOptions{RetainVersions: 1})
	check(err)
	oldest, err = t.OldestAsOf(ctx)
	check(err)
	fmt.Println(oldest == first)
	// Output:
	// name then, city now
	// true
	// false
}

// What commits changed: the rows that were written, or each row before and after.
func ExampleTable_Changes() {
	t := newCities(hudi.CreateOptions{})
	ctx := context.Background()
	first := upsert(t, `[{"id": 1, "name": "Rom", "version": 1}, {"id": 2, "name": "Oslo", "version": 1}]`)
	upsert(t, `[{"id": 1, "name": "Roma", "version": 2}]`)
	_, err := t.Delete(ctx, "2")
	check(err)

	show(t.Changes(ctx, hudi.ChangesOptions{From: first}))
	fmt.Println("-")
	show(t.Changes(ctx, hudi.ChangesOptions{From: first, Images: true}))
	// Output:
	// 1 Roma 2
	// -
	// delete {"id":2,"name":"Oslo","version":1} (null)
	// update {"id":1,"name":"Rom","version":1} {"id":1,"name":"Roma","version":2}
}

// Rows by their keys: the wanted columns, and which row each key has.
func ExampleTable_Lookup() {
	t := newCities(hudi.CreateOptions{Options: hudi.Options{Buckets: 4}})
	upsert(t, `[{"id": 1, "name": "Roma", "version": 1}, {"id": 2, "name": "Oslo", "version": 1}]`)

	found, row, err := t.Lookup(context.Background(), "", t.Bucket("2"), []string{"2"}, []string{"name"})
	check(err)
	defer found.Release()
	fmt.Println(found.Column(0).ValueStr(row[0]))
	// Output:
	// Oslo
}

// A table that Spark made, or anybody, is proved sound file by file and row by row.
func ExampleCheck() {
	ctx, store := context.Background(), mem.New()
	t, err := hudi.Create(ctx, store, hudi.CreateOptions{Name: "cities", Schema: cities, RecordKey: []string{"id"}, OrderingField: "version"})
	check(err)
	upsert(t, `[{"id": 1, "name": "Roma", "version": 1}]`)
	check(store.Put(ctx, "notes.txt", nil))

	report, err := hudi.Check(ctx, store, hudi.CheckOptions{})
	check(err)
	fmt.Println(report.Rows, "row, sound:", report.Sound())
	for _, f := range report.Faults {
		fmt.Println(f.File, f.What)
	}
	// Output:
	// 1 row, sound: false
	// notes.txt it is no file of a Hudi table
}
