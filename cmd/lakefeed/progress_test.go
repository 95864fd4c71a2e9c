package main

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"lakefeed/pipeline"
)

func copying(state pipeline.State, rows int64) []pipeline.Status {
	return []pipeline.Status{{Pipeline: "shop", Tables: []pipeline.TableStatus{{Table: "public.orders", State: state, CopyRows: rows, Estimate: 100}}}}
}

// screen is a terminal that a test can read.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func TestProgressBars(t *testing.T) {
	out := new(screen)
	p := newProgress(out)
	p.terminal = true
	stop := p.watch(func() []pipeline.Status { return nil }, slog.New(slog.NewTextHandler(p, nil)))
	now := time.Now()
	p.show(copying(pipeline.Copying, 50), now)
	p.log.Info("above the bar")
	p.show(copying(pipeline.Copying, 250), now) // more than the estimate
	p.show(copying(pipeline.Streaming, 250), now)
	p.show(copying(pipeline.Copying, 1), now) // a bar that is cut short at the end
	stop()
	p.log.Info("after the end")
	for _, want := range []string{"public.orders", "above the bar", "250 rows", "after the end"} {
		if !strings.Contains(out.buf.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.buf.String())
		}
	}
}

func TestProgressLines(t *testing.T) {
	out := new(screen)
	p := newProgress(out)
	p.log = slog.New(slog.NewTextHandler(p, nil))
	now := time.Now()
	for i := range 12 {
		p.show(copying(pipeline.Copying, int64(i)), now.Add(time.Duration(i)*time.Second))
	}
	p.show(copying(pipeline.Streaming, 12), now.Add(time.Minute))
	if got := strings.Count(out.buf.String(), "table=public.orders"); got != 2 {
		t.Errorf("%d lines in 12 seconds, want 2:\n%s", got, out.buf.String())
	}
}
