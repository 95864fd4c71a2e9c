package hudi

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ServicesOptions say which services keep a table in shape, and when. Those that are nil
// do not run.
type ServicesOptions struct {
	Compact *CompactOptions
	Cluster *ClusterOptions
	Clean   *CleanOptions
	Archive *ArchiveOptions
	// Every is the pause between two rounds; 0: 1 minute.
	Every time.Duration
}

// RunServices runs the table's services round by round beside writers, until ctx ends or
// something fails. A service that gave way to a writer for all of Concurrency.RetryFor is
// logged as a warning and left to the next round.
//
// The Table must be another than the writer's, in this process or in one of its own, and
// both must have the same [Concurrency]. Then a killed service blocks no more than the
// file groups that it was about to rewrite, until its heartbeat has expired.
func (t *Table) RunServices(ctx context.Context, opts ServicesOptions) error {
	if !t.opts.Concurrency.optimistic() {
		return fmt.Errorf("run services of %s: a table with one writer has them run by that: open it with Concurrency.Mode %s", t.name, Optimistic)
	}
	every := opts.Every
	if every == 0 {
		every = time.Minute
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		gaveWay, err := t.runServices(ctx, opts)
		if err != nil {
			return err
		}
		if gaveWay != nil {
			t.opts.Logger.Warn("services gave way to a writer, and are tried again in the next round", "table", t.name, "error", gaveWay)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("run services of %s: %w", t.name, ctx.Err())
		case <-tick.C:
		}
	}
}

// RunServicesOnce is one round of [Table.RunServices], for a table with one writer too. A
// service that meets a writer's transaction is tried again for Concurrency.RetryFor; one
// that gave way till the end, or waited for the lock in vain, is an error once the others
// have run.
func (t *Table) RunServicesOnce(ctx context.Context, opts ServicesOptions) error {
	gaveWay, err := t.runServices(ctx, opts)
	return errors.Join(gaveWay, err)
}

// runServices is one round; gaveWay are the errors of services that writers kept from
// their work.
func (t *Table) runServices(ctx context.Context, opts ServicesOptions) (gaveWay, err error) {
	for _, service := range t.services(opts) {
		err := t.Retry(ctx, service)
		waited := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil // for the lock
		switch {
		case err == nil:
		case t.opts.Concurrency.optimistic() && (waited || errors.As(err, new(*ConflictError))):
			gaveWay = errors.Join(gaveWay, err)
		default:
			return gaveWay, err
		}
	}
	return gaveWay, nil
}

// services are those that are wanted, in the order in which they help each other: what
// compaction and clustering supersede is cleaned, and what is cleaned can be archived.
func (t *Table) services(opts ServicesOptions) []func(context.Context) error {
	var out []func(context.Context) error
	if o := opts.Compact; o != nil {
		out = append(out, func(ctx context.Context) error { _, err := t.Compact(ctx, *o); return err })
	}
	if o := opts.Cluster; o != nil {
		out = append(out, func(ctx context.Context) error { _, err := t.Cluster(ctx, *o); return err })
	}
	if o := opts.Clean; o != nil {
		out = append(out, func(ctx context.Context) error { _, err := t.Clean(ctx, *o); return err })
	}
	if o := opts.Archive; o != nil {
		out = append(out, func(ctx context.Context) error { _, err := t.Archive(ctx, *o); return err })
	}
	return out
}
