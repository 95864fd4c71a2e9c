package postgres_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/internal/everytype"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// threeWays copies a table's rows, has them written again, and reads those in binary and
// as text: the rows by the three ways are the same.
func threeWays(t *testing.T, db *pgtest.Database, table string, rules postgres.TableTypes) []row {
	t.Helper()
	types := func(string, string) postgres.TableTypes { return rules }
	f := open(t, db, postgres.Options{Types: types}).begin()
	copied := f.copied(table)
	f.stream()
	db.Exec(t, fmt.Sprintf("UPDATE %s SET id = id", table))
	read := func(f *feed) []row {
		rows, failures := f.drain()
		if len(failures) > 0 {
			t.Fatal(failures[0].Err)
		}
		return rows[table]
	}
	inBinary := read(f)
	g := open(t, db, postgres.Options{Types: types, Text: true})
	g.start = f.start
	closeFeed(t, f)
	g.stream()
	asText := read(g)
	closeFeed(t, g)
	if err := f.DropSlot(t.Context()); err != nil {
		t.Fatal(err)
	}
	byID := func(a, b row) int { return strings.Compare(a.values[0], b.values[0]) }
	for _, rows := range [][]row{copied, inBinary, asText} {
		slices.SortFunc(rows, byID)
	}
	for i, want := range copied {
		for way, rows := range map[string][]row{"in binary": inBinary, "as text": asText} {
			if len(rows) != len(copied) {
				t.Fatalf("%d rows %s, %d copied", len(rows), way, len(copied))
			}
			if got := rows[i]; got.reject == nil && !slices.Equal(got.values, want.values) || fmt.Sprintf("%+v", got.reject) != fmt.Sprintf("%+v", want.reject) {
				t.Errorf("%s:\n %q %+v\ncopied:\n %q %+v", way, got.values, got.reject, want.values, want.reject)
			}
		}
	}
	return copied
}

