package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/change"
	"lakefeed/postgres/pgoutput"
)

// stream is the running replication. What comes in belongs to the goroutine that
// calls Next; what goes out, standby status, to a lock.
type stream struct {
	wire     *wire
	binary   bool
	inParts  bool  // large transactions come while they are in progress
	err      error // why it is over
	broken   bool  // because nothing comes any more
	parser   pgoutput.Message
	interval time.Duration // at which the server hears from us
	silence  time.Duration // for so long nothing came while we waited

	inProgress transactionFiles // what has not committed
	replay     *transactionFile // the one that has committed and is being read, nil: none
	replayEnd  change.LSN       // where its commit record ends

	relations map[uint32]*relation
	failed    map[uint32]bool // tables that a Failure was reported for
	follows   follows
	covered   map[uint32]change.LSN
	dirty     []*relation  // those with rows, in the order of their first
	chunk     change.Chunk // what is collected beside those rows
	bytes     int64
	notify    bool // a logical message is in the chunk
	midway    bool // the chunk began within a transaction

	root uint32             // the partitioned table that was described last, 0: a change came since
	leaf change.WrittenLeaf // what was described behind it

	signals  *rows // of the signal table, one at a time; nil: the stream has not told of it
	signalID uint32

	open  bool // within a transaction
	shown bool // it has a change or a message, so that the server shows it in one piece, too
	tx    stamp
	clock int64      // the server's, when it sent what came last, microseconds since 2000
	end   change.LSN // up to where everything was read
	skip  *change.Position
	want  change.Mark // the transaction that is to come, zero when it has come

	sending  sync.Mutex
	acked    atomic.Uint64
	received atomic.Uint64
	down     atomic.Pointer[error] // the server is shutting down
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// Cover says that a table's changes of transactions whose commit starts before lsn
// are not needed: the next Stream leaves them out. A value among them that cannot be
// represented stops nothing.
func (c *Connector) Cover(t *change.Table, lsn change.LSN) {
	if c.covered == nil {
		c.covered = map[uint32]change.LSN{}
	}
	c.covered[t.ID] = lsn
}

// Expect says that a transaction was read from this log before: where the next Stream
// begins at or before it, and the log does not hold it, Next returns a *[change.HistoryError].
func (c *Connector) Expect(m change.Mark) { c.expected = m }

// Stream starts to read the log: every transaction that commits at or behind from.
// The server does not go back behind what was acknowledged. Values come in binary
// where every column of every table can be read so, else as text.
func (c *Connector) Stream(ctx context.Context, from change.LSN) error {
	if err := c.closeStream(); err != nil {
		return err
	}
	native, err := c.allNative(ctx)
	if err != nil {
		return fmt.Errorf("start the stream: %w", err)
	}
	s := &stream{
		binary: native && !c.opts.Text, inParts: !c.opts.WholeTransactions, end: from, inProgress: transactionFiles{dir: c.opts.SpillDir},
		relations: map[uint32]*relation{}, failed: map[uint32]bool{}, covered: maps.Clone(c.covered),
	}
	if c.opts.Messages != nil {
		s.relations[messagesID] = newMessages()
	}
	if c.expected.Commit >= from {
		s.want = c.expected
	}
	if err := c.deliversAtCommit(ctx); err != nil {
		return fmt.Errorf("start the stream: %w", err)
	}
	if err := c.settleFailover(ctx); err != nil {
		return fmt.Errorf("start the stream: %w", err)
	}
	s.wire, err = c.startReplication(ctx, s, from)
	if err != nil {
		return fmt.Errorf("start the stream of slot %s at %s: %w", c.slot, from, c.slotError(ctx, err))
	}
	if s.interval, err = c.statusInterval(ctx); err != nil {
		return errors.Join(fmt.Errorf("start the stream: %w", err), s.wire.close())
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.running.Go(func() { s.keepStatus(background) })
	s.running.Go(func() { c.watchKeys(background) })
	if c.opts.Heartbeat > 0 {
		s.running.Go(func() { c.heartbeat(background, s) })
	}
	c.stream = s
	c.log.Info("streaming", "slot", c.slot, "lsn", from, "binary", s.binary, "in_parts", s.inParts)
	return nil
}

// allNative reports whether every column of the tables can travel in binary, and
// notes the tables.
func (c *Connector) allNative(ctx context.Context) (bool, error) {
	native := true
	err := c.inCatalog(ctx, func(tx pgx.Tx) error {
		all, err := c.lookAll(ctx, tx)
		for _, t := range all {
			native = native && t.native()
			c.tables.settle(t.Table)
		}
		return err
	})
	return native, err
}

func (c *Connector) startReplication(ctx context.Context, s *stream, from change.LSN) (*wire, error) {
	cfg, err := c.config(map[string]string{"replication": "database"})
	if err != nil {
		return nil, err
	}
	w, err := c.dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer w.watch(ctx)()
	row, err := w.row("IDENTIFY_SYSTEM")
	id := change.Identity{}
	if err == nil {
		id, err = c.identity(row)
	}
	if err == nil {
		err = c.sameServer(id)
	}
	if err != nil {
		return nil, errors.Join(interrupted(ctx, err), w.close())
	}
	names := literal(quote(c.slot) + "," + quote(c.slot+appendSuffix))
	sql := fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL %s (proto_version '2', streaming '%t', publication_names %s, messages 'true', binary '%t')",
		quote(c.slot), from, s.inParts, names, s.binary)
	if err := w.begin(sql, frameCopyBoth); err != nil {
		return nil, errors.Join(interrupted(ctx, err), w.close())
	}
	w.gather.open(w.conn)
	return w, nil
}

// EndStream ends what Stream began: the slot is free as soon as the server notices.
func (c *Connector) EndStream() error {
	if err := c.closeStream(); err != nil {
		return fmt.Errorf("end the stream: %w", err)
	}
	return nil
}

// closeStream ends the stream and its goroutines.
func (c *Connector) closeStream() error {
	s := c.stream
	if s == nil {
		return nil
	}
	c.stream = nil
	s.stop()
	err := s.wire.close()
	s.running.Wait()
	s.drop()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Next returns what came: as soon as there is about Options.ChunkBytes of it or a
// logical message, else when wait has passed. A transaction that is coming in
// then is read to its end where it does not stall; where it does, or does not fit,
// the chunk is not Whole, and the next ones go on with it: the last of these ends
// where the transaction does, so that every reader comes to a Whole one.
func (c *Connector) Next(ctx context.Context, wait time.Duration) (*change.Chunk, error) {
	s := c.stream
	if s == nil {
		return nil, errors.New("read the stream: there is none")
	}
	if s.err != nil {
		return nil, s.err
	}
	err := c.collect(ctx, s, time.Now().Add(max(wait, time.Millisecond)))
	if err == nil {
		err = c.sameTimeline(ctx)
	} else if !timedOut(err) || ctx.Err() == nil {
		s.broken = true
	}
	if err == nil {
		return s.take(), nil
	}
	if !s.broken && ctx.Err() != nil {
		return nil, ctx.Err() // what was read stays for the next call
	}
	if down := s.down.Load(); down != nil {
		err = *down
	}
	s.err = fmt.Errorf("read the stream of slot %s: %w", c.slot, c.streamError(err))
	if s.broken && Retryable(err) && c.sameTimeline(ctx) == nil {
		if chunk := s.salvage(); chunk != nil {
			return chunk, nil // the next call says what happened
		}
	}
	return nil, s.err
}

// salvage is what was read before the connection broke, up to the last transaction that
// has come whole; nil where there is nothing. A network that never lasts long then still lets us get on.
func (s *stream) salvage() *change.Chunk {
	if s.midway {
		return nil
	}
	chunk, cut := s.take(), s.tx.Commit
	switch {
	case chunk.Whole:
	case !s.open:
		cut = s.skip.Commit
		fallthrough
	default:
		chunk = chunk.Before(cut)
	}
	if len(chunk.Batches)+len(chunk.Failures) == 0 {
		return nil
	}
	return chunk
}

// stall is how long the rest of a transaction may keep a reader waiting whose time is up.
const stall = 100 * time.Millisecond

// collect reads until there is a reason to return.
func (c *Connector) collect(ctx context.Context, s *stream, deadline time.Time) error {
	stop := s.wire.watch(ctx)
	defer func() { stop() }()
	began, heard := time.Now(), false
	if end := began.Add(c.opts.ReceiveTimeout - s.silence); end.Before(deadline) {
		deadline = end
	}
	if err := s.wire.until(deadline); err != nil {
		return err
	}
	late := false // the time is up, and the rest of a transaction is awaited
	for {
		kind, body, err := s.read(ctx)
		if err != nil {
			switch {
			case !timedOut(err) || ctx.Err() != nil:
				return err
			case !s.open || late:
				return c.listened(s, began, heard)
			}
			late = true
			if err := s.wire.until(time.Now().Add(stall)); err != nil {
				return err
			}
			continue
		}
		heard = true
		if err = c.frame(ctx, s, kind, body); err != nil {
			stop()
			mended, err := c.mend(ctx, s, err)
			stop = s.wire.watch(ctx)
			if !mended || err != nil {
				return err
			}
			if err := s.wire.until(deadline); err != nil {
				return err
			}
		}
		switch {
		case s.full(c.opts.ChunkBytes), !s.open && (s.notify || (late || s.bytes > 0) && !time.Now().Before(deadline)):
			s.silence = 0
			return nil
		case late:
			if err := s.wire.until(time.Now().Add(stall)); err != nil {
				return err
			}
		}
	}
}

// full reports whether the chunk has about limit bytes, or soon will, and a transaction
// has ended.
func (s *stream) full(limit int64) bool {
	return s.bytes >= limit || s.whole() && s.bytes > 0 && (s.midway || s.bytes >= limit*3/4)
}

// read is the next message: of the transaction that has committed and lies here, else of
// the server.
func (s *stream) read(ctx context.Context) (kind byte, body []byte, err error) {
	if s.replay == nil {
		return s.wire.frame()
	}
	if ctx.Err() != nil {
		return 0, nil, os.ErrDeadlineExceeded // as of the server
	}
	body, err = s.replay.next()
	return frameReplay, body, err
}

// needsText reports whether a binary stream cannot go on: a column's type has no
// binary form that we read, or none at all (the server's error then).
func needsText(err error) bool {
	const undefinedFunction = "42883"
	var pg *pgconn.PgError
	return errors.Is(err, errNeedsText) || errors.As(err, &pg) && pg.Code == undefinedFunction
}

const walHeader = 1 + 8 + 8 + 8 // kind, the message's place, the log's end, the server's time

// frame handles one message of the protocol.
func (c *Connector) frame(ctx context.Context, s *stream, kind byte, body []byte) error {
	switch kind {
	case frameError:
		return serverError(body)
	case frameNotice, frameParameter, frameNotification:
		return nil
	case frameReplay:
		return c.replayed(ctx, s, body)
	case frameCopyData:
	default:
		return fmt.Errorf("the server ended the stream (message %q)", kind)
	}
	switch {
	case len(body) > walHeader && body[0] == 'w' && s.inProgress.now != nil:
		return c.streamed(s, body[walHeader:])
	case len(body) > walHeader && body[0] == 'w':
		s.clock = int64(binary.BigEndian.Uint64(body[walHeader-8:]))
		if err := s.parser.Parse(body[walHeader:]); err != nil {
			return err
		}
		s.bytes += int64(len(body))
		return c.message(ctx, s, &s.parser)
	case len(body) == 18 && body[0] == 'k':
		if end := change.LSN(binary.BigEndian.Uint64(body[1:])); !s.open && s.inProgress.now == nil {
			if s.want.Commit != 0 && end > s.want.Commit { // passed by
				return &change.HistoryError{Want: s.want}
			}
			s.reach(end)
		}
		if body[17] != 0 {
			return s.sendStatus(0)
		}
		return nil
	default:
		return errors.New("the server sent a malformed replication message")
	}
}

// reach notes that everything up to end was read.
func (s *stream) reach(end change.LSN) {
	s.end = max(s.end, end)
	s.received.Store(uint64(s.end))
}

// take hands out what was collected.
func (s *stream) take() *change.Chunk {
	for _, r := range s.dirty {
		s.flush(r)
		r.dirty = false
	}
	chunk := s.chunk
	chunk.Whole, chunk.End = s.whole(), s.end
	s.dirty, s.chunk, s.bytes, s.notify, s.midway = s.dirty[:0], change.Chunk{}, 0, false, !chunk.Whole
	return &chunk
}

// whole reports whether all that was read ends with a transaction. One that a new
// stream begins anew has been read in part.
func (s *stream) whole() bool { return !s.open && s.skip == nil }

// flush moves a table's rows into the chunk.
func (s *stream) flush(r *relation) {
	if r.rows == nil {
		return
	}
	if b := r.rows.flush(); b != nil {
		s.chunk.Batches = append(s.chunk.Batches, b)
	}
}

// touch notes that the relation has rows.
func (s *stream) touch(r *relation) {
	if !r.dirty {
		s.dirty = append(s.dirty, r)
	}
	r.dirty = true
}
