package hudi

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
)

// runScans yields the batches of all scans, several of which run at a time (0: as many
// as there are processors to run on). Of each running scan one batch is being made, and
// as many batches as run at a time may wait to be taken. A batch is valid during the
// call.
//
// Where scans fail the error is that of the first of them, as if they had run one after
// the other; scans before it are read to their end.
func runScans(ctx context.Context, scans []*sliceScan, parallel int, yield func(arrow.RecordBatch) error) error {
	if parallel == 0 {
		parallel = runtime.GOMAXPROCS(0)
	}
	if parallel = min(parallel, len(scans)); parallel <= 1 {
		for _, s := range scans {
			if err := s.run(ctx, yield); err != nil {
				return err
			}
		}
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := &scanPool{scans: scans, failed: len(scans), running: map[int]context.CancelFunc{}, out: make(chan arrow.RecordBatch, parallel)}
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() { p.work(ctx) })
	}
	go func() {
		workers.Wait()
		close(p.out)
	}()
	var enough error
	for batch := range p.out {
		if enough == nil {
			if enough = yield(batch); enough != nil {
				stop() // and let what waits go
			}
		}
		batch.Release()
	}
	if enough != nil {
		return enough
	}
	return p.err
}

// scanPool shares scans out.
type scanPool struct {
	scans []*sliceScan
	out   chan arrow.RecordBatch

	mu      sync.Mutex
	next    int
	running map[int]context.CancelFunc
	failed  int   // the first scan that failed
	err     error // of that
}

func (p *scanPool) work(ctx context.Context) {
	for {
		n, scanCtx, done := p.take(ctx)
		if n < 0 {
			return
		}
		err := p.scans[n].run(scanCtx, func(batch arrow.RecordBatch) error {
			batch.Retain()
			select {
			case p.out <- batch:
				return nil
			case <-scanCtx.Done():
				batch.Release()
				return scanCtx.Err()
			}
		})
		done()
		p.end(n, err)
	}
}

// take takes the next scan, -1 when there is none or it does not matter any more.
func (p *scanPool) take(ctx context.Context) (int, context.Context, context.CancelFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next >= p.failed {
		return -1, nil, nil
	}
	n := p.next
	p.next++
	scanCtx, cancel := context.WithCancel(ctx)
	p.running[n] = cancel
	return n, scanCtx, cancel
}

// end notes how a scan ended, and stops those behind one that failed.
func (p *scanPool) end(n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, n)
	if err == nil || n >= p.failed {
		return
	}
	p.failed, p.err = n, err
	for other, cancel := range p.running {
		if other > n {
			cancel()
		}
	}
}

// errEnough ends a scan whose reader has seen enough.
var errEnough = errors.New("the reader stopped")
