package pipeline_test

import (
	"errors"
	"strings"
	"testing"

	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// TestLeftOut has a publication that somebody else made, with a list of columns and a filter
// of rows: what is published lands, and nothing else, over copies, changes and restarts. When
// its owner changes that, the table stops.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, v text, secret text)", "create table parts (id int primary key, v text) partition by range (id)", "create table low partition of parts for values from (0) to (1000)", "create table other (id int primary key)",
		"insert into t select i, 'v' || i, 'secret' from generate_series(90, 110) i", "insert into parts values (1, 'a'), (150, 'b')")
	owner := r.db.Name + "_owner"
	r.db.Exec(t, "create role "+owner, "grant create on database "+r.db.Name+" to "+owner,
		"create publication "+r.slot()+" for table t (id, v) where (id < 100), parts where (id < 100), other with (publish_via_partition_root = true)", "alter publication "+r.slot()+" owner to "+owner)
	t.Cleanup(func() { r.db.Exec(t, "drop owned by "+owner, "drop role "+owner) })
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	if r.hasColumn("t", "secret") || len(strings.Fields(r.column("t", "id"))) != 10 || r.column("parts", "id") != "1" {
		t.Errorf("the copy has ids %q and %q", r.column("t", "id"), r.column("parts", "id"))
	}
	r.db.Exec(t, "update t set id = 500 where id = 95", "update t set id = 5 where id = 105", "update t set secret = 'other', v = 'w' where id = 90", "insert into t values (600, 'x', 'y')", "alter table t add more int default 5", "insert into parts values (2, 'c'), (200, 'd')", "insert into other values (1)")
	r.await("the changes have come", func() bool { return r.column("other", "id") == "1" })
	ids := " " + r.column("t", "id") + " "
	if strings.Contains(ids, " 95 ") || !strings.Contains(ids, " 5 ") || strings.Contains(ids, " 600 ") || r.hasColumn("t", "more") {
		t.Errorf("the lake has ids %q", ids)
	}
	r.equal(run)
	run.ask(pipeline.Resync, "public.t")
	was := run.table("public.t").Instant
	r.await("it is copied", func() bool {
		s := run.table("public.t")
		return s.State == pipeline.Streaming && s.Instant != was
	})
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
	found, err := postgres.Check(t.Context(), postgres.Options{URL: r.db.URL, Pipeline: r.name})
	if err != nil {
		t.Fatal(err)
	}
	said := make([]string, len(found))
	for i, f := range found {
		said[i] = f.Table + ": " + f.What
	}
	r.says(errors.New(strings.Join(said, "\n")), "public.t: the publication, which role "+owner+" made, leaves out columns (secret, more) and the rows that are not (id < 100)", "public.parts: the publication")
	run = r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "alter publication "+r.slot()+" set table t, parts where (id < 100), other")
	r.await("it stops", func() bool { return run.table("public.t").State == pipeline.Failed })
	r.says(errors.New(run.table("public.t").Error), "somebody changed how public.t is published")
}
