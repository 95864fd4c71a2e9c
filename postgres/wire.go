package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// wire is a connection that was taken over from pgconn when it was idle. It reads
// many protocol messages with one system call and hands them out without a copy:
// the stream and the copies live on that.
type wire struct {
	conn net.Conn
	buf  []byte
	r, w int // buf[r:w] was read and not handed out

	gather    gather
	mu        sync.Mutex
	deadline  time.Time
	cancelled bool
}

const wireBuffer = 256 << 10

// Types of the protocol's messages that we meet.
const (
	frameCopyData     = 'd'
	frameCopyDone     = 'c'
	frameCopyOut      = 'H'
	frameCopyBoth     = 'W'
	frameError        = 'E'
	frameReady        = 'Z'
	frameRow          = 'D'
	frameQuery        = 'Q'
	frameCommand      = 'C'
	frameNotice       = 'N'
	frameParameter    = 'S'
	frameNotification = 'A'
	frameReplay       = 0 // none of the server's: see stream.read
)

// dial opens a connection for itself.
func (c *Connector) dial(ctx context.Context, cfg *pgconn.Config) (*wire, error) {
	conn, err := connectConn(ctx, cfg, &c.opts)
	if err != nil {
		return nil, c.throughPooler(err)
	}
	return takeOver(ctx, conn)
}

// takeOver makes a wire of a connection that is idle.
func takeOver(ctx context.Context, conn *pgconn.PgConn) (*wire, error) {
	// pgconn reads in the background where a write took long, and would take the
	// first answer from us.
	if err := conn.SyncConn(ctx); err != nil {
		return nil, &brokenError{errors.Join(err, conn.Close(ctx))}
	}
	h, err := conn.Hijack()
	if err != nil {
		return nil, err
	}
	return &wire{conn: h.Conn, buf: make([]byte, wireBuffer)}, nil
}

func (w *wire) close() error { return w.conn.Close() }

// watch makes reads end when ctx does, until stop is called.
func (w *wire) watch(ctx context.Context) (stop func()) {
	w.mu.Lock()
	w.cancelled = false
	w.mu.Unlock()
	off := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.cancelled = true
		_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
	})
	return func() { off() }
}

// until makes reads end at t; the zero time is never.
func (w *wire) until(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	return w.setDeadline(t)
}

// setDeadline is for those who hold the lock.
func (w *wire) setDeadline(t time.Time) error {
	if w.cancelled {
		return nil
	}
	return w.conn.SetReadDeadline(t)
}

// frame is the next message. Its body holds until the next call. Where the time
// of until passes first, the error is os.ErrDeadlineExceeded, and what was read stays for later.
func (w *wire) frame() (kind byte, body []byte, err error) {
	for {
		have := w.buf[w.r:w.w]
		need := 5
		if len(have) >= 5 {
			n := int(binary.BigEndian.Uint32(have[1:]))
			if n < 4 || n > 1<<30+1<<20 { // PostgreSQL's messages stay below 1 GiB
				return 0, nil, fmt.Errorf("the server sent a message of %d bytes", n)
			}
			if need = 1 + n; len(have) >= need {
				w.r += need
				return have[0], have[5:need], nil
			}
		}
		if err := w.fill(need); err != nil {
			return 0, nil, err
		}
	}
}

// fill reads more, making room for a message of need bytes.
func (w *wire) fill(need int) error {
	if w.r > 0 {
		w.w = copy(w.buf, w.buf[w.r:w.w])
		w.r = 0
	}
	switch {
	case need > len(w.buf):
		w.buf = append(w.buf, make([]byte, need-len(w.buf))...)
	case len(w.buf) > 4*wireBuffer && w.w <= wireBuffer && need <= wireBuffer: // after a huge message
		w.buf = append(make([]byte, 0, wireBuffer), w.buf[:w.w]...)[:wireBuffer]
	}
	n, err := w.read(w.buf[w.w:])
	w.w += n
	if n > 0 {
		return nil
	}
	return err
}

// send writes one message.
func (w *wire) send(kind byte, body []byte) error {
	msg := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))
	_, err := w.conn.Write(append(msg, body...))
	return err
}

// exec runs statements that return no rows.
func (w *wire) exec(sql string) error {
	if err := w.send(frameQuery, append([]byte(sql), 0)); err != nil {
		return err
	}
	return w.ready(frameReady)
}

// value runs a query and returns the first value of its last row, as text.
func (w *wire) value(sql string) (string, error) {
	row, err := w.row(sql)
	if err != nil || len(row) == 0 {
		return "", err
	}
	return row[0], nil
}

// row runs a query and returns its last row, as texts; nil where there is none.
func (w *wire) row(sql string) (values []string, err error) {
	if err := w.send(frameQuery, append([]byte(sql), 0)); err != nil {
		return nil, err
	}
	var failed error
	for {
		kind, body, err := w.frame()
		switch {
		case err != nil:
			return nil, errors.Join(failed, err)
		case kind == frameError:
			failed = serverError(body)
		case kind == frameRow:
			var row pgproto3.DataRow
			if err := row.Decode(body); err != nil || len(row.Values) == 0 {
				return nil, errors.Join(errMalformed, err)
			}
			values = values[:0]
			for _, v := range row.Values {
				values = append(values, string(v))
			}
		case kind == frameReady:
			return values, failed
		}
	}
}

// begin runs a statement that opens a copy of the kind want.
func (w *wire) begin(sql string, want byte) error {
	if err := w.send(frameQuery, append([]byte(sql), 0)); err != nil {
		return err
	}
	return w.ready(want)
}

// ready reads up to a message of the kind want and returns the server's error
// where it sent one.
func (w *wire) ready(want byte) error {
	var failed error
	for {
		kind, body, err := w.frame()
		switch {
		case err != nil:
			return errors.Join(failed, err)
		case kind == frameError:
			failed = serverError(body)
		case kind == want || kind == frameReady:
			if kind != want && failed == nil {
				return fmt.Errorf("the server answered %q and not %q", kind, want)
			}
			return failed
		}
	}
}

// serverError reads the body of an ErrorResponse.
func serverError(body []byte) error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return fmt.Errorf("read the server's error: %w", err)
	}
	return pgconn.ErrorResponseToPgError(&m)
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
