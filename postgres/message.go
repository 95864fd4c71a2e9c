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

// Prefixes of our logical messages.
const (
	messagePrefix   = "lakefeed"
	heartbeatPrefix = "lakefeed.heartbeat"
)

// Emit writes a logical message into the log and returns its position. The
// message is part of a transaction, whose commit makes the server write it to disk
// at once and thereby send it; one outside would wait for someone else's commit. A standby
// whose primary is not known takes none: the error is [change.ErrReadOnly] then, and the
// position the end of what it has replayed.
func (c *Connector) Emit(ctx context.Context, content string) (change.LSN, error) {
	if c.readOnly() {
		at, _, err := c.replayedTo(ctx)
		if err == nil {
			err = change.ErrReadOnly
		}
		return at, fmt.Errorf("emit a logical message: %w", err)
	}
	at, err := c.emit(ctx, messagePrefix, content)
	if err != nil {
		return 0, fmt.Errorf("emit a logical message: %w", err)
	}
	return at, nil
}

func (c *Connector) emit(ctx context.Context, prefix, content string) (change.LSN, error) {
	var at int64
	err := c.writing().do(ctx, func(db *pgx.Conn) error {
		return db.QueryRow(ctx, "SELECT (pg_logical_emit_message(true, $1, $2) - '0/0')::bigint", prefix, content).Scan(&at)
	})
	return change.LSN(at), err
}

// heartbeat writes a message from time to time: where only other databases of the
// server write, the slot would stand still and keep their log.
func (c *Connector) heartbeat(ctx context.Context, s *stream) {
	if c.readOnly() {
		c.log.Info("no heartbeat: the server is read-only", "slot", c.slot)
		return
	}
	tick := time.NewTicker(c.opts.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		_, err := c.emit(ctx, heartbeatPrefix, "")
		var pg *pgconn.PgError
		switch {
		case err == nil, ctx.Err() != nil:
		case errors.As(err, &pg) && (pg.Code == codeAdminShutdown || pg.Code == codeCannotConnect):
			// The server shuts down, and waits for its replication to have confirmed
			// everything: it must not wait for a lake that is out of reach.
			s.shutdown(err)
			return
		case errors.As(err, &pg) && pg.Code == codeReadOnly:
			c.log.Info("no heartbeat: the server is read-only", "slot", c.slot)
			return
		default:
			c.log.Warn("heartbeat", "slot", c.slot, "error", err)
		}
	}
}
