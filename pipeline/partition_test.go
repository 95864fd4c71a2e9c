package pipeline_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/hudi/keyindex"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
	"lakefeed/storage"
)

// partitionBy lays all tables of a rig out in partitions.
func partitionBy(t *testing.T, typ hudi.TableType, fields ...string) func(*options) {
	t.Helper()
	o := pipeline.TableOptions{Type: typ}
	for _, text := range fields {
		f, err := pipeline.ParsePartitionField(text)
		if err != nil {
			t.Fatal(err)
		}
		o.PartitionBy = append(o.PartitionBy, f)
	}
	index := t.TempDir()
	return func(p *options) {
		p.IndexDir, p.Table = index, func(*change.Table) pipeline.TableOptions { return o }
	}
}

// rows are a lake table's rows as "partition key", in order.
func (r *rig) rows(table string) []string {
	r.t.Helper()
	h, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, "public/"+table), hudi.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for rec, err := range h.Read(r.t.Context(), hudi.ReadOptions{Columns: []string{"_hoodie_partition_path", "_hoodie_record_key"}}) {
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range int(rec.NumRows()) {
			out = append(out, rec.Column(0).(*array.String).Value(i)+" "+rec.Column(1).(*array.String).Value(i))
		}
	}
	slices.Sort(out)
	return out
}

func (r *rig) lies(table string, want ...string) {
	r.t.Helper()
	slices.Sort(want)
	if got := r.rows(table); !slices.Equal(got, want) {
		r.t.Fatalf("rows of %s lie in\n%s\nwant\n%s", table, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	r.equal(nil)
}

const partitionedTable = `create table t (id int primary key, region text, at timestamptz, n int, body text)`

// TestPartitioned follows rows through partitions: copied, moved, deleted, under other
// keys, with values that were not sent.
func TestPartitioned(t *testing.T) {
	t.Parallel()
	for _, typ := range []hudi.TableType{hudi.MergeOnRead, hudi.CopyOnWrite} {
		t.Run(string(typ), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, partitionedTable, `alter table t alter body set storage external`,
				`insert into t select i, 'eu', '2026-01-01 23:30:00+00'::timestamptz + i * interval '1 hour', 0, repeat('x', 3000) from generate_series(0, 2) i`)
			r.mods = append(r.mods, partitionBy(t, typ, "region", "day(at)"))
			r.drain()
			r.lies("t", "region=eu/at_day=2026-01-01 0", "region=eu/at_day=2026-01-02 1", "region=eu/at_day=2026-01-02 2")

			r.db.Exec(t, `update t set at = '2026-03-01' where id = 1`, // body is not sent
				`delete from t where id = 0`, `update t set id = 7, region = 'a/b' where id = 2`,
				`insert into t values (3, null, null, 0, 'y')`)
			r.drain()
			const none = "__HIVE_DEFAULT_PARTITION__"
			r.lies("t", "region=eu/at_day=2026-03-01 1", "region=a%2Fb/at_day=2026-01-02 7", "region="+none+"/at_day="+none+" 3")

			// Back and forth within one round, and a key that comes anew elsewhere.
			r.db.Exec(t, `update t set region = 'us' where id = 1`, `update t set region = 'eu' where id = 1`,
				`delete from t where id = 3`, `insert into t values (3, 'ap', '1999-12-31', 0, 'z')`,
				`delete from t where id = 7`, `insert into t values (7, 'ap', '1999-12-31', 0, 'z')`, `delete from t where id = 7`)
			r.drain()
			r.lies("t", "region=eu/at_day=2026-03-01 1", "region=ap/at_day=1999-12-31 3")

			r.db.Exec(t, `truncate t`, `insert into t values (1, 'us', '2026-01-01', 0, repeat('x', 3000))`, `update t set n = 1`)
			r.drain()
			r.lies("t", "region=us/at_day=2026-01-01 1")
			r.db.Exec(t, `insert into t values (3, 'us', '2026-01-01', 0, '')`, `update t set region = 'eu', id = 2 where id = 1`)
			r.drain()
			r.lies("t", "region=eu/at_day=2026-01-01 2", "region=us/at_day=2026-01-01 3")
		})
	}
}

