package postgres_test

import (
	"strconv"
	"testing"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestDefaultTells sees which rows were written anew with other values, on all versions: a
// column's default keeps its number where they were only moved.
func TestDefaultTells(t *testing.T) {
	t.Parallel()
	for _, v := range pgtest.Versions(t) {
		t.Run(strconv.Itoa(v), func(t *testing.T) {
			t.Parallel()
			db := pgtest.Shared(t, v).NewDatabase(t)
			db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY)`, `INSERT INTO t VALUES (1)`, `ALTER TABLE t ADD c int DEFAULT 1`, `ALTER TABLE t ADD e int DEFAULT 2`, `ALTER TABLE t ALTER e DROP DEFAULT`)
			f := open(t, db, postgres.Options{})
			defer f.Close(t.Context())
			for _, c := range []struct {
				sql  string
				kept bool
			}{
				{`VACUUM FULL t`, true},
				{`CLUSTER t USING t_pkey`, true},
				{`ALTER TABLE t ALTER e TYPE int USING e * 10`, true},
				{`ALTER TABLE t ALTER c SET STATISTICS 7`, true},
				{`ALTER TABLE t ALTER c TYPE int USING c * 10`, false},
				{`BEGIN; ALTER TABLE t ALTER c TYPE bigint; ALTER TABLE t ALTER c SET NOT NULL; COMMIT`, false},
				{`ALTER TABLE t ALTER c SET DEFAULT 5`, false},
			} {
				_, _, was := f.leaves("t")
				db.Exec(t, c.sql)
				_, _, now := f.leaves("t")
				if a, b := was.Columns[1].Default, now.Columns[1].Default; a == 0 || b == 0 || (a == b) != c.kept {
					t.Errorf("%s: default %d, was %d", c.sql, b, a)
				}
				if now.Columns[0].Default != 0 || now.Columns[2].Default != 0 {
					t.Errorf("%s: a default where there is none: %+v", c.sql, now.Columns)
				}
			}
		})
	}
}