// TestForms lands arrays and composites in each of their forms.
func TestForms(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, typeSetup...)
	db.Exec(t,
		`CREATE TYPE odd AS ("a b" int, "A_B" bytea, "9" float8, b timestamptz, c priced)`,
		`CREATE DOMAIN onepair AS pair CHECK ((VALUE).a > 0)`,
		`CREATE TABLE t (id int PRIMARY KEY, p pair, o odd, dp onepair, a int[], ps pair[], big numeric, small numeric(5,2), d date, ia inet[])`,
		`INSERT INTO t VALUES (1, ROW(1, 'x,"y"\()'), ROW(7, '\x00ff', 'NaN', '2026-01-02 03:04:05.678901+02', ROW('n', 3)), ROW(2, NULL), '{1,-2}', ARRAY[ROW(1,'a'), ROW(NULL,'')]::pair[], 1.50, 1.5, '2026-01-02', '{10.0.0.1/8}')`,
		`INSERT INTO t VALUES (2, ROW(NULL, NULL), ROW(NULL, NULL, NULL, NULL, NULL), NULL, '{}', '{}', NULL, NULL, NULL, NULL)`, `INSERT INTO t VALUES (3)`,
	)
	forms := []struct {
		rules postgres.TableTypes
		types string // of the columns behind id
		first string
		last  string
	}{
		{
			postgres.TableTypes{},
			"struct<a: int32, b: utf8>|struct<a_b: int32, A_B_2: binary, _9: float64, b: timestamp[us, tz=UTC], c: struct<name: utf8, price: utf8>>|struct<a: int32, b: utf8>|utf8|utf8|decimal(38, 18)|decimal(5, 2)|date32|utf8",
			`map[a:1 b:x,"y"\()]|map[A_B_2:\x00ff _9:NaN a_b:7 b:2026-01-02 01:04:05.678901 c:map[name:n price:$3.00]]|map[a:2 b:NULL]|[1,-2]|[{"a":1,"b":"a"},{"a":null,"b":""}]|1.500000000000000000|1.50|2026-01-02|["10.0.0.1/8"]`,
			"NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL",
		},
		{
			postgres.TableTypes{Arrays: postgres.ArrayList, Columns: map[string]postgres.TableTypes{"dp": {Composites: postgres.CompositeText}, "ia": {Arrays: postgres.ArrayText}}},
			"struct<a: int32, b: utf8>|struct<a_b: int32, A_B_2: binary, _9: float64, b: timestamp[us, tz=UTC], c: struct<name: utf8, price: utf8>>|utf8|list<element: int32>|list<element: struct<a: int32, b: utf8>>|decimal(38, 18)|decimal(5, 2)|date32|utf8",
			`map[a:1 b:x,"y"\()]|map[A_B_2:\x00ff _9:NaN a_b:7 b:2026-01-02 01:04:05.678901 c:map[name:n price:$3.00]]|(2,)|["1" "-2"]|["map[a:1 b:a]" "map[a:NULL b:]"]|1.500000000000000000|1.50|2026-01-02|{10.0.0.1/8}`,
			"NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL",
		},
		{
			postgres.TableTypes{OutOfRange: postgres.AsText, Arrays: postgres.ArrayText, Composites: postgres.CompositeText},
			"utf8|utf8|utf8|utf8|utf8|utf8|utf8|utf8|utf8",
			`(1,"x,""y""\\()")|(7,"\\x00ff",NaN,"2026-01-02 01:04:05.678901+00","(n,$3.00)")|(2,)|{1,-2}|{"(1,a)","(,\"\")"}|1.50|1.50|2026-01-02|{10.0.0.1/8}`,
			"NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL",
		},
		{
			postgres.TableTypes{Numeric: postgres.NumericText, Composites: postgres.CompositeText},
			"utf8|utf8|utf8|utf8|utf8|utf8|decimal(5, 2)|date32|utf8",
			`(1,"x,""y""\\()")|(7,"\\x00ff",NaN,"2026-01-02 01:04:05.678901+00","(n,$3.00)")|(2,)|[1,-2]|[{"a":1,"b":"a"},{"a":null,"b":""}]|1.50|1.50|2026-01-02|["10.0.0.1/8"]`,
			"NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL",
		},
	}
	for _, form := range forms {
		rows := threeWays(t, db, "t", form.rules)
		var types []string
		for _, c := range rows[0].table.Columns[1:] {
			types = append(types, strings.NewReplacer(" nullable", "", ", nullable", "").Replace(fmt.Sprint(c.Arrow)))
		}
		expect(t, "types", strings.Join(types, "|"), form.types)
		expect(t, "the first row", strings.Join(rows[0].values[1:], "|"), form.first)
		expect(t, "the last row", strings.Join(rows[2].values[1:], "|"), form.last)
	}
}

// TestFlatKeys keeps the columns of a key in a form that has one text.
func TestFlatKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, typeSetup...)
	db.Exec(t, `CREATE TABLE t (id int, p pair, a int[], v pair, PRIMARY KEY (id, p, a))`, `INSERT INTO t VALUES (1, ROW(1, 'x'), '{1,2}', ROW(2, 'y'))`)
	rows := threeWays(t, db, "t", postgres.TableTypes{Arrays: postgres.ArrayList})
	expect(t, "the row", rows[0].String(), "r 1|(1,x)|[1,2]|map[a:2 b:y]")
}

