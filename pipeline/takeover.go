package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// A table that another job keeps, as HoodieStreamer from Debezium's topics, is taken over where it lies: see
// docs/adr/0024. The pipeline keeps its changes from a position on, the other job passes that and is stopped, and
// then one commit makes of its rows, and of the changes since, a table of ours: takeover_copy.go.

// Adoption is what a person says of a table that is to be taken over from another job.
type Adoption struct {
	// Stopped says that the other job has ended, and will not write into the table again.
	Stopped bool `json:"stopped,omitempty"`
	// Until says that the table holds every transaction that commits before this; 0: its newest row tells,
	// where a checkpoint of HoodieStreamer's says that all of it came from one partition of a topic.
	Until change.LSN `json:"until,omitzero"`
	// Retype lets columns change their types to those of docs/types.md.
	Retype bool `json:"retype,omitempty"`
	// Copy says that all rows are to be read from the source: what the table has of them does not count.
	Copy bool `json:"copy,omitempty"`
	// From says that the other job is a pipeline of the same lake; nil: it is none. See repoint.go.
	From *Origin `json:"from,omitempty"`
}

// apply is the order that is left.
func (a Adoption) apply(o Order) (Order, error) {
	back := a.From != nil && o.handedOver()
	switch {
	case o.Leaves != nil && !back:
		return o, errors.New(o.Leaves.String())
	case o.Removed && !back:
		return o, errors.New("it was removed from the pipeline: add it first")
	}
	if (a.Until != 0 || a.Copy) && !a.Stopped {
		return o, errors.New("what the table holds counts when the job that keeps it has ended: say that it is stopped")
	}
	if a.From != nil {
		from, err := a.goesOn(o.Adopt)
		if err != nil {
			return o, err
		}
		a.From, o.Removed, o.Leaves = from, false, nil
	}
	o.Adopt, o.Since = &a, time.Now().UTC()
	return o, nil
}

// refuse says of what an error is the reason.
func (a Adoption) refuse(table string, err error) error {
	if a.From != nil {
		return fmt.Errorf("repoint %s: %w", table, err)
	}
	return fmt.Errorf("adopt %s: %w", table, err)
}

// Adopt asks for a table that another job keeps in the lake to be taken over: the lake has noted it when this
// returns. It is asked for once to begin, and once more when the other job has ended.
func (p *Pipeline) Adopt(ctx context.Context, table string, a Adoption) (Order, error) {
	t := p.targetNamed(table)
	switch {
	case p.opts.Shards != nil:
		return Order{}, a.refuse(table, errShardsAdopt)
	case !p.knows(table, Add): // one that was removed, the order refuses
		return Order{}, a.refuse(table, errors.New("the pipeline has no such table: names are as `lakefeed status` prints them, and an entry of `tables` in the configuration has to take it"))
	case t != nil && t.snapshot().Checkpoint != "":
		return Order{}, a.refuse(table, errOurs)
	}
	o, err := p.order(ctx, table, a.apply)
	if err != nil {
		return o, a.refuse(table, err)
	}
	p.log.Info("table is to be taken over", "table", table, "stopped", a.Stopped)
	p.awake()
	return o, nil
}

var (
	errShardsAdopt = errors.New("a table that several shards share cannot be taken over: let it be copied into a folder of its own")
	errOurs        = errors.New("it is this pipeline's already: there is nothing to take over")
)

// RequestAdoption leaves it to the next process that runs a pipeline which nobody runs to take a table over; one
// that does run is a *[LockedError].
func RequestAdoption(ctx context.Context, lake storage.Store, pipeline, table string, a Adoption) (o Order, err error) {
	if ShardOf(pipeline) != "" {
		return Order{}, a.refuse(table, errShardsAdopt)
	}
	err = inItsPlace(ctx, lake, pipeline, table, func(key string) error {
		orders, err := readOrders(ctx, lake, key)
		if err != nil {
			return err
		}
		if o, err = a.apply(orders[table]); err != nil {
			return a.refuse(table, err)
		}
		return writeOrders(ctx, lake, key, withOrder(orders, table, o))
	})
	return o, err
}

// Adopt is [Pipeline.Adopt] of the slot that has the table.
func (g *Group) Adopt(ctx context.Context, table string, a Adoption) (Order, error) {
	p, err := g.streamFor(table, Add)
	if err != nil {
		return Order{}, err
	}
	return p.Adopt(ctx, table, a)
}

// takesOver reports whether a table that others made is to be taken over.
func (p *Pipeline) takesOver(t *target) bool {
	return p.opts.Shards == nil && p.orderOf(t.name).Adopt != nil
}

// copies reports whether all rows are to be read from the source.
func (a *Adoption) copies() bool { return a != nil && a.Copy && a.Stopped }

// foreignFolder is what is done with a folder that holds a table of others, or is to hold one: it is
// left as it is until that is taken over.
func (p *Pipeline) foreignFolder(ctx context.Context, t *target) error {
	t.table, t.at, t.had, t.copied, t.mine = nil, checkpoint{}, 0, 0, false
	t.opened, t.foreign = true, true
	if a := p.orderOf(t.name).Adopt; a != nil && a.From != nil { // whose quarantine it is still
		return nil
	}
	return t.quarantine.open(ctx, 0)
}

// obeyAdoption takes in that a table is to be taken over, or what was said of that since.
func (p *Pipeline) obeyAdoption(ctx context.Context, t *target, o Order) {
	switch {
	case t.job:
	case t.at.LSN != 0:
		p.obeyed(ctx, t, o.Since)
	case p.opts.Once:
	case t.recopy == nil && !o.Since.Equal(t.gaveUp):
		p.recopy(t, takenOver)
		t.stand()
	case t.recopy != nil && (!o.Since.Equal(t.recopy.asked) || t.overflown.Load()): // in that case it begins anew
		t.recopy.next = time.Unix(1, 0)
	}
}

