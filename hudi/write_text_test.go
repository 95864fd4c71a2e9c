package hudi

import (
	"context"
	"errors"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
)

var textSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.BinaryTypes.String},
	{Name: "seq", Type: arrow.PrimitiveTypes.Int64},
	{Name: "note", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
}, nil)

func newTextTable(t *testing.T, typ TableType) *Table {
	t.Helper()
	table, err := Create(t.Context(), newStore(t), CreateOptions{
		Name: "texts", Type: typ, Schema: textSchema, RecordKey: []string{"id"}, OrderingField: "seq",
		Options: Options{Services: &ServicesOptions{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// textBatch has a row for each three texts: an id, a note and a tag.
func textBatch(texts ...string) arrow.RecordBatch {
	b := array.NewRecordBuilder(column.Allocator, textSchema)
	defer b.Release()
	for i := 0; i < len(texts); i += 3 {
		b.Field(0).(*array.StringBuilder).Append(texts[i])
		b.Field(1).(*array.Int64Builder).Append(1)
		b.Field(2).(*array.StringBuilder).Append(texts[i+1])
		b.Field(3).(*array.ListBuilder).Append(true)
		b.Field(3).(*array.ListBuilder).ValueBuilder().(*array.StringBuilder).Append(texts[i+2])
	}
	return b.NewRecordBatch()
}

// readTexts are the notes by their ids.
func readTexts(t *testing.T, table *Table) map[string]string {
	t.Helper()
	out := map[string]string{}
	for batch, err := range table.Read(t.Context(), ReadOptions{Columns: []string{"id", "note"}}) {
		if err != nil {
			t.Fatal(err)
		}
		for row := range int(batch.NumRows()) {
			out[batch.Column(0).(*array.String).Value(row)] = batch.Column(1).(*array.String).Value(row)
		}
	}
	return out
}

// TestTextNotUTF8 refuses rows whose text is none, in a column, within one and in the key, by
// whichever way they come, and says which.
func TestTextNotUTF8(t *testing.T) {
	t.Parallel()
	writes := map[string]func(ctx context.Context, table *Table, rows arrow.RecordBatch) error{
		"upsert": func(ctx context.Context, table *Table, rows arrow.RecordBatch) error {
			_, err := table.Upsert(ctx, rows)
			return err
		},
		"insert": func(ctx context.Context, table *Table, rows arrow.RecordBatch) error {
			_, err := table.Insert(ctx, rows)
			return err
		},
		"bulk insert": func(ctx context.Context, table *Table, rows arrow.RecordBatch) error {
			_, err := table.BulkInsert(ctx, func(yield func(arrow.RecordBatch, error) bool) { yield(rows, nil) }, BulkOptions{})
			return err
		},
		"overwrite": func(ctx context.Context, table *Table, rows arrow.RecordBatch) error {
			_, err := table.InsertOverwriteTable(ctx, rows)
			return err
		},
	}
	for _, c := range []struct {
		says string
		rows arrow.RecordBatch
	}{
		{`row with key "b": text in column note is not UTF-8`, textBatch("a", "é", "x", "b", "caf\xe9", "x")},
		{`row with key "b": text in column tags is not UTF-8`, textBatch("a", "é", "x", "b", "x", "\xe9")},
		{`row with key "\xff": text in column id is not UTF-8`, textBatch("a", "é", "x", "\xff", "x", "x")},
		{`row with key "a": text in column note is not UTF-8`, textBatch("a", "\xc3", "x", "b", "\xa9", "x")}, // halves of a character
		{`row with key "a": text in column tags is not UTF-8`, textBatch("a", "x", "\xc3", "b", "x", "\xa9")},
	} {
		for what, write := range writes {
			table := newTextTable(t, MergeOnRead)
			err := write(t.Context(), table, c.rows)
			if row := new(RowError); !errors.As(err, &row) || row.Reason != c.says {
				t.Errorf("%s: got %v, want %s", what, err, c.says)
			}
			if got := readTexts(t, table); len(got) != 0 {
				t.Errorf("%s: %q", what, got)
			}
		}
	}
}

// TestKeyNotUTF8 refuses a key that its caller made of something else.
func TestKeyNotUTF8(t *testing.T) {
	t.Parallel()
	table := newTextTable(t, CopyOnWrite)
	x, err := table.Begin(t.Context(), TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := x.Group(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	err = g.Upsert(t.Context(), textBatch("a", "x", "x"), column.Repeat("\xff", 1).(*array.String))
	if row := new(RowError); !errors.As(err, &row) || row.Reason != `row with key "\xff": its key is not UTF-8` || row.Twice {
		t.Errorf("got %v", err)
	}
	if err := x.Abort(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestOldTextNotUTF8 lets a table have what another writer took for text: services keep it as it
// is, and it is in nobody's way.
func TestOldTextNotUTF8(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, table := t.Context(), newTextTable(t, typ)
		_, err := table.Upsert(ctx, textBatch("a", "x", "x", "b", "x", "x"))
		if err == nil {
			_, err = table.Rewrite(ctx, nil, nil, func(arrow.RecordBatch) (arrow.RecordBatch, error) {
				return textBatch("a", "caf\xe9", "x", "b", "x", "x"), nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		for what, do := range map[string]func() error{
			"upsert":  func() error { _, err := table.Upsert(ctx, textBatch("c", "x", "x")); return err },
			"compact": func() error { _, err := table.Compact(ctx, CompactOptions{}); return err },
			"cluster": func() error { _, err := table.Cluster(ctx, ClusterOptions{SortBy: []string{"note"}}); return err },
			"convert": func() error { return table.Convert(ctx, ConvertOptions{Buckets: 2}) },
		} {
			if err := do(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if got := readTexts(t, table); len(got) != 3 || got["a"] != "caf\xe9" {
			t.Errorf("%q", got)
		}
		if _, err := table.Upsert(ctx, textBatch("a", "café", "x")); err != nil || readTexts(t, table)["a"] != "café" {
			t.Errorf("it was mended to %q, %v", readTexts(t, table)["a"], err)
		}
	})
}
