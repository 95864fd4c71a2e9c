package parity_test

import (
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
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
	"lakefeed/hudi/keyindex"
	"lakefeed/internal/s3test"
	"lakefeed/internal/seed"
	"lakefeed/parity"
	"lakefeed/storage"
	"lakefeed/storage/all"
)

// cell is one kind of table in the matrix, and the Spark that shares it with us.
type cell struct {
	typ     hudi.TableType
	index   hudi.IndexType
	layout  string // none, hive or plain: how partitions are named
	release string
	bucket  bool // the table lies in S3, not in a folder
	theirs  bool // Spark has made the table, not we
}

func (c cell) String() string {
	where := "file"
	if c.bucket {
		where = "s3"
	}
	if c.theirs {
		where += " theirs"
	}
	return fmt.Sprintf("%s %s %s %s %s", c.release, strings.ToLower(string(c.typ)), strings.ToLower(string(c.index)), c.layout, where)
}

func (c cell) partitioned() bool { return c.layout != "none" }

// global tells whether a key has one row in the table, not one in each partition.
func (c cell) global() bool {
	return c.index == hudi.IndexGlobalKey || c.index == hudi.IndexGlobalBloom || c.index == hudi.IndexGlobalSimple
}

// hashed tells whether a file group is a bucket.
func (c cell) hashed() bool { return c.index == hudi.IndexBucket || c.index == hudi.IndexGlobalKey }

var (
	matrixTypes    = []hudi.TableType{hudi.CopyOnWrite, hudi.MergeOnRead}
	matrixIndexes  = []hudi.IndexType{hudi.IndexBucket, hudi.IndexSimple, hudi.IndexBloom, hudi.IndexGlobalSimple, hudi.IndexGlobalBloom, hudi.IndexGlobalKey}
	matrixLayouts  = []string{"hive", "plain", "none"}
	matrixReleases = []string{"1.2.0", "0.15.0"}
)

// allCells are those of a soak run. A global index wants partitions. Spark has made every
// fourth table, with each release, and in folders as in S3.
func allCells() (out []cell) {
	for _, typ := range matrixTypes {
		for _, index := range matrixIndexes {
			for _, layout := range matrixLayouts {
				for _, release := range matrixReleases {
					for _, bucket := range []bool{false, true} {
						c := cell{typ, index, layout, release, bucket, len(out)%4 == len(out)/4%4}
						if c.partitioned() || !c.global() {
							out = append(out, c)
						}
					}
				}
			}
		}
	}
	return out
}

// someCells are those of a short run: both types, with buckets and without, partitioned
// and not, in a folder and in S3, each with one Spark, so that the other has its kin;
// and each other index with one type. An odd seed pairs the others. Spark has made one in
// four, of all kinds.
func someCells(seed uint64) (out []cell) {
	odd := int(seed % 2)
	for kind := range 16 {
		typ, index, partitioned, bucket := kind&1, kind>>1&1, kind>>2&1, kind>>3
		c := cell{matrixTypes[typ], matrixIndexes[index], "none", matrixReleases[(typ+index+partitioned+bucket+odd)%2], bucket == 1, false}
		if partitioned == 1 {
			c.layout = matrixLayouts[(typ+bucket+odd)%2]
		}
		out = append(out, c)
	}
	for index, typ := range []int{1, 0, 0, 1} {
		out = append(out, cell{
			matrixTypes[(typ+odd)%2], matrixIndexes[2+index], matrixLayouts[(typ+index/2)%2], matrixReleases[(typ+index)%2], (typ+index/2)%2 == 1, false,
		})
	}
	for _, i := range []int{1, 6, 8, 15, 19} {
		out[i].theirs = true
	}
	return out
}

// TestMatrix lets Lakefeed and Spark change tables in turns, 20 random steps each, and
// compares the rows that every engine reads after each step with a model in memory.
// LAKEFEED_SEED chooses another seed.
func TestMatrix(t *testing.T) {
	n := seed.Or(t, 4)
	matrix(t, n, 20, someCells(n))
}

// TestMatrixSoak is the same for every pair, with more steps and another seed each time.
func TestMatrixSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	matrix(t, seed.New(t), 60, allCells())
}

func matrix(t *testing.T, seed uint64, steps int, of []cell) {
	parity.Engines(t)
	server := s3test.Start(t)
	byRelease := map[string][]cell{}
	for _, c := range of {
		byRelease[c.release] = append(byRelease[c.release], c)
	}
	for release, found := range byRelease { // the two Sparks work side by side
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			for _, c := range found {
				t.Run(c.String(), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "matrix")
					if c.bucket {
						path = strings.Replace(server.Bucket(t), "?", "/matrix?", 1)
					}
					newMatrixRun(t, c, path, seed).run(steps)
				})
			}
		})
	}
}

var matrixSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.BinaryTypes.String},
	{Name: "part", Type: arrow.BinaryTypes.String},
	{Name: "n", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "price", Type: &arrow.Decimal128Type{Precision: 12, Scale: 2}, Nullable: true},
	{Name: "body", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "_event_lsn", Type: arrow.PrimitiveTypes.Int64},
}, nil)

