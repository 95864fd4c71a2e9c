package pipeline_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
)

// passLook waits until a look at the source that was taken after now is judged: a table
// that comes now is seen by one, and then the lake comes behind it. One look is not
// judged where another is waiting for that; the second then is.
func (r *rig) passLook(run *running) {
	r.t.Helper()
	for range 2 {
		r.db.Exec(r.t, "create table after (id int primary key)")
		r.await("it is looked at", func() bool { return run.table("public.after").Table != "" })
		r.db.Exec(r.t, "drop table after")
		end := r.lsn("select pg_current_wal_insert_lsn()")
		r.await("the look is judged", func() bool {
			at, err := change.ParseLSN(run.Status().Acked)
			return err == nil && at > end
		})
		r.await("it is gone", func() bool { return run.table("public.after").Table == "" })
	}
}

// TestLookStopsLong changes tables so that no log tells, and never touches them again: the
// pipeline that runs stops them as a start would, and the others go on.
func TestLookStopsLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cases := map[string]struct{ sql, says string }{ // what stands between "; " is done at once
		"anew":    {"begin;drop table anew;create table anew (id int primary key, v text);insert into anew values (5, 'new');commit", "dropped and made anew"},
		"out":     {"alter table out rename to left_out", "renamed to public.left_out"},
		"swapped": {"begin;alter table swapped rename to x;alter table twin rename to swapped;alter table x rename to twin;commit", "belongs to another table"},
		"written": {"alter table written alter v type text using v || '!'", "column v of public.written was altered and every row was written anew"},
		"char":    {`alter table "char" alter c type char(10)`, "column c of public.char was altered and every row was written anew"},
		"bigint":  {`alter table "bigint" alter n type bigint using n * 2`, "column n of public.bigint was altered and every row was written anew"},
		"filled":  {"alter table filled add d int default 7; vacuum full filled", "column d was added to public.filled and every row was written anew"},
		"column":  {`alter table "column" rename v to w`, "column v of public.column was renamed to w"},
		"readded": {"begin;alter table readded drop v;alter table readded add v text;commit", "column v of public.readded was dropped and added again"},
	}
	r := newRig(t, "create table twin (id int primary key, v text, c char(5), n int)", "create table other (id int primary key)")
	for name := range cases {
		r.db.Exec(t, `create table "`+name+`" (like twin including all)`, `insert into "`+name+`" values (1, 'a', 'c', 1)`)
	}
	r.skip["left_out"] = true
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	for _, c := range cases {
		r.db.Exec(t, strings.Split(c.sql, "; ")...)
	}
	for name, c := range cases {
		r.await(name+" stops", func() bool { return run.table("public."+name).State == pipeline.Failed })
		r.says(errors.New(run.table("public."+name).Error), c.says)
		if got := r.column(name, "v"); got != "a" {
			t.Errorf("%s: the lake holds %q", name, got)
		}
	}
	r.db.Exec(t, "insert into other values (1)")
	r.await("the other goes on", func() bool { return r.column("other", "id") == "1" })
}

// TestRenamedWhileRunning renames tables and moves one to another schema: each is copied
// under its new name, and what was there under the old one stays as it was.
func TestRenamedWhileRunning(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create schema s", "create table a (id int primary key)", "create table b (id int primary key)", "insert into a values (1)", "insert into b values (1)")
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "alter table a rename to c", "insert into c values (2)", "alter table b set schema s")
	r.await("they are copied", func() bool {
		return r.column("c", "id") == "1 2" && run.table("s.b").State == pipeline.Streaming && run.Status().State == pipeline.Streaming
	})
	r.db.Exec(t, "insert into c values (3)", "insert into s.b values (2)")
	r.await("they go on", func() bool { return r.column("c", "id") == "1 2 3" })
	r.equal(run)
	if s := run.table("public.a"); s.Table != "" || r.column("a", "id") != "1" {
		t.Errorf("the old name: %+v, with %q", s, r.column("a", "id"))
	}
	run.stop()
	r.drain()
	r.equal(nil)
}

