package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// a typeCase is a column: its type, how PostgreSQL prints what we render (%s is
// the column; "" is the column's own text), and values as SQL.
type typeCase struct {
	typ, print string
	values     []string
}

const (
	printMicros = `to_char(%s AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')`
	printJSON   = `array_to_json(%s)::text`
	// Go and PostgreSQL write exponents at other sizes: both are compared as what numeric prints.
	printFloat = `%s::text`
)

var native = []typeCase{
	{"int2", "", []string{"-32768", "32767", "0"}},
	{"int4", "", []string{"-2147483648", "2147483647"}},
	{"int8", "", []string{"-9223372036854775808", "9223372036854775807"}},
	{"oid", "", []string{"4294967295", "0"}},
	{"float4", printFloat, []string{"1.5", "-0.1", "3.4028235e38", "1e-45", "'NaN'", "'Infinity'", "'-Infinity'"}},
	{"float8", printFloat, []string{"1.5", "0.1", "1.7976931348623157e308", "5e-324", "'NaN'", "'-Infinity'"}},
	{"bool", `%s::text`, []string{"true", "false"}},
	{"text", "", []string{"''", `E'a\\b"c\n\t'`, "'Grüße 🚲'", "'NULL'", "repeat('x', 50)"}},
	{"varchar(10)", "", []string{"'ten chars!'", "''"}},
	{"char(5)", "rpad(%s, 5)", []string{"'ab'", "''"}},
	{`"char"`, "", []string{"'x'", "''"}},
	{"name", "", []string{"'a name'"}},
	{"bytea", "", []string{`'\x'`, `'\x00ff10'`}},
	{"date", "", []string{"'0001-01-01'", "'9999-12-31'", "'1582-10-15'", "'2000-02-29'", "'1969-12-31'"}},
	{"time", "", []string{"'00:00'", "'23:59:59.999999'", "'24:00'", "'01:02:03.5'"}},
	{"time(2)", "", []string{"'01:02:03.456'"}},
	{"timetz", "", []string{"'01:02:03+05:30'", "'23:59:59.1-08'", "'00:00+00'", "'12:00:00+01:02:03'", "'12:00:00-05:30'"}},
	{"timestamp", `to_char(%s, 'YYYY-MM-DD HH24:MI:SS.US')`, []string{"'0001-01-01 00:00'", "'9999-12-31 23:59:59.999999'", "'1899-12-31 23:59:59.000001'", "'2026-11-05 07:08:09.1'"}},
	{"timestamptz", printMicros, []string{"'0001-01-01 00:00+00'", "'9999-12-31 23:59:59.999999+00'", "'2026-11-05 07:08:09+05:30'"}},
	{"interval", "", []string{
		"'0'", "'1 year 2 months -3 days 4 hours 5 minutes 6.789 seconds'", "'-1 year -1 day +02:00'", "'-04:05:06.5'", "'1 day -00:00:01'",
		"'25 months'", "'-1 month 1 day'", "'-178956970 years -8 months'", "'1 mon'", "'300 hours'",
	}},
	{"uuid", "", []string{"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"}},
	{"json", "", []string{`'{"a" :  [1, null]}'`, `'"x"'`}},
	{"jsonb", "", []string{`'{"b": 1.50, "a": "\u00fc"}'`, "'null'"}},
	{"mood", "", []string{"'happy'", "'so ''so'''"}},
	{"numeric(12,2)", "", []string{"0", "-1234567890.12", "0.05", "9999999999.99", "100"}},
	{"numeric(38,0)", "", []string{"99999999999999999999999999999999999999", "-10000000000000000000000000000000000000"}},
	{"numeric(38,38)", "", []string{"0.99999999999999999999999999999999999999", "-0.00000000000000000000000000000000000001"}},
	{"numeric(5,-2)", "", []string{"12300", "-9999900", "0"}},
	{"numeric(2,4)", "", []string{"0.0012", "-0.0099"}},
	{"numeric(50,2)", "", []string{"123456789012345678901234567890123456.78"}},
	{"numeric", `%s::numeric(38,18)::text`, []string{"1", "-0.000000000000000001", "12345678901234567890.5", "1e19", "3.1400000000000000000000"}},
	{"price", "", []string{"12.34", "-0.01"}},
	{"percent", "", []string{"7"}},
	{"words", printJSON, []string{"ARRAY['a', NULL]"}},
	{"int2[]", printJSON, []string{"ARRAY[1, NULL, -3]", "'{}'"}},
	{"int4[]", printJSON, []string{"'{{1,2},{3,4}}'", "'[0:1]={1,2}'", "'{{{1}},{{2}}}'"}},
	{"int8[]", printJSON, []string{"ARRAY[9223372036854775807]"}},
	{"oid[]", printJSON, []string{"ARRAY[5::oid]"}},
	{"float4[]", printJSON, []string{"ARRAY[1e6, 999999, 1e-5, 0.0001, 16777216, 33554432, 1e10, 8589973000, 'NaN', 'Infinity', 0, '-0']"}},
	{"float8[]", printJSON, []string{
		"ARRAY[1e15, 999999999999999, 1e-5, 0.0001, 1e22, 1e23, 9007199254740993, 9.5367431640625e-7, 4.35, 100, '-Infinity', 5e-324]",
		"ARRAY[9007199254740992, 36028797018963968, 9223372036854775808, 4611686018427387904, 2e300, 1.8446744073709552e19, 8.41e21, 2.0123e22]",
	}},
	{"numeric[]", printJSON, []string{"ARRAY[1.50, -0.001, 'NaN', 100000, 12345.6789, 0, 0.00, 1e10, 1e-9]", "ARRAY['Infinity'::numeric]"}},
	{"bool[]", printJSON, []string{"ARRAY[true, false, NULL]"}},
	{"text[]", printJSON, []string{`ARRAY['a,b', 'c"d', E'\\', E'\n\b\f\r\t\x01', 'NULL', '', ' x ', '{}', NULL, 'ü🚲']`, `'{{a,b},{c,NULL}}'`}},
	{"varchar[]", printJSON, []string{"ARRAY['x']"}},
	{`"char"[]`, printJSON, []string{"ARRAY['x'::\"char\"]"}},
	{"bytea[]", printJSON, []string{`ARRAY['\x00ff'::bytea, '\x']`}},
	{"date[]", printJSON, []string{"ARRAY['2026-11-05', '0044-03-15 BC', 'infinity', '12345-01-02']::date[]"}},
	{"time[]", printJSON, []string{"ARRAY['01:02:03.40'::time]"}},
	{"timetz[]", printJSON, []string{"ARRAY['01:02:03-03:30'::timetz]"}},
	{"timestamp[]", printJSON, []string{"ARRAY['2026-11-05 07:08:09.12', '-infinity', '0001-01-01 00:00 BC', '12026-01-01 01:02']::timestamp[]"}},
	{"timestamptz[]", printJSON, []string{"ARRAY['2026-11-05 07:08:09.5+02', 'infinity', '0044-03-15 12:00+00 BC']::timestamptz[]"}},
	{"interval[]", printJSON, []string{"ARRAY['1 day 02:00'::interval]"}},
	{"uuid[]", printJSON, []string{"ARRAY['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid]"}},
	{"json[]", printJSON, []string{`ARRAY['{"a":[1,"x"]}'::json, 'null', NULL]`}},
	{"jsonb[]", printJSON, []string{`ARRAY['{"a":"b,c"}'::jsonb]`}},
	{"mood[]", printJSON, []string{"ARRAY['happy', 'so ''so''']::mood[]"}},
	{"price[]", printJSON, []string{"ARRAY[1.5, NULL]::price[]"}},
}

