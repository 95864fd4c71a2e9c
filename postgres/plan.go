package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// A table is cut into ranges of its blocks, each read by a TID range scan: they are even
// whatever its keys are, need no index, and are read in the order of the disk. How many
// blocks make a chunk follows from the bytes that they will send: values that lie outside
// of the blocks count, the room of dead rows does not.

// PlanCopy cuts a table into chunks of about so many bytes, partition by partition. What
// is no heap, or may be read only through its root, is a chunk as it is. A table that
// somebody has locked is a *[change.LockedTableError].
func (c *Connector) PlanCopy(ctx context.Context, t *change.Table, chunkBytes int64) (*change.CopyPlan, error) {
	if chunkBytes <= 0 {
		return nil, errors.New("plan the copy of " + t.String() + ": chunks of no bytes")
	}
	plan := new(change.CopyPlan)
	if t.LogOnly {
		return plan, nil
	}
	now, err := c.look(ctx, t.ID)
	if err == nil && now == nil {
		err = &change.AlteredError{Table: t.String(), Err: errors.New("it is gone")}
	}
	var leaves []leaf
	if err == nil {
		leaves, err = c.leaves(ctx, now)
	}
	if isLocked(err) {
		err = &change.LockedTableError{Table: t.String(), Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("plan the copy of %s: %w", t, err)
	}
	for i := range leaves {
		l := &leaves[i]
		plan.Rows, plan.Bytes, plan.Size = plan.Rows+l.rows, plan.Bytes+l.sent(), plan.Size+l.size
		if now.partitioned && !l.readable {
			return c.planWhole(now, leaves), nil
		}
		plan.Chunks = append(plan.Chunks, l.chunks(chunkBytes)...)
	}
	return plan, nil
}

// planWhole reads a table in one piece.
func (c *Connector) planWhole(t *catalogTable, leaves []leaf) *change.CopyPlan {
	plan, files := new(change.CopyPlan), new(strings.Builder)
	for _, l := range leaves {
		plan.Rows, plan.Bytes, plan.Size = plan.Rows+l.rows, plan.Bytes+l.sent(), plan.Size+l.size
		fmt.Fprintf(files, "%d:%s ", l.table, l.file)
	}
	plan.Chunks = []change.CopyChunk{{Table: t.ID, Name: t.String(), File: files.String(), Whole: true, Rows: plan.Rows, Bytes: plan.Bytes}}
	return plan
}

// leaf is a table that has rows itself.
type leaf struct {
	table    uint32
	schema   string
	name     string
	file     string
	heap     bool
	readable bool
	blocks   int64
	block    int64 // bytes of one
	size     int64 // of all on disk, what lies outside of the blocks included
	rows     int64
	width    int64 // of a row by the statistics; 0: not known
}

// rowHead is what a row takes beside its columns' values, in its block.
const rowHead = 28

// sent is about how many bytes its rows are.
func (l *leaf) sent() int64 {
	heap := l.blocks * l.block
	outside := max(l.size-heap, 0)
	if l.width > 0 && l.rows > 0 {
		heap = min(heap, l.rows*(l.width+rowHead))
	}
	return heap + outside
}

// chunks cuts it into ranges of blocks, the last one open.
func (l *leaf) chunks(size int64) []change.CopyChunk {
	one := change.CopyChunk{Table: l.table, Name: l.schema + "." + l.name, File: l.file, To: change.ToEnd, Blocks: l.blocks, Rows: l.rows, Bytes: l.sent()}
	if one.Whole = !l.heap; one.Whole || l.blocks == 0 {
		return []change.CopyChunk{one}
	}
	n := min(max((one.Bytes+size/2)/size, 1), l.blocks)
	chunks := make([]change.CopyChunk, n)
	for i := range n {
		c := one
		c.From, c.To = l.blocks*i/n, l.blocks*(i+1)/n
		c.Blocks, c.Rows, c.Bytes = c.To-c.From, one.Rows/n, one.Bytes/n
		if i == n-1 {
			c.To = change.ToEnd
		}
		chunks[i] = c
	}
	return chunks
}

// leaves are what a table's rows lie in: itself, or its partitions.
func (c *Connector) leaves(ctx context.Context, t *catalogTable) (all []leaf, err error) {
	err = c.sizing(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT l.oid, n.nspname, l.relname, coalesce(pg_relation_filenode(l.oid)::text, ''), coalesce(a.amname = 'heap', false),
				has_table_privilege(l.oid, 'SELECT'), pg_relation_size(l.oid) / b.size, b.size, pg_table_size(l.oid),
				CASE WHEN l.relpages > 0 THEN greatest(l.reltuples, 0)::float8 * (pg_relation_size(l.oid) / b.size) / l.relpages ELSE greatest(l.reltuples, 0) END::bigint,
				coalesce((SELECT sum(s.avg_width) FROM pg_stats s WHERE s.schemaname = n.nspname AND s.tablename = l.relname AND NOT s.inherited), 0)::bigint
			FROM (SELECT $1::oid AS oid WHERE NOT $2 UNION ALL SELECT relid FROM pg_partition_tree($1::oid) WHERE isleaf AND $2) o
			JOIN pg_class l ON l.oid = o.oid AND l.relkind = 'r' AND l.relpersistence = 'p' JOIN pg_namespace n ON n.oid = l.relnamespace LEFT JOIN pg_am a ON a.oid = l.relam,
			(SELECT current_setting('block_size')::int AS size) b
			ORDER BY l.oid`, t.ID, t.partitioned)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l leaf, err error) {
			err = row.Scan(&l.table, &l.schema, &l.name, &l.file, &l.heap, &l.readable, &l.blocks, &l.block, &l.size, &l.rows, &l.width)
			return l, err
		})
		return err
	})
	return all, err
}

// CopyConnections is how many connections copy a table side by side.
func (c *Connector) CopyConnections() int { return c.opts.CopyConnections }