// TestPartitionNotSent changes rows whose partition column itself was not sent.
func TestPartitionNotSent(t *testing.T) {
	t.Parallel()
	region := strings.Repeat("r", 200)
	r := newRig(t, partitionedTable, `alter table t alter body set storage external, alter region set storage external`, `alter table t set (toast_tuple_target = 128)`,
		fmt.Sprintf(`insert into t select i, '%s', '2026-01-01', 0, repeat('x', 3000) from generate_series(1, 3) i`, region))
	r.mods = append(r.mods, partitionBy(t, hudi.MergeOnRead, "region", "month(at)"))
	r.drain()
	r.db.Exec(t, `update t set n = 1 where id = 1`, `update t set at = '2026-02-01' where id = 2`, `update t set id = 9, at = '2027-01-01' where id = 3`,
		`update t set n = 2 where id = 9`)
	r.drain()
	r.lies("t", "region="+region+"/at_month=2026-01 1", "region="+region+"/at_month=2026-02 2", "region="+region+"/at_month=2027-01 9")
}

// TestPartitionsOfKeysLostLong runs with the cache of partitions gone, behind, and damaged.
func TestPartitionsOfKeysLostLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, partitionedTable, `insert into t select i, 'r' || i % 3, '2026-01-01', 0, '' from generate_series(1, 30) i`)
	here, elsewhere := t.TempDir(), t.TempDir()
	in := func(dir string) {
		r.mods = []func(*options){partitionBy(t, hudi.MergeOnRead, "region"), func(o *options) { o.IndexDir = dir }}
	}
	in(here)
	r.drain()
	step := func(name string) {
		t.Helper()
		r.db.Exec(t, `update t set region = 'r' || (id * 7 + n) % 5, n = n + 1 where random() < 0.5`, `delete from t where id % 9 = 0 and random() < 0.3`,
			`insert into t select coalesce(max(id), 0) + 1, 'new', now(), 0, '' from t`)
		if err := r.once(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r.equal(nil)
		if rows, n := r.rows("t"), r.query("select count(*) from t"); strconv.Itoa(len(rows)) != n {
			t.Fatalf("%s: %d rows in the lake, %s in the source", name, len(rows), n)
		}
	}
	step("as it is")
	in(elsewhere)
	step("on another machine")
	step("there again")
	in(here)
	step("back")
	in(t.TempDir())
	step("lost")
	in(here)
	files, err := filepath.Glob(filepath.Join(here, "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	step("damaged")
}

// TestPartitionedSpilledLong writes a round that does not fit in memory into many partitions,
// and a first copy that does not.
func TestPartitionedSpilledLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, partitionedTable, `insert into t select i, 'eu', timestamptz '2026-01-01' + i * interval '7 minutes', 0, repeat('x', 50) from generate_series(1, 5000) i`)
	r.mods = append(r.mods, partitionBy(t, hudi.MergeOnRead, "day(at)"), func(o *options) { o.MemoryBudget = 256 << 10 })
	r.drain()
	r.db.Exec(t, `begin; update t set at = at + interval '1 day' where id % 3 = 0; update t set id = id + 100000 where id % 7 = 0;
		delete from t where id % 5 = 0; insert into t select i, 'us', timestamptz '2027-01-01' + i * interval '7 minutes', 0, '' from generate_series(6000, 7500) i; commit`)
	p, c := r.pipeline(func(o *options) { o.Once = true })
	defer r.close(c)
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.Status().Spilled == 0 {
		t.Error("nothing was spilled")
	}
	r.equal(nil)
	days := r.query("select count(distinct (at at time zone 'UTC')::date) from t")
	have := map[string]bool{}
	for _, row := range r.rows("t") {
		have[strings.Fields(row)[0]] = true
	}
	if strconv.Itoa(len(have)) != days {
		t.Errorf("rows lie in %d partitions, want %s", len(have), days)
	}
}

// TestPartitionByRefusedLong lists what a table cannot be laid out by, and what it must keep.
func TestPartitionByRefusedLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, `create table t (id int primary key, region text, at timestamptz, d date, f float8, b bytea)`, `insert into t values (1, 'eu', '2026-01-01', '2026-01-01', 1, 'x')`)
	for _, c := range []struct{ by, want string }{
		{"nope", "public.t has no column nope"},
		{"at", "write day(at)"},
		{"hour(d)", "has no hours"},
		{"day(region)", "neither date nor timestamp"},
		{"f", "name no folders"},
		{"b", "name no folders"},
	} {
		r.stopped(r.once(partitionBy(t, hudi.MergeOnRead, c.by)), "public.t", "partition_by", c.want)
	}
	r.mods = append(r.mods, partitionBy(t, hudi.MergeOnRead, "region", "day(at)"))
	r.drain()
	for _, by := range [][]string{nil, {"region"}, {"day(at)", "region"}, {"region", "month(at)"}} {
		r.stopped(r.once(partitionBy(t, hudi.MergeOnRead, by...)), "public.t", "by [region, day(at)]", "write partition_by as it was", pipeline.CopyAnew)
	}
	r.drain()
	r.db.Exec(t, `insert into t values (2, '', '2026-01-01')`)
	err := r.once()
	r.stopped(err, "public.t", `text "" in region`, pipeline.CopyAnew)
	if _, again := errors.AsType[*pipeline.LakeError](err); again {
		t.Error("a value that makes no folder is tried again")
	}
}