// more are types that are read in binary and land as text.
var more = []typeCase{
	{"inet", printConcat, []string{"'10.0.0.1'", "'::1'", "'10.1.2.3/8'", "'::ffff:1.2.3.4'", "'::1.2.3.4'", "'2001:db8::/32'", "'1:0:0:2:0:0:0:3/64'", "'::'", "'0:0:1::'", "'fe80::1:0:0:1'", "'1:0:2:0:3:0:4:0'"}},
	{"cidr", "", []string{"'10.0.0.0/8'", "'192.168.1.1'", "'::ffff:0:0/96'", "'2001:db8::/32'"}},
	{"macaddr", "", []string{"'08:00:2b:01:02:03'"}},
	{"macaddr8", "", []string{"'08:00:2b:01:02:03:04:ff'"}},
	{"bit(3)", "", []string{"B'101'", "B'000'"}},
	{"varbit", "", []string{"B''", "B'1'", "B'110010101'", "B'11111111'"}},
	{"pg_lsn", "", []string{"'16/B374D848'", "'0/0'"}},
	{"xid", "", []string{"'4294967295'"}},
	{"cid", "", []string{"'7'"}},
	{"xid8", "", []string{"'18446744073709551615'"}},
	{"tid", "", []string{"'(4294967294,65535)'"}},
	{"pg_snapshot", "", []string{"'10:20:10,14,15'", "'10:10:'"}},
	{"txid_snapshot", "", []string{"'10:20:10,14,15'"}},
	{"jsonpath", "", []string{`'$."a"[*]'`}},
	{"int2vector", "", []string{"'1 2 3'", "''"}},
	{"oidvector", "", []string{"'1 4294967295'"}},
	{"refcursor", "", []string{"'c'"}},
	{"point", "", []string{"'(1.5,2)'", "'(NaN,-Infinity)'", "'(-0,1e300)'"}},
	{"lseg", "", []string{"'[(1,2),(3,4)]'"}},
	{"box", "", []string{"'(3,4),(1,2)'"}},
	{"path", "", []string{"'[(1,2),(3,4)]'", "'((1,2),(3,4),(0.1,5))'"}},
	{"polygon", "", []string{"'((0,0),(1,1),(2,0))'"}},
	{"line", "", []string{"'{1,-1,0.5}'"}},
	{"circle", "", []string{"'<(1,2),3.25>'"}},
	{"tsvector", "", []string{"'a:1 b:2'", `$$'it''s' 'a\b':3A,4B,5C,6 'Grüße'$$`, "''"}},
	{"int4range", "", []string{"'[1,5)'", "'empty'", "'(,)'", "'(,7)'", "'[3,]'"}},
	{"int8range", "", []string{"'[-9223372036854775808,1)'"}},
	{"numrange", "", []string{"'(1.50,2]'", "'[NaN,NaN]'", "'[-Infinity,1e20)'"}},
	{"daterange", "", []string{"'[2026-01-01,2026-02-01)'", "'[-infinity,infinity)'"}},
	{"tsrange", "", []string{"'[2026-01-01 10:00,2026-02-01)'", "'(0044-03-15 12:00 BC,infinity]'"}},
	{"tstzrange", "", []string{"'[2026-01-01 10:00+02,)'"}},
	{"textrange", "", []string{`textrange('a "b"', 'c\,d', '[]')`, "textrange('', 'x')", "textrange('a', 'é()')"}},
	{"int4multirange", "", []string{"'{}'", "'{[1,3),[5,7),[9,)}'"}},
	{"datemultirange", "", []string{"'{[2026-01-01,2026-02-01)}'"}},
	{"textmultirange", "", []string{`textmultirange(textrange('a b', 'c'), textrange('d,', 'e'))`}},
	{"inet[]", printJSON, []string{"ARRAY['10.0.0.1/8'::inet, NULL]"}},
	{"int4range[]", printJSON, []string{"ARRAY['[1,5)'::int4range]"}},
	{"box[]", printJSON, []string{"ARRAY['(3,4),(1,2)'::box, '(1,1),(0,0)']"}},
	{"point[]", printJSON, []string{"ARRAY['(3,4)'::point]"}},
	{"words[]", printJSON, []string{`'{"{\"a,b\",NULL}","{}",NULL}'`}},
	{"pair[]", printJSON, []string{`ARRAY[ROW(1, 'x "y" \ ()')::pair, NULL, ROW(NULL, '')::pair]`}},
	{"deep[]", printJSON, []string{`ARRAY[ROW(ROW(1, 'a,"b')::pair, ARRAY[ROW(2, NULL)::pair], '2026-01-02 03:04+00', '[1,2)', ARRAY[1.5, NULL])::deep]`}},
	{"pairs", printJSON, []string{`ARRAY[ROW(1, 'x')::pair]`}},
}

