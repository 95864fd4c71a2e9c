package pipeline

import (
	"context"
	"fmt"

	"lakefeed/change"
	"lakefeed/hudi"
)

// The first copy of a partitioned table sorts its rows by partition and key, on disk what
// does not fit into memory, and writes partition after partition: so memory does not grow
// with their number, and that number is known when the buckets of each are chosen.

// sortedCopy is the rows of a first copy, ready to be written.
type sortedCopy struct {
	*hudi.Sorter

	rows int64
}

func (s *sortedCopy) write(ctx context.Context, _ *target, txn *hudi.Txn) (int64, error) {
	return s.rows, s.Write(ctx, txn)
}

// sortRows reads all rows that a table has under the snapshot, and chooses its buckets.
func (p *Pipeline) sortRows(ctx context.Context, t *target) (*sortedCopy, error) {
	s := &sortedCopy{Sorter: hudi.NewSorter(hudi.SortOptions{
		Schema: t.copySchema(), SortBytes: p.opts.MemoryBudget / 4, TempDir: p.spillDir,
	})}
	if err := p.readSorted(ctx, t, s); err != nil {
		s.Close()
		return nil, err
	}
	if n := bucketsFor(t.source.Bytes / int64(max(s.Partitions(), 1))); t.options.Buckets <= 0 && n > 1 && t.landing == nil {
		if err := p.makeTable(ctx, t, n); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (p *Pipeline) readSorted(ctx context.Context, t *target, s *sortedCopy) error {
	var landed error
	err := p.opts.Source.Copy(ctx, t.shows.read(), func(b *change.Batch) error {
		if landed = p.sortBatch(ctx, t, s, b); landed == nil {
			s.rows += int64(b.Len())
			p.copied(t, s.rows)
		}
		return landed
	})
	if err != nil && landed == nil {
		return &sourceError{err}
	}
	return err
}

func (p *Pipeline) sortBatch(ctx context.Context, t *target, s *sortedCopy, b *change.Batch) error {
	shown, err := t.shows.copied(b)
	if err != nil {
		return err
	}
	l, err := t.layoutOf(shown.Table, t.copySchema())
	if err != nil {
		return err
	}
	b = shown.Batch
	r := &reduction{slabs: []*slab{shown}}
	if err := t.quarantine.copying.takeCopied(ctx, r.slabs[0]); err != nil {
		return err
	}
	sel := make([]ref, 0, b.Len())
	for row := range b.Len() {
		if b.Rejects[row] == nil {
			sel = append(sel, ref{0, int32(row)})
		}
	}
	rec, keys, err := p.convert(l, r, sel, nil)
	if err != nil {
		return err
	}
	paths, err := partitionPaths(rec, t.partitions, t.table.PartitionPaths)
	if err != nil {
		return err
	}
	if err := s.Upsert(ctx, rec, keys, paths); err != nil {
		return fmt.Errorf("sort rows: %w", err)
	}
	return nil
}
