package pipeline

import (
	"context"
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi"
)

// sink takes what a round does to a table's file groups.
type sink interface {
	writers() int // how many groups may be written at once, each by one goroutine
	delete(ctx context.Context, g groupID, keys []string) error
	upsert(ctx context.Context, g groupID, rows arrow.RecordBatch, keys *array.String) error
	done(ctx context.Context, g groupID) error // this part of the round has no more for the group
	flush(ctx context.Context) error           // nothing more comes: all is written
	end()                                      // lets go of what it holds
}

// sinkFor is where a round's changes go: into the file groups right away or, where the
// round comes in parts, each of which may have something for each of the many groups of a
// partitioned table, sorted first.
func (p *Pipeline) sinkFor(ctx context.Context, pend *pending, txn *hudi.Txn) sink {
	t := pend.target
	if pend.spill != nil && len(t.partitions) > 0 {
		return &sortedGroups{txn: txn, sorter: hudi.NewSorter(hudi.SortOptions{
			Schema: txn.Schema(), RecordKey: t.table.RecordKey(), Buckets: txn.Buckets(),
			SortBytes: p.opts.MemoryBudget / 4, TempDir: p.spillDir,
		})}
	}
	return &openGroups{ctx: ctx, txn: txn, several: pend.spill != nil, partitioned: len(t.partitions) > 0, open: map[groupID]*hudi.GroupWriter{}}
}

// openGroups writes into file groups.
type openGroups struct {
	ctx         context.Context // of the commit: groups that stay open between parts outlive those
	txn         *hudi.Txn
	several     bool // parts come, so that groups stay open between them
	partitioned bool
	mu          sync.Mutex // guards open
	open        map[groupID]*hudi.GroupWriter
}

func (o *openGroups) writers() int {
	if o.partitioned {
		return groupsAtOnce
	}
	return 1
}

func (o *openGroups) group(ctx context.Context, id groupID) (*hudi.GroupWriter, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if g := o.open[id]; g != nil {
		return g, nil
	}
	g, err := o.txn.Group(ctx, id.partition, id.bucket)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", id, err)
	}
	o.open[id] = g
	return g, nil
}

func (o *openGroups) delete(ctx context.Context, id groupID, keys []string) error {
	if o.several {
		ctx = o.ctx
	}
	g, err := o.group(ctx, id)
	if err != nil {
		return err
	}
	return g.Delete(ctx, keys)
}

func (o *openGroups) upsert(ctx context.Context, id groupID, rows arrow.RecordBatch, keys *array.String) error {
	if o.several {
		ctx = o.ctx
	}
	g, err := o.group(ctx, id)
	if err != nil {
		return err
	}
	return g.Upsert(ctx, rows, keys)
}

func (o *openGroups) done(ctx context.Context, id groupID) error {
	if o.several {
		return nil
	}
	o.mu.Lock()
	g := o.open[id]
	delete(o.open, id)
	o.mu.Unlock()
	return g.Close(ctx)
}

func (o *openGroups) flush(ctx context.Context) error {
	for id, g := range o.open {
		if err := g.Close(ctx); err != nil {
			return fmt.Errorf("close %s: %w", id, err)
		}
	}
	return nil
}

func (o *openGroups) end() {} // an abort does it

// sortedGroups sorts changes by file group, and writes them in the end.
type sortedGroups struct {
	txn    *hudi.Txn
	sorter *hudi.Sorter
}

func (s *sortedGroups) writers() int { return 1 }

func (s *sortedGroups) delete(ctx context.Context, id groupID, keys []string) error {
	return s.sorter.Delete(ctx, id.partition, keys)
}

func (s *sortedGroups) upsert(ctx context.Context, id groupID, rows arrow.RecordBatch, keys *array.String) error {
	in := array.NewStringBuilder(mem)
	in.Reserve(keys.Len())
	for range keys.Len() {
		in.Append(id.partition)
	}
	return s.sorter.Upsert(ctx, rows, keys, in.NewStringArray())
}

func (s *sortedGroups) done(context.Context, groupID) error { return nil }

func (s *sortedGroups) flush(ctx context.Context) error { return s.sorter.Write(ctx, s.txn) }

func (s *sortedGroups) end() { s.sorter.Close() }
