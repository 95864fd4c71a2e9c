package hudi

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/arrow/scalar"

	"lakefeed/hudi/timeline"
)

func nullable(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

var (
	testInt, testLong     = arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64
	testFloat, testDouble = arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64
	testText, testBytes   = arrow.BinaryTypes.String, arrow.BinaryTypes.Binary
)

// TestEvolve tells the changes that engines read from those that they do not.
func TestEvolve(t *testing.T) {
	t.Parallel()
	x, y, z := nullable("x", testInt), nullable("y", testText), nullable("z", testInt)
	s := func(f ...arrow.Field) []arrow.Field { return []arrow.Field{nullable("s", arrow.StructOf(f...))} }
	one := func(t arrow.DataType) []arrow.Field { return []arrow.Field{nullable("v", t)} }
	dec := func(p, s int32) arrow.DataType { return &arrow.Decimal128Type{Precision: p, Scale: s} }
	for name, c := range map[string]struct {
		old, next []arrow.Field
		added     string
		refused   string // column and a part of the reason
	}{
		"append":              {old: []arrow.Field{x}, next: []arrow.Field{x, y}, added: "y"},
		"middle":              {old: []arrow.Field{x, z}, next: []arrow.Field{x, y, z}, added: "y"},
		"reorder":             {old: []arrow.Field{x, y, z}, next: []arrow.Field{z, x, y}},
		"drop":                {old: []arrow.Field{x, y, z}, next: []arrow.Field{x, z}},
		"required":            {old: []arrow.Field{x}, next: []arrow.Field{x, {Name: "y", Type: testText}}, refused: "y nullable"},
		"become required":     {old: []arrow.Field{x}, next: []arrow.Field{{Name: "x", Type: testInt}}, refused: "x required"},
		"become nullable":     {old: []arrow.Field{{Name: "x", Type: testInt}}, next: []arrow.Field{x}},
		"rename":              {old: []arrow.Field{x}, next: []arrow.Field{z}, refused: "x RenameColumn"},
		"case":                {old: []arrow.Field{x}, next: []arrow.Field{nullable("X", testInt)}, refused: "x RenameColumn"},
		"twice":               {old: []arrow.Field{x}, next: []arrow.Field{x, nullable("X", testInt)}, refused: "X two"},
		"int to long":         {old: one(testInt), next: one(testLong)},
		"int to double":       {old: one(testInt), next: one(testDouble)},
		"int to float":        {old: one(testInt), next: one(testFloat), refused: "v all of the old"},
		"long to double":      {old: one(testLong), next: one(testDouble), refused: "v all of the old"},
		"long to int":         {old: one(testLong), next: one(testInt), refused: "v Rewrite"},
		"float to double":     {old: one(testFloat), next: one(testDouble)},
		"long to text":        {old: one(testLong), next: one(testText)},
		"double to text":      {old: one(testDouble), next: one(testText), refused: "v different ways"},
		"date to text":        {old: one(arrow.FixedWidthTypes.Date32), next: one(testText), refused: "v hudi-rs"},
		"text to bytes":       {old: one(testText), next: one(testBytes)},
		"bytes to text":       {old: one(testBytes), next: one(testText), refused: "v need not"},
		"more digits":         {old: one(dec(12, 2)), next: one(dec(13, 2))},
		"more bytes":          {old: one(dec(12, 2)), next: one(dec(20, 2)), refused: "v 0.15.0"},
		"fewer digits":        {old: one(dec(12, 2)), next: one(dec(9, 2)), refused: "v hudi-rs"},
		"another scale":       {old: one(dec(12, 2)), next: one(dec(16, 4)), refused: "v hudi-rs"},
		"field":               {old: s(x, z), next: s(x, y, z), added: "s.y"},
		"field in list":       {old: one(arrow.ListOf(arrow.StructOf(x))), next: one(arrow.ListOf(arrow.StructOf(x, y))), added: "v.element.y"},
		"field in map":        {old: one(arrow.MapOf(testText, arrow.StructOf(x))), next: one(arrow.MapOf(testText, arrow.StructOf(x, y))), added: "v.value.y"},
		"fields reordered":    {old: s(x, z), next: s(z, x)},
		"field gone":          {old: s(x, y), next: s(x)},
		"field renamed":       {old: s(x), next: s(z), refused: "s.x RenameColumn"},
		"field widened":       {old: s(x), next: s(nullable("x", testLong)), refused: "s.x Spark"},
		"element widened":     {old: one(arrow.ListOf(testInt)), next: one(arrow.ListOf(testLong)), refused: "v.element Spark"},
		"list to struct":      {old: one(arrow.ListOf(testInt)), next: one(arrow.StructOf(x)), refused: "v Rewrite"},
		"keys of map widened": {old: one(arrow.MapOf(testText, testInt)), next: one(arrow.MapOf(testBytes, testInt)), refused: "v Rewrite"},
	} {
		e, err := evolve(arrow.NewSchema(c.old, nil), arrow.NewSchema(c.next, nil))
		if c.refused == "" {
			if err != nil || strings.Join(e.added, ",") != c.added {
				t.Errorf("%s: added %q, %v", name, e.added, err)
			}
			continue
		}
		column, reason, _ := strings.Cut(c.refused, " ")
		var bad *SchemaError
		if !errors.As(err, &bad) || bad.Column != column || !strings.Contains(bad.Reason, reason) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// evolving is a table whose columns stand between id and seq.
type evolving struct {
	t     *testing.T
	table *Table
}

func newEvolving(t *testing.T, typ TableType, fields ...arrow.Field) *evolving {
	t.Helper()
	table, err := Create(t.Context(), newStore(t), CreateOptions{
		Name: "evolving", Type: typ, Schema: evolvingSchema(fields), RecordKey: []string{"id"}, OrderingField: "seq",
		Options: Options{Buckets: 2, RowGroupBytes: 1024, BlockBytes: 256},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &evolving{t: t, table: table}
}

func evolvingSchema(fields []arrow.Field) *arrow.Schema {
	all := slices.Concat([]arrow.Field{{Name: "id", Type: testText}}, fields, []arrow.Field{{Name: "seq", Type: testLong}})
	return arrow.NewSchema(all, nil)
}

// take takes on columns.
func (e *evolving) take(fields ...arrow.Field) error {
	x, err := e.table.Begin(e.t.Context(), TxnOptions{Schema: evolvingSchema(fields)})
	if err != nil {
		return err
	}
	_, err = x.Commit(e.t.Context(), nil)
	return err
}

func (e *evolving) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// put upserts rows, as JSON without seq, and returns the instant.
func (e *evolving) put(rows ...string) string {
	e.t.Helper()
	text := strings.ReplaceAll("["+strings.Join(rows, ",")+"]", `{"id"`, `{"seq":1,"id"`)
	instant, err := e.table.Upsert(e.t.Context(), jsonRows(e.t, e.table.Schema().Fields(), text))
	e.must(err)
	return instant
}

// want compares the table's rows, without seq.
func (e *evolving) want(opts ReadOptions, rows ...string) {
	e.t.Helper()
	got := tableRows(e.t, e.table, opts)
	for i := range got {
		got[i] = strings.Replace(got[i], `,"seq":1`, "", 1)
	}
	diffLines(e.t, got, rows)
}

func (e *evolving) refused(err error, column, reason string) {
	e.t.Helper()
	var bad *SchemaError
	if !errors.As(err, &bad) || bad.Column != column || !strings.Contains(bad.Reason, reason) {
		e.t.Errorf("got %v, want column %s, %s", err, column, reason)
	}
}

// TestReusedName drops a column and adds one of its name: the old values must not come
// back, whoever has seen the commits go.
func TestReusedName(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		a, b := nullable("a", testText), nullable("b", testInt)
		e := newEvolving(t, typ, a, b)
		first := e.put(`{"id":"1","a":"x","b":1}`, `{"id":"2","a":"y","b":2}`)
		e.must(e.take(a))
		dropped := e.put(`{"id":"2","a":"z"}`)
		e.want(ReadOptions{}, `{"a":"x","id":"1"}`, `{"a":"z","id":"2"}`)
		e.refused(e.take(a, b), "b", "come back")
		e.refused(e.take(a, nullable("B", testText)), "B", "come back")
		for range 12 {
			e.put(`{"id":"3","a":"w"}`)
		}
		_, err := e.table.Archive(t.Context(), ArchiveOptions{KeepMin: 2, KeepMax: 2})
		e.must(err)
		e.refused(e.take(a, b), "b", "come back")

		_, err = e.table.Rewrite(t.Context(), evolvingSchema([]arrow.Field{b, a}), nil, func(rows arrow.RecordBatch) (arrow.RecordBatch, error) { return rows, nil })
		e.must(err)
		e.put(`{"id":"4","a":"v","b":4}`)
		e.want(ReadOptions{}, `{"a":"v","b":4,"id":"4"}`, `{"a":"w","b":null,"id":"3"}`, `{"a":"x","b":null,"id":"1"}`, `{"a":"z","b":null,"id":"2"}`)
		e.must(e.take(b, a, nullable("c", testText)))
		e.must(e.take(b, a))
		e.refused(e.take(b, a, nullable("c", testText)), "c", "come back")
		if typ == CopyOnWrite && first > dropped {
			t.Errorf("instants %s and %s do not grow", first, dropped)
		}
	})
}

// TestNumberTextBytes makes text of a number, and bytes of that: no engine reads a file of
// numbers as bytes, so it must have been written anew meanwhile.
func TestNumberTextBytes(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		e := newEvolving(t, typ, nullable("v", testInt))
		number := e.put(`{"id":"1","v":1}`)
		e.must(e.take(nullable("v", testText)))
		text := e.put(`{"id":"2","v":"two"}`)
		e.want(ReadOptions{}, `{"id":"1","v":"1"}`, `{"id":"2","v":"two"}`)
		e.refused(e.take(nullable("v", testBytes)), "v", "Rewrite")

		same := func(rows arrow.RecordBatch) (arrow.RecordBatch, error) { return rows, nil }
		_, err := e.table.Rewrite(t.Context(), nil, nil, same)
		e.must(err)
		e.must(e.take(nullable("v", testBytes)))
		e.put(`{"id":"3","v":"AA=="}`)
		e.want(ReadOptions{}, `{"id":"1","v":"MQ=="}`, `{"id":"2","v":"dHdv"}`, `{"id":"3","v":"AA=="}`)
		e.want(ReadOptions{AsOf: number, Schema: SchemaNow}, `{"id":"1","v":"MQ=="}`)
		e.want(ReadOptions{AsOf: text, Schema: SchemaNow}, `{"id":"1","v":"MQ=="}`, `{"id":"2","v":"dHdv"}`)

		_, err = e.table.Rewrite(t.Context(), evolvingSchema([]arrow.Field{nullable("v", testInt)}), nil, func(rows arrow.RecordBatch) (arrow.RecordBatch, error) {
			v := array.MakeArrayOfNull(memory.DefaultAllocator, testInt, int(rows.NumRows()))
			return array.NewRecordBatch(evolvingSchema([]arrow.Field{nullable("v", testInt)}), []arrow.Array{rows.Column(0), v, rows.Column(2)}, rows.NumRows()), nil
		})
		e.must(err)
		for _, err = range e.table.Read(t.Context(), ReadOptions{AsOf: text, Schema: SchemaNow}) {
			break
		}
		e.refused(err, "v", "in the schema of then")
	})
}

// TestNumberTextBytesOfTrimmedArchive is the same where the archived timeline does not tell of
// the number any more.
func TestNumberTextBytesOfTrimmedArchive(t *testing.T) {
	t.Parallel()
	e := newEvolving(t, CopyOnWrite, nullable("v", testInt))
	e.put(`{"id":"1","v":1}`)
	e.must(e.take(nullable("v", testText)))
	e.forget(3)
	for i, err := range e.table.Archived(t.Context(), "", "") {
		if e.must(err); strings.Contains(i.Commit.ExtraMetadata[timeline.SchemaKey], `"int"`) {
			t.Errorf("%v is still archived", i.Instant)
		}
	}
	e.refused(e.take(nullable("v", testBytes)), "v", "Rewrite")
}

// TestReadSchema reads instants of before in the schema of then and of now.
func TestReadSchema(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		a, b, s := nullable("a", testText), nullable("b", testInt), nullable("s", arrow.StructOf(nullable("x", testInt), nullable("y", testInt)))
		e := newEvolving(t, typ, a, b, s)
		e.put(`{"id":"1","a":"x","b":1,"s":{"x":1,"y":2}}`)
		old := e.put(`{"id":"2","a":"y","b":2,"s":{"x":3,"y":4}}`)
		e.must(e.take(a, s))
		dropped := e.put(`{"id":"3","a":"z","s":{"x":5,"y":6}}`)
		wider := nullable("s", arrow.StructOf(nullable("y", testInt), nullable("x", testInt)))
		rewrite := func(fields ...arrow.Field) {
			t.Helper()
			_, err := e.table.Rewrite(t.Context(), evolvingSchema(fields), nil, func(rows arrow.RecordBatch) (arrow.RecordBatch, error) { return rows, nil })
			e.must(err)
		}
		rewrite(nullable("b", testText), a, wider, nullable("c", testInt))
		e.put(`{"id":"1","a":"w","b":"new","s":{"x":7,"y":8},"c":9}`)

		then := []string{`{"a":"x","b":1,"id":"1","s":{"x":1,"y":2}}`, `{"a":"y","b":2,"id":"2","s":{"x":3,"y":4}}`}
		e.want(ReadOptions{AsOf: old}, then...)
		e.want(ReadOptions{AsOf: old, Schema: SchemaThen}, then...)
		e.want(ReadOptions{AsOf: old, Schema: SchemaNow}, `{"a":"x","b":null,"c":null,"id":"1","s":{"x":1,"y":2}}`, `{"a":"y","b":null,"c":null,"id":"2","s":{"x":3,"y":4}}`)
		e.want(ReadOptions{AsOf: dropped, Schema: SchemaNow, Columns: []string{"b", "a"}}, `{"a":"x","b":null}`, `{"a":"y","b":null}`, `{"a":"z","b":null}`)
		where := And(IsNull("b"), Compare("a", Equal, scalar.MakeScalar("y")))
		e.want(ReadOptions{AsOf: old, Schema: SchemaNow, Columns: []string{"id"}, Filter: where}, `{"id":"2"}`)
		e.want(ReadOptions{Schema: SchemaNow, Columns: []string{"id", "b"}}, `{"b":"new","id":"1"}`, `{"b":null,"id":"2"}`, `{"b":null,"id":"3"}`)
		for _, err := range e.table.Read(t.Context(), ReadOptions{Schema: "later"}) {
			if err == nil || !strings.Contains(err.Error(), `"later"`) {
				t.Errorf("another schema: %v", err)
			}
		}
	})
}

