package hudi

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/timeline"
)

// TestPoints reads as of, and changes between, points that are given as people do.
func TestPoints(t *testing.T) {
	t.Parallel()
	table := newTable(t, newStore(t), CopyOnWrite, 1)
	var at []string
	for i := range 3 {
		at = append(at, mustUpsert(t, table, map[string]modelRow{fmt.Sprint("k", i): {}}))
	}
	parsed, err := timeline.ParseTime(at[1])
	if err != nil {
		t.Fatal(err)
	}
	for point, want := range map[string]int{
		"": 3, at[1]: 2, parsed.Format(time.RFC3339Nano): 2, parsed.In(time.FixedZone("", 7200)).Format(time.RFC3339Nano): 2,
		"2000-01-01": 0, "2999-12-31": 3, "2999-12-31 12:00": 3,
	} {
		if got := mustRead(t, table, ReadOptions{AsOf: point}); len(got) != want {
			t.Errorf("as of %q: %d rows, want %d", point, len(got), want)
		}
		if got := changedRows(t, table, ChangesOptions{To: point}); len(got) != want {
			t.Errorf("changes to %q: %d rows, want %d", point, len(got), want)
		}
		if got := changedRows(t, table, ChangesOptions{From: point}); point != "" && len(got) != 3-want {
			t.Errorf("changes from %q: %d rows, want %d", point, len(got), 3-want)
		}
	}
	for _, point := range []string{"000", "0", "earliest"} {
		if got := changedRows(t, table, ChangesOptions{From: point}); len(got) != 3 {
			t.Errorf("changes from %q: %d rows, want 3", point, len(got))
		}
	}
}

// TestPointsRefused is told apart from a point at which there was nothing.
func TestPointsRefused(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	table := newTable(t, newStore(t), CopyOnWrite, 1)
	at := mustUpsert(t, table, map[string]modelRow{"k": {}})
	read := func(opts ReadOptions) error {
		_, err := readModel(ctx, table, opts)
		return err
	}
	changes := func(opts ChangesOptions) error {
		for _, err := range table.Changes(ctx, opts) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	for _, point := range []string{"bogus", "now", " " + at, at + "x", "20261127"} {
		_, pinned := table.Pin(ctx, point, time.Hour)
		_, ofSchema := table.SchemaAsOf(ctx, point)
		for what, err := range map[string]error{
			"read": read(ReadOptions{AsOf: point}), "pinned read": read(ReadOptions{AsOf: point, Pin: time.Hour}),
			"changes from": changes(ChangesOptions{From: point}), "changes to": changes(ChangesOptions{To: point}), "pin": pinned, "schema": ofSchema,
		} {
			if err == nil {
				t.Errorf("%s of %q is no error", what, point)
			}
		}
	}
	for what, err := range map[string]error{
		"batches below zero":   read(ReadOptions{BatchRows: -1}),
		"parallel below zero":  read(ReadOptions{Parallel: -1}),
		"changes, below zero":  changes(ChangesOptions{BatchRows: -1}),
		"restored to anything": func() error { _, err := table.Restore(ctx, ""); return err }(),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if pins, err := table.Pins(ctx); err != nil || len(pins) > 0 {
		t.Errorf("pins %v, %v", pins, err)
	}
}

// TestUnknownColumns refuses rows of which a column would be lost.
func TestUnknownColumns(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	table := newTable(t, newStore(t), CopyOnWrite, 1)
	rows := modelBatch([]string{"k"}, map[string]modelRow{"k": {}}, table.Schema())
	withColumn := func(name string, col arrow.Array) arrow.RecordBatch {
		fields := append(slices.Clone(rows.Schema().Fields()), arrow.Field{Name: name, Type: col.DataType(), Nullable: true})
		return array.NewRecordBatch(arrow.NewSchema(fields, nil), append(slices.Clone(rows.Columns()), col), rows.NumRows())
	}
	writes := map[string]func(arrow.RecordBatch) error{
		"upsert":    func(b arrow.RecordBatch) error { _, err := table.Upsert(ctx, b); return err },
		"insert":    func(b arrow.RecordBatch) error { _, err := table.Insert(ctx, b); return err },
		"overwrite": func(b arrow.RecordBatch) error { _, err := table.InsertOverwriteTable(ctx, b); return err },
	}
	for _, name := range slices.Sorted(maps.Keys(writes)) {
		for column, col := range map[string]arrow.Array{"extra": rows.Column(0), rows.ColumnName(0): rows.Column(0)} {
			wrong, ok := errors.AsType[*SchemaError](writes[name](withColumn(column, col)))
			if !ok || wrong.Column != column {
				t.Errorf("%s with another column %s: %v", name, column, wrong)
			}
		}
		if err := writes[name](withColumn("_hoodie_commit_time", rows.Column(0))); err != nil {
			t.Errorf("%s of rows that were read with their meta columns: %v", name, err)
		}
	}
}

// TestImagesOfMovedRows tells consumers that go by the key alone of the delete first.
func TestImagesOfMovedRows(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		table := keyTable(t, typ, newKeyStore(t))
		from := ""
		for seq, places := range [][2]string{{"us", "de"}, {"de", "us"}} {
			var err error
			last := from
			if from, err = table.Upsert(t.Context(), placeBatch(placeRow{"a", places[0], 0, int64(seq)}, placeRow{"b", places[1], 0, int64(seq)})); err != nil {
				t.Fatal(err)
			}
			if seq == 0 {
				continue
			}
			var ops []string
			for batch, err := range table.Changes(t.Context(), ChangesOptions{From: last, Images: true}) {
				if err != nil {
					t.Fatal(err)
				}
				for row := range int(batch.NumRows()) {
					ops = append(ops, batch.Column(0).ValueStr(row))
				}
			}
			if want := []string{OpDelete, OpDelete, OpInsert, OpInsert}; !slices.Equal(ops, want) {
				t.Errorf("%v, want %v", ops, want)
			}
		}
	})
}

// TestCreateOptionsNameColumnsOnce refuses columns that are there twice, and ones that order nothing.
func TestCreateOptionsNameColumnsOnce(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*CreateOptions){
		"record key id,id: a column is there twice":         func(o *CreateOptions) { o.RecordKey = []string{"id", "id"} },
		"partition p,p: a column is there twice":            func(o *CreateOptions) { o.PartitionBy = []string{"p", "p"} },
		"values of struct<x: int32 nullable> have no order": func(o *CreateOptions) { o.OrderingField = "s" },
		"column \"seq2\": the schema does not have it":      func(o *CreateOptions) { o.OrderingField = "seq2" },
	} {
		o := CreateOptions{
			Name: "model", RecordKey: []string{"id"}, OrderingField: "seq",
			Schema: evolvingSchema([]arrow.Field{nullable("p", testText), nullable("s", arrow.StructOf(nullable("x", testInt)))}),
		}
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