const printConcat = `nullif(concat(%s), '')`

var others = []typeCase{
	{"money", "", []string{"12.34", "-92233720368547758.08"}},
	{"xml", "", []string{"'<a>ü</a>'", `'<?xml version="1.0" standalone="yes"?><a/>'`}},
	{"tsquery", "", []string{"'a & (b | !c:AB*)'"}},
	{"regclass", "", []string{"'pg_class'"}},
	{"regtype", "", []string{"'int4'"}},
	{"regproc", "", []string{"'now'"}},
	{"regconfig", "", []string{"'english'"}},
	{"money[]", printJSON, []string{"ARRAY[1.5::money, NULL]"}},
	{"regclass[]", printJSON, []string{"ARRAY['pg_class'::regclass]"}},
	{"priced[]", printJSON, []string{"ARRAY[ROW('a', 2)::priced, NULL]"}},
}

var typeSetup = []string{
	`CREATE TYPE mood AS ENUM ('happy', 'so ''so''')`,
	`CREATE DOMAIN price AS numeric(10,2)`,
	`CREATE DOMAIN percent AS price CHECK (VALUE < 100)`,
	`CREATE DOMAIN words AS text[]`,
	`CREATE TYPE pair AS (a int, b text)`,
	`CREATE TYPE textrange AS RANGE (subtype = text, multirange_type_name = textmultirange)`,
	`CREATE TYPE deep AS (p pair, ps pair[], at timestamptz, r int4range, n numeric[])`,
	`CREATE DOMAIN pairs AS pair[]`,
	`CREATE TYPE priced AS (name text, price money)`,
}

