package e2e

import (
	"strings"
	"testing"
	"time"

	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
)

// await waits until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestConfiguration has mistakes in the file that only the command line meets; the
// rest is config's own test.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	db := twoTables(t)
	for name, c := range map[string]struct{ old, with, says string }{
		"unknown key":      {"tables:", "tabels:", `lakefeed\.yaml:\d+:5: pipelines\[0\]\.tabels: unknown key; did you mean tables\?`},
		"missing variable": {db.URL, "postgres://u:${NO_SUCH_SECRET}@h/db", `lakefeed\.yaml:5:\d+: .*the environment variable NO_SUCH_SECRET is not set`},
		"two of one name":  {"pipelines:\n", "pipelines:\n  - {name: NAME, source: {postgres: {url: \"postgres://u@h/db\"}}, tables: [{match: a.b}], lake: {url: l}}\n", `"NAME" is the name of another pipeline`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBad(t, db.URL, allTables, "")
			b.rewrite(c.old, strings.ReplaceAll(c.with, "NAME", b.Name))
			says := strings.ReplaceAll(c.says, "NAME", b.Name)
			for _, command := range [][]string{{"check"}, {"run", "--once"}, {"status"}, {"validate"}} {
				b.run(usage, command, says)
			}
		})
	}
	t.Run("nothing matches", func(t *testing.T) {
		t.Parallel()
		b := newBad(t, db.URL, "      - match: pubic.*", "")
		b.check(found, `error .*match`, `"pubic\.\*" \(line 8\) is never reached: no table`)
		b.once(usage, "no table", "pubic")
		b.rewrite("pubic", "public")
		b.well()
	})
}

// strange are names that a lake cannot keep, or that need care in SQL.
var strange = []string{
	`dots.and spaces`, `say "hi"`, `it's`, `CamelCase`, `camelcase`, `🐘 elephant`, `select`, `a/../b`, `..`, `-dash`, `back\slash`, `semi;colon`,
	strings.Repeat("x", 63), strings.Repeat("é", 31), `_hoodie_commit_time`, "tab\there", "new\nline", `100%`, `$1`,
}

func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// TestStrangeNamesLong replicates tables and columns of any name.
func TestStrangeNamesLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := pgtest.NewDatabase(t)
	var sql, columns []string
	for _, name := range strange {
		columns = append(columns, ident(name)+" text DEFAULT 'v'")
	}
	for _, schema := range []string{"public", "_lakefeed", "select", "Dotted.Schema"} {
		if schema != "public" {
			sql = append(sql, "CREATE SCHEMA "+ident(schema))
		}
		for _, name := range strange[:7] {
			sql = append(sql, "CREATE TABLE "+ident(schema)+"."+ident(name)+" (id int PRIMARY KEY)")
		}
	}
	for _, name := range strange[7:] {
		sql = append(sql, "CREATE TABLE "+ident(name)+" ("+ident(name)+" text, id int, PRIMARY KEY ("+ident(name)+", id))", "INSERT INTO "+ident(name)+" VALUES ('k', 1)")
	}
	sql = append(sql, `CREATE TABLE columns (id int PRIMARY KEY, `+strings.Join(columns, ", ")+`)`, `INSERT INTO columns VALUES (1)`,
		`CREATE TABLE clash (id int PRIMARY KEY, _hoodie_is_deleted bool, _event_lsn bigint, "_Event_LSN" int, "a b" int, a_b int, "A b" int, _lakefeed_key text, db_shard_source_partition text)`,
		`INSERT INTO clash VALUES (1, true, 2, 3, 4, 5, 6, 'k', 's')`)
	db.Exec(t, sql...)
	b := newBad(t, db.URL, `      - match: "*.*"`, "")
	b.check(0, `_hoodie_is_deleted of table public.clash lands as src__hoodie_is_deleted`, `column a_b of table public.clash lands as a_b_2`, `column A b of table public.clash lands as A_b_3`,
		`column _event_lsn of table public.clash lands as src__event_lsn`, `column _lakefeed_key of table public.clash lands as src__lakefeed_key`,
		`lands in folder src__lakefeed/`, `camelcase lands in folder public/camelcase_2`, `ready to run`)
	b.once(0)
	for _, name := range strange {
		db.Exec(t, "INSERT INTO columns (id, "+ident(name)+") SELECT max(id) + 1, 'changed' FROM columns")
	}
	for _, name := range strange[7:] {
		db.Exec(t, "UPDATE "+ident(name)+" SET id = id + 1", "INSERT INTO "+ident(name)+" VALUES ('', 2)")
	}
	db.Exec(t, `UPDATE clash SET _hoodie_is_deleted = NULL, _event_lsn = 20`)
	b.well()
	b.run(0, []string{"status"}, `public\.clash`)
	b.table("public/clash", `"src__hoodie_is_deleted": null, "src__event_lsn": 20, "src__Event_LSN_2": 3, "a_b": 4, "a_b_2": 5, "A_b_3": 6, "src__lakefeed_key": "k"`)
}

