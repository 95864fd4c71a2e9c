package postgres

import (
	"context"

	"lakefeed/change"
	"lakefeed/postgres/pgoutput"
)

// streamed handles a message of a transaction in progress.
func (c *Connector) streamed(s *stream, msg []byte) error {
	kind := pgoutput.Kind(msg[0])
	if kind == pgoutput.Origin { // has no transaction's id, and says nothing to us
		return nil
	}
	if kind == pgoutput.StreamStop {
		if err := s.parser.Parse(msg); err != nil {
			return err
		}
		return s.inProgress.stop()
	}
	_, xid, err := pgoutput.StreamedXid(msg)
	keep := false
	if err == nil && kind == pgoutput.Logical && c.opts.Messages != nil {
		err = s.parser.ParseStreamed(msg)
		keep = c.keeps(s.parser.Prefix)
	}
	if err != nil {
		return err
	}
	return s.inProgress.write(xid, msg, keep)
}

// replayFrom begins to read the changes of a transaction in progress that has committed.
func (s *stream) replayFrom(m *pgoutput.Message) error {
	t, err := s.inProgress.take(m.Xid)
	if err != nil {
		return err
	}
	s.replay, s.replayEnd = t, change.LSN(m.EndLSN)
	return s.begin(m)
}

// replayed applies a message of that transaction; nil is its end.
func (c *Connector) replayed(ctx context.Context, s *stream, msg []byte) error {
	if msg == nil {
		err := s.replay.close()
		s.replay = nil
		s.commit(s.replayEnd)
		return err
	}
	if err := s.parser.ParseStreamed(msg); err != nil {
		return err
	}
	s.bytes += int64(walHeader + len(msg))
	return c.message(ctx, s, &s.parser)
}

// abort drops a transaction in progress, or a part of it.
func (s *stream) abort(m *pgoutput.Message) error {
	doubt, err := s.inProgress.abort(m.Xid, m.SubXid)
	if err == nil && doubt {
		err = errNeedsWhole
	}
	return err
}