// matrixRow is a row; n and body are null where they are 0 and "".
type matrixRow struct {
	id, part string
	n        int32
	price    int64 // of scale 2
	body     string
	lsn      int64
}

// String is the row in the canonical form.
func (r matrixRow) String() string {
	n, body := "null", "null"
	if r.n != 0 {
		n = strconv.Itoa(int(r.n))
	}
	if r.body != "" {
		body = strconv.Quote(r.body)
	}
	return fmt.Sprintf(`{"id":%q,"part":%q,"n":%s,"price":"%d.%02d","body":%s,"_event_lsn":%d}`, r.id, r.part, n, r.price/100, r.price%100, body, r.lsn)
}

func matrixBatch(rows []matrixRow) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, matrixSchema)
	defer b.Release()
	for _, r := range rows {
		b.Field(0).(*array.StringBuilder).Append(r.id)
		b.Field(1).(*array.StringBuilder).Append(r.part)
		if r.n == 0 {
			b.Field(2).AppendNull()
		} else {
			b.Field(2).(*array.Int32Builder).Append(r.n)
		}
		b.Field(3).(*array.Decimal128Builder).Append(decimal128.FromI64(r.price))
		if r.body == "" {
			b.Field(4).AppendNull()
		} else {
			b.Field(4).(*array.StringBuilder).Append(r.body)
		}
		b.Field(5).(*array.Int64Builder).Append(r.lsn)
	}
	return b.NewRecordBatch()
}

// matrixRun is one table and the rows that it must have.
type matrixRun struct {
	cell

	t     *testing.T
	rnd   *rand.Rand
	spark *parity.Engine
	path  string      // a folder or, in a bucket, its URL
	table *hudi.Table // stays open over Spark's steps, until it is opened anew by chance

	buckets int             // 0 without an index of them
	keys    *keyindex.Store // of a table with a global index of keys

	rows    map[string]matrixRow            // by partition value and key, or by key
	history map[string]map[string]matrixRow // rows by the newest write, where it is known
	lsn     int64
	saved   *savedRows
	log     []string
}

// savedRows are those of a savepoint.
type savedRows struct {
	instant string
	rows    map[string]matrixRow
}

func newMatrixRun(t *testing.T, c cell, path string, seed uint64) *matrixRun {
	t.Helper()
	m := &matrixRun{
		cell: c, t: t, rnd: rand.New(rand.NewPCG(seed, uint64(crc32.ChecksumIEEE([]byte(c.String()))))),
		spark: parity.Spark(t, c.release), path: path, rows: map[string]matrixRow{}, history: map[string]map[string]matrixRow{},
	}
	if c.hashed() {
		m.buckets = 3
	}
	if c.index == hudi.IndexGlobalKey {
		m.keys = memoryKeys(t)
	}
	if !c.theirs {
		m.create()
	}
	return m
}

func (m *matrixRun) create() {
	m.t.Helper()
	opts := hudi.CreateOptions{
		Name: "matrix", Type: m.typ, Schema: matrixSchema, RecordKey: []string{"id"}, OrderingField: "_event_lsn",
		HiveStyle: m.layout == "hive", Options: m.options(),
	}
	if m.partitioned() {
		opts.PartitionBy = []string{"part"}
	}
	var err error
	if m.table, err = hudi.Create(m.t.Context(), m.store(), opts); err != nil {
		m.t.Fatal(err)
	}
}

// memoryKeys is a store for an index of keys that ends with its test.
func memoryKeys(t *testing.T) *keyindex.Store {
	t.Helper()
	keys, err := keyindex.OpenMem()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := keys.Close(); err != nil {
			t.Error(err)
		}
	})
	return keys
}

func (m *matrixRun) store() storage.Store {
	m.t.Helper()
	store, err := all.Open(m.t.Context(), m.path)
	if err != nil {
		m.t.Fatal(err)
	}
	return store
}

func (m *matrixRun) options() hudi.Options {
	o := hudi.Options{Index: m.index, Buckets: m.buckets, RowGroupBytes: 4096, Services: &hudi.ServicesOptions{}} // its steps run them
	if m.keys != nil {
		o.Keys = m.keys
	}
	return o
}

// sparkIndex is the index that Spark is to use.
func (c cell) sparkIndex() string {
	if c.hashed() {
		return "BUCKET"
	}
	return string(c.index)
}

// sparkOptions are those of docs/spark-writers.md.
func (m *matrixRun) sparkOptions() parity.Options {
	o := sparkOptions("matrix", "id", m.buckets)
	o["hoodie.datasource.write.table.type"] = string(m.typ)
	if !m.hashed() {
		maps.DeleteFunc(o, func(k, _ string) bool { return strings.HasPrefix(k, "hoodie.bucket.") })
	}
	o["hoodie.index.type"] = m.sparkIndex()
	switch m.index {
	case hudi.IndexGlobalSimple:
		o["hoodie.simple.index.update.partition.path"] = "true"
	case hudi.IndexGlobalBloom:
		o["hoodie.bloom.index.update.partition.path"] = "true"
	default:
	}
	if m.partitioned() {
		o["hoodie.datasource.write.keygenerator.class"] = "org.apache.hudi.keygen.SimpleKeyGenerator"
		o["hoodie.datasource.write.partitionpath.field"] = "part"
		o["hoodie.datasource.write.hive_style_partitioning"] = strconv.FormatBool(m.layout == "hive")
	}
	return o
}

