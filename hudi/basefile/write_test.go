package basefile

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/file"

	"lakefeed/hudi/internal/basetest"
	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/schema"
	"lakefeed/internal/arrowsize"
	"lakefeed/internal/golden"
)

func testOptions(t testing.TB, sc *arrow.Schema) WriterOptions {
	t.Helper()
	text, err := schema.FromArrow("my-table", sc)
	if err != nil {
		t.Fatal(err)
	}
	return WriterOptions{AvroSchema: text, Schema: sc}
}

func writeFile(t testing.TB, opts WriterOptions, batches ...arrow.RecordBatch) ([]byte, Stats) {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	stats, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if stats.Bytes != int64(out.Len()) {
		t.Errorf("stats say %d bytes, %d were written", stats.Bytes, out.Len())
	}
	return out.Bytes(), stats
}

func readFile(t testing.TB, data []byte, sc *arrow.Schema) []arrow.RecordBatch {
	t.Helper()
	r, err := Open(bytes.NewReader(data), int64(len(data)), sc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var batches []arrow.RecordBatch
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return batches
		}
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
	}
}

func TestFileRoundTrip(t *testing.T) {
	batch := basetest.Batch(t)
	for _, codec := range []string{"", "zstd", "gzip", "none"} {
		opts := testOptions(t, batch.Schema())
		opts.Codec = codec
		data, stats := writeFile(t, opts, batch.NewSlice(0, 1), batch.NewSlice(1, 3))
		if stats.Rows != 3 || stats.MinKey != "10" || stats.MaxKey != "9" {
			t.Errorf("stats %+v", stats)
		}
		for _, sc := range []*arrow.Schema{nil, batch.Schema()} {
			got := readFile(t, data, sc)
			if len(got) != 1 || !array.RecordEqual(got[0], batch) {
				t.Errorf("codec %q: got %v\nwant %v", codec, got, batch)
			}
		}
	}
}

