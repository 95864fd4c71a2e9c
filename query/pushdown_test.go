//go:build cgo && !nosql

package query_test

import (
	"cmp"
	"context"
	"crypto/sha512"
	"fmt"
	"io"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi"
	"lakefeed/query"
	"lakefeed/storage"
	"lakefeed/storage/mem"
)

var salesSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "n", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
	{Name: "ts", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
	{Name: "note", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "price", Type: &arrow.Decimal128Type{Precision: 9, Scale: 2}, Nullable: true},
	{Name: "weight", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "paid", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
}, nil)

// salesTable has rows of ids up to a number, every seventh of which has nulls.
func salesTable(t *testing.T, store storage.Store, rows int, opts hudi.CreateOptions) *hudi.Table {
	t.Helper()
	opts.Name, opts.Schema, opts.RecordKey, opts.OrderingField = "sales", salesSchema, []string{"id"}, "id"
	table, err := hudi.Create(t.Context(), store, opts)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for i := range rows {
		fmt.Fprintf(&text, `{"id":%d`, i)
		if i%7 != 3 {
			fmt.Fprintf(&text, `,"n":%d,"name":"name %d","day":"2026-01-%02d","ts":"2026-01-02T%02d:30:00Z","note":"%x","price":"%d.%02d","weight":%d.5,"paid":%t`,
				i%10-5, i%20, i%28+1, i%24, sha512.Sum512([]byte{byte(i), byte(i >> 8)}), i%9, i%100, i%5, i%2 == 0)
		}
		text.WriteString("}\n")
	}
	r := array.NewJSONReader(strings.NewReader(text.String()), salesSchema, array.WithChunk(-1), array.WithAllocator(memory.DefaultAllocator))
	defer r.Release()
	for r.Next() {
		if _, err := table.Upsert(t.Context(), r.RecordBatch()); err != nil {
			t.Fatal(err)
		}
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	return table
}

// asked is a relation that notes which filters its scans were given and, with ignore,
// passes none of them on.
type asked struct {
	*query.Relation
	ignore bool
	mu     sync.Mutex
	any    bool
}

func (a *asked) relation() *query.Relation {
	return &query.Relation{Schema: a.Schema, Rows: a.Rows, Read: func(ctx context.Context, s query.Scan) iter.Seq2[arrow.RecordBatch, error] {
		a.mu.Lock()
		a.any = a.any || !reflect.DeepEqual(s.Filter, hudi.Filter{})
		a.mu.Unlock()
		if a.ignore {
			s.Filter = hudi.Filter{}
		}
		return a.Read(ctx, s)
	}}
}

// TestPushdown: whatever a query says, its answer is the same as without filters; and
// those that should be have been passed on.
func TestPushdown(t *testing.T) {
	t.Parallel()
	table := salesTable(t, mem.New(), 300, hudi.CreateOptions{Type: hudi.MergeOnRead, Options: hudi.Options{Buckets: 2}})
	given := &asked{Relation: query.FromTable(table, table.Schema(), hudi.ReadOptions{})}
	plain := &asked{Relation: given.Relation, ignore: true}
	one := open(t, query.Options{}, map[string]*query.Relation{"sales": given.relation(), "shop.sales": given.relation()})
	other := open(t, query.Options{}, map[string]*query.Relation{"sales": plain.relation(), "shop.sales": plain.relation()})
	for _, q := range []struct {
		filters bool
		sql     string
	}{
		{true, "SELECT id FROM sales WHERE id = 7"},
		{true, "SELECT id FROM sales WHERE 7 > id AND length(name) > 2"},
		{true, "SELECT id FROM shop.sales s WHERE s.n BETWEEN -1 AND 2 AND S.ID <> 5"},
		{true, "SELECT id FROM sales WHERE n IN (1, -2)"},
		{true, "SELECT id FROM sales WHERE n NOT IN (1, -2)"},
		{true, "SELECT id FROM sales WHERE NOT (n = 1 OR name IS NULL)"},
		{true, "SELECT id FROM sales WHERE name IS NOT NULL AND name >= 'name 1' AND name < 'name 3'"},
		{true, "SELECT id FROM sales WHERE n < 0 OR n > 3 OR n IS NULL"},
		{true, "SELECT id FROM sales WHERE day >= DATE '2026-01-20' AND day < '2026-01-25'"},
		{true, "SELECT id FROM sales WHERE ts > TIMESTAMPTZ '2026-01-02 20:00:00+00' OR ts <= '2026-01-02T01:30:00Z'"},
		{true, "SELECT id FROM sales WHERE ts < '2026-01-02 03:00:00+02:00'"},
		{true, "SELECT id FROM sales WHERE price > 7.5 OR price = 3 OR price < 0.07"},
		{true, "SELECT count(*) FROM sales WHERE id < 100 GROUP BY n"},
		{true, "WITH c AS (SELECT * FROM sales WHERE n = 2) SELECT a.id FROM c a JOIN c b USING (id)"},
		{true, "SELECT id FROM (SELECT * FROM sales WHERE id < 50) WHERE n = 2"},
		{true, "SELECT a.id FROM sales a LEFT JOIN shop.sales b ON a.id = b.n WHERE a.n = 2 AND b.id IS NULL UNION ALL SELECT id FROM sales WHERE id = 3"},
		{true, "SELECT s.id FROM sales s, range(5) r(n) WHERE s.n = r.n AND s.id > 250"},
		{true, "SELECT id FROM sales WHERE id = 4 UNION SELECT id FROM sales WHERE id = 5"},
		{true, "SELECT x.id FROM shop.sales x JOIN sales y ON x.id = y.id WHERE x.id < 9"},
		{true, "SELECT s.id FROM sales s ANTI JOIN shop.sales o ON s.id = o.n WHERE id < 20"},
		{true, "FROM sales SELECT max(id) WHERE id <= 17"},
		{true, "SELECT id FROM sales WHERE n = 9999"},

		{false, "SELECT id FROM sales a LEFT JOIN (SELECT id AS k FROM sales) b ON a.id = b.k + 100 WHERE k IS NULL"},
		{false, "SELECT a.id FROM sales a LEFT JOIN sales b ON a.id = b.n WHERE b.id IS NULL"},
		{false, "SELECT a.id FROM (SELECT range AS id FROM range(400)) a LEFT JOIN sales b ON a.id = b.id WHERE b.id IS NULL"},
		{false, "SELECT a.id, b.id FROM sales a FULL JOIN sales b ON a.id = b.n WHERE a.id = 2"},
		{false, "SELECT a.id FROM sales a JOIN sales b ON a.id = b.n WHERE a.id = 2"}, // all of the other mention is needed
		{false, "SELECT id FROM sales WHERE id = (SELECT max(id) FROM sales)"},
		{false, "SELECT id, -id AS n FROM sales WHERE n = 2"},
		{false, "SELECT id AS n, n AS id FROM sales WHERE n = 2"},
		{false, "SELECT n FROM (SELECT id AS n FROM sales) WHERE n = 2"},
		{false, "SELECT id FROM sales s(n, id) WHERE n = 2"},
		{false, "WITH sales AS (SELECT 2 AS id) SELECT id FROM sales WHERE id = 2"},
		{false, "SELECT id FROM sales WHERE id = 5 OR weight > 3"},
		{false, "SELECT id FROM sales WHERE weight > 3.4"},
		{false, "SELECT id FROM sales WHERE n > 1.5"},
		{false, "SELECT id FROM sales WHERE n = '2'"},
		{false, "SELECT id FROM sales WHERE n = 3000000000"},
		{false, "SELECT id FROM sales WHERE price = 3.001"},
		{false, "SELECT id FROM sales WHERE n + 1 = 2 AND paid"},
		{false, "SELECT id FROM sales WHERE id = NULL"},
		{false, "SELECT id FROM sales WHERE n IS NOT DISTINCT FROM NULL"},
		{false, "SELECT id FROM sales WHERE ts >= TIMESTAMP '2026-01-02 22:00:00'"},
		{false, "SELECT id FROM sales WHERE ts >= '2026-01-02 22:00:00 Europe/Berlin'"},
		{false, "SELECT id FROM query_table('sales') WHERE id < (SELECT max(id) FROM sales WHERE id = 3)"},
		{false, "SELECT id FROM read_hudi('sales') WHERE id = 3"},
		{false, "SELECT count(*) FROM (SUMMARIZE sales)"},
		{false, "SELECT count(*) > 0 FROM (SELECT id FROM sales WHERE id >= 0 USING SAMPLE 100%)"},
	} {
		given.any = false
		got, err := answer(one, q.sql)
		if err != nil {
			t.Errorf("%s: %v", q.sql, err)
			continue
		}
		want, err := answer(other, q.sql)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := sortedLines(got), sortedLines(want); got != want {
			t.Errorf("%s:\n got %s\nwant %s", q.sql, got, want)
		}
		if given.any != q.filters {
			t.Errorf("%s: a filter was passed on: %v", q.sql, given.any)
		}
	}
}

func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.SortFunc(lines, cmp.Compare)
	return strings.Join(lines, "\n")
}

