package pipeline

import (
	"errors"
	"time"
)

// errAgain ends a session whose stopped tables are tried again by the next one: a
// start knows best how far each of them is.
var errAgain = errors.New("tables that stopped are tried again")

// The time after which a table is tried again is three commit intervals, within these.
const (
	againLeast = 2 * time.Second
	againMost  = 30 * time.Second
)

// again says when the tables that stopped for a reason that passes by itself, as a
// disk that is full, are to be tried again. The zero value is ready to be used.
type again struct {
	at time.Time // zero: there are none
}

// due reports whether the time has come.
func (a *again) due(p *Pipeline) bool {
	if p.opts.Once || p.opts.RetryTable == nil {
		return false
	}
	passes := false
	p.failures.Range(func(_, err any) bool {
		passes = p.opts.RetryTable(err.(error)) // only errors are stored
		return !passes
	})
	switch {
	case !passes:
		a.at = time.Time{}
	case a.at.IsZero():
		a.at = time.Now().Add(max(againLeast, min(3*p.opts.Interval, againMost)))
	}
	return passes && time.Now().After(a.at)
}
