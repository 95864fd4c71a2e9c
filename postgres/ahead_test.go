package postgres_test

import (
	"testing"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestCatalogAhead: when the log is read, columns, types and tables that it speaks of are
// gone from the catalogs, or others have their names.
func TestCatalogAhead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db *pgtest.Database) {
		db.Exec(t, `CREATE TYPE mood AS ENUM ('sad', 'glad')`, `CREATE TYPE pair AS (a int, b text)`,
			`CREATE TABLE t (id int PRIMARY KEY, v text, m mood, p pair, n int DEFAULT 7)`, `CREATE TABLE gone (id int PRIMARY KEY, m mood)`, `CREATE TABLE u (id int PRIMARY KEY, v text)`)
		parts, whole := twoFeeds(t, db, postgres.Options{})
		if err := parts.EndStream(); err != nil { // the log waits
			t.Fatal(err)
		}
		db.Exec(t, `INSERT INTO t VALUES (1, 'one', 'glad', '(1,x)', 1)`, `INSERT INTO gone VALUES (1, 'sad')`,
			`INSERT INTO t SELECT i, repeat('y', 100), 'sad', '(2,y)', 2 FROM generate_series(2, 2000) i`,
			`ALTER TABLE t DROP m, DROP p, DROP v`, `ALTER TABLE t RENAME n TO v`, `INSERT INTO t VALUES (3000, 3)`, `DROP TABLE gone`,
			`DROP TYPE mood`, `DROP TYPE pair`, `INSERT INTO u VALUES (1, 'u')`)
		parts.stream()
		rows, _ := parts.drain()
		if got := rows["t"]; len(got) != 2001 || got[0].values[0] != "1" || got[0].values[1] != "one" || got[2000].String() != "c 3000|3" {
			t.Errorf("%d changes: %v", len(got), got[:min(3, len(got))])
		}
		if texts(rows["u"]) != "c 1|u" || len(rows["gone"]) != 1 {
			t.Errorf("got %s and %d of the table that is gone", texts(rows["u"]), len(rows["gone"]))
		}
		whole.drain()
	})
}
