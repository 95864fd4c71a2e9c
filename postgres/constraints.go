package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// describeConstraints adds what people should hear of when it changes, and what the lake
// has no use for: checks, unique and foreign keys, exclusions.
func describeConstraints(ctx context.Context, tx pgx.Tx, ids []uint32, byID map[uint32]*catalogTable) error {
	for _, t := range byID {
		t.Constraints = map[string]string{}
	}
	rows, err := tx.Query(ctx, `
		SELECT c.conrelid, c.conname, CASE c.contype WHEN 'c' THEN 'check' WHEN 'f' THEN 'foreign key' WHEN 'u' THEN 'unique' ELSE 'exclusion' END
			|| ' (' || coalesce((SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.n)
				FROM unnest(c.conkey) WITH ORDINALITY k(attnum, n) JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum), '') || ')'
			|| coalesce(' to ' || (SELECT format('%I.%I', n.nspname, f.relname) FROM pg_class f JOIN pg_namespace n ON n.oid = f.relnamespace WHERE f.oid = c.confrelid), '')
			|| coalesce(', expression ' || left(md5(c.conbin::text), 8), '') || CASE WHEN c.convalidated THEN '' ELSE ', not validated' END
		FROM pg_constraint c WHERE c.conrelid = ANY ($1::oid[]) AND c.contype IN ('c', 'f', 'u', 'x')`, ids)
	if err != nil {
		return fmt.Errorf("constraints: %w", err)
	}
	var id uint32
	var name, definition string
	_, err = pgx.ForEachRow(rows, []any{&id, &name, &definition}, func() error {
		byID[id].Constraints[name] = definition
		return nil
	})
	if err != nil {
		return fmt.Errorf("constraints: %w", err)
	}
	return nil
}
