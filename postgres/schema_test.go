package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestAddedColumns: a batch ends where the columns change, and a constant default
// comes from the catalogs.
func TestAddedColumns(t *testing.T) {
	t.Parallel()
	for _, text := range []bool{false, true} {
		db := pgtest.NewDatabase(t)
		db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		f := open(t, db, postgres.Options{Text: text}).begin().stream()
		db.Exec(t, `INSERT INTO t VALUES (1)`,
			`ALTER TABLE t ADD n numeric(6,2) NOT NULL DEFAULT 1.5, ADD s text DEFAULT 'a, "b"', ADD l int[] DEFAULT '{1,2}', ADD ts timestamptz DEFAULT '2026-11-05 00:00+00', ADD z text`,
			`INSERT INTO t VALUES (2)`, `ALTER TABLE t DROP COLUMN l`, `INSERT INTO t VALUES (3)`)
		rows, failures := f.drain()
		if len(failures) > 0 {
			t.Fatal(failures[0].Err)
		}
		got := rows["t"]
		expect(t, "rows", texts(got), `
			c 1
			c 2|1.50|a, "b"|[1,2]|2026-11-05 00:00:00.000000|NULL
			c 3|1.50|a, "b"|2026-11-05 00:00:00.000000|NULL`)
		// The catalogs of now know the newest columns: l is gone.
		var missing []string
		for _, c := range got[2].table.Columns {
			v := "none"
			if c.Missing != nil {
				v = value(c.Missing, 0)
			}
			missing = append(missing, fmt.Sprintf("%s %s %t %s", c.Name, c.Type, c.Nullable, v))
		}
		expect(t, "columns", strings.Join(missing, "\n"), `
			id integer false none
			n numeric(6,2) false 1.50
			s text true a, "b"
			ts timestamp with time zone true 2026-11-05 00:00:00.000000
			z text true none`)
		f.look()
		for i, c := range f.tables["t"].Columns {
			if (c.Missing == nil) != (got[2].table.Columns[i].Missing == nil) {
				t.Errorf("Tables and the stream differ in column %s", c.Name)
			}
		}
	}
}

func TestMissingValueOfAnArray(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `ALTER TABLE t ADD l text[] DEFAULT '{"a,b",NULL}', ADD b bytea DEFAULT '\x00', ADD d date DEFAULT NULL`)
	f := open(t, db, postgres.Options{})
	c := f.tables["t"].Columns
	if got := value(c[1].Missing, 0) + " " + value(c[2].Missing, 0); got != `["a,b",null] \x00` || c[3].Missing != nil {
		t.Errorf("missing values: %s, %v", got, c[3].Missing)
	}
}

// TestSameSchemaKeepsItsTable: what VACUUM and ANALYZE repeat makes no new Table
// and no new batch.
func TestSameSchemaKeepsItsTable(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `CREATE TABLE g (id int PRIMARY KEY)`, `ALTER TABLE g REPLICA IDENTITY FULL`)
	f := open(t, db, postgres.Options{}).begin().stream()
	for i := range 3 {
		db.Exec(t, fmt.Sprintf(`INSERT INTO t VALUES (%d)`, i), fmt.Sprintf(`INSERT INTO g VALUES (%d)`, i), `VACUUM ANALYZE t`, `VACUUM ANALYZE g`)
	}
	rows, _ := f.drain()
	for _, name := range []string{"t", "g"} {
		if len(rows[name]) != 3 {
			t.Fatalf("%s: %v", name, rows[name])
		}
		for _, r := range rows[name] {
			if r.table != f.tables[name] {
				t.Errorf("%s: a table of its own", name)
			}
		}
	}
	if len(f.last.Batches) > 2 {
		t.Errorf("%d batches", len(f.last.Batches))
	}
}

// TestRename: a table goes on under another name, or fails where the pipeline does not take that.
func TestRename(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE a (id int PRIMARY KEY)`, `CREATE TABLE b (id int PRIMARY KEY)`)
	f := open(t, db, postgres.Options{Match: func(_, table string) bool { return table != "hidden" }}).begin().stream()
	db.Exec(t, `INSERT INTO a VALUES (1)`, `INSERT INTO b VALUES (1)`, `ALTER TABLE a RENAME TO c`, `ALTER TABLE b RENAME TO hidden`,
		`INSERT INTO c VALUES (2)`, `INSERT INTO hidden VALUES (2)`, `INSERT INTO hidden VALUES (3)`)
	rows, failures := f.drain()
	expect(t, "a", texts(rows["a"]), "c 1")
	expect(t, "c", texts(rows["c"]), "c 2")
	expect(t, "b", texts(rows["b"]), "c 1")
	if len(failures) != 1 || failures[0].Table.Name != "b" || !strings.Contains(failures[0].Err.Error(), "renamed to public.hidden") {
		t.Errorf("failures: %v", failures)
	}
}

func TestTruncateSeveral(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a)`)
	f := open(t, db, postgres.Options{}).begin().stream()
	db.Exec(t, `BEGIN; INSERT INTO a VALUES (1); TRUNCATE a CASCADE; INSERT INTO a VALUES (2); COMMIT`)
	rows, _ := f.drain()
	expect(t, "a", texts(rows["a"]), "c 1\nt NULL\nc 2")
	expect(t, "b", texts(rows["b"]), "t NULL|NULL")
	if a, b := rows["a"][1].at, rows["b"][0].at; a != b || a.Index != 1 || rows["a"][2].at.Index != 2 {
		t.Errorf("positions: %v %v", a, b)
	}
}

