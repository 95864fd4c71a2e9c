package query

import (
	"context"
	"iter"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi"
	"lakefeed/hudi/schema"
)

// FromTable is the relation of a Hudi table. All of its scans see the table as t knows
// it: what other writers do meanwhile comes with a later one. Of opts, Columns and
// Filter are not for the caller to set; Meta gives the relation the five meta columns.
func FromTable(t *hudi.Table, columns *arrow.Schema, opts hudi.ReadOptions) *Relation {
	if opts.Meta {
		columns = schema.ArrowWithMeta(columns)
	}
	opts.Meta = false // its columns are asked for by name
	var size int64
	for _, s := range t.Slices() {
		if s.Base != nil {
			size += s.Base.Size
		}
		for _, l := range s.Logs {
			size += l.Size
		}
	}
	const rowBytes = 100 // a guess
	return &Relation{
		Schema: columns,
		Rows:   size / rowBytes,
		Read: func(ctx context.Context, scan Scan) iter.Seq2[arrow.RecordBatch, error] {
			opts := opts
			opts.Columns, opts.Filter = scan.Columns, scan.Filter
			return t.Read(ctx, opts)
		},
	}
}

// FromChanges is the relation of what commits changed in a Hudi table: the rows that
// they wrote, as they are at the end. Of opts, Columns and Images are not for the caller
// to set; Meta gives the relation the five meta columns.
func FromChanges(t *hudi.Table, columns *arrow.Schema, opts hudi.ChangesOptions) *Relation {
	if opts.Meta {
		columns = schema.ArrowWithMeta(columns)
	}
	opts.Meta = false // its columns are asked for by name
	return &Relation{
		Schema: columns,
		Read: func(ctx context.Context, scan Scan) iter.Seq2[arrow.RecordBatch, error] {
			opts := opts
			opts.Columns = scan.Columns
			return t.Changes(ctx, opts)
		},
	}
}
