package pipeline_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// schemaCase is a change of a table (id int primary key, v text, n int not null, w varchar(3)),
// rows (i, 'a', i, 'w'), and what becomes of it.
type schemaCase struct {
	sql  string
	kind pipeline.ChangeKind
	// decisions under evolve and freeze; under pause all wait but a constraint.
	evolve, freeze pipeline.Decision
}

var schemaCases = map[string]schemaCase{
	"added":     {"alter table added add d int default 7; insert into added values (51, 'b', 51, 'w', 8); update added set v = 'u', d = 9 where id = 5", pipeline.ColumnAdded, pipeline.TakenOn, pipeline.Recorded},
	"unseen":    {"alter table unseen add d int default 7", pipeline.ColumnAdded, pipeline.TakenOn, pipeline.Recorded},
	"required":  {"begin; delete from required; alter table required add d int not null; insert into required values (51, 'b', 51, 'w', 8); commit", pipeline.ColumnAdded, pipeline.TakenOn, pipeline.Recorded},
	"computed":  {"alter table computed add d serial; update computed set v = 'u' where id = 5", pipeline.ColumnAdded, pipeline.CopiedAnew, pipeline.Recorded},
	"dropped":   {"alter table dropped drop v; insert into dropped values (51, 51, 'w')", pipeline.ColumnDropped, pipeline.TakenOn, pipeline.Recorded},
	"renamed":   {"alter table renamed rename v to x; update renamed set x = 'u' where id = 5", pipeline.ColumnRenamed, pipeline.CopiedAnew, pipeline.Recorded},
	"widened":   {"alter table widened alter n type bigint; insert into widened values (51, 'b', 51, 'w')", pipeline.ColumnRetyped, pipeline.CopiedAnew, pipeline.CopiedAnew},
	"longer":    {"alter table longer alter w type varchar(9); insert into longer values (51, 'b', 51, 'longer')", pipeline.ColumnRetyped, pipeline.TakenOn, pipeline.Recorded},
	"rewritten": {"alter table rewritten alter v type text using v || '!'; delete from rewritten where id = 5", pipeline.ColumnRewritten, pipeline.CopiedAnew, pipeline.CopiedAnew},
	"readded":   {"alter table readded drop v; alter table readded add v text; insert into readded (id, n, v) values (51, 51, 'b')", pipeline.ColumnReadded, pipeline.CopiedAnew, pipeline.CopiedAnew},
	"anew":      {"begin; drop table anew; create table anew (id int primary key, v text, n int not null, w varchar(3)); insert into anew values (5, 'new', 1, 'w'); commit", pipeline.TableRemade, pipeline.CopiedAnew, pipeline.CopiedAnew},
	"retyped":   {"alter table retyped alter n type text using n || 'x'; insert into retyped values (51, 'b', '51', 'w')", pipeline.ColumnRetyped, pipeline.CopiedAnew, pipeline.Waits},
	"rekeyed":   {"alter table rekeyed drop constraint rekeyed_pkey, add primary key (n); insert into rekeyed values (51, 'b', 51, 'w')", pipeline.KeyChanged, pipeline.CopiedAnew, pipeline.Waits},
	"checked":   {"alter table checked add check (n > 0); insert into checked values (51, 'b', 51, 'w')", pipeline.ConstraintChanged, pipeline.Recorded, pipeline.Recorded},
}

// schemaRig has a table for each case, every other one copy-on-write, under a policy.
func schemaRig(t *testing.T, policy pipeline.SchemaPolicy) *rig {
	r := newRig(t, "create table other (id int primary key)")
	types := map[string]hudi.TableType{}
	for i, name := range slices.Sorted(maps.Keys(schemaCases)) {
		types[name] = []hudi.TableType{hudi.MergeOnRead, hudi.CopyOnWrite}[i%2]
		r.db.Exec(t, "create table "+name+" (id int primary key, v text, n int not null, w varchar(3))", "insert into "+name+" select i, 'a', i, 'w' from generate_series(1, 50) i")
	}
	r.table = func(v *change.Table) pipeline.TableOptions {
		return pipeline.TableOptions{Type: types[v.Name], Schema: pipeline.SchemaOptions{Policy: policy}}
	}
	return r
}

// change makes all changes.
func (r *rig) changeSchemas() {
	r.t.Helper()
	for _, c := range schemaCases {
		r.db.Exec(r.t, strings.Split(c.sql, "; ")...)
	}
}

// logged is the decision on the change of one kind in a table's log; one that is there
// twice fails the test.
func (r *rig) logged(table string, kind pipeline.ChangeKind) (found pipeline.Decision) {
	r.t.Helper()
	events, err := pipeline.ReadSchemaLog(r.t.Context(), r.lake, r.name, "public."+table)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == kind && found != "" {
			r.t.Errorf("%s is logged twice: %+v", table, events)
		}
		if e.Kind == kind {
			found = e.Decision
			if e.LSN == 0 || e.Time.IsZero() || e.Text == "" {
				r.t.Errorf("%s: %+v", table, e)
			}
		}
	}
	return found
}

