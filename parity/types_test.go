package parity_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/parity"
)

// typeColumns are the columns of a table with every type of docs/types.md: the
// type, and the SQL that prints a value as the engines do.
var typeColumns = []struct{ name, typ, text string }{
	{"i2", "smallint", "i2"},
	{"i4", "integer", "i4"},
	{"i8", "bigint", "i8"},
	{"f4", "real", floatText("f4::float8")},
	{"f8", "double precision", floatText("f8")},
	{"num", "numeric(20,4)", "num::text"},
	{"whole", "numeric(38,0)", "whole::text"},
	{"free", "numeric", "free::numeric(38,18)::text"},
	{"b", "boolean", "b"},
	{"t", "text", "t"},
	{"vc", "varchar(20)", "vc"},
	{"c", "char(5)", "c"},
	{"by", "bytea", `replace(encode(by, 'base64'), E'\n', '')`},
	{"d", "date", "to_char(d, 'YYYY-MM-DD')"},
	{"tm", "time", "tm::text"},
	{"ts", "timestamp", `to_char(ts, 'YYYY-MM-DD"T"HH24:MI:SS.US')`},
	{"tz", "timestamptz", `to_char(tz at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')`},
	{"iv", "interval", "iv::text"},
	{"u", "uuid", "u::text"},
	{"j", "json", "j::text"},
	{"jb", "jsonb", "jb::text"},
	{"m", "mood", "m::text"},
	{"dom", "short", "dom::text"},
	{"ia", "integer[]", "array_to_json(ia)::text"},
	{"ta", "text[]", "array_to_json(ta)::text"},
	{"na", "numeric(10,2)[]", "array_to_json(na)::text"},
	{"za", "timestamptz[]", "array_to_json(za)::text"},
	{"fa", "double precision[]", "array_to_json(fa)::text"},
	{"ba", "boolean[][]", "array_to_json(ba)::text"},
	{"ip", "inet", "case when ip is not null then format('%s', ip) end"},
	{"r", "int4range", "r::text"},
	{"mr", "datemultirange", "mr::text"},
	{"cid", "cidr", "cid::text"},
	{"mac", "macaddr", "mac::text"},
	{"bits", "varbit", "bits::text"},
	{"pt", "point", "pt::text"},
	{"poly", "polygon", "poly::text"},
	{"tv", "tsvector", "tv::text"},
	{"lsn", "pg_lsn", "lsn::text"},
	{"x8", "xid8", "x8::text"},
	{"cash", "money", "cash::text"},
	{"doc", "xml", "case when doc is not null then format('%s', doc) end"},
	{"p", "pair", whole("p", "json_build_object('a', (p).a, 'b', (p).b)")},
	{"dp", "fine_pair", whole("dp", "json_build_object('a', ((dp)::pair).a, 'b', ((dp)::pair).b)")},
	{"deep", "deep", whole("deep", `json_build_object('p', case when (deep).p::text is not null then json_build_object('a', ((deep).p).a, 'b', ((deep).p).b) end,
		'amount', (deep).amount::text, 'd', to_char((deep).d, 'YYYY-MM-DD'), 'by', encode((deep).by, 'base64'), 'tags', array_to_json((deep).tags)::text)`)},
	{"pa", "pair[]", "array_to_json(pa)::text"},
	{"li", "integer[]", "to_json(li)"},
	{"lt", "text[]", "to_json(lt)"},
	{"lp", "pair[]", "to_json(lp)"},
	{"exact", "numeric", "exact::text"},
	{"until", "timestamptz", "until::text"},
	{"at", "integer[]", "at::text"},
	{"ptext", "pair", "ptext::text"},
}

// whole is a composite's JSON, null where it is null as a whole.
func whole(c, json string) string {
	return fmt.Sprintf("case when %s::text is not null then %s end", c, json)
}

// typeRules land some columns in another form than by default.
const typeRules = `
        types: {columns: {li: {arrays: list}, lt: {arrays: list}, lp: {arrays: list}, exact: {numeric: text}, until: {out_of_range: text}, at: {arrays: text}, ptext: {composites: text}}}`

func floatText(c string) string {
	return fmt.Sprintf(`case when %[1]s::text in ('NaN', 'Infinity', '-Infinity') then to_json(replace(lower(%[1]s::text), 'infinity', 'inf')) else to_json(%[1]s) end`, c)
}

