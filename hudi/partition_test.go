package hudi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/timeline"
)

// placeSchema is that of tables whose rows lie in places.
var placeSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.BinaryTypes.String},
	{Name: "place", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
	{Name: "seq", Type: arrow.PrimitiveTypes.Int64},
}, nil)

type placeRow struct {
	id, place string // place "" is null
	day       int32
	seq       int64
}

func placeBatch(rows ...placeRow) arrow.RecordBatch {
	b := array.NewRecordBuilder(column.Allocator, placeSchema)
	defer b.Release()
	for _, r := range rows {
		b.Field(0).(*array.StringBuilder).Append(r.id)
		if r.place == "" {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(r.place)
		}
		b.Field(2).(*array.Date32Builder).Append(arrow.Date32(r.day))
		b.Field(3).(*array.Int64Builder).Append(r.seq)
	}
	return b.NewRecordBatch()
}

// readPlaces reads rows as "partition id seq", in order.
func readPlaces(t *testing.T, table *Table, opts ReadOptions) []string {
	t.Helper()
	out := []string{}
	opts.Columns = []string{"_hoodie_partition_path", "id", "seq"}
	for batch, err := range table.Read(t.Context(), opts) {
		if err != nil {
			t.Fatal(err)
		}
		for row := range int(batch.NumRows()) {
			out = append(out, fmt.Sprintf("%s %s %s", batch.Column(0).ValueStr(row), batch.Column(1).ValueStr(row), batch.Column(2).ValueStr(row)))
		}
	}
	slices.Sort(out)
	return out
}

func placeOptions(typ TableType) CreateOptions {
	return CreateOptions{
		Name: "places", Type: typ, Schema: placeSchema, RecordKey: []string{"id"}, OrderingField: "seq",
		PartitionBy: []string{"place"}, HiveStyle: true, Options: Options{Buckets: 2},
	}
}

func TestPartitionPaths(t *testing.T) {
	t.Parallel()
	day := int32(time.Date(2026, 2, 28, 0, 0, 0, 0, time.UTC).Unix() / 86400)
	for _, c := range []struct {
		p     partitioning
		place string
		want  string // or an error
	}{
		{partitioning{}, "eu", ""},
		{partitioning{[]string{"place"}, false, false}, "ap south", "ap south"},
		{partitioning{[]string{"place"}, true, false}, "ap south", "place=ap south"},
		{partitioning{[]string{"place"}, false, false}, "", defaultPartition},
		{partitioning{[]string{"place"}, true, true}, "", "place=" + defaultPartition},
		{partitioning{[]string{"place", "day"}, true, false}, "eu", "place=eu/day=2026-02-28"},
		{partitioning{[]string{"day", "place"}, false, true}, "a/b:c%\x01ä", "2026-02-28/a%2Fb%3Ac%25%01ä"},
		{partitioning{[]string{"place"}, false, false}, "a/b", "URLEncode"},
		{partitioning{[]string{"place"}, true, false}, "a\x01b", "URLEncode"},
		{partitioning{[]string{"place"}, true, false}, "a\x7f", "URLEncode"},
		{partitioning{[]string{"place"}, true, true}, "a\x1f\x7f", "place=a%1F%7F"},
		{partitioning{[]string{"place"}, true, true}, "a\x00b", "NUL"},
		{partitioning{[]string{"place"}, true, false}, "a\x00b", "NUL"},
		{partitioning{[]string{"place"}, true, true}, "a\xff", "not UTF-8"},
		{partitioning{[]string{"place"}, false, true}, "..", "HiveStyle"},
		{partitioning{[]string{"place"}, false, false}, ".hoodie", "HiveStyle"},
		{partitioning{[]string{"place"}, true, true}, "..", "place=.."},
		{partitioning{[]string{"nope"}, false, false}, "eu", "no column nope"},
		{partitioning{[]string{"place"}, true, true}, strings.Repeat("x", 249), "place=" + strings.Repeat("x", 249)},
		{partitioning{[]string{"place"}, true, true}, strings.Repeat("x", 250), "256 bytes long"},
		{partitioning{[]string{"place"}, true, true}, strings.Repeat("/", 84), "258 bytes long"},
	} {
		got, err := c.p.paths(placeBatch(placeRow{id: "a", place: c.place, day: day}))
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v of %q: %v, want %s", c.p, c.place, err, c.want)
			}
			continue
		}
		if got.Value(0) != c.want {
			t.Errorf("%+v of %q: got %q, want %q", c.p, c.place, got.Value(0), c.want)
		}
	}
}