// settled waits until each table has come to what a case says, over a restart.
func (r *rig) awaitDecisions(run *running, want func(schemaCase) pipeline.Decision) {
	r.t.Helper()
	for name, c := range schemaCases {
		r.await(name+" is decided", func() bool {
			s := run.table("public." + name)
			if r.logged(name, c.kind) == "" {
				return false
			}
			if want(c) == pipeline.Waits {
				return s.State == pipeline.Paused
			}
			return s.State == pipeline.Streaming
		})
	}
	for name, c := range schemaCases {
		if got := r.logged(name, c.kind); got != want(c) {
			r.t.Errorf("%s: %q is %q, want %q", name, c.kind, got, want(c))
		}
	}
}

// applyAll has everything taken on that waits or is recorded, and waits until it is.
func (r *rig) applyAll(run *running) {
	r.t.Helper()
	for name := range schemaCases {
		if s := run.table("public." + name); s.SchemaPending > 0 || s.State == pipeline.Paused {
			run.ask(pipeline.Apply, "public."+name)
		}
	}
	for name := range schemaCases {
		r.await(name+" is taken on", func() bool {
			s := run.table("public." + name)
			return s.State == pipeline.Streaming && s.SchemaPending == 0
		})
	}
}

// equalButWaiting is equal for the tables that do not wait.
func (r *rig) equalButWaiting(run *running, want func(schemaCase) pipeline.Decision) {
	r.t.Helper()
	report, err := r.validation(run)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, table := range report.Tables {
		c, ok := schemaCases[strings.TrimPrefix(table.Table, "public.")]
		if waits := ok && want(c) == pipeline.Waits; !waits && !table.OK() {
			r.t.Errorf("%+v", table)
		}
	}
}

// TestSchemaPoliciesLong changes tables in every way under every policy: each change is taken
// on, copied anew, recorded, or left to a person, who then has it taken on; over a restart,
// and each is logged once.
func TestSchemaPoliciesLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	decisions := map[pipeline.SchemaPolicy]func(schemaCase) pipeline.Decision{
		pipeline.EvolveSchema: func(c schemaCase) pipeline.Decision { return c.evolve },
		pipeline.FreezeSchema: func(c schemaCase) pipeline.Decision { return c.freeze },
		pipeline.PauseSchema: func(c schemaCase) pipeline.Decision {
			if c.kind == pipeline.ConstraintChanged {
				return pipeline.Recorded
			}
			return pipeline.Waits
		},
	}
	for policy, want := range decisions {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			r := schemaRig(t, policy)
			run := r.start(recopies)
			r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
			r.changeSchemas()
			r.awaitDecisions(run, want)
			r.equalButWaiting(run, want)
			for name, c := range schemaCases { // what readers see is as the policy says
				if c.kind == pipeline.ColumnAdded && r.hasColumn(name, "d") != (policy == pipeline.EvolveSchema) {
					t.Errorf("%s has column d: %t", name, r.hasColumn(name, "d"))
				}
			}
			run.stop()
			r.db.Exec(t, "update widened set v = 'later'", "delete from added where id = 7", "insert into renamed (id, n) values (60, 60)")
			run = r.start(recopies)
			r.awaitDecisions(run, want)
			r.equalButWaiting(run, want)
			r.db.Exec(t, "alter table dropped add later int") // while it waits, perhaps
			r.await("it is logged", func() bool { return r.logged("dropped", pipeline.ColumnAdded) == want(schemaCases["added"]) })
			r.applyAll(run)
			r.equal(run)
			for name, c := range schemaCases {
				if c.kind == pipeline.ColumnAdded && !r.hasColumn(name, "d") {
					t.Errorf("%s has no column d", name)
				}
			}
			if r.hasColumn("renamed", "v") || !r.hasColumn("renamed", "x") {
				t.Error("the renamed column is not there under its new name")
			}
			run.stop()
			r.drain()
			r.equal(nil)
		})
	}
}