// TestRenameColumn renames by writing all files anew.
func TestRenameColumn(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		e := newEvolving(t, typ, nullable("a", testText))
		old := e.put(`{"id":"1","a":"x"}`)
		e.put(`{"id":"1","a":"y"}`)
		_, err := e.table.RenameColumn(t.Context(), "a", "b")
		e.must(err)
		e.put(`{"id":"2","b":"z"}`)
		e.want(ReadOptions{}, `{"b":"y","id":"1"}`, `{"b":"z","id":"2"}`)
		e.want(ReadOptions{AsOf: old}, `{"a":"x","id":"1"}`)
		for column, to := range map[string]string{"no": "b", "id": "key", "seq": "at"} {
			_, err := e.table.RenameColumn(t.Context(), column, to)
			e.refused(err, column, "")
		}
		_, err = e.table.RenameColumn(t.Context(), "b", "ID")
		e.refused(err, "ID", "two")
	})
}

// TestNeededColumns refuses to change what keys and the order of changes are made of,
// even where all files are written anew.
func TestNeededColumns(t *testing.T) {
	e := newEvolving(t, MergeOnRead, nullable("a", testText))
	e.put(`{"id":"1","a":"x"}`)
	drop := func(name string, typ arrow.DataType) *arrow.Schema {
		fields := slices.Clone(e.table.Schema().Fields())
		at := slices.IndexFunc(fields, func(f arrow.Field) bool { return f.Name == name })
		if typ == nil {
			return arrow.NewSchema(slices.Delete(fields, at, at+1), nil)
		}
		fields[at].Type = typ
		return arrow.NewSchema(fields, nil)
	}
	for _, op := range []Operation{Upsert, InsertOverwriteTable} {
		for _, c := range []struct {
			column string
			to     arrow.DataType
		}{{"id", nil}, {"id", testBytes}, {"seq", nil}, {"seq", testText}} {
			x, err := e.table.Begin(t.Context(), TxnOptions{Operation: op, Schema: drop(c.column, c.to)})
			if err == nil {
				e.must(x.Abort(t.Context()))
			}
			e.refused(err, c.column, "may not")
		}
	}
}

