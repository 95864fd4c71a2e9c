package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
	owner   string                   // who made it, where that is somebody else; empty: we did, or there is none
	more    string                   // options that this version has besides
	tables  map[uint32]*change.Table // what it should hold
	byHand  *byHand                  // nil: statements are run
}

// Prepare makes the publications hold exactly these tables, but for those that it
// returns: they could not be published, or should have been and were not. followed
// tells the latter; nil is none. It is idempotent, and moves a table whose key came
// or went. It must run before the slot is made.
func (c *Connector) Prepare(ctx context.Context, tables []*change.Table, followed func(*change.Table) bool) (*change.Prepared, error) {
	pubs := c.publications(tables)
	var out *change.Prepared
	var hand *byHand
	err := c.publishing().do(ctx, func(db *pgx.Conn) error {
		return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			out, hand = &change.Prepared{}, nil
			if c.readOnly() {
				hand = new(byHand)
				pubs[0].byHand, pubs[1].byHand = hand, hand
			}
			for _, t := range tables {
				if t.Refused != "" {
					out.Failed = append(out.Failed, change.Failure{Table: t, Err: errors.New(t.Refused)})
				}
			}
			err := c.publishSignals(ctx, tx, pubs)
			if err == nil {
				err = c.publish(ctx, tx, pubs, followed, out)
			}
			if err == nil {
				out.Published, err = c.published(ctx, tx)
			}
			return err
		})
	})
	if err == nil && hand != nil {
		err = hand.refuse(out)
	}
	if err == nil && c.throughPrimary() {
		err = c.awaitPublished(ctx, out.Published)
	}
	if err != nil {
		return nil, fmt.Errorf("prepare publications: %w", err)
	}
	c.withoutSignals(out)
	return out, nil
}

// publications are the two that tables are divided between.
func (c *Connector) publications(tables []*change.Table) []*publication {
	pubs := []*publication{
		{name: c.slot, publish: "insert, update, delete, truncate", tables: map[uint32]*change.Table{}},
		{name: c.slot + appendSuffix, publish: "insert, truncate", tables: map[uint32]*change.Table{}},
	}
	if c.publishesGenerated() {
		pubs[0].more, pubs[1].more = ", publish_generated_columns = stored", ", publish_generated_columns = stored"
	}
	for _, t := range tables {
		switch {
		case t.LogOnly:
		case t.KeyKind == change.NoKey:
			pubs[1].tables[t.ID] = t
		default:
			pubs[0].tables[t.ID] = t
		}
	}
	return pubs
}

// publish makes the publications hold their tables.
func (c *Connector) publish(ctx context.Context, tx pgx.Tx, pubs []*publication, followed func(*change.Table) bool, out *change.Prepared) error {
	if err := waitForLocks(ctx, tx, 10*time.Second); err != nil {
		return err
	}
	published := map[uint32]bool{} // by either, in full
	var add [2][]*change.Table
	for i, p := range pubs {
		there, missing, err := p.mend(ctx, tx)
		if err != nil {
			return fmt.Errorf("publication %s: %w", p.name, err)
		}
		for _, id := range there {
			published[id] = true
		}
		add[i] = missing
	}
	// After both have let go: a table is never in the wrong one.
	for i, p := range pubs {
		var tables []*change.Table
		for _, t := range add[i] {
			if followed != nil && c.takes(t.Schema, t.Name) && followed(t) && !published[t.ID] {
				out.Missing = append(out.Missing, t)
			} else {
				tables = append(tables, t)
			}
		}
		if err := c.addTables(ctx, tx, p, tables, published, out); err != nil {
			return fmt.Errorf("publication %s: %w", p.name, err)
		}
	}
	return nil
}

// waitForLocks bounds for how long statements wait for a lock that someone else holds: our other queries
// must not wait behind them.
func waitForLocks(ctx context.Context, tx pgx.Tx, d time.Duration) error {
	_, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", d.Milliseconds()))
	return err
}

// addTables adds tables to a publication: together, or, where that is refused or one of them is locked, one
// by one. Those that were published, by another one that has let go of them, must not fail by a lock.
func (c *Connector) addTables(ctx context.Context, tx pgx.Tx, p *publication, tables []*change.Table, published map[uint32]bool, out *change.Prepared) error {
	add := func(tables []*change.Table) error {
		sql, err := p.adding(ctx, tx, tables)
		if err != nil || sql == "" {
			return err
		}
		if p.byHand != nil {
			p.byHand.add(tables, sql)
			return nil
		}
		return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { // a savepoint
			_, err := tx.Exec(ctx, sql)
			if err == nil {
				c.log.Info("publish tables", "sql", sql)
			}
			return err
		})
	}
	err := add(tables)
	if err == nil || Retryable(err) && !isLocked(err) || !isServerError(err) {
		return err
	}
	if err := waitForLocks(ctx, tx, time.Second); err != nil {
		return err
	}
	for _, t := range tables {
		if err := add([]*change.Table{t}); err != nil {
			if Retryable(err) && (!isLocked(err) || published[t.ID]) || !isServerError(err) {
				return err
			}
			out.Failed = append(out.Failed, change.Failure{Table: t, Err: fmt.Errorf("publish it: %w", ownerError(ctx, tx, t, err))})
		}
	}
	return waitForLocks(ctx, tx, 10*time.Second)
}

