package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"lakefeed/config"
	"lakefeed/metrics"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/server"
	"lakefeed/storage"
	"lakefeed/storage/all"
)

// service is what `run` and `demo` run: pipelines side by side, and the server
// that tells of them.
type service struct {
	pipelines []config.Pipeline
	once      bool
	listen    string // address of the server; empty: none
	mustBind  bool   // the address was asked for: another will not do
	phase     func(string)
	log       *slog.Logger

	mu      sync.Mutex
	members []*member
}

// member is one pipeline with all that it needs.
type member struct {
	name   string
	source *postgres.Connector
	lake   storage.Store
	*pipeline.Pipeline
}

// run returns when every pipeline has ended: by itself, by an error, or because
// ctx ended, which is none. A pipeline that fails leaves the others running.
func (s *service) run(ctx context.Context) error {
	l, err := s.bind(ctx)
	if err != nil {
		return err
	}
	address := ""
	if l != nil {
		address = l.Addr().String()
	}
	m := metrics.New(versionText())
	var errs []error
	for i := range s.pipelines {
		p := &s.pipelines[i]
		member, err := s.open(ctx, p, address, m)
		if err != nil {
			errs = append(errs, fmt.Errorf("pipeline %s: %w", p.Name, err))
			if len(s.pipelines) > 1 {
				s.log.Error("pipeline did not start", "pipeline", p.Name, "error", err)
			}
			continue
		}
		defer func() { _ = member.source.Close(context.WithoutCancel(ctx)) }() // nothing is lost with a connection
		s.mu.Lock()
		s.members = append(s.members, member)
		s.mu.Unlock()
	}
	stop := s.serve(ctx, l, m)
	errs = append(errs, s.runAll(ctx)...)
	errs = append(errs, stop())
	if len(errs) == 2 && errs[1] == nil {
		return errs[0] // the usual case, without another layer
	}
	return errors.Join(errs...)
}

// runAll runs the pipelines that opened, and returns an error for each.
func (s *service) runAll(ctx context.Context) []error {
	errs := make([]error, len(s.members))
	var wg sync.WaitGroup
	for i, m := range s.members {
		wg.Go(func() {
			err := m.Run(ctx)
			if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return
			}
			errs[i] = fmt.Errorf("pipeline %s: %w", m.name, err)
			if len(s.members) > 1 {
				s.log.Error("pipeline stopped", "pipeline", m.name, "error", err)
			}
		})
	}
	wg.Wait()
	return errs
}

// open connects a pipeline to its source and its lake.
func (s *service) open(ctx context.Context, p *config.Pipeline, address string, m *metrics.Metrics) (*member, error) {
	lake, err := all.Open(ctx, p.Lake.URL)
	if err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	source, err := postgres.Open(ctx, p.Source(s.log))
	if err != nil {
		return nil, err
	}
	o := p.Options(s.log)
	o.Source, o.Lake, o.Once, o.Listen, o.OnPhase = source, lake, s.once, address, s.phase
	o.Retryable, o.Observer = postgres.Retryable, m.Observer(p.Name)
	run, err := pipeline.New(o)
	if err != nil {
		_ = source.Close(context.WithoutCancel(ctx)) // nothing was done with it
		return nil, err
	}
	m.Watch(run.Status)
	return &member{name: p.Name, source: source, lake: lake, Pipeline: run}, nil
}

// bind opens the server's port. The default one may be another process's: any
// free port will do, since the pipelines' locks say which it is.
func (s *service) bind(ctx context.Context) (net.Listener, error) {
	if s.listen == "" {
		return nil, nil
	}
	if err := config.CheckListen(s.listen); err != nil {
		return nil, &usageError{err.Error()}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.listen)
	if err != nil && !s.mustBind {
		s.log.Warn("the default address is taken, another port is used", "address", s.listen)
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("listen at %s (is another lakefeed running? --listen names another address): %w", s.listen, err)
	}
	return l, nil
}

// serve starts the server, if there is to be one, and returns what ends it.
func (s *service) serve(ctx context.Context, l net.Listener, m *metrics.Metrics) (stop func() error) {
	if l == nil {
		return func() error { return nil }
	}
	o := server.Options{Version: versionText(), Pipelines: map[string]server.Pipeline{}, Metrics: m.Handler(), Logger: s.log}
	for _, m := range s.members {
		o.Order = append(o.Order, m.name)
		o.Pipelines[m.name] = m
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it answers until the last pipeline has ended
	done := make(chan error, 1)
	go func() { done <- server.New(o).Serve(ctx, l) }()
	s.log.Info("server listens", "address", "http://"+l.Addr().String())
	return func() error {
		cancel()
		return <-done
	}
}

// statuses is the status of every pipeline that opened.
func (s *service) statuses() []pipeline.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []pipeline.Status
	for _, m := range s.members {
		list = append(list, m.Status())
	}
	return list
}