// relabelled are types that PostgreSQL makes another one of without writing a row: a value that
// reads otherwise then, one of after, and what becomes of the table under evolve and freeze. The
// last ones read alike.
var relabelled = map[string]struct {
	from, value, to, later string
	evolve, freeze         pipeline.Decision
	kept                   bool // a frozen table holds the values
}{
	"address": {"cidr", "'192.168.1.1/32'", "inet", "'192.168.1.2'", pipeline.CopiedAnew, pipeline.CopiedAnew, true},
	"domain":  {"net", "'192.168.1.1/32'", "inet", "'192.168.1.2'", pipeline.CopiedAnew, pipeline.CopiedAnew, true},
	"signed":  {"int", "-1", "oid", "7", pipeline.CopiedAnew, pipeline.CopiedAnew, false},
	"number":  {"oid", "4294967295", "int", "-7", pipeline.CopiedAnew, pipeline.CopiedAnew, true},
	"named":   {"oid", "1259", "regclass", "'pg_type'", pipeline.CopiedAnew, pipeline.Waits, false},
	"routine": {"regproc", "'pg_sleep'", "regprocedure", "'pg_sleep(float8)'", pipeline.CopiedAnew, pipeline.CopiedAnew, true},
	"declared": {
		"xml", `'<?xml version="1.0" encoding="UTF-8"?><a/>'`, "text", "'<b/>'", pipeline.CopiedAnew, pipeline.CopiedAnew, true,
	},
	"stamp":    {"timestamp", "'2026-11-05 07:08:09'", "timestamptz", "'2026-11-05 07:08:10Z'", pipeline.CopiedAnew, pipeline.CopiedAnew, true},
	"zone":     {"timestamptz", "'2026-11-05 07:08:09Z'", "timestamp", "'2026-11-05 07:08:10'", pipeline.CopiedAnew, pipeline.CopiedAnew, true},
	"instant":  {"timestamp", "'2026-11-05 07:08:09'", "timestamptz", "'2026-11-05 07:08:10Z'", pipeline.TakenOn, pipeline.Recorded, true},
	"texts":    {"varchar(3)", "'a'", "text", "'later'", pipeline.TakenOn, pipeline.Recorded, true},
	"padded":   {"varchar(3)", "'a '", "bpchar", "'later '", pipeline.TakenOn, pipeline.Recorded, true},
	"bits":     {"bit(3)", "B'101'", "varbit", "B'1'", pipeline.TakenOn, pipeline.Recorded, true},
	"quantity": {"net", "'10.0.0.0/8'", "cidr", "'10.0.0.0/9'", pipeline.TakenOn, pipeline.Recorded, true},
}

// TestRelabelled gives columns another type where PostgreSQL leaves the rows alone: a table whose
// older rows read otherwise then is copied anew, or waits, by its policy.
func TestRelabelled(t *testing.T) {
	t.Parallel()
	for _, policy := range []pipeline.SchemaPolicy{pipeline.EvolveSchema, pipeline.FreezeSchema, pipeline.PauseSchema} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "create domain net as cidr")
			r.table = policed(policy)
			r.types = func(_, table string) (rules postgres.TableTypes) {
				if table == "stamp" || table == "zone" {
					rules.OutOfRange = postgres.AsText
				}
				return rules
			}
			for name, c := range relabelled {
				r.db.Exec(t, "create table "+name+" (id int primary key, c "+c.from+")", "insert into "+name+" values (1, "+c.value+")")
			}
			run := r.start(recopies)
			r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
			files := "select string_agg(pg_relation_filenode(oid)::text, ' ' order by oid) from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
			before := r.query("%s", files)
			for name, c := range relabelled {
				r.db.Exec(t, "begin; set local timezone = 'UTC'; alter table "+name+" alter c type "+c.to+"; commit", "insert into "+name+" values (2, "+c.later+")")
			}
			if r.query("%s", files) != before {
				t.Error("PostgreSQL wrote a table anew, which is another case")
			}
			for name, c := range relabelled {
				want, paused := c.evolve, false
				switch policy {
				case pipeline.PauseSchema:
					want, paused = pipeline.Waits, true
				case pipeline.FreezeSchema:
					want, paused = c.freeze, !c.kept
				case pipeline.EvolveSchema:
				}
				r.await(name+" is decided", func() bool {
					s := run.table("public." + name)
					if !paused {
						return r.logged(name, pipeline.ColumnRetyped) != "" && s.State == pipeline.Streaming
					}
					return s.State == pipeline.Paused || want == pipeline.CopiedAnew && s.State == pipeline.Failed // its copy found the value
				})
				if got := r.logged(name, pipeline.ColumnRetyped); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
				if paused {
					run.ask(pipeline.Apply, "public."+name)
				}
			}
			r.await("all stream", func() bool { return run.Status().State == pipeline.Streaming })
			r.equal(run)
			run.stop()
			r.drain()
			r.equal(nil)
		})
	}
}

// hasColumn reports whether the lake has a column of a table.
func (r *rig) hasColumn(table, column string) bool {
	r.t.Helper()
	for _, f := range r.open(table).Schema().Fields() {
		if f.Name == column {
			return true
		}
	}
	return false
}

