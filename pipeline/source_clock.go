package pipeline

import (
	"context"
	"sync"
	"time"

	"lakefeed/change"
)

// sourceClock is up to when it is known, by the source's clock, that no transaction committed which
// the lake may lack: where the source is at rest, no later transaction tells.
type sourceClock struct {
	mu   sync.Mutex
	want change.LSN // what the lake has to hold for that
	next time.Time
	at   time.Time // zero: not known
}

// seenMargin is how long before it is in the log a transaction may have noted when it commits.
const seenMargin = 2 * time.Second

// end notes up to where the source's log tells all until a time. A measurement that waits for the lake is not replaced.
func (s *sourceClock) end(f *change.SlotFigures) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next := f.Clock.Add(-seenMargin); s.next.IsZero() && !f.Clock.IsZero() && next.After(s.at) {
		s.want, s.next = f.ClockAt, next
	}
}

// upTo is what is known where the lake holds all before lsn.
func (s *sourceClock) upTo(lsn change.LSN) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.next.IsZero() && lsn >= s.want {
		s.at, s.next = s.next, time.Time{}
	}
	return s.at
}

// begin takes what the record knows. What was measured may be of a server of before.
func (s *sourceClock) begin(record *progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.at = time.Time{}, time.Time{}
	if record != nil {
		s.at = record.Seen
	}
}

// noteRest writes the record of a source at rest with each sixth measurement, though it says
// nothing new but up to when that is known.
func (p *Pipeline) noteRest(ctx context.Context) error {
	at := p.acked()
	p.recordMu.Lock()
	r := p.recorded
	p.recordMu.Unlock()
	if r == nil || r.LSN != at || p.clock.upTo(at).Sub(r.Seen) < 6*p.governor.budget.Every {
		return nil
	}
	return p.record(ctx, at)
}
