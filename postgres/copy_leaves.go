package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lakefeed/change"
)

var errOtherLeaves = errors.New("it has other partitions now")

// sameLeaves reports whether two descriptions of a table have the same partitions.
func sameLeaves(a, b *change.Table) bool {
	return slices.EqualFunc(a.Leaves, b.Leaves, func(x, y change.Leaf) bool { return x.ID == y.ID && x.Link == y.Link })
}

// dividedAsDescribed sees that a connection is shown the partitions of the table that t says.
func dividedAsDescribed(ctx context.Context, w *wire, t *change.Table) error {
	if t.Leaves == nil {
		return nil
	}
	want := make([]string, len(t.Leaves))
	for i, l := range t.Leaves {
		want[i] = fmt.Sprint(l.ID, " ", l.Storage, " ", l.Link)
	}
	stop := w.watch(ctx)
	have, err := w.value(fmt.Sprintf(`WITH RECURSIVE below(oid, link) AS (
			SELECT %d::oid, '' UNION ALL
			SELECT i.inhrelid, concat_ws(' ', nullif(b.link, ''), i.xmin) FROM below b JOIN pg_inherits i ON i.inhparent = b.oid AND NOT i.inhdetachpending
		)
		SELECT coalesce(string_agg(concat_ws(' ', oid, relfilenode, link), ',' ORDER BY oid), '') FROM below JOIN pg_class USING (oid) WHERE relkind = 'r' AND relpersistence = 'p'`, t.ID))
	stop()
	if err != nil {
		return interrupted(ctx, fmt.Errorf("look at the partitions that the snapshot has: %w", err))
	}
	if have != strings.Join(want, ",") {
		return &change.AlteredError{Table: t.String(), Err: errors.New("its partitions are others in the snapshot")}
	}
	return nil
}