// typeTable makes a table of all columns, and inserts one row for every value of
// the longest case. It returns the query that prints them as we should.
func typeTable(t *testing.T, db *pgtest.Database, table string, cases []typeCase) (insert, print string) {
	t.Helper()
	cols, names, prints := []string{"id int PRIMARY KEY"}, []string{"id"}, []string{"id::text"}
	most := 0
	for i, c := range cases {
		name := fmt.Sprintf("c%d", i)
		cols = append(cols, name+" "+c.typ)
		names = append(names, name)
		p := c.print
		if p == "" {
			p = "%s::text"
		}
		prints = append(prints, fmt.Sprintf(p, name))
		most = max(most, len(c.values))
	}
	db.Exec(t, "CREATE TABLE "+table+" ("+strings.Join(cols, ", ")+")")
	var rows []string
	for r := range most + 1 { // the last row is null
		values := []string{strconv.Itoa(r)}
		for _, c := range cases {
			v := "NULL"
			if r < len(c.values) {
				v = c.values[r]
			}
			values = append(values, v)
		}
		rows = append(rows, "("+strings.Join(values, ", ")+")")
	}
	insert = "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") VALUES "
	for i, r := range rows {
		rows[i] = insert + r
	}
	print = "SET timezone = 'UTC'; SET extra_float_digits = 3; SELECT " + strings.Join(prints, ", ") + " FROM " + table + " ORDER BY " + table + ".id"
	return strings.Join(rows, ";"), print
}

// compare compares rows with what PostgreSQL printed.
func compare(t *testing.T, what string, cases []typeCase, got []row, want [][]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d rows, want %d", what, len(got), len(want))
	}
	for i := range want {
		for c := range want[i] {
			g, w := got[i].values[c], want[i][c]
			if c > 0 && cases[c-1].print == printFloat && strings.HasPrefix(cases[c-1].typ, "float") {
				var a, b float64 // %g and PostgreSQL differ in spelling only
				if _, err := fmt.Sscan(strings.Replace(w, "Infinity", "Inf", 1), &b); err == nil {
					if _, err := fmt.Sscan(g, &a); err == nil && (a == b || a != a && b != b) {
						continue
					}
				}
			}
			if g != w {
				typ := "id"
				if c > 0 {
					typ = cases[c-1].typ
				}
				t.Errorf("%s: %s, row %d: %q, want %q", what, typ, i, g, w)
			}
		}
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	for _, version := range pgtest.Versions(t) {
		t.Run(strconv.Itoa(version), func(t *testing.T) {
			db := pgtest.Shared(t, version).NewDatabase(t)
			db.Exec(t, typeSetup...)
			native := slices.Concat(native, more)
			insert, print := typeTable(t, db, "natives", native)
			db.Exec(t, insert)
			want := db.Query(t, print)
			f := open(t, db, postgres.Options{}).begin()
			compare(t, "copy", native, f.copied("natives"), want)
			f.stream()
			db.Exec(t, "DELETE FROM natives", insert)
			rows, failures := f.drain()
			if len(failures) > 0 {
				t.Fatalf("failures: %v", failures[0].Err)
			}
			got := rows["natives"][len(want):]
			compare(t, "stream in binary", native, got, want)
			if got[0].table != f.tables["natives"] {
				t.Error("the stream's table is another than that of Tables")
			}

			g := open(t, db, postgres.Options{Text: true})
			g.start = f.start
			closeFeed(t, f)
			g.stream()
			rows, _ = g.drain()
			compare(t, "stream as text", native, rows["natives"][len(want):], want)
		})
	}
}

