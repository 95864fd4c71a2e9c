package parity_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi"
	"lakefeed/parity"
	"lakefeed/storage/file"
)

// evolution is a change of the columns between id and seq, and what their values are.
type evolution struct {
	name  string
	steps [][]arrow.Field // the columns of before, those between, those of now
	// rename gives a column another name, by which the steps do not have to.
	rename string
	// before and after are the JSON of a row's values as it is written before and after,
	// was and is what readers make of them now; is may be empty: as after.
	before, after, was, is string
	where                  string // a condition that the rows of before meet, and no other
	in015                  string // what Hudi 0.15.0 makes of a row of before in a log file, where that is another
}

func opt(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

func must(name string, t arrow.DataType) arrow.Field { return arrow.Field{Name: name, Type: t} }

var (
	i32, i64 = arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64
	f32, f64 = arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64
	text     = arrow.BinaryTypes.String
	binary   = arrow.BinaryTypes.Binary
)

func decimal(p, s int32) arrow.DataType { return &arrow.Decimal128Type{Precision: p, Scale: s} }

func structOf(f ...arrow.Field) arrow.DataType { return arrow.StructOf(f...) }

// evolutions are the changes that docs/schema-evolution.md says are taken on.
var evolutions = []evolution{
	{
		name: "columns",
		steps: [][]arrow.Field{
			{
				opt("a", text), opt("b", text), opt("c", i32), opt("gone", i32), must("must", i32), opt("l", arrow.ListOf(text)),
				opt("s", structOf(opt("x", i32))), opt("d", arrow.FixedWidthTypes.Date32), opt("p", decimal(12, 2)), opt("r", binary),
			},
			{
				opt("a", text), opt("b", text), opt("c", i32), must("must", i32), opt("l", arrow.ListOf(text)),
				opt("s", structOf(opt("x", i32))), opt("d", arrow.FixedWidthTypes.Date32), opt("p", decimal(12, 2)), opt("r", binary),
			},
			{
				opt("c", i32), opt("b", text), opt("middle", i32), opt("a", text), opt("must", i32), opt("s", structOf(opt("x", i32))), opt("l", arrow.ListOf(text)),
				opt("d", arrow.FixedWidthTypes.Date32), opt("p", decimal(12, 2)), opt("r", binary), opt("list", arrow.ListOf(i32)), opt("end", structOf(opt("x", i32))),
			},
		},
		before: `"a":"x","b":"y","c":5,"gone":1,"must":7,"l":["p","q"],"s":{"x":1},"d":"2026-01-02","p":"1.50","r":"YWJj"`,
		after:  `"a":"z","b":"w","c":6,"middle":2,"must":null,"l":["r"],"s":{"x":2},"d":"2026-01-03","p":"2.50","r":"YWJk","list":[1],"end":{"x":3}`,
		was:    `"a":"x","b":"y","c":5,"middle":null,"must":7,"l":["p","q"],"s":{"x":1},"d":"2026-01-02","p":"1.50","r":"YWJj","list":null,"end":null`,
		where:  "a = 'x' and b = 'y' and c = 5 and middle is null and s.x = 1 and end is null and p = 1.5",
	},
	{
		name: "types",
		steps: [][]arrow.Field{
			{opt("il", i32), opt("id_", i32), opt("fd", f32), opt("it", i32), opt("lt", i64), opt("tb", text), opt("p", decimal(12, 2)), must("must", i32)},
			{opt("il", i64), opt("id_", f64), opt("fd", f64), opt("it", text), opt("lt", text), opt("tb", binary), opt("p", decimal(13, 2)), opt("must", i64)},
		},
		before: `"il":7,"id_":7,"fd":0.5,"it":7,"lt":8,"tb":"abcd","p":"1.50","must":7`,
		after:  `"il":5000000000,"id_":1.5,"fd":1.25,"it":"n","lt":"m","tb":"AAEC","p":"12345678901.50","must":null`,
		was:    `"il":7,"id_":7,"fd":0.5,"it":"7","lt":"8","tb":"YWJjZA==","p":"1.50","must":7`,
		where:  "il = 7 and id_ = 7 and fd = 0.5 and it = '7' and lt = '8' and tb = X'61626364' and p = 1.5 and must = 7",
	},
	{
		name:   "digits",
		steps:  [][]arrow.Field{{opt("f", f32)}, {opt("f", f64)}},
		before: `"f":0.1`, after: `"f":1.25`, was: `"f":0.1`, in015: `"f":0.10000000149011612`,
		where: "f < 0.2",
	},
	{
		name: "fields",
		steps: [][]arrow.Field{
			{
				opt("s", structOf(opt("x", i32), opt("z", i32), opt("gone", text))), opt("n", structOf(opt("t", structOf(opt("x", i32))))),
				opt("l", arrow.ListOf(structOf(opt("x", i32)))), opt("m", arrow.MapOf(text, structOf(opt("x", i32)))),
			},
			{
				opt("s", structOf(opt("x", i32), opt("z", i32))), opt("n", structOf(opt("t", structOf(opt("x", i32))))),
				opt("l", arrow.ListOf(structOf(opt("x", i32)))), opt("m", arrow.MapOf(text, structOf(opt("x", i32)))),
			},
			{
				opt("s", structOf(opt("z", i32), opt("y", i32), opt("x", i32))), opt("n", structOf(opt("t", structOf(opt("x", i32), opt("y", text))))),
				opt("l", arrow.ListOf(structOf(opt("x", i32), opt("y", text)))), opt("m", arrow.MapOf(text, structOf(opt("x", i32), opt("y", text)))),
			},
		},
		before: `"s":{"x":1,"z":3,"gone":"g"},"n":{"t":{"x":1}},"l":[{"x":1}],"m":[{"key":"k","value":{"x":1}}]`,
		after:  `"s":{"x":2,"y":7,"z":4},"n":{"t":{"x":2,"y":"n"}},"l":[{"x":2,"y":"n"}],"m":[{"key":"k","value":{"x":2,"y":"n"}}]`,
		was:    `"s":{"x":1,"y":null,"z":3},"n":{"t":{"x":1,"y":null}},"l":[{"x":1,"y":null}],"m":{"k":{"x":1,"y":null}}`,
		is:     `"s":{"x":2,"y":7,"z":4},"n":{"t":{"x":2,"y":"n"}},"l":[{"x":2,"y":"n"}],"m":{"k":{"x":2,"y":"n"}}`,
		where:  "s.z = 3 and s.x = 1 and n.t.x = 1 and l[0].x = 1 and m['k'].x = 1",
	},
	{
		name:   "rename",
		steps:  [][]arrow.Field{{opt("a", text), opt("b", i32)}, {opt("c", text), opt("b", i32)}},
		rename: "a",
		before: `"a":"x","b":1`, after: `"c":"y","b":2`, was: `"c":"x","b":1`,
		where: "c = 'x' and b = 1",
	},
}

func (e evolution) written() string {
	if e.is == "" {
		return e.after
	}
	return e.is
}

// evolved is a table whose columns were changed, and its rows by id.
type evolved struct {
	evolution

	typ        hudi.TableType
	t          *testing.T
	table      *hudi.Table
	path       string
	base, rows map[int64]string // in base files, and all
	then       []string         // before the columns were changed
	thenAt     string           // the instant
	inLog      int64            // the row of before that readers find in a log file
	firsts     []int64          // a row of each bucket
}

// TestEvolutions changes tables in the ways that docs/schema-evolution.md lists, with
// files of before and of after in all combinations. Each engine reads them; one Spark, in
// the soak each, goes on with a copy.
func TestEvolutions(t *testing.T) {
	parity.Engines(t)
	var all []*evolved
	for _, e := range evolutions {
		for _, typ := range []hudi.TableType{hudi.CopyOnWrite, hudi.MergeOnRead} {
			all = append(all, makeEvolved(t, e, typ))
		}
	}
	for _, e := range parity.Engines(t) {
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			for i, v := range all {
				writer := matrixReleases[(i/2+i)%2]
				t.Run(v.name+" "+string(v.typ), func(t *testing.T) {
					v.readBy(t, e)
					if e.Hudi() == writer || e.Hudi() != "" && os.Getenv("LAKEFEED_SOAK") != "" {
						v.goneOnWith(t, e)
					}
				})
			}
		})
	}
}