// TestNames has every odd name that PostgreSQL takes, for schemas, tables and columns.
func TestNames(t *testing.T) {
	t.Parallel()
	names := []string{
		"Order", `a"b`, "a.b", "with space", "tail ", "select", "🚲", `back\slash`, "'quote'", "$1", "a,b", "%s",
		strings.Repeat("n", 63), strings.Repeat("é", 31),
	}
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	db := pgtest.NewDatabase(t)
	var setup, work []string
	for i, n := range names {
		table := quote(n) + "." + quote(n)
		setup = append(setup, "CREATE SCHEMA "+quote(n), fmt.Sprintf("CREATE TABLE %s (%s int, v int, PRIMARY KEY (%[2]s))", table, quote(n)),
			fmt.Sprintf("INSERT INTO %s VALUES (%d, 0)", table, i))
		work = append(work, fmt.Sprintf("UPDATE %s SET %s = %d", table, quote(n), i+100))
	}
	// One that only text can carry, and one without a key.
	setup = append(setup, `CREATE TABLE "Order"."Other" ("I p" inet PRIMARY KEY)`, `INSERT INTO "Order"."Other" VALUES ('::1')`, `CREATE TABLE "Order"."No key" ("V" int)`)
	db.Exec(t, strings.Join(setup, ";"))
	f := open(t, db, postgres.Options{}).begin()
	for i, n := range names {
		expect(t, n, texts(f.copied(n)), fmt.Sprintf("r %d|0", i))
	}
	expect(t, "other", texts(f.copied("Other")), "r ::1")
	f.stream()
	db.Exec(t, work...)
	rows, failures := f.drain()
	if len(failures) > 0 {
		t.Fatal(failures[0].Err)
	}
	for i, n := range names {
		expect(t, n, texts(rows[n]), fmt.Sprintf("d %d|NULL\nu> %d|0", i, i+100))
		if r := rows[n][0].table; r.Schema != n || r.String() != n+"."+n {
			t.Errorf("%s: table %s", n, r)
		}
	}
}

// TestPartitions: a root is one table, a partition that is taken without its root another.
func TestPartitions(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE root (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)`,
		`CREATE TABLE low PARTITION OF root FOR VALUES FROM (0) TO (10)`,
		`CREATE TABLE high (v text, extra int, id int NOT NULL)`, `ALTER TABLE high DROP extra`, `ALTER TABLE root ATTACH PARTITION high FOR VALUES FROM (10) TO (20)`,
		`INSERT INTO root SELECT i, i::text FROM generate_series(8, 11) i`)
	f := open(t, db, postgres.Options{}).begin()
	if len(f.tables) != 1 {
		t.Fatalf("tables: %v", f.tables)
	}
	expect(t, "copy", sorted(f.copied("root")), "r 10|10\nr 11|11\nr 8|8\nr 9|9")
	f.stream()
	db.Exec(t, `UPDATE root SET id = 12 WHERE id = 8`, `INSERT INTO high VALUES ('x', 13)`, `TRUNCATE root`)
	rows, _ := f.drain()
	expect(t, "stream", texts(rows["root"]), "d 8|NULL\nc 12|8\nc 13|x\nt NULL|NULL")

	g := open(t, db, postgres.Options{Match: func(_, table string) bool { return table == "low" }})
	if g.tables["low"] == nil || g.tables["low"].KeyKind != change.PrimaryKey || len(g.tables) != 1 {
		t.Errorf("tables: %v", g.tables)
	}
}

func sorted(rows []row) string {
	lines := strings.Split(texts(rows), "\n")
	for i := range lines {
		for j := range lines[:i] {
			if lines[i] < lines[j] {
				lines[i], lines[j] = lines[j], lines[i]
			}
		}
	}
	return strings.Join(lines, "\n")
}

// TestLockedTable: a lock on one table does not keep the stream waiting.
func TestLockedTable(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `CREATE TABLE p (id int PRIMARY KEY) PARTITION BY HASH (id)`, `CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0)`)
	f := open(t, db, postgres.Options{}).begin().stream()
	db.Exec(t, `INSERT INTO t VALUES (1)`, `INSERT INTO p VALUES (1)`)
	lock := db.Conn(t)
	if _, err := lock.Exec(t.Context(), "BEGIN; LOCK TABLE t, p"); err != nil {
		t.Fatal(err)
	}
	rows, _ := f.drain()
	expect(t, "locked", texts(rows["t"])+texts(rows["p"]), "c 1c 1")
}

// TestRewrite: values that a DEFAULT computed for every row are not in the log; the
// table's storage tells. A constant, and a default for later rows only, leave it as it is.
func TestRewrite(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	for _, name := range []string{"computed", "constant", "later"} {
		db.Exec(t, `CREATE TABLE `+name+` (id int PRIMARY KEY)`, `INSERT INTO `+name+` VALUES (1)`)
	}
	f := open(t, db, postgres.Options{}).begin().stream()
	db.Exec(t, `ALTER TABLE computed ADD u int DEFAULT length(random()::text) * 0`, `INSERT INTO computed VALUES (2)`,
		`ALTER TABLE constant ADD n int NOT NULL DEFAULT 7`, `INSERT INTO constant VALUES (2)`,
		`ALTER TABLE later ADD n int`, `ALTER TABLE later ALTER n SET DEFAULT 8`, `INSERT INTO later VALUES (2)`)
	rows, failures := f.drain()
	if len(failures) != 0 {
		t.Errorf("failures: %+v", failures)
	}
	for name, want := range map[string]string{"computed": "c 2|0", "constant": "c 2|7", "later": "c 2|8"} {
		expect(t, name, texts(rows[name]), want)
		before, now := f.tables[name].Storage, rows[name][0].table.Storage
		if before == "" || now == "" || (before != now) != (name == "computed") {
			t.Errorf("%s: storage %q, was %q", name, now, before)
		}
	}
}
