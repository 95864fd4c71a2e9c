package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// Order is what a person, or a policy, has asked for one table, as the record
// <lake>/_lakefeed/tables/<pipeline> keeps it until it is done or taken back.
type Order struct {
	Paused  bool `json:"paused,omitempty"`  // it is not written; its changes go to the spool
	Removed bool `json:"removed,omitempty"` // it is not followed, though the configuration takes it
	// Resync says that the table is to be copied anew, from a snapshot at or behind this
	// position; 0: it is not.
	Resync change.LSN `json:"resync,omitempty"`
	// Fresh says that a copy which was there when that was asked for does not do, wherever its
	// snapshot was: nothing may have been read since.
	Fresh bool   `json:"fresh,omitempty"`
	Why   string `json:"why,omitempty"`
	// Held is the version of the source's table that its policy left to a person; empty: none.
	Held string `json:"held,omitempty"`
	// Accept is what a person took on of its schema since.
	Accept *Acceptance `json:"accept,omitempty"`
	// Adopt says that the table in its folder, which another job made, is to be taken over.
	Adopt *Adoption `json:"adopt,omitempty"`
	// Leaves says that another pipeline goes on with the table, or is to.
	Leaves *Leaving  `json:"leaves,omitempty"`
	Since  time.Time `json:"since"`
}

// String is the order for people.
func (o Order) String() string {
	switch {
	case o.Leaves != nil:
		return o.Leaves.String()
	case o.Removed:
		return "it was removed from the pipeline"
	case o.Held != "":
		return "it waits for a person: " + o.Why
	case o.Paused && o.Resync != 0:
		return "it is paused, and to be copied anew"
	case o.Paused:
		return "it is paused"
	case o.Resync != 0:
		return "it is to be copied anew"
	case o.Adopt != nil:
		return "it is to be taken over from the job that keeps it"
	}
	return ""
}

// wantsCopy reports whether an order asks for a copy that the table does not have.
func (t *target) wantsCopy(o Order) bool {
	return o.Resync != 0 && (t.at.Copied < o.Resync || o.Fresh && !o.Since.Equal(t.obeyed))
}

// obeyed notes that a copy was made for an order.
func (p *Pipeline) obeyed(ctx context.Context, t *target, since time.Time) {
	t.obeyed = since
	if o := p.orderOf(t.name); o.Resync == 0 && o.Accept == nil && o.Adopt == nil {
		return
	}
	_, err := p.order(ctx, t.name, func(o Order) (Order, error) {
		if o.Resync != 0 && !t.wantsCopy(o) {
			o.Resync, o.Fresh, o.Why = 0, false, ""
		}
		if t.at.LSN != 0 {
			o.Adopt = nil
		}
		if t.shows != nil && t.shows.accepted {
			o.Accept, t.accept = nil, nil
		}
		return o, nil
	})
	if err != nil { // its checkpoint says it too
		p.log.Warn("cannot note that the table was copied", "table", t.name, "error", err)
	}
}

func (o Order) none() bool {
	return !o.Paused && !o.Removed && o.Resync == 0 && o.Accept == nil && o.Adopt == nil && o.Leaves == nil
}

func ordersName(pipeline string) string { return "_lakefeed/tables/" + folderName(pipeline) }

// ReadOrders is the orders of a pipeline's tables, by source name.
func ReadOrders(ctx context.Context, lake storage.Store, pipeline string) (map[string]Order, error) {
	orders := map[string]Order{}
	err := eachStream(ctx, lake, pipeline, func(key string) error {
		some, err := readOrders(ctx, lake, key)
		maps.Copy(orders, some)
		return err
	})
	return orders, err
}

func readOrders(ctx context.Context, lake storage.Store, pipeline string) (map[string]Order, error) {
	orders := map[string]Order{}
	b, _, err := lake.Get(ctx, ordersName(pipeline))
	switch {
	case errors.Is(err, storage.ErrNotExist):
		return orders, nil
	case err != nil:
		return nil, fmt.Errorf("read what was asked for tables: %w", &LakeError{err})
	}
	if err := json.Unmarshal(b, &orders); err != nil {
		return nil, fmt.Errorf("read what was asked for tables: %w; remove the file, and pause or remove tables again", &hudi.CorruptError{File: ordersName(pipeline), Err: err})
	}
	return orders, nil
}

