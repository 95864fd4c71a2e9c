package hudi

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/parquet-go/parquet-go/format"
)

// rewriteRows makes rows with these keys and random values.
func rewriteRows(rnd *rand.Rand, sc *arrow.Schema, keys []string, name string) arrow.RecordBatch {
	b := array.NewRecordBuilder(allocator, sc)
	defer b.Release()
	instant := fmt.Sprintf("2026010100000%04d", rnd.IntN(20))
	for i, k := range keys {
		for c, v := range []string{instant, fmt.Sprintf("%s_0_%d", instant, i), k, "", name} {
			b.Field(c).(*array.StringBuilder).Append(v)
		}
		for c := metaCount; c < sc.NumFields(); c++ {
			appendRandom(rnd, b.Field(c), sc.Field(c).Nullable)
		}
	}
	return b.NewRecordBatch()
}

func appendRandom(rnd *rand.Rand, b array.Builder, nullable bool) {
	if nullable && rnd.IntN(4) == 0 {
		b.AppendNull()
		return
	}
	n := rnd.Int64N(1000) - 500
	switch b := b.(type) {
	case *array.Int32Builder:
		b.Append(int32(n))
	case *array.Int64Builder:
		b.Append(n << rnd.IntN(40))
	case *array.Float32Builder:
		b.Append(float32(n) / 3)
	case *array.Float64Builder:
		b.Append([]float64{float64(n), math.Copysign(0, -1), 0, math.Inf(1)}[rnd.IntN(4)])
	case *array.BooleanBuilder:
		b.Append(n > 0)
	case *array.StringBuilder:
		b.Append(strings.Repeat(strconv.FormatInt(n%7, 10), rnd.IntN(30)))
	case *array.BinaryBuilder:
		b.Append(bytes.Repeat([]byte{byte(n)}, rnd.IntN(9)))
	case *array.Date32Builder:
		b.Append(arrow.Date32(n))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(n * 1e9))
	case *array.Decimal128Builder:
		b.Append(decimal128.FromI64(n))
	case *array.ListBuilder:
		b.Append(true)
		for range rnd.IntN(4) {
			appendRandom(rnd, b.ValueBuilder(), true)
		}
	case *array.MapBuilder:
		b.Append(true)
		for i := range rnd.IntN(3) {
			b.KeyBuilder().(*array.StringBuilder).Append(strconv.Itoa(i))
			appendRandom(rnd, b.ItemBuilder(), true)
		}
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			appendRandom(rnd, b.FieldBuilder(i), true)
		}
	default:
		panic(fmt.Sprintf("%T", b))
	}
}

