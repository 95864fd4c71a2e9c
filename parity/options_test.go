package parity_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi"
	"lakefeed/parity"
	"lakefeed/storage/file"
)

// optionTable is a kind of table to which Spark writes with other options than those of
// docs/spark-writers.md.
type optionTable struct {
	typ         hudi.TableType
	index       hudi.IndexType
	key         []string
	partitionBy []string
}

var (
	optionsMor  = optionTable{hudi.MergeOnRead, hudi.IndexBucket, []string{"id"}, nil}
	optionsCow  = optionTable{hudi.CopyOnWrite, hudi.IndexBucket, []string{"id"}, nil}
	optionsPair = optionTable{hudi.MergeOnRead, hudi.IndexBucket, []string{"id", "a"}, nil}
	optionsPart = optionTable{hudi.CopyOnWrite, hudi.IndexSimple, []string{"id"}, []string{"a"}}
	optionsTwo  = optionTable{hudi.CopyOnWrite, hudi.IndexSimple, []string{"id"}, []string{"a", "b"}}
	// Rows of these may move to another partition.
	optionsGlobalSimple = optionTable{hudi.CopyOnWrite, hudi.IndexGlobalSimple, []string{"id"}, []string{"a"}}
	optionsGlobalBloom  = optionTable{hudi.CopyOnWrite, hudi.IndexGlobalBloom, []string{"id"}, []string{"a"}}
)

func (o optionTable) global() bool {
	return o.index == hudi.IndexGlobalSimple || o.index == hudi.IndexGlobalBloom
}

var optionSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.BinaryTypes.String},
	{Name: "a", Type: arrow.BinaryTypes.String},
	{Name: "b", Type: arrow.BinaryTypes.String},
	{Name: "v", Type: arrow.PrimitiveTypes.Int64},
	{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
	{Name: "_event_lsn", Type: arrow.PrimitiveTypes.Int64},
}, nil)

// optionRow is a row; with null its list has a null in it.
type optionRow struct {
	id, a string
	v     int64
	null  bool
}

func (r optionRow) String() string {
	tags := `["x","y"]`
	if r.null {
		tags = `["x",null]`
	}
	return fmt.Sprintf(`{"id":%q,"a":%q,"b":"b","v":%d,"tags":%s,"_event_lsn":%d}`, r.id, r.a, r.v, tags, r.v)
}

func optionRows(prefix string, n int, v int64, null bool) (out []optionRow) {
	for i := range n {
		out = append(out, optionRow{fmt.Sprint(prefix, i), fmt.Sprint("p", i%2), v, null})
	}
	return out
}

func optionBatch(rows []optionRow) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, optionSchema)
	defer b.Release()
	for _, r := range rows {
		b.Field(0).(*array.StringBuilder).Append(r.id)
		b.Field(1).(*array.StringBuilder).Append(r.a)
		b.Field(2).(*array.StringBuilder).Append("b")
		b.Field(3).(*array.Int64Builder).Append(r.v)
		tags := b.Field(4).(*array.ListBuilder)
		tags.Append(true)
		tags.ValueBuilder().(*array.StringBuilder).Append("x")
		if r.null {
			tags.ValueBuilder().AppendNull()
		} else {
			tags.ValueBuilder().(*array.StringBuilder).Append("y")
		}
		b.Field(5).(*array.Int64Builder).Append(r.v)
	}
	return b.NewRecordBatch()
}

func (o optionTable) options() hudi.Options {
	opts := hudi.Options{Index: o.index, Services: &hudi.ServicesOptions{}}
	if o.index == hudi.IndexBucket {
		opts.Buckets = 8
	}
	return opts
}

