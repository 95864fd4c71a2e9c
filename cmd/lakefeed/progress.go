package main

import (
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"lakefeed/pipeline"
)

// progress shows the first copies: bars on a terminal, a line in the log every few
// seconds elsewhere. What is written to it, such as the log, appears above the bars.
type progress struct {
	out      io.Writer
	terminal bool
	log      *slog.Logger
	said     map[string]time.Time // when a line was last printed, by table

	mu      sync.Mutex // guards what follows
	bars    *mpb.Progress
	refresh chan any            // draws the bars anew
	gone    chan any            // closed when the bars have ended, as they do when the terminal goes away
	bar     map[string]*mpb.Bar // of the tables that are being copied
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, bar: map[string]*mpb.Bar{}, said: map[string]time.Time{}}
	if f, ok := out.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// Write prints text above the bars.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars != nil {
		if n, err := p.bars.Write(b); err == nil {
			return n, nil
		}
	}
	return p.out.Write(b)
}

// watch looks at the pipelines until stop is called.
func (p *progress) watch(statuses func() []pipeline.Status, log *slog.Logger) (stop func()) {
	p.log = log
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.show(statuses(), time.Now())
			case <-quit:
				p.show(statuses(), time.Now())
				return
			}
		}
	})
	return func() {
		close(quit)
		done.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.clear()
	}
}

// draw asks for n drawings of what was written and set. A request is taken up once
// the one before it has been drawn, so that after the third the first is visible.
func (p *progress) draw(n int) {
	for range n {
		select {
		case p.refresh <- time.Now():
		case <-p.gone:
		}
	}
}

// clear ends the bars that are left; the terminal is then the log's alone.
func (p *progress) clear() {
	if p.bars == nil {
		return
	}
	for name, b := range p.bar {
		b.Abort(false)
		delete(p.bar, name)
	}
	p.draw(3)
	p.bars.Shutdown()
	p.bars = nil
}

// show brings what is shown up to date.
func (p *progress) show(list []pipeline.Status, now time.Time) {
	p.mu.Lock()
	var lines []func()
	for _, s := range list {
		for _, t := range s.Tables {
			name := s.Pipeline + "/" + t.Table
			if p.terminal {
				p.showBar(name, t)
			} else if p.lineDue(name, t, now) {
				lines = append(lines, func() {
					args := []any{"table", t.Table, "rows", t.CopyRows, "of_about", max(t.Estimate, t.CopyRows)}
					if text := chunkText(&t); text != "" {
						args = append(args, "chunks", text)
					}
					p.log.Info("copying", args...)
				})
			}
		}
	}
	if p.bars != nil && len(p.bar) == 0 {
		p.clear()
	} else if p.bars != nil {
		p.draw(1)
	}
	p.mu.Unlock()
	for _, l := range lines { // the log may write to p
		l()
	}
}

func (p *progress) showBar(name string, t pipeline.TableStatus) {
	bar := p.bar[name]
	if t.State != pipeline.Copying {
		if bar != nil {
			bar.SetCurrent(t.CopyRows)
			bar.SetTotal(-1, true) // done, whatever the estimate was
			delete(p.bar, name)
		}
		return
	}
	if p.bars == nil {
		p.refresh, p.gone = make(chan any), make(chan any)
		p.bars = mpb.New(mpb.WithOutput(p.out), mpb.WithWidth(40), mpb.WithManualRefresh(p.refresh), mpb.WithShutdownNotifier(p.gone))
	}
	if bar == nil {
		var err error
		bar, err = p.bars.Add(max(t.Estimate, 1), mpb.BarStyle().Build(),
			mpb.PrependDecorators(decor.Name(t.Table, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CurrentNoUnit("%d rows"), decor.Name(" "), decor.Elapsed(decor.ET_STYLE_GO)))
		if err != nil {
			return // the terminal went away
		}
		p.bar[name] = bar
	}
	if t.CopyRows >= t.Estimate {
		bar.SetTotal(t.CopyRows+1, false) // an estimate may be too low; the bar ends when the copy does
	}
	bar.SetCurrent(t.CopyRows)
}

// lineEvery is how often a copy is worth a line.
const lineEvery = 5 * time.Second

// lineDue reports whether it is time for a line about a table. Short copies get none.
func (p *progress) lineDue(name string, t pipeline.TableStatus, now time.Time) bool {
	last, known := p.said[name]
	if t.State != pipeline.Copying {
		delete(p.said, name)
		return false
	}
	if known && now.Sub(last) < lineEvery {
		return false
	}
	p.said[name] = now
	return known
}
