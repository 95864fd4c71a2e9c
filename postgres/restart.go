package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"lakefeed/change"
)

// mend changes how the stream comes where the error says that it cannot go on so, and
// begins it anew: values as text where a table came whose values have no binary form,
// transactions in one piece where the parts of one leave a doubt. It reports whether that was the case.
func (c *Connector) mend(ctx context.Context, s *stream, err error) (bool, error) {
	switch {
	case s.binary && needsText(err):
		s.binary = false
		c.log.Info("a column has no binary form: the stream goes on as text", "slot", c.slot, "lsn", s.end)
	case s.inParts && (errors.Is(err, errNeedsWhole) || failsInside(err)):
		s.inParts = false
		c.log.Info("the stream goes on with transactions in one piece, when they have committed", "slot", c.slot, "lsn", s.end, "because", err)
	default:
		return false, err
	}
	return true, c.restart(ctx, s)
}

// failsInside reports whether the server met an error of its own. Versions up to 17 do
// where a part of a transaction works on storage that a sub-transaction made which was
// rolled back meanwhile ("could not map filenumber to relation OID"); the whole transaction decodes.
func failsInside(err error) bool {
	const internalError = "XX000"
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == internalError
}

// errNeedsWhole is a transaction whose parts do not say what was rolled back of it.
var errNeedsWhole = errors.New("a sub-transaction was rolled back in a transaction with logical messages that are kept, and the parts of it do not say whose they are")

// restart begins the stream anew from where everything was read. Changes of the open
// transaction that were read are passed over: a change's number in its transaction is
// the same in every reading of the log.
func (c *Connector) restart(ctx context.Context, s *stream) error {
	s.sending.Lock() // Ack waits
	defer s.sending.Unlock()
	_ = s.wire.close() // it has only read
	if s.open && s.tx.Index > 0 {
		s.skip = &change.Position{Commit: s.tx.Commit, Index: s.tx.Index}
	}
	s.open = false
	s.drop()
	retry := time.NewTicker(50 * time.Millisecond) // the server may still hold the slot for the connection of before
	defer retry.Stop()
	for try := 0; ; try++ {
		w, err := c.startReplication(ctx, s, s.end)
		var pg *pgconn.PgError
		switch {
		case err == nil:
			s.wire = w
			return nil
		case !errors.As(err, &pg) || pg.Code != codeObjectInUse || try == 200:
			return err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drop forgets the transactions in progress, which come anew.
func (s *stream) drop() {
	s.inProgress.reset()
	if s.replay != nil {
		_ = s.replay.close() // it was only read
		s.replay = nil
	}
}
