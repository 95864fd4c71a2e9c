package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/metrics"
	"lakefeed/pipeline"
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

	mu      sync.Mutex // guards what follows
	members []*member
	shards  map[string]*pipeline.Shards // by the name of the pipeline in the configuration
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
	for i := range s.pipelines {
		member := s.add(&s.pipelines[i], address, m)
		defer member.close(ctx)
		m.Watch(member.Status)
		m.WatchStorage(member.name, member.requests)
		s.mu.Lock()
		s.members = append(s.members, member)
		s.mu.Unlock()
	}
	stop := s.serve(ctx, l, m)
	var wg sync.WaitGroup
	for _, m := range s.members {
		wg.Go(func() { m.run(ctx) })
	}
	wg.Wait()
	var errs []error
	for _, m := range s.members {
		errs = append(errs, m.failure())
	}
	if len(errs) == 1 && errs[0] != nil {
		return errors.Join(errs[0], stop())
	}
	return errors.Join(append(errs, stop())...)
}

// add makes the member that runs a pipeline.
func (s *service) add(p *config.Pipeline, address string, m *metrics.Metrics) *member {
	me := &member{name: p.Name, again: !s.once, log: s.log, stopped: slog.New(slog.DiscardHandler)}
	if len(s.pipelines) > 1 { // the error of a single one ends the process, which prints it
		me.stopped = s.log
	}
	var matches []string
	for _, t := range p.Tables {
		matches = append(matches, t.Match.String())
	}
	me.matches = strings.Join(matches, ", ")
	me.open = func(ctx context.Context, parts *parts) (err error) {
		if parts.lake, err = all.Open(ctx, p.Lake.URL); err != nil {
			return fmt.Errorf("open lake: %w", err)
		}
		parts.pipeline, parts.close, err = openRunner(ctx, p, parts.lake, s.log, func(o *pipeline.Options) {
			o.Once, o.Listen, o.OnPhase = s.once, address, s.phase
			o.Retryable, o.RetryTable, o.Observer = worthRetry, tableWorthRetry, m.Observer(p.Name)
			o.Recopy = recopies
			o.Shards = s.shardsOf(p, parts.lake, address)
		})
		return err
	}
	return me
}

// shardsOf is what the pipelines of all shards share; nil: the pipeline is that of none.
func (s *service) shardsOf(p *config.Pipeline, lake storage.Store, address string) *pipeline.Shards {
	if p.ShardOf == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shards == nil {
		s.shards = map[string]*pipeline.Shards{}
	}
	if s.shards[p.ShardOf] == nil {
		s.shards[p.ShardOf] = openShards(p, lake, s.log, address, s.phase)
	}
	return s.shards[p.ShardOf]
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

// member is the first pipeline, nil while none is there.
func (s *service) member() *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.members) == 0 {
		return nil
	}
	return s.members[0]
}

// recopies lets a table be copied anew by itself where a change of its schema is why: what
// else has happened to it, somebody should hear of first.
func recopies(_ *change.Table, why *pipeline.AnewError) bool { return why.Schema }
