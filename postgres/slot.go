package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// Slot is the state of the pipeline's slot, nil where there is none.
func (c *Connector) Slot(ctx context.Context) (*change.SlotState, error) {
	var s *change.SlotState
	err := c.catalog.do(ctx, func(db *pgx.Conn) (err error) {
		s, err = lookSlot(ctx, db, c.slot)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at slot %s: %w", c.slot, err)
	}
	return s, nil
}

func lookSlot(ctx context.Context, db *pgx.Conn, name string) (*change.SlotState, error) {
	s := &change.SlotState{Name: name}
	var confirmed, restart int64
	err := db.QueryRow(ctx, `
		SELECT coalesce(plugin, ''), coalesce(database, ''), active, coalesce(active_pid, 0),
			coalesce((SELECT application_name FROM pg_stat_activity a WHERE a.pid = active_pid), ''),
			coalesce(confirmed_flush_lsn - '0/0', 0)::bigint, coalesce(restart_lsn - '0/0', 0)::bigint, `+slotLost+`, `+slotWhy+`,
			temporary, coalesce(to_jsonb(s)->>'failover' = 'true', false), coalesce(to_jsonb(s)->>'synced' = 'true', false)
		FROM pg_replication_slots s WHERE slot_name = $1`, name).
		Scan(&s.Plugin, &s.Database, &s.Active, &s.PID, &s.Reader, &confirmed, &restart, &s.Lost, &s.Why, &s.Temporary, &s.Failover, &s.Synced)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	s.Ours = s.Active && (s.Reader == "" || s.Reader == application)
	s.Confirmed, s.Restart = change.LSN(confirmed), change.LSN(restart)
	return s, err
}

// deliversAtCommit refuses a slot that sends prepared transactions before they commit:
// what a slot has sent it forgets, and only COMMIT PREPARED says whether it counts. Ours
// is never made so; somebody may have altered it.
func (c *Connector) deliversAtCommit(ctx context.Context) error {
	var twoPhase bool
	err := c.catalog.do(ctx, func(db *pgx.Conn) error {
		return db.QueryRow(ctx, "SELECT coalesce(bool_or(two_phase), false) FROM pg_replication_slots WHERE slot_name = $1", c.slot).Scan(&twoPhase)
	})
	if err == nil && twoPhase {
		err = &SetupError{fmt.Sprintf("slot %s was made, or altered, to send transactions at PREPARE TRANSACTION (two_phase): what it has sent before COMMIT PREPARED cannot be told from what it has not; drop it and give the pipeline an empty lake folder, so that its tables are copied anew", c.slot)}
	}
	return err
}

// CreateSlot makes the slot and keeps a snapshot of its consistent point, which it
// returns, for Copy. The server waits for transactions that run meanwhile to end;
// a context that ends cancels that.
func (c *Connector) CreateSlot(ctx context.Context) (change.LSN, error) {
	more := ""
	over, err := c.goesOver()
	if err != nil {
		return 0, err
	}
	if over {
		more = ", FAILOVER true"
	}
	at, err := c.createSlot(ctx, c.slot, "", more)
	if err != nil {
		return 0, fmt.Errorf("create slot %s: %w", c.slot, c.slotError(ctx, err))
	}
	return at, nil
}

// DropSlot removes the slot; that there is none is no error.
func (c *Connector) DropSlot(ctx context.Context) error {
	err := c.catalog.do(ctx, func(db *pgx.Conn) error {
		_, err := db.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", c.slot)
		return err
	})
	if err != nil {
		return fmt.Errorf("drop slot %s: %w", c.slot, c.slotError(ctx, err))
	}
	return nil
}
