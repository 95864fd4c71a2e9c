package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// Look is what the catalogs say of the tables now. Unlike Tables it may be called while
// the stream is read, and waits for nobody who has locked a table.
func (c *Connector) Look(ctx context.Context) (*change.Look, error) {
	out := &change.Look{Others: map[uint32]string{}}
	before, err := c.logEnd(ctx) // ahead of what the transaction sees
	if err != nil {
		return nil, fmt.Errorf("look at the catalogs: %w", err)
	}
	out.Before = before
	err = c.inCatalog(ctx, func(tx pgx.Tx) error {
		all, err := listTables(ctx, tx, nil)
		if err != nil {
			return err
		}
		for _, t := range all {
			out.Others[t.ID] = t.String()
		}
		all = c.matching(all)
		for _, t := range all {
			delete(out.Others, t.ID)
			out.Tables = append(out.Tables, t.Table)
		}
		if err := c.describe(ctx, tx, all); err != nil {
			return err
		}
		if out.Published, err = c.published(ctx, tx); err != nil {
			return err
		}
		if err := c.sayUnlogged(ctx, tx, out.Tables); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint").Scan(&out.Horizon); err != nil {
			return err
		}
		out.At, err = c.lookEnd(ctx, tx) // read behind what the transaction sees
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at the catalogs: %w", err)
	}
	return out, nil
}

// logEnd is where the server's log ends, or on a standby, where what it shows does.
func (c *Connector) logEnd(ctx context.Context) (change.LSN, error) {
	var at int64
	err := c.catalog.do(ctx, func(db *pgx.Conn) error {
		return db.QueryRow(ctx, `SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END - '0/0')::bigint`).Scan(&at)
	})
	return change.LSN(at), err
}
