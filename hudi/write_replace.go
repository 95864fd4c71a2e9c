package hudi

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/timeline"
)

// opCluster is the operation of transactions that lay the same rows out anew.
const opCluster Operation = "CLUSTER"

// replacement says which file groups a transaction replaces by new ones with the same
// rows.
type replacement struct {
	slices  []*FileSlice
	all     bool // these are all that the table has
	buckets int  // that the table has from then on; 0: as before
	plan    *timeline.RequestedReplaceMetadata
	// then is done right after the commit is published, before anybody else writes.
	then func(ctx context.Context) error
}

// newReplacement plans for packs of slices, whose rows are laid out together.
func (t *Table) newReplacement(packs [][]*FileSlice) *replacement {
	op, keep := string(opCluster), true
	plan := &timeline.ClusteringPlan{PreserveHoodieMetadata: &keep, Version: 1, Strategy: &timeline.ClusteringStrategy{
		StrategyClassName: "org.apache.hudi.client.clustering.run.strategy.SparkSortAndSizeExecutionStrategy", StrategyParams: map[string]string{}, Version: 1,
	}}
	for _, pack := range packs {
		g := timeline.ClusteringGroup{NumOutputFileGroups: 1, Version: 1}
		for _, s := range pack {
			g.Slices = append(g.Slices, t.sliceInfo(s))
		}
		plan.InputGroups = append(plan.InputGroups, g)
	}
	return &replacement{
		slices: slices.Concat(packs...),
		plan:   &timeline.RequestedReplaceMetadata{OperationType: &op, ClusteringPlan: plan},
	}
}

func (t *Table) sliceInfo(s *FileSlice) timeline.SliceInfo {
	info := timeline.SliceInfo{DeltaFilePaths: []string{}, FileID: s.FileID, PartitionPath: s.Partition, Version: 1}
	if s.Base != nil {
		info.DataFilePath = t.url(s.Base.Path())
	}
	for _, l := range s.Logs {
		info.DeltaFilePaths = append(info.DeltaFilePaths, t.url(l.Path()))
	}
	return info
}

// replacesAll tells whether the transaction replaces all rows of the table.
func (x *Txn) replacesAll() bool {
	return x.op == InsertOverwriteTable || x.replace != nil && x.replace.all
}

// groupIDs are the replaced file ids, by partition.
func (r *replacement) groupIDs() map[string][]string {
	out := map[string][]string{}
	for _, s := range r.slices {
		out[s.Partition] = append(out[s.Partition], s.FileID)
	}
	return out
}

// beginReplace begins a transaction of the kind. Who calls it holds the table's turn.
func (t *Table) beginReplace(ctx context.Context, r *replacement) (*Txn, error) {
	x, err := t.begin(ctx, TxnOptions{Operation: opCluster, replace: r})
	if err != nil {
		return nil, err
	}
	t.release(ctx)
	return x, nil
}

// eachRow passes the rows of slices on as they are, meta columns included.
func (x *Txn) eachRow(ctx context.Context, found []*FileSlice, pass func(arrow.RecordBatch) error) error {
	w, err := x.table.checkFiles(ctx, x.timeline, found, checkScope{planned: true})
	if err != nil {
		return err
	}
	for _, s := range found {
		scan := &sliceScan{
			table: x.table, slice: s, timeline: x.timeline, full: x.full, schema: x.full, wrote: w.files(s.Group(), x.timeline),
		}
		if err := scan.run(ctx, pass); err != nil {
			return fmt.Errorf("read file group %s: %w", s.Group(), err)
		}
	}
	return nil
}

// take writes rows that stand elsewhere in the table: they keep what their meta columns
// say, but for the file's name.
func (g *GroupWriter) take(ctx context.Context, rows arrow.RecordBatch) error {
	return g.do(ctx, "move rows into", func() error {
		out, ok := g.out.(*baseOut)
		if !ok {
			return fmt.Errorf("%s has a log", g)
		}
		if err := out.open(ctx); err != nil {
			return err
		}
		return out.w.WriteMoved(rows, out.file.Name)
	})
}

// fileBytes is about how large the group's new base file is so far.
func (g *GroupWriter) fileBytes() int64 {
	if out, ok := g.out.(*baseOut); ok {
		return out.size()
	}
	return 0
}
