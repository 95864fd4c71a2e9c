package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"lakefeed/change"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage"
)

// member is one pipeline of a service, with all that it needs. It is there even
// when it did not start or has stopped, so that status and readiness tell.
type member struct {
	name     string
	log      *slog.Logger
	source   *postgres.Connector
	lake     storage.Store
	pipeline *pipeline.Pipeline // nil when it did not start

	mu  sync.Mutex
	err error // why it did not start or has stopped
}

// run runs the pipeline to its end.
func (m *member) run(ctx context.Context) {
	if m.pipeline == nil {
		return
	}
	err := m.pipeline.Run(ctx)
	if err != nil && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) {
		m.fail(err)
	}
}

func (m *member) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
	m.log.Error("pipeline stopped", "pipeline", m.name, "error", err)
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
	if m.source != nil {
		_ = m.source.Close(context.WithoutCancel(ctx)) // nothing is lost with a connection
	}
}

// Status is the pipeline's, or says why there is none.
func (m *member) Status() pipeline.Status {
	s := pipeline.Status{Pipeline: m.name, State: pipeline.Waiting, SlotLag: -1}
	if m.pipeline != nil {
		s = m.pipeline.Status()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		s.State, s.Error = pipeline.Failed, m.err.Error()
	}
	return s
}

// Hold holds the pipeline, if it runs.
func (m *member) Hold(ctx context.Context) (change.LSN, error) {
	if err := m.failure(); err != nil {
		return 0, err
	}
	return m.pipeline.Hold(ctx)
}

// Cut cuts the pipeline, if it runs.
func (m *member) Cut(ctx context.Context, lsn change.LSN) (map[string]string, error) {
	if err := m.failure(); err != nil {
		return nil, err
	}
	return m.pipeline.Cut(ctx, lsn)
}
