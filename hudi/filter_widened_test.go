package hudi

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/scalar"
)

// TestFilterWidened filters rows of files from before their column got a wider type: what
// the files' statistics say of the old type must not hide them.
func TestFilterWidened(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		old    arrow.DataType
		rows   string
		next   arrow.DataType
		filter Filter
		rowsIs int64
	}{
		{"float to double", arrow.PrimitiveTypes.Float32, `[{"id": "a", "v": 0.1, "seq": 1}, {"id": "b", "v": 0.3, "seq": 1}]`, arrow.PrimitiveTypes.Float64, Compare("v", LessEqual, scalar.NewFloat64Scalar(0.1)), 1},
		{"int to double", arrow.PrimitiveTypes.Int32, `[{"id": "a", "v": 5, "seq": 1}, {"id": "b", "v": 7, "seq": 1}]`, arrow.PrimitiveTypes.Float64, Compare("v", Equal, scalar.NewFloat64Scalar(5)), 1},
		{"int to long", arrow.PrimitiveTypes.Int32, `[{"id": "a", "v": -5, "seq": 1}, {"id": "b", "v": 7, "seq": 1}]`, arrow.PrimitiveTypes.Int64, Compare("v", Less, scalar.NewInt64Scalar(0)), 1},
		{"int to text", arrow.PrimitiveTypes.Int32, `[{"id": "a", "v": 10, "seq": 1}, {"id": "b", "v": 9, "seq": 1}]`, arrow.BinaryTypes.String, Compare("v", GreaterEqual, scalar.NewStringScalar("9")), 1},
	} {
		for _, typ := range []TableType{CopyOnWrite, MergeOnRead} {
			t.Run(c.name+" "+string(typ), func(t *testing.T) {
				t.Parallel()
				fields := func(v arrow.DataType) []arrow.Field {
					return []arrow.Field{
						{Name: "id", Type: arrow.BinaryTypes.String},
						{Name: "v", Type: v, Nullable: true},
						{Name: "seq", Type: arrow.PrimitiveTypes.Int64},
					}
				}
				table, err := Create(t.Context(), newStore(t), CreateOptions{
					Name: "wide", Type: typ, Schema: arrow.NewSchema(fields(c.old), nil), RecordKey: []string{"id"}, OrderingField: "seq",
				})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := table.Upsert(t.Context(), jsonRows(t, fields(c.old), c.rows)); err != nil {
					t.Fatal(err)
				}
				next := arrow.NewSchema(fields(c.next), nil)
				x, err := table.Begin(t.Context(), TxnOptions{Schema: next})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := x.Commit(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				rows := int64(0)
				for batch, err := range table.Read(t.Context(), ReadOptions{Filter: c.filter}) {
					if err != nil {
						t.Fatal(err)
					}
					rows += batch.NumRows()
					if id := batch.Column(0).(*array.String); id.Len() > 0 && id.Value(0) == "" {
						t.Error("a row without its key")
					}
				}
				if rows != c.rowsIs {
					t.Errorf("%d rows, want %d", rows, c.rowsIs)
				}
			})
		}
	}
}
