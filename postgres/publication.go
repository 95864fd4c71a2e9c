package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// publication is one of the pipeline's two. PostgreSQL refuses an UPDATE or
// DELETE of a table that is published with updates and has no replica identity;
// so the tables without a key have a publication that does not publish them.
// Tables are published by name: what FOR ALL TABLES, schemas, column lists and row
// filters add can make a statement of the application fail.
type publication struct {
	name    string
	publish string
	tables  map[uint32]*change.Table // what it should hold
}

// Prepare makes the publications hold exactly these tables. It is idempotent, and
// moves a table whose key came or went. It must run before the slot is made.
func (c *Connector) Prepare(ctx context.Context, tables []*change.Table) error {
	pubs := []*publication{
		{name: c.slot, publish: "insert, update, delete, truncate", tables: map[uint32]*change.Table{}},
		{name: c.slot + appendSuffix, publish: "insert, truncate", tables: map[uint32]*change.Table{}},
	}
	for _, t := range tables {
		if t.KeyKind == change.NoKey {
			pubs[1].tables[t.ID] = t
		} else {
			pubs[0].tables[t.ID] = t
		}
	}
	err := c.catalog.do(ctx, func(db *pgx.Conn) error {
		return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			// A lock that someone else holds long must not make our other queries wait.
			if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '10s'"); err != nil {
				return err
			}
			var add []string
			for _, p := range pubs {
				sql, err := p.mend(ctx, tx)
				if err != nil {
					return fmt.Errorf("publication %s: %w", p.name, err)
				}
				if sql != "" {
					add = append(add, sql)
				}
			}
			// After both have let go: a table is never in the wrong one.
			for _, sql := range add {
				c.log.Info("publish tables", "sql", sql)
				if _, err := tx.Exec(ctx, sql); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("prepare publications: %w", err)
	}
	return nil
}

// mend creates or corrects the publication and drops from it what does not belong
// there. It returns the statement that adds what is missing.
func (p *publication) mend(ctx context.Context, tx pgx.Tx) (add string, err error) {
	var oid uint32
	var all, root, same bool
	err = tx.QueryRow(ctx, `
		SELECT oid, puballtables, pubviaroot, (pubinsert, pubtruncate, pubupdate, pubdelete) = (true, true, $2::bool, $2::bool)
		FROM pg_publication WHERE pubname = $1`, p.name, strings.Contains(p.publish, "update")).Scan(&oid, &all, &root, &same)
	options := fmt.Sprintf(" (publish = %s, publish_via_partition_root = true)", literal(p.publish))
	switch {
	case err == pgx.ErrNoRows: //nolint:errorlint // Scan returns it as it is
		if _, err := tx.Exec(ctx, "CREATE PUBLICATION "+quote(p.name)+" WITH"+options); err != nil {
			return "", err
		}
	case err != nil:
		return "", err
	case all:
		return "", fmt.Errorf("it is FOR ALL TABLES, which can make the application's statements fail: DROP PUBLICATION %s", quote(p.name))
	case !root || !same:
		if _, err := tx.Exec(ctx, "ALTER PUBLICATION "+quote(p.name)+" SET"+options); err != nil {
			return "", err
		}
	}
	return p.difference(ctx, tx, oid)
}

// difference drops what is too much and names what is missing.
func (p *publication) difference(ctx context.Context, tx pgx.Tx, oid uint32) (add string, err error) {
	rows, err := tx.Query(ctx, `
		SELECT r.prrelid, n.nspname, c.relname, c.relkind = 'p', r.prqual IS NOT NULL OR r.prattrs IS NOT NULL
		FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE r.prpubid = $1`, oid)
	if err != nil {
		return "", err
	}
	there := map[uint32]bool{}
	var drop []string
	var id uint32
	var schema, name string
	var partitioned, filtered bool
	_, err = pgx.ForEachRow(rows, []any{&id, &schema, &name, &partitioned, &filtered}, func() error {
		if p.tables[id] == nil || filtered {
			drop = append(drop, "TABLE "+only(schema, name, partitioned))
		} else {
			there[id] = true
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	rows, err = tx.Query(ctx, `SELECT nspname FROM pg_publication_namespace JOIN pg_namespace n ON n.oid = pnnspid WHERE pnpubid = $1`, oid)
	if err != nil {
		return "", err
	}
	schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", err
	}
	for _, s := range schemas {
		drop = append(drop, "TABLES IN SCHEMA "+quote(s))
	}
	for _, d := range drop {
		if _, err := tx.Exec(ctx, "ALTER PUBLICATION "+quote(p.name)+" DROP "+d); err != nil {
			return "", err
		}
	}
	return p.adding(ctx, tx, there)
}

// adding is the statement that adds the tables that are not there.
func (p *publication) adding(ctx context.Context, tx pgx.Tx, there map[uint32]bool) (string, error) {
	var missing []uint32
	for id := range p.tables {
		if !there[id] {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return "", nil
	}
	slices.Sort(missing)
	// By their names of now: a table may have been renamed since it was looked at.
	rows, err := tx.Query(ctx, `SELECT n.nspname, c.relname, c.relkind = 'p' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = ANY ($1::oid[]) ORDER BY 1, 2`, missing)
	if err != nil {
		return "", err
	}
	var names []string
	var schema, name string
	var partitioned bool
	_, err = pgx.ForEachRow(rows, []any{&schema, &name, &partitioned}, func() error {
		names = append(names, only(schema, name, partitioned))
		return nil
	})
	if err != nil || len(names) == 0 {
		return "", err
	}
	return "ALTER PUBLICATION " + quote(p.name) + " ADD TABLE " + strings.Join(names, ", "), nil
}

// only is the table without the tables that inherit from it, which are tables of
// their own; the partitions of a partitioned table belong to it.
func only(schema, name string, partitioned bool) string {
	if partitioned {
		return quote(schema, name)
	}
	return "ONLY " + quote(schema, name)
}
