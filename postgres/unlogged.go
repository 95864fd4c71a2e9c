package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// sayUnlogged warns of tables that would be taken, and of partitions of those that are, of which
// nothing is in the log since they are unlogged: once, and again when there are others.
func (c *Connector) sayUnlogged(ctx context.Context, tx pgx.Tx, taken []*change.Table) error {
	rows, err := tx.Query(ctx, `
		SELECT n.nspname, c.relname, CASE WHEN c.relispartition THEN array(SELECT relid::oid FROM pg_partition_ancestors(c.oid)) ELSE '{}' END
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'u' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
		ORDER BY 1, 2`)
	if err != nil {
		return fmt.Errorf("unlogged tables: %w", err)
	}
	var schema, name string
	var ancestors []uint32
	var names []string
	_, err = pgx.ForEachRow(rows, []any{&schema, &name, &ancestors}, func() error {
		within := slices.ContainsFunc(taken, func(t *change.Table) bool { return slices.Contains(ancestors, t.ID) })
		if within || c.opts.Match(schema, name) && c.takes(schema, name) {
			names = append(names, schema+"."+name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("unlogged tables: %w", err)
	}
	said := strings.Join(names, ", ")
	if had := c.unlogged.Swap(&said); said != "" && (had == nil || *had != said) {
		c.log.Warn("tables are unlogged, and left out: nothing of them is in the log", "tables", said)
	}
	return nil
}
