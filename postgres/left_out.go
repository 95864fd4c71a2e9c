package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// Who makes the pipeline's publications beforehand, and owns them, may leave out columns and
// rows: what is published lands, and nothing else. Ours have all of a table.

// describePublished leaves out what such a publication leaves out.
func (c *Connector) describePublished(ctx context.Context, tx pgx.Tx, ids []uint32, byID map[uint32]*catalogTable) error {
	rows, err := tx.Query(ctx, `
		SELECT r.prrelid, r.prattrs::int2[], coalesce(pg_get_expr(r.prqual, r.prrelid), ''), pg_get_userbyid(p.pubowner)
		FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
		WHERE p.pubname IN ($1, $2) AND p.pubowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user) AND r.prrelid = ANY ($3::oid[]) AND (r.prattrs IS NOT NULL OR r.prqual IS NOT NULL)`,
		c.slot, c.slot+appendSuffix, ids)
	if err != nil {
		return err
	}
	var id uint32
	var columns []int16
	var filter, owner string
	_, err = pgx.ForEachRow(rows, []any{&id, &columns, &filter, &owner}, func() error {
		t := byID[id]
		t.Filter, t.publisher = filter, owner
		if columns != nil {
			t.only(columns)
		}
		columns = nil
		return nil
	})
	return err
}

// only leaves out all columns but those with some numbers.
func (t *catalogTable) only(numbers []int16) {
	all, types, missing := t.Columns, t.types, t.missing
	t.Columns, t.types, t.missing = nil, nil, nil
	for i, col := range all {
		if !slices.Contains(numbers, int16(col.ID)) {
			t.Left = append(t.Left, col)
			continue
		}
		t.Columns, t.types, t.missing = append(t.Columns, col), append(t.types, types[i]), append(t.missing, missing[i])
	}
}

// filtered is the FROM clause of a relation, with a WHERE clause or none, that has only the
// rows which are published.
func filtered(t *change.Table, from, where string) string {
	condition, has := strings.CutPrefix(where, " WHERE ")
	switch {
	case t.Filter == "":
		return from + where
	case !has:
		return from + " WHERE (" + t.Filter + ")"
	}
	return from + " WHERE (" + condition + ") AND (" + t.Filter + ")"
}

// columnList is the names of columns, for people.
func columnList(columns []change.Column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}
