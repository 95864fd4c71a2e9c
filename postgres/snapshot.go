package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/change"
)

// snapshot is what the copies read under: exactly the rows that the transactions
// before a position in the log have left. The connection that made the slot holds
// it; every connection that copies adopts it.
type snapshot struct {
	at     change.LSN
	name   string
	holder *pgconn.PgConn
	keeper *wire         // what holds it in the place of holder, without a slot; nil: that does
	turns  chan struct{} // those who read
	apart  chan *wire    // connections to the standby that chunks are read of, where that is
	alone  sync.Once     // the server's own snapshot is of no use any more
	idle   chan *wire    // connections that have adopted it and wait for work
}

// createSlot makes a slot on a connection of its own and keeps that open: as long
// as it does nothing else, the snapshot stands.
func (c *Connector) createSlot(ctx context.Context, name, temporary, more string) (change.LSN, error) {
	if c.snap != nil {
		return 0, errors.New("another snapshot is open")
	}
	conn, err := c.replication(ctx)
	if err != nil {
		return 0, err
	}
	if id, err := c.identify(ctx, conn); err != nil || c.sameServer(id) != nil {
		return 0, errors.Join(err, c.sameServer(id), conn.Close(ctx))
	}
	stopTelling, stopLogging := c.tellBlockers(ctx), c.logRunning(ctx)
	row, err := oneRow(ctx, conn, fmt.Sprintf("CREATE_REPLICATION_SLOT %s%s LOGICAL pgoutput (SNAPSHOT 'export'%s)", quote(name), temporary, more))
	stopTelling()
	stopLogging()
	if err != nil {
		return 0, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	at, err := change.ParseLSN(row[1])
	if err != nil {
		return 0, errors.Join(err, conn.Close(ctx))
	}
	n := c.opts.CopyConnections
	c.snap = &snapshot{at: at, name: row[2], holder: conn, turns: make(chan struct{}, n), idle: make(chan *wire, n), apart: make(chan *wire, n)}
	c.log.Info("snapshot opened", "lsn", at, "slot", name)
	return at, nil
}

// OpenSnapshot keeps a snapshot of the present, at the position that it returns,
// for Copy beside an existing slot. It makes a temporary slot, which goes with the connection.
func (c *Connector) OpenSnapshot(ctx context.Context) (change.LSN, error) {
	at, err := c.createSlot(ctx, c.copySlot(), " TEMPORARY", "")
	if err != nil {
		return 0, fmt.Errorf("open a snapshot: %w", err)
	}
	if err := c.letSlotGo(ctx); err != nil {
		return 0, errors.Join(fmt.Errorf("open a snapshot: %w", err), c.CloseSnapshot(context.WithoutCancel(ctx)))
	}
	return at, nil
}

// letSlotGo keeps the snapshot on an ordinary connection, so that the temporary slot, which
// would make the server keep its log for as long as a copy lasts, can go.
func (c *Connector) letSlotGo(ctx context.Context) error {
	w, err := c.reader(ctx, c.snap)
	if err != nil {
		return err
	}
	stop := w.watch(ctx)
	name, err := w.value("SELECT pg_export_snapshot()")
	stop()
	if err != nil {
		return errors.Join(interrupted(ctx, err), w.close())
	}
	s := c.snap
	holder := s.holder
	s.name, s.keeper, s.holder = name, w, nil
	if err := holder.Close(ctx); err != nil {
		c.log.Debug("close the connection of a temporary slot", "error", err)
	}
	return nil
}

// copySlot is the name of a temporary slot of the pipeline: several copies and comparisons may
// run at once, and each has one of its own.
func (c *Connector) copySlot() string {
	suffix := "_copy_" + strings.ToLower(rand.Text()[:10])
	return c.slot[:min(len(c.slot), maxName-len(suffix))] + suffix
}

// CloseSnapshot lets go of the snapshot; that there is none is no error.
func (c *Connector) CloseSnapshot(ctx context.Context) error {
	if c.snap == nil {
		return nil
	}
	s := c.snap
	c.snap = nil
	c.closeSizes(ctx)
	close(s.apart)
	for w := range s.apart {
		_ = w.close() // it has only read
	}
	return s.letGo(ctx)
}

// letGo ends what the snapshot is in the server; its position stays.
func (s *snapshot) letGo(ctx context.Context) (err error) {
	s.alone.Do(func() {
		close(s.idle)
		for w := range s.idle {
			_ = w.close() // it has only read
		}
		if s.keeper != nil {
			err = s.keeper.close()
			return
		}
		err = s.holder.Close(ctx)
	})
	return err
}

// copyLock is the lock_timeout of connections that copy, in milliseconds. Who wants to lock a table that they read
// waits for what each of them has at hand, and the next part of theirs waits behind him.
func (c *Connector) copyLock() string {
	wait := c.opts.CopyLock.Seconds() + c.opts.CopyRate.longest(maxPartBytes, c.opts.CopyConnections)
	return strconv.FormatInt(int64(min(1000*wait, math.MaxInt32)), 10)
}

// wait waits for a turn among those who read.
func (s *snapshot) wait(ctx context.Context) (release func(), err error) {
	select {
	case s.turns <- struct{}{}:
		return func() { <-s.turns }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// under runs do on a connection that has adopted the snapshot. There are never more of them
// than CopyConnections, however many tables are copied at once: one waits for its turn.
func (c *Connector) under(ctx context.Context, s *snapshot, do func(*wire) error) error {
	release, err := s.wait(ctx)
	if err != nil {
		return err
	}
	defer release()
	w, err := c.reader(ctx, s)
	if err != nil {
		return err
	}
	if err := do(w); err != nil {
		return errors.Join(err, w.close())
	}
	s.idle <- w
	return nil
}

// reader is a connection that has adopted the snapshot.
func (c *Connector) reader(ctx context.Context, s *snapshot) (*wire, error) {
	select {
	case w, open := <-s.idle:
		if open {
			return w, nil
		}
	default:
	}
	cfg, err := c.config(map[string]string{"lock_timeout": c.copyLock()})
	if err != nil {
		return nil, err
	}
	w, err := c.dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer w.watch(ctx)()
	for _, sql := range []string{
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		"SET TRANSACTION SNAPSHOT " + literal(s.name),
	} {
		if err := w.exec(sql); err != nil { // who holds it has gone, perhaps: under another one all goes on
			return nil, errors.Join(&brokenError{err}, w.close())
		}
	}
	return w, nil
}
