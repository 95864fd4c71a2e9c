package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// Publications are those of the pipeline that are there. Where only somebody else can drop them
// the error is a *[change.ByHandError].
func (c *Connector) Publications(ctx context.Context) (names []string, err error) {
	err = c.inCatalog(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT pubname FROM pg_publication WHERE pubname IN ($1, $2) ORDER BY 1", c.slot, c.slot+appendSuffix)
		if err != nil {
			return err
		}
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("look for the publications: %w", err)
	case len(names) > 0 && c.readOnly():
		return names, &change.ByHandError{Statement: c.unpublish()}
	}
	return names, nil
}

func (c *Connector) unpublish() string {
	return "DROP PUBLICATION IF EXISTS " + strings.Join([]string{quote(c.slot), quote(c.slot + appendSuffix)}, ", ")
}

// Unpublish drops the pipeline's publications; that there are none is no error.
func (c *Connector) Unpublish(ctx context.Context) error {
	err := c.publishing().do(ctx, func(db *pgx.Conn) error {
		_, err := db.Exec(ctx, c.unpublish())
		return err
	})
	if err != nil {
		return fmt.Errorf("drop the publications: %w", err)
	}
	return nil
}