// TestLogsOfAborted: log files that have no rows but of a transaction that was taken back, which
// no compaction takes, are not in the way of a schema.
func TestLogsOfAborted(t *testing.T) {
	a := nullable("a", testInt)
	e := newEvolving(t, MergeOnRead, a)
	e.put(`{"id":"1","a":1}`)
	x, err := e.table.Begin(t.Context(), TxnOptions{Operation: Upsert})
	e.must(err)
	g, err := x.Group(t.Context(), "", e.table.Bucket("1"))
	e.must(err)
	rows := jsonRows(t, e.table.Schema().Fields(), `[{"seq":1,"id":"1","a":2}]`)
	keys, err := RecordKeys(rows, e.table.RecordKey())
	e.must(err)
	e.must(g.Upsert(t.Context(), rows, keys))
	e.must(g.Close(t.Context()))
	e.must(x.Abort(t.Context()))
	long, b := nullable("a", testLong), nullable("b", testInt)
	instant, err := e.table.CompactFor(t.Context(), evolvingSchema([]arrow.Field{long, b}))
	if err != nil || instant != "" {
		t.Errorf("compacted %q, %v", instant, err)
	}
	e.must(e.take(long, b))
	e.want(ReadOptions{}, `{"a":1,"b":null,"id":"1"}`)
}