// mend creates or corrects the publication and drops from it what does not belong
// there. It returns the tables that it published in full until now, among them those
// that it let go of, and those that are to be added.
func (p *publication) mend(ctx context.Context, tx pgx.Tx) (there []uint32, missing []*change.Table, err error) {
	var oid uint32
	var all, root, same bool
	err = tx.QueryRow(ctx, `
		SELECT oid, puballtables, pubviaroot, (pubinsert, pubtruncate, pubupdate, pubdelete) = (true, true, $2::bool, $2::bool)
			AND coalesce(to_jsonb(p) ->> 'pubgencols', 's') = 's', CASE WHEN pubowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user) THEN pg_get_userbyid(pubowner) ELSE '' END
		FROM pg_publication p WHERE pubname = $1`, p.name, strings.Contains(p.publish, "update")).Scan(&oid, &all, &root, &same, &p.owner)
	options := fmt.Sprintf(" (publish = %s, publish_via_partition_root = true%s)", literal(p.publish), p.more)
	switch {
	case err == pgx.ErrNoRows: //nolint:errorlint // Scan returns it as it is
		if err := p.run(ctx, tx, "CREATE PUBLICATION "+quote(p.name)+" WITH"+options); err != nil {
			return nil, nil, createError(tx, err)
		}
	case err != nil:
		return nil, nil, err
	case all:
		return nil, nil, fmt.Errorf("it is FOR ALL TABLES, which can make the application's statements fail: DROP PUBLICATION %s", quote(p.name))
	case !root || !same:
		if err := p.run(ctx, tx, "ALTER PUBLICATION "+quote(p.name)+" SET"+options); err != nil {
			return nil, nil, err
		}
	}
	there, missing, err = p.difference(ctx, tx, oid)
	if !same {
		there = nil // some of their changes were not published
	}
	return there, missing, err
}

// difference drops what is too much, and names what was there and what is missing.
func (p *publication) difference(ctx context.Context, tx pgx.Tx, oid uint32) (there []uint32, missing []*change.Table, err error) {
	rows, err := tx.Query(ctx, `
		SELECT r.prrelid, n.nspname, c.relname, c.relkind = 'p', r.prqual IS NOT NULL OR r.prattrs IS NOT NULL
		FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE r.prpubid = $1`, oid)
	if err != nil {
		return nil, nil, err
	}
	stays := map[uint32]bool{}
	var drop []string
	var id uint32
	var schema, name string
	var partitioned, filtered bool
	_, err = pgx.ForEachRow(rows, []any{&id, &schema, &name, &partitioned, &filtered}, func() error {
		filtered = filtered && p.owner == "" // by its owner's will
		if stays[id] = p.tables[id] != nil && !filtered; !stays[id] {
			drop = append(drop, "TABLE "+only(schema, name, partitioned))
		}
		if !filtered {
			there = append(there, id)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	rows, err = tx.Query(ctx, `SELECT nspname FROM pg_publication_namespace JOIN pg_namespace n ON n.oid = pnnspid WHERE pnpubid = $1`, oid)
	if err != nil {
		return nil, nil, err
	}
	schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, nil, err
	}
	for _, s := range schemas {
		drop = append(drop, "TABLES IN SCHEMA "+quote(s))
	}
	for _, d := range drop {
		if err := p.run(ctx, tx, "ALTER PUBLICATION "+quote(p.name)+" DROP "+d); err != nil {
			return nil, nil, err
		}
	}
	for id, t := range p.tables {
		if !stays[id] {
			missing = append(missing, t)
		}
	}
	slices.SortFunc(missing, func(a, b *change.Table) int { return cmp.Compare(a.ID, b.ID) })
	return there, missing, nil
}

// adding is the statement that adds tables, "" where they are gone.
func (p *publication) adding(ctx context.Context, tx pgx.Tx, tables []*change.Table) (string, error) {
	if len(tables) == 0 {
		return "", nil
	}
	ids := make([]uint32, len(tables))
	for i, t := range tables {
		ids[i] = t.ID
	}
	// By their names of now: a table may have been renamed since it was looked at.
	rows, err := tx.Query(ctx, `SELECT n.nspname, c.relname, c.relkind = 'p' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = ANY ($1::oid[]) ORDER BY 1, 2`, ids)
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
