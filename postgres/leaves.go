package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/change"
)

// What a partition brings or takes along is in no log under its root's name: the rows that it
// had when it was attached, those that it has when it is detached or dropped, and those that
// a TRUNCATE of it alone takes away. So the catalogs and the partitions themselves are asked.

// describeLeaves adds the partitions of partitioned tables, and the values of rows older than
// a column, which the root's own catalog entry does not have. ATTACH PARTITION writes each
// column's entry anew: a partition that has one as old as itself was made as one. Of one that is
// unlogged nothing is in the log, and it is left out; one that is in another file than at first may have been.
func describeLeaves(ctx context.Context, tx pgx.Tx, tables []*catalogTable) error {
	roots, ids := map[uint32]*catalogTable{}, []uint32(nil)
	for _, t := range tables {
		if t.partitioned {
			roots[t.ID], ids, t.Leaves = t, append(ids, t.ID), []change.Leaf{}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `
		WITH RECURSIVE below(root, oid, link, whole) AS (
			SELECT o, o, '', true FROM unnest($1::oid[]) o
			UNION ALL
			SELECT b.root, i.inhrelid, concat_ws(' ', nullif(b.link, ''), i.xmin), b.whole AND EXISTS (
				SELECT FROM pg_attribute a JOIN pg_attribute s ON s.attrelid = a.attrelid AND s.attnum = -6
				WHERE a.attrelid = i.inhrelid AND a.attnum > 0 AND a.attinhcount > 0 AND a.xmin = s.xmin AND a.cmin = s.cmin)
			FROM below b JOIN pg_inherits i ON i.inhparent = b.oid AND NOT i.inhdetachpending
		)
		SELECT b.root, c.oid, concat(n.nspname, '.', c.relname), c.relfilenode::text, b.link, b.whole AND c.relfilenode = c.oid, c.xmin::text::bigint
		FROM below b JOIN pg_class c ON c.oid = b.oid AND c.relkind = 'r' AND c.relpersistence = 'p' JOIN pg_namespace n ON n.oid = c.relnamespace
		ORDER BY b.root, c.oid`, ids)
	if err != nil {
		return err
	}
	var root uint32
	var leaf change.Leaf
	_, err = pgx.ForEachRow(rows, []any{&root, &leaf.ID, &leaf.Name, &leaf.Storage, &leaf.Link, &leaf.Whole, &leaf.Xid}, func() error {
		roots[root].Leaves = append(roots[root].Leaves, leaf)
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range roots {
		if err := t.missingOfLeaves(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// missingOfLeaves takes the values of rows older than a column from the partitions, those
// first that were not attached: all of them were given the same.
func (t *catalogTable) missingOfLeaves(ctx context.Context, tx pgx.Tx) error {
	var whole, others []uint32
	for _, l := range t.Leaves {
		if l.Whole {
			whole = append(whole, l.ID)
		} else {
			others = append(others, l.ID)
		}
	}
	rows, err := tx.Query(ctx, `
		SELECT DISTINCT ON (attname) attname, attmissingval::text FROM pg_attribute
		WHERE attrelid = ANY ($1::oid[] || $2::oid[]) AND atthasmissing AND attnum > 0 AND NOT attisdropped
		ORDER BY attname, attrelid = ANY ($1) DESC, 2`, whole, others)
	if err != nil {
		return err
	}
	var name, missing string
	_, err = pgx.ForEachRow(rows, []any{&name, &missing}, func() error {
		if i := columnIndex(t.Table, name); i >= 0 && t.missing[i] == nil {
			value := missing
			t.missing[i] = &value
		}
		return nil
	})
	return err
}

// Waits of questions about partitions, which ask these themselves.
const (
	leafLock = time.Second      // for whoever has locked one
	leafScan = 30 * time.Second // for the answer
)

// HasRows reports whether a partition has a row, and with before one of a transaction that had
// ended at a look with that horizon: the partition has not been emptied since. Where that is
// not certain, there is a row, and with before there is none. A partition that is locked or gone is an error.
func (c *Connector) HasRows(ctx context.Context, leaf change.Leaf, before uint64) (has bool, err error) {
	err = c.aside(ctx, func(tx pgx.Tx) error {
		var schema, name string
		err := tx.QueryRow(ctx, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1`, leaf.ID).Scan(&schema, &name)
		if err != nil {
			return err
		}
		sql, args := "SELECT EXISTS (SELECT FROM ONLY "+quote(schema, name)+")", []any(nil)
		if before != 0 { // numbers of transactions come round after 2^32 of them
			sql = "SELECT EXISTS (SELECT FROM ONLY " + quote(schema, name) + ` WHERE age(xmin) > age(($1::bigint % 4294967296)::text::xid))
				AND pg_snapshot_xmax(pg_current_snapshot())::text::numeric - $1 < 2147483648`
			args = append(args, int64(before))
		}
		return tx.QueryRow(ctx, sql, args...).Scan(&has)
	})
	const canceled, forbidden = "57014", "42501"
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && ctx.Err() == nil && (pg.Code == canceled || pg.Code == forbidden) {
		return before == 0, nil
	}
	if err != nil {
		return false, fmt.Errorf("look whether partition %s has rows: %w", leaf.Name, err)
	}
	return has, nil
}

// Bounds are the conditions that the rows of partitions meet, by the partitions' numbers, as
// far as they can be had: not of a default partition, whose condition changes with its
// siblings, nor of expressions, nor of one that is locked.
func (c *Connector) Bounds(ctx context.Context, leaves []uint32) (map[uint32]change.Bound, error) {
	out := map[uint32]change.Bound{}
	err := c.aside(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT c.oid, pg_get_partition_constraintdef(c.oid), k.columns
			FROM pg_class c, LATERAL (
				SELECT array_agg(DISTINCT t.attname::text) AS columns, bool_or(d.relid IS NOT NULL) AS odd, bool_or(0 = ANY (p.partattrs::int2[])) AS computed
				FROM pg_partition_ancestors(c.oid) a JOIN pg_partitioned_table p ON p.partrelid = a.relid
					LEFT JOIN pg_partition_ancestors(c.oid) d ON d.relid = p.partdefid
					LEFT JOIN pg_attribute t ON t.attrelid = p.partrelid AND t.attnum = ANY (p.partattrs::int2[]) AND t.attnum > 0
			) k
			WHERE c.oid = ANY ($1::oid[]) AND c.relispartition AND NOT k.odd AND NOT k.computed`, leaves)
		if err != nil {
			return err
		}
		var id uint32
		var b change.Bound
		_, err = pgx.ForEachRow(rows, []any{&id, &b.Condition, &b.Columns}, func() error {
			out[id] = change.Bound{Condition: b.Condition, Columns: slices.Clone(b.Columns)}
			return nil
		})
		return err
	})
	const notAvailable = "55P03"
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == notAvailable {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the bounds of partitions: %w", err)
	}
	return out, nil
}

// Within reports for each of some rows, given by the texts of the columns that a bound of
// the table is about, whether it meets the bound.
func (c *Connector) Within(ctx context.Context, t *change.Table, b change.Bound, rows [][]string) ([]bool, error) {
	in := make([]bool, len(rows))
	texts := make([]string, len(rows))
	for i, row := range rows {
		values := make(map[string]string, len(row))
		for k, v := range row {
			values[b.Columns[k]] = v
		}
		text, err := json.Marshal(values)
		if err != nil {
			return nil, fmt.Errorf("encode a key: %w", err)
		}
		texts[i] = string(text)
	}
	err := c.aside(ctx, func(tx pgx.Tx) error {
		// The condition is what this server printed under this search_path; as the table's own
		// row type the values have its columns' types and collations.
		found, err := tx.Query(ctx, `SELECT "lakefeed row" FROM unnest($1::json[]) WITH ORDINALITY u("lakefeed json", "lakefeed row"),
			LATERAL json_populate_record(NULL::`+quote(t.Schema, t.Name)+`, "lakefeed json") r WHERE `+b.Condition, texts)
		if err != nil {
			return err
		}
		var n int
		_, err = pgx.ForEachRow(found, []any{&n}, func() error { in[n-1] = true; return nil })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("see which rows belong to a partition of %s: %w", t, err)
	}
	return in, nil
}

// aside runs f in a short read-only transaction on a connection of its own: what it asks may
// take a while, and nobody is to wait for it.
func (c *Connector) aside(ctx context.Context, f func(pgx.Tx) error) error {
	s := session{opts: &c.opts, encoding: c.encoding, patience: c.catalog.patience, greet: c.catalog.greet}
	err := s.do(ctx, func(db *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, db, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = %d", leafLock.Milliseconds(), leafScan.Milliseconds()))
			if err != nil {
				return err
			}
			return f(tx)
		})
	})
	return errors.Join(err, s.close(context.WithoutCancel(ctx)))
}
