package postgres

import (
	"net"
	"time"
)

// gather lets a busy stream be read in large pieces. The server sends every
// change by itself as soon as it has decoded it, and to be woken for each costs
// more than to decode it. So while changes follow each other closely, the kernel
// is asked to wake us only when there are many, or when a moment has passed.
type gather struct {
	socket *net.TCPConn // nil where this does not work: the lengths of TLS reads say nothing
	busy   bool
	reads  int       // since
	since  time.Time // this
}

const (
	gatherBytes = 32 << 10
	gatherWait  = 10 * time.Millisecond
	busyReads   = 64 // so many reads within
	busyTime    = 10 * time.Millisecond
)

func (g *gather) open(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		g.socket = c
	}
}

// read reads what is there, or waits for it.
func (w *wire) read(b []byte) (int, error) {
	g := &w.gather
	if g.socket == nil {
		return w.conn.Read(b)
	}
	if !g.busy {
		n, err := w.conn.Read(b)
		if g.reads++; g.reads == busyReads {
			if now := time.Now(); now.Sub(g.since) < busyTime {
				g.busy = setLowWater(g.socket, gatherBytes) == nil
			}
			g.reads, g.since = 0, time.Now()
		}
		return n, err
	}
	soon := time.Now().Add(gatherWait)
	if err := w.shorten(soon); err != nil {
		return 0, err
	}
	n, err := w.conn.Read(b)
	if err == nil || !timedOut(err) {
		return n, err
	}
	// It has become quiet, or slow.
	g.busy, g.reads, g.since = false, 0, time.Now()
	if err := setLowWater(g.socket, 1); err != nil {
		return 0, err
	}
	w.mu.Lock()
	err = w.setDeadline(w.deadline)
	w.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return w.conn.Read(b)
}

// shorten makes the next read end at t, or earlier where that was asked for.
func (w *wire) shorten(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.deadline.IsZero() && w.deadline.Before(t) {
		t = w.deadline
	}
	return w.setDeadline(t)
}
