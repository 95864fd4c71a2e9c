package pipeline_test

import (
	"strings"
	"testing"

	"lakefeed/pipeline"
)

// undone are changes of a table (id int primary key, b int not null, v text) that are taken back,
// with rows in between: the last version is what the lake has.
var undone = map[string]struct{ sql, anew string }{
	"renamed": {"alter table @ rename b to x; update @ set v = 'u', x = 9 where id = 1; insert into @ values (7, 7); alter table @ rename x to b; insert into @ values (8, 8)", "column b of public.@ was named x for a while"},
	"added":   {"alter table @ add c int; insert into @ values (7, 7, 'c', 7); alter table @ drop c; insert into @ values (8, 8); alter table @ add c int default 3; insert into @ values (9, 9)", "column c of public.@ was dropped and added again"},
	"keyed": {
		"alter table @ drop constraint @_pkey, add primary key (b); update @ set v = 'u' where b = 2; alter table @ drop constraint @_pkey, add primary key (id); insert into @ values (8, 8)",
		"the key of public.@ was (b) for a while",
	},
	"swapped": {
		"begin; alter table @ rename to @_old; alter table twin rename to @; commit; insert into @ values (90, 90, 'of the twin'); begin; alter table @ rename to twin; alter table @_old rename to @; commit; insert into @ values (8, 8)",
		"the name public.@ belonged to another table of the source for a while",
	},
	"relabelled": {"alter table @ alter b type oid; insert into @ values (7, 4294967295); alter table @ alter b type int; insert into @ values (8, 8)", "another type"},
	"emptied":    {"alter table @ add c int; insert into @ values (7, 7, 'c', 7); alter table @ drop c; insert into @ values (8, 8); alter table @ add c int default 3; truncate @; insert into @ values (9, 9)", ""},
	"dropped":    {"alter table @ add c int; insert into @ values (7, 7, 'c', 7); alter table @ drop c; insert into @ values (8, 8); alter table @ add d int; insert into @ values (9, 9, 'd', 9)", ""},
}

// undoneRig has a table for each, and their twin.
func undoneRig(t *testing.T) *rig {
	r := newRig(t)
	for _, name := range undoneTables() {
		r.db.Exec(t, "create table "+name+" (id int primary key, b int not null, v text)", "insert into "+name+" select i, i + 1, 'a' from generate_series(1, 3) i", "alter table "+name+" alter v set storage external")
		r.skip[name+"_old"] = true
	}
	return r
}

func undoneTables() []string {
	names := []string{"twin"}
	for name := range undone {
		names = append(names, name)
	}
	return names
}

// undo makes the changes of all tables.
func (r *rig) undo() {
	r.t.Helper()
	for name, c := range undone {
		r.db.Exec(r.t, strings.Split(strings.ReplaceAll(c.sql, "@", name), "; ")...)
	}
}

// TestUndone takes changes of schemas back before the lake has come to them: in one round, and in
// one drain.
func TestUndone(t *testing.T) {
	t.Parallel()
	t.Run("a round", func(t *testing.T) {
		t.Parallel()
		r := undoneRig(t)
		var copies copiesAnew
		once := func() {
			if err := r.once(copies.let, oneRound); err != nil {
				t.Fatal(err)
			}
		}
		once()
		r.undo()
		once()
		r.equal(nil)
		copies.ofUndone(t)
	})
	t.Run("a drain", func(t *testing.T) {
		t.Parallel()
		r := undoneRig(t)
		var copies copiesAnew
		run := r.start(copies.let)
		r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
		for _, name := range undoneTables() {
			run.ask(pipeline.Pause, "public."+name)
		}
		for _, name := range undoneTables() {
			r.await("it is paused", func() bool { return run.table("public."+name).State == pipeline.Paused })
		}
		r.undo()
		at := r.lsn("select pg_current_wal_lsn()")
		r.await("it is in the spool", func() bool { return r.confirmed() >= at })
		for _, name := range undoneTables() {
			run.ask(pipeline.Resume, "public."+name)
		}
		r.await("all stream", func() bool {
			return run.Status().State == pipeline.Streaming && run.table("public.swapped").Spooled == 0
		})
		r.equal(run)
		run.stop()
		copies.ofUndone(t)
	})
}

// ofUndone fails the test unless the tables were copied that had to be.
func (c *copiesAnew) ofUndone(t *testing.T) {
	t.Helper()
	for name, u := range undone {
		c.of(t, "public."+name, strings.ReplaceAll(u.anew, "@", name))
	}
	c.of(t, "public.twin", "changes of it came under the name public.swapped")
}

// TestUndonePolicies leaves it to a person what becomes of a change that was taken back; a
// frozen table is copied in its columns.
func TestUndonePolicies(t *testing.T) {
	t.Parallel()
	for policy, waits := range map[pipeline.SchemaPolicy][]string{pipeline.PauseSchema: {"renamed", "keyed", "added"}, pipeline.FreezeSchema: {"keyed"}} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			r := undoneRig(t)
			r.table = policed(policy)
			run := r.start(recopies, func(o *options) { o.Interval *= 20 }) // what is done at once is in one round
			r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
			for _, name := range []string{"renamed", "keyed", "added"} {
				r.db.Exec(t, "begin; "+strings.ReplaceAll(undone[name].sql, "@", name)+"; commit")
			}
			for _, name := range waits {
				r.await(name+" waits", func() bool { return run.table("public."+name).State == pipeline.Paused })
			}
			for _, name := range waits {
				run.ask(pipeline.Apply, "public."+name)
			}
			r.await("all stream", func() bool { return run.Status().State == pipeline.Streaming })
			for _, name := range []string{"renamed", "keyed", "added"} {
				r.await("its last row is there", func() bool { return strings.Contains(r.column(name, "id"), "8") })
			}
			r.equal(run)
		})
	}
}
