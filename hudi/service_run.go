package hudi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"lakefeed/hudi/timeline"
)

// ServicesOptions say which services keep a table in shape: when, how much and for how
// long each runs. Those that are nil do not run.
type ServicesOptions struct {
	Compact *CompactOptions
	Cluster *ClusterOptions
	Clean   *CleanOptions
	Archive *ArchiveOptions
	// Every is the pause between two rounds of [Table.RunServices]; 0: 1 minute.
	Every time.Duration
	// Failed hears of a service that failed right behind a commit, which stands all the
	// same; nil: the Table's Logger is warned.
	Failed func(error)
}

// DefaultServices are those that a writer runs when its options name none: compaction when
// there are ten delta commits, and cleaning and archiving by their own defaults.
func DefaultServices() ServicesOptions {
	return ServicesOptions{Compact: &CompactOptions{MinDeltaCommits: 10}, Clean: &CleanOptions{}, Archive: &ArchiveOptions{}}
}

// Validate tells what is wrong with the options, naming the service.
func (o *ServicesOptions) Validate() error {
	if o == nil {
		return nil
	}
	if o.Compact != nil {
		if err := o.Compact.Validate(); err != nil {
			return err
		}
	}
	if o.Cluster != nil {
		if err := o.Cluster.Validate(); err != nil {
			return err
		}
	}
	if o.Archive != nil {
		if err := o.Archive.Validate(); err != nil {
			return err
		}
	}
	if o.Clean == nil {
		return nil
	}
	if err := o.Clean.Validate(); err != nil {
		return fmt.Errorf("clean: %w", err)
	}
	if o.Archive == nil || o.Clean.policy() != timeline.KeepLatestCommits {
		return nil
	}
	archive := *o.Archive
	archive.setDefaults()
	if keep := cmp.Or(o.Clean.RetainCommits, 10); keep >= archive.KeepMin {
		return badOption("archive: KeepMin %d: want more than the %d commits that cleaning retains: what is archived cannot be read as of", archive.KeepMin, keep)
	}
	return nil
}

// RunServices runs the table's services round by round beside writers, until ctx ends or
// something fails. A service that gave way to a writer for all of Concurrency.RetryFor is
// logged as a warning and left to the next round.
//
// The Table must be another than the writer's, in this process or in one of its own, and
// both must have the same [Concurrency]. Then a killed service blocks no more than the
// file groups that it was about to rewrite, until its heartbeat has expired. The writer's
// Options.Services should name none then.
func (t *Table) RunServices(ctx context.Context, opts ServicesOptions) error {
	if !t.opts.Concurrency.optimistic() {
		return fmt.Errorf("run services of %s: a table with one writer has them run by that: open it with Concurrency.Mode %s", t.name, Optimistic)
	}
	tick := time.NewTicker(cmp.Or(opts.Every, time.Minute))
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
// service that meets a writer's transaction is tried again for Concurrency.RetryFor, in mode
// SingleWriter once; one that gave way till the end, or waited for the lock in vain, is an error once the others
// have run.
func (t *Table) RunServicesOnce(ctx context.Context, opts ServicesOptions) error {
	gaveWay, err := t.runServices(ctx, opts)
	return errors.Join(gaveWay, err)
}

// runServices is one round; gaveWay are the errors of services that writers kept from
// their work.
func (t *Table) runServices(ctx context.Context, opts ServicesOptions) (gaveWay, err error) {
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("run services of %s: %w", t.name, err)
	}
	for _, s := range t.services(opts) {
		err := t.Retry(ctx, s.run)
		switch {
		case err == nil:
		case t.gaveWay(ctx, err):
			gaveWay = errors.Join(gaveWay, err)
		default:
			return gaveWay, err
		}
	}
	return gaveWay, nil
}

// gaveWay tells whether other writers kept a service from its work.
func (t *Table) gaveWay(ctx context.Context, err error) bool {
	waited := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil // for the lock
	return t.opts.Concurrency.optimistic() && (waited || errors.As(err, new(*ConflictError)))
}

// serveInline runs the services that are due behind a commit of this Table. One that
// another writer is in the way of is left to the next commit.
func (t *Table) serveInline(ctx context.Context) {
	opts := t.opts.Services
	for _, s := range t.services(*opts) {
		due, err := t.isDue(ctx, s)
		if err == nil && due {
			err = s.run(ctx)
		}
		switch {
		case err == nil:
		case t.gaveWay(ctx, err):
			t.opts.Logger.Debug("a service gave way to a writer", "table", t.name, "error", err)
		case opts.Failed != nil:
			opts.Failed(err)
			return
		default:
			t.opts.Logger.Warn("a service failed, and is tried again behind the next commit", "table", t.name, "error", err)
			return
		}
	}
}

// isDue tells whether a service has something to do, as far as the table is known: the
// store is not asked.
func (t *Table) isDue(ctx context.Context, s service) (bool, error) {
	if err := t.takeTurn(ctx); err != nil {
		return false, err
	}
	defer func() { <-t.turn }()
	return s.due(), nil
}

// service is one of those that keep a table in shape; who asks whether it is due has the
// table's turn.
type service struct {
	due func() bool
	run func(context.Context) error
}

// services are those that are wanted, in the order in which they help each other: what
// compaction and clustering supersede is cleaned, and what is cleaned can be archived.
func (t *Table) services(opts ServicesOptions) []service {
	var out []service
	add := func(due func() bool, run func(context.Context) error) { out = append(out, service{due, run}) }
	if o := opts.Compact; o != nil {
		add(func() bool { return t.compactable(*o) }, func(ctx context.Context) error { _, err := t.Compact(ctx, *o); return err })
	}
	if opts.Cluster != nil {
		o := *opts.Cluster
		o.MinCommits = cmp.Or(o.MinCommits, 4)
		add(func() bool { return t.clusterable(o) }, func(ctx context.Context) error { _, err := t.Cluster(ctx, o); return err })
	}
	if o := opts.Clean; o != nil {
		add(func() bool { return len(t.cleanable(*o)) > 0 }, func(ctx context.Context) error { _, err := t.Clean(ctx, *o); return err })
	}
	if opts.Archive != nil {
		o := *opts.Archive
		o.patient = true
		o.setDefaults()
		add(func() bool { return t.archivable(o) }, func(ctx context.Context) error { _, err := t.Archive(ctx, o); return err })
	}
	return out
}
