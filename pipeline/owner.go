package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"lakefeed/hudi"
	"lakefeed/storage"
)

// Owner is the pipeline that fills a table, as the table's newest checkpoint says.
type Owner struct {
	Pipeline string
	Path     string // the table's folder in the pipeline's lake

	streams []string // that keep its progress: one, or those of the shards that it has rows of
}

// OwnerOf is a table's pipeline; nil for a table that no pipeline fills.
func OwnerOf(ctx context.Context, t *hudi.Table) (*Owner, error) {
	all, err := checkpoints(ctx, t)
	if err != nil || len(all) == 0 || all[0].Pipeline == "" {
		return nil, err
	}
	var streams []string
	for _, c := range all {
		streams = append(streams, c.Pipeline)
	}
	at := all[0]
	return &Owner{cmp.Or(at.Writer, at.Pipeline), cmp.Or(at.Path, strings.Replace(at.Table, ".", "/", 1)), streams}, nil
}

// Hold keeps the owner's pipeline from running, by its lock in the lake, until release is
// called: a pipeline takes every instant on its tables that is not its own for what a crash
// left. The context ends where the lock is lost. A pipeline that runs is a *[LockedError].
// A lake that no pipeline of this name keeps its progress in is not held: release is nil.
func (o *Owner) Hold(ctx context.Context, lake storage.Store, log *slog.Logger) (held context.Context, release func(context.Context) error, err error) {
	for _, stream := range append(o.streams, o.Pipeline) {
		if _, _, err = lake.Get(ctx, progressName(stream)); !errors.Is(err, storage.ErrNotExist) {
			break
		}
	}
	if errors.Is(err, storage.ErrNotExist) {
		return ctx, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look for pipeline %s in %s: %w", o.Pipeline, lake, err)
	}
	lock, err := acquire(ctx, lake, o.Pipeline, "", log)
	if err != nil {
		if locked, ok := errors.AsType[*LockedError](err); ok {
			locked.Table = o.Path
		}
		return nil, nil, err
	}
	return lock.holding(ctx), lock.release, nil
}
