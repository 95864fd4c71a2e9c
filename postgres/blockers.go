package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// blockerInterval is how long a slot may take to be made before we say what it waits for.
const blockerInterval = 5 * time.Second

// tellBlockers logs, until stop is called, which transactions a new slot waits for:
// PostgreSQL makes one only when all that run at its beginning have ended, however
// long that takes, and says nothing.
func (c *Connector) tellBlockers(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(blockerInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if blockers, err := c.blockers(ctx); err == nil && len(blockers) > 0 {
				c.log.Warn("the slot waits for transactions that are open: end them, or wait", "transactions", strings.Join(blockers, "; "))
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

// blockers are the transactions that have written and not ended, the oldest first.
func (c *Connector) blockers(ctx context.Context) (out []string, err error) {
	err = c.writing().do(ctx, func(db *pgx.Conn) error {
		rows, err := db.Query(ctx, `
			SELECT 'process ' || pid || coalesce(' of ' || usename, '') || coalesce(', open for ' || date_trunc('second', now() - xact_start), '')
			FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() AND backend_type <> 'walsender'
			UNION ALL
			SELECT 'prepared transaction ' || quote_literal(gid) || ' of database ' || quote_ident(database) FROM pg_prepared_xacts
			LIMIT 10`)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for open transactions: %w", err)
	}
	return out, nil
}