// TestRejects hands out the rows that a column cannot hold, the same by each way.
func TestRejects(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, typeSetup...)
	db.Exec(t,
		`CREATE TABLE t (id int PRIMARY KEY, n numeric, d date, ts timestamptz, l int[], p deep)`,
		`INSERT INTO t VALUES (1, 1, '2026-01-02', '2026-01-02 03:04+00', '{1}')`,
		`INSERT INTO t VALUES (2, 'NaN', '2026-01-02', NULL, '{1}')`,
		`INSERT INTO t VALUES (3, 1, 'infinity', '10000-01-01 00:00+00', '{1}')`,
		`INSERT INTO t VALUES (4, 1, '0044-03-15 BC', NULL, NULL)`,
		`INSERT INTO t VALUES (5, 1, NULL, NULL, '{1,NULL}')`,
		`INSERT INTO t VALUES (6, 1, NULL, NULL, '{{1},{2}}')`,
		`INSERT INTO t VALUES (7, 1, NULL, NULL, NULL, ROW(ROW(1, 'a'), NULL, '-infinity', NULL, NULL))`,
		`INSERT INTO t VALUES (8, 2)`,
	)
	rows := threeWays(t, db, "t", postgres.TableTypes{OutOfRange: postgres.Quarantine, Arrays: postgres.ArrayList})
	var got []string
	for _, r := range rows {
		if r.reject == nil {
			got = append(got, r.values[0]+" fits")
			continue
		}
		got = append(got, fmt.Sprintf("%s %s %s: %s %s", r.values[0], r.reject.Key, r.reject.Column, r.reject.Reason, r.reject.Row))
	}
	expect(t, "rejects", strings.Join(got, "\n"), strings.Join([]string{
		`1 fits`,
		`2 [2] n: NaN has no decimal {"id":"2","n":"NaN","d":"2026-01-02","ts":null,"l":"{1}","p":null}`,
		`3 [3] d: infinity is no date {"id":"3","n":"1","d":"infinity","ts":"10000-01-01 00:00:00+00","l":"{1}","p":null}`,
		`4 [4] d: the year is outside 1 to 9999 {"id":"4","n":"1","d":"0044-03-15 BC","ts":null,"l":null,"p":null}`,
		`5 [5] l: a list holds no null, and the array has one {"id":"5","n":"1","d":null,"ts":null,"l":"{1,NULL}","p":null}`,
		`6 [6] l: a list has one dimension, and the array has more {"id":"6","n":"1","d":null,"ts":null,"l":"{{1},{2}}","p":null}`,
		`7 [7] p: infinity is no date {"id":"7","n":"1","d":null,"ts":null,"l":null,"p":"(\"(1,a)\",,-infinity,,)"}`,
		`8 fits`,
	}, "\n"))
	for _, r := range rows {
		if r.reject != nil && r.reject.NoKey {
			t.Errorf("row %s has a key", r.values[0])
		}
	}
}

// TestRejectedKeys hands out rows whose key does not fit, and what becomes of them.
func TestRejectedKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (d date, n int, v text, PRIMARY KEY (d, n))`)
	f := open(t, db, postgres.Options{Types: func(string, string) postgres.TableTypes { return postgres.TableTypes{OutOfRange: postgres.Quarantine} }}).begin().stream()
	db.Exec(t, `INSERT INTO t VALUES ('infinity', 1, 'a')`, `UPDATE t SET v = 'b'`, `UPDATE t SET n = 2`, `UPDATE t SET d = '2026-01-02'`, `UPDATE t SET d = '-infinity'`, `DELETE FROM t`)
	rows, failures := f.drain()
	if len(failures) > 0 {
		t.Fatal(failures[0].Err)
	}
	var got []string
	for _, r := range rows["t"] {
		s := string(rune(r.op))
		if r.moved {
			s += ">"
		}
		if r.reject != nil {
			s += fmt.Sprintf(" %q %t %s", r.reject.Key, r.reject.NoKey, r.reject.Row)
		}
		got = append(got, s)
	}
	expect(t, "changes", strings.Join(got, "\n"), strings.Join([]string{
		`c ["infinity" "1"] true {"d":"infinity","n":"1","v":"a"}`,
		`u ["infinity" "1"] true {"d":"infinity","n":"1","v":"b"}`,
		`d ["infinity" "1"] true {"d":"infinity","n":"1","v":null}`,
		`u> ["infinity" "2"] true {"d":"infinity","n":"2","v":"b"}`,
		`d ["infinity" "2"] true {"d":"infinity","n":"2","v":null}`,
		`u>`,
		`d`,
		`u> ["-infinity" "2"] true {"d":"-infinity","n":"2","v":"b"}`,
		`d ["-infinity" "2"] true {"d":"-infinity","n":"2","v":null}`,
	}, "\n"))
}

// TestGrowingEnum takes values that an enum got while the stream ran, in arrays and composites too.
func TestGrowingEnum(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TYPE m AS ENUM ('a')`, `CREATE TYPE c AS (m m, ms m[])`, `CREATE TABLE t (id int PRIMARY KEY, m m, ms m[], c c)`)
	f := open(t, db, postgres.Options{}).begin().stream()
	db.Exec(t, `INSERT INTO t VALUES (1, 'a', '{a}', ROW('a', '{a}'))`)
	rows, _ := f.drain()
	db.Exec(t, `ALTER TYPE m ADD VALUE 'b c' BEFORE 'a'`, `INSERT INTO t VALUES (2, 'b c', '{a,"b c"}', ROW('b c', '{"b c"}'))`)
	more, failures := f.drain()
	if len(failures) > 0 {
		t.Fatal(failures[0].Err)
	}
	expect(t, "rows", texts(append(rows["t"], more["t"]...)), `c 1|a|["a"]|map[m:a ms:["a"]]`+"\n"+`c 2|b c|["a","b c"]|map[m:b c ms:["b c"]]`)
}

