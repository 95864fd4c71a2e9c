package pipeline

import (
	"context"
	"time"

	"lakefeed/change"
)

// newcomer is what the status says of a table that came to the source a moment ago.
const newcomer = "it is new in the source and about to be taken in"

// The time after which the source's tables are looked at again is ten commit
// intervals, within these; where a look takes long, twenty times as long as it took, or lookSeldom:
// it may have waited for somebody's lock.
const (
	lookLeast  = time.Second
	lookMost   = 3 * time.Second
	lookSeldom = 10 * time.Minute
)

// watchTables looks now and then at the source's tables. New ones that the configuration
// takes are noted, and the writer takes them in: see [Pipeline.admit]. The others are judged when the lake has come as far as the look: see [Pipeline.judge].
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
		tick.Reset(max(wait, min(20*time.Since(began), lookSeldom)))
		if err != nil {
			continue // the stream meets the same source, and reports it
		}
		p.looked.CompareAndSwap(nil, look)
		if fresh := p.noteNewcomers(look.Tables); len(fresh) > 0 {
			p.log.Info("tables are new in the source", "tables", fresh)
			p.awake()
		}
	}
}

// noteNewcomers notes the tables that are not among the pipeline's, and returns the names
// of those that were not noted before. With Once they are left to the next start.
func (p *Pipeline) noteNewcomers(tables []*change.Table) (fresh []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newcomers, p.seen = nil, map[string]bool{}
	for _, v := range tables {
		name := v.String()
		p.seen[name] = true
		if p.byName[name] != nil || p.orders[name].Removed || p.opts.Once {
			continue
		}
		p.newcomers = append(p.newcomers, name)
		if p.fresh[name] == nil {
			fresh = append(fresh, name)
		}
		p.fresh[name] = v
	}
	return fresh
}
