package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/change"
)

// Chunks of tables may be read of a physical standby (Options.SnapshotURL), so that the server
// whose log is read need not: not their blocks, and not a snapshot that keeps its dead rows for
// as long as a copy lasts. What a standby shows is the database at a position of the log, or,
// for a commit or two, a moment before its replay says that it is there: each chunk is read once
// replay has passed the snapshot's position, and says up to where it may show more. Who reads
// the log applies what is between the two (docs/adr/0019, 0020).

// onStandby runs do in a transaction of the standby that shows all that commits before the
// snapshot's position, and returns up to where it may show more. While the standby is not so far
// the error is a *change.BehindError.
func (c *Connector) onStandby(ctx context.Context, s *snapshot, do func(*wire) error) (until change.LSN, err error) {
	release, err := s.wait(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	w, err := c.standbyReader(ctx, s)
	if err != nil {
		return 0, err
	}
	replayed, err := c.standbyAt(ctx, w)
	if err == nil {
		err = c.sameLog(ctx, w)
	}
	if err == nil && replayed < s.at {
		s.apart <- w
		return 0, &change.BehindError{End: replayed, Want: s.at}
	}
	if err == nil {
		until, err = c.readThere(ctx, w, do)
	}
	if err != nil {
		return 0, errors.Join(err, w.close())
	}
	s.apart <- w
	return until, nil
}

// readThere reads, and sees that the standby has followed the same log all the time: it is asked
// behind the reading.
func (c *Connector) readThere(ctx context.Context, w *wire, do func(*wire) error) (until change.LSN, err error) {
	if err := statement(ctx, w, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		return 0, err
	}
	if err := do(w); err != nil {
		return 0, err
	}
	if err := statement(ctx, w, "COMMIT"); err != nil {
		return 0, err
	}
	if until, err = c.standbyAt(ctx, w); err != nil {
		return 0, err
	}
	return behindNext(until), c.sameLog(ctx, w)
}

func statement(ctx context.Context, w *wire, sql string) error {
	defer w.watch(ctx)()
	return interrupted(ctx, w.exec(sql))
}

// standbyReader is a connection to the standby, one that takes statements of the replication
// protocol too: behind one name there may be several servers, and the one that was read must say
// which log it follows.
func (c *Connector) standbyReader(ctx context.Context, s *snapshot) (*wire, error) {
	select {
	case w := <-s.apart:
		return w, nil
	default:
	}
	there := c.opts
	there.URL = c.opts.SnapshotURL
	cfg, err := c.configOf(there.URL, map[string]string{"replication": "database", "lock_timeout": c.copyLock()})
	if err != nil {
		return nil, err
	}
	if cfg.ValidateConnect == nil && len(byHost(cfg)) > 1 {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsStandby
	}
	conn, err := connectConn(ctx, cfg, &there)
	if err != nil {
		return nil, fmt.Errorf("snapshot_url: %w", c.throughPooler(err))
	}
	return takeOver(ctx, conn)
}

// standbyAt is how far the standby has replayed the log. A server that is none is refused: a
// copy of the database that goes its own way has the same name, and other rows.
func (c *Connector) standbyAt(ctx context.Context, w *wire) (change.LSN, error) {
	defer w.watch(ctx)()
	row, err := w.row("SELECT pg_is_in_recovery(), (coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0')::bigint")
	if err != nil {
		return 0, interrupted(ctx, err)
	}
	at, err := strconv.ParseInt(row[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("ask the standby how far it is: %w", err)
	}
	if row[0] != "t" {
		return 0, &roleError{errors.New("snapshot_url leads to a server that is no standby (any more): name one that follows the source, or leave it out")}
	}
	return change.LSN(at), nil
}

// sameLog refuses a standby that does not follow the log that is read: another database system,
// another database, or, for now, another timeline.
func (c *Connector) sameLog(ctx context.Context, w *wire) error {
	defer w.watch(ctx)()
	row, err := w.row("IDENTIFY_SYSTEM")
	if err != nil {
		return interrupted(ctx, err)
	}
	id, err := c.identity(row)
	if err != nil {
		return err
	}
	return c.follows(id)
}

// follows compares a standby with the server whose log is read.
func (c *Connector) follows(id change.Identity) error {
	switch known := c.known.Load(); {
	case known == nil:
		return nil
	case id.SystemID != known.SystemID || id.Database != known.Database:
		return &SetupError{fmt.Sprintf("snapshot_url leads to database %s of another database system (%s) than the source's (%s of %s): name a standby of the source", id.Database, id.SystemID, known.Database, known.SystemID)}
	case id.Timeline != known.Timeline:
		return &roleError{fmt.Errorf("the standby of snapshot_url is on timeline %d, the source on %d: it follows another primary, or has not caught up with the promotion of this one", id.Timeline, known.Timeline)}
	}
	return nil
}