// typeRows are values at the edges; each row is written once into base files and once into log files.
var typeRows = []string{
	`-32768, -2147483648, -9223372036854775808, 1.1754944e-38, -1.7976931348623157e308, -9999999999999999.9999, '-99999999999999999999999999999999999999', -12345678901234567890.123456789012345678,
	 false, '', '', '', '', '0001-01-01', '00:00:00', '0002-01-01 00:00:00', '0002-01-01 00:00:00+00', '-1 year -2 mons +3 days -04:05:06.789', '00000000-0000-0000-0000-000000000000',
	 '{"b": 1,  "a":2}', '{"b": 1,  "a":2}', 'sad', 'x', '{}', '{}', '{}', '{}', '{}', '{}', '::1', 'empty',
	 '{}', '::/0', '00:00:00:00:00:00', '', '(-1e300,NaN)', '((0,0))', '', '0/0', '0', -92233720368547758.08, '', '(,)', '(1,)', '(,,,,)', '{}', '{}', '{}', '{}', -1e-400, '-infinity', '{}', '(,)'`,
	`32767, 2147483647, 9223372036854775807, 3.4028235e38, 1e-300, 9999999999999999.9999, 99999999999999999999999999999999999999, 0.000000000000000001,
	 true, E'tab\t newline\n quote" back\\ é漢😀', 'x', 'ab', '\x00ff10', '9999-12-31', '24:00:00', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59.999999+00', '178000000 years', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
	 '[1, null]', '[1.50, null, "é"]', 'happy', 'yz', '{1,NULL,-3}', '{a,NULL,"","q\"uo,te",NULL}', '{1.50,NULL,-0.01}', '{2024-02-29 12:00:00.123+02,NULL}', '{1e20,NaN,-0.1,Infinity}', '{{t,f},{NULL,t}}', '10.0.0.0/8', '[1,5)',
	 '{[2026-01-01,2026-02-01),[2027-01-01,)}', '10.0.0.0/8', '08:00:2b:01:02:03', '1010101010', '(1.5,2)', '((0,0),(1,1),(2,0.1))', $$'a\b' 'it''s':1A,2$$, 'FFFFFFFF/FFFFFFFF', '18446744073709551615', 92233720368547758.07, '<a b="c">é</a>',
	 (-2147483648, E'x,"y"\\()\n'), (2, 'é'), ((1, 'x'), -9999999999.99, '9999-12-31', '\x00ff', '{a,NULL,"b,c"}'), array[(1, 'a,"b'), null, (null, '')]::pair[],
	 '{1,-2,2147483647}', '{a,"","b,c",é}', array[(1, 'x'), (null, null)]::pair[], 1e400 + 1e-400, 'infinity', '[0:1]={1,NULL}', (1, 'a,b')`,
	`0, 1, 2, 'NaN', 'Infinity', 0, 0, 100, true, 'x', 'y', 'zzzzz', 'abc', '1500-03-01', '12:34:56.789', '1800-06-15 01:02:03.000004', '1850-06-15 01:02:03.5+00', '1 day', gen_random_uuid(),
	 'null', '{"n": 1e400}', 'ok', 'z', '[0:1]={7,8}', '{{a,b},{c,d}}', '{100}', '{1899-12-31 00:00:00+00}', '{0.1}', '{t}', '192.168.0.1', '(,)',
	 '{(,)}', 'fe80::/10', 'ff:ff:ff:ff:ff:ff', '1', '(0,-0)', '((1,2),(3,4))', 'word', '16/B374D848', '5', 0.01, '<?xml version="1.0"?><a/>',
	 (0, ''), (7, null), (null, 0.01, '1500-03-01', '', '{}'), array[null, null]::pair[], '{0}', '{""}', array[(0, '')]::pair[], 'NaN', '10000-01-01 00:00+00', '{{1,2},{3,4}}', (null, '')`,
	strings.TrimSuffix(strings.Repeat("null,", len(typeColumns)), ","),
}

func typeInsert(table string, first int) (sql []string) {
	for i, row := range typeRows {
		sql = append(sql, fmt.Sprintf("insert into %s values (%d, %s)", table, first+i, row))
	}
	return sql
}

