package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lakefeed/change"
	"lakefeed/postgres/pgoutput"
)

// message applies one message of the plugin.
func (c *Connector) message(ctx context.Context, s *stream, m *pgoutput.Message) error {
	switch m.Kind {
	case pgoutput.Begin:
		if err := c.takeFollowed(ctx, s); err != nil {
			return err
		}
		return s.begin(m)
	case pgoutput.Commit:
		s.commit(change.LSN(m.EndLSN))
	case pgoutput.StreamStart:
		return s.inProgress.start(m.Xid, m.Flags&1 != 0)
	case pgoutput.StreamStop:
		return s.inProgress.stop()
	case pgoutput.StreamCommit:
		if err := c.takeFollowed(ctx, s); err != nil {
			return err
		}
		return s.replayFrom(m)
	case pgoutput.StreamAbort:
		return s.abort(m)
	case pgoutput.Relation:
		err := c.relation(ctx, s, &m.Relation)
		s.seeLeaf(&m.Relation)
		return err
	case pgoutput.Insert, pgoutput.Update, pgoutput.Delete, pgoutput.Truncate:
		if !s.open {
			return errors.New("the server sent a change outside a transaction")
		}
		s.noteLeaf(m)
		old := s.skip != nil && s.tx.Compare(*s.skip) < 0
		if !old {
			if err := s.change(m); err != nil {
				return err
			}
		}
		s.tx.Index++
		s.shown = true
	case pgoutput.Logical:
		c.logical(s, m)
	case pgoutput.Origin, pgoutput.Type: // types are read from the catalogs
	}
	return nil
}

// begin opens the transaction whose changes come.
func (s *stream) begin(m *pgoutput.Message) error {
	s.open, s.shown = true, false
	s.tx = stamp{Position: change.Position{Commit: change.LSN(m.LSN)}, time: m.Time + epochMicros, xid: m.Xid}
	return s.recognize()
}

// commit ends it; its commit record ends at end. One that came in parts and has nothing for us would
// not show again in one piece: the log is not to be known again by it.
func (s *stream) commit(end change.LSN) {
	s.open, s.skip = false, nil
	s.chunk.Time = time.UnixMicro(s.tx.time).UTC()
	if s.shown {
		s.chunk.Last = s.tx.mark()
	}
	s.reach(end)
}

// recognize sees that the transaction that begins is the one that is expected there.
func (s *stream) recognize() error {
	switch have := s.tx.mark(); {
	case s.want.Commit == 0 || have.Commit < s.want.Commit:
		return nil
	case have != s.want:
		return &change.HistoryError{Want: s.want, Have: have}
	}
	s.want = change.Mark{}
	return nil
}

func (s stamp) mark() change.Mark { return change.Mark{Commit: s.Commit, Xid: s.xid, Time: s.time} }

// logical takes in a logical message.
func (c *Connector) logical(s *stream, m *pgoutput.Message) {
	s.shown = s.shown || m.Flags&1 != 0 // it is the transaction's
	switch {
	case m.Prefix == heartbeatPrefix:
	case m.Prefix == keyPrefix:
		c.keyLost(s, m)
	case c.keeps(m.Prefix):
		s.keep(m)
	default:
		s.notify = s.notify || m.Prefix == messagePrefix
		s.chunk.Messages = append(s.chunk.Messages, change.Message{
			Prefix: m.Prefix, Content: append([]byte(nil), m.Content...), At: change.LSN(m.LSN),
		})
	}
	if !s.open {
		s.reach(change.LSN(m.LSN))
	}
}

// relation takes in the description of a table.
func (c *Connector) relation(ctx context.Context, s *stream, info *pgoutput.RelationInfo) error {
	old := s.relations[info.ID]
	if s.failed[info.ID] { // else even a message that repeats the last one is looked into: it may follow a rewrite
		s.noteRelation(&relation{info: *info})
		return nil
	}
	if c.isSignalTable(info.Namespace, info.Name) {
		if err := c.describeSignals(ctx, s, info); err != nil {
			return err
		}
	}
	if !c.takes(info.Namespace, info.Name) {
		r := &relation{info: *info}
		if known := c.tables.get(info.ID); known != nil && c.takes(known.Schema, known.Name) {
			r.was = known
		}
		s.relations[info.ID] = r
		return nil
	}
	r, err := c.describeRelation(ctx, *info)
	switch {
	case err != nil:
		return fmt.Errorf("describe table %s.%s: %w", info.Namespace, info.Name, err)
	case s.binary && !r.native():
		return errNeedsText
	case old != nil && old.rows != nil && old.rows.table == r.rows.table:
		r.rows, r.dirty = old.rows, old.dirty // nothing of it has changed
		s.replaceDirty(old, r)
	case old != nil && old.dirty:
		s.flush(old) // under its own schema, before what follows
	}
	s.relations[info.ID] = r
	if why := r.rows.table.Refused; why != "" {
		s.fail(info.ID, r.rows.table, errors.New(why))
	}
	return nil
}

