package postgres_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestKeys has one table for every way of telling rows apart, or not.
func TestKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t,
		`CREATE TABLE pk (a int, b int, c text, PRIMARY KEY (c, a))`,
		`CREATE TABLE late (a int PRIMARY KEY DEFERRABLE)`,
		`CREATE TABLE none (a int NOT NULL UNIQUE)`,
		`CREATE TABLE byindex (a int PRIMARY KEY, b int NOT NULL UNIQUE); ALTER TABLE byindex REPLICA IDENTITY USING INDEX byindex_b_key`,
		`CREATE TABLE fullpk (a int PRIMARY KEY); ALTER TABLE fullpk REPLICA IDENTITY FULL`,
		`CREATE TABLE fullunique (a int UNIQUE, b int, c int NOT NULL UNIQUE); CREATE UNIQUE INDEX ON fullunique (b) WHERE b > 0; ALTER TABLE fullunique REPLICA IDENTITY FULL`,
		`CREATE TABLE fullnothing (a int UNIQUE); ALTER TABLE fullnothing REPLICA IDENTITY FULL`,
		`CREATE TABLE nothing (a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING`,
		`CREATE TABLE generated (a int, b int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY)`,
		`CREATE TABLE lostindex (a int PRIMARY KEY, b int NOT NULL UNIQUE); ALTER TABLE lostindex REPLICA IDENTITY USING INDEX lostindex_b_key; ALTER TABLE lostindex DROP CONSTRAINT lostindex_b_key`,
		`CREATE TABLE root (a int PRIMARY KEY, b int) PARTITION BY RANGE (a); CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10)`,
		`CREATE TABLE oddroot (a int PRIMARY KEY) PARTITION BY RANGE (a); CREATE TABLE odd PARTITION OF oddroot FOR VALUES FROM (0) TO (10); ALTER TABLE odd REPLICA IDENTITY NOTHING`,
		`CREATE TABLE parent (a int PRIMARY KEY); CREATE TABLE child (x int) INHERITS (parent)`,
		`CREATE UNLOGGED TABLE unlogged (a int PRIMARY KEY); CREATE VIEW v AS SELECT 1 AS a; CREATE MATERIALIZED VIEW m AS SELECT 1 AS a`,
	)
	f := open(t, db, postgres.Options{})
	var got []string
	for name, table := range f.tables {
		var key []string
		for _, i := range table.Key {
			key = append(key, table.Columns[i].Name)
		}
		got = append(got, fmt.Sprintf("%s %d %s", name, table.KeyKind, strings.Join(key, ",")))
		if (table.KeyKind == change.NoKey) != (table.Note != "") {
			t.Errorf("%s: the note is %q", name, table.Note)
		}
	}
	slices.Sort(got)
	expect(t, "keys", strings.Join(got, "\n"), `
		byindex 2 b
		child 0 
		fullnothing 0 
		fullpk 1 a
		fullunique 2 c
		generated 0 
		late 0 
		lostindex 0 
		none 0 
		nothing 0 
		oddroot 0 
		parent 1 a
		pk 1 c,a
		root 1 a`)

	f.begin()
	// Whatever the application does to any of them, it succeeds.
	for name := range f.tables {
		db.Exec(t, "INSERT INTO "+name+" (a) SELECT 1 WHERE "+literal(name)+" NOT IN ('pk', 'byindex', 'fullunique', 'lostindex')",
			"UPDATE "+name+" SET a = 2", "DELETE FROM "+name)
	}
	f.stream()
	rows, failures := f.drain()
	if len(failures) > 0 {
		t.Fatal(failures[0].Err)
	}
	for name, table := range f.tables {
		if table.KeyKind == change.NoKey {
			for _, r := range rows[name] {
				if r.op != change.Create || r.key != fmt.Sprintf("%016x-%08x", uint64(r.at.Commit), r.at.Index) {
					t.Errorf("%s: %s, key %q", name, r, r.key)
				}
			}
		}
	}
	expect(t, "root", texts(rows["root"]), "c 1|NULL\nd 1|NULL\nu> 2|NULL\nd 2|NULL")
	if rows["leaf"] != nil {
		t.Error("a partition came by itself")
	}
}

func literal(s string) string { return "'" + s + "'" }