// foreignBase writes a base file as other writers might.
func foreignBase(t testing.TB, rnd *rand.Rand, opts baseOptions, batch arrow.RecordBatch) []byte {
	t.Helper()
	var out bytes.Buffer
	version := []parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2}[rnd.IntN(2)]
	props := []parquet.WriterProperty{
		parquet.WithCompression([]compress.Compression{compress.Codecs.Snappy, compress.Codecs.Zstd, compress.Codecs.Gzip, compress.Codecs.Uncompressed}[rnd.IntN(4)]),
		parquet.WithDictionaryDefault(rnd.IntN(2) == 0), parquet.WithDataPageVersion(version),
		parquet.WithDataPageSize(int64(200 + rnd.IntN(5000))), parquet.WithBatchSize(int64(1 + rnd.IntN(50))),
		parquet.WithDictionaryPageSizeLimit(int64(100 + rnd.IntN(5000))), parquet.WithStats(rnd.IntN(3) > 0),
		parquet.WithPageIndexEnabled(rnd.IntN(2) == 0), parquet.WithRootRepetition(parquet.Repetitions.Required),
	}
	if rnd.IntN(4) == 0 {
		props = append(props, parquet.WithEncodingFor("i", parquet.Encodings.DeltaBinaryPacked), parquet.WithDictionaryFor("i", false))
	}
	w, err := pqarrow.NewFileWriter(batch.Schema(), &out, parquet.NewWriterProperties(props...), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	rows := batch.NumRows()
	for from := int64(0); from < rows; from += rows/3 + 1 {
		if err := w.Write(batch.NewSlice(from, min(from+rows/3+1, rows))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.AppendKeyValueMetadata(footerAvroSchema, opts.avroSchema), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// rewriteModel is what a base file should hold: the text of each key's row.
type rewriteModel map[string]string

func (m rewriteModel) put(t testing.TB, batch arrow.RecordBatch, name string) {
	t.Helper()
	for i := range batch.NumRows() {
		row, err := batch.NewSlice(i, i+1).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		key := batch.Column(metaKey).(*array.String).Value(int(i))
		m[strings.Clone(key)] = strings.Replace(string(row), name, "FILE", 1)
	}
}

func (m rewriteModel) check(t *testing.T, data []byte, sc *arrow.Schema, name string) {
	t.Helper()
	got := rewriteModel{}
	rows := 0
	for _, batch := range readBase(t, data, sc) {
		rows += int(batch.NumRows())
		got.put(t, batch, name)
	}
	if rows != len(m) || len(got) != len(m) {
		t.Fatalf("%d rows of %d keys, want %d", rows, len(got), len(m))
	}
	for k, want := range m {
		if got[k] != want {
			t.Fatalf("key %s:\ngot  %s\nwant %s", k, got[k], want)
		}
	}
}

// rewrite makes a new file of data, and checks its footer, statistics and indexes.
func rewrite(t *testing.T, opts baseOptions, data []byte, name string, deletes []string, upserts ...arrow.RecordBatch) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := newBaseWriter(&out, opts)
	if err != nil {
		t.Fatal(err)
	}
	r := newBaseRewrite(w, name)
	r.delete(deletes)
	for _, batch := range upserts {
		if err := r.upsert(batch); err != nil {
			t.Fatal(err)
		}
	}
	stats, err := r.finish(t.Context(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if stats.bytes != int64(out.Len()) {
		t.Errorf("%d bytes written, stats say %d", out.Len(), stats.bytes)
	}
	return out.Bytes()
}

// checkKeysOf compares a footer with the keys that the file should have.
func checkKeysOf(t *testing.T, data []byte, m rewriteModel) {
	t.Helper()
	f, err := openParquet(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	low, high := "", ""
	text, _ := f.footer(footerBloom)
	for k := range m {
		if low == "" || javaLess(k, low) {
			low = k
		}
		if high == "" || javaLess(high, k) {
			high = k
		}
		if !mightContain(t, text, k) {
			t.Fatalf("key %s is not in the filter", k)
		}
	}
	gotLow, _ := f.footer(footerMinKey)
	gotHigh, _ := f.footer(footerMaxKey)
	if gotLow != low || gotHigh != high {
		t.Fatalf("keys %q to %q, want %q to %q", gotLow, gotHigh, low, high)
	}
}

// checkIndexes decodes every page and compares it with what the indexes, the chunk's
// statistics and its list of encodings say.
func checkIndexes(t *testing.T, data []byte) {
	t.Helper()
	f, err := openParquet(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for g := range f.meta.RowGroups {
		for c := range f.leaves {
			p, err := f.pages(g, c)
			if errors.Is(err, errNoCopy) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if ours := f.leaves[c].maxRep == 0; !ours && p.meta.Stats.Valid {
				t.Fatalf("column %s has statistics", p.l.path)
			}
			checkChunkOf(t, p)
		}
	}
}

func checkChunkOf(t *testing.T, p *chunkPages) {
	t.Helper()
	dict, plain, err := p.readDictionary()
	if err != nil {
		t.Fatal(err)
	}
	var sum valueStats
	levels, encodings := 0, map[format.Encoding]int32{}
	for i := range p.pages {
		page, size, err := p.read(&p.pages[i], dict)
		if errors.Is(err, errNoCopy) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		plain, levels = plain+size, levels+page.levels
		encodings[page.encoding]++
		s, err := p.l.pageStats(&page, dict)
		if err != nil {
			t.Fatal(err)
		}
		checkBounds(t, p.l, "page", p.pages[i].stats, s)
		sum.merge(p.l, s)
	}
	stated := p.l.chunkStats(p.meta)
	checkBounds(t, p.l, "chunk", &stated, sum)
	if int64(levels) != p.meta.NumValues || plain != p.meta.TotalUncompressedSize {
		t.Fatalf("column %s: %d values and %d bytes, metadata says %d and %d", p.l.path, levels, plain, p.meta.NumValues, p.meta.TotalUncompressedSize)
	}
	for e := range encodings {
		if !slices.Contains(p.meta.Encodings, e) {
			t.Fatalf("column %s: a page in encoding %s, not in %v", p.l.path, e, p.meta.Encodings)
		}
	}
	for _, s := range p.meta.EncodingStats {
		if s.PageType == format.DataPage && s.Count != encodings[s.Encoding] && p.meta.EncodingStats != nil {
			t.Fatalf("column %s: %d pages in encoding %s, statistics say %d", p.l.path, encodings[s.Encoding], s.Encoding, s.Count)
		}
	}
}

// checkBounds sees that values lie within what is stated.
func checkBounds(t *testing.T, l *leaf, what string, stated *valueStats, s valueStats) {
	t.Helper()
	if stated == nil {
		return
	}
	if stated.nulls >= 0 && stated.nulls != s.nulls {
		t.Fatalf("column %s: %d nulls in a %s, it says %d", l.path, s.nulls, what, stated.nulls)
	}
	if s.min == nil || stated.unknown || l.maxRep > 0 { // what Arrow's writer states of lists and maps is wrong at times
		return
	}
	if stated.min == nil || l.compare(stated.min, s.min) > 0 || l.compare(stated.max, s.max) < 0 {
		t.Fatalf("column %s: a %s has %x to %x, it says %x to %x", l.path, what, s.min, s.max, stated.min, stated.max)
	}
}

// Random files, ours and others', changed again and again, are what a map says.
func TestBaseRewriteModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			rewriteModelRun(t, rand.New(rand.NewPCG(seed, 4)))
		})
	}
}

func rewriteModelRun(t *testing.T, rnd *rand.Rand) {
	sc := baseTestSchema()
	opts := baseTestOptions(t, sc)
	opts.rowGroupBytes, opts.pageBytes = int64(2_000+rnd.IntN(60_000)), int64(100+rnd.IntN(3000))
	keys := make([]string, 1+rnd.IntN(500))
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	m := rewriteModel{}
	first := rewriteRows(rnd, sc, keys, "f0.parquet")
	m.put(t, first, "f0.parquet")
	data, _ := writeBase(t, opts, first)
	if rnd.IntN(2) == 0 {
		data = foreignBase(t, rnd, opts, first)
	}
	if rnd.IntN(3) == 0 { // a column that the file does not have
		grown := arrow.NewSchema(append(slices.Clone(sc.Fields()),
			arrow.Field{Name: "more", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
			arrow.Field{Name: "added", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), nil)
		sc, opts.schema, opts.avroSchema = grown, grown, baseTestOptions(t, grown).avroSchema
		clear(m)
		for _, batch := range readBase(t, data, sc) {
			m.put(t, batch, "f0.parquet")
		}
	}
	for round := 1; round < 8; round++ {
		name := fmt.Sprintf("f%d.parquet", round)
		deletes, upserts := randomChanges(rnd, len(keys), round)
		for _, k := range deletes {
			delete(m, k)
		}
		batch := rewriteRows(rnd, sc, upserts, name)
		m.put(t, batch, name)
		half := batch.NumRows() / 2
		data = rewrite(t, opts, data, name, deletes, batch.NewSlice(0, half), batch.NewSlice(half, batch.NumRows()))
		m.check(t, data, sc, name)
		checkKeysOf(t, data, m)
		checkIndexes(t, data)
	}
}

// randomChanges are some keys to delete and others to upsert, some of them new.
func randomChanges(rnd *rand.Rand, keys, round int) (deletes, upserts []string) {
	many := []int{1, 10, 100, 1000}[rnd.IntN(4)]
	from, seen := rnd.IntN(keys), map[int]bool{}
	for i := range keys + keys/4 {
		k := i + round*rnd.IntN(2)
		if seen[k] {
			continue
		}
		switch at := rnd.IntN(1000); {
		case at < many && rnd.IntN(3) == 0, many == 1000 && i > from && i < from+keys/2:
			deletes = append(deletes, strconv.Itoa(k))
		case at < many:
			upserts = append(upserts, strconv.Itoa(k))
		default:
			continue
		}
		seen[k] = true
	}
	return deletes, upserts
}