// seeLeaf holds a description that comes right behind that of a partitioned table: where a change
// of the latter follows, it is one of the partition that is described. Nothing else tells of
// which partition a change is.
func (s *stream) seeLeaf(info *pgoutput.RelationInfo) {
	if r := s.relations[info.ID]; r != nil && r.rows != nil && r.rows.table.Leaves != nil {
		s.root, s.leaf = info.ID, change.WrittenLeaf{}
	} else if s.root != 0 {
		s.leaf.ID, s.leaf.Name = info.ID, info.Namespace+"."+info.Name
	}
}

// noteLeaf notes that a partition is written, at the first change behind its description.
func (s *stream) noteLeaf(m *pgoutput.Message) {
	if s.root == 0 {
		return
	}
	if r := s.relations[s.root]; s.leaf.ID != 0 && m.Kind != pgoutput.Truncate && m.RelationID == s.root && r.rows != nil {
		s.leaf.Table, s.leaf.Since = r.rows.table, s.tx.Commit
		s.chunk.Leaves = append(s.chunk.Leaves, s.leaf)
	}
	s.root, s.leaf = 0, change.WrittenLeaf{}
}

func (s *stream) replaceDirty(old, r *relation) {
	for i := range s.dirty {
		if s.dirty[i] == old {
			s.dirty[i] = r
		}
	}
}

// change adds an insert, update, delete or truncate to its table's rows.
func (s *stream) change(m *pgoutput.Message) error {
	if m.Kind == pgoutput.Truncate {
		for _, id := range m.Relations {
			r, err := s.find(id)
			if err != nil {
				return err
			}
			if r.rows != nil && !s.isCovered(id) {
				s.touch(r)
				r.rows.truncate(s.tx)
				s.bytes += int64(8 * len(r.types))
			}
		}
		return nil
	}
	if s.signals != nil && m.RelationID == s.signalID && m.Kind == pgoutput.Insert {
		s.signal(m)
	}
	r, err := s.find(m.RelationID)
	if err != nil || r.rows == nil || s.isCovered(m.RelationID) {
		return err
	}
	n := len(r.types)
	if m.Kind != pgoutput.Delete && len(m.New) != n || m.OldKind != pgoutput.NoOld && m.Kind != pgoutput.Insert && len(m.Old) != n {
		return fmt.Errorf("the server sent a row of %s without its %d columns", r.rows.table, n)
	}
	s.touch(r)
	s.bytes += int64(8 * n) // about what a row takes beyond its bytes in the message
	switch err := r.rows.change(s.tx, m); {
	case errors.Is(err, errComposite): // older rows have changed with it
		s.lose(m.RelationID, r.rows.table, err)
	case err != nil:
		s.fail(m.RelationID, r.rows.table, err)
	}
	return nil
}

// isCovered reports whether nobody needs what the transaction at hand does to a table.
func (s *stream) isCovered(id uint32) bool { return s.tx.Commit < s.covered[id] }

// find is the relation of a change. One that was taken under another name fails
// with its first change.
func (s *stream) find(id uint32) (*relation, error) {
	r := s.relations[id]
	if r == nil {
		return nil, fmt.Errorf("the server sent a change of table %d without its description", id)
	}
	if r.was != nil && !s.failed[id] {
		s.fail(id, r.was, fmt.Errorf("it was renamed to %s.%s, which the pipeline does not take", r.info.Namespace, r.info.Name))
	}
	return r, nil
}

var errKeyless = errors.New("an UPDATE or DELETE came, and the table has no key to find the row by")

// change appends one change. The update of a row's key is the deletion of the old
// one and an update that is marked.
func (r *rows) change(s stamp, m *pgoutput.Message) error {
	if m.Kind == pgoutput.Insert {
		return r.insert(change.Create, s, m.New, nil)
	}
	if r.table.KeyKind == change.NoKey {
		return errKeyless
	}
	if m.Kind == pgoutput.Delete {
		return r.delete(s, m.Old)
	}
	if m.OldKind == pgoutput.NoOld {
		return r.insert(change.Update, s, m.New, nil)
	}
	moved := r.keyChanged(m.Old, m.New)
	if moved {
		if err := r.delete(s, m.Old); err != nil {
			return err
		}
	}
	if err := r.insert(change.Update, s, m.New, m.Old); err != nil {
		return err
	}
	if moved {
		r.markMoved()
	}
	return nil
}

// fail stops a table: what it did before the transaction at hand stays, the rest is dropped.
func (s *stream) fail(id uint32, t *change.Table, err error) {
	if s.isCovered(id) {
		return
	}
	s.failed[id] = true
	since := s.tx.Commit
	if r := s.relations[id]; r != nil && r.rows != nil {
		if b := r.rows.flush(); b != nil {
			if before, _ := b.Split(since); before != nil {
				s.chunk.Batches = append(s.chunk.Batches, before)
			}
		}
		r.rows = nil
	}
	s.chunk.Failures = append(s.chunk.Failures, change.Failure{Table: t, Since: since, Err: err})
}