// TestTypes writes every type into base and log files of both table types. A composite
// has no timestamp in it: hudi-rs does not read those from log files (docs/readers.md).
func TestTypes(t *testing.T) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	db.Exec(t, `create type mood as enum ('sad', 'ok', 'happy')`, `create domain short as varchar(5) check (length(value) > 0)`,
		`create type pair as (a int, b text)`, `create domain fine_pair as pair check ((value).a > 0)`,
		`create type deep as (p pair, amount numeric(12,2), d date, by bytea, tags text[])`)
	fields, defs := []string{"'id', id"}, []string{"id int primary key"}
	for _, c := range typeColumns {
		fields = append(fields, fmt.Sprintf("'%s', %s", c.name, c.text))
		defs = append(defs, c.name+" "+c.typ)
	}
	tables := []string{"types_mor", "types_cow"}
	for _, table := range tables {
		db.Exec(t, fmt.Sprintf("create table %s (%s)", table, strings.Join(defs, ", ")))
		db.Exec(t, typeInsert(table, 0)...)
	}
	l := laketest.New(t, db.URL, `      - match: public.types_cow
        table_type: copy_on_write`+typeRules+`
      - match: public.*`+typeRules, "")
	l.Run(0, "run", "--once")
	for _, table := range tables {
		db.Exec(t, typeInsert(table, 100)...)
		db.Exec(t, fmt.Sprintf("update %s set i4 = 7, t = 'changed' where id %% 2 = 0", table))
	}
	l.Run(0, "run", "--once")
	l.Run(0, "validate")
	for _, table := range tables {
		sameAsSource(t, db, filepath.Join(l.Dir, "public", table),
			fmt.Sprintf("set timezone to 'UTC'; select jsonb_build_object(%s) || jsonb_build_object(%s) from %s", // a function takes 100 arguments
				strings.Join(fields[:40], ", "), strings.Join(fields[40:], ", "), table))
	}
}

// TestTOAST updates rows whose 10 KB values the updates leave alone, after a
// restart and under the default replica identity. No reader sees, and no byte of
// the lake holds, a placeholder.
func TestTOAST(t *testing.T) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	for _, table := range []string{"toast_mor", "toast_cow"} {
		db.Exec(t, fmt.Sprintf(`create table %s (id int primary key, n int, body text, doc jsonb, raw bytea)`, table),
			fmt.Sprintf(`alter table %s alter body set storage external, alter doc set storage external, alter raw set storage external`, table),
			fmt.Sprintf(`insert into %s select i, 0, repeat(md5(i::text), 320), jsonb_build_object('v', repeat(md5((i*7)::text), 320)), decode(repeat(md5((i*3)::text), 640), 'hex') from generate_series(1, 60) i`, table))
	}
	l := laketest.New(t, db.URL, `      - match: public.toast_cow
        table_type: copy_on_write
      - match: public.*`, "")
	l.Run(0, "run", "--once")
	for _, table := range []string{"toast_mor", "toast_cow"} {
		db.Exec(t, fmt.Sprintf(`update %s set n = n + 1 where id <= 40`, table),
			fmt.Sprintf(`update %s set n = n + 1, body = repeat('z', 12000) where id between 30 and 35`, table),
			fmt.Sprintf(`update %s set n = n + 1 where id between 33 and 37`, table),
			fmt.Sprintf(`update %s set id = id + 1000 where id between 10 and 15`, table),
			fmt.Sprintf(`begin; delete from %[1]s where id = 20; insert into %[1]s values (20, 9, 'short', '{}', ''); update %[1]s set n = 10 where id = 20; commit`, table))
	}
	l.Run(0, "run", "--once")
	for _, table := range []string{"toast_mor", "toast_cow"} {
		db.Exec(t, fmt.Sprintf(`update %s set n = n + 1`, table), fmt.Sprintf(`update %s set id = id + 5000 where id between 30 and 40 or id > 1000`, table))
	}
	l.Run(0, "run", "--once")
	l.Run(0, "validate")
	for _, table := range []string{"toast_mor", "toast_cow"} {
		sameAsSource(t, db, filepath.Join(l.Dir, "public", table),
			`select json_build_object('id', id, 'n', n, 'body', body, 'doc', doc::text, 'raw', replace(encode(raw, 'base64'), E'\n', '')) from `+table)
	}
	noBytes(t, l.Dir, "unavailable_value")
}

