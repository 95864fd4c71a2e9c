package parity_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi"
	"lakefeed/parity"
	"lakefeed/storage/file"
)

// spliceSchema has columns that Spark reads by dictionary, by page index and in nests.
var spliceSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "n", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "price", Type: &arrow.Decimal128Type{Precision: 12, Scale: 2}, Nullable: true},
	{Name: "body", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
	{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
	{Name: "_event_lsn", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
}, nil)

// spliceRows makes rows of some ids; what is null changes from version to version.
func spliceRows(ids []int64, version int64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, spliceSchema)
	defer b.Release()
	for _, id := range ids {
		b.Field(0).(*array.Int64Builder).Append(id)
		if n := id + version; n%5 == 0 {
			b.Field(1).AppendNull()
			b.Field(4).AppendNull()
		} else {
			b.Field(1).(*array.Int32Builder).Append(int32(n))
			tags := b.Field(4).(*array.ListBuilder)
			tags.Append(true)
			for i := range n % 4 {
				tags.ValueBuilder().(*array.StringBuilder).Append("t" + strconv.FormatInt(i, 10))
			}
		}
		b.Field(2).(*array.Decimal128Builder).Append(decimal128.FromI64(id*7 - version))
		b.Field(3).(*array.StringBuilder).Append(strings.Repeat("text of "+strconv.FormatInt(id%97, 10), int(id%9)))
		b.Field(5).(*array.TimestampBuilder).Append(arrow.Timestamp(1_767_225_600_000_000 + id*1_000_001 + version))
		b.Field(6).(*array.Int64Builder).Append(version)
	}
	return b.NewRecordBatch()
}

const spliceIDs = 4000

// splice upserts and deletes random rows, round after round, so that base files are
// spliced of ones that were spliced.
func splice(t *testing.T, table *hudi.Table, rnd *rand.Rand, rounds int) {
	t.Helper()
	for round := range rounds {
		ids := map[int64]bool{}
		for range 1 + rnd.IntN(60) {
			ids[1+rnd.Int64N(spliceIDs+200)] = true
		}
		if _, err := table.Upsert(t.Context(), spliceRows(slices.Sorted(maps.Keys(ids)), rnd.Int64N(1000))); err != nil {
			t.Fatal(err)
		}
		if round%3 == 2 {
			if _, err := table.Delete(t.Context(), strconv.FormatInt(1+rnd.Int64N(spliceIDs), 10), strconv.FormatInt(1+rnd.Int64N(spliceIDs), 10)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSplicedTables has every engine read tables whose base files were spliced many
// times, and filter them; Spark upserts into them and compacts; we go on from there.
func TestSplicedTables(t *testing.T) {
	parity.Engines(t)
	for _, release := range []string{"1.2.0", "0.15.0"} {
		for _, typ := range []hudi.TableType{hudi.CopyOnWrite, hudi.MergeOnRead} {
			t.Run(release+" "+string(typ), func(t *testing.T) {
				spliced(t, parity.Spark(t, release), typ)
			})
		}
	}
}

func spliced(t *testing.T, e *parity.Engine, typ hudi.TableType) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spliced")
	rnd := rand.New(rand.NewPCG(8, uint64(len(typ))))
	table := createSpliced(t, path, typ)
	splice(t, table, rnd, 20)
	if typ == hudi.MergeOnRead {
		compact(t, path)
		splice(t, openTable(t, path), rnd, 5)
		compact(t, path)
	}
	rows := agreed(t, path, parity.Read{})
	checkSparkFilters(t, e, path, rows)

	opts := sparkOptions("spliced", "id", 2)
	one := byID(t, rows, "5").with("n", "-5").with("body", `"spark"`)
	want := append(without(t, rows, "5"), one.String())
	if err := e.WriteExactly(t.Context(), path, "upsert", []string{one.String()}, opts); err != nil {
		t.Fatal(err)
	}
	if typ == hudi.MergeOnRead {
		for _, op := range []string{"schedule", "run"} {
			if _, err := e.SQL(t.Context(), path, fmt.Sprintf("CALL run_compaction(op => '%s', path => '{path}')", op), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if d := parity.Diff(want, agreed(t, path, parity.Read{})); d != "" {
		t.Errorf("after Spark: %s", d)
	}
	splice(t, openTable(t, path), rnd, 6) // base files that Spark wrote
	if typ == hudi.MergeOnRead {
		compact(t, path)
	}
	checkSparkFilters(t, e, path, agreed(t, path, parity.Read{}))
}

func createSpliced(t *testing.T, path string, typ hudi.TableType) *hudi.Table {
	t.Helper()
	store, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	table, err := hudi.Create(context.Background(), store, hudi.CreateOptions{
		Name: "spliced", Type: typ, Schema: spliceSchema, RecordKey: []string{"id"}, OrderingField: "_event_lsn",
		Options: hudi.Options{Buckets: 2, RowGroupBytes: 200 << 10},
	})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int64, spliceIDs)
	for i := range ids {
		ids[i] = int64(i) + 1
	}
	if _, err := table.Upsert(t.Context(), spliceRows(ids, 0)); err != nil {
		t.Fatal(err)
	}
	return table
}

// checkSparkFilters compares what Spark finds by the statistics of row groups and pages
// with what it finds without them, in base files of all versions.
func checkSparkFilters(t *testing.T, e *parity.Engine, path string, rows []string) {
	t.Helper()
	for _, where := range []string{"id = 77", "n between 100 and 120", "price < 3.5", "body is null", "_hoodie_record_key = '1234'", "at > timestamp '2026-01-01 01:00:00'"} {
		var counts [2]string
		for i, filter := range []string{"true", "false"} {
			got, err := e.SQL(t.Context(), path, "select count(*) c, sum(id) s from parquet.`{path}` where "+where, parity.Options{"spark.sql.parquet.filterPushdown": filter})
			if err != nil {
				t.Fatal(err)
			}
			counts[i] = strings.Join(got, "\n")
		}
		if counts[0] != counts[1] || len(rows) == 0 {
			t.Errorf("where %s: %s with statistics, %s without", where, counts[0], counts[1])
		}
	}
}
