package hudi

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/column"
)

// Lookup finds rows of a partition's bucket by record key, as of the last commit: the
// wanted columns of those found, and for each key its row in the record, -1 where the table
// does not have it. It reads the key column and the wanted ones; memory is bounded by
// the answer. The record is the caller's to release.
func (t *Table) Lookup(ctx context.Context, partition string, bucket int, keys []string, columns []string) (arrow.RecordBatch, []int, error) {
	rec, rows, err := t.lookup(ctx, partition, bucket, keys, columns)
	if err != nil {
		return nil, nil, fmt.Errorf("look up %d keys in %s of %s: %w", len(keys), bucketID{partition, bucket}, t.name, err)
	}
	return rec, rows, nil
}

func (t *Table) lookup(ctx context.Context, partition string, bucket int, keys []string, columns []string) (arrow.RecordBatch, []int, error) {
	if t.keys.virtual {
		return nil, nil, &UnsupportedError{propMetaFields, "false", "rows are looked up by " + keyColumn}
	}
	if err := t.partition.check(partition); err != nil {
		return nil, nil, err
	}
	opts := ReadOptions{Columns: append(slices.Clone(columns), keyColumn), Partitions: []string{partition}, Buckets: []int{bucket}}
	scans, err := t.plan(ctx, opts)
	if err != nil {
		return nil, nil, err
	}
	t.mu.RLock()
	schema, err := project(t.full, ReadOptions{Columns: append([]string{}, columns...)})
	t.mu.RUnlock()
	if err != nil {
		return nil, nil, err
	}
	if len(scans) > 0 { // another one may have been published since they were planned
		schema = arrow.NewSchema(scans[0].schema.Fields()[:schema.NumFields()], nil)
	}
	found := &lookup{only: make(map[basefile.KeyHash]int32, len(keys)), schema: schema}
	for _, k := range keys {
		found.only[basefile.HashKey(k)] = -1
	}
	defer found.release()
	sorted := slices.Sorted(slices.Values(keys))
	for _, s := range scans {
		s.only, s.keys, s.batchRows = found.only, sorted, max(len(keys), 1)
		if err := s.run(ctx, found.add); err != nil {
			return nil, nil, err
		}
	}
	rec, err := found.record()
	if err != nil {
		return nil, nil, err
	}
	at := make([]int, len(keys))
	for i, k := range keys {
		at[i] = int(found.only[basefile.HashKey(k)])
	}
	return rec, at, nil
}

// lookup gathers the rows of the wanted keys.
type lookup struct {
	schema  *arrow.Schema
	only    map[basefile.KeyHash]int32 // the row of each key
	batches []arrow.RecordBatch
	rows    int32
}

func (l *lookup) add(batch arrow.RecordBatch) error {
	keys, err := keysOf(batch)
	if err != nil {
		return err
	}
	for row := range keys.Len() {
		l.only[basefile.HashKey(keys.Value(row))] = l.rows + int32(row)
	}
	l.rows += int32(keys.Len())
	batch.Retain()
	l.batches = append(l.batches, batch)
	return nil
}

// record joins the columns of the batches, without the key.
func (l *lookup) record() (arrow.RecordBatch, error) {
	joined := make([]arrow.Array, l.schema.NumFields())
	defer column.Release(joined)
	for c, f := range l.schema.Fields() {
		parts := make([]arrow.Array, len(l.batches))
		for i, b := range l.batches {
			parts[i] = b.Column(c)
		}
		if len(parts) == 0 {
			joined[c] = array.MakeArrayOfNull(column.Allocator, f.Type, 0)
			continue
		}
		col, err := array.Concatenate(parts, column.Allocator)
		if err != nil {
			return nil, fmt.Errorf("join column %s: %w", f.Name, err)
		}
		joined[c] = col
	}
	return array.NewRecordBatch(l.schema, joined, int64(l.rows)), nil
}

func (l *lookup) release() {
	for _, b := range l.batches {
		b.Release()
	}
}
