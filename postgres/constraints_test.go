package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestConstraints looks at what people should hear of when it changes, while somebody
// holds the table locked.
func TestConstraints(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE o (id int PRIMARY KEY)`, `CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n > 0), o int REFERENCES o, u text UNIQUE)`)
	f := open(t, db, postgres.Options{})
	tx, err := db.Conn(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE t, o IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	look, err := f.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range look.Tables {
		want := map[string]string{}
		if table.Name == "t" {
			want = map[string]string{"t_n_check": "check (n)", "t_o_fkey": "foreign key (o) to public.o", "t_u_key": "unique (u)"}
		}
		for name, begin := range want {
			if have := table.Constraints[name]; !strings.HasPrefix(have, begin) {
				t.Errorf("%s of %s is %q, want %q", name, table, have, begin)
			}
		}
		if len(table.Constraints) != len(want) {
			t.Errorf("%s has %v", table, table.Constraints)
		}
	}
}

// TestCopyAltered alters a table between its description and its copy.
func TestCopyAltered(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text, n int)`, `INSERT INTO t VALUES (1, 'a', 1)`)
	for _, sql := range []string{`ALTER TABLE t DROP v`, `ALTER TABLE t ALTER n TYPE bigint`} {
		f := open(t, db, postgres.Options{})
		db.Exec(t, sql)
		if _, err := f.OpenSnapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		none := func(*change.Batch) error { return nil }
		for _, err := range []error{f.Copy(t.Context(), f.tables["t"], none), f.CopyKeys(t.Context(), f.tables["t"], [][]string{{"1"}}, none)} {
			if _, ok := errors.AsType[*change.AlteredError](err); !ok {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
}
