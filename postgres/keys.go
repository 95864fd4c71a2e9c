package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
	"lakefeed/postgres/pgoutput"
)

// keyInterval is how often the keys of the published tables are looked at, and so
// how long at most an UPDATE fails of a table whose key was dropped.
const keyInterval = 3 * time.Second

// keyPrefix is of the message that marks in the log where a table was moved; its
// content is the table's number.
const keyPrefix = "lakefeed.keyless"

// errKeyLost stops a table at that mark.
var errKeyLost = errors.New("its primary key or replica identity was dropped or changed: from then on its UPDATEs and DELETEs are not published")

// watchKeys looks after the tables that are published with updates: PostgreSQL
// refuses to update one that has lost its replica identity, until it is moved to the
// publication for tables without a key.
func (c *Connector) watchKeys(ctx context.Context) {
	tick := time.NewTicker(keyInterval)
	defer tick.Stop()
	told := "" // the last error: it may come again every time
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := c.moveKeyless(ctx)
		switch {
		case err == nil:
			told = ""
		case ctx.Err() == nil && err.Error() != told && !Retryable(err):
			told = err.Error()
			c.log.Warn("look at the keys of the tables", "slot", c.slot, "error", err)
		}
	}
}

// keyless finds the tables of a publication that PostgreSQL refuses to update. Of a
// partitioned table, one such partition is enough.
const keyless = `
	SELECT DISTINCT c.oid, n.nspname, c.relname, c.relkind = 'p'
	FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
		JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN LATERAL pg_partition_tree(c.oid) t ON c.relkind = 'p'
		JOIN pg_class l ON l.oid = coalesce(t.relid, c.oid) AND l.relkind = 'r'
	WHERE p.pubname = $1 AND CASE l.relreplident WHEN 'f' THEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = l.oid AND a.attgenerated = 'v')
		ELSE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = l.oid AND i.indimmediate AND i.indisvalid
			AND (l.relreplident = 'd' AND i.indisprimary OR l.relreplident = 'i' AND i.indisreplident)) END`

// moveKeyless moves such tables to the other publication, with a mark in the log.
func (c *Connector) moveKeyless(ctx context.Context) error {
	return c.writing().do(ctx, func(db *pgx.Conn) error {
		rows, err := db.Query(ctx, keyless, c.slot)
		if err != nil {
			return err
		}
		type moved struct {
			id   uint32
			name string
		}
		var tables []moved
		var id uint32
		var schema, name string
		var partitioned bool
		_, err = pgx.ForEachRow(rows, []any{&id, &schema, &name, &partitioned}, func() error {
			tables = append(tables, moved{id, only(schema, name, partitioned)})
			return nil
		})
		for _, t := range tables {
			if err == nil {
				err = c.move(ctx, db, t.id, t.name)
			}
		}
		return err
	})
}

func (c *Connector) move(ctx context.Context, db *pgx.Conn, id uint32, name string) error {
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		for _, sql := range []string{
			"SET LOCAL lock_timeout = '1s'", // the next look tries again
			"ALTER PUBLICATION " + quote(c.slot) + " DROP TABLE " + name,
			fmt.Sprintf("SELECT pg_logical_emit_message(true, %s, '%d')", literal(keyPrefix), id),
		} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		// Its inserts may be of use; without the right to publish them there are none.
		err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "ALTER PUBLICATION "+quote(c.slot+appendSuffix)+" ADD TABLE "+name)
			return err
		})
		if err != nil && !isServerError(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s lost its key, and the application's UPDATEs of it fail until ALTER PUBLICATION %s DROP TABLE %s: %w", name, quote(c.slot), name, err)
	}
	c.log.Warn("a table lost its key and is published without updates", "table", name, "slot", c.slot)
	return nil
}

// keyLost stops the table that a mark in the log is about.
func (c *Connector) keyLost(s *stream, m *pgoutput.Message) {
	id, err := strconv.ParseUint(string(m.Content), 10, 32)
	if err != nil || id == messagesID {
		return // not one of ours
	}
	t := c.tables.get(uint32(id))
	switch r := s.relations[uint32(id)]; {
	case r == nil:
		s.relations[uint32(id)] = new(relation) // what comes of it from now on is dropped
	case r.rows != nil:
		t = r.rows.table
	}
	if t == nil || s.failed[uint32(id)] || !c.takes(t.Schema, t.Name) {
		return
	}
	s.lose(uint32(id), t, errKeyLost)
}

// lose stops a table for which only a new copy helps.
func (s *stream) lose(id uint32, t *change.Table, err error) {
	s.fail(id, t, err)
	if n := len(s.chunk.Failures); n > 0 && s.chunk.Failures[n-1].Table == t {
		s.chunk.Failures[n-1].Lost = true
	}
}
