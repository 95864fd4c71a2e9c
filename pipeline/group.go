package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"lakefeed/change"
)

// SlotSource is a source that reads through one of several slots.
type SlotSource interface {
	Source
	// Rates is how many rows were changed in each table so far, by its name.
	Rates(ctx context.Context) (map[string]int64, error)
	Close(ctx context.Context) error
}

// GroupOptions say what a [Group] reads and how its tables are divided.
type GroupOptions struct {
	Options       // of the pipeline as a whole; Source is not used: see Open
	Slots   Slots // how tables are divided

	// Open opens the source to read, through a slot, the tables of the configuration that
	// mine takes. With mine nil it is all of them, and nothing is read from the log.
	Open func(ctx context.Context, slot string, mine func(schema, table string) bool) (SlotSource, error)
}

// Group is one pipeline whose tables come through several slots of its source. It is run,
// asked and shown as a [Pipeline] is. At its start it moves tables whose slot the
// configuration has changed (group_move.go); what failed of that is tried at the next start.
type Group struct {
	o   GroupOptions
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	record  *slotRecord
	streams []*stream
	stays   map[string]string // tables that are not in the slot that the configuration names, and why
	err     error             // why nothing runs yet
}

// stream is one slot of a group.
type stream struct {
	slot     string
	source   SlotSource
	pipeline *Pipeline // nil until all slots are in order
	err      error     // why it has ended; guarded by the group's mu
}

// NewGroup makes a group; nothing is touched before [Group.Run].
func NewGroup(o GroupOptions) (*Group, error) {
	if o.Name == "" || o.Open == nil || o.Lake == nil {
		return nil, errors.New("make pipeline: Name, Open and Lake are needed")
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.MemoryBudget, 128<<20)
	return &Group{o: o, log: log.With("pipeline", o.Name), stays: map[string]string{}}, nil
}

// Run is [Pipeline.Run] for all slots side by side. One that fails leaves the others running.
func (g *Group) Run(ctx context.Context) (err error) {
	lock, err := acquire(ctx, g.o.Lake, g.o.Name, g.o.Listen, g.log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	context.AfterFunc(lock.holding(ctx), func() { cancel(errLockLost) })
	defer func() {
		if cause := context.Cause(ctx); errors.Is(cause, errLockLost) {
			err = cause
		}
		if cause := lock.release(context.WithoutCancel(ctx)); err == nil && cause != nil {
			err = fmt.Errorf("release lock: %w", cause)
		}
	}()
	defer g.close(ctx)
	if err := g.begin(ctx, lock); err != nil {
		return err
	}
	return g.runStreams(ctx)
}

// begin brings tables to their slots and makes the streams, as often as it takes.
func (g *Group) begin(ctx context.Context, lock *held) error {
	for wait := retryFirst; ; wait = min(2*wait, retryLast) {
		err := g.arrange(ctx, lock)
		g.mu.Lock()
		g.err = err
		g.mu.Unlock()
		if _, ofLake := errors.AsType[*LakeError](err); err == nil || ctx.Err() != nil || g.o.Once || !ofLake && !g.retryable(err) {
			return err
		}
		g.log.Warn("pipeline cannot start, trying again", "error", err, "in", wait)
		g.close(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (g *Group) retryable(err error) bool { return g.o.Retryable != nil && g.o.Retryable(err) }

// runStreams runs every slot to its end.
func (g *Group) runStreams(ctx context.Context) error {
	var all sync.WaitGroup
	for _, s := range g.all() {
		all.Go(func() {
			err := s.pipeline.Run(ctx)
			g.mu.Lock()
			defer g.mu.Unlock()
			s.err = err
			if _, ofTables := errors.AsType[TableErrors](err); err != nil && !ofTables && ctx.Err() == nil {
				g.log.Error("slot stopped", "slot", s.slot, "error", err)
			}
		})
	}
	all.Wait()
	return g.ended(ctx)
}

// ended is why the streams have ended.
func (g *Group) ended(ctx context.Context) error {
	var errs []error
	var tables TableErrors
	for _, s := range g.all() {
		if of, ok := errors.AsType[TableErrors](s.err); ok {
			tables = append(tables, of...)
		} else if s.err != nil && (ctx.Err() == nil || !errors.Is(s.err, ctx.Err())) {
			errs = append(errs, fmt.Errorf("slot %s: %w", s.slot, s.err))
		}
	}
	if len(errs) == 0 && len(tables) == 0 {
		return ctx.Err()
	}
	return errors.Join(append(errs, joinTables(tables))...)
}

// close ends the connections to the source.
func (g *Group) close(ctx context.Context) {
	for _, s := range g.all() {
		_ = s.source.Close(context.WithoutCancel(ctx)) // nothing is lost with a connection
	}
}

// all are the streams; none before they are made.
func (g *Group) all() []*stream {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.streams)
}

// mine reports whether a table belongs to a slot: as the record says, or, where it came
// since, as the configuration does.
func (g *Group) mine(slot string) func(schema, table string) bool {
	return func(schema, table string) bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		name := (&change.Table{Schema: schema, Name: table}).String()
		if has, ok := g.record.Tables[name]; ok {
			return has == slot
		}
		wanted := g.o.Slots.Of(schema, table)
		if !slices.Contains(g.record.slots(), wanted) {
			wanted = DefaultSlot
		}
		return wanted == slot
	}
}

// options are a stream's share of the group's.
func (g *Group) options(s *stream, lock *held) Options {
	o := g.o.Options
	n := int64(len(g.record.slots()))
	o.MemoryBudget /= n
	o.Bootstrap.Readers = max(o.Bootstrap.readers()/int(n), 1)
	o.SpoolBytes = (o.SpoolBytes + n - 1) / n
	o.Source = s.source
	p := &part{slot: s.slot, lock: lock, folders: map[string]string{}, taken: map[string]handover{}}
	for table, h := range g.record.Taken {
		if g.record.Tables[table] == s.slot {
			p.taken[table] = h
		}
	}
	o.part = p
	return o
}
