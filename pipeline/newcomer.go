package pipeline

import (
	"context"
	"slices"
	"time"

	"lakefeed/change"
)

// newcomer is what the status says of a table that came to the source since the start.
const newcomer = "it is new in the source and not yet taken in: the next start copies it"

// The time after which the source's tables are looked at again is ten commit
// intervals, within these; where a look takes long, twenty times as long as it took.
const (
	lookLeast = time.Second
	lookMost  = 3 * time.Second
)

// watchTables looks now and then at the source's tables. New ones that the configuration
// takes are noted: a start takes them in, since their first copy needs a snapshot of its
// own. The others are judged when the lake has come as far as the look: see [Pipeline.judge].
func (p *Pipeline) watchTables(ctx context.Context) {
	wait := max(lookLeast, min(10*p.opts.Interval, lookMost))
	tick := time.NewTimer(wait)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.watchReplay(ctx)
		began := time.Now()
		look, err := p.opts.Source.Look(ctx)
		tick.Reset(max(wait, 20*time.Since(began)))
		if err != nil {
			continue // the stream meets the same source, and reports it
		}
		p.looked.CompareAndSwap(nil, look)
		for _, name := range p.noteNewcomers(namesOf(look.Tables)) {
			p.log.Warn("a new table is not yet taken in: the next start copies it", "table", name)
		}
	}
}

func namesOf(tables []*change.Table) []string {
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.String()
	}
	return names
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