// countedStore counts the bytes that are read of files.
type countedStore struct {
	storage.Store
	bytes *atomic.Int64
}

func (s countedStore) Open(ctx context.Context, name string) (storage.Reader, error) {
	r, err := s.Store.Open(ctx, name)
	return countedReader{r, s.bytes}, err
}

type countedReader struct {
	storage.Reader
	bytes *atomic.Int64
}

func (r countedReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.Reader.ReadAt(p, off)
	r.bytes.Add(int64(n))
	return n, err
}

var _ io.ReaderAt = countedReader{}

// TestPushdownReadsLess: a query of few rows reads few pages, and one of one partition
// none of the others' files.
func TestPushdownReadsLess(t *testing.T) {
	t.Parallel()
	read := new(atomic.Int64)
	store := countedStore{mem.New(), read}
	whole := salesTable(t, storage.Sub(store, "whole"), 10_000, hudi.CreateOptions{Type: hudi.CopyOnWrite, Options: hudi.Options{Buckets: 1, RowGroupBytes: 200_000}})
	parts := salesTable(t, storage.Sub(store, "parts"), 2_000, hudi.CreateOptions{Type: hudi.CopyOnWrite, PartitionBy: []string{"day"}, Options: hudi.Options{Buckets: 1}})
	db := open(t, query.Options{}, map[string]*query.Relation{
		"whole": query.FromTable(whole, whole.Schema(), hudi.ReadOptions{}),
		"parts": query.FromTable(parts, parts.Schema(), hudi.ReadOptions{}),
	})
	for _, table := range []string{"whole", "parts"} {
		cost := func(where string) int64 {
			read.Store(0)
			if _, err := answer(db, "SELECT count(*), sum(n), min(name), max(ts), max(note) FROM "+table+where); err != nil {
				t.Fatal(err)
			}
			return read.Load()
		}
		all, some := cost(""), cost(" WHERE id BETWEEN 1200 AND 1210 AND day = '2026-01-25'")
		t.Logf("%s: %d bytes of %d", table, some, all)
		if some > all/3 {
			t.Errorf("%s: %d bytes were read for a few rows, and %d for all", table, some, all)
		}
	}
}