func closeFeed(t *testing.T, f *feed) {
	t.Helper()
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.t.Helper()
	awaitFree(t, f)
}

func awaitFree(t *testing.T, f *feed) {
	t.Helper()
	for {
		s, err := f.Slot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !s.Active {
			return
		}
	}
}

// TestOtherTypes begins in binary; a table that only text can carry comes along
// in the middle of a transaction.
func TestOtherTypes(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, typeSetup...)
	db.Exec(t, "CREATE TABLE plain (id int PRIMARY KEY, n numeric)")
	f := open(t, db, postgres.Options{}).begin().stream()
	insert, print := typeTable(t, db, "others", others)
	f.look()
	f.prepare()
	db.Exec(t, "BEGIN; INSERT INTO plain VALUES (1, 1.5), (2, 2.5); "+insert+"; INSERT INTO plain VALUES (3, 3.5); COMMIT")
	want := db.Query(t, print)
	rows, _ := f.drain()
	compare(t, "stream as text", others, rows["others"], want)
	expect(t, "the table beside it", texts(rows["plain"]), "c 1|1.500000000000000000\nc 2|2.500000000000000000\nc 3|3.500000000000000000")
	for i, r := range append(append(rows["plain"][:2:2], rows["others"]...), rows["plain"][2]) {
		if r.at.Index != uint64(i) || r.at.Commit != rows["plain"][0].at.Commit {
			t.Errorf("change %d is at %v", i, r.at)
		}
	}
	if _, err := f.OpenSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	compare(t, "copy", others, f.copied("others"), want)
}

func TestMappedTypes(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, typeSetup...)
	typeTable(t, db, "natives", native)
	f := open(t, db, postgres.Options{})
	want := map[string]string{
		"int2": "int32", "int4": "int32", "int8": "int64", "oid": "int64", "float4": "float32", "float8": "float64", "bool": "bool",
		"bytea": "binary", "date": "date32", "timestamp": "timestamp[us, tz=UTC]", "timestamptz": "timestamp[us, tz=UTC]",
		"numeric(12,2)": "decimal128(12, 2)", "numeric(5,-2)": "decimal128(7, 0)", "numeric(2,4)": "decimal128(4, 4)",
		"numeric(50,2)": "decimal128(38, 2)", "numeric": "decimal128(38, 18)", "price": "decimal128(10, 2)", "percent": "decimal128(10, 2)",
		"numeric(38,0)": "decimal128(38, 0)", "numeric(38,38)": "decimal128(38, 38)",
	}
	for i, c := range native {
		w := want[c.typ]
		if w == "" {
			w = "utf8"
		}
		if got := strings.ReplaceAll(fmt.Sprint(f.tables["natives"].Columns[i+1].Arrow), "decimal(", "decimal128("); got != w {
			t.Errorf("%s: %s, want %s", c.typ, got, w)
		}
	}
}

var unrepresentable = []struct{ typ, value, why string }{
	{"numeric", "'NaN'", "NaN"},
	{"numeric", "'Infinity'", "infinity"},
	{"numeric", "0.0000000000000000001", "more than 18 digits"},
	{"numeric", "1e20", "more digits than decimal(38)"},
	{"numeric(60,2)", "1e40", "more digits"},
	{"date", "'infinity'", "infinity"},
	{"date", "'0001-12-31 BC'", "year"},
	{"date", "'10000-01-01'", "year"},
	{"timestamp", "'-infinity'", "infinity"},
	{"timestamptz", "'10000-01-01 00:00+00'", "year"},
	{"timestamp", "'0044-03-15 12:00 BC'", "year"},
}