// make makes the table, with twenty rows of version 1.
func (o optionTable) make(t *testing.T, null bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "options")
	store, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	table, err := hudi.Create(t.Context(), store, hudi.CreateOptions{
		Name: "options", Type: o.typ, Schema: optionSchema, RecordKey: o.key, PartitionBy: o.partitionBy, HiveStyle: true,
		OrderingField: "_event_lsn", Options: o.options(),
	})
	if err != nil {
		t.Fatal(err)
	}
	batch := optionBatch(optionRows("k", 20, 1, null))
	defer batch.Release()
	if _, err := table.Upsert(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sparks are the options of docs/spark-writers.md for the table.
func (o optionTable) sparks() parity.Options {
	opts := sparkOptions("options", strings.Join(o.key, ","), 8)
	opts["hoodie.datasource.write.table.type"] = string(o.typ)
	if o.index != hudi.IndexBucket {
		maps.DeleteFunc(opts, func(k, _ string) bool { return strings.HasPrefix(k, "hoodie.bucket.") })
		opts["hoodie.index.type"] = string(o.index)
	}
	if o.partitionBy != nil {
		opts["hoodie.datasource.write.keygenerator.class"] = "org.apache.hudi.keygen.SimpleKeyGenerator"
		opts["hoodie.datasource.write.partitionpath.field"] = strings.Join(o.partitionBy, ",")
		opts["hoodie.datasource.write.hive_style_partitioning"] = "true"
	}
	if len(o.partitionBy) > 1 {
		opts["hoodie.datasource.write.keygenerator.class"] = "org.apache.hudi.keygen.ComplexKeyGenerator"
		opts["hoodie.write.complex.keygen.new.encoding"] = "true"
		opts["hoodie.write.complex.keygen.validation.enable"] = "false"
	}
	return opts
}

// unneeded are the options that Spark finds in hoodie.properties, of which no release takes
// any out, or that have the right value anyhow.
var unneeded = parity.Options{
	"hoodie.table.name": "", "hoodie.datasource.write.recordkey.field": "", "hoodie.datasource.write.keygenerator.class": "",
	"hoodie.datasource.write.precombine.field": "", "hoodie.datasource.write.table.type": "", "hoodie.bucket.index.hash.field": "",
	"hoodie.datasource.write.partitionpath.field": "", "hoodie.datasource.write.hive_style_partitioning": "",
	"hoodie.write.auto.upgrade": "", // or the version: one of the two is enough
}

// optionCase is what happens where Spark's options are others than those of the page, an option
// that is "" being left out, on a table whose properties do not hold them any more.
type optionCase struct {
	name    string
	table   optionTable
	options parity.Options
	kept    bool   // the properties do hold them
	null    bool   // lists have nulls in them
	want    string // an outcome, or the beginning of one
	want015 string // of Hudi 0.15.0, where it is another
}

var optionCases = []optionCase{
	{name: "unneeded", table: optionsMor, options: unneeded, want: "right"},
	{name: "unneeded", table: optionsPair, options: unneeded, want: "right"},
	{name: "unneeded", table: optionsPart, options: unneeded, want: "right"},
	{name: "another name", table: optionsMor, options: parity.Options{"hoodie.table.name": "another"}, want: "refused: Config conflict: hoodie.table.name"},
	{
		name: "another order of keys", table: optionsPair, options: parity.Options{"hoodie.datasource.write.recordkey.field": "a,id"},
		want: "refused: Config conflict: hoodie.datasource.write.recordkey.field",
	},
	{name: "another type", table: optionsMor, options: parity.Options{"hoodie.datasource.write.table.type": "COPY_ON_WRITE"}, want: "right"},
	{name: "another type", table: optionsCow, options: parity.Options{"hoodie.datasource.write.table.type": "MERGE_ON_READ"}, want: "failed: Compaction is not supported on a CopyOnWrite table; then right"},
	{name: "no index", table: optionsMor, options: parity.Options{"hoodie.index.type": ""}, want: "doubled later"},
	{name: "no buckets", table: optionsMor, options: parity.Options{"hoodie.bucket.index.num.buckets": ""}, want: "doubled at once"},
	{name: "other buckets than told", table: optionsMor, kept: true, options: parity.Options{"hoodie.bucket.index.num.buckets": "4"}, want: "refused: Config conflict: hoodie.bucket.index.num.buckets"},
	{name: "buckets by less", table: optionsPair, options: parity.Options{"hoodie.bucket.index.hash.field": "id"}, want: "doubled at once"},
	{name: "buckets by another order", table: optionsPair, options: parity.Options{"hoodie.bucket.index.hash.field": "a,id"}, want: "right"},
	{
		name: "no version", table: optionsMor, options: parity.Options{"hoodie.write.auto.upgrade": "", "hoodie.write.table.version": ""},
		want: "version 9", want015: "right",
	},
	{name: "by default", table: optionsGlobalSimple, want: "right"},
	{name: "stays", table: optionsGlobalSimple, options: parity.Options{"hoodie.simple.index.update.partition.path": "false"}, want: "stays"},
	{name: "by default", table: optionsGlobalBloom, want: "right"},
	{name: "stays", table: optionsGlobalBloom, options: parity.Options{"hoodie.bloom.index.update.partition.path": "false"}, want: "stays"},
	{name: "encoding", table: optionsTwo, kept: true, want: "right"},
	{name: "encoding not told", table: optionsTwo, kept: true, options: parity.Options{"hoodie.write.complex.keygen.new.encoding": ""}, want: "right"},
	{name: "no encoding", table: optionsTwo, options: parity.Options{"hoodie.write.complex.keygen.new.encoding": ""}, want: "doubled at once", want015: "we refuse: begin transaction"},
	{
		name: "no validation", table: optionsTwo, options: parity.Options{"hoodie.write.complex.keygen.validation.enable": ""},
		want: "refused: This table uses the complex key generator", want015: "we refuse: begin transaction",
	},
	{name: "a null in a list", table: optionsMor, null: true, want: "right"},
	{name: "a null in a list", table: optionsCow, null: true, want: "failed: "},
	{name: "a null in a list, new structure", table: optionsCow, null: true, options: parity.Options{"spark.hadoop.parquet.avro.write-old-list-structure": "false"}, want: "right"},
}

// TestSparkWithoutOptions leaves out, or gives other values to, one by one, the options of
// docs/spark-writers.md, and sees that what comes of it is what the page says.
func TestSparkWithoutOptions(t *testing.T) {
	parity.Engines(t)
	for _, release := range []string{"1.2.0", "0.15.0"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			for _, c := range optionCases {
				t.Run(fmt.Sprint(c.name, " ", strings.ToLower(string(c.table.typ)), " ", c.table.key), func(t *testing.T) {
					want := c.want
					if release == "0.15.0" && c.want015 != "" {
						want = c.want015
					}
					if got := c.outcome(t, parity.Spark(t, release)); !strings.HasPrefix(got, want) || want == "right" && got != want {
						t.Errorf("it is %s, want %s", got, want)
					} else {
						t.Log(got)
					}
				})
			}
		})
	}
}

