package hudi

import (
	"context"
	"fmt"
	"iter"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"

	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/schema"
)

// conform makes rows of a table out of batch, column by name: a column that batch
// lacks is null, and types that hold no more than the table's become these. The
// result is the caller's to release.
func conform(ctx context.Context, batch arrow.RecordBatch, table *arrow.Schema) (arrow.RecordBatch, error) {
	columns := make([]arrow.Array, table.NumFields())
	defer column.Release(columns)
	for i, f := range table.Fields() {
		at := batch.Schema().FieldIndices(f.Name)
		if len(at) == 0 {
			if !f.Nullable {
				return nil, &SchemaError{f.Name, "it is required, and rows lack it"}
			}
			columns[i] = array.MakeArrayOfNull(column.Allocator, f.Type, int(batch.NumRows()))
			continue
		}
		col, err := conformColumn(ctx, batch.Column(at[0]), f)
		if err != nil {
			return nil, err
		}
		columns[i] = col
	}
	return array.NewRecordBatch(table, columns, batch.NumRows()), nil
}

// conformAll is conform for rows of which no column may be left out.
func conformAll(ctx context.Context, rows arrow.RecordBatch, table *arrow.Schema) (arrow.RecordBatch, error) {
	if err := checkKnown(rows.Schema(), table); err != nil {
		return nil, err
	}
	return conform(ctx, rows, table)
}

// checkKnown refuses columns of rows that would not reach the table. Meta columns, which
// rows have that were read from a table, may be there: they are made anew.
func checkKnown(rows, table *arrow.Schema) error {
	for i, f := range rows.Fields() {
		switch {
		case rows.FieldIndices(f.Name)[0] != i:
			return &SchemaError{f.Name, "rows have it twice"}
		case !table.HasField(f.Name) && !schema.IsMeta(f.Name):
			return &SchemaError{f.Name, "rows have it, and the table does not: TxnOptions.Schema adds it"}
		}
	}
	return nil
}

func conformColumn(ctx context.Context, col arrow.Array, f arrow.Field) (arrow.Array, error) {
	if !f.Nullable && col.NullN() > 0 {
		return nil, &SchemaError{f.Name, "it is required, and a row has null in it"}
	}
	from, to := col.DataType().ID(), f.Type.ID()
	if from == arrow.LARGE_STRING && to == arrow.STRING || from == arrow.LARGE_BINARY && to == arrow.BINARY {
		out, err := compute.CastArray(ctx, col, compute.SafeCastOptions(f.Type))
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
		return out, nil
	}
	if from == arrow.BINARY && to == arrow.STRING { // it may be no text
		return nil, wrongType(col, f)
	}
	out, err := column.Fit(col, f.Type)
	if err != nil {
		return nil, wrongType(col, f)
	}
	return out, nil
}

// checkText refuses rows with text, or a key, that is not UTF-8: each reader makes something else
// of it, if it does not fail.
func checkText(data arrow.RecordBatch, keys *array.String) error {
	refuse := func(row int, what string) error {
		const most = 100
		key := keys.Value(row)
		return badRow("row with key %q: %s is not UTF-8", key[:min(len(key), most)], what)
	}
	for i, col := range data.Columns() {
		if row := column.FirstNotUTF8(col); row >= 0 {
			return refuse(row, "text in column "+data.ColumnName(i))
		}
	}
	if row := column.FirstNotUTF8(keys); row >= 0 {
		return refuse(row, "its key")
	}
	return nil
}

// run is rows from one to before another.
type run struct{ from, to int }

// runs are the runs of rows for which at is the same, each with what it is.
func runs[K comparable](rows int, at func(row int) K) iter.Seq2[K, run] {
	return func(yield func(K, run) bool) {
		for from := 0; from < rows; {
			k, to := at(from), from+1
			for to < rows && at(to) == k {
				to++
			}
			if !yield(k, run{from, to}) {
				return
			}
			from = to
		}
	}
}

func wrongType(col arrow.Array, f arrow.Field) error {
	return &SchemaError{f.Name, fmt.Sprintf("rows have %s for it, the table has %s", col.DataType(), f.Type)}
}