func (m *matrixRun) run(steps int) {
	m.t.Helper()
	defer func() { m.t.Logf("steps: %s", strings.Join(m.log, "; ")) }()
	if m.theirs {
		steps-- // Spark's first one
		m.note(m.sparkMakes())
	} else {
		m.note(m.upsert(30))
	}
	for range steps {
		turn := m.ours()
		if len(m.log)%2 == 0 {
			turn = m.sparks()
		}
		s := turn[m.rnd.IntN(len(turn))]
		did, err := s()
		m.note(did, err)
	}
}

// note writes down what a step did, and holds what every reader sees against the model.
// Of the Sparks the one that shares the table reads after each step, the other after some.
func (m *matrixRun) note(did string, err error) {
	m.t.Helper()
	m.log = append(m.log, did)
	if err != nil {
		m.t.Fatalf("%s: %v", did, err)
	}
	readers := []*parity.Engine{m.spark, parity.HudiRS(m.t)}
	if len(m.log)%4 == 0 {
		readers = parity.Engines(m.t)
	}
	want := texts(slices.Collect(maps.Values(m.rows)))
	answers, errs := read(m.t, readers, m.path, parity.Read{NoMeta: true})
	for i, e := range readers {
		if errs[i] != nil {
			m.t.Errorf("%s after %s: %v", e, did, errs[i])
		} else if d := parity.Diff(want, answers[i]); d != "" {
			m.t.Errorf("%s after %s: %s", e, did, d)
		}
	}
	if err := m.table.Refresh(m.t.Context()); err != nil {
		m.t.Fatalf("lakefeed after %s: %v", did, err)
	}
	for who, table := range map[string]*hudi.Table{"the table that stays open": m.table, "a new table": m.open()} {
		rows, err := m.read(table)
		if d := parity.Diff(want, rows); err != nil || d != "" {
			m.t.Errorf("%s after %s: %v %s", who, did, err, d)
		}
	}
	m.sound(did)
	if m.t.Failed() {
		m.t.FailNow()
	}
	if last, ok := m.table.Timeline().Last(); ok {
		m.history[last.Time] = maps.Clone(m.rows)
	}
}

func (m *matrixRun) open() *hudi.Table {
	m.t.Helper()
	o := m.options()
	if m.rnd.IntN(2) == 0 {
		o.SmallFileBytes = -1 // new rows make new files
	}
	table, err := hudi.Open(m.t.Context(), m.store(), o)
	if err != nil {
		m.t.Fatalf("open after %s: %v", m.log[len(m.log)-1], err)
	}
	return table
}

func (m *matrixRun) read(table *hudi.Table) (out []string, err error) {
	columns := []string{"id", "part", "n", "price", "body", "_event_lsn"} // Spark moves partition columns to the end
	for batch, err := range table.Read(m.t.Context(), hudi.ReadOptions{Columns: columns}) {
		if err != nil {
			return nil, err
		}
		for i := range int(batch.NumRows()) {
			r := matrixRow{
				id: batch.Column(0).(*array.String).Value(i), part: batch.Column(1).(*array.String).Value(i),
				price: int64(batch.Column(3).(*array.Decimal128).Value(i).LowBits()),
				lsn:   batch.Column(5).(*array.Int64).Value(i),
			}
			if c := batch.Column(2).(*array.Int32); c.IsValid(i) {
				r.n = c.Value(i)
			}
			if c := batch.Column(4).(*array.String); c.IsValid(i) {
				r.body = c.Value(i)
			}
			out = append(out, r.String())
		}
	}
	return out, nil
}

// sound checks that the table has no fault but what a living one may have.
func (m *matrixRun) sound(did string) {
	m.t.Helper()
	report, err := hudi.Check(m.t.Context(), m.store(), hudi.CheckOptions{Options: m.options()})
	if err != nil {
		m.t.Fatalf("check after %s: %v", did, err)
	}
	for _, f := range report.Faults {
		if f.Severity == hudi.Broken {
			m.t.Errorf("after %s: %s", did, f)
		}
	}
	if int(report.Rows) != len(m.rows) {
		m.t.Errorf("after %s: check counts %d rows, want %d", did, report.Rows, len(m.rows))
	}
}

// pick are some of the rows that are there, but not all, in an order that the seed gives.
func (m *matrixRun) pick(n int) []matrixRow {
	keys := slices.Sorted(maps.Keys(m.rows))
	m.rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	out := make([]matrixRow, max(min(n, len(keys)-1), 1))
	for i := range out {
		out[i] = m.rows[keys[i]]
	}
	return out
}
