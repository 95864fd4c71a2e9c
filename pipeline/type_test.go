package pipeline_test

import (
	"errors"
	"strings"
	"testing"

	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/storage"
)

// alteredTypes has a table for each way in which a column's type can be altered.
var alteredTypes = []string{
	"create type plain as enum ('one', 'two')", "create type of_key as enum ('one', 'two')",
	"create type in_array as enum ('one', 'two')", "create type in_domain as enum ('one', 'two')",
	"create type in_pair as enum ('one', 'two')", "create type grown as enum ('one', 'two')",
	"create domain dom as in_domain not null", "create type pair as (a in_pair, b int)", "create type point3 as (a int, b int)",
	"create table plain_t (id int primary key, v plain)", "insert into plain_t values (1, 'one')",
	"create table key_t (v of_key primary key)", "insert into key_t values ('one')",
	"create table array_t (id int primary key, v in_array[])", "insert into array_t values (1, '{one}')",
	"create table domain_t (id int primary key, v dom)", "insert into domain_t values (1, 'one')",
	"create table pair_t (id int primary key, v pair[])", `insert into pair_t values (1, '{"(one,1)"}')`,
	"create table point_t (id int primary key, v point3)", "insert into point_t values (1, '(1,2)')",
	"create table keyless_t (v plain)", "insert into keyless_t values ('one')",
	"create table grown_t (id int primary key, v grown)", "insert into grown_t values (1, 'one')",
}

// alterTypes alters them, all but one so that older rows show another text.
var alterTypes = []string{
	"alter type plain rename value 'one' to 'uno'", "alter type of_key rename value 'one' to 'uno'",
	"alter type in_array rename value 'one' to 'uno'", "alter type in_domain rename value 'one' to 'uno'",
	"alter type in_pair rename value 'one' to 'uno'", "alter type point3 add attribute c int",
	"alter type grown add value 'three' before 'one'",
}

// whyAltered is what each table that stops says.
var whyAltered = map[string]string{
	"plain_t": `value "one" of its enum type was renamed to "uno"`, "key_t": `value "one"`, "array_t": `value "one"`,
	"domain_t": `value "one"`, "pair_t": `value "one"`, "point_t": "its composite type was altered", "keyless_t": `value "one"`,
}

// stoppedByType fails the test unless exactly these tables stopped, and say so.
func (r *rig) stoppedByType(tables []pipeline.TableStatus) {
	r.t.Helper()
	for _, s := range tables {
		why, stops := whyAltered[strings.TrimPrefix(s.Table, "public.")]
		if !stops {
			if s.State == pipeline.Failed {
				r.t.Errorf("%s stopped: %s", s.Table, s.Error)
			}
			continue
		}
		if s.State != pipeline.Failed {
			r.t.Errorf("%s goes on", s.Table)
			continue
		}
		r.says(errors.New(s.Error), "column v", why, "copied anew")
	}
}

// TestAlterTypeWhileRunning alters types, which writes no change into the log: the
// tables whose older rows read otherwise now stop by themselves.
func TestAlterTypeWhileRunning(t *testing.T) {
	t.Parallel()
	r := newRig(t, alteredTypes...)
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, alterTypes...)
	r.db.Exec(t, "insert into grown_t values (2, 'three')")
	for name := range whyAltered {
		r.await(name+" stops", func() bool { return run.table("public."+name).State == pipeline.Failed })
	}
	r.await("the new value comes", func() bool { return r.column("grown_t", "v") == "one three" })
	r.stoppedByType(run.Status().Tables)
}

// TestAlterTypeBetween alters them while no pipeline runs.
func TestAlterTypeBetween(t *testing.T) {
	t.Parallel()
	r := newRig(t, alteredTypes...)
	r.drain()
	r.db.Exec(t, alterTypes...)
	r.db.Exec(t, "insert into grown_t values (2, 'three')", "insert into plain_t values (2, 'uno')")
	p, c := r.pipeline(func(o *options) { o.Once = true })
	defer r.close(c)
	if err := p.Run(t.Context()); err == nil {
		t.Error("no error")
	}
	r.stoppedByType(p.Status().Tables)
	if got := r.column("grown_t", "v"); got != "one three" {
		t.Errorf("the lake holds %q", got)
	}
}

// TestAlterTypeCopiedOnce alters types while tables with such columns are copied by themselves, idle ones and one that
// is written at once: each is copied once, and goes on under the types as they are now.
func TestAlterTypeCopiedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create type e as enum ('one', 'two')", "create type grows as (a int, b int)", "create type renamed as (a int)", "create type busy as (a int, b int)",
		"create table e_t (id int primary key, v e)", "insert into e_t values (1, 'one')",
		"create table grows_t (id int primary key, v grows)", "insert into grows_t values (1, '(1,2)')",
		"create table renamed_t (id int primary key, v renamed)", "insert into renamed_t values (1, '(1)')",
		"create table busy_t (id int primary key, v busy[])", `insert into busy_t values (1, '{"(1,2)"}')`)
	tables := []string{"e_t", "grows_t", "renamed_t", "busy_t"}
	source := &counting{Connector: r.source()}
	run := r.start(bySchema, func(o *options) { o.Source = source })
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	for _, name := range tables { // so that each is described to the stream
		r.db.Exec(t, "insert into "+name+" select 2, v from "+name)
	}
	are := func(ids string) {
		t.Helper()
		for _, name := range tables {
			r.await(name+" has come", func() bool {
				return run.table("public."+name).State == pipeline.Streaming && r.column(name, "id") == ids
			})
		}
	}
	are("1 2")
	had := source.snapshots.Load()
	r.db.Exec(t, `begin; alter type busy add attribute c int; insert into busy_t values (3, '{"(1,2,3)"}'); commit`)
	r.db.Exec(t, "alter type e rename value 'one' to 'uno'", "alter type grows drop attribute b", "alter type renamed rename attribute a to z")
	r.await("all are copied", func() bool { return source.snapshots.Load() == had+4 && run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "insert into e_t values (3, 'uno')", "insert into grows_t values (3, '(3)')", "insert into renamed_t values (3, '(3)')")
	are("1 2 3")
	for _, name := range tables {
		r.db.Exec(t, "insert into "+name+" select 4, v from "+name+" where id = 3")
	}
	are("1 2 3 4")
	if n := source.snapshots.Load() - had; n != 4 {
		t.Errorf("%d copies of 4 tables", n)
	}
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}

// TestAddedValueRenamed renames a value that was added while the pipeline ran: rows
// that came since have it.
func TestAddedValueRenamed(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create type e as enum ('one')", "create table t (id int primary key, v e)", "insert into t values (1, 'one')")
	run := r.start()
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "alter type e add value 'two'", "insert into t values (2, 'two')")
	r.await("the new value is noted", func() bool {
		r.db.Exec(t, "update t set v = v where id = 1") // the next commit notes it
		return strings.Contains(r.lastCheckpoint("t"), `"two"`)
	})
	run.stop()
	r.db.Exec(t, "alter type e rename value 'two' to 'deux'")
	r.says(r.once(), `value "two" of its enum type was renamed to "deux"`, "copied anew")
}

// lastCheckpoint is the newest one of a table in the lake, as it is written.
func (r *rig) lastCheckpoint(table string) string {
	r.t.Helper()
	t, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, "public/"+table), hudi.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	at, _, err := t.LastExtra(r.t.Context(), "lakefeed.checkpoint")
	if err != nil {
		r.t.Fatal(err)
	}
	return at
}
