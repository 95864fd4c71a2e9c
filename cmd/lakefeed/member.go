package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"lakefeed/change"
	"lakefeed/pipeline"
	"lakefeed/storage"
)

// member is one pipeline of a service, with all that it needs. It is there even
// when it did not start or has stopped, so that status and readiness tell.
type member struct {
	name    string
	matches string       // the patterns of its tables
	again   bool         // a source that is away is tried again
	stopped *slog.Logger // told when it has; silent where the process ends with that, and prints it
	log     *slog.Logger
	open    func(context.Context, *parts) error

	mu sync.Mutex
	parts
	err error // why it did not start or has stopped
}

// parts are what a pipeline works with.
type parts struct {
	lake     storage.Store
	pipeline runner                // nil while it has not started
	close    func(context.Context) // ends its connections to the source
}

// start connects the pipeline to its source and its lake. Where that fails, the
// member says so.
func (m *member) start(ctx context.Context) error {
	var p parts
	err := m.open(ctx, &p)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parts, m.err = p, err
	return err
}

// requests is what the lake's server was asked; nil where it has none.
func (m *member) requests() *storage.Requests {
	m.mu.Lock()
	defer m.mu.Unlock()
	if asking, ok := m.lake.(interface{ Requests() *storage.Requests }); ok {
		return asking.Requests()
	}
	return nil
}

// The first and the longest wait for a source that is away at the start.
const (
	startFirst = time.Second
	startLast  = 30 * time.Second
)

// run runs the pipeline to its end.
func (m *member) run(ctx context.Context) {
	err := m.start(ctx)
	for wait := startFirst; err != nil && m.again && worthRetry(err); wait = min(2*wait, startLast) {
		m.log.Warn("pipeline cannot start, trying again", "pipeline", m.name, "error", err, "in", wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err = m.start(ctx)
	}
	if err == nil {
		err = m.started().Run(ctx)
	}
	if errors.Is(err, pipeline.ErrNoTables) {
		err = fmt.Errorf("%w (%s)", err, m.matches)
	}
	if err != nil && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) {
		m.fail(err)
	}
}

func (m *member) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
	m.stopped.Error("pipeline stopped", "pipeline", m.name, "error", err)
}

// failure is why the pipeline did not start or has stopped, nil where neither is so.
func (m *member) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		return nil
	}
	return fmt.Errorf("pipeline %s: %w", m.name, m.err)
}

func (m *member) close(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.parts.close != nil {
		m.parts.close(ctx)
	}
}

// started is the pipeline, nil while it has not started.
func (m *member) started() runner {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pipeline
}

// Status is the pipeline's, or says why there is none.
func (m *member) Status() pipeline.Status {
	s := pipeline.Status{Pipeline: m.name, State: pipeline.Waiting, SlotLag: -1}
	if p := m.started(); p != nil {
		s = p.Status()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		s.State, s.Error = pipeline.Failed, m.err.Error()
	}
	return s
}

// running is the pipeline, if it runs.
func (m *member) running() (runner, error) {
	if err := m.failure(); err != nil {
		return nil, err
	}
	if p := m.started(); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("pipeline %s: it has not started yet", m.name)
}

// Hold holds the pipeline, if it runs.
func (m *member) Hold(ctx context.Context) (change.LSN, error) {
	p, err := m.running()
	if err != nil {
		return 0, err
	}
	return p.Hold(ctx)
}

// Cut cuts the pipeline, if it runs.
func (m *member) Cut(ctx context.Context, lsn change.LSN) (map[string]string, error) {
	p, err := m.running()
	if err != nil {
		return nil, err
	}
	return p.Cut(ctx, lsn)
}

// Instruct asks something for one table of the pipeline, if it runs.
func (m *member) Instruct(ctx context.Context, table string, verb pipeline.Verb) (pipeline.Order, error) {
	p, err := m.running()
	if err != nil {
		return pipeline.Order{}, err
	}
	return p.Instruct(ctx, table, verb)
}

// Adopt asks for a table of another job to be taken over, if the pipeline runs.
func (m *member) Adopt(ctx context.Context, table string, a pipeline.Adoption) (pipeline.Order, error) {
	p, err := m.running()
	if err != nil {
		return pipeline.Order{}, err
	}
	return p.Adopt(ctx, table, a)
}

// Leave asks for a table to be left to another pipeline, if the pipeline runs.
func (m *member) Leave(ctx context.Context, table string, l pipeline.Leaving) (pipeline.Order, error) {
	p, err := m.running()
	if err != nil {
		return pipeline.Order{}, err
	}
	return p.Leave(ctx, table, l)
}

// Snapshot asks for rows of a table of the pipeline to be read anew, if it runs.
func (m *member) Snapshot(ctx context.Context, table, where string, columns ...string) (pipeline.Snapshot, error) {
	p, err := m.running()
	if err != nil {
		return pipeline.Snapshot{}, err
	}
	return p.Snapshot(ctx, table, where, columns...)
}