// TestStrangeKeys has keys that Hudi's own encoding would put under one.
func TestStrangeKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	pairs := `('a,b:1', 'c'), ('a', 'b:1,c'), ('a,b', '1:c'), (',', ':'), (':', ','), ('', ''), ('', ','), ('__null__', '__empty__'), ('__empty__', ''), ('%2C', '%'), (',', '%3A'), ('a:1,b', '2'), ('é🐘', E'\n')`
	singles := `(''), ('__null__'), ('__empty__'), ('%'), ('%__null__'), (','), (':'), (' '), ('a'), ('A'), (E'\t'), (repeat('k', 2000))`
	db.Exec(t, `CREATE TABLE pairs (a text, b text, v int DEFAULT 0, PRIMARY KEY (a, b))`, `CREATE TABLE singles (k text PRIMARY KEY, v int DEFAULT 0)`,
		`INSERT INTO pairs VALUES `+pairs, `INSERT INTO singles VALUES `+singles)
	b := newBad(t, db.URL, "      - match: public.pairs\n        table_type: copy_on_write\n"+allTables, "")
	b.well()
	db.Exec(t, `UPDATE pairs SET v = v + 1`, `UPDATE singles SET v = v + 1`, `DELETE FROM pairs WHERE a = ','`, `DELETE FROM singles WHERE k = ''`,
		`UPDATE pairs SET a = a || ',', b = b || ':'`, `UPDATE singles SET k = k || '%'`, `INSERT INTO singles VALUES ('')`)
	b.well()
}

