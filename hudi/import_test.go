package hudi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
	pqfile "github.com/apache/arrow-go/v18/parquet/file"
	pqschema "github.com/apache/arrow-go/v18/parquet/schema"

	"lakefeed/storage"
	"lakefeed/storage/file"
	"lakefeed/storage/mem"
)

// importFiles are the files that testdata/import/make.py writes.
func importFiles(t *testing.T, names ...string) []ImportFile {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "import"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []ImportFile
	for _, n := range names {
		info, err := os.Stat(filepath.Join(dir, n))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, ImportFile{Name: n, Size: info.Size(), Open: func(ctx context.Context) (storage.Reader, error) { return store.Open(ctx, n) }})
	}
	return out
}

func importOptions(typ TableType) ImportOptions {
	return ImportOptions{CreateOptions: CreateOptions{Name: "imported", Type: typ, RecordKey: []string{"id"}}}
}

// imported reads rows as texts, in the order of their ids.
func imported(t *testing.T, table *Table, columns ...string) []string {
	t.Helper()
	type row struct {
		id   string
		text []string
	}
	var rows []row
	for batch, err := range table.Read(t.Context(), ReadOptions{Columns: append([]string{"id"}, columns...)}) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(batch.NumRows()) {
			r := row{id: fmt.Sprintf("%09s", batch.Column(0).ValueStr(i))}
			for _, col := range batch.Columns() {
				r.text = append(r.text, col.ValueStr(i))
			}
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.id, b.id) })
	var out []string
	for _, r := range rows {
		out = append(out, strings.Join(r.text, " "))
	}
	return out
}

// TestImport takes in files of several forms, with every value as it was.
func TestImport(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		store := newStore(t)
		opts := importOptions(typ)
		opts.Buckets, opts.Memory, opts.TempDir = 3, 1, t.TempDir()
		res, err := Import(t.Context(), store, importFiles(t, "legacy.parquet", "today.parquet"), opts)
		if err != nil {
			t.Fatal(err)
		}
		if res.Rows != 50 || res.Dropped != 0 {
			t.Errorf("got %+v", res)
		}
		table, err := Open(t.Context(), store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if i, _ := table.Timeline().Last(); i.Time != res.Instant || len(table.Timeline().Instants()) != 1 || table.Buckets() != 3 {
			t.Errorf("timeline %v", table.Timeline().Instants())
		}
		want := []string{
			"0 -1 0 0 1899-12-31T23:59:59.999999Z 2026-01-01T00:00:00Z 1500-01-01 01:02:00.000003 [] (null)",
			`1 -0.99 1000.003 1 1900-01-01T23:59:59.999999Z 2026-01-01T00:00:01Z 1500-01-02 01:02:01.000003 (null) (null)`,
			"2 -0.98 2000.006 512 1900-01-02T23:59:59.999999Z 2026-01-01T00:00:02Z 1500-01-03 01:02:02.000003 [0,1] (null)",
			"3 -0.97 3000.009 (null) 1900-01-03T23:59:59.999999Z 2026-01-01T00:00:03Z 1500-01-04 01:02:03.000003 [0,1,2] (null)",
		}
		got := imported(t, table, "d4", "d18", "d38", "at", "wall", "day", "clock", "list", "extra")
		diffLines(t, got[:4], want)
		diffLines(t, imported(t, table, "names", "nested", "tiny", "kind", "id16", "place", "extra")[28:32], []string{
			`28 [{"key":"k","value":28},{"key":"l","value":null}] {"a":28,"b":["x",null]} 28 green HBwcHBwcHBwcHBwcHBwcHA== (null) (null)`,
			`29 [{"key":"k","value":29},{"key":"l","value":null}] {"a":29,"b":["x",null]} 29 red HR0dHR0dHR0dHR0dHR0dHQ== ap south (null)`,
			`30 [{"key":"k","value":30},{"key":"l","value":null}] {"a":30,"b":["x",null]} (null) green Hh4eHh4eHh4eHh4eHh4eHg== eu 1.5`,
			`31 [{"key":"k","value":31},{"key":"l","value":null}] {"a":31,"b":["x",null]} (null) red Hx8fHx8fHx8fHx8fHx8fHw== us 1.5`,
		})
		if r := mustCheck(t, store, CheckOptions{}); len(r.Faults) > 0 || r.Rows != 50 {
			t.Errorf("check: %v", r.Faults)
		}
		checkPhysical(t, table)
	})
}