// TestEveryCodePoint passes every character that text can hold, in text, in an array and in JSON.
func TestEveryCodePoint(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, s text, a text[], j jsonb)`)
	f := open(t, db, postgres.Options{}).begin().stream()
	db.Exec(t, everytype.CodePoints("t", 0))
	for n := 0; ; {
		chunk, err := f.Next(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range chunk.Batches {
			checkCodePoints(t, b)
			n += b.Len()
		}
		if n >= 272 {
			return
		}
	}
}

func checkCodePoints(t *testing.T, b *change.Batch) {
	t.Helper()
	ids, text := b.Rows.Column(0).(*array.Int32), b.Rows.Column(1).(*array.String)
	lists, objects := b.Rows.Column(2).(*array.String), b.Rows.Column(3).(*array.String)
	for row := range b.Len() {
		var want []rune
		for c := max(ids.Value(row)*4096, 1); c < (ids.Value(row)+1)*4096; c++ {
			if c < 0xD800 || c > 0xDFFF {
				want = append(want, c)
			}
		}
		var list []string
		var object struct{ S string }
		if err := errors.Join(json.Unmarshal([]byte(lists.Value(row)), &list), json.Unmarshal([]byte(objects.Value(row)), &object)); err != nil {
			t.Fatal(err)
		}
		if text.Value(row) != string(want) || !slices.Equal(list, []string{string(want)}) || object.S != string(want) {
			t.Fatalf("part %d differs", ids.Value(row))
		}
	}
}

// TestBadDefault refuses the one table whose older rows have a default that does not fit.
func TestBadDefault(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE fine (id int PRIMARY KEY)`, `CREATE TABLE bad (id int PRIMARY KEY)`, `CREATE TABLE later (id int PRIMARY KEY)`,
		`INSERT INTO bad VALUES (1)`, `INSERT INTO later VALUES (1)`, `ALTER TABLE bad ADD d date DEFAULT 'infinity'`)
	f := open(t, db, postgres.Options{})
	out, err := f.Prepare(t.Context(), []*change.Table{f.tables["fine"], f.tables["bad"], f.tables["later"]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Failed) != 1 || out.Failed[0].Table != f.tables["bad"] || !strings.Contains(out.Failed[0].Err.Error(), "column d: the value of rows older than the column: infinity") {
		t.Errorf("%+v", out.Failed)
	}
	if f.start, err = f.CreateSlot(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.stream()
	db.Exec(t, `INSERT INTO later VALUES (2)`, `ALTER TABLE later ADD d date DEFAULT '-infinity'`, `INSERT INTO later VALUES (3)`, `INSERT INTO fine VALUES (1)`)
	rows, failures := f.drain()
	expect(t, "the fine table", texts(rows["fine"]), "c 1")
	expect(t, "before the column", texts(rows["later"]), "c 2")
	if len(failures) != 1 || failures[0].Table.Name != "later" {
		t.Errorf("%+v", failures)
	}
}
