package main

import (
	"context"
	"fmt"
	"log/slog"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage"
	"lakefeed/storage/all"
)

// runner is a pipeline: a *pipeline.Pipeline, or a *pipeline.Group where several slots
// share its tables.
type runner interface {
	Run(ctx context.Context) error
	Status() pipeline.Status
	Hold(ctx context.Context) (change.LSN, error)
	Cut(ctx context.Context, lsn change.LSN) (map[string]string, error)
	Instruct(ctx context.Context, table string, verb pipeline.Verb) (pipeline.Order, error)
	Snapshot(ctx context.Context, table, where string, columns ...string) (pipeline.Snapshot, error)
	Adopt(ctx context.Context, table string, a pipeline.Adoption) (pipeline.Order, error)
	Leave(ctx context.Context, table string, l pipeline.Leaving) (pipeline.Order, error)
	Drop(ctx context.Context, really bool) (pipeline.Dropped, error)
}

// openRunner makes the pipeline of a configuration, with options that mod has changed.
// Close ends its connections to the source, once it has ended.
func openRunner(ctx context.Context, p *config.Pipeline, lake storage.Store, log *slog.Logger, mod func(*pipeline.Options)) (run runner, closeSource func(context.Context), err error) {
	o := p.Options(log)
	o.Lake = lake
	if p.Spool.URL != "" {
		if o.Spool, err = all.Open(ctx, p.Spool.URL); err != nil {
			return nil, nil, fmt.Errorf("open spool: %w", err)
		}
	}
	mod(&o)
	if p.ShardOf != "" && o.Shards == nil {
		o.Shards = openShards(p, lake, log, o.Listen, o.OnPhase)
	}
	divided := !p.Slots.None()
	if !divided {
		// A lake that is away is met again by the pipeline, which may go on without it.
		if had, err := pipeline.Divided(ctx, lake, p.Name); err == nil {
			divided = had
		}
	}
	if divided {
		source := p.SlotSources(log)
		group, err := pipeline.NewGroup(pipeline.GroupOptions{
			Options: o, Slots: p.Slots,
			Open: func(ctx context.Context, slot string, mine func(schema, table string) bool) (pipeline.SlotSource, error) {
				c, err := postgres.Open(ctx, source(slot, mine))
				if err != nil {
					return nil, err
				}
				return c, nil
			},
		})
		if err != nil {
			return nil, nil, err
		}
		return group, func(context.Context) {}, nil
	}
	source, err := postgres.Open(ctx, p.Source(log))
	if err != nil {
		return nil, nil, err
	}
	closeSource = func(ctx context.Context) { _ = source.Close(context.WithoutCancel(ctx)) } // nothing is lost with a connection
	o.Source = sourceOf(p, source)
	one, err := pipeline.New(o)
	if err != nil {
		closeSource(ctx)
		return nil, nil, err
	}
	return one, closeSource, nil
}

// openShards makes what the pipelines of the shards of one in the configuration share, p one of them.
func openShards(p *config.Pipeline, lake storage.Store, log *slog.Logger, listen string, phase func(string)) *pipeline.Shards {
	o := p.Shards()
	o.Lake, o.Logger, o.Listen, o.OnPhase = lake, log, listen, phase
	return pipeline.NewShards(o)
}

// sourceOf is the source of a pipeline, which may be that of a shard.
func sourceOf(p *config.Pipeline, c *postgres.Connector) pipeline.Source {
	if p.ShardOf == "" {
		return c
	}
	return pipeline.NewShardSource(c, pipeline.ShardOf(p.Name), p.ShardInKey)
}
