package parity_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lakefeed/hudi/timeline"
	"lakefeed/internal/everytype"
	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/parity"
)

// TestTypes lands every type with its edge values in base and log files of both table types, by a first copy
// and by the stream: in binary, but for those whose stream is text. Every engine and lakefeed itself answer what
// PostgreSQL prints. What hudi-rs does not read from log files it refuses, until they are compacted.
func TestTypes(t *testing.T) {
	parity.Engines(t)
	for i := range everytype.Groups {
		t.Run(everytype.Groups[i].Name, func(t *testing.T) { landTypes(t, &everytype.Groups[i]) })
	}
}

func landTypes(t *testing.T, g *everytype.Group) {
	db := pgtest.Shared(t, g.Version).NewDatabase(t)
	tables := []string{"types_mor", "types_cow"}
	var columns []everytype.Column
	for _, table := range tables {
		columns = g.Make(t, db, table)
		db.Exec(t, everytype.Insert(table, 0, columns)...)
	}
	rules := "\n        types: " + everytype.Rules(columns)
	l := laketest.New(t, db.URL, "      - match: public.types_cow\n        table_type: copy_on_write"+rules+"\n      - match: public.types_mor"+rules, "")
	l.Run(0, "run", "--once")
	for _, table := range tables {
		db.Exec(t, everytype.Insert(table, 100, columns)...)
		db.Exec(t, "update "+table+" set n = 7 where id % 2 = 0")
	}
	if out := l.Run(0, "run", "--once"); !strings.Contains(out, fmt.Sprintf("binary=%t", !g.Text)) {
		t.Errorf("the stream is not in the form of the group %s:\n%s", g.Name, out)
	}
	l.Run(0, "validate")
	casts := parity.Casts{}
	for _, c := range columns {
		if c.JSON != "" {
			casts[c.Name] = fmt.Sprintf(c.JSON, c.Name)
		}
	}
	for _, table := range tables {
		want, err := parity.Postgres(t.Context(), db.URL, "public."+table, casts)
		if err != nil {
			t.Fatal(err)
		}
		path, engines := folder(l, table), parity.Engines(t)
		if g.Logs != "" && table == "types_mor" {
			refusedLogs(t, path, g.Logs)
			engines = []*parity.Engine{parity.Spark(t, "1.2.0"), parity.Spark(t, "0.15.0")}
		}
		sameRows(t, engines, path, want)
		if len(engines) < len(parity.Engines(t)) {
			compact(t, path)
			sameRows(t, parity.Engines(t), path, want)
		}
	}
}

// refusedLogs sees that hudi-rs refuses a table for its log files, in these words.
func refusedLogs(t *testing.T, path, words string) {
	t.Helper()
	_, err := parity.HudiRS(t).Read(t.Context(), path, parity.Read{NoMeta: true})
	if refused, ok := errors.AsType[*parity.RefusedError](err); !ok || !strings.Contains(refused.Text, words) {
		t.Errorf("hudi-rs: %v; docs/readers.md says that it does not read this", err)
	}
}

// sameRows sees that engines and lakefeed itself read the rows that PostgreSQL prints.
func sameRows(t *testing.T, engines []*parity.Engine, path string, want []string) {
	t.Helper()
	if d := parity.Diff(want, lakefeedRows(t, path, parity.Read{NoMeta: true}), parity.ExtraColumns...); d != "" {
		t.Errorf("%s, lakefeed: %s", filepath.Base(path), d)
	}
	answers, errs := read(t, engines, path, parity.Read{NoMeta: true})
	for i, e := range engines {
		if errs[i] != nil {
			t.Errorf("%s, %s: %v", filepath.Base(path), e, errs[i])
		} else if d := parity.Diff(want, answers[i], parity.ExtraColumns...); d != "" {
			t.Errorf("%s, %s: %s", filepath.Base(path), e, d)
		}
	}
}