// takenOver is why a table is copied that is taken over.
const takenOver = "it is taken over from the job that kept it"

// awaitsError is a take-over that waits for a person.
type awaitsError struct {
	what string
	soon bool // or for another pipeline, which is looked at again soon
}

// Error says for what.
func (e *awaitsError) Error() string { return e.what }

// askedAgain is when a take-over is tried again that nobody has said anything more about.
const askedAgain = time.Hour

// awaitTakeOver leaves a take-over until a person has said more, or has mended what it failed at. What comes of the
// table meanwhile is kept, where it has begun.
func (p *Pipeline) awaitTakeOver(ctx context.Context, t *target, work *recopy, err error) {
	p.notePublished(ctx, t)
	if p.opts.Once && work.chunks {
		work.chunks = false
		p.chunked.Add(-1)
	}
	work.wait, work.next = 0, time.Now().Add(askedAgain)
	t.recopy, t.gaveUp = work, p.orderOf(t.name).Since
	why, awaits := errors.AsType[*awaitsError](err)
	if awaits && why.soon {
		work.next = time.Now().Add(againLeast)
	}
	if awaits && !p.opts.Once {
		p.failures.Delete(t.name)
		t.report(func(s *TableStatus) { s.State, s.Note, s.Error, s.Since = Waiting, why.what, "", time.Time{} })
	} else {
		p.stop(t, fmt.Errorf("take over: %w", ofLake(err)))
	}
	t.stand()
}

// notePublished records how a table is published from the position on that a person is told: a start that
// does not know that would begin anew, at a later one.
func (p *Pipeline) notePublished(ctx context.Context, t *target) {
	p.recordMu.Lock()
	r := p.recorded
	p.recordMu.Unlock()
	if r == nil || t.howPublished() == nil {
		return
	}
	if noted, ok := r.Published[t.name]; ok && noted.Same(*t.howPublished()) {
		return
	}
	if err := p.record(ctx, r.LSN); err != nil {
		p.log.Warn("cannot note how a table is published: where this process ends soon, its take-over begins anew", "table", t.name, "error", err)
	}
}

// endTakeOver lets the target be what came of a try: the table is opened as what it is now, or stays the other job's.
func (p *Pipeline) endTakeOver(ctx context.Context, t *target, err error) error {
	t.table, t.landing = nil, nil
	if t.at.LSN == 0 {
		return err
	}
	t.foreign, t.opened = false, false
	if err = errors.Join(err, p.openTable(ctx, t, true)); err != nil {
		return &unopenedError{err}
	}
	return nil
}

// openForeign opens the other job's table as the one that it is to be. It is not taken for
// one that nobody else writes to: a writer that lives is not to be taken for dead. A pipeline has said that it is none.
func (p *Pipeline) openForeign(ctx context.Context, t *target) error {
	options, err := p.hudiOptions(t)
	if err != nil {
		return err
	}
	had, err := hudi.Open(ctx, t.store, hudi.Options{})
	if errors.Is(err, hudi.ErrNoTable) || err == nil && len(had.Timeline().Completed()) == 0 {
		return &awaitsError{what: fmt.Sprintf("folder %s holds no rows of a Hudi table yet: `lakefeed table import` makes one of Parquet files; `path` of its entry in the configuration says where it lies", t.store)}
	}
	if err != nil {
		return damaged(err)
	}
	if a := p.orderOf(t.name).Adopt; a == nil || a.From == nil {
		options.Concurrency = hudi.Concurrency{}
	}
	if options.Buckets = t.bucketsOfForeign(had); options.Keys != nil {
		options.Index = hudi.IndexGlobalKey
	}
	options.RowGroupBytes = min(max(p.opts.MemoryBudget/2/int64(options.Buckets), 256<<10), 16<<20)
	table, err := hudi.Open(ctx, t.store, options)
	if err != nil {
		return damaged(err)
	}
	t.table = table
	return nil
}

// landCopied is landForeign where all rows come from the source.
func (p *Pipeline) landCopied(ctx context.Context, t *target) error {
	order := p.orderOf(t.name).Adopt
	if !order.copies() {
		return &awaitsError{what: "the job that keeps it has not ended: when it has, `lakefeed adopt --stopped`"}
	}
	f, err := p.landForeign(ctx, t)
	if err != nil {
		return err
	}
	return f.check(*order)
}

// bucketsOfForeign is how many buckets each partition of the other job's table gets.
func (t *target) bucketsOfForeign(had *hudi.Table) int {
	if had.Buckets() > 0 { // it says so
		return had.Buckets()
	}
	if t.options.Buckets > 0 || len(t.options.PartitionBy) == 0 {
		return t.firstBuckets()
	}
	partitions := map[string]bool{}
	for _, s := range had.Slices() {
		partitions[s.Partition] = true
	}
	return bucketsFor(t.source.Bytes / int64(max(len(partitions), 1)))
}

// landForeign prepares to land rows in the place of all that the other job's table has.
func (p *Pipeline) landForeign(ctx context.Context, t *target) (*foreign, error) {
	if err := p.handedOver(ctx, t); err != nil {
		return nil, err
	}
	if err := p.openForeign(ctx, t); err != nil {
		return nil, err
	}
	from, err := p.origin(ctx, t)
	if err != nil {
		return nil, err
	}
	f, err := newForeign(t.table, from, t.landsAs(), t.options.PartitionBy, p.opts.LeanColumns)
	if err != nil {
		return nil, err
	}
	if err := p.takeQuarantine(ctx, t, f); err != nil {
		return nil, err
	}
	t.partitions, t.landing = f.partitions, f.schema
	return f, nil
}
