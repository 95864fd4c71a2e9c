package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/change"
)

// heldBack is how much more log than the lag a server keeps before we look for what holds it.
const heldBack = 64 << 20

// Figures is what the server says of the log that it keeps for the slot, nil where there
// is no slot: one query on a connection of its own, so that no other statement is waited for.
func (c *Connector) Figures(ctx context.Context) (*change.SlotFigures, error) {
	var f *change.SlotFigures
	err := c.watch.do(ctx, func(db *pgx.Conn) (err error) {
		if f, err = lookFigures(ctx, db, c.slot); err == nil && f != nil && f.Kept()-f.Lag() > heldBack {
			f.Holder, err = oldestTransaction(ctx, db)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("measure the log that is kept for slot %s: %w", c.slot, err)
	}
	return f, nil
}

// currentLSN is the end of the log, on a primary and on a standby.
const currentLSN = `CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END`

// slotLost and slotWhy tell whether a row s of pg_replication_slots is of no use any more.
// The columns that newer versions have go through to_jsonb: one query for all.
const (
	slotLost = `coalesce(wal_status = 'lost', false) OR coalesce(to_jsonb(s)->>'conflicting' = 'true', false) OR to_jsonb(s)->>'invalidation_reason' IS NOT NULL`
	slotWhy  = `coalesce(to_jsonb(s)->>'invalidation_reason', CASE WHEN to_jsonb(s)->>'conflicting' = 'true' THEN 'conflict' WHEN wal_status = 'lost' THEN 'wal_removed' END, '')`
)

// slotSafe is what safe_wal_size says on a primary. On a standby that counts from the beginning of the
// log (seen on 16 to 18), not from where it ends: there a restart point measures what has come.
const slotSafe = `CASE WHEN safe_wal_size IS NULL THEN -1 WHEN NOT pg_is_in_recovery() THEN safe_wal_size
	ELSE greatest(0, (div(restart_lsn - '0/0', segment) + 1 + div(greatest(pg_size_bytes(current_setting('max_slot_wal_keep_size')), pg_size_bytes(current_setting('wal_keep_size'))), segment)) * segment
		- (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0')) END::bigint`

func lookFigures(ctx context.Context, db *pgx.Conn, slot string) (*change.SlotFigures, error) {
	f := &change.SlotFigures{At: time.Now().UTC()}
	var current, confirmed, restart int64
	var timeout float64
	var idle, clock *time.Time
	err := db.QueryRow(ctx, `
		SELECT CASE WHEN NOT pg_is_in_recovery() THEN clock_timestamp() END, (`+currentLSN+` - '0/0')::bigint, coalesce(confirmed_flush_lsn - '0/0', 0)::bigint, coalesce(restart_lsn - '0/0', 0)::bigint,
			active, coalesce(wal_status, ''), `+slotSafe+`, pg_size_bytes(current_setting('max_slot_wal_keep_size')),
			`+slotLost+`, `+slotWhy+`,
			extract(epoch FROM coalesce(current_setting('idle_replication_slot_timeout', true), '0')::interval)::float8,
			CASE WHEN NOT active THEN (to_jsonb(s)->>'inactive_since')::timestamptz END
		FROM pg_replication_slots s, (SELECT pg_size_bytes(current_setting('wal_segment_size'))::numeric AS segment) w
		WHERE slot_name = $1`, slot).
		Scan(&clock, &current, &confirmed, &restart, &f.Active, &f.Status, &f.Safe, &f.Limit, &f.Lost, &f.Why, &timeout, &idle)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	f.Current, f.Confirmed, f.Restart = change.LSN(current), change.LSN(confirmed), change.LSN(restart)
	f.IdleTimeout = time.Duration(timeout * float64(time.Second))
	if idle != nil {
		f.IdleSince = idle.UTC()
	}
	f.Limit = max(f.Limit, -1)
	switch {
	case err != nil:
	case clock != nil:
		f.Clock, f.ClockAt = clock.UTC(), f.Current
	default:
		if err = lookCheckpoint(ctx, db, f); err == nil {
			err = lookReplay(ctx, db, f)
		}
	}
	return f, err
}

// lookReplay finds out how a standby follows its primary. One that is promoted meanwhile says nothing.
func lookReplay(ctx context.Context, db *pgx.Conn, f *change.SlotFigures) error {
	s := new(change.StandbyFigures)
	var last *time.Time
	err := db.QueryRow(ctx, `
		SELECT greatest(0, coalesce(pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn(), 0))::bigint, pg_is_wal_replay_paused(),
			NOT EXISTS (SELECT FROM pg_stat_wal_receiver), pg_last_xact_replay_timestamp()`).Scan(&s.Waiting, &s.Paused, &s.Alone, &last)
	if isServerError(err) && !db.IsClosed() {
		return nil
	}
	if last != nil {
		s.Last = last.UTC()
	}
	f.Standby = s
	return err
}

// lookCheckpoint finds out on a standby up to when its log tells all: whoever makes a checkpoint notes
// the time, and then waits for the records of the commits that have begun, before he writes its own.
// Where that is not told (somebody took the right to ask), it is not known.
func lookCheckpoint(ctx context.Context, db *pgx.Conn, f *change.SlotFigures) error {
	var at int64
	err := db.QueryRow(ctx, "SELECT checkpoint_time, (checkpoint_lsn - '0/0')::bigint FROM pg_control_checkpoint()").Scan(&f.Clock, &at)
	if isServerError(err) && !db.IsClosed() {
		return nil
	}
	f.Clock, f.ClockAt = f.Clock.UTC(), change.LSN(at)
	return err
}

// oldestTransaction is the open transaction that has been so for the longest time, "" where there is none.
func oldestTransaction(ctx context.Context, db *pgx.Conn) (who string, err error) {
	err = db.QueryRow(ctx, `
		SELECT coalesce((SELECT who FROM (
			SELECT 'process ' || pid || coalesce(' of ' || usename, '') || ', open since ' || to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') AS who, xact_start AS since
			FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND backend_type <> 'walsender'
			UNION ALL
			SELECT 'prepared transaction ' || quote_literal(gid) || ' of database ' || quote_ident(database), prepared FROM pg_prepared_xacts) o
			ORDER BY since LIMIT 1), '')`).Scan(&who)
	return who, err
}

// heldByAnother reports whether another session has what was asked for.
func heldByAnother(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == codeObjectInUse
}

// GiveUpSlot removes the slot though somebody of our own reads it: that session is ended. A
// slot that another program reads is left alone, and is an error.
func (c *Connector) GiveUpSlot(ctx context.Context) error {
	err := c.watch.do(ctx, func(db *pgx.Conn) error {
		for {
			s, err := lookSlot(ctx, db, c.slot)
			switch {
			case err != nil || s == nil:
				return err
			case s.Active && !s.Ours:
				return &SlotActiveError{Slot: c.slot, PID: s.PID}
			case s.Active:
				_, err = db.Exec(ctx, "SELECT pg_terminate_backend(active_pid, 1000) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL", c.slot)
			default:
				_, err = db.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active", c.slot)
			}
			if err != nil && !heldByAnother(err) {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("give up slot %s: %w", c.slot, c.slotError(ctx, err))
	}
	return nil
}
