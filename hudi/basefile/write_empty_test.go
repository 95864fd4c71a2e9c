package basefile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lakefeed/hudi/internal/basetest"
	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/schema"
)

func emptyTextSchema() *arrow.Schema {
	return schema.ArrowWithMeta(arrow.NewSchema([]arrow.Field{
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "must", Type: arrow.BinaryTypes.String},
		{Name: "raw", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "in", Type: arrow.StructOf(arrow.Field{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}), Nullable: true},
		{Name: "list", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
	}, nil))
}

// textRows are rows from one key to another of which every text is value.
func textRows(t *testing.T, from, to int, value string) arrow.RecordBatch {
	t.Helper()
	var rows strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&rows, `{"_hoodie_commit_time": "20260101000000000", "_hoodie_commit_seqno": "20260101000000000_0_%d", "_hoodie_record_key": "%04d", "_hoodie_partition_path": "", "_hoodie_file_name": "f.parquet", "s": %q, "must": %q, "raw": "", "in": {"s": %q}, "list": [%q]}`,
			i, i, value, value, value, value)
	}
	batch, _, err := array.RecordFromJSON(column.Allocator, emptyTextSchema(), strings.NewReader("["+strings.ReplaceAll(rows.String(), "}{", "},{")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	if value == "" { // as Arrow's kernels make it: without a byte of data
		mask, _, err := array.FromJSON(column.Allocator, arrow.FixedWidthTypes.Boolean, strings.NewReader("[true"+strings.Repeat(",false,true", (to-from)/2-1)+",false]"))
		if err != nil {
			t.Fatal(err)
		}
		if batch, err = compute.FilterRecordBatch(t.Context(), batch, mask, compute.DefaultFilterOptions()); err != nil {
			t.Fatal(err)
		}
	}
	return batch
}

// mayHave tells whether a reader that looks for texts up to a bound finds rows.
func mayHave(t *testing.T, data []byte, name, bound string) bool {
	t.Helper()
	f, err := openParquet(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for g := range f.meta.RowGroups {
		rows, err := f.RowsWhere(g, name, arrow.BinaryTypes.String, func(b Bounds) bool {
			return b.Values && (b.Low.Kind != BytesKind || bytes.Compare(b.Low.Bytes, []byte(bound)) < 0)
		})
		if err != nil {
			t.Fatal(err)
		}
		found = found || len(rows) > 0
	}
	return found
}

// Texts that are all "" have no bytes, and are values nevertheless.
func TestEmptyTextsHaveStatistics(t *testing.T) {
	full, empty := textRows(t, 0, 500, "v"), textRows(t, 500, 510, "")
	if b := empty.Column(5).Data().Buffers()[2]; b != nil && b.Bytes() != nil {
		t.Fatal("the batch has a buffer of texts, and shows nothing")
	}
	for name, batches := range map[string][]arrow.RecordBatch{"last": {full, empty}, "first": {empty, full}, "only": {empty}} {
		data, _ := writeFile(t, testOptions(t, emptyTextSchema()), batches...)
		checkIndexes(t, data)
		f, err := openParquet(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, column := range []string{"s", "must", "raw", "in.s"} {
			if s := f.leaves[0].chunkStats(&f.meta.RowGroups[0].Columns[f.leafOf(column)].Meta); s.min == nil || len(s.min) > 0 {
				t.Errorf("%s: the least of column %s is %q, unknown %v", name, column, s.min, s.unknown)
			}
		}
		if got := readFile(t, data, emptyTextSchema()); got[0].NumRows() != 505 && name != "only" {
			t.Errorf("%s: %d rows", name, got[0].NumRows())
		}
	}
}

// What Arrow's own writer makes of such texts, as files of older versions have it, is
// not believed, nor handed on when it is copied.
func TestEmptyTextsWithoutStatistics(t *testing.T) {
	sc := emptyTextSchema()
	var old bytes.Buffer
	w, err := pqarrow.NewFileWriter(sc, &old, parquet.NewWriterProperties(
		parquet.WithDictionaryDefault(false), parquet.WithPageIndexEnabled(true), parquet.WithRootRepetition(parquet.Repetitions.Required)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	full, empty := textRows(t, 0, 500, "v"), textRows(t, 500, 510, "")
	for i := range sc.Fields() {
		if i == 0 {
			w.NewBufferedRowGroup()
		}
		chunked := arrow.NewChunked(sc.Field(i).Type, []arrow.Array{full.Column(i), empty.Column(i)})
		if err := w.WriteColumnChunked(chunked, 0, full.NumRows()+empty.NumRows()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"s", "must", "in.s"} {
		if !mayHave(t, old.Bytes(), name, "u") {
			t.Errorf("column %s: the file is passed over", name)
		}
	}
	opts := testOptions(t, sc)
	for what, upserts := range map[string][]arrow.RecordBatch{"copied": nil, "the same": {textRows(t, 0, 1, "v")}, "changed": {textRows(t, 0, 1, "w")}, "grown": {textRows(t, 900, 901, "w")}} {
		data := rewrite(t, opts, old.Bytes(), "g.parquet", nil, upserts...)
		checkIndexes(t, data)
		for _, name := range []string{"s", "must", "in.s"} {
			if !mayHave(t, data, name, "u") {
				t.Errorf("%s, column %s: the new file is passed over", what, name)
			}
		}
	}
}

// Lists, which keep a row group from being copied, do not keep texts from being counted.
func TestEmptyTextsOfRewrite(t *testing.T) {
	sc := emptyTextSchema()
	opts := testOptions(t, sc)
	data, _ := writeFile(t, opts, textRows(t, 0, 500, "v"))
	data = rewrite(t, opts, data, "g.parquet", []string{"0003"}, textRows(t, 100, 110, ""))
	checkIndexes(t, data)
	foreign := basetest.Foreign(t, rand.New(rand.NewPCG(1, 2)), opts.AvroSchema, textRows(t, 0, 500, "v"))
	checkIndexes(t, rewrite(t, opts, foreign, "h.parquet", nil, textRows(t, 100, 110, "")))
	for _, name := range []string{"s", "must", "in.s"} {
		if !mayHave(t, data, name, "u") {
			t.Errorf("column %s: the file is passed over", name)
		}
	}
}