// outcome lets Spark upsert six rows that are there and six that are not, and then Lakefeed the same twelve.
func (c optionCase) outcome(t *testing.T, spark *parity.Engine) string {
	t.Helper()
	dir := c.table.make(t, c.null)
	if !c.kept {
		dropOptions(t, dir)
	}
	rows := append(optionRows("k", 6, 2, c.null), optionRows("n", 6, 2, c.null)...)
	if c.table.global() {
		rows[0].a = "p1" // it was in p0
	}
	opts := c.table.sparks()
	maps.Copy(opts, c.options)
	var lines []string
	for _, r := range rows {
		lines = append(lines, r.String())
	}
	if err := spark.WriteExactly(t.Context(), dir, "upsert", lines, opts); err != nil {
		if m := regexp.MustCompile(`(?s)Config conflict.*?\| (hoodie[a-z._]*):`).FindStringSubmatch(err.Error()); m != nil {
			return "refused: Config conflict: " + m[1]
		}
		if m := regexp.MustCompile(`This table uses the complex key generator`).FindString(err.Error()); m != "" {
			return "refused: " + m
		}
		if m := regexp.MustCompile(`Compaction is not supported on a CopyOnWrite table`).FindString(err.Error()); m != "" {
			return "failed: " + m + "; then " + c.after(t, dir, rows)
		}
		return "failed: " + err.Error()
	}
	return c.after(t, dir, rows)
}

// after says what has become of the table.
func (c optionCase) after(t *testing.T, dir string, rows []optionRow) string {
	t.Helper()
	if v := properties(t, dir)["hoodie.table.version"]; v != "6" {
		return "version " + v
	}
	seen := c.rows(t, dir)
	switch {
	case seen.doubled:
		return "doubled at once"
	case c.table.global() && seen.partitions["k0"] != "a=p1":
		return "stays"
	case seen.values["k0"] != 2 || seen.values["n5"] != 2 || seen.values["k19"] != 1 || len(seen.values) != 26:
		return fmt.Sprintf("wrong rows: %v", seen.values)
	}
	store, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		rows[i].v = 3
	}
	batch := optionBatch(rows)
	defer batch.Release()
	table, err := hudi.Open(t.Context(), store, c.table.options())
	if err == nil {
		_, err = table.Upsert(t.Context(), batch)
	}
	if err != nil {
		return "we refuse: " + err.Error()
	}
	seen = c.rows(t, dir)
	switch {
	case seen.doubled:
		return "doubled later"
	case seen.values["k0"] != 3 || seen.values["n5"] != 3 || seen.values["k19"] != 1 || len(seen.values) != 26:
		return fmt.Sprintf("wrong rows later: %v", seen.values)
	}
	return "right"
}

// seenRows are a table's rows by their id.
type seenRows struct {
	values     map[string]int64
	partitions map[string]string // the paths
	doubled    bool              // an id is there twice
}

func (c optionCase) rows(t *testing.T, dir string) seenRows {
	t.Helper()
	store, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	table, err := hudi.Open(t.Context(), store, c.table.options())
	if err != nil {
		t.Fatal(err)
	}
	out := seenRows{map[string]int64{}, map[string]string{}, false}
	for b, err := range table.Read(t.Context(), hudi.ReadOptions{Columns: []string{"id", "v", "_hoodie_partition_path"}}) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(b.NumRows()) {
			id := b.Column(0).(*array.String).Value(i)
			_, there := out.values[id]
			out.doubled = out.doubled || there
			out.values[id], out.partitions[id] = b.Column(1).(*array.Int64).Value(i), b.Column(2).(*array.String).Value(i)
		}
	}
	return out
}

// TestPageNamesOptions sees that each option that docs/spark-writers.md names is given, or left
// out, in some test of this package.
func TestPageNamesOptions(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "spark-writers.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(text)
	}
	names := regexp.MustCompile(`\b(?:hoodie|spark)\.[a-z]+(?:[._-][a-z]+)+`).FindAllString(string(page), -1)
	if len(names) < 40 {
		t.Fatalf("the page names %d options only", len(names))
	}
	for _, name := range names {
		given := name == "hoodie.properties" || name == "hoodie.datasource.write.operation" // a file, and an argument of each write
		if !given && !strings.Contains(tests.String(), name) {
			t.Errorf("no test of this package names %s", name)
		}
	}
}