// Instruct changes the orders of a pipeline that nobody runs, and returns the table's new
// one. A pipeline that runs is a *[LockedError]. Apply needs a look at the source.
func Instruct(ctx context.Context, lake storage.Store, pipeline, table string, verb Verb, look *change.Look) (o Order, err error) {
	if verb.ofSnapshots() {
		return Order{}, steerOffline(ctx, lake, pipeline, table, verb)
	}
	err = inItsPlace(ctx, lake, pipeline, table, func(key string) error {
		orders, err := readOrders(ctx, lake, key)
		if err != nil {
			return err
		}
		record, err := readProgress(ctx, lake, key)
		if err != nil {
			return err
		}
		at := change.LSN(1)
		if record != nil {
			at = max(at, record.LSN)
		}
		version := ""
		if look != nil {
			at, version = look.At, seenVersion(look, table)
		}
		if verb == Add {
			err = comesBack(ctx, lake, pipeline, table, orders[table])
		}
		if err == nil {
			o, err = verb.apply(orders[table], at, version)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", verb, table, err)
		}
		return writeOrders(ctx, lake, key, withOrder(orders, table, o))
	})
	return o, err
}

// inItsPlace does something in the place of a pipeline that nobody runs, under its lock, with the key of the
// slot that has a table. A pipeline that runs is a *[LockedError].
func inItsPlace(ctx context.Context, lake storage.Store, pipeline, table string, do func(key string) error) error {
	lock, err := acquire(ctx, lake, pipeline, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { _ = lock.release(context.WithoutCancel(ctx)) }() // it goes stale by itself
	key, err := streamOf(ctx, lake, pipeline, table)
	if err != nil {
		return err
	}
	return do(key)
}

// Verb is what can be asked for a table.
type Verb string

// The verbs.
const (
	Pause  Verb = "pause"  // write no more into it; its changes wait in the spool
	Resume Verb = "resume" // go on with a table that is paused, or that stopped
	Resync Verb = "resync" // copy it anew, beside the stream
	Remove Verb = "remove" // follow it no more; what the lake has of it stays
	Add    Verb = "add"    // follow again a table that was removed, by a new copy
	Apply  Verb = "apply"  // take on what was changed of its schema, whatever its policy

	// Adopt names what [Pipeline.Adopt] does, which needs an [Adoption]; it is none of [Verbs].
	Adopt Verb = "adopt"
	// Leave names what [Pipeline.Leave] does, which needs a [Leaving].
	Leave Verb = "leave"
)

// Verbs are all verbs.
var Verbs = []Verb{Pause, Resume, Resync, Remove, Add, Apply}

// apply is the order that is left by a verb, at a position of the log that was read, and
// where a version of the source's table was seen.
func (v Verb) apply(o Order, at change.LSN, version string) (Order, error) {
	o.Since, o.Why = time.Now().UTC(), ""
	if o.handedOver() && v != Add {
		return o, errors.New(o.Leaves.String())
	}
	if o.Removed && v != Add {
		return o, errors.New("it was removed from the pipeline: add it first")
	}
	switch v {
	case Pause:
		o.Paused = true
	case Resume:
		if o.Paused = false; o.Held != "" {
			o.Accept, o.Held = &Acceptance{at, o.Held}, ""
		}
	case Apply:
		if version == "" {
			return o, errors.New("the source has no such table")
		}
		o.Paused, o.Held, o.Accept = false, "", &Acceptance{at, version}
	case Resync:
		o.Resync, o.Fresh = at, true
	case Remove:
		o = Order{Removed: true, Since: o.Since}
	case Add:
		o.Leaves = nil
		if o.Removed {
			o.Removed, o.Resync, o.Fresh = false, at, true // what happened meanwhile is in no log
		}
	default:
		return o, fmt.Errorf("%q is none of %v", string(v), Verbs)
	}
	return o, nil
}

func withOrder(orders map[string]Order, table string, o Order) map[string]Order {
	orders = maps.Clone(orders)
	if o.none() {
		delete(orders, table)
	} else {
		orders[table] = o
	}
	return orders
}

func writeOrders(ctx context.Context, lake storage.Store, pipeline string, orders map[string]Order) error {
	if len(orders) == 0 {
		if err := lake.Delete(ctx, ordersName(pipeline)); err != nil && !errors.Is(err, storage.ErrNotExist) {
			return fmt.Errorf("note what was asked for tables: %w", &LakeError{err})
		}
		return nil
	}
	b, err := json.MarshalIndent(orders, "", "  ")
	if err != nil {
		return fmt.Errorf("encode what was asked for tables: %w", err)
	}
	if err := lake.Put(ctx, ordersName(pipeline), b); err != nil {
		return fmt.Errorf("note what was asked for tables: %w", &LakeError{err})
	}
	return nil
}

// Instruct asks something for one table while the pipeline runs: the lake has noted it
// when this returns, and it is done as soon as what is being written has an end.
func (p *Pipeline) Instruct(ctx context.Context, table string, verb Verb) (Order, error) {
	if !p.knows(table, verb) {
		return Order{}, fmt.Errorf("%s %s: the pipeline has no such table: names are as `lakefeed status` prints them, and an entry of `tables` in the configuration has to take it", verb, table)
	}
	if verb.ofSnapshots() {
		return Order{}, p.steerTable(ctx, table, verb)
	}
	at, version := max(1, change.LSN(p.readLSN.Load())), ""
	if verb == Apply {
		look, err := p.opts.Source.Look(ctx)
		if err != nil {
			return Order{}, fmt.Errorf("%s %s: %w", verb, table, err)
		}
		at, version = look.At, seenVersion(look, table)
	}
	if verb == Add {
		if err := comesBack(ctx, p.opts.Lake, p.opts.Name, table, p.orderOf(table)); err != nil {
			return Order{}, fmt.Errorf("%s %s: %w", verb, table, err)
		}
	}
	t := p.targetNamed(table)
	o, err := p.order(ctx, table, func(o Order) (Order, error) {
		o, err := verb.apply(o, at, version)
		if verb == Apply && t != nil && t.failed() {
			o.Resync, o.Fresh = at, true
		}
		return o, err
	})
	if err != nil {
		return o, fmt.Errorf("%s %s: %w", verb, table, err)
	}
	if verb == Add && t != nil {
		t.report(func(s *TableStatus) { s.Note = "" }) // of a pipeline that was to go on with it
	}
	p.log.Info("asked for a table", "table", table, "verb", verb)
	if verb == Resume {
		p.mu.Lock()
		p.resumed = append(p.resumed, table)
		p.mu.Unlock()
	}
	p.awake()
	return o, nil
}

// seenVersion is the sum of a table as a look has it, empty where it does not.
func seenVersion(look *change.Look, table string) string {
	for _, v := range look.Tables {
		if v.String() == table {
			return versionSum(v)
		}
	}
	return ""
}

// knows reports whether the pipeline has a table, or may have it.
func (p *Pipeline) knows(table string, verb Verb) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byName[table] != nil || slices.Contains(p.newcomers, table) || verb == Add && p.orders[table].Removed
}