// noBytes fails when a file of the lake holds text.
func noBytes(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(text)) {
			t.Errorf("%s holds %q", path, text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestShapes changes what tables look like and what their keys are: composite and
// text keys with awkward characters, key changes, truncate, added columns with and
// without a default, tables without a key.
func TestShapes(t *testing.T) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	db.Exec(t,
		`create table pairs (a text, b int, v text, primary key (a, b))`,
		`create table texts (k text primary key, v int)`,
		`create table emptied (id int primary key, v text)`,
		`create table grown (id int primary key, v text)`,
		`create table grown_cow (id int primary key, v text)`,
		`create table events (n int, what text)`,
		`create table full_identity (id int primary key, v text, w text)`,
		`alter table full_identity replica identity full`,
		`create table by_index (a int not null, v text)`,
		`create unique index by_index_a on by_index (a)`,
		`alter table by_index replica identity using index by_index_a`,
		`create table "Odd ""name"".😀" ("Select" int primary key, "a b" text, "A B" text, "_hoodie_is_deleted" boolean, "_event_lsn" bigint)`)
	awkward := `('a,b', 1), ('a:b', 2), ('', 3), ('%', 4), ('__null__', 5), ('__empty__', 6), ('a', 7), ('é漢😀', 8), ('x=1/y', 9)`
	db.Exec(t,
		`insert into pairs select k, i, 'v' from (values `+awkward+`) x(k, i)`,
		`insert into texts select k, i from (values `+awkward+`) x(k, i)`,
		`insert into emptied select i, 'old' from generate_series(1, 50) i`,
		`insert into grown select i, 'old' from generate_series(1, 50) i`,
		`insert into grown_cow select i, 'old' from generate_series(1, 50) i`,
		`insert into events select i % 3, 'first' from generate_series(1, 30) i`,
		`insert into full_identity select i, repeat('w', 5000), repeat('x', 5000) from generate_series(1, 20) i`,
		`insert into by_index select i, 'v' from generate_series(1, 20) i`,
		`insert into "Odd ""name"".😀" values (1, 'x', 'y', true, 5), (2, 'p', 'q', false, 6)`)
	l := laketest.New(t, db.URL, `      - match: public.grown_cow
        table_type: copy_on_write
      - match: public.*`, "")
	l.Run(0, "run", "--once")
	db.Exec(t,
		`update pairs set v = 'changed' where b % 2 = 0`, `update pairs set a = a || ',', b = b + 100 where b % 3 = 0`, `delete from pairs where b = 1`,
		`update texts set v = v + 1`, `update texts set k = k || ':' where v % 2 = 0`, `delete from texts where k = ''`,
		`truncate emptied`, `insert into emptied values (1, 'new'), (2, 'new')`, `update emptied set v = 'newer' where id = 2`,
		`alter table grown add column plain int`, `alter table grown add column dflt text default 'const'`, `insert into grown values (100, 'x', 1, 'y'), (101, 'x', null, default)`, `update grown set plain = 5 where id < 10`,
		`alter table grown_cow add column plain int`, `alter table grown_cow add column dflt text default 'const'`, `insert into grown_cow values (100, 'x', 1, 'y'), (101, 'x', null, default)`, `update grown_cow set plain = 5 where id < 10`,
		`insert into events values (7, 'second'), (7, 'second')`,
		`update full_identity set w = 'y' where id < 5`, `update full_identity set id = id + 100 where id > 15`, `delete from full_identity where id = 6`,
		`update by_index set a = a + 100 where a > 15`, `update by_index set v = 'w' where a < 5`, `delete from by_index where a = 7`,
		`update "Odd ""name"".😀" set "a b" = 'z' where "Select" = 1`)
	l.Run(0, "run", "--once")
	l.Run(0, "validate")
	for table, query := range map[string]string{
		"pairs": `'a', a, 'b', b, 'v', v`, "texts": `'k', k, 'v', v`, "emptied": `'id', id, 'v', v`,
		"grown": `'id', id, 'v', v, 'plain', plain, 'dflt', dflt`, "grown_cow": `'id', id, 'v', v, 'plain', plain, 'dflt', dflt`,
		"events": `'n', n, 'what', what`, "full_identity": `'id', id, 'v', v, 'w', w`, "by_index": `'a', a, 'v', v`,
	} {
		sameAsSource(t, db, filepath.Join(l.Dir, "public", table), fmt.Sprintf(`select json_build_object(%s) from %s`, query, table))
	}
	sameAsSource(t, db, filepath.Join(l.Dir, "public", "Odd__name_._"),
		`select json_build_object('Select', "Select", 'a_b', "a b", 'A_B_2', "A B", 'src__hoodie_is_deleted', "_hoodie_is_deleted", 'src__event_lsn', "_event_lsn") from "Odd ""name"".😀"`)
}
