package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// Published is how the pipeline's publications have their tables now, by table number;
// none where there are no publications yet.
func (c *Connector) Published(ctx context.Context) (out map[uint32]change.Published, err error) {
	err = c.inCatalog(ctx, func(tx pgx.Tx) error {
		out, err = c.published(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at the publications: %w", err)
	}
	return out, nil
}

func (c *Connector) published(ctx context.Context, tx pgx.Tx) (map[uint32]change.Published, error) {
	rows, err := tx.Query(ctx, `
		SELECT r.prrelid, p.xmin::text, p.pubowner::text,
			p.oid || ' ' || p.pubinsert || p.pubupdate || p.pubdelete || p.pubtruncate || p.pubviaroot,
			concat_ws(' ', r.oid, r.xmin, r.prattrs, md5(r.prqual::text))
		FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
		WHERE p.pubname IN ($1, $2) ORDER BY p.pubname DESC`, c.slot, c.slot+appendSuffix)
	if err != nil {
		return nil, err
	}
	out := map[uint32]change.Published{}
	var id uint32
	var p change.Published
	_, err = pgx.ForEachRow(rows, []any{&id, &p.Version, &p.Owner, &p.Publication, &p.Table}, func() error {
		out[id] = p // what the one with updates says, where both have it
		return nil
	})
	return out, err
}
