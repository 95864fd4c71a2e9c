package parity

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ExtraColumns are the columns that Lakefeed adds to a table; [Diff] can leave them out.
var ExtraColumns = []string{
	"_change_operation_type", "_upstream_event_processed_ts_ms", "_event_origin_ts_ms", "_event_tx_id",
	"_event_lsn", "_event_xmin", "db_shard_source_partition", "_lakefeed_key",
}

// Casts say, by column, what PostgreSQL shall print instead of what [Postgres]
// chooses by type: an SQL expression over the table's columns.
type Casts map[string]string

// Postgres returns the rows of a table as PostgreSQL itself prints them, brought by
// SQL casts into the canonical form that engines answer in: no code of Lakefeed has
// a part in it. The table's name is an SQL one, with schema and quotes where needed.
//
// Unbounded numeric has 18 decimals, as in decimal(38,18); arrays and composites are
// JSON text; what has no type of its own in a lake is its own text.
func Postgres(ctx context.Context, url, table string, casts Casts) ([]string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }() // nothing is lost
	const settings = `SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 3;
		SET bytea_output = 'hex'; SET row_security = off`
	if _, err := conn.Exec(ctx, settings); err != nil {
		return nil, err
	}
	columns, err := canonicalColumns(ctx, conn, table, casts)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", table, err)
	}
	query := "SELECT row_to_json(x)::text FROM (SELECT " + strings.Join(columns, ", ") + " FROM " + table + ") x"
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	return out, nil
}

// canonicalColumns returns an SQL expression with a name for each column of a table.
func canonicalColumns(ctx context.Context, conn *pgx.Conn, table string, casts Casts) ([]string, error) {
	// A domain counts as what it stands for, with its own type modifier.
	rows, err := conn.Query(ctx, `
		SELECT a.attname, coalesce(b.typname, t.typname), CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
		       coalesce(b.typtype, t.typtype) = 'c' OR coalesce(b.typcategory, t.typcategory) = 'A'
		FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
		WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, table)
	if err != nil {
		return nil, err
	}
	var out []string
	var name, typ string
	var modifier int
	var nested bool
	_, err = pgx.ForEachRow(rows, []any{&name, &typ, &modifier, &nested}, func() error {
		column := pgx.Identifier{name}.Sanitize()
		expr, ok := casts[name]
		if !ok {
			expr = canonical(column, typ, modifier, nested)
		}
		out = append(out, expr+" AS "+column)
		return nil
	})
	return out, err
}

// canonical is the SQL expression that prints a column in the canonical form.
func canonical(column, typ string, modifier int, nested bool) string {
	switch {
	case nested:
		return "to_json(" + column + ")::text"
	case typ == "numeric" && modifier < 0:
		return "(" + column + "::numeric(38,18))::text"
	}
	switch typ {
	case "int2", "int4", "int8", "bool":
		return column
	case "float4", "float8":
		f := column + "::float8"
		return "CASE " + f + " WHEN 'NaN' THEN to_json('nan'::text) WHEN 'Infinity' THEN to_json('inf'::text) " +
			"WHEN '-Infinity' THEN to_json('-inf'::text) ELSE to_json(" + f + ") END"
	case "timestamp", "timestamptz": // in the session's zone, which is UTC
		return "to_char(" + column + `, 'YYYY-MM-DD"T"HH24:MI:SS.US')`
	case "date":
		return "to_char(" + column + ", 'YYYY-MM-DD')"
	case "bytea":
		return "translate(encode(" + column + ", 'base64'), E'\\n', '')"
	}
	// The type's own output; a cast to text would strip the padding of char(n).
	return "CASE WHEN " + column + " IS NOT NULL THEN format('%s', " + column + ") END"
}
