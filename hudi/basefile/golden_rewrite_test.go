package basefile

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/basetest"
	"lakefeed/hudi/schema"
	"lakefeed/internal/golden"
)

// Base files of Spark's writers, whose lists have two levels or three, hold what they held when they are rewritten, with a row
// less or not. Columns of integers, which Spark and Arrow annotate in two ways, would have each file decoded: some are left out.
func TestGoldenRewrites(t *testing.T) {
	t.Parallel()
	fields := []arrow.Field{
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "score", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "price", Type: &arrow.Decimal128Type{Precision: 18, Scale: 4}, Nullable: true},
		{Name: "ts", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "later", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
	}
	flat := schema.ArrowWithMeta(arrow.NewSchema(fields, nil))
	all := schema.ArrowWithMeta(arrow.NewSchema(append(fields, arrow.Field{Name: "k", Type: arrow.PrimitiveTypes.Int32, Nullable: true}), nil))
	forms := map[string]bool{}
	for _, name := range []string{"v6_120_mor_none_nomdt", "v9_120_mor_plain_mdt_bucket"} {
		root := filepath.Join(golden.Unpack(t, name), "table")
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".parquet" {
				return err
			}
			if d.Name()[0] == '.' || filepath.Base(filepath.Dir(path)) == "files" {
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, sc := range []*arrow.Schema{flat, all} {
				for _, less := range []int{0, 1} {
					forms[goldenRewrite(t, d.Name(), data, sc, less)] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := slices.Sorted(maps.Keys(forms)); !slices.Equal(got, []string{"tags.array", "tags.list.element"}) {
		t.Errorf("the lists of these files are stored as %v", got)
	}
}

// goldenRewrite rewrites a file without its first rows, compares, and returns how its lists are stored.
func goldenRewrite(t *testing.T, name string, data []byte, sc *arrow.Schema, less int) (form string) {
	t.Helper()
	var want, gone []string
	for _, batch := range readFile(t, data, sc) {
		for row := range int(batch.NumRows()) {
			if len(gone) < less {
				gone = append(gone, batch.Column(2).(*array.String).Value(row))
				continue
			}
			want = append(want, basetest.RowJSON(batch, row))
		}
	}
	var got []string
	for _, batch := range readFile(t, rewrite(t, testOptions(t, sc), data, name, gone), sc) {
		for row := range int(batch.NumRows()) {
			got = append(got, basetest.RowJSON(batch, row))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s without %q: %d rows, want %d", name, gone, len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s without %q:\ngot  %s\nwant %s", name, gone, got[i], want[i])
		}
	}
	f, err := openParquet(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range f.leaves {
		if topColumn(l.path) == "tags" {
			form = l.path
		}
	}
	return form
}
