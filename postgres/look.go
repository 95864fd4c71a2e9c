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
	err := c.inCatalog(ctx, func(tx pgx.Tx) error {
		all, err := listTables(ctx, tx, nil, false)
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
		out.At, err = c.lookEnd(ctx, tx) // read behind what the transaction sees
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at the catalogs: %w", err)
	}
	return out, nil
}