// TestIdentities changes rows and keys under every replica identity, with a TOAST
// value that is not touched.
func TestIdentities(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 1000)
	for _, text := range []bool{false, true} {
		db := pgtest.NewDatabase(t)
		setup := map[string]string{
			"bydefault": `SELECT 1`,
			"byindex":   `CREATE UNIQUE INDEX byindex_u ON byindex (u); ALTER TABLE byindex REPLICA IDENTITY USING INDEX byindex_u`,
			"byfull":    `ALTER TABLE byfull REPLICA IDENTITY FULL`,
		}
		for name, sql := range setup {
			db.Exec(t, fmt.Sprintf(`CREATE TABLE %s (id int PRIMARY KEY, u int NOT NULL, big text, n int); ALTER TABLE %[1]s ALTER big SET STORAGE EXTERNAL`, name), sql)
		}
		f := open(t, db, postgres.Options{Text: text}).begin().stream()
		for name := range setup {
			db.Exec(t, fmt.Sprintf(`INSERT INTO %s VALUES (1, 10, '%s', 5)`, name, long),
				`UPDATE `+name+` SET n = 6`, `UPDATE `+name+` SET id = 2`, `UPDATE `+name+` SET u = 20`, `UPDATE `+name+` SET big = NULL`, `DELETE FROM `+name)
		}
		rows, failures := f.drain()
		if len(failures) > 0 {
			t.Fatal(failures[0].Err)
		}
		got := func(name string) string { return strings.ReplaceAll(texts(rows[name]), long, "<long>") }
		expect(t, "default", got("bydefault"), `
			c 1|10|<long>|5
			u 1|10|<unchanged>|6
			d 1|NULL|NULL|NULL
			u> 2|10|<unchanged>|6
			u 2|20|<unchanged>|6
			u 2|20|NULL|6
			d 2|NULL|NULL|NULL`)
		expect(t, "index", got("byindex"), `
			c 1|10|<long>|5
			u 1|10|<unchanged>|6
			u 2|10|<unchanged>|6
			d NULL|10|NULL|NULL
			u> 2|20|<unchanged>|6
			u 2|20|NULL|6
			d NULL|20|NULL|NULL`)
		expect(t, "full", got("byfull"), `
			c 1|10|<long>|5
			u 1|10|<long>|6
			d 1|NULL|NULL|NULL
			u> 2|10|<long>|6
			u 2|20|<long>|6
			u 2|20|NULL|6
			d 2|NULL|NULL|NULL`)
	}
}

// TestLongKey has a key that is a TOAST value itself.
func TestLongKey(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (k text PRIMARY KEY, n int); ALTER TABLE t ALTER k SET STORAGE EXTERNAL`)
	f := open(t, db, postgres.Options{}).begin().stream()
	db.Exec(t, `INSERT INTO t VALUES (repeat('k', 2500), 1)`, `UPDATE t SET n = 2`, `DELETE FROM t`)
	rows, _ := f.drain()
	k := strings.Repeat("k", 2500)
	expect(t, "rows", texts(rows["t"]), "c "+k+"|1\nu "+k+"|2\nd "+k+"|NULL")
}

// TestKeyless copies and streams a table without a key.
func TestKeyless(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (v text)`, `INSERT INTO t VALUES ('a'), ('a'), ('b')`,
		`CREATE TABLE p (v int) PARTITION BY LIST (v); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); INSERT INTO p VALUES (1), (2)`)
	f := open(t, db, postgres.Options{}).begin()
	copied := append(f.copied("t"), f.copied("p")...)
	f.stream()
	db.Exec(t, `INSERT INTO t VALUES ('a'), ('a')`, `UPDATE t SET v = 'c'`, `DELETE FROM t`, `TRUNCATE t`)
	rows, failures := f.drain()
	expect(t, "stream", texts(rows["t"]), "c a\nc a\nt NULL")
	if len(failures) > 0 {
		t.Error(failures[0].Err)
	}
	keys := map[string]bool{}
	for _, r := range append(copied, rows["t"]...) {
		if r.key == "" || keys[r.key] {
			t.Errorf("key %q comes twice or is empty", r.key)
		}
		keys[r.key] = true
	}
	for i, r := range copied[:3] {
		oid := fmt.Sprintf("%08x", f.tables["t"].ID)
		if want := fmt.Sprintf("%016x-%s-00000000-%04x", uint64(f.start), oid, i+1); r.key != want || r.at.Commit != f.start {
			t.Errorf("copied row %d has key %q at %v, want %q", i, r.key, r.at, want)
		}
	}
}

// TestKeyComesAndGoes: a table moves between the publications when Prepare sees
// that its key came or went.
func TestKeyComesAndGoes(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int NOT NULL)`, `INSERT INTO t VALUES (1)`)
	f := open(t, db, postgres.Options{}).begin().stream()
	db.Exec(t, `UPDATE t SET id = 2`, `ALTER TABLE t ADD PRIMARY KEY (id)`)
	f.look()
	f.prepare()
	db.Exec(t, `UPDATE t SET id = 3`, `ALTER TABLE t DROP CONSTRAINT t_pkey`)
	f.look()
	f.prepare()
	db.Exec(t, `UPDATE t SET id = 4`, `INSERT INTO t VALUES (5)`)
	rows, failures := f.drain()
	if len(failures) > 0 {
		t.Fatal(failures[0].Err)
	}
	// The catalogs are ahead of the stream: the keyed change is still read as keyed.
	expect(t, "rows", texts(rows["t"]), "d 2\nu> 3\nc 5")
	if k := rows["t"][1].table.KeyKind; k != change.PrimaryKey {
		t.Errorf("the keyed change has key kind %d", k)
	}
	if k := rows["t"][2].table.KeyKind; k != change.NoKey {
		t.Errorf("the keyless change has key kind %d", k)
	}
}
