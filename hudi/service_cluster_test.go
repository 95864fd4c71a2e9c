package hudi

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
)

// metaRows are the rows' meta columns but for the file's name, by record key.
func metaRows(t *testing.T, table *Table) map[string]string {
	t.Helper()
	out := map[string]string{}
	for batch, err := range table.Read(t.Context(), ReadOptions{Meta: true}) {
		if err != nil {
			t.Fatal(err)
		}
		text := func(column, row int) string { return batch.Column(column).(*array.String).Value(row) }
		for row := range int(batch.NumRows()) {
			key := text(metaKey, row)
			if _, twice := out[key]; twice {
				t.Fatalf("key %s comes twice", key)
			}
			out[key] = text(metaCommitTime, row) + " " + text(metaSeqno, row) + " " + text(metaPartition, row)
		}
	}
	return out
}

// TestClusterJoinsSmallFiles writes file group upon file group, and makes one of them.
func TestClusterJoinsSmallFiles(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		table, err := Create(t.Context(), newStore(t), CreateOptions{
			Name: "small", Type: typ, Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq",
			Options: Options{Index: IndexSimple, SmallFileBytes: -1},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]modelRow{}
		for i := range 5 {
			rows := map[string]modelRow{}
			for k := range 10 {
				rows[fmt.Sprint("k", i, "-", k)] = modelRow{seq: int64(i), price: int64(100 - k), name: "n"}
			}
			rows["k0-0"] = modelRow{seq: int64(i), name: "again"} // on merge-on-read in a log
			mustUpsert(t, table, rows)
			maps.Copy(want, rows)
		}
		before, groups := metaRows(t, table), len(table.Slices())
		if groups < 5 {
			t.Fatalf("%d file groups", groups)
		}
		last, _ := table.Timeline().Last()
		res, err := table.Cluster(t.Context(), ClusterOptions{})
		if err != nil || res.Replaced != groups || res.Written != 1 || len(table.Slices()) != 1 {
			t.Fatalf("%+v, %v: %d groups of %d", res, err, len(table.Slices()), groups)
		}
		compareRows(t, mustRead(t, table, ReadOptions{}), want)
		if after := metaRows(t, table); !maps.Equal(before, after) {
			t.Error("meta columns changed")
		}
		compareRows(t, mustRead(t, table, ReadOptions{AsOf: last.Time}), want)
		if n := countChanges(t, table, last.Time); n != 0 {
			t.Errorf("%d changes come of it", n)
		}
		if res, err := table.Cluster(t.Context(), ClusterOptions{}); err != nil || res.Instant != "" {
			t.Errorf("again: %+v, %v", res, err)
		}
		mustUpsert(t, table, map[string]modelRow{"k3-3": {seq: 9}})
		want["k3-3"] = modelRow{seq: 9}
		compareRows(t, mustRead(t, table, ReadOptions{}), want)
	})
}

func countChanges(t *testing.T, table *Table, from string) (rows int64) {
	t.Helper()
	for batch, err := range table.Changes(t.Context(), ChangesOptions{From: from}) {
		if err != nil {
			t.Fatal(err)
		}
		rows += batch.NumRows()
	}
	return rows
}

// TestClusterSorts lays the rows of two files out by a column.
func TestClusterSorts(t *testing.T) {
	t.Parallel()
	table, err := Create(t.Context(), newStore(t), CreateOptions{
		Name: "sorted", Type: CopyOnWrite, Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq",
		Options: Options{Index: IndexSimple, SmallFileBytes: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		rows := map[string]modelRow{}
		for k := range 500 {
			rows[fmt.Sprint(i, "-", k)] = modelRow{price: int64((k*7919+i*31)%1000 - 500), data: "some data in each row"}
		}
		mustUpsert(t, table, rows)
	}
	if _, err := table.Cluster(t.Context(), ClusterOptions{SortBy: []string{"price"}, TargetFileBytes: 1, SortBytes: 10_000, TempDir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	var all []int64
	files := map[string][2]int64{} // of each the smallest and the greatest
	for batch, err := range table.Read(t.Context(), ReadOptions{Columns: []string{"_hoodie_file_name", "price"}, Parallel: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		for row := range int(batch.NumRows()) {
			file, price := batch.Column(0).(*array.String).Value(row), int64(batch.Column(1).(*array.Decimal128).Value(row).LowBits())
			span, known := files[file]
			if !known {
				span = [2]int64{price, price}
			}
			if price < span[1] {
				t.Fatalf("%d comes after %d in %s", price, span[1], file)
			}
			files[file] = [2]int64{span[0], price}
			all = append(all, price)
		}
	}
	spans := slices.SortedFunc(maps.Values(files), func(a, b [2]int64) int { return int(a[0] - b[0]) })
	for i := 1; i < len(spans); i++ {
		if spans[i][0] < spans[i-1][1] {
			t.Errorf("files overlap: %v and %v", spans[i-1], spans[i])
		}
	}
	if len(all) != 1500 || len(spans) < 2 {
		t.Errorf("%d rows in %d files", len(all), len(spans))
	}
	for _, bad := range []ClusterOptions{{SortBy: []string{"nothing"}}, {SortBy: []string{"price", ""}}} {
		if _, err := table.Cluster(t.Context(), bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