// TestCodePoints has every character that text can hold copied and streamed, in text, in an array and in jsonb.
func TestCodePoints(t *testing.T) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	db.Exec(t, "create table code_points (id int primary key, s text, a text[], j jsonb)", everytype.CodePoints("code_points", 0))
	l := laketest.New(t, db.URL, "      - match: public.*", "")
	l.Run(0, "run", "--once")
	db.Exec(t, everytype.CodePoints("code_points", 1000))
	l.Run(0, "run", "--once")
	want, err := parity.Postgres(t.Context(), db.URL, "code_points", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != 2*272 {
		t.Fatalf("%d rows", len(want))
	}
	sameRows(t, parity.Engines(t), folder(l, "code_points"), want)
}

// toast are the tables of TestTOAST: emptied ones are truncated on the way.
var toast = []string{"toast_mor", "toast_cow", "emptied_mor", "emptied_cow"}

// TestTOAST updates rows whose 10 KB values the updates leave alone, creates, deletes, moves and empties in
// single transactions, under the default replica identity, after restarts. Every engine reads what the source has, and
// no instant of the lake shows a row that the source never had.
func TestTOAST(t *testing.T) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	for _, table := range toast {
		db.Exec(t, fmt.Sprintf(`create table %s (id int primary key, n int, body text, doc jsonb, raw bytea)`, table),
			fmt.Sprintf(`alter table %s alter body set storage external, alter doc set storage external, alter raw set storage external`, table))
	}
	l := laketest.New(t, db.URL, `      - match: public.*_cow
        table_type: copy_on_write
      - match: public.*`, "    retain_commits: 100")
	had := map[string]bool{} // rows of any time
	do := func(tables []string, statements ...string) {
		for _, table := range tables {
			for _, s := range statements {
				db.Exec(t, strings.ReplaceAll(s, "{t}", table))
				for _, r := range db.Query(t, "select "+toastRow+" from "+table) {
					had[table+" "+rowHash(t, r[0])] = true
				}
			}
		}
		l.Run(0, "run", "--once")
		l.Run(0, "validate")
	}
	do(toast, `insert into {t} select `+wideValues("i", "0")+` from generate_series(1, 60) i`)
	do(toast, `update {t} set n = n + 1 where id <= 40`,
		`update {t} set n = n + 1, body = repeat('z', 12000) where id between 30 and 35`,
		`update {t} set n = n + 1 where id between 33 and 37`,
		`update {t} set id = id + 1000 where id between 10 and 15`,
		`begin; delete from {t} where id = 20; insert into {t} values (20, 9, 'short', '{}', ''); update {t} set n = 10 where id = 20; commit`,
		`begin; insert into {t} select `+wideValues("70", "1")+`; update {t} set n = 2 where id = 70; delete from {t} where id = 70; insert into {t} select `+wideValues("70", "3")+`;
			update {t} set n = n + 1 where id = 70; update {t} set id = 1070 where id = 70; update {t} set n = n + 1 where id in (1, 1070); update {t} set id = 2070 where id = 1070;
			update {t} set id = id + 3000 where id in (2, 3); update {t} set n = n + 1, raw = '\x00' where id = 3002; insert into {t} select `+wideValues("2", "7")+`; update {t} set n = 8 where id in (2, 3003); commit`)
	do(toast, `update {t} set n = n + 1`, `update {t} set id = id + 5000 where id between 30 and 40 or id > 1000`)
	do(toast[2:],
		`begin; update {t} set n = n + 1 where id < 10; truncate {t}; insert into {t} select `+wideValues("i", "20")+` from generate_series(1, 30) i; update {t} set n = n + 1 where id < 20;
			update {t} set id = id + 100 where id between 5 and 9; delete from {t} where id = 4; insert into {t} select `+wideValues("4", "22")+`; update {t} set n = 23 where id = 4; commit`,
		`update {t} set n = n + 1 where id < 3 or id > 100`,
		`begin; delete from {t} where id = 1; truncate {t}; insert into {t} select `+wideValues("i", "30")+` from generate_series(20, 50) i; truncate {t};
			insert into {t} select `+wideValues("i", "31")+` from generate_series(1, 40) i; update {t} set id = id + 200 where id in (1, 20); commit`)
	do(toast, `update {t} set n = n + 1 where id < 30 or id > 200`)
	for _, table := range toast {
		sameAsSource(t, db, folder(l, table), "select "+toastRow+" from "+table)
		onlySeen(t, folder(l, table), func(row string) bool { return had[table+" "+rowHash(t, row)] })
	}
}