// TestOddTables has tables whose UPDATEs PostgreSQL would refuse if they were
// published like the others.
func TestOddTables(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE keyless (id int)`, `CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)`,
		`CREATE TABLE nothing (id int PRIMARY KEY)`, `ALTER TABLE nothing REPLICA IDENTITY NOTHING`,
		`CREATE TABLE whole (id int)`, `ALTER TABLE whole REPLICA IDENTITY FULL`,
		`CREATE TABLE wholekey (id int PRIMARY KEY)`, `ALTER TABLE wholekey REPLICA IDENTITY FULL`)
	names := []string{"keyless", "late", "nothing", "whole", "wholekey"}
	for _, name := range names {
		db.Exec(t, `INSERT INTO `+name+` VALUES (1), (2), (3)`)
	}
	b := newBad(t, db.URL, allTables, "")
	b.check(0, `warning .*public\.keyless.* append-only`, `warning .*public\.late.* append-only.*deferrable`, `warning .*public\.nothing.* append-only.*NOTHING`, `warning .*public\.whole: .*append-only.*FULL`, `-wholekey`)
	b.once(0)
	for _, name := range names {
		db.Exec(t, `UPDATE `+name+` SET id = 10 WHERE id = 1`, `DELETE FROM `+name+` WHERE id = 2`, `INSERT INTO `+name+` VALUES (4)`)
	}
	b.once(0)
	b.run(0, []string{"validate", "public.wholekey"}, `equal +public\.wholekey: 3 rows`)
	for _, name := range names {
		db.Exec(t, `UPDATE `+name+` SET id = 11 WHERE id = 10`)
		if name != "wholekey" {
			b.table("public/"+name, `"id": 1}`, `"id": 2}`, `"id": 4}`)
		}
	}
}

// TestUnrepresentableLong has values that no column of a lake can hold.
func TestUnrepresentableLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, c := range map[string]struct{ column, value, good, says string }{
		"NaN":         {"numeric(8,2)", "NaN", "1", "NaN"},
		"infinity":    {"date", "infinity", "2026-01-01", "infinity"},
		"year":        {"timestamptz", "10000-01-01", "2026-01-01", "year"},
		"many digits": {"numeric", "1e30", "1", "digits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := twoTables(t)
			db.Exec(t, `CREATE TABLE bad (id int PRIMARY KEY, "the column" `+c.column+`)`, `INSERT INTO bad VALUES (1, '`+c.value+`')`)
			b := newBad(t, db.URL, allTables, "")
			// In the first copy: mend the value, start again.
			b.once(final, `table public\.bad: .*the column.*`+c.says, `public\.u +streaming +1 `)
			db.Exec(t, `UPDATE bad SET "the column" = '`+c.good+`'`)
			b.well()
			// In the stream: the log holds it for ever; the table is copied anew.
			db.Exec(t, `INSERT INTO bad VALUES (2, '`+c.value+`')`, `INSERT INTO u VALUES (2)`)
			b.once(final, `table public\.bad: .*the column.*`+c.says, `lakefeed resync`, `public\.u +streaming +1 `)
			b.run(0, []string{"status"}, `not running`, `public\.bad +failed`, `public\.u +not running`, `public\.bad stopped at 20.* UTC: .*id = 2.*`+c.says+`.*lakefeed resync`)
			db.Exec(t, `UPDATE bad SET "the column" = '`+c.good+`'`, `INSERT INTO u VALUES (3)`)
			b.once(final, `table public\.bad: .*`+c.says, `public\.u +streaming +1 `)
			b.forget("public/bad")
			b.well()
		})
	}
}

// streaming starts a run of tables t, u and what sql makes, and waits until it streams.
func streaming(t *testing.T, sql ...string) (*pgtest.Database, *bad, *run) {
	t.Helper()
	db := twoTables(t)
	db.Exec(t, sql...)
	b := newBad(t, db.URL, allTables, "    commit_interval: 200ms")
	r := startRun(t, b.Lake)
	await(t, "the tables are copied", func() bool {
		return strings.Count(b.Run(0, "status"), "  streaming  ") == 2
	})
	db.Exec(t, `INSERT INTO u VALUES (50)`)
	awaitAck(t, db, r)
	return db, b, r
}

// copies waits until table t was copied anew by itself, and its log says why, while table u
// goes on.
func (b *bad) copies(db *pgtest.Database, r *run, says string) {
	b.t.Helper()
	text := ""
	await(b.t, "table public.t is copied anew", func() bool {
		text = b.Run(0, "schema", "log", "public.t")
		return strings.Contains(text, "copied anew") && strings.Contains(b.Run(0, "status"), "public.t  streaming ")
	})
	b.says("schema log", text, says+": copied anew")
	db.Exec(b.t, `INSERT INTO u VALUES (77)`)
	await(b.t, "table public.u goes on", func() bool { return strings.Contains(b.table("public/u"), `"id": 77`) })
	r.check()
	r.stop()
}

func TestKeyLost(t *testing.T) {
	t.Parallel()
	db, b, r := streaming(t)
	db.Exec(t, `ALTER TABLE t DROP CONSTRAINT t_pkey`)
	conn := db.Conn(t)
	began := time.Now()
	await(t, "the application may update again", func() bool {
		_, err := conn.Exec(t.Context(), `UPDATE t SET v = 'b'`)
		return err == nil
	})
	t.Logf("the application could not update for %s", time.Since(began))
	b.copies(db, r, `the key is none and was \(id\)`)
	b.Run(0, "resync", "public.t") // updates do not reach it any more
	b.well()
}

func TestTableDroppedLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db, b, r := streaming(t)
	db.Exec(t, `INSERT INTO t VALUES (2, 'b')`, `DROP TABLE t`, `INSERT INTO u VALUES (77)`)
	awaitAck(t, db, r)
	r.check()
	r.stop()
	b.well()
	b.table("public/t", `"id": 2`)
}

func TestColumnDropped(t *testing.T) {
	t.Parallel()
	db, b, r := streaming(t)
	db.Exec(t, `ALTER TABLE t DROP COLUMN v`, `INSERT INTO t VALUES (2)`)
	awaitAck(t, db, r)
	r.stop()
	b.well()
	b.table("public/t", `"id": 1, "v": "a"`, `"id": 2, "v": null`)
}

func TestColumnRenamed(t *testing.T) {
	t.Parallel()
	db, b, r := streaming(t)
	db.Exec(t, `ALTER TABLE t RENAME COLUMN v TO w`, `INSERT INTO t VALUES (2, 'b')`)
	b.copies(db, r, `column v was renamed to w`)
	b.well()
}

func TestColumnRetyped(t *testing.T) {
	t.Parallel()
	db, b, r := streaming(t)
	db.Exec(t, `ALTER TABLE t ALTER COLUMN v TYPE int USING 1`, `INSERT INTO t VALUES (2, 2)`)
	b.copies(db, r, `column v is integer and was text`)
	b.well()
}

func TestTableRenamed(t *testing.T) {
	t.Parallel()
	db, b, r := streaming(t)
	db.Exec(t, `ALTER TABLE t RENAME TO renamed`, `INSERT INTO renamed VALUES (2, 'b')`)
	await(t, "it is copied under its new name", func() bool {
		return strings.Contains(b.Run(0, "status"), "public.renamed  streaming  ")
	})
	r.stop()
	b.well()
	b.table("public/renamed", `"id": 2`)
}