func evolvedSchema(fields []arrow.Field) *arrow.Schema {
	return arrow.NewSchema(slices.Concat([]arrow.Field{must("id", i64)}, fields, []arrow.Field{must("seq", i64)}), nil)
}

// makeEvolved makes a table of four buckets: one with an old base file alone, one with an
// old log file, one with a new one, one with both.
func makeEvolved(t *testing.T, e evolution, typ hudi.TableType) *evolved {
	t.Helper()
	v := &evolved{evolution: e, typ: typ, t: t, path: filepath.Join(t.TempDir(), "evolved"), base: map[int64]string{}, rows: map[int64]string{}}
	store, err := file.Open(v.path)
	if err != nil {
		t.Fatal(err)
	}
	old, now := e.steps[0], e.steps[len(e.steps)-1]
	v.table, err = hudi.Create(t.Context(), store, hudi.CreateOptions{
		Name: "evolved", Type: typ, Schema: evolvedSchema(old), RecordKey: []string{"id"}, OrderingField: "seq", Options: hudi.Options{Buckets: 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	in := map[int][]int64{}
	for id := range int64(16) {
		b := v.table.Bucket(strconv.FormatInt(id, 10))
		in[b] = append(in[b], id)
	}
	for b := range 4 {
		v.firsts = append(v.firsts, in[b][0])
	}
	cow := typ == hudi.CopyOnWrite
	v.put(old, 1, e.before, e.was, true, slices.Concat(in[0], in[1], in[2], in[3])...)
	v.put(old, 2, e.before, e.was, cow, in[0][0], in[1][1])
	v.inLog = in[1][1]
	v.remember()
	v.change()
	v.put(now, 3, e.after, e.written(), cow, in[0][0], in[0][1], in[2][1])
	v.t = nil
	if d := parity.Diff(slices.Collect(maps.Values(v.rows)), lakefeedRows(t, v.path, parity.Read{NoMeta: true})); d != "" {
		t.Fatalf("lakefeed: %s %s: %s", e.name, typ, d)
	}
	return v
}

// remember keeps the rows as of now.
func (v *evolved) remember() {
	v.t.Helper()
	last, _ := v.table.Timeline().Last()
	v.thenAt, v.then = last.Time, lakefeedRows(v.t, v.path, parity.Read{NoMeta: true})
}

// change makes the steps, after a compaction where log files stand in the way.
func (v *evolved) change() {
	v.t.Helper()
	ctx := v.t.Context()
	if v.rename != "" {
		if _, err := v.table.RenameColumn(ctx, v.rename, v.steps[1][0].Name); err != nil {
			v.t.Fatal(err)
		}
		v.base = maps.Clone(v.rows)
		return
	}
	for _, fields := range v.steps[1:] {
		compaction, err := v.table.CompactFor(ctx, evolvedSchema(fields))
		if err != nil {
			v.t.Fatal(err)
		}
		if compaction != "" {
			v.base = maps.Clone(v.rows)
		}
		x, err := v.table.Begin(ctx, hudi.TxnOptions{Schema: evolvedSchema(fields)})
		if err == nil {
			_, err = x.Commit(ctx, nil)
		}
		if err != nil {
			v.t.Fatal(err)
		}
	}
}

// put writes rows of which readers see what is said.
func (v *evolved) put(fields []arrow.Field, seq int64, values, read string, base bool, ids ...int64) {
	v.t.Helper()
	var lines []string
	for _, id := range ids {
		lines = append(lines, evolvedRow(id, seq, values))
		v.rows[id] = evolvedRow(id, seq, read)
		if base {
			v.base[id] = v.rows[id]
		}
	}
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, evolvedSchema(fields), strings.NewReader("["+strings.Join(lines, ",")+"]"))
	if err != nil {
		v.t.Fatal(err)
	}
	defer batch.Release()
	if _, err := v.table.Upsert(v.t.Context(), batch); err != nil {
		v.t.Fatal(err)
	}
}

func evolvedRow(id, seq int64, values string) string {
	return fmt.Sprintf(`{"id":%d,"seq":%d,%s}`, id, seq, values)
}

// readBy checks what an engine reads: all, the base files, some by a condition, the past.
func (v *evolved) readBy(t *testing.T, e *parity.Engine) {
	t.Helper()
	same := func(what string, want []string, r parity.Read) {
		t.Helper()
		r.NoMeta = true
		rows, err := e.Read(t.Context(), v.path, r)
		if d := parity.Diff(want, rows); err != nil || d != "" {
			t.Errorf("%s: %v %s", what, err, d)
		}
	}
	rows := maps.Clone(v.rows)
	if e.Hudi() == "0.15.0" && v.in015 != "" && v.typ == hudi.MergeOnRead {
		rows[v.inLog] = evolvedRow(v.inLog, 2, v.in015)
	}
	same("snapshot", slices.Collect(maps.Values(rows)), parity.Read{})
	if v.typ == hudi.MergeOnRead {
		same("read-optimized", slices.Collect(maps.Values(v.base)), parity.Read{Mode: "read_optimized"})
	}
	if e.Hudi() == "" { // it shows the past in the columns of today
		return
	}
	same("as of then", v.then, parity.Read{AsOf: v.thenAt})
	rest := 0
	for _, r := range v.rows {
		if !strings.Contains(r, `"seq":3`) {
			rest++
		}
	}
	got, err := e.SQL(t.Context(), v.copy(t), "select count(*) c from {t} where "+v.where, nil)
	if d := parity.Diff([]string{fmt.Sprintf(`{"c":%d}`, rest)}, got); err != nil || d != "" {
		t.Errorf("a condition: %v %s", err, d)
	}
}

// copy is the table in another folder.
func (v *evolved) copy(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "evolved")
	if err := os.CopyFS(path, os.DirFS(v.path)); err != nil {
		t.Fatal(err)
	}
	return path
}

// goneOnWith upserts into each bucket, compacts, and compares what everybody reads.
func (v *evolved) goneOnWith(t *testing.T, spark *parity.Engine) {
	t.Helper()
	path := v.copy(t)
	rows := maps.Clone(v.rows)
	var changed []string
	for _, id := range v.firsts {
		rows[id] = evolvedRow(id, 9, v.written())
		changed = append(changed, rows[id])
	}
	opts := sparkOptions("evolved", "id", 4)
	opts["hoodie.datasource.write.precombine.field"] = "seq"
	opts["hoodie.datasource.write.table.type"] = string(v.typ)
	if err := spark.WriteExactly(t.Context(), path, "upsert", changed, opts); err != nil {
		t.Fatal(err)
	}
	if v.typ == hudi.MergeOnRead {
		s := sparkTable{name: "evolved", key: "id", buckets: 4}
		for _, op := range []string{"schedule", "run"} {
			if _, err := spark.SQL(t.Context(), path, fmt.Sprintf("CALL run_compaction(op => '%s', path => '{path}'%s)", op, s.serviceOptions()), nil); err != nil {
				t.Fatal(err)
			}
		}
		if spark.Hudi() == "0.15.0" && v.in015 != "" {
			rows[v.inLog] = evolvedRow(v.inLog, 2, v.in015)
		}
	}
	want, readers := slices.Collect(maps.Values(rows)), []*parity.Engine{spark, parity.HudiRS(t)}
	answers, errs := read(t, readers, path, parity.Read{NoMeta: true})
	for i, e := range readers {
		if d := parity.Diff(want, answers[i]); errs[i] != nil || d != "" {
			t.Errorf("Spark went on, %s: %v %s", e, errs[i], d)
		}
	}
	if d := parity.Diff(want, lakefeedRows(t, path, parity.Read{NoMeta: true})); d != "" {
		t.Errorf("Spark went on, lakefeed: %s", d)
	}
}
