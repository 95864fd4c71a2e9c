package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lakefeed/change"
)

// keysAtOnce is how many rows one statement of CopyKeys asks for.
const keysAtOnce = 500

// CopyKeys emits those rows that a table has under the snapshot whose keys are among
// some, each given by the texts of its columns in key order, as a [change.Reject] has them. A table that
// was altered since it was described is a *[change.AlteredError].
func (c *Connector) CopyKeys(ctx context.Context, t *change.Table, keys [][]string, emit func(*change.Batch) error) error {
	if c.snap == nil {
		return errors.New("copy rows of " + t.String() + ": no snapshot is open")
	}
	if err := c.copyKeys(ctx, t, keys, emit); err != nil {
		return fmt.Errorf("copy rows of %s: %w", t, c.copyError(ctx, t, err))
	}
	return nil
}

func (c *Connector) copyKeys(ctx context.Context, t *change.Table, keys [][]string, emit func(*change.Batch) error) error {
	now, err := c.look(ctx, t.ID)
	if err != nil {
		return err
	}
	if now == nil {
		return &change.AlteredError{Table: t.String(), Err: errors.New("it is gone")}
	}
	types, err := copyTypes(t, now)
	if err != nil {
		return &change.AlteredError{Table: t.String(), Err: err}
	}
	from := "ONLY " + quote(t.Schema, t.Name)
	if now.partitioned {
		from = quote(t.Schema, t.Name)
	}
	return c.under(ctx, c.snap, func(w *wire) error {
		cp := &copier{wire: w, rows: c.newRows(t, types), types: types, at: c.snap.at, limit: c.opts.ChunkBytes, emit: emit}
		for some := range slices.Chunk(keys, keysAtOnce) {
			where, err := whereKey(t, some)
			if err == nil {
				err = cp.part(ctx, copyPart{from: filtered(t, from, where), table: t.ID})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// whereKey is the condition that takes the rows with some keys.
func whereKey(t *change.Table, keys [][]string) (string, error) {
	names := make([]string, len(t.Key))
	for i, k := range t.Key {
		names[i] = quote(t.Columns[k].Name)
	}
	var values []string
	for _, key := range keys {
		if len(key) != len(t.Key) {
			return "", fmt.Errorf("a key of %d values, want those of %s", len(key), strings.Join(names, ", "))
		}
		row := make([]string, len(key))
		for i, k := range t.Key {
			row[i] = literal(key[i]) + "::" + t.Columns[k].Type
		}
		values = append(values, "("+strings.Join(row, ", ")+")")
	}
	return " WHERE (" + strings.Join(names, ", ") + ") IN (VALUES " + strings.Join(values, ", ") + ")", nil
}