// checkPhysical looks that nothing was adopted that some engine reads wrong.
func checkPhysical(t *testing.T, table *Table) {
	t.Helper()
	for _, s := range table.Slices() {
		f, err := table.openFile(t.Context(), s.Base.Path())
		if err != nil {
			t.Fatal(err)
		}
		r, err := pqfile.NewParquetReader(io.NewSectionReader(f, 0, f.Size()))
		if err != nil {
			t.Fatal(err)
		}
		for i := range r.MetaData().Schema.NumColumns() {
			c := r.MetaData().Schema.Column(i)
			_, decimal := c.LogicalType().(pqschema.DecimalLogicalType)
			if c.PhysicalType() == parquet.Types.Int96 || decimal && c.PhysicalType() != parquet.Types.FixedLenByteArray {
				t.Errorf("column %s is %s", c.Path(), c.PhysicalType())
			}
		}
		if err := errors.Join(r.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestImportPartitioned(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	opts := importOptions(MergeOnRead)
	opts.PartitionBy, opts.HiveStyle, opts.OrderingField, opts.LastWins, opts.Memory = []string{"place"}, true, "seq", true, 1
	opts.TempDir = t.TempDir()
	res, err := Import(t.Context(), store, importFiles(t, "legacy.parquet", "today.parquet", "again.parquet"), opts)
	if err != nil {
		t.Fatal(err)
	}
	if res.Rows != 50 || res.Dropped != 3 {
		t.Errorf("got %+v", res)
	}
	table, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := table.Partitions(); !slices.Equal(got, []string{"place=" + defaultPartition, "place=ap south", "place=eu", "place=us"}) {
		t.Errorf("partitions %q", got)
	}
	diffLines(t, imported(t, table, "seq")[4:8], []string{"4 40", "5 9999", "6 60", "7 9999"})
	if r := mustCheck(t, store, CheckOptions{}); len(r.Faults) > 0 {
		t.Errorf("check: %v", r.Faults)
	}
	// The table goes on as any other.
	if _, err := table.DeleteFrom(t.Context(), map[string][]string{"place=eu": {"3"}}); err != nil {
		t.Fatal(err)
	}
	if got := len(imported(t, table)); got != 49 {
		t.Errorf("%d rows", got)
	}
}

// TestImportLastWins lets the last row of a key count where no ordering field is named.
func TestImportLastWins(t *testing.T) {
	t.Parallel()
	store, opts := newStore(t), importOptions(CopyOnWrite)
	opts.LastWins = true
	if _, err := Import(t.Context(), store, importFiles(t, "legacy.parquet", "again.parquet"), opts); err != nil {
		t.Fatal(err)
	}
	table, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	diffLines(t, imported(t, table, "seq")[4:8], []string{"4 40", "5 9999", "6 1", "7 9999"})
}

// An import that fails says why, and leaves nothing behind.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	for says, c := range map[string]struct {
		files  []string
		change func(*ImportOptions)
	}{
		`key "5" comes twice, in legacy.parquet and again.parquet`: {[]string{"legacy.parquet", "again.parquet"}, nil},
		"uint64.parquet: column u: a Hudi table has no type":       {[]string{"uint64.parquet"}, nil},
		"nanos.parquet: rows 0 to 0: column t: make timestamp[us":  {[]string{"nanos.parquet"}, nil},
		"column place is null in row 0":                            {[]string{"legacy.parquet"}, func(o *ImportOptions) { o.RecordKey = []string{"place"} }},
		`column "nope": the schema does not have it`:               {[]string{"legacy.parquet"}, func(o *ImportOptions) { o.RecordKey = []string{"nope"} }},
		"record key: missing":                                      {[]string{"legacy.parquet"}, func(o *ImportOptions) { o.RecordKey = nil }},
		"make.py is damaged: open base file":                       {[]string{"legacy.parquet", "make.py"}, nil},
		"there are no Parquet files":                               {nil, nil},
	} {
		store, opts := newStore(t), importOptions(MergeOnRead)
		if c.change != nil {
			c.change(&opts)
		}
		if _, err := Import(t.Context(), store, importFiles(t, c.files...), opts); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
		for info := range store.List(t.Context(), "", true) {
			t.Errorf("%s: %s is left", says, info.Name)
		}
	}
	store, opts := newStore(t), importOptions(MergeOnRead)
	put(t, store, "photo.jpg", "x")
	if _, err := Import(t.Context(), store, importFiles(t, "legacy.parquet"), opts); err == nil || !strings.Contains(err.Error(), "photo.jpg") {
		t.Errorf("into a folder in use: %v", err)
	}
	if _, _, err := store.Get(t.Context(), "photo.jpg"); err != nil {
		t.Error(err)
	}
}

// TestImportTwoLevelLists reads lists whose elements stand in no group of their own.
func TestImportTwoLevelLists(t *testing.T) {
	t.Parallel()
	elem := pqschema.NewInt32Node("array", parquet.Repetitions.Repeated, -1)
	list, err := pqschema.NewGroupNodeLogical("l", parquet.Repetitions.Optional, pqschema.FieldList{elem}, pqschema.NewListLogicalType(), -1)
	if err != nil {
		t.Fatal(err)
	}
	root, err := pqschema.NewGroupNode("schema", parquet.Repetitions.Required, pqschema.FieldList{pqschema.NewInt64Node("id", parquet.Repetitions.Required, -1), list}, -1)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := pqfile.NewParquetWriter(&out, root)
	group, err := w.AppendRowGroupChecked()
	if err != nil {
		t.Fatal(err)
	}
	ids, err := group.NextColumn()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ids.(*pqfile.Int64ColumnChunkWriter).WriteBatch([]int64{1, 2, 3}, nil, nil); err != nil {
		t.Fatal(err)
	}
	lists, err := group.NextColumn()
	if err != nil {
		t.Fatal(err)
	}
	// [7, 8], [], null
	if _, err := lists.(*pqfile.Int32ColumnChunkWriter).WriteBatch([]int32{7, 8}, []int16{2, 2, 1, 0}, []int16{0, 1, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(group.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	source := mem.New()
	put(t, source, "two.parquet", out.String())
	store := newStore(t)
	_, err = Import(t.Context(), store, []ImportFile{{Name: "two.parquet", Size: int64(out.Len()), Open: func(ctx context.Context) (storage.Reader, error) { return source.Open(ctx, "two.parquet") }}}, importOptions(CopyOnWrite))
	if err != nil {
		t.Fatal(err)
	}
	table, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	diffLines(t, imported(t, table, "l"), []string{"1 [7,8]", "2 []", "3 (null)"})
	f, _ := table.Schema().FieldsByName("l")
	if f[0].Type.(*arrow.ListType).ElemField().Nullable {
		t.Errorf("elements of %s may not be null", f[0].Type)
	}
}