// wideValues are the values of a row whose large ones its id tells, as a select has them.
func wideValues(id, n string) string {
	return strings.NewReplacer("{id}", id, "{n}", n).Replace(
		`{id}, {n}, repeat(md5({id}::text), 320), jsonb_build_object('v', repeat(md5(({id}*7)::text), 320)), decode(repeat(md5(({id}*3)::text), 640), 'hex')`)
}

const toastRow = `json_build_object('id', id, 'n', n, 'body', body, 'doc', doc::text, 'raw', replace(encode(raw, 'base64'), E'\n', ''))`

// rowHash is a row's columns but those that Lakefeed adds, shortened.
func rowHash(t *testing.T, text string) string {
	t.Helper()
	r := parse(t, text)
	for _, c := range parity.ExtraColumns {
		delete(r, c)
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(r.String())))
}

// onlySeen reads a table as of each of its commits: it has no row that was never seen.
func onlySeen(t *testing.T, path string, seen func(row string) bool) {
	t.Helper()
	instants, rows := 0, 0
	for _, i := range openTable(t, path).Timeline().Completed() {
		if i.Action == timeline.Clean || i.Action == timeline.Rollback {
			continue
		}
		instants++
		for _, r := range lakefeedRows(t, path, parity.Read{AsOf: i.Time, NoMeta: true}) {
			if rows++; !seen(r) {
				t.Errorf("%s has at %s a row that the source never had: %.300s", filepath.Base(path), i.Time, r)
			}
		}
	}
	if t.Logf("%s: %d rows of %d instants", filepath.Base(path), rows, instants); instants < 4 {
		t.Errorf("%s has %d instants", filepath.Base(path), instants)
	}
}

// TestQuarantine has rows that their table cannot hold, by copy and by stream: every engine reads their table in
// quarantine, and the other one without them.
func TestQuarantine(t *testing.T) {
	parity.Engines(t)
	db := pgtest.NewDatabase(t)
	db.Exec(t, "create table t (id int primary key, d date, v text)",
		"insert into t values (1, '2026-01-01', 'a'), (2, 'infinity', 'b'), (3, '2026-01-03', 'c'), (4, '-infinity', 'd'), (5, '0044-03-15 BC', 'é\"')")
	l := laketest.New(t, db.URL, "      - match: public.*\n        types: {out_of_range: quarantine}", "")
	l.Run(0, "run", "--once")
	db.Exec(t, "update t set d = 'infinity' where id = 1", "update t set d = '2026-02-02' where id = 2", "delete from t where id = 4", "insert into t values (6, '10000-01-01', 'x'), (7, '9999-12-31', 'y')")
	l.Run(0, "run", "--once")
	var got []string
	for _, text := range agreed(t, filepath.Join(l.Dir, "_lakefeed", "quarantine", "public", "t"), parity.Read{}) {
		r := parse(t, text)
		got = append(got, strings.Join([]string{r.text("row_key"), r.text("column"), r.text("reason"), r.text("row")}, " "))
	}
	slices.Sort(got)
	want := []string{
		`"1" "d" "infinity is no date" "{\"id\":\"1\",\"d\":\"infinity\",\"v\":\"a\"}"`,
		`"5" "d" "the year is outside 1 to 9999" "{\"id\":\"5\",\"d\":\"0044-03-15 BC\",\"v\":\"é\\\"\"}"`,
		`"6" "d" "the year is outside 1 to 9999" "{\"id\":\"6\",\"d\":\"10000-01-01\",\"v\":\"x\"}"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("in quarantine stand\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	sameAsSource(t, db, folder(l, "t"), "select json_build_object('id', id, 'd', to_char(d, 'YYYY-MM-DD'), 'v', v) from t where d between '0001-01-01' and '9999-12-31'")
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
