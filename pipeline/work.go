package pipeline

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// writeRounds writes rounds as they come, takes in what is asked for tables, and has jobs
// work on those that stand aside, until there are no more rounds. With Once it then drains
// what can be.
func (p *Pipeline) writeRounds(ctx context.Context, rounds <-chan *round) (err error) {
	jobCtx, stop := context.WithCancel(ctx)
	j := &jobs{done: make(chan result), group: new(errgroup.Group)}
	defer func() {
		stop()
		_ = j.group.Wait() // what a job says comes through done
	}()
	for open := true; ; {
		p.recordOrders(ctx)
		p.obey(ctx)
		p.admit(ctx)
		p.discard(ctx)
		next := p.startJobs(jobCtx, j)
		if !open && (!p.opts.Once || !j.running()) {
			p.recordStops(ctx)
			return nil
		}
		var tick <-chan time.Time
		if !next.IsZero() {
			tick = time.After(max(0, time.Until(next)))
		}
		select {
		case r, more := <-rounds:
			if open = more; more {
				err = p.writeRound(ctx, r)
			} else {
				rounds = nil
				p.passed.end()
			}
		case r := <-j.done:
			err = p.finish(ctx, j, r)
		case <-p.wake:
		case <-tick:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func (j *jobs) running() bool { return j.drains > 0 || j.copies > 0 }
