package pipeline

import (
	"context"
	"slices"
	"time"
)

// newcomer is what the status says of a table that came to the source since the start.
const newcomer = "it is new in the source and not yet taken in: the next start copies it"

// The time after which the source's tables are looked at again is ten commit
// intervals, within these.
const (
	lookLeast = time.Second
	lookMost  = 30 * time.Second
)

// watchTables looks now and then for tables that the configuration takes and that are
// new: a start takes them in, since their first copy needs a snapshot of its own.
func (p *Pipeline) watchTables(ctx context.Context) {
	tick := time.NewTicker(max(lookLeast, min(10*p.opts.Interval, lookMost)))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		names, err := p.opts.Source.Names(ctx)
		if err != nil {
			continue // the stream meets the same source, and reports it
		}
		for _, name := range p.noteNewcomers(names) {
			p.log.Warn("a new table is not yet taken in: the next start copies it", "table", name)
		}
	}
}

// noteNewcomers notes the names that are not among the pipeline's tables, and returns
// those that were not noted before.
func (p *Pipeline) noteNewcomers(names []string) (fresh []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	names = slices.DeleteFunc(names, func(name string) bool { return p.byName[name] != nil })
	for _, name := range names {
		if !slices.Contains(p.newcomers, name) {
			fresh = append(fresh, name)
		}
	}
	p.newcomers = names
	return fresh
}