func TestPartitionedCreate(t *testing.T) {
	t.Parallel()
	opts := placeOptions(MergeOnRead)
	opts.PartitionBy = []string{"place", "day"}
	single, err := Create(t.Context(), newStore(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	if p := single.Properties(); p[propKeyGenerator] != keygenComplex || p[propKeyEncoding] != "true" || p.checkServable() != nil {
		t.Errorf("one key column, two partition columns: %v, %v", p, p.checkServable())
	} else if delete(p, propKeyEncoding); p.checkServable() == nil {
		t.Error("a table would be written that does not say how its keys are encoded")
	}
	opts.RecordKey = []string{"id", "seq"}
	table, err := Create(t.Context(), newStore(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	p := table.Properties()
	if p[propPartition] != "place,day" || p[propKeyGenerator] != keygenComplex || p[propHiveStyle] != "true" || p[propURLEncode] != "false" {
		t.Errorf("properties %v", p)
	}
	if _, err := table.Upsert(t.Context(), placeBatch(placeRow{"a", "eu", 0, 1})); err != nil {
		t.Fatal(err)
	}
	if got := table.Partitions(); !slices.Equal(got, []string{"place=eu/day=1970-01-01"}) {
		t.Errorf("partitions %q", got)
	}
	mark, _, err := table.store.Get(t.Context(), "place=eu/day=1970-01-01/"+partitionFile)
	if err != nil || !strings.HasSuffix(string(mark), "\npartitionDepth=2\n") {
		t.Errorf("mark %q, %v", mark, err)
	}
}

// TestPartitionedTable goes through the life of a partitioned table.
func TestPartitionedTable(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, store := t.Context(), newStore(t)
		table, err := Create(ctx, store, placeOptions(typ))
		if err != nil {
			t.Fatal(err)
		}
		first, err := table.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 1}, placeRow{"a", "us", 0, 1}, placeRow{"b", "us", 0, 1}, placeRow{"c", "", 0, 1}, placeRow{"a", "eu", 0, 2}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "us", 0, 3}, placeRow{"d", "eu", 0, 3})); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Delete(ctx, "a"); err == nil || !strings.Contains(err.Error(), "DeleteFrom") {
			t.Errorf("delete without a partition: %v", err)
		}
		if _, err := table.DeleteFrom(ctx, map[string][]string{"place=eu": {"a", "x"}, "place=us": {"b"}, "place=nowhere": {"a"}}); err != nil {
			t.Fatal(err)
		}
		want := []string{"place=" + defaultPartition + " c 1", "place=eu d 3", "place=us a 3"}
		was := []string{"place=" + defaultPartition + " c 1", "place=eu a 2", "place=us a 1", "place=us b 1"}
		for range 2 {
			diffLines(t, readPlaces(t, table, ReadOptions{}), want)
			diffLines(t, readPlaces(t, table, ReadOptions{Partitions: []string{"place=eu", "place=none"}}), want[1:2])
			diffLines(t, readPlaces(t, table, ReadOptions{AsOf: first}), was)
			if table, err = Open(ctx, store, Options{}); err != nil {
				t.Fatal(err)
			}
		}
		rec, at, err := table.Lookup(ctx, "place=us", table.Bucket("a"), []string{"a"}, []string{"seq"})
		if err != nil || at[0] != 0 || rec.Column(0).ValueStr(0) != "3" {
			t.Errorf("lookup: %v, row %v, %v", rec, at, err)
		}
		if _, err := table.Compact(ctx, CompactOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Upsert(ctx, placeBatch(placeRow{"e", "eu", 0, 4})); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Compact(ctx, CompactOptions{}); err != nil {
			t.Fatal(err)
		}
		res, err := table.Clean(ctx, CleanOptions{RetainCommits: 1})
		if err != nil || res.Files == 0 {
			t.Errorf("cleaned %+v, %v", res, err)
		}
		want = append(want, "place=eu e 4")
		slices.Sort(want)
		diffLines(t, readPlaces(t, table, ReadOptions{}), want)
		if table, err = Open(ctx, store, Options{}); err != nil {
			t.Fatal(err)
		}
		diffLines(t, readPlaces(t, table, ReadOptions{}), want)
		if _, err := table.Upsert(ctx, placeBatch(placeRow{"f", "a/b", 0, 5})); err == nil {
			t.Error("a value with a slash made folders")
		}
	})
}

