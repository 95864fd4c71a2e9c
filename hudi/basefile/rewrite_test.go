package basefile

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/parquet-go/parquet-go/format"

	"lakefeed/hudi/internal/basetest"
)

// rewriteModel is what a base file should hold: the text of each key's row.
type rewriteModel map[string]string

func (m rewriteModel) put(t testing.TB, batch arrow.RecordBatch, name string) {
	t.Helper()
	for i := range batch.NumRows() {
		row, err := batch.NewSlice(i, i+1).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		key := batch.Column(2).(*array.String).Value(int(i))
		m[strings.Clone(key)] = strings.Replace(string(row), name, "FILE", 1)
	}
}

func (m rewriteModel) check(t *testing.T, data []byte, sc *arrow.Schema, name string) {
	t.Helper()
	got := rewriteModel{}
	rows := 0
	for _, batch := range readFile(t, data, sc) {
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
func rewrite(t *testing.T, opts WriterOptions, data []byte, name string, deletes []string, upserts ...arrow.RecordBatch) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, opts)
	if err != nil {
		t.Fatal(err)
	}
	r := NewRewrite(w, name)
	r.Delete(deletes)
	for _, batch := range upserts {
		if err := r.Upsert(batch); err != nil {
			t.Fatal(err)
		}
	}
	stats, err := r.Finish(t.Context(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if stats.Bytes != int64(out.Len()) {
		t.Errorf("%d bytes written, stats say %d", out.Len(), stats.Bytes)
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
func TestRewriteModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			rewriteModelRun(t, rand.New(rand.NewPCG(seed, 4)))
		})
	}
}

func rewriteModelRun(t *testing.T, rnd *rand.Rand) {
	sc := basetest.Schema()
	opts := testOptions(t, sc)
	opts.RowGroupBytes, opts.PageBytes = int64(2_000+rnd.IntN(60_000)), int64(100+rnd.IntN(3000))
	keys := make([]string, 1+rnd.IntN(500))
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	m := rewriteModel{}
	first := basetest.Rows(rnd, sc, keys, "f0.parquet")
	m.put(t, first, "f0.parquet")
	data, _ := writeFile(t, opts, first)
	if rnd.IntN(2) == 0 {
		data = basetest.Foreign(t, rnd, opts.AvroSchema, first)
	}
	if rnd.IntN(3) == 0 { // a column that the file does not have
		grown := arrow.NewSchema(append(slices.Clone(sc.Fields()),
			arrow.Field{Name: "more", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
			arrow.Field{Name: "added", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), nil)
		sc, opts.Schema, opts.AvroSchema = grown, grown, testOptions(t, grown).AvroSchema
		clear(m)
		for _, batch := range readFile(t, data, sc) {
			m.put(t, batch, "f0.parquet")
		}
	}
	for round := 1; round < 8; round++ {
		name := fmt.Sprintf("f%d.parquet", round)
		deletes, upserts := randomChanges(rnd, len(keys), round)
		for _, k := range deletes {
			delete(m, k)
		}
		batch := basetest.Rows(rnd, sc, upserts, name)
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