// asked is why a table is copied anew that a person wants to be.
const asked = "somebody asked for it"

// order changes what is asked for a table, in the lake first.
func (p *Pipeline) order(ctx context.Context, table string, fn func(Order) (Order, error)) (Order, error) {
	p.ordering.Lock()
	defer p.ordering.Unlock()
	p.mu.Lock()
	orders := p.orders
	p.mu.Unlock()
	o, err := fn(orders[table])
	if err != nil {
		return o, err
	}
	all := withOrder(orders, table, o)
	if err := writeOrders(ctx, p.opts.Lake, p.opts.key(), all); err != nil {
		return o, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ordersNew = !maps.Equal(p.orders, orders) // a policy has ordered something meanwhile
	p.orders = withOrder(p.orders, table, o)
	return o, nil
}

func (p *Pipeline) orderOf(table string) Order {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.orders[table]
}

// recallOrders reads what was asked before.
func (p *Pipeline) recallOrders(ctx context.Context) error {
	orders, err := readOrders(ctx, p.opts.Lake, p.opts.key())
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orders = orders
	return nil
}

// awake makes the writer look at what is asked.
func (p *Pipeline) awake() {
	select {
	case p.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// obey takes in what was asked for the tables since.
func (p *Pipeline) obey(ctx context.Context) {
	p.mu.Lock()
	orders, resumed := p.orders, p.resumed
	p.resumed = nil
	p.mu.Unlock()
	again := p.retryTables.Swap(false) // what they failed at has passed
	for _, t := range p.all() {
		o := orders[t.name]
		if again && t.trouble != nil && t.trouble.passes {
			t.trouble.next = time.Unix(1, 0)
		}
		if slices.Contains(resumed, t.name) && t.trouble != nil {
			t.resumed = true
		}
		if !t.job { // whose it is meanwhile
			t.accept = o.Accept
		}
		if t.paused != o.Paused {
			t.paused = o.Paused
			t.report(func(s *TableStatus) { s.Note = "" })
			t.stand()
		}
		switch {
		case o.Removed:
			p.leave(ctx, t)
		case o.Leaves != nil:
			p.obeyLeaving(ctx, t, *o.Leaves)
		case o.Adopt != nil:
			p.obeyAdoption(ctx, t, o)
		case t.wantsCopy(o) && t.recopy == nil && !t.job && !p.opts.Once && !o.Since.Equal(t.gaveUp):
			p.recopy(t, cmp.Or(o.Why, asked))
			t.stand()
		}
	}
}
