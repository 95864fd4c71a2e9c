package postgres

import (
	"context"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// firstUserType is the first number of an object that is not PostgreSQL's own, whose
// types nobody alters.
const firstUserType = 16384

// loadDefinitions fetches what the types ids are made of, through arrays, domains,
// ranges and composite types. ALTER TYPE writes no row and no change.
func loadDefinitions(ctx context.Context, tx pgx.Tx, ids []uint32) (map[uint32]change.Definition, error) {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id uint32) bool { return id < firstUserType })
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `
		WITH RECURSIVE need(root, oid) AS (
			SELECT DISTINCT o, o FROM unnest($1::oid[]) o
			UNION
			SELECT need.root, v.n FROM need JOIN pg_type t USING (oid), LATERAL (
				SELECT t.typbasetype UNION ALL SELECT e.oid FROM pg_type e WHERE e.typarray = t.oid
				UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
				UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
			) v(n) WHERE v.n >= $2
		)
		SELECT n.root, true, e.oid, e.enumlabel::text FROM need n JOIN pg_enum e ON e.enumtypid = n.oid
		UNION ALL
		SELECT n.root, false, n.oid, coalesce((SELECT string_agg(format('%I %s %s', a.attname, a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
			FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), '')
		FROM need n JOIN pg_type t USING (oid) WHERE t.typtype = 'c'`, ids, firstUserType)
	if err != nil {
		return nil, err
	}
	out := map[uint32]change.Definition{}
	var root, id uint32
	var label bool
	var value string
	_, err = pgx.ForEachRow(rows, []any{&root, &label, &id, &value}, func() error {
		if out[root] == nil {
			out[root] = change.Definition{}
		}
		part := change.TypePart(strconv.FormatUint(uint64(id), 10))
		if label {
			part = change.LabelPart(strconv.FormatUint(uint64(id), 10))
		}
		out[root][part] = value
		return nil
	})
	return out, err
}
