package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// A condition is SQL of somebody who may not be trusted with more than to say which rows he means.
// PostgreSQL itself says whether it is one expression: the extended protocol takes one statement
// only, and what leaves the parentheses of the one form below has no parenthesis to close in the
// other. Both are parsed and never run; what runs does so in a READ ONLY transaction, with the
// rights that copies have.
var conditionForms = []string{
	"SELECT CASE WHEN\n%s\nTHEN true END FROM %s",
	"SELECT true FROM %s WHERE (\n%s\n)",
}

// CheckWhere sees that a condition is one that the rows of a table can meet: an expression that is
// true or false, of the table's columns. If it is not, the error is a *[change.ConditionError].
func (c *Connector) CheckWhere(ctx context.Context, t *change.Table, where string) error {
	from := quote(t.Schema, t.Name)
	err := c.inCatalog(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, plainStrings); err != nil {
			return err
		}
		for i, form := range conditionForms {
			args := []any{where, from}
			if i == 1 {
				args = []any{from, where}
			}
			d, err := tx.Conn().PgConn().Prepare(ctx, "", fmt.Sprintf(form, args...), nil)
			if err != nil {
				return err
			}
			if len(d.ParamOIDs) > 0 {
				return &change.ConditionError{Table: t.String(), Condition: where, Err: errors.New("it has parameters ($1), for which there are no values")}
			}
		}
		return nil
	})
	if isServerError(err) && !Retryable(err) {
		return &change.ConditionError{Table: t.String(), Condition: where, Err: c.copyError(ctx, t, err)}
	}
	if err != nil {
		return fmt.Errorf("look at the condition for %s: %w", t, err)
	}
	return nil
}

// plainStrings makes the sessions that look at a condition, and that use it, read it alike.
const plainStrings = "SET LOCAL standard_conforming_strings = on"

// CopyWhere emits the rows of a table that meet a condition, or all where it is empty, under the snapshot, in no
// order, over one connection. Begun is called before the first row, when it is certain what is read: with 0,
// where that is what the snapshot shows, exactly; else, with SnapshotURL, all that commits before the
// snapshot is shown, and nothing that commits at until or behind it. Errors are those of
// [Connector.CopyChunk]. [Connector.CheckWhere] must have taken the condition.
func (c *Connector) CopyWhere(ctx context.Context, t *change.Table, where string, begun func(until change.LSN), emit func(*change.Batch) error) error {
	s := c.snap
	if s == nil {
		return errors.New("copy rows of " + t.String() + ": no snapshot is open")
	}
	var err error
	if c.opts.SnapshotURL == "" {
		err = c.under(ctx, s, func(w *wire) error {
			begun(0)
			return c.copyWhere(ctx, w, s, t, where, emit)
		})
	} else if err = s.letGo(ctx); err == nil {
		_, err = c.onStandby(ctx, s, func(w *wire) error {
			until, err := c.standbyShows(ctx, w)
			if err != nil {
				return err
			}
			begun(until)
			return c.copyWhere(ctx, w, s, t, where, emit)
		})
	}
	if err != nil {
		return fmt.Errorf("copy rows of %s: %w", t, c.copyError(ctx, t, c.altered(ctx, t, err)))
	}
	return nil
}

// standbyShows is up to where a transaction that has begun on a standby may show the log, which is
// still the one that is read.
func (c *Connector) standbyShows(ctx context.Context, w *wire) (change.LSN, error) {
	at, err := c.standbyAt(ctx, w) // its first query makes what it shows
	if err == nil {
		at, err = c.standbyAt(ctx, w)
	}
	if err == nil {
		err = c.sameLog(ctx, w)
	}
	return behindNext(at), err
}

func (c *Connector) copyWhere(ctx context.Context, w *wire, s *snapshot, t *change.Table, where string, emit func(*change.Batch) error) error {
	now, err := c.look(ctx, t.ID)
	if err == nil && now == nil {
		err = &change.AlteredError{Table: t.String(), Err: errors.New("it is gone")}
	}
	if err != nil {
		return err
	}
	types, err := copyTypes(t, now)
	if err != nil {
		return &change.AlteredError{Table: t.String(), Err: err}
	}
	if err := shownAsDescribed(ctx, w, t); err != nil {
		return err
	}
	if err := statement(ctx, w, plainStrings); err != nil {
		return err
	}
	from := "ONLY " + quote(t.Schema, t.Name)
	if now.partitioned {
		from = quote(t.Schema, t.Name)
	}
	cp := &copier{wire: w, rows: c.newRows(t, types), types: types, at: s.at, limit: c.opts.ChunkBytes, emit: emit, pace: c.pace.of(ctx)}
	if where != "" {
		where = " WHERE (\n" + where + "\n)"
	}
	return cp.part(ctx, copyPart{from: filtered(t, from, where), table: t.ID})
}
