package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
	"lakefeed/postgres/pgoutput"
)

// The signal table is Debezium's: rows that somebody inserts into it ask for something. They come
// with the stream, each in its place among the changes. It is published without updates, so that it
// needs no key, and is no table of the pipeline unless it is among those that are taken.

// signalColumns are its columns, by name: more may be there.
var signalColumns = []string{"id", "type", "data"}

func (c *Connector) isSignalTable(schema, table string) bool {
	return c.opts.SignalTable != [2]string{} && c.opts.SignalTable == [2]string{schema, table}
}

// signalTable describes the signal table as far as it is needed to publish it; nil: there is none.
func (c *Connector) signalTable(ctx context.Context, tx pgx.Tx) (*change.Table, error) {
	if c.opts.SignalTable == [2]string{} {
		return nil, nil
	}
	t := &change.Table{Schema: c.opts.SignalTable[0], Name: c.opts.SignalTable[1]}
	err := tx.QueryRow(ctx, `SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'r' AND c.relpersistence = 'p'`, t.Schema, t.Name).Scan(&t.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		c.log.Warn("there is no signal table: no signals are read until the next start", "table", t.String())
		return nil, nil
	}
	return t, err
}

// publishSignals adds the signal table to what is to be published, where it is not yet.
func (c *Connector) publishSignals(ctx context.Context, tx pgx.Tx, pubs []*publication) error {
	t, err := c.signalTable(ctx, tx)
	if err == nil && t != nil && pubs[0].tables[t.ID] == nil && pubs[1].tables[t.ID] == nil {
		pubs[1].tables[t.ID] = t
	}
	return err
}

// withoutSignals takes the signal table from what could not be published: it stops no table.
func (c *Connector) withoutSignals(out *change.Prepared) {
	out.Failed = slices.DeleteFunc(out.Failed, func(f change.Failure) bool {
		signals := c.isSignalTable(f.Table.Schema, f.Table.Name) && !c.takes(f.Table.Schema, f.Table.Name)
		if signals {
			c.log.Warn("the signal table cannot be published: no signals are read", "table", f.Table.String(), "error", f.Err)
		}
		return signals
	})
}

// describeSignals gets ready to read signals, by what the stream says of their table.
func (c *Connector) describeSignals(ctx context.Context, s *stream, info *pgoutput.RelationInfo) error {
	r, err := c.describeRelation(ctx, *info)
	if err != nil {
		return fmt.Errorf("describe table %s.%s: %w", info.Namespace, info.Name, err)
	}
	if s.binary && !r.native() {
		return errNeedsText
	}
	s.signals, s.signalID = newRows(r.rows.table, r.types), info.ID
	return nil
}

// signal takes in a row of the signal table.
func (s *stream) signal(m *pgoutput.Message) {
	sig := change.Signal{At: s.tx.Position}
	if len(m.New) != len(s.signals.types) {
		sig.Err = errMalformed
	} else if err := s.signals.insert(change.Create, s.tx, m.New, nil); err != nil {
		sig.Err = err
		s.signals = newRows(s.signals.table, s.signals.types) // without half a row
	} else {
		sig.Err = readSignal(s.signals.flush(), &sig)
	}
	s.chunk.Signals = append(s.chunk.Signals, sig)
	s.notify = true
}

func readSignal(b *change.Batch, sig *change.Signal) error {
	for i, into := range []*string{&sig.ID, &sig.Type, &sig.Data} {
		c := columnIndex(b.Table, signalColumns[i])
		if c < 0 {
			return fmt.Errorf("the signal table %s has no column %s", b.Table, signalColumns[i])
		}
		if col := b.Rows.Column(c); !col.IsNull(0) {
			*into = col.ValueStr(0)
		}
	}
	return nil
}

// signalsCheck looks at the signal table.
func (k *checker) signalsCheck(ctx context.Context) error {
	if k.opts.SignalTable == [2]string{} {
		return nil
	}
	name := k.opts.SignalTable[0] + "." + k.opts.SignalTable[1]
	table := quote(k.opts.SignalTable[0], k.opts.SignalTable[1])
	t, err := k.signalTable(ctx, k.tx)
	if err != nil {
		return err
	}
	if t == nil {
		k.add(Error, name, fmt.Sprintf("CREATE TABLE %s (id varchar(42) PRIMARY KEY, type varchar(32) NOT NULL, data text)", table), "the signal table is not there (or is temporary, unlogged, partitioned or a view): no signals are read")
		return nil
	}
	var missing []string
	var owns, published bool
	err = k.tx.QueryRow(ctx, `SELECT (SELECT coalesce(array_agg(n), '{}') FROM unnest($2::text[]) n WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = n AND NOT attisdropped)),
			pg_has_role(c.relowner, 'USAGE'), EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = c.oid AND p.pubname = ANY ($3))
		FROM pg_class c WHERE oid = $1`, t.ID, signalColumns, []string{k.slot, k.slot + appendSuffix}).Scan(&missing, &owns, &published)
	if err != nil {
		return err
	}
	for _, column := range missing {
		k.add(Error, name, "ALTER TABLE "+table+" ADD COLUMN "+quote(column)+" text", "the signal table has no column %s", column)
	}
	if !owns && !published {
		k.add(Error, name, "ALTER TABLE "+table+" OWNER TO "+quote(k.user), "role %s may not publish the signal table: only its owner may", k.user)
	}
	return nil
}
