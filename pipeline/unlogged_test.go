package pipeline_test

import (
	"log/slog"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// TestUnlogged has tables and partitions of which nothing is in the log: they are left out, which
// is said once, and land as soon as something is.
func TestUnlogged(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create unlogged table u (id int primary key)", "insert into u values (1)", "create unlogged table passed_over (id int)",
		"create table parts (id int primary key) partition by range (id)", "create table low partition of parts for values from (0) to (100)",
		"create unlogged table high partition of parts for values from (100) to (200)", "insert into parts values (1), (101)")
	r.skip["passed_over"], r.skip["low"], r.skip["high"] = true, true, true
	book := new(logbook)
	source, err := postgres.Open(t.Context(), postgres.Options{
		URL: r.db.URL, Pipeline: r.name, Heartbeat: time.Second, Logger: slog.New(slog.NewTextHandler(book, nil)), Match: func(_, table string) bool { return !r.skip[table] },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.close(source) })
	said := func(tables string) int {
		return book.count("level=WARN", "tables are unlogged, and left out: nothing of them is in the log", "tables="+tables)
	}
	run := r.start(func(o *options) {
		o.Source, o.Recopy = source, func(*change.Table, *pipeline.AnewError) bool { return true }
	})
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "insert into parts values (2), (102)", "insert into u values (2)")
	r.passLook(run)
	if n := said(`"public.high, public.u"`); n != 1 || run.table("public.u").Table != "" {
		t.Errorf("it was said %d times; %+v", n, run.table("public.u"))
	}
	r.equal(run)
	if got := r.column("parts", "id"); got != "1 2" {
		t.Errorf("the lake has %q of what is partitioned", got)
	}
	r.db.Exec(t, "alter table u set logged", "insert into u values (3)", "alter table high set logged", "insert into parts values (103)")
	r.await("they land", func() bool {
		return r.column("u", "id") == "1 2 3" && len(r.column("parts", "id")) > len("1 2 101 102") && run.Status().State == pipeline.Streaming
	})
	r.equal(run)

	conn := r.db.Conn(t)
	_, err = conn.Exec(t.Context(), "alter table u set unlogged")
	r.says(err, "because it is part of a publication")
	r.db.Exec(t, "begin; alter publication "+r.slot()+" drop table u; alter table u set unlogged; insert into u values (4); commit", "alter table low set unlogged", "insert into parts values (3), (104)", "insert into t values (1, 'a')")
	r.await("it is followed no more", func() bool { return run.table("public.u").Table == "" && said(`"public.low, public.u"`) == 1 })
	r.await("the rows of the partition are gone", func() bool { return r.column("parts", "id") == "101 102 103 104" })
	r.equal(run)
	if got := r.column("u", "id"); got != "1 2 3" {
		t.Errorf("what was there is %q", got)
	}
	r.db.Exec(t, "alter table u set logged", "insert into u values (5)", "alter table low set logged", "insert into parts values (4)")
	r.await("they land again", func() bool {
		return r.column("u", "id") == "1 2 3 4 5" && len(r.column("parts", "id")) > len("1 2 3 101 102 103 104") && run.Status().State == pipeline.Streaming
	})
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}
