package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestCatalogsAhead alters tables before the stream comes to rows of before: a column does not get
// the number of another one that has its name now.
func TestCatalogsAhead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql  []string
		want string // names and numbers under which the first row comes
	}{
		"another of its name":   {[]string{"ALTER TABLE t RENAME b TO x", "INSERT INTO t VALUES (1, 2, 3)", "ALTER TABLE t RENAME x TO y; ALTER TABLE t ADD x int"}, "id 0 x 0 c 0"},
		"names that change":     {[]string{"INSERT INTO t VALUES (1, 2, 3)", "ALTER TABLE t RENAME b TO z; ALTER TABLE t RENAME c TO b; ALTER TABLE t RENAME z TO c"}, "id 0 b 0 c 0"},
		"one renamed":           {[]string{"INSERT INTO t VALUES (1, 2, 3)", "ALTER TABLE t RENAME b TO x"}, "id 0 b 0 c 0"},
		"the last one renamed":  {[]string{"INSERT INTO t VALUES (1, 2, 3)", "ALTER TABLE t RENAME c TO x"}, "id 1 b 2 c 0"},
		"one dropped":           {[]string{"INSERT INTO t VALUES (1, 2, 3)", "ALTER TABLE t DROP b"}, "id 1 b 0 c 3"},
		"one added":             {[]string{"INSERT INTO t VALUES (1, 2, 3)", "ALTER TABLE t ADD d int DEFAULT 7"}, "id 1 b 2 c 3"},
		"one dropped and added": {[]string{"INSERT INTO t VALUES (1, 2, 3)", "ALTER TABLE t DROP b; ALTER TABLE t ADD e int"}, "id 1 b 0 c 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.NewDatabase(t)
			db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, b int, c int)")
			f := open(t, db, postgres.Options{}).begin()
			db.Exec(t, c.sql...)
			f.stream()
			rows, _ := f.drain()
			v := rows["t"][0].table
			var columns []string
			for _, col := range v.Columns {
				columns = append(columns, fmt.Sprint(col.Name, " ", col.ID))
			}
			if got := strings.Join(columns, " "); got != c.want || (v.Columns[0].ID == 0) != (v.Storage == "") || (v.Columns[0].ID == 0) != (v.Columns[0].Shape == "") {
				t.Errorf("the first row came under %s, storage %q, want %s", got, v.Storage, c.want)
			}
		})
	}
}
