package postgres

import (
	"context"
	"slices"
	"sync"

	"lakefeed/change"
)

// follows are the tables whose changes are wanted again, noted by any goroutine and taken
// up by the one that reads the stream.
type follows struct {
	mu  sync.Mutex
	ids []uint32
}

// Follow says that a table's changes are wanted from the next transaction on, though an
// earlier one could not be delivered, and as the catalogs describe the table by then. It may
// be called beside Next, and does nothing where there is no stream.
func (c *Connector) Follow(t *change.Table) {
	if s := c.stream; s != nil {
		s.follows.mu.Lock()
		defer s.follows.mu.Unlock()
		s.follows.ids = append(s.follows.ids, t.ID)
	}
}

// takeFollowed takes up tables whose changes are wanted again, as the catalogs describe them now. The server does
// not describe them again by itself: not one that had failed, nor one whose types were altered.
func (c *Connector) takeFollowed(ctx context.Context, s *stream) error {
	s.follows.mu.Lock()
	ids := s.follows.ids
	s.follows.ids = nil
	s.follows.mu.Unlock()
	for _, id := range ids { // all of them, before one begins the stream anew, as text
		if s.failed[id] && id == messagesID { // which nothing describes
			s.relations[id] = newMessages()
		}
		delete(s.failed, id)
	}
	for _, id := range ids {
		if r := s.relations[id]; id != messagesID && r != nil && r.info.ID == id {
			info := r.info
			if err := c.relation(ctx, s, &info); err != nil {
				return err
			}
		}
	}
	return nil
}

// noteRelation keeps what the server says of a table whose changes are not wanted now.
func (s *stream) noteRelation(r *relation) {
	r.info.Columns = slices.Clone(r.info.Columns) // the parser reuses them
	s.relations[r.info.ID] = r
}
