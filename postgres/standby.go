package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/change"
)

// A physical standby, of PostgreSQL 16 on, has logical slots of its own and decodes what it
// has replayed. Nothing can be written there: publications and logical messages go to its
// primary (Options.PrimaryURL), or the publications are made by hand and there are no messages.
// A standby may be promoted, or follow another primary, while it is read: its log then goes on
// along another timeline, through the same connection. See sameTimeline.

// oldestStandby is the first version that decodes on a standby.
const oldestStandby = 16

// noteRole asks whether the server is a standby now. It must be asked before the timeline is:
// one that is promoted in between is then taken for a standby whose primary is none.
func (c *Connector) noteRole(ctx context.Context, conn *pgconn.PgConn) error {
	row, err := oneRow(ctx, conn, "SELECT pg_is_in_recovery()")
	if err != nil {
		return fmt.Errorf("ask whether the server is a standby: %w", c.throughPooler(err))
	}
	standby := row[0] == "t"
	if standby && c.version < oldestStandby {
		return &SetupError{fmt.Sprintf("the server is a standby, and PostgreSQL %d does not decode there (%d does): connect to its primary", c.version, oldestStandby)}
	}
	c.standby.Store(standby)
	return nil
}

// writing is the session for what is written into the source.
func (c *Connector) writing() *session {
	if c.throughPrimary() {
		return &c.primary
	}
	return &c.talk
}

// publishing is the session for publications.
func (c *Connector) publishing() *session {
	if c.throughPrimary() {
		return &c.primary
	}
	return &c.catalog
}

// throughPrimary reports whether we read a standby and know its primary.
func (c *Connector) throughPrimary() bool { return c.standby.Load() && c.opts.PrimaryURL != "" }

// readOnly reports whether nothing can be written into the source.
func (c *Connector) readOnly() bool { return c.standby.Load() && c.opts.PrimaryURL == "" }

// isPrimary refuses a connection that does not lead to the primary of the standby that is read.
func (c *Connector) isPrimary(ctx context.Context, db *pgx.Conn) error {
	var standby bool
	var system string
	var timeline int32
	err := db.QueryRow(ctx, `
		SELECT pg_is_in_recovery(), (SELECT system_identifier::text FROM pg_control_system()),
			CASE WHEN pg_is_in_recovery() THEN 0 ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END`).Scan(&standby, &system, &timeline)
	if err != nil {
		return fmt.Errorf("ask the primary who it is: %w", err)
	}
	known := c.known.Load()
	switch {
	case known != nil && system != known.SystemID:
		return &SetupError{fmt.Sprintf("primary_url leads to another database system (%s) than the standby's (%s): name the primary that it follows", system, known.SystemID)}
	case standby:
		return &roleError{errors.New("primary_url leads to a standby: name its primary")}
	case known != nil && timeline < known.Timeline:
		return &roleError{fmt.Errorf("primary_url leads to a former primary (it is on timeline %d, the standby on %d): name the primary of now", timeline, known.Timeline)}
	}
	return nil
}

