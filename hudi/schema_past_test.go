package hudi

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// rewrite writes the table anew with columns, all null.
func (e *evolving) rewrite(fields ...arrow.Field) {
	e.t.Helper()
	next := evolvingSchema(fields)
	_, err := e.table.Rewrite(e.t.Context(), next, nil, func(rows arrow.RecordBatch) (arrow.RecordBatch, error) {
		columns := []arrow.Array{rows.Column(0)}
		for _, f := range fields {
			columns = append(columns, array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, int(rows.NumRows())))
		}
		return array.NewRecordBatch(next, append(columns, rows.Column(int(rows.NumCols())-1)), rows.NumRows()), nil
	})
	e.must(err)
}

// images are the changes behind an instant, a line for each.
func (e *evolving) images(opts ChangesOptions) []string {
	e.t.Helper()
	opts.Images = true
	var out []string
	for batch, err := range e.table.Changes(e.t.Context(), opts) {
		e.must(err)
		for row := range int(batch.NumRows()) {
			out = append(out, fmt.Sprint(batch.Column(0).ValueStr(row), " ", batch.Column(1).ValueStr(row), " ", batch.Column(2).ValueStr(row)))
		}
	}
	slices.Sort(out)
	return out
}

// TestPastLacksRequired reads rows of before in the schema of now, in which a column is
// required that they do not have: it is null, and the batches say that it may be.
func TestPastLacksRequired(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		e := newEvolving(t, typ, arrow.Field{Name: "n", Type: testInt})
		was := e.put(`{"id":"1","n":1}`)
		_, err := e.table.RenameColumn(t.Context(), "n", "m")
		e.must(err)
		for batch, err := range e.table.Read(t.Context(), ReadOptions{AsOf: was, Schema: SchemaNow}) {
			e.must(err)
			f, found := batch.Schema().FieldsByName("m")
			if !found || !f[0].Nullable || batch.Column(1).NullN() != 1 {
				t.Errorf("column m is %v, with %d nulls", f, batch.Column(1).NullN())
			}
		}
		e.put(`{"id":"1","m":2}`)
		diffLines(t, e.images(ChangesOptions{From: was}), []string{`update {"id":"1","m":null,"seq":1} {"id":"1","m":2,"seq":1}`})
	})
}

// TestPastOfDroppedColumn drops a column and gives its name to another one, by a name of its
// own or by that of the first: rows of before do not have the new one.
func TestPastOfDroppedColumn(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		v := nullable("v", testInt)
		e := newEvolving(t, typ, v)
		was := e.put(`{"id":"1","v":1}`)
		e.must(e.take())
		e.rewrite()
		e.must(e.take(v))
		e.want(ReadOptions{AsOf: was, Schema: SchemaNow}, `{"id":"1","v":null}`)

		e = newEvolving(t, typ, nullable("a", testText), nullable("b", testText))
		e.put(`{"id":"1","a":"A","b":"B"}`)
		e.must(e.take(nullable("b", testText)))
		dropped, _ := e.table.Timeline().Last()
		_, err := e.table.RenameColumn(t.Context(), "b", "a")
		e.must(err)
		diffLines(t, e.images(ChangesOptions{From: dropped.Time}), []string{`update {"a":null,"id":"1","seq":1} {"a":"B","id":"1","seq":1}`})
	})
}

// TestPastOfAnotherType says so where rows of before cannot be shown in the type of now, and
// calls no file damaged.
func TestPastOfAnotherType(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		e := newEvolving(t, typ, nullable("v", testText))
		was := e.put(`{"id":"1","v":"x"}`)
		e.rewrite(nullable("v", testInt))
		e.put(`{"id":"1","v":1}`)
		var err error
		for _, err = range e.table.Changes(t.Context(), ChangesOptions{From: was, Images: true}) {
			break
		}
		e.refused(err, "v", "not read as")
		if errors.As(err, new(*CorruptError)) {
			t.Error(err)
		}
	})
}
