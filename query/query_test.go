//go:build cgo && !nosql

package query_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/query"
)

// numbers is a relation of the numbers below n: n, its text, and a wide column that no
// query should read without need.
type numbers struct {
	n     int64
	fail  int64        // the row at which reading fails; 0: none
	scans atomic.Int32 // that began
	ended atomic.Int32
	read  atomic.Pointer[[]string] // the columns of the last scan
}

var numbersSchema = arrow.NewSchema([]arrow.Field{
	{Name: "wide", Type: arrow.BinaryTypes.Binary, Nullable: true},
	{Name: "n", Type: arrow.PrimitiveTypes.Int64},
	{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

var errBroken = errors.New("the disk is on fire")

func (r *numbers) relation() *query.Relation {
	return &query.Relation{Schema: numbersSchema, Rows: r.n, Read: r.rows}
}

func (r *numbers) rows(ctx context.Context, scan query.Scan) iter.Seq2[arrow.RecordBatch, error] {
	r.scans.Add(1)
	columns := scan.Columns
	r.read.Store(&columns)
	return func(yield func(arrow.RecordBatch, error) bool) {
		defer r.ended.Add(1)
		const size = 5000 // more than a chunk, and no multiple of it
		for from := int64(0); from < r.n; from += size {
			if r.fail > 0 && from >= r.fail || ctx.Err() != nil {
				yield(nil, errors.Join(errBroken, ctx.Err()))
				return
			}
			batch := numbersBatch(from, min(from+size, r.n), columns)
			more := yield(batch, nil)
			batch.Release()
			if !more {
				return
			}
		}
	}
}

func numbersBatch(from, to int64, columns []string) arrow.RecordBatch {
	var fields []arrow.Field
	for _, c := range columns {
		f, _ := numbersSchema.FieldsByName(c)
		fields = append(fields, f...)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for n := from; n < to; n++ {
		for i, c := range columns {
			switch b := b.Field(i).(type) {
			case *array.Int64Builder:
				b.Append(n)
			case *array.StringBuilder:
				if n%10 == 3 {
					b.AppendNull()
				} else {
					b.Append(fmt.Sprintf("number %d", n))
				}
			case *array.BinaryBuilder:
				b.Append([]byte(strings.Repeat(c, 1000)))
			}
		}
	}
	return b.NewRecordBatch()
}

func open(t *testing.T, opts query.Options, tables map[string]*query.Relation) *query.DB {
	t.Helper()
	opts.Lookup = func(_ context.Context, ref query.Ref) (*query.Relation, error) {
		if r := tables[ref.Name]; r != nil {
			return r, nil
		}
		return nil, query.ErrNoTable
	}
	db, err := query.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// answer is a result's rows as text, one a line.
func answer(db *query.DB, sql string) (string, error) {
	r, err := db.Query(context.Background(), sql)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for batch, err := range r.Batches() {
		if err != nil {
			return "", err
		}
		for row := range int(batch.NumRows()) {
			for i, col := range batch.Columns() {
				if i > 0 {
					b.WriteByte(' ')
				}
				b.WriteString(col.ValueStr(row))
			}
			b.WriteByte('\n')
		}
	}
	return b.String(), nil
}

func want(t *testing.T, db *query.DB, sql, rows string) {
	t.Helper()
	got, err := answer(db, sql)
	if err != nil {
		t.Errorf("%s: %v", sql, err)
	} else if strings.TrimSpace(got) != rows {
		t.Errorf("%s:\n got %s\nwant %s", sql, got, rows)
	}
}

// Each scan of a table has all of its rows: joined with itself, in a common table
// expression, in a correlated subquery, in a recursion, and in the next query.
func TestScansAreWhole(t *testing.T) {
	t.Parallel()
	nums := &numbers{n: 20_000}
	few := &numbers{n: 20}
	db := open(t, query.Options{}, map[string]*query.Relation{"nums": nums.relation(), "shop.few": few.relation()})
	for range 2 {
		want(t, db, "SELECT count(*), sum(n), count(name), max(n) FROM nums", "20000 199990000 18000 19999")
		want(t, db, "SELECT count(*) FROM nums a JOIN nums b USING (n) JOIN nums c ON c.n = a.n + 1", "19999")
		want(t, db, "SELECT count(*) FROM nums UNION ALL SELECT count(*) FROM nums WHERE n < 7 ORDER BY 1", "7\n20000")
		want(t, db, "WITH x AS (SELECT n FROM nums WHERE n % 2 = 0) SELECT count(*) FROM x a, x b WHERE a.n = b.n", "10000")
		want(t, db, "SELECT sum((SELECT count(*) FROM shop.few b WHERE b.n <= a.n)) FROM shop.few a", "210")
		want(t, db, "WITH RECURSIVE r AS (SELECT 0 AS n UNION ALL SELECT f.n + 1 FROM r JOIN shop.few f ON f.n = r.n) SELECT count(*), max(n) FROM r", "21 20")
		want(t, db, "SELECT count(*) FROM shop.few a, shop.few b, shop.few c", "8000")
		want(t, db, "SELECT a.n FROM shop.few a WHERE NOT EXISTS (SELECT 1 FROM shop.few b WHERE b.n > a.n)", "19")
		want(t, db, "SELECT count(*) FROM read_hudi('nums') a JOIN nums b USING (n)", "20000")
		want(t, db, "SELECT count(*) FROM nums LIMIT 0", "")
	}
	runtime.GC()
	if b, e := nums.scans.Load(), nums.ended.Load(); b != e {
		t.Errorf("%d scans began, %d ended", b, e)
	}
}

// Only the columns that a query names are read.
func TestProjection(t *testing.T) {
	t.Parallel()
	nums := &numbers{n: 100}
	db := open(t, query.Options{}, map[string]*query.Relation{"nums": nums.relation()})
	for sql, columns := range map[string]string{
		"SELECT sum(n) FROM nums":                                        "[n]",
		"SELECT count(*) FROM nums":                                      "[n]",
		"SELECT name FROM nums WHERE n = 5":                              "[n name]",
		"SELECT name, n FROM (SELECT * FROM nums) ORDER BY n LIMIT 1":    "[n name]",
		"SELECT wide FROM nums LIMIT 1":                                  "[wide]",
		"WITH x AS (SELECT * FROM nums) SELECT max(length(name)) FROM x": "[name]",
	} {
		if _, err := answer(db, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		} else if got := fmt.Sprint(slices.Sorted(slices.Values(*nums.read.Load()))); got != columns {
			t.Errorf("%s: read %s, want %s", sql, got, columns)
		}
	}
}

// A table's error is what the query returns, however deep it happens; the next query runs.
func TestTableErrors(t *testing.T) {
	t.Parallel()
	late, nums := &numbers{n: 20_000, fail: 12_000}, &numbers{n: 10}
	db := open(t, query.Options{}, map[string]*query.Relation{"late": late.relation(), "nums": nums.relation()})
	for _, sql := range []string{
		"SELECT sum(n) FROM late", "SELECT * FROM late", "SELECT * FROM late ORDER BY name", "SELECT a.n FROM nums a JOIN late b ON a.n = b.n",
	} {
		if _, err := answer(db, sql); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "read late") {
			t.Errorf("%s: %v", sql, err)
		}
		want(t, db, "SELECT count(*) FROM nums", "10")
	}
}

// Mistakes are told as SQL errors.
func TestSQLErrors(t *testing.T) {
	t.Parallel()
	nums := &numbers{n: 10}
	db := open(t, query.Options{}, map[string]*query.Relation{"nums": nums.relation()})
	for sql, says := range map[string]string{
		"SELEC 1":                                "syntax error",
		"":                                       "want one statement, got 0",
		"SELECT 1; SELECT 2":                     "want one statement, got 2",
		"SELECT nam FROM nums":                   `"nam" not found`,
		"SELECT * FROM nothing":                  "Table with name nothing does not exist",
		"SELECT * FROM a.b.c":                    "does not exist",
		"SELECT * FROM read_hudi('nothing')":     `read_hudi("nothing"): no such table`,
		"SELECT ?":                               "1 parameters",
		"SELECT cast(name AS int) FROM nums":     "Could not convert string",
		"CREATE TABLE x AS SELECT 1":             "only queries run here",
		"INSERT INTO nums VALUES (1)":            "",
		"DROP VIEW nums":                         "",
		"SET threads = 1":                        "only queries run here",
		"COPY nums TO '/dev/null'":               "",
		"COPY (SELECT 1) TO '/dev/null'":         "disabled",
		"ATTACH 'x.db'":                          "only queries run here",
		"INSTALL httpfs":                         "only queries run here",
		"CALL pragma_version()":                  "only queries run here",
		"SELECT * FROM '/etc/passwd'":            "does not exist",
		"SELECT * FROM read_csv('/etc/passwd')":  "disabled",
		"SELECT * FROM read_text('/etc/passwd')": "disabled",
		"SELECT * FROM read_parquet('http://127.0.0.1:1/x')":       "disabled",
		"SELECT * FROM glob('/etc/*')":                             "disabled",
		"SELECT getenv('HOME')":                                    "",
		"SELECT * FROM duckdb_secrets(), read_blob('/etc/passwd')": "disabled",
	} {
		_, err := answer(db, sql)
		if sqlErr := new(query.SQLError); !errors.As(err, &sqlErr) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", sql, err, says)
		}
	}
	want(t, db, "SELECT count(*) FROM nums", "10")
}

// A query that is larger than its memory spills, and leaves nothing behind.
func TestSpill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	nums := &numbers{n: 120_000}
	db := open(t, query.Options{Memory: 40 << 20, Threads: 2, TempDir: dir}, map[string]*query.Relation{"nums": nums.relation()})
	want(t, db, "SELECT count(*) FROM (SELECT wide[1:200] AS w, name, n FROM nums ORDER BY name DESC, n) WHERE w IS NOT NULL", "120000")
	want(t, db, "SELECT count(*) FROM (SELECT name || ' and a long text behind it, so that it takes room ' || n AS g FROM nums GROUP BY g)", "108001")
}

// A query ends with its context, and its scans with it.
func TestCancel(t *testing.T) {
	t.Parallel()
	nums := &numbers{n: 1 << 40}
	db := open(t, query.Options{}, map[string]*query.Relation{"nums": nums.relation()})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	r, err := db.Query(ctx, "SELECT n, sum(n) OVER (ORDER BY n) FROM nums")
	if err == nil {
		for _, err = range r.Batches() {
			if err != nil {
				break
			}
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	small := &numbers{n: 5}
	db2 := open(t, query.Options{}, map[string]*query.Relation{"nums": small.relation()})
	want(t, db2, "SELECT count(*) FROM nums", "5")
}

// A caller may stop early; the result comes while the table is still being read.
func TestStreams(t *testing.T) {
	t.Parallel()
	nums := &numbers{n: 1 << 40}
	db := open(t, query.Options{}, map[string]*query.Relation{"nums": nums.relation()})
	r, err := db.Query(t.Context(), "SELECT n * 2 FROM nums")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Query(t.Context(), "SELECT 1"); err == nil || !strings.Contains(err.Error(), "a query is running") {
		t.Errorf("a second query: %v", err)
	}
	rows := int64(0)
	for batch, err := range r.Batches() {
		if err != nil {
			t.Fatal(err)
		}
		if rows += batch.NumRows(); rows > 100_000 {
			break
		}
	}
	want(t, db, "SELECT n FROM nums LIMIT 3", "0\n1\n2")
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for says, opts := range map[string]query.Options{
		"memory 5":   {Memory: 5},
		"threads -1": {Threads: -1},
	} {
		if _, err := query.Open(t.Context(), opts); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

// What is allowed with external access.
func TestAllowExternal(t *testing.T) {
	t.Parallel()
	nums := &numbers{n: 10}
	db := open(t, query.Options{AllowExternal: true}, map[string]*query.Relation{"nums": nums.relation()})
	file := t.TempDir() + "/nums.parquet"
	if _, err := answer(db, "COPY (SELECT n, name FROM nums) TO '"+file+"'"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	want(t, db, "SELECT count(*) FROM '"+file+"' JOIN nums USING (n)", "10")
}

// The first query that names tables finds them, whatever stands between the names.
func TestFirstQuery(t *testing.T) {
	t.Parallel()
	for sql, rows := range map[string]string{
		"SELECT count(*) FROM nums a JOIN nums b USING (n) JOIN shop.few c USING (n)":        "20",
		"SELECT count(*) FROM shop.few NATURAL JOIN nums":                                    "18",
		"WITH nums AS (SELECT * FROM shop.few) SELECT count(*) FROM nums":                    "20",
		"SELECT (SELECT max(name) FROM nums WHERE nums.n = f.n) FROM shop.few f WHERE n = 2": "number 2",
		"SELECT n FROM shop.few WHERE n IN (FROM nums SELECT n WHERE name = 'number 7')":     "7",
		"SELECT count(*) FROM nums ANTI JOIN read_hudi('shop.few') USING (n)":                "80",
	} {
		nums, few := &numbers{n: 100}, &numbers{n: 20}
		db := open(t, query.Options{}, map[string]*query.Relation{"nums": nums.relation(), "shop.few": few.relation()})
		want(t, db, sql, rows)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	one := &numbers{n: 1}
	db := open(t, query.Options{}, map[string]*query.Relation{"a.b c": one.relation(), `x"y`: one.relation(), "Public.Orders": one.relation(), "main.m": one.relation()})
	want(t, db, `SELECT count(*) FROM a."b c"`, "1")
	want(t, db, `SELECT count(*) FROM "x""y"`, "1")
	want(t, db, `SELECT count(*) FROM Public.Orders`, "1")
	want(t, db, `SELECT count(*) FROM main.m`, "1")
	want(t, db, `SELECT count(*) FROM information_schema.tables WHERE table_name = 'm'`, "1")
	want(t, db, `SHOW TABLES`, "m\nx\"y")
}

// What a caller keeps of a result is still so after the result, and DuckDB's memory, is gone.
func TestResultsAreOurs(t *testing.T) {
	t.Parallel()
	nums := &numbers{n: 30_000}
	db := open(t, query.Options{}, map[string]*query.Relation{"nums": nums.relation()})
	r, err := db.Query(t.Context(), "SELECT name, [name, name] AS l, {'a': name} AS s FROM nums WHERE name IS NOT NULL ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	var names, parts []string
	for batch, err := range r.Batches() {
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(batch.NumRows()) {
			names = append(names, batch.Column(0).(*array.String).Value(i))
			parts = append(parts, batch.Column(2).(*array.Struct).Field(0).(*array.String).Value(i))
		}
	}
	if _, err := answer(db, "SELECT name FROM nums ORDER BY n DESC"); err != nil {
		t.Fatal(err)
	}
	for i := range names {
		n := i/9*10 + i%9
		if n%10 >= 3 {
			n++
		}
		if want := fmt.Sprintf("number %d", n); names[i] != want || parts[i] != want {
			t.Fatalf("row %d: %q, %q, want %q", i, names[i], parts[i], want)
		}
	}
}