// sameTimeline refuses what was read of a standby that has since been promoted, or follows
// another primary: what of it lies behind the place where the timelines part belongs to another
// log than the one that Identity named. A standby that is still on its timeline was so all the
// time before. Of a primary there is nothing to ask: it changes its timeline only by a restart.
func (c *Connector) sameTimeline(ctx context.Context) (err error) {
	if !c.standby.Load() {
		return nil
	}
	if c.probe == nil || c.probe.IsClosed() {
		if c.probe, err = c.replication(ctx); err != nil {
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, c.opts.ReceiveTimeout)
	defer cancel()
	id, err := c.identify(limited, c.probe)
	if err == nil {
		err = c.sameServer(id)
	}
	if err != nil {
		return errors.Join(err, c.closeProbe(context.WithoutCancel(ctx)))
	}
	return nil
}

func (c *Connector) closeProbe(ctx context.Context) error {
	if c.probe == nil {
		return nil
	}
	conn := c.probe
	c.probe = nil
	if conn.IsClosed() {
		return nil
	}
	return conn.Close(ctx)
}

// replayed is the end of the log as far as the server has it, and whether it is a standby still.
func (c *Connector) replayedTo(ctx context.Context) (at change.LSN, standby bool, err error) {
	var end int64
	err = c.catalog.do(ctx, func(db *pgx.Conn) error {
		return db.QueryRow(ctx, "SELECT ("+currentLSN+" - '0/0')::bigint, pg_is_in_recovery()").Scan(&end, &standby)
	})
	return change.LSN(end), standby, err
}

// standbyPoll is how often a standby is asked for what it has replayed.
const standbyPoll = 50 * time.Millisecond

// awaitPublished waits until the standby has the publications as its primary has them: a slot
// that is made before would have to read log of a time without them.
func (c *Connector) awaitPublished(ctx context.Context, want map[uint32]change.Published) error {
	tick, tell := time.NewTicker(standbyPoll), time.NewTicker(blockerInterval)
	defer tick.Stop()
	defer tell.Stop()
	for {
		have, err := c.Published(ctx)
		if err != nil || maps.Equal(have, want) {
			return err
		}
		at, standby, err := c.replayedTo(ctx)
		if err != nil {
			return err
		}
		if !standby {
			return &brokenError{errors.New("the standby was promoted")}
		}
		select {
		case <-tell.C:
			c.log.Warn("the standby has not replayed what its primary publishes: see that it follows that one, and that its replay is not paused", "replayed", at)
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// runningInterval is how often the primary is asked to log its running transactions while a
// slot is made on its standby.
const runningInterval = 250 * time.Millisecond

// logRunning lets the primary log its running transactions until stop is called: a slot on a
// standby is made from such records, which the primary writes by itself every 15 s where
// something else is written, and not at all where it is idle.
func (c *Connector) logRunning(ctx context.Context) (stop func()) {
	if !c.standby.Load() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(runningInterval)
		defer tick.Stop()
		told, began := "", time.Now()
		for {
			because := c.logRunningOnce(ctx)
			if because != nil && ctx.Err() == nil && because.Error() != told && time.Since(began) > blockerInterval {
				told = because.Error()
				c.log.Warn("the slot waits for a record of running transactions, which the primary writes by itself every 15 s unless it is idle: SELECT pg_log_standby_snapshot() there writes one", "because", because)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

// logRunningOnce returns why it could not be done. Without the right to it something else is
// written, so that the primary does it by itself.
func (c *Connector) logRunningOnce(ctx context.Context) error {
	if c.readOnly() {
		return errors.New("primary_url is not set")
	}
	err := c.primary.do(ctx, func(db *pgx.Conn) error {
		_, err := db.Exec(ctx, "SELECT pg_log_standby_snapshot()")
		return err
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == codePrivilege {
		_, emitErr := c.emit(ctx, heartbeatPrefix, "")
		return errors.Join(err, emitErr)
	}
	return err
}

// lookEnd is behind the commit record of every transaction that a catalog transaction of now
// sees. A standby shows a commit a moment before it says that it has replayed its record, which
// then is the next one.
func (c *Connector) lookEnd(ctx context.Context, tx pgx.Tx) (change.LSN, error) {
	var end int64
	if !c.standby.Load() {
		err := tx.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&end)
		return change.LSN(end), err
	}
	var standby, idle bool
	err := tx.QueryRow(ctx, `
		SELECT (`+currentLSN+` - '0/0')::bigint, pg_is_in_recovery(),
			coalesce(pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn(), false)`).Scan(&end, &standby, &idle)
	switch {
	case err != nil:
		return 0, err
	case !standby:
		return 0, &brokenError{errors.New("the standby was promoted")}
	case idle: // there is no next record
		return change.LSN(end), nil
	}
	return behindNext(change.LSN(end)), nil
}

// behindNext is behind the start of the record that begins at the end of another, and before
// that of the one behind it. At the beginning of a page of the log its header comes first.
func behindNext(end change.LSN) change.LSN {
	const page, longHeader = 8192, 40
	if end%page == 0 {
		end += longHeader
	}
	return end + 1
}
