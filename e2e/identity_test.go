package e2e

import (
	"strings"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
)

// TestIdentity changes tables in ways of which the log tells nothing, or only the
// half, while Lakefeed is down. A table that can no longer be followed in place says so,
// and is copied anew.
func TestIdentity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		setup []string
		down  []string
		anew  string // why it is copied anew, empty: it is not
	}{
		{name: "a default of its own for every row", down: []string{`alter table t add d serial`, `insert into t (id, a) values (3, 'c')`}, anew: "every row was written anew"},
		{name: "a constant default, and all rows written anew", down: []string{`alter table t add d int default 5`, `vacuum full t`, `insert into t (id, a) values (3, 'c')`}, anew: "every row was written anew"},
		{name: "a column dropped and added", down: []string{`alter table t drop a`, `alter table t add a text`, `insert into t values (3, 'c')`}, anew: "dropped and added again"},
		{name: "a column renamed", down: []string{`alter table t rename a to b`, `insert into t values (3, 'c')`}, anew: "renamed"},
		{name: "a type changed in place", down: []string{`alter table t alter a type text using upper(a)`, `insert into t values (3, 'c')`}, anew: "every row was written anew"},
		{name: "a table made anew", down: []string{`drop table t`, `create table t (id int primary key, a text)`, `insert into t values (3, 'c')`}, anew: "t"},
		{
			name: "another table under its name", setup: []string{`create table t2 (id int primary key, a text)`, `insert into t2 values (9, 'z')`},
			down: []string{`alter table t rename to t3`, `alter table t2 rename to t`, `alter table t3 rename to t2`, `insert into t values (3, 'c')`}, anew: "another table",
		},
		{name: "emptied", down: []string{`truncate t`, `insert into t values (3, 'c')`}},
		{name: "emptied while a column came", down: []string{`truncate t`, `alter table t add d int default 5`, `insert into t values (3, 'c')`}},
		{name: "written anew", setup: []string{`alter table t add d int default 5`}, down: []string{`vacuum full t`, `insert into t values (3, 'c')`}},
		{name: "a longer text", setup: []string{`alter table t add v varchar(3)`}, down: []string{`alter table t alter v type varchar(30)`, `insert into t values (3, 'c', 'long enough')`}},
		{name: "a column dropped", down: []string{`alter table t drop a`, `insert into t values (3)`}},
		{name: "statistics of a column", down: []string{`alter table t alter a set statistics 10`, `analyze t`, `insert into t values (3, 'c')`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.NewDatabase(t)
			db.Exec(t, append([]string{`create table t (id int primary key, a text)`, `insert into t values (1, 'a'), (2, 'b')`}, c.setup...)...)
			l := laketest.New(t, db.URL, "      - match: public.*", "")
			l.Run(0, "run", "--once")
			db.Exec(t, c.down...)
			if c.anew == "" {
				l.Run(0, "run", "--once")
				l.Run(0, "validate")
				return
			}
			if out := l.Run(0, "run", "--once"); !strings.Contains(out, c.anew) || !strings.Contains(out, "copied anew") {
				t.Fatalf("no %q in\n%s", c.anew, out)
			}
			l.Run(0, "validate")
		})
	}
}

// TestFolders drops the table that another had to make way for: the other stays where it is.
func TestFolders(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `create table "x y" (id int primary key)`, `create table x_y (id int primary key)`, `insert into "x y" values (1)`, `insert into x_y values (2), (3)`)
	l := laketest.New(t, db.URL, "      - match: public.*", "")
	l.Run(0, "run", "--once")
	db.Exec(t, `drop table "x y"`, `insert into x_y values (4)`)
	l.Run(0, "run", "--once")
	l.Run(0, "validate")
}
