package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// The functions that tell how large a table is wait for whoever has locked it, as VACUUM FULL does for an
// hour. They are asked on a session of their own, for tables that are read, and for no longer than this.
const sizeLock = time.Second

// sizing runs f in a short read-only transaction of that session. A table that is locked is an
// error that passes.
func (c *Connector) sizing(ctx context.Context, f func(pgx.Tx) error) error {
	return c.sizes.do(ctx, func(db *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, db, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			if err := waitForLocks(ctx, tx, sizeLock); err != nil {
				return err
			}
			return f(tx)
		})
	})
}

// closeSizes closes that session: nobody may ask it anything more for a long time.
func (c *Connector) closeSizes(ctx context.Context) {
	if err := c.sizes.close(context.WithoutCancel(ctx)); err != nil {
		c.log.Debug("close the session that is asked for sizes", "error", err)
	}
}

// measure adds the sizes of tables on disk; of what is locked, about what they were when it was vacuumed
// or analyzed last.
func (c *Connector) measure(ctx context.Context, tables []*catalogTable) error {
	defer c.closeSizes(ctx)
	byID := map[uint32]*catalogTable{}
	ids := make([]uint32, len(tables))
	for i, t := range tables {
		ids[i], byID[t.ID] = t.ID, t
	}
	for try := 1; ; try++ {
		err := c.sizing(ctx, func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, tableSizes, ids, try == measureTries)
			if err != nil {
				return err
			}
			var id uint32
			var bytes int64
			_, err = pgx.ForEachRow(rows, []any{&id, &bytes}, func() error { byID[id].Bytes = bytes; return nil })
			return err
		})
		if err == nil {
			return nil
		}
		if !isLocked(err) || try == measureTries {
			return fmt.Errorf("sizes: %w", err)
		}
	}
}

// measureTries is how often sizes are asked for: a lock that came meanwhile is seen by the next try, and the
// last one asks none of the files.
const measureTries = 3

// tableSizes are the sizes of tables, those of their partitions together. Who waits for a lock is
// in the way as who has it is, and that of an index of large values is, too.
const tableSizes = `
	WITH RECURSIVE below(root, oid) AS (
		SELECT o, o FROM unnest($1::oid[]) o
		UNION ALL
		SELECT b.root, i.inhrelid FROM below b JOIN pg_class p ON p.oid = b.oid AND p.relkind = 'p' JOIN pg_inherits i ON i.inhparent = b.oid
	), locked(oid) AS MATERIALIZED (
		SELECT coalesce(i.indrelid, k.relation) FROM pg_locks k LEFT JOIN pg_index i ON i.indexrelid = k.relation
		WHERE k.locktype = 'relation' AND k.mode = 'AccessExclusiveLock' AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
	)
	SELECT b.root, coalesce(sum(CASE
		WHEN $2 OR l.oid IN (SELECT oid FROM locked) OR l.reltoastrelid IN (SELECT oid FROM locked)
		THEN (l.relpages + coalesce((SELECT relpages FROM pg_class WHERE oid = l.reltoastrelid), 0)) * current_setting('block_size')::bigint
		ELSE pg_table_size(l.oid) END), 0)::bigint
	FROM below b JOIN pg_class l ON l.oid = b.oid AND l.relkind = 'r' GROUP BY b.root`
