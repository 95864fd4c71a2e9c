package pipeline

import (
	"testing"
	"time"
)

type observed struct{ took, latency time.Duration }

func (o *observed) Committed(_ string, _ int64, took, latency time.Duration) {
	o.took, o.latency = took, latency
}

// TestObserveClocks: a source whose clock is ahead of ours, or has stepped, gives no negative latency.
func TestObserveClocks(t *testing.T) {
	t.Parallel()
	o := new(observed)
	p := &Pipeline{opts: Options{Observer: o}}
	for _, c := range []struct {
		ago  time.Duration
		want bool
	}{{time.Hour, true}, {-time.Hour, false}} {
		p.observe(&target{}, &pending{}, &round{newest: time.Now().Add(-c.ago)}, time.Now())
		if o.latency < 0 || o.took < 0 || (o.latency > 0) != c.want {
			t.Errorf("%s ago: %+v", c.ago, *o)
		}
	}
}