// The layout that findings of other readers and writers ask for.
func TestFileLayout(t *testing.T) {
	batch := basetest.Batch(t)
	opts := testOptions(t, batch.Schema())
	data, _ := writeFile(t, opts, batch)
	pq, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer pq.Close()
	got := pq.MetaData().Schema.String()
	for _, want := range []string{
		"required group field_id=-1 hoodie.my__table.my__table_record {",
		"optional byte_array field_id=-1 _hoodie_commit_time (String);",
		"required int64 field_id=-1 id (Int(bitWidth=64, isSigned=true));",
		"optional int32 field_id=-1 day (Date);",
		"optional int64 field_id=-1 ts (Timestamp(isAdjustedToUTC=true, timeUnit=microseconds, is_from_converted_type=false, force_set_converted_type=false));",
		"optional fixed_len_byte_array field_id=-1 small (Decimal(precision=9, scale=2));",
		"optional fixed_len_byte_array field_id=-1 price (Decimal(precision=18, scale=4));",
		"optional fixed_len_byte_array field_id=-1 big (Decimal(precision=38, scale=18));",
		"optional group field_id=-1 tags (List) {\n    repeated group field_id=-1 list {\n      optional byte_array field_id=-1 element (String);",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	kv := pq.MetaData().KeyValueMetadata()
	for key, want := range map[string]string{
		"parquet.avro.schema": opts.AvroSchema, "writer.model.name": "avro", "org.apache.spark.version": "3.5.0", "hoodie_bloom_filter_type_code": "SIMPLE",
		"hoodie_min_record_key": "10", "hoodie_max_record_key": "9",
	} {
		if v := kv.FindValue(key); v == nil || *v != want {
			t.Errorf("footer %s = %v, want %s", key, v, want)
		}
	}
	if kv.FindValue("ARROW:schema") != nil {
		t.Error("the footer has Arrow's schema")
	}
}

func TestFileWithoutRows(t *testing.T) {
	data, stats := writeFile(t, testOptions(t, basetest.Schema()))
	if stats.Rows != 0 || len(readFile(t, data, basetest.Schema())) != 0 {
		t.Errorf("stats %+v", stats)
	}
	r, err := Open(bytes.NewReader(data), int64(len(data)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Footer(footerMinKey); ok {
		t.Error("an empty file has a smallest key")
	}
}

func TestFileRowGroups(t *testing.T) {
	batch := benchBatch(5000)
	opts := testOptions(t, batch.Schema())
	opts.RowGroupBytes = arrowsize.Batch(batch) / 10
	var parts []arrow.RecordBatch
	for i := range int64(50) { // small batches are gathered
		parts = append(parts, batch.NewSlice(i*100, i*100+100))
	}
	for name, batches := range map[string][]arrow.RecordBatch{"one batch": {batch}, "small batches": parts} {
		data, _ := writeFile(t, opts, batches...)
		pq, err := file.NewParquetReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if n := pq.NumRowGroups(); n < 9 || n > 11 {
			t.Errorf("%s: %d row groups, want about 10", name, n)
		}
		pq.Close()
		at := int64(0)
		for _, got := range readFile(t, data, batch.Schema()) {
			if want := batch.NewSlice(at, at+got.NumRows()); !array.RecordEqual(got, want) {
				t.Errorf("%s: rows from %d differ", name, at)
			}
			at += got.NumRows()
		}
		if at != batch.NumRows() {
			t.Errorf("%s: %d rows of %d", name, at, batch.NumRows())
		}
	}
}

func TestReaderEvolution(t *testing.T) {
	batch := basetest.Batch(t)
	data, _ := writeFile(t, testOptions(t, batch.Schema()), batch)
	sc := arrow.NewSchema([]arrow.Field{
		{Name: "added", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "point", Type: arrow.StructOf(
			arrow.Field{Name: "y", Type: arrow.BinaryTypes.String, Nullable: true},
			arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), Nullable: true},
		{Name: "i", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "f", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "m", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64), Nullable: true},
		{Name: "ts", Type: &arrow.TimestampType{Unit: arrow.Microsecond}, Nullable: true},
		{Name: "small", Type: &arrow.Decimal128Type{Precision: 20, Scale: 2}, Nullable: true},
	}, nil)
	want, _, err := array.RecordFromJSON(column.Allocator, sc, strings.NewReader(`[
		{"added": null, "point": {"y": null, "x": 7}, "i": -5, "f": 1.5, "m": [{"key": "k", "value": 1}], "ts": "1899-12-31 23:59:59.999999", "small": "-1234567.89"},
		{"added": null, "point": null, "i": null, "f": null, "m": null, "ts": null, "small": null},
		{"added": null, "point": {"y": null, "x": null}, "i": 0, "f": 0, "m": [], "ts": "9999-12-31 23:59:59", "small": "0"}]`))
	if err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, data, sc); len(got) != 1 || !array.RecordEqual(got[0], want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	none := readFile(t, data, arrow.NewSchema(nil, nil))
	if len(none) != 1 || none[0].NumRows() != 3 {
		t.Errorf("no columns: %v", none)
	}
	for want, f := range map[string]arrow.Field{
		"column x: it is required":                             {Name: "x", Type: arrow.PrimitiveTypes.Int32},
		"column d: the file has float64 for it":                {Name: "d", Type: arrow.PrimitiveTypes.Float32},
		"column price: the file has decimal(18, 4) for it":     {Name: "price", Type: &arrow.Decimal128Type{Precision: 18, Scale: 3}, Nullable: true},
		"column big: the file has decimal(38, 18) for it, whi": {Name: "big", Type: &arrow.Decimal128Type{Precision: 30, Scale: 18}, Nullable: true},
	} {
		r, err := Open(bytes.NewReader(data), int64(len(data)), arrow.NewSchema([]arrow.Field{f}, nil))
		if err == nil {
			_, err = r.Next()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	batch := basetest.Batch(t)
	opts := testOptions(t, batch.Schema())
	w, err := NewWriter(io.Discard, opts)
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(column.Allocator, batch.Schema())
	for _, f := range b.Fields() {
		f.AppendNull()
	}
	if err := w.Write(b.NewRecordBatch()); err == nil || !strings.Contains(err.Error(), "_hoodie_record_key is null") {
		t.Errorf("a row without key: %v", err)
	}
	other := array.NewRecordBatch(arrow.NewSchema(nil, nil), nil, 1)
	if err := w.Write(other); err == nil {
		t.Error("a batch without columns: no error")
	}
	opts.Codec = "lzo"
	if _, err := NewWriter(io.Discard, opts); err == nil || !strings.Contains(err.Error(), `codec "lzo"`) {
		t.Errorf("an unknown codec: %v", err)
	}
}

func TestReaderOfDamagedFiles(t *testing.T) {
	batch := basetest.Batch(t)
	data, _ := writeFile(t, testOptions(t, batch.Schema()), batch)
	for i := 0; i < len(data); i += 13 {
		damaged := slices.Clone(data)
		damaged[i] ^= byte(1 + i*37%255)
		r, err := Open(bytes.NewReader(damaged), int64(len(damaged)), nil)
		for err == nil {
			_, err = r.Next()
		}
	}
	for _, n := range []int{0, 3, 8, len(data) - 1} {
		if _, err := Open(bytes.NewReader(data[:n]), int64(n), nil); err == nil {
			t.Errorf("the first %d bytes: no error", n)
		}
	}
}

func TestJavaOrder(t *testing.T) {
	ordered := []string{"", "1", "10", "9", "a", "aa", "é", "\ud7ff", "😀", "😀a", "\U0010ffff", "\ue000", "\uffff"}
	for i, a := range ordered {
		for j, b := range ordered {
			if javaLess(a, b) != (i < j) {
				t.Errorf("javaLess(%q, %q) = %v", a, b, i >= j)
			}
		}
	}
}

// Every base file that Spark wrote is read, and its footer is what we make of its keys.
func TestGoldenBaseFiles(t *testing.T) {
	files, blooms := 0, 0
	for _, name := range golden.Names(t) {
		t.Run(name, func(t *testing.T) {
			err := filepath.WalkDir(filepath.Join(golden.Unpack(t, name), "table"), func(path string, d os.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if d.Name() == ".hoodie" {
					return filepath.SkipDir
				}
				if filepath.Ext(path) != ".parquet" {
					return nil
				}
				files++
				if goldenBaseFile(t, path) {
					blooms++
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Logf("%d files, %d with a Bloom filter", files, blooms)
	if files < 100 || blooms < 100 {
		t.Errorf("only %d files, %d with a Bloom filter", files, blooms)
	}
}

func goldenBaseFile(t *testing.T, path string) (hasBloom bool) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(bytes.NewReader(data), int64(len(data)), nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer r.Close()
	var keys []string
	for {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		col := batch.Column(batch.Schema().FieldIndices(schema.RecordKey)[0]).(*array.String)
		for i := range col.Len() {
			keys = append(keys, strings.Clone(col.Value(i)))
		}
		batch.Release()
	}
	if int64(len(keys)) != r.NumRows() {
		t.Errorf("%s: %d rows of %d", path, len(keys), r.NumRows())
	}
	text, ok := r.Footer(footerBloom)
	if !ok {
		return false
	}
	filter, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if typ, _ := r.Footer(footerBloomType); typ == "DYNAMIC_V0" {
		filter = filter[13+12:] // what all rows share; the first row follows
	}
	size := binary.BigEndian.Uint32(filter[9:])
	want := make([]byte, (size+7)/8)
	for _, k := range keys {
		bloomSet(want, size, int(binary.BigEndian.Uint32(filter[4:])), k)
	}
	if !bytes.Equal(filter[13:], want) {
		t.Errorf("%s: the filter of its %d keys has other bits", path, len(keys))
	}
	if len(keys) > 0 {
		lo, _ := r.Footer(footerMinKey)
		hi, _ := r.Footer(footerMaxKey)
		if slices.Min(keys) != lo || slices.Max(keys) != hi {
			t.Errorf("%s: keys from %q to %q, not %q to %q", path, lo, hi, slices.Min(keys), slices.Max(keys))
		}
	}
	return true
}
