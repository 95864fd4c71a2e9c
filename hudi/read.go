package hudi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
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
	// AsOf is an instant, or a time as [timeline.ParseInstant] reads it: the table is read
	// as the commits up to it left it; [ErrCleaned] where a cleaning has passed it.
	AsOf string
	// Schema is the one to read in with AsOf: that of then, the default, or of now.
	Schema ReadSchema
	// Partitions to read, by their paths; nil: all. One that holds no rows is no error.
	Partitions []string
	// Buckets to read, in each partition; nil: all.
	Buckets []int
	// Filter says which rows to read; zero: all. Its columns need not be read.
	Filter Filter
	// BatchRows bounds the rows of a batch; 0: 8192.
	BatchRows int
	// Parallel bounds the file slices that are read at a time, each with a batch of at
	// most 16 MiB and a page of each column in memory, and the keys of its log files; 0:
	// as many as there are processors to run on, 1: one after the other, in the order of
	// partitions and file ids.
	Parallel int
	// Pin keeps what is read from being cleaned: see [Table.Pin]. It is renewed for as
	// long as the iteration lasts, and if this process dies holds so much longer. 0: no
	// pin, and a long read may find its files gone.
	Pin time.Duration
}

// Read streams the table's rows, as of this call, in no order. A batch is valid until
// the next step of the iteration; Retain keeps it longer. The iteration ends with the
// first error. What it reads must not be cleaned meanwhile: see Pin.
func (t *Table) Read(ctx context.Context, opts ReadOptions) iter.Seq2[arrow.RecordBatch, error] {
	var scans []*sliceScan
	var pin *Pin
	err := opts.check()
	if err == nil {
		pin, err = t.pinRead(ctx, opts)
	}
	if err == nil {
		scans, err = t.plan(ctx, opts)
	}
	return func(yield func(arrow.RecordBatch, error) bool) {
		if pin != nil {
			defer pin.Hold(ctx, opts.Pin)()
		}
		if err != nil {
			yield(nil, fmt.Errorf("read table %s: %w", t.name, err))
			return
		}
		err := runScans(ctx, scans, opts.Parallel, func(batch arrow.RecordBatch) error {
			if !yield(batch, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, fmt.Errorf("read table %s: %w", t.name, err))
		}
	}
}

// check refuses what the options cannot mean, and brings AsOf into the form of instants.
func (o *ReadOptions) check() (err error) {
	if o.AsOf, err = parsePoint("AsOf", o.AsOf); err != nil {
		return err
	}
	return checkAmounts(map[string]int{"BatchRows": o.BatchRows, "Parallel": o.Parallel})
}

// parsePoint reads a point of a timeline; "" is left to mean what it does.
func parsePoint(what, s string) (string, error) {
	if s == "" {
		return "", nil
	}
	at, err := timeline.ParseInstant(s)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return at, nil
}

// checkAmounts refuses amounts below zero.
func checkAmounts(of map[string]int) error {
	for what, n := range of {
		if n < 0 {
			return fmt.Errorf("%s %d: want a number from 0 on", what, n)
		}
	}
	return nil
}

// plan makes the scans of the file slices that a read needs.
func (t *Table) plan(ctx context.Context, opts ReadOptions) ([]*sliceScan, error) {
	t.mu.RLock()
	full, tl, latest := t.full, t.timeline, t.latest
	found := t.view.slices(tl, opts.AsOf, opts.Partitions)
	t.mu.RUnlock()
	if opts.AsOf != "" {
		if err := t.checkCleaned(ctx, tl, opts.AsOf); err != nil {
			return nil, err
		}
	}
	full, history, err := t.readSchemas(ctx, tl, opts, full, latest)
	if err != nil {
		return nil, err
	}
	wanted, err := project(full, opts)
	if err != nil {
		return nil, err
	}
	where, read, err := opts.Filter.plan(full, wanted)
	if err != nil {
		return nil, err
	}
	if opts.Buckets != nil && t.Buckets() == 0 {
		return nil, t.noBuckets()
	}
	found = slices.DeleteFunc(found, func(s *FileSlice) bool { return !inBuckets(s.FileID, opts.Buckets) })
	w, err := t.checkFiles(ctx, tl, found, t.scope(opts))
	if err != nil {
		return nil, err
	}
	var scans []*sliceScan
	for _, s := range found {
		if opts.ReadOptimized {
			s.Logs = nil
		}
		if where != nil && t.plainPartitions() && !where.mayPartition(t.partition, s.Partition) {
			continue
		}
		if s.Base != nil || len(s.Logs) > 0 {
			scans = append(scans, &sliceScan{
				table: t, slice: s, timeline: tl, full: full, schema: read, where: where, wanted: wanted,
				asOf: opts.AsOf, batchRows: opts.BatchRows, wrote: w.files(s.Group(), tl), history: history,
			})
		}
	}
	return scans, nil
}

// scope is what a read has to find.
func (t *Table) scope(opts ReadOptions) checkScope {
	partitions := opts.Partitions
	if partitions == nil && t.partition.depth() == 0 {
		partitions = []string{""}
	}
	return checkScope{asOf: opts.AsOf, partitions: partitions, buckets: opts.Buckets, baseOnly: opts.ReadOptimized}
}

// inBuckets tells whether a file group is one of these buckets; nil: of all.
func inBuckets(fileID string, buckets []int) bool {
	if buckets == nil {
		return true
	}
	b, err := bucketOfFileID(fileID)
	return err == nil && slices.Contains(buckets, b)
}

// schemaAsOf is the schema, with the meta columns, of the newest commit up to an
// instant; without one it is that of today.
func (t *Table) schemaAsOf(ctx context.Context, tl *timeline.Timeline, asOf string, today *arrow.Schema) (*arrow.Schema, error) {
	for _, i := range slices.Backward(tl.Completed()) {
		if i.Time > asOf {
			continue
		}
		m, err := t.readCommit(ctx, i)
		if err != nil {
			return nil, err
		}
		if avro := m.ExtraMetadata[timeline.SchemaKey]; avro != "" {
			s, err := schema.ToArrow(avro)
			if err != nil {
				return nil, &CorruptError{t.instantFile(i), err}
			}
			return schema.ArrowWithMeta(s), nil
		}
	}
	return today, nil
}

// project is the schema of the wanted columns.
func project(full *arrow.Schema, opts ReadOptions) (*arrow.Schema, error) {
	names := opts.Columns
	if names == nil {
		for _, f := range full.Fields()[metaCount:] {
			names = append(names, f.Name)
		}
	}
	if opts.Meta {
		names = append(slices.Clone(schema.MetaFields), names...)
	}
	fields := make([]arrow.Field, 0, len(names))
	for i, n := range names {
		if slices.Contains(names[:i], n) {
			return nil, badOption("column %s is named twice", n)
		}
		f, ok := full.FieldsByName(n)
		if !ok {
			return nil, &SchemaError{n, "the table does not have it"}
		}
		fields = append(fields, f[0])
	}
	return arrow.NewSchema(fields, nil), nil
}
