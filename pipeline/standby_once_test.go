package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"lakefeed/pipeline"
)

// byHand publishes what the pipeline asks for, as somebody does on the primary.
func (p *pair) byHand() {
	p.t.Helper()
	_, statements, asks := strings.Cut(p.once().Error(), "do it): ")
	if !asks {
		p.t.Fatal("nothing is asked for")
	}
	p.db.Exec(p.t, strings.Split(statements, "; ")...)
	p.caughtUp()
}

// onIdle does something that may make slots on the standby of a primary on which nothing happens,
// but that somebody has it log its running transactions.
func (p *pair) onIdle(do func() error) {
	p.t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				p.t.Fatal(err)
			}
			return
		case <-tick.C:
			p.db.Exec(p.t, "select pg_log_standby_snapshot()")
		}
	}
}

// TestOnceOfStandbyByHand: where nothing can be written into the source, Once waits all the same for copies in
// chunks that the stream has to pass, and takes what came by then.
func TestOnceOfStandbyByHand(t *testing.T) {
	t.Parallel()
	p := newStandbyRig(t, 16, nil, toasted...)
	p.rig.primary, p.snapshot = "", p.standby.URL("shop")
	p.byHand()
	source := &held{Connector: p.source(), meet: func() {
		p.db.Exec(t, "insert into t values (-1, 1, 'a')", "update t set n = -1 where id = 7")
		end := p.lsn("select pg_current_wal_lsn()")
		p.await("the stream has come past where the standby was at the start", func() bool { return p.recorded() >= end })
	}}
	p.onIdle(func() error { return p.once(fromStandby, func(o *options) { o.Source = source }) })
	var report *pipeline.Report
	p.onIdle(func() (err error) { report, err = p.validation(nil); return err })
	p.inStep(report, nil)
}
