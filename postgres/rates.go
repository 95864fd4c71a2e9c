package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Rates is how many rows were inserted, updated and deleted in each table since the
// server's statistics were reset, by the table's name; what was done to its partitions
// counts for a partitioned one. Counters that were lost, as by a crash, are 0, and so are all
// of a standby, whose primary is asked where it is known.
func (c *Connector) Rates(ctx context.Context) (map[string]int64, error) {
	rates := map[string]int64{}
	err := c.publishing().do(ctx, func(db *pgx.Conn) error {
		rows, err := db.Query(ctx, `
			SELECT n.nspname, r.relname, sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del)::bigint
			FROM pg_stat_all_tables s
			JOIN pg_class r ON r.oid = coalesce(pg_partition_root(s.relid), s.relid)
			JOIN pg_namespace n ON n.oid = r.relnamespace
			WHERE r.relkind IN ('r', 'p') AND r.relpersistence = 'p'
			GROUP BY 1, 2`)
		if err != nil {
			return err
		}
		var schema, name string
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&schema, &name, &n}, func() error {
			rates[schema+"."+name] = n
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("measure how much tables change: %w", err)
	}
	return rates, nil
}

// Room is how many more replication slots the server can have, and how many more
// connections that read one.
func (c *Connector) Room(ctx context.Context) (slots, senders int, err error) {
	err = c.catalog.do(ctx, func(db *pgx.Conn) error {
		return db.QueryRow(ctx, `
			SELECT current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots),
				current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication)`).Scan(&slots, &senders)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("look for room for slots: %w", err)
	}
	return slots, senders, nil
}