// TestPartitionNameClash gives the source a column named as the one that is derived.
func TestPartitionNameClash(t *testing.T) {
	t.Parallel()
	r := newRig(t, `create table t (id int primary key, at date)`, `create table u (id int primary key, at date, at_day int)`,
		`insert into t values (1, '2026-01-01')`, `insert into u values (1, '2026-01-01', 5)`)
	r.mods = append(r.mods, partitionBy(t, hudi.MergeOnRead, "day(at)"))
	r.drain()
	r.lies("u", "at_day_2=2026-01-01 1")
	r.db.Exec(t, `alter table t add at_day int`, `insert into t values (2, '2026-01-01', 3)`)
	r.stopped(r.once(), "public.t", "column at_day", "day(at)", pipeline.CopyAnew)
}

// TestAppendOnlyPartitioned lays a table without a key into partitions.
func TestAppendOnlyPartitioned(t *testing.T) {
	t.Parallel()
	r := newRig(t, `create table t (kind text, at timestamp)`, `insert into t select 'a', '2026-01-01' from generate_series(1, 3)`)
	r.mods = append(r.mods, partitionBy(t, hudi.MergeOnRead, "kind", "year(at)"))
	r.drain()
	r.db.Exec(t, `insert into t values ('b', '0987-06-05')`)
	r.drain()
	r.equal(nil)
	r.db.Exec(t, `truncate t`, `insert into t values (null, '2026-01-01')`)
	r.drain()
	r.equal(nil)
	if got := r.column("t", "at_year"); got != "2026" {
		t.Errorf("got %q", got)
	}
}

// TestTwoPartitions lets validate find a row that lies in two partitions.
func TestTwoPartitions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRig(t, `create table t (id int primary key, region text)`, `insert into t values (1, 'eu'), (2, 'us')`)
	r.mods = append(r.mods, partitionBy(t, hudi.MergeOnRead, "region"))
	r.drain()
	// Another writer, which does not know the partitions of keys, puts a row where it does not belong.
	keys, err := keyindex.OpenMem()
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	table, err := hudi.Open(ctx, storage.Sub(r.lake, "public/t"), hudi.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	txn, err := table.Begin(ctx, hudi.TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := txn.Group(ctx, "region=us", table.Bucket("1"))
	if err != nil {
		t.Fatal(err)
	}
	for rec, err := range table.Read(ctx, hudi.ReadOptions{Partitions: []string{"region=eu"}}) {
		if err != nil {
			t.Fatal(err)
		}
		names, err := hudi.RecordKeys(rec, table.RecordKey())
		if err := errors.Join(err, g.Upsert(ctx, rec, names)); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.Commit(ctx, nil); err != nil {
		t.Fatal(err)
	}
	report, err := r.validation(nil)
	if err != nil {
		t.Fatal(err)
	}
	if report.OK() || len(report.Tables[0].Samples) == 0 || report.Tables[0].Samples[0].Kind != "twice in the lake" {
		t.Errorf("got %+v", report)
	}
}

func TestParsePartitionField(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]pipeline.PartitionField{
		"region":          {Column: "region"},
		" day( at ) ":     {Column: "at", Unit: pipeline.Day},
		`hour("a(b)""c")`: {Column: `a(b)"c`, Unit: pipeline.Hour},
		`"day(x)"`:        {Column: "day(x)"},
		"year(Été)":       {Column: "Été", Unit: pipeline.Year},
	} {
		got, err := pipeline.ParsePartitionField(text)
		if err != nil || got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
		if again, err := pipeline.ParsePartitionField(got.String()); again != got || err != nil {
			t.Errorf("%s is %+v, %v", got, again, err)
		}
	}
	for _, text := range []string{"", "day()", "day", "week(at)", "day(at", "a,b", `"a`, `"a"b"`, "day(at) x", `""`} {
		if f, err := pipeline.ParsePartitionField(text); err == nil && text != "day" {
			t.Errorf("%q is %+v", text, f)
		}
	}
}

func FuzzParsePartitionField(f *testing.F) {
	f.Add("day(at)")
	f.Add(`hour("a""b")`)
	f.Fuzz(func(t *testing.T, text string) {
		field, err := pipeline.ParsePartitionField(text)
		if err != nil {
			return
		}
		if again, err := pipeline.ParsePartitionField(field.String()); again != field || err != nil {
			t.Errorf("%q is %+v, and that %+v, %v", text, field, again, err)
		}
	})
}