// TestFrozenValue has a value that the frozen type does not hold: its row goes to quarantine
// where the rules say so; else the table waits until somebody takes the type on.
func TestFrozenValue(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table kept (id int primary key, n int)", "create table waits (id int primary key, n int)", "insert into kept values (1, 1)", "insert into waits values (1, 1)")
	r.table = func(v *change.Table) pipeline.TableOptions {
		o := pipeline.SchemaOptions{Policy: pipeline.FreezeSchema}
		if v.Name == "kept" {
			o.Quarantine = func(string) bool { return true }
		}
		return pipeline.TableOptions{Schema: o}
	}
	run := r.start(recopies)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	for _, name := range []string{"kept", "waits"} {
		r.db.Exec(t, "alter table "+name+" alter n type bigint", "insert into "+name+" values (2, 2)")
		r.await("it is copied in its frozen type", func() bool { return r.column(name, "n") == "1 2" })
		r.db.Exec(t, "insert into "+name+" values (3, 3000000000), (4, 4)")
	}
	r.await("the row is in quarantine", func() bool { return run.table("public.kept").Quarantined == 1 && r.column("kept", "n") == "1 2 4" })
	r.await("the table waits", func() bool { return run.table("public.waits").State == pipeline.Paused })
	r.says(errors.New(run.table("public.waits").Note), "3000000000", "column n", "frozen type int32", "schema apply")
	if got := r.column("waits", "n"); got != "1 2" {
		t.Errorf("the lake holds %q", got)
	}
	for _, name := range []string{"kept", "waits"} {
		run.ask(pipeline.Apply, "public."+name)
		r.await("its type is taken on", func() bool { return r.column(name, "n") == "1 2 3000000000 4" })
	}
	r.await("in step", func() bool {
		return run.Status().State == pipeline.Streaming && run.table("public.kept").Quarantined == 0
	})
	r.equal(run)
}

// TestListedColumns lands the columns that are listed, and the key's, whatever others come.
func TestListedColumns(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, v text, n int)", "insert into t values (1, 'a', 1)")
	list := []string{"v"}
	r.table = func(*change.Table) pipeline.TableOptions {
		return pipeline.TableOptions{Schema: pipeline.SchemaOptions{Policy: pipeline.FreezeSchema, Columns: list}}
	}
	run := r.start(recopies)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "insert into t values (2, 'b', 2)", "alter table t drop n", "alter table t add d int", "update t set v = 'c', d = 1 where id = 1")
	r.await("they come", func() bool { v := r.column("t", "v"); return v == "c b" || v == "b c" })
	if r.hasColumn("t", "n") || r.hasColumn("t", "d") {
		t.Error("the lake has what is not listed")
	}
	r.equal(run)
	run.stop()
	list = []string{"v", "d"} // listed, and to be applied
	run = r.start(recopies)
	r.passLook(run)
	if r.hasColumn("t", "d") || run.table("public.t").SchemaPending == 0 {
		t.Errorf("it was taken on before somebody applied it: %+v", run.table("public.t"))
	}
	run.ask(pipeline.Apply, "public.t")
	r.await("it is taken on", func() bool { return r.hasColumn("t", "d") && strings.Contains(r.column("t", "d"), "1") })
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.equal(run)
	run.stop()
	list = []string{"nosuch"}
	r.forget("t")
	r.stopped(r.once(), "public.t", "schema.columns lists nosuch")
}

// TestThawed takes the freeze from a table: what was left out meanwhile is copied.
func TestThawed(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, v text)", "insert into t values (1, 'a')")
	policy := pipeline.FreezeSchema
	r.table = func(*change.Table) pipeline.TableOptions {
		return pipeline.TableOptions{Schema: pipeline.SchemaOptions{Policy: policy}}
	}
	r.drain()
	r.db.Exec(t, "alter table t add d int", "insert into t values (2, 'b', 2)")
	r.drain()
	if r.hasColumn("t", "d") {
		t.Error("it is not frozen")
	}
	policy = pipeline.EvolveSchema
	if err := r.once(recopies); err != nil {
		t.Fatal(err)
	}
	if got := r.column("t", "d"); !strings.Contains(got, "2") {
		t.Errorf("the lake holds %q", got)
	}
	r.equal(nil)
}

// TestDroppedThenAdded drops a column and, when that is in the lake, adds it again: values
// of before do not come back.
func TestDroppedThenAdded(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	r.drain()
	r.db.Exec(t, "alter table t drop v", "insert into t values (2)")
	r.drain()
	r.db.Exec(t, "alter table t add v text", "insert into t values (3, 'c')")
	r.stopped(r.once(), "public.t", "column v of public.t was dropped and added again", "copied anew")
	if err := r.once(recopies); err == nil {
		r.equal(nil)
	} else {
		r.says(err, "dropped and added")
	}
}