// TestUnrepresentable stops each table at its value, in the stream and in the
// copy, and leaves the others running.
func TestUnrepresentable(t *testing.T) {
	t.Parallel()
	for _, text := range []bool{false, true} {
		t.Run(fmt.Sprintf("text=%t", text), func(t *testing.T) {
			db := pgtest.NewDatabase(t)
			setup, work := []string{"CREATE TABLE fine (id int PRIMARY KEY)"}, []string{}
			for i, c := range unrepresentable {
				setup = append(setup, fmt.Sprintf("CREATE TABLE bad%d (id int PRIMARY KEY, v %s)", i, c.typ))
				insert := fmt.Sprintf("INSERT INTO bad%d VALUES ", i)
				work = append(work, insert+"(1)", "BEGIN; "+insert+"(2); "+insert+"(3, "+c.value+"); COMMIT", insert+"(4)")
			}
			db.Exec(t, strings.Join(setup, ";"))
			f := open(t, db, postgres.Options{Text: text}).begin().stream()
			db.Exec(t, append(work, "INSERT INTO fine VALUES (1)")...)
			rows, failures := f.drain()
			expect(t, "the fine table", texts(rows["fine"]), "c 1")
			if len(failures) != len(unrepresentable) {
				t.Fatalf("%d failures", len(failures))
			}
			if _, err := f.OpenSnapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i, c := range unrepresentable {
				table := fmt.Sprintf("bad%d", i)
				what := c.typ + " " + c.value
				expect(t, what, texts(rows[table]), "c 1|NULL")
				var ve *postgres.ValueError
				switch got := failures[i]; {
				case !errors.As(got.Err, &ve) || !strings.Contains(got.Err.Error(), c.why) || ve.Column != "v" || ve.Key != "id = 3":
					t.Errorf("%s: %v", what, got.Err)
				case got.Table != f.tables[table] || got.Since <= rows[table][0].at.Commit || postgres.Retryable(got.Err):
					t.Errorf("%s: failure %+v", what, got)
				}
				err := f.Copy(t.Context(), f.tables[table], func(*change.Batch) error { return nil })
				if !errors.As(err, &ve) || ve.Table != "public."+table || ve.Key != "id = 3" {
					t.Errorf("%s: copy: %v", what, err)
				}
			}
		})
	}
}

// TestUnrepresentableRow names the row, whatever its key is.
func TestUnrepresentableRow(t *testing.T) {
	t.Parallel()
	stream := []struct{ columns, insert, work, key string }{
		{"a text, b uuid, v date, PRIMARY KEY (b, a)", "('x, y', '00000000-0000-0000-0000-00000000000a', '2026-01-02')", "UPDATE t SET v = 'infinity'", "b = 00000000-0000-0000-0000-00000000000a, a = x, y"},
		{"a int[] PRIMARY KEY, v date", "('{1,2}', '2026-01-02')", "UPDATE t SET v = 'infinity'", "a = {1,2}"},
		{"a date PRIMARY KEY, v int", "('2026-01-02', 1)", "UPDATE t SET a = '-infinity'", "a = -infinity"},
		{"a timestamptz PRIMARY KEY, v numeric", "('2026-01-02 03:04+00', 1)", "UPDATE t SET v = 'NaN'", "a = 2026-01-02 03:04:00+00"},
		{"a int, v date", "(1, '2026-01-02')", "BEGIN; INSERT INTO t VALUES (2); INSERT INTO t VALUES (3, 'infinity'); COMMIT", "change 2 of the transaction "},
	}
	for _, text := range []bool{false, true} {
		for _, c := range stream {
			t.Run(fmt.Sprintf("%s text=%t", c.columns, text), func(t *testing.T) {
				t.Parallel()
				db := pgtest.NewDatabase(t)
				db.Exec(t, "CREATE TABLE t ("+c.columns+")", "INSERT INTO t VALUES "+c.insert)
				f := open(t, db, postgres.Options{Text: text}).begin().stream()
				db.Exec(t, c.work)
				_, failures := f.drain()
				var ve *postgres.ValueError
				if len(failures) != 1 || !errors.As(failures[0].Err, &ve) || !strings.HasPrefix(ve.Key, c.key) {
					t.Errorf("stream: %+v, want the row %s", failures, c.key)
				}
				if _, err := f.OpenSnapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
				err := f.Copy(t.Context(), f.tables["t"], func(*change.Batch) error { return nil })
				key := c.key
				if f.tables["t"].KeyKind == change.NoKey {
					key = "tableoid = " + db.Query(t, "SELECT 't'::regclass::oid")[0][0] + ", ctid = (0,3)"
				}
				if !errors.As(err, &ve) || ve.Key != key {
					t.Errorf("copy: %v, want the row %s", err, key)
				}
			})
		}
	}
}
