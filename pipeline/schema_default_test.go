package pipeline_test

import (
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/pipeline"
)

// TestColumnWithDefaultRewritten writes tables anew with a column whose older rows have the
// constant default that it came with: PostgreSQL then forgets that default, whether the rows
// have got other values or not.
func TestColumnWithDefaultRewritten(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ sql, anew string }{
		"same":     {"alter table same alter c type int using c * 10", "column c of public.same was altered"},
		"wider":    {"alter table wider alter c type bigint using c * 2", "column c of public.wider was altered"},
		"together": {"begin; alter table together alter c type int using c * 10; alter table together alter c set not null; commit", "column c of public.together was altered"},
		"parts":    {"alter table parts alter c type int using c * 10", "column c of public.parts was altered"},
		"dropped":  {"alter table dropped alter c drop default; vacuum full dropped", "column c of public.dropped was altered"}, // nothing tells that from the first
		"vacuumed": {"vacuum full vacuumed", ""},
		"sorted":   {"cluster sorted using sorted_pkey; alter table sorted alter c set statistics 7", ""},
	}
	r := newRig(t)
	for name := range cases {
		table, rows := "create table "+name+" (id int primary key)", "insert into "+name+" select i from generate_series(1, 20) i"
		if name == "parts" {
			table += " partition by range (id); create table " + name + "1 partition of " + name + " default"
			r.skip[name+"1"] = true
		}
		r.db.Exec(t, append(strings.Split(table, "; "), rows, "alter table "+name+" add c int default 1")...)
	}
	var copies copiesAnew
	once := func() {
		if err := r.once(copies.let); err != nil {
			t.Fatal(err)
		}
	}
	once()
	for _, c := range cases {
		r.db.Exec(t, strings.Split(c.sql, "; ")...)
	}
	once()
	r.equal(nil)
	for name, c := range cases {
		copies.of(t, "public."+name, c.anew)
	}
	r.db.Exec(t, "vacuum full dropped", "vacuum full same", "insert into same values (21)")
	once()
	for _, name := range []string{"dropped", "same"} {
		copies.of(t, "public."+name, "")
	}
	r.equal(nil)
}

// policed gives all tables a policy for changes of their schemas.
func policed(policy pipeline.SchemaPolicy) func(*change.Table) pipeline.TableOptions {
	return func(*change.Table) pipeline.TableOptions {
		return pipeline.TableOptions{Schema: pipeline.SchemaOptions{Policy: policy}}
	}
}

// TestFrozenDefaultRewritten copies a frozen table whose column got other values.
func TestFrozenDefaultRewritten(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')", "alter table t add c int default 1")
	r.mods = append(r.mods, recopies)
	r.table = policed(pipeline.FreezeSchema)
	r.drain()
	r.db.Exec(t, "alter table t alter c type int using c * 10", "insert into t values (2, 'b', 2)")
	r.drain()
	if got := r.column("t", "c"); got != "10 2" {
		t.Errorf("the lake holds %q", got)
	}
	r.equal(nil)
}
