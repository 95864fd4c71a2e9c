package postgres_test

import (
	"strings"
	"testing"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if want = strings.ReplaceAll(strings.TrimSpace(want), "\t", ""); got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

func TestCopyAndStream(t *testing.T) {
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, `INSERT INTO t VALUES (1, 'one'), (2, NULL)`)
	f := open(t, db, postgres.Options{}).begin()
	db.Exec(t, `INSERT INTO t VALUES (3, 'three')`) // behind the slot's consistent point
	expect(t, "copy", texts(f.copied("t")), "r 1|one\nr 2|NULL")
	f.stream()
	db.Exec(t, `UPDATE t SET v = 'uno' WHERE id = 1`, `DELETE FROM t WHERE id = 2`, `UPDATE t SET id = 30 WHERE id = 3`, `TRUNCATE t`,
		`BEGIN; INSERT INTO t VALUES (5, 'gone'); ROLLBACK`, `INSERT INTO t SELECT i, i::text FROM generate_series(6, 7) i`)
	rows, _ := f.drain()
	expect(t, "stream", texts(rows["t"]), `
		c 3|three
		u 1|uno
		d 2|NULL
		d 3|NULL
		u> 30|three
		t NULL|NULL
		c 6|6
		c 7|7`)
	if !f.last.Whole || f.last.Time.IsZero() {
		t.Errorf("the last chunk: %+v", f.last)
	}
}
