package hudi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// look compares what readers get in other ways than by reading the whole table as it is.
func (m *tableModel) look() {
	m.t.Helper()
	m.follow()
	m.lookup()
	m.project()
	at := m.someCommit()
	if at == "" {
		return
	}
	m.compare(m.table, ReadOptions{AsOf: at}, m.past[at])
	switch m.rnd.IntN(4) {
	case 0:
		m.changes(at, m.someCommit())
	case 1:
		m.compare(m.table, ReadOptions{AsOf: at, Schema: SchemaNow}, m.past[at].in(m.schema))
	}
}

// follow lets a Table that writes nothing take in what happened.
func (m *tableModel) follow() {
	m.t.Helper()
	if m.follower == nil {
		follower, err := Open(m.t.Context(), m.store, m.options())
		m.check(err)
		m.follower = follower
	}
	m.check(m.follower.Refresh(m.t.Context()))
	m.compare(m.follower, ReadOptions{}, m.modelState)
}

func (m *tableModel) lookup() {
	m.t.Helper()
	if !m.hashed() {
		return
	}
	bucket, path := m.rnd.IntN(m.table.Buckets()), m.path(m.part())
	var keys []string
	seen := map[string]bool{}
	for range 20 {
		if k := m.key(); m.table.Bucket(k) == bucket && !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	rec, at, err := m.table.Lookup(m.t.Context(), path, bucket, keys, []string{"seq"})
	m.check(err)
	defer rec.Release()
	for i, k := range keys {
		want, known := m.rows[place{path, k}]
		switch {
		case known != (at[i] >= 0):
			m.t.Fatalf("lookup of %s in %q: row %d, want it there: %v", k, path, at[i], known)
		case known && rec.Column(0).(*array.Int64).Value(at[i]) != want[m.at("seq")]:
			m.t.Fatalf("lookup of %s in %q: seq %d, want %d", k, path, rec.Column(0).(*array.Int64).Value(at[i]), want[m.at("seq")])
		}
	}
}

// project reads some columns of the rows of which a condition is true.
func (m *tableModel) project() {
	m.t.Helper()
	columns := []string{"part", "id"}
	for _, f := range m.schema.Fields() {
		if m.rnd.IntN(2) == 0 && !slices.Contains(columns, f.Name) {
			columns = append(columns, f.Name)
		}
	}
	m.rnd.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
	fields := make([]arrow.Field, len(columns))
	for i, name := range columns {
		fields[i] = m.schema.Field(m.at(name))
	}
	filter, what, holds := m.filter(2)
	want := modelState{m.schema, map[place][]any{}}
	for p, row := range m.rows {
		if holds(row) == modelYes {
			want.rows[p] = row
		}
	}
	got, err := m.readState(m.t.Context(), m.table, ReadOptions{Columns: columns, Filter: filter, Parallel: m.rnd.IntN(2)})
	m.check(err)
	m.same(fmt.Sprintf("%v where %s", columns, what), got, want.in(arrow.NewSchema(fields, nil)))
}

// modelTruth is that of SQL.
type modelTruth int

const (
	modelNo modelTruth = iota
	modelUnknown
	modelYes
)

func modelTruthOf(b bool) modelTruth {
	if b {
		return modelYes
	}
	return modelNo
}

// filter makes a condition, its text, and what it is of a row.
func (m *tableModel) filter(depth int) (f Filter, what string, holds func(row []any) modelTruth) {
	if depth > 0 && m.rnd.IntN(2) == 0 {
		a, aText, aHolds := m.filter(depth - 1)
		b, bText, bHolds := m.filter(depth - 1)
		switch m.rnd.IntN(3) {
		case 0:
			return And(a, b), "(" + aText + " and " + bText + ")", func(row []any) modelTruth { return min(aHolds(row), bHolds(row)) }
		case 1:
			return Or(a, b), "(" + aText + " or " + bText + ")", func(row []any) modelTruth { return max(aHolds(row), bHolds(row)) }
		default:
			return Not(a), "not " + aText, func(row []any) modelTruth { return modelYes - aHolds(row) }
		}
	}
	i := m.rnd.IntN(m.schema.NumFields())
	field := m.schema.Field(i)
	value := randomCell(m.rnd, arrow.Field{Type: field.Type})
	if field.Name == "part" {
		value = m.parts[0]
	}
	all := []Comparison{Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual}
	how := all[m.rnd.IntN(len(all))]
	if field.Type.ID() == arrow.BOOL || m.rnd.IntN(6) == 0 {
		return IsNull(field.Name), field.Name + " is null", func(row []any) modelTruth { return modelTruthOf(row[i] == nil) }
	}
	return Compare(field.Name, how, scalarOf(value, field.Type)), fmt.Sprint(field.Name, how, value), func(row []any) modelTruth {
		if row[i] == nil {
			return modelUnknown
		}
		c := compareCells(row[i], value)
		return modelTruthOf(map[Comparison]bool{Equal: c == 0, NotEqual: c != 0, Less: c < 0, LessEqual: c <= 0, Greater: c > 0, GreaterEqual: c >= 0}[how])
	}
}

func compareCells(a, b any) int {
	switch a := a.(type) {
	case int32:
		return cmp.Compare(a, b.(int32))
	case int64:
		return cmp.Compare(a, b.(int64))
	case arrow.Timestamp:
		return cmp.Compare(a, b.(arrow.Timestamp))
	case float32:
		return cmp.Compare(a, b.(float32))
	case float64:
		return cmp.Compare(a, b.(float64))
	default:
		return strings.Compare(a.(string), b.(string))
	}
}

// modelImage is what a read with images says of a row.
type modelImage struct {
	op            string
	before, after []any
}

// changes compares what changed between two commits with images, and what was written
// without.
func (m *tableModel) changes(from, to string) {
	m.t.Helper()
	if from > to {
		from, to = to, from
	}
	opts := ChangesOptions{From: from, To: to, Images: true, BatchRows: 7}
	if last, _ := m.table.Timeline().Last(); to == last.Time && m.rnd.IntN(2) == 0 {
		opts.To = ""
	}
	after := m.past[to]
	before := m.past[from].in(after.schema)
	got := m.images(opts, after.schema)
	for p := range modelUnion(before.rows, after.rows) {
		b, a := before.rows[p], after.rows[p]
		op := OpUpdate
		switch {
		case b == nil:
			op = OpInsert
		case a == nil:
			op = OpDelete
		}
		g, told := got[p]
		switch {
		case !told && !slices.Equal(b, a):
			m.t.Fatalf("changes %+v: none of %v, which was %v and is %v", opts, p, b, a)
		case told && (g.op != op || !slices.Equal(g.before, b) || !slices.Equal(g.after, a)):
			m.t.Fatalf("changes %+v: of %v %+v, want %s of %v to %v", opts, p, g, op, b, a)
		}
		delete(got, p)
	}
	if len(got) > 0 {
		m.t.Fatalf("changes %+v: rows that never were: %v", opts, got)
	}
}

func (m *tableModel) images(opts ChangesOptions, s *arrow.Schema) map[place]modelImage {
	m.t.Helper()
	out := map[place]modelImage{}
	for batch, err := range m.table.Changes(m.t.Context(), opts) {
		m.check(err)
		for i := range int(batch.NumRows()) {
			g := modelImage{op: batch.Column(0).(*array.String).Value(i)}
			var p place
			for c, side := range map[int]*[]any{1: &g.before, 2: &g.after} {
				rows := batch.Column(c).(*array.Struct)
				if rows.IsNull(i) {
					continue
				}
				for f := range rows.NumField() {
					*side = append(*side, cellOf(rows.Field(f), i))
				}
				p = m.placeOf(*side, s)
			}
			if _, twice := out[p]; twice {
				m.t.Fatalf("changes %+v: %v comes twice", opts, p)
			}
			out[p] = g
		}
	}
	return out
}

// sound sees that a check of the whole table finds nothing wrong with it.
func (m *tableModel) sound(opts CheckOptions) {
	m.t.Helper()
	opts.Now, opts.GlobalKeys = m.create.Now, m.global()
	report, err := Check(m.t.Context(), m.store, opts)
	m.check(err)
	for _, f := range report.Faults {
		if f.Severity != Note {
			m.t.Errorf("%v", f)
		}
	}
	if m.t.Failed() {
		m.t.FailNow()
	}
}
