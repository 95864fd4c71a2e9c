package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
)

// statusInterval is how often the server hears from us, at least.
const statusInterval = 10 * time.Second

// statusInterval is shorter where the server, or we, are impatient.
func (c *Connector) statusInterval(ctx context.Context) (time.Duration, error) {
	var ms int64
	err := c.catalog.do(ctx, func(db *pgx.Conn) error {
		return db.QueryRow(ctx, "SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout'").Scan(&ms)
	})
	interval := min(statusInterval, c.opts.ReceiveTimeout/3)
	if ms != 0 {
		interval = min(interval, time.Duration(ms)*time.Millisecond/3)
	}
	return max(interval, 50*time.Millisecond), err
}

// Ack lets the server forget everything up to lsn, which must be safe elsewhere.
// The server is told at once and again from time to time; the position never
// moves by itself.
func (c *Connector) Ack(_ context.Context, lsn change.LSN) error {
	s := c.stream
	if s == nil {
		return errors.New("acknowledge: there is no stream")
	}
	for {
		old := s.acked.Load()
		if uint64(lsn) <= old || s.acked.CompareAndSwap(old, uint64(lsn)) {
			break
		}
	}
	if err := s.sendStatus(0); err != nil {
		return fmt.Errorf("acknowledge %s: %w", lsn, err)
	}
	return nil
}

// sendStatus sends a standby status update: received up to, flushed and applied
// up to what was acknowledged. With answer 1 the server is to say something in return.
func (s *stream) sendStatus(answer byte) error {
	acked := s.acked.Load()
	b := make([]byte, 0, 34)
	b = append(b, 'r')
	b = binary.BigEndian.AppendUint64(b, max(s.received.Load(), acked))
	b = binary.BigEndian.AppendUint64(b, acked)
	b = binary.BigEndian.AppendUint64(b, acked)
	b = binary.BigEndian.AppendUint64(b, uint64(time.Now().UnixMicro()-epochMicros))
	b = append(b, answer)
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.wire.conn.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	return s.wire.send(frameCopyData, b)
}

func (s *stream) keepStatus(ctx context.Context) {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = s.sendStatus(1) // Next meets the same broken connection, and reports it
		case <-ctx.Done():
			return
		}
	}
}

// listened notes that the time is up. A server that has been silent for too long, though
// it was asked to answer, is not there any more: no packet may ever say so.
func (c *Connector) listened(s *stream, began time.Time, heard bool) error {
	if heard {
		s.silence = 0
		return nil
	}
	if s.silence += time.Since(began); s.silence >= c.opts.ReceiveTimeout {
		c.catalog.sever() // they went the same way
		c.talk.sever()
		c.watch.sever()
		return &brokenError{fmt.Errorf("the server has not answered for %s (receive_timeout)", c.opts.ReceiveTimeout)}
	}
	return nil
}

// shutdown closes the connection because the server wants to go: it would wait for us.
func (s *stream) shutdown(err error) {
	if s.down.CompareAndSwap(nil, &err) {
		s.sending.Lock()
		defer s.sending.Unlock()
		_ = s.wire.close()
	}
}
