package pipeline

import (
	"testing"
	"time"

	"lakefeed/change"
)

// TestStandbyWait waits for a standby that is behind: with Once for as long as its replay moves, and a
// while, else without end.
func TestStandbyWait(t *testing.T) {
	t.Parallel()
	p := &Pipeline{opts: Options{Interval: time.Second}}
	w := standbyWait{p: p}
	now := time.Unix(1000, 0)
	at := func(end change.LSN, minutes int) bool {
		_, ok := w.next(&change.BehindError{End: end, Want: 100}, now.Add(time.Duration(minutes)*time.Minute))
		return ok
	}
	if !at(5, 0) || !at(5, 60) {
		t.Error("it does not wait")
	}
	p.opts.Once, w = true, standbyWait{p: p}
	if !at(5, 0) || !at(5, 1) || !at(6, 10) || !at(6, 11) {
		t.Error("it does not wait for a replay that moves")
	}
	if at(6, 12) {
		t.Error("it waits for a replay that stands still")
	}
	for range onceTries {
		if _, ok := w.next(nil, now); !ok {
			t.Error("it does not try again")
		}
	}
	if _, ok := w.next(nil, now); ok {
		t.Error("it tries again for ever")
	}
}
