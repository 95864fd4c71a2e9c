package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi"
)

// A copy of a shard's table takes the place of that shard's rows, and of no others: the keys of
// those that the lake has, and the rows of the source, are sorted together, without keeping
// others from writing, and one commit writes the rows and deletes what did not come again.

// copyShard lands all rows that the shard's table has under the snapshot, in one commit.
func (p *Pipeline) copyShard(ctx context.Context, t *target, at change.LSN) error {
	if err := p.makeTable(ctx, t, p.sharedBuckets(t)); err != nil {
		return err
	}
	var err error
	if t.landing, _, err = evolve(t.landsAs(), t.table.Schema()); err != nil {
		return t.unlikeOthers(err)
	}
	rows := &sortedCopy{Sorter: p.overSorter(t.table, t.landing)}
	defer rows.Close()
	if t.at.LSN != 0 {
		if err := t.forgetRows(ctx, rows.Sorter); err != nil {
			return err
		}
	}
	if err := p.readSorted(ctx, t, rows); err != nil {
		return err
	}
	release, err := t.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	if t.landing, _, err = evolve(t.landsAs(), t.table.Schema()); err != nil { // other shards have written since
		return t.unlikeOthers(err)
	}
	if _, err := t.table.CompactFor(ctx, t.landing); err != nil {
		return t.ofSchema(err)
	}
	err = p.landCopy(ctx, t, at, false, func(ctx context.Context, t *target, txn *hudi.Txn) (int64, error) {
		return rows.rows, rows.WriteOver(ctx, txn, t.lookOver(txn))
	})
	if err != nil {
		return errors.Join(t.ofSchema(err), t.table.Refresh(context.WithoutCancel(ctx)))
	}
	if err := p.serve(ctx, t); err != nil {
		p.log.Warn("a service of the table failed", "table", t.name, "error", err)
	}
	return nil
}

// lookOver refuses keys that other shards' rows have; nil where the shard is a part of each key.
func (t *target) lookOver(txn *hudi.Txn) func(ctx context.Context, keys []string) error {
	if keyedByShard(t.landsAs()) {
		return nil
	}
	home := buckets{t.table.RecordKey(), txn.Buckets()}
	return func(ctx context.Context, keys []string) error {
		folders := make([]string, len(keys))
		if len(t.partitions) > 0 {
			var err error
			if folders, err = txn.Partitions(ctx, keys); err != nil {
				return err
			}
		}
		groups := map[groupID][]string{}
		for i, key := range keys {
			if folders[i] != "" || len(t.partitions) == 0 {
				id := groupID{folders[i], home.of(key)}
				groups[id] = append(groups[id], key)
			}
		}
		for id, some := range groups {
			owners, err := t.ownersOf(ctx, id, some)
			if err != nil {
				return err
			}
			for key, owner := range owners {
				if owner != t.shard {
					return &ShardClashError{t.name, key, t.shard, owner}
				}
			}
		}
		return nil
	}
}

// sharedBuckets is how many buckets a table gets that several shards fill, each about as much as this one.
func (p *Pipeline) sharedBuckets(t *target) int {
	if t.options.Buckets > 0 || len(t.options.PartitionBy) > 0 {
		return t.firstBuckets()
	}
	return bucketsFor(t.source.Bytes * int64(max(len(p.opts.Shards.o.Names), 1)))
}

// joinTable makes the table, or takes the one that another shard has made.
func (p *Pipeline) joinTable(ctx context.Context, t *target, buckets int) error {
	release, err := t.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	s := t.shared
	if s.table != nil && s.table.Buckets() == 0 { // made, but no copy ever committed
		if err := removeCopy(ctx, t.store); err != nil {
			return fmt.Errorf("remove what an interrupted copy left in %s: %w", t.store, err)
		}
		s.gone()
	}
	if s.table == nil {
		t.table = nil
		if err := p.createTable(ctx, t, buckets); err != nil {
			return err
		}
		s.gone()
		s.table = t.table
		return nil
	}
	t.table = s.table
	shown := t.landsAs()
	if t.partitions, err = newPartitions(shown, t.options.PartitionBy); err != nil {
		return err
	}
	folders := t.table.Properties()["hoodie.table.partition.fields"]
	if key := recordKey(shown); !slices.Equal(key, t.table.RecordKey()) || strings.Join(lakeColumns(t.partitions), ",") != folders {
		return &ShardLayoutError{t.name, t.shard, fmt.Sprintf("its rows have the key (%s) and the partitions [%s], and those of the lake's table (%s) and [%s]", joined(key), joined(lakeColumns(t.partitions)), joined(t.table.RecordKey()), folders)}
	}
	return nil
}

