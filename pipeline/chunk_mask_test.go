package pipeline

import (
	"log/slog"
	"strconv"
	"testing"
	"time"
)

// TestKeySet asks a set for keys that it has, some of them twice, and for others.
func TestKeySet(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 70_000} {
		var s keySet
		for i := range n + n/10 {
			s.add(strconv.Itoa(i % max(n, 1)))
		}
		if s.sort(); len(s.hashes) != n {
			t.Errorf("%d keys, want %d", len(s.hashes), n)
		}
		for i := range 2*n + 1 {
			if s.has(strconv.Itoa(i)) != (i < n) {
				t.Fatalf("of %d keys: %d is there: %v", n, i, i >= n)
			}
		}
	}
}

// TestStaleCopiesPause has what was copied of a table be of no use several times in a row: the copy is made again at
// once the first time, then after a while that grows.
func TestStaleCopiesPause(t *testing.T) {
	t.Parallel()
	p := &Pipeline{opts: Options{Interval: time.Second}, log: slog.New(slog.DiscardHandler)}
	target, work := &target{name: "t"}, &recopy{}
	var waits []time.Duration
	for range 4 {
		if !p.copyAtOnce(target, work, &staleError{why: "a test"}) {
			t.Fatal("it is not copied again")
		}
		waits = append(waits, time.Until(work.next).Round(time.Second))
	}
	if waits[0] > 0 || waits[1] < 2*time.Second || waits[2] != 2*waits[1] || waits[3] != 2*waits[2] {
		t.Errorf("it waits %v", waits)
	}
}
