package main

import (
	"io"
	"log/slog"
	"os"
	"strconv"
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
	out  io.Writer
	log  *slog.Logger
	bars *mpb.Progress       // nil where there is no terminal
	bar  map[string]*mpb.Bar // of the tables that are being copied
	said map[string]time.Time
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, bar: map[string]*mpb.Bar{}, said: map[string]time.Time{}}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bars = mpb.New(mpb.WithOutput(f), mpb.WithWidth(40), mpb.WithAutoRefresh())
	}
	return p
}

// Write prints text above the bars.
func (p *progress) Write(b []byte) (int, error) {
	if p.bars != nil {
		if n, err := p.bars.Write(b); err == nil {
			return n, nil
		} // its end has come
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
		if p.bars != nil {
			for _, b := range p.bar {
				b.Abort(false)
			}
			p.bars.Shutdown()
		}
	}
}

// show brings what is shown up to date.
func (p *progress) show(list []pipeline.Status, now time.Time) {
	for _, s := range list {
		for _, t := range s.Tables {
			name := s.Pipeline + "/" + t.Table
			if p.bars != nil {
				p.showBar(name, t)
			} else {
				p.showLine(name, t, now)
			}
		}
	}
}

func (p *progress) showBar(name string, t pipeline.TableStatus) {
	bar := p.bar[name]
	if t.State != pipeline.Copying {
		if bar != nil {
			bar.SetTotal(-1, true) // done, whatever the estimate was
			delete(p.bar, name)
		}
		return
	}
	if bar == nil {
		bar = p.bars.AddBar(max(t.Estimate, 1),
			mpb.PrependDecorators(decor.Name(t.Table, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CurrentNoUnit("%d rows"), decor.Name(" "), decor.Elapsed(decor.ET_STYLE_GO)))
		p.bar[name] = bar
	}
	if t.CopyRows >= t.Estimate {
		bar.SetTotal(t.CopyRows+1, false) // an estimate may be too low; the bar ends when the copy does
	}
	bar.SetCurrent(t.CopyRows)
}

const lineEvery = 5 * time.Second

func (p *progress) showLine(name string, t pipeline.TableStatus, now time.Time) {
	last, known := p.said[name]
	switch {
	case t.State != pipeline.Copying:
		delete(p.said, name)
	case !known:
		p.said[name] = now // short copies are not worth a line
	case now.Sub(last) >= lineEvery:
		p.said[name] = now
		p.log.Info("copying", "table", t.Table, "rows", t.CopyRows, "of_about", max(t.Estimate, t.CopyRows))
	}
}

// thousands is a number that people can read: 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
