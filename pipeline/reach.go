package pipeline

import (
	"context"
	"errors"
	"sync"

	"lakefeed/change"
)

// reach is a position that others wait for.
type reach struct {
	mu    sync.Mutex
	at    change.LSN
	ended bool          // it moves no more
	moved chan struct{} // closed at the next move; nil: nobody waits
}

// set moves it.
func (r *reach) set(at change.LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.ended = at, false
	r.wake()
}

// end says that it moves no more, until it is set again.
func (r *reach) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.wake()
}

// errStreamEnded is a wait for a position that the stream has not come to.
var errStreamEnded = errors.New("the stream ended before the copy could be shown; the next run goes on")

func (r *reach) wake() {
	if r.moved != nil {
		close(r.moved)
		r.moved = nil
	}
}

// await waits until it is at a position or behind it.
func (r *reach) await(ctx context.Context, at change.LSN) error {
	for {
		r.mu.Lock()
		if r.at >= at {
			r.mu.Unlock()
			return nil
		}
		if r.ended {
			r.mu.Unlock()
			return errStreamEnded
		}
		if r.moved == nil {
			r.moved = make(chan struct{})
		}
		moved := r.moved
		r.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