// TestCompactFor makes room for a schema in which hudi-rs would not read the log files.
func TestCompactFor(t *testing.T) {
	a, s := nullable("a", testInt), nullable("s", arrow.StructOf(nullable("x", testInt)))
	e := newEvolving(t, MergeOnRead, a, s)
	e.put(`{"id":"1","a":1,"s":{"x":1}}`, `{"id":"2","a":1,"s":{"x":1}}`)
	e.put(`{"id":"1","a":2,"s":{"x":2}}`)
	long, b := nullable("a", testLong), nullable("b", testInt)
	e.refused(e.take(long, s, b), "a", "lack the column b")
	e.must(e.take(long, s))
	e.refused(e.take(long, s, b), "a", "lack the column b")
	more := nullable("s", arrow.StructOf(nullable("x", testInt), nullable("y", testInt)))
	e.refused(e.take(long, more), "s", "hudi-rs")
	for _, next := range []*arrow.Schema{e.table.Schema(), evolvingSchema([]arrow.Field{long, s})} {
		instant, err := e.table.CompactFor(t.Context(), next)
		if err != nil || instant != "" {
			t.Errorf("nothing is in the way: %s, %v", instant, err)
		}
	}
	instant, err := e.table.CompactFor(t.Context(), evolvingSchema([]arrow.Field{long, more, b}))
	if err != nil || instant == "" {
		t.Errorf("compacted %q, %v", instant, err)
	}
	e.must(e.take(long, more, b))
	e.put(`{"id":"3","a":5000000000,"s":{"x":3,"y":4},"b":7}`)
	e.want(ReadOptions{}, `{"a":1,"b":null,"id":"2","s":{"x":1,"y":null}}`, `{"a":2,"b":null,"id":"1","s":{"x":2,"y":null}}`, `{"a":5000000000,"b":7,"id":"3","s":{"x":3,"y":4}}`)
}