// TestPartitionedRollback takes back a transaction that crashed within partitions.
func TestPartitionedRollback(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, store := t.Context(), newStore(t)
		table, err := Create(ctx, store, placeOptions(typ))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 1})); err != nil {
			t.Fatal(err)
		}
		x, err := table.Begin(ctx, TxnOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range []string{"eu", "us"} {
			g, err := x.Group(ctx, "place="+place, table.Bucket("a"))
			if err != nil {
				t.Fatal(err)
			}
			keys, err := RecordKeys(placeBatch(placeRow{"a", place, 0, 2}), []string{"id"})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(g.Upsert(ctx, placeBatch(placeRow{"a", place, 0, 2}), keys), g.Close(ctx)); err != nil {
				t.Fatal(err)
			}
		}
		other, err := Open(ctx, store, Options{Concurrency: Concurrency{Exclusive: true}}) // x is left as a crash leaves it
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Recover(ctx); err != nil {
			t.Fatal(err)
		}
		diffLines(t, readPlaces(t, other, ReadOptions{}), []string{"place=eu a 1"})
		for _, f := range other.view.groups(nil) {
			for _, f := range f.files() {
				if !f.IsLog() && f.Instant == x.Instant() {
					t.Errorf("%s is left", f.Path())
				}
			}
		}
		last := other.Timeline().Instants()
		data, err := other.readInstant(ctx, last[len(last)-1])
		if err != nil {
			t.Fatal(err)
		}
		m, err := timeline.DecodeRollbackMetadata(data)
		if err != nil || len(m.PartitionMetadata) != 2 || m.PartitionMetadata["place=us"].PartitionPath != "place=us" {
			t.Errorf("rollback says %+v, %v", m, err)
		}
		if _, err := other.Upsert(ctx, placeBatch(placeRow{"a", "us", 0, 5})); err != nil {
			t.Fatal(err)
		}
		diffLines(t, readPlaces(t, other, ReadOptions{}), []string{"place=eu a 1", "place=us a 5"})
	})
}

// TestWriteRefusesKeyGenerators opens tables whose keys are made in ways of their own,
// and refuses to write them.
func TestWriteRefusesKeyGenerators(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]string{
		propKeyGenerator:   "org.apache.hudi.keygen.TimestampBasedKeyGenerator",
		propMetafileFormat: "true",
	} {
		store := newStore(t)
		table, err := Create(t.Context(), store, placeOptions(CopyOnWrite))
		if err != nil {
			t.Fatal(err)
		}
		setProperties(t, store, Properties{key: value})
		var unsupported *UnsupportedError
		if _, err := table.Upsert(t.Context(), placeBatch(placeRow{"a", "eu", 0, 1})); !errors.As(err, &unsupported) || unsupported.Value != value {
			t.Errorf("%s=%s: %v", key, value, err)
		}
		if _, err := Open(t.Context(), store, Options{Buckets: 2}); err != nil {
			t.Error(err)
		}
	}
}
