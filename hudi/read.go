package hudi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/schema"
)

const defaultBatchRows = 8192

// ReadOptions say what to read. The zero value is every row as of the last commit,
// with all data columns.
type ReadOptions struct {
	// Columns to read, in that order; nil: all data columns. Meta columns may be
	// named too.
	Columns []string
	// Meta puts the five meta columns in front.
	Meta bool
	// ReadOptimized leaves out what stands in log files only.
	ReadOptimized bool
	// AsOf is an instant: the table is read as the commits up to it left it, in
	// today's schema. Instants that a cleaning has passed cannot be read any more.
	AsOf string
	// Buckets to read; nil: all.
	Buckets []int
	// BatchRows bounds the rows of a batch; 0: 8192.
	BatchRows int
}

// Read streams the table's rows, as of this call, in no order. A batch is valid until
// the next step of the iteration; Retain keeps it longer. The iteration ends with the
// first error. What it reads must not be cleaned meanwhile.
func (t *Table) Read(ctx context.Context, opts ReadOptions) iter.Seq2[arrow.RecordBatch, error] {
	scans, err := t.plan(opts)
	return func(yield func(arrow.RecordBatch, error) bool) {
		if err != nil {
			yield(nil, fmt.Errorf("read table %s: %w", t.name, err))
			return
		}
		for _, s := range scans {
			err := s.run(ctx, func(batch arrow.RecordBatch) error {
				if !yield(batch, nil) {
					return errEnough
				}
				return nil
			})
			if errors.Is(err, errEnough) {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("read table %s: %w", t.name, err))
				return
			}
		}
	}
}

// errEnough ends a scan whose reader has seen enough.
var errEnough = errors.New("the reader stopped")

// plan makes the scans of the file slices that a read needs.
func (t *Table) plan(opts ReadOptions) ([]*sliceScan, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	project, err := t.project(opts)
	if err != nil {
		return nil, err
	}
	var scans []*sliceScan
	for _, s := range t.view.slices(t.timeline, opts.AsOf) {
		if opts.Buckets != nil {
			b, err := bucketOfFileID(s.FileID)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(opts.Buckets, b) {
				continue
			}
		}
		if opts.ReadOptimized {
			s.Logs = nil
		}
		if s.Base != nil || len(s.Logs) > 0 {
			scans = append(scans, t.scan(s, project, opts))
		}
	}
	return scans, nil
}

func (t *Table) scan(s *FileSlice, schema *arrow.Schema, opts ReadOptions) *sliceScan {
	return &sliceScan{
		table: t, slice: s, timeline: t.timeline, full: t.full, schema: schema,
		asOf: opts.AsOf, batchRows: opts.BatchRows,
	}
}

// project is the schema of the wanted columns.
func (t *Table) project(opts ReadOptions) (*arrow.Schema, error) {
	names := opts.Columns
	if names == nil {
		for _, f := range t.schema.Fields() {
			names = append(names, f.Name)
		}
	}
	if opts.Meta {
		names = append(slices.Clone(schema.MetaFields), names...)
	}
	fields := make([]arrow.Field, 0, len(names))
	for _, n := range names {
		f, ok := t.full.FieldsByName(n)
		if !ok {
			return nil, &SchemaError{n, "the table does not have it"}
		}
		fields = append(fields, f[0])
	}
	return arrow.NewSchema(fields, nil), nil
}
