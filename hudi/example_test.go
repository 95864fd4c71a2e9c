package hudi_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi"
	"lakefeed/storage/mem"
)

// schema of a small table of cities.
var cities = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "version", Type: arrow.PrimitiveTypes.Int64},
}, nil)

// rows makes a record of JSON.
func rows(json string) arrow.RecordBatch {
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, cities, strings.NewReader(json))
	if err != nil {
		log.Fatal(err)
	}
	return rec
}

// A table is made, written twice, and read. On a disk the store would be
// file.Open("/data/lake/cities").
func Example() {
	ctx := context.Background()
	table, err := hudi.Create(ctx, mem.New(), hudi.CreateOptions{
		Name: "cities", Schema: cities, RecordKey: []string{"id"}, OrderingField: "version",
	})
	check(err)
	_, err = table.Upsert(ctx, rows(`[{"id": 1, "name": "Rom", "version": 1}, {"id": 2, "name": "Oslo", "version": 1}]`))
	check(err)
	_, err = table.Upsert(ctx, rows(`[{"id": 1, "name": "Roma", "version": 2}, {"id": 3, "name": "Lima", "version": 2}]`))
	check(err)
	_, err = table.Delete(ctx, "2")
	check(err)
	for batch, err := range table.Read(ctx, hudi.ReadOptions{Columns: []string{"id", "name"}}) {
		check(err)
		for i := range int(batch.NumRows()) {
			fmt.Println(batch.Column(0).ValueStr(i), batch.Column(1).ValueStr(i))
		}
	}
	// Unordered output:
	// 1 Roma
	// 3 Lima
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