// ShardLayoutError is a shard's table that does not fit into the lake's, which other shards fill.
type ShardLayoutError struct{ Table, Shard, Why string }

// Error says why, and the way out.
func (e *ShardLayoutError) Error() string {
	return fmt.Sprintf("table %s of shard %s does not fit into the table in the lake that other shards fill: %s; alter it as it is in the other databases, then `lakefeed resync`, or give the tables of all shards another path", e.Table, e.Shard, e.Why)
}

// unlikeOthers is the error of a shard's table whose columns do not fit into the lake's: a new
// copy would not help, since others' rows stay.
func (t *target) unlikeOthers(err error) error {
	if why, ok := errors.AsType[*AnewError](err); ok && t.shared != nil {
		return &ShardLayoutError{t.name, t.shard, why.What}
	}
	return err
}

// ofSchema is the error of a table whose schema readers could not read: it has to be copied anew, or, where
// that would not help, does not fit to the other shards'.
func (t *target) ofSchema(err error) error {
	if _, ok := errors.AsType[*hudi.SchemaError](err); !ok {
		return err
	}
	return t.unlikeOthers(ofSchema(err))
}

// ofShards reports whether a table without a checkpoint of this shard is one of the shards' all the same.
func (t *target) ofShards() bool {
	if t.shared == nil {
		return false
	}
	if len(t.table.Timeline().Completed()) == 0 {
		return true // another shard's first copy has made it
	}
	for _, mark := range t.shared.marks {
		if c, err := decodeCheckpoint(mark); err == nil && c.Writer == t.shared.shards.o.Name {
			return true
		}
	}
	return false
}

// lacks are the columns of a version that the lake has nothing of by this checkpoint.
func (c *checkpoint) lacks(v *change.Table) (added []int) {
	for i, col := range v.Columns {
		if _, known := c.named(col.Name); !known {
			added = append(added, i)
		}
	}
	return added
}

// othersRows are the rows of a batch that are of other shards.
type othersRows []bool

// ofOthers tells a shard's rows from those of others; nil where there are no shards.
func ofOthers(rec arrow.RecordBatch, shard string) (othersRows, error) {
	if shard == "" {
		return nil, nil
	}
	at := rec.Schema().FieldIndices(colShard)
	if len(at) == 0 {
		return nil, fmt.Errorf("the table has no column %s", colShard)
	}
	shards, ok := rec.Column(at[0]).(*array.String)
	if !ok {
		return nil, fmt.Errorf("column %s is %s", colShard, rec.Column(at[0]).DataType())
	}
	out := make(othersRows, shards.Len())
	for row := range out {
		out[row] = shards.IsNull(row) || shards.Value(row) != shard
	}
	return out, nil
}

// column gives the shard's rows a value, and leaves others what they have; at is where that is.
func (o othersRows) column(rec arrow.RecordBatch, at []int, value arrow.Array, dt arrow.DataType) (arrow.Array, error) {
	from := []arrow.Array{nil, value}
	if len(at) > 0 {
		old, err := as(rec.Column(at[0]), dt)
		if err != nil {
			return nil, err
		}
		from[0] = old
	}
	if value != nil {
		v, err := as(value, dt)
		if err != nil {
			return nil, err
		}
		from[1] = v
	}
	sel := make([]ref, len(o))
	for row, other := range o {
		if sel[row] = (ref{1, 0}); other || value == nil {
			sel[row] = ref{0, int32(row)}
		}
	}
	return gather(dt, from, sel)
}