// TestSchemasWhileRunning renames a schema and drops another with all that is in it: tables are
// copied under their new names, and go on; of those that are gone, the lake keeps what it has.
func TestSchemasWhileRunning(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create schema s", "create schema gone", "create table s.a (id int primary key)", "create table s.b (id int, d int, primary key (id, d)) partition by range (d)",
		"create table s.b1 partition of s.b for values from (0) to (10)", "create table gone.c (id int primary key)", "create table other (id int primary key)",
		"insert into s.a values (1)", "insert into s.b values (1, 1)", "insert into gone.c values (1)")
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "insert into s.a values (2)", "insert into gone.c values (2)", "alter schema s rename to renamed", "insert into renamed.a values (3)", "insert into renamed.b values (3, 3)",
		"begin; insert into gone.c values (3); drop schema gone cascade; insert into other values (1); commit")
	r.await("they are copied under their new names", func() bool {
		return run.table("renamed.a").State == pipeline.Streaming && run.table("renamed.b").State == pipeline.Streaming && run.table("gone.c").Table == "" && run.Status().State == pipeline.Streaming
	})
	r.db.Exec(t, "insert into renamed.a values (4)", "update renamed.a set id = 5 where id = 1", "insert into renamed.b values (4, 4)", "insert into other values (2)")
	r.equal(run)
	for _, name := range []string{"s.a", "s.b", "gone.c"} {
		if s := run.table(name); s.Table != "" {
			t.Errorf("the old name: %+v", s)
		}
	}
	r.db.Exec(t, "create schema s", "create table s.a (id int primary key)", "insert into s.a values (9)") // another one
	r.await("it is taken in", func() bool { return run.table("s.a").State == pipeline.Streaming })
	r.db.Exec(t, "insert into s.a values (10)", "insert into renamed.a values (6)")
	r.equal(run)
	run.stop()
	r.db.Exec(t, "alter schema renamed rename to later", "insert into later.a values (7)")
	r.drain()
	r.equal(nil)
}

// TestLookLetsPassLong does to tables what the log brings, or what changes no row: the
// pipeline that runs goes on, and so does one that is started behind it.
func TestLookLetsPassLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cases := map[string][2]string{ // the second is done when the first was looked at
		"vacuumed":   {"vacuum full vacuumed"},
		"clustered":  {"cluster clustered using clustered_pkey"},
		"truncated":  {"truncate truncated"},
		"refilled":   {"truncate refilled; insert into refilled values (9, 'z')"},
		"added":      {"alter table added add d int default 7", "insert into added values (3, 'c')"},
		"updated":    {"alter table updated add d int; update updated set d = id"},
		"statistics": {"alter table statistics alter v set statistics 7"},
		"later":      {"vacuum full later", "alter table later alter v set not null"},
		"emptied":    {"truncate emptied", "alter table emptied alter v set not null; insert into emptied values (3, 'c')"},
		"longer":     {"alter table longer alter w type varchar(9)"},
		"dropped":    {"alter table dropped drop w"},
	}
	r := newRig(t)
	for name := range cases {
		r.db.Exec(t, "create table "+name+" (id int primary key, v text, w varchar(3))", "insert into "+name+" values (1, 'a'), (2, 'b')")
	}
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	for step := range 2 {
		for _, sql := range cases {
			r.db.Exec(t, strings.Split(sql[step], "; ")...)
		}
		r.passLook(run)
		for name := range cases {
			if s := run.table("public." + name); s.State != pipeline.Streaming {
				t.Errorf("%d: %+v", step, s)
			}
		}
	}
	for name := range cases {
		r.db.Exec(t, "insert into "+name+" (id, v) values (4, 'd')")
	}
	for name := range cases {
		r.await(name+" goes on", func() bool { return slices.Contains(strings.Fields(r.column(name, "id")), "4") })
	}
	run.stop()
	r.drain()
	r.equal(nil)
}
