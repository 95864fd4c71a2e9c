package pipeline_test

import (
	"strings"
	"testing"

	"lakefeed/pipeline"
)

// TestCatalogsAhead alters tables while nobody reads, with rows in between: the catalogs say
// nothing of the columns as these rows had them, or of others by the same names.
func TestCatalogsAhead(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ sql, evolve, freeze string }{
		"renamed": {"alter table @ rename b to x; insert into @ values (7, 7, 'x'); update @ set v = 'u' where id = 1; alter table @ rename x to y; alter table @ add x int; insert into @ values (8, 8, 'y', 80)", "was renamed to", "column b of public.@ was named x for a while"},
		"swapped": {"alter table @ add c int; insert into @ values (7, 7, 'c', 70); alter table @ rename b to z; alter table @ rename c to b; alter table @ rename z to c; insert into @ values (8, 8, 'c', 80)", "was renamed to", ""},
		"added":   {"alter table @ add c int default 3; insert into @ values (7, 7, 'c', 70); alter table @ add d int default 4; insert into @ values (8, 8, 'd', 80, 800)", "", ""},
		"dropped": {"insert into @ values (7, 7, 'b'); alter table @ drop b; insert into @ values (8, 'c')", "", ""},
	}
	for _, policy := range []pipeline.SchemaPolicy{pipeline.EvolveSchema, pipeline.FreezeSchema} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.table = policed(policy)
			for name := range cases {
				r.db.Exec(t, "create table "+name+" (id int primary key, b int, v text)", "insert into "+name+" select i, i, 'a' from generate_series(1, 3) i")
			}
			var copies copiesAnew
			for _, made := range []bool{false, true} {
				for name, c := range cases {
					if made {
						r.db.Exec(t, strings.Split(strings.ReplaceAll(c.sql, "@", name), "; ")...)
					}
				}
				if err := r.once(copies.let, oneRound); err != nil {
					t.Fatal(err)
				}
			}
			r.equal(nil)
			for name, c := range cases {
				anew := c.evolve
				if policy == pipeline.FreezeSchema {
					anew = c.freeze
				}
				copies.of(t, "public."+name, strings.ReplaceAll(anew, "@", name))
			}
		})
	}
}
