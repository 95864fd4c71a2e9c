package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"lakefeed/change"
	"lakefeed/internal/figure"
	"lakefeed/storage"
)

// A slot that is lost, or gone, took with it what was not read: every table is to be copied
// anew, under a new slot. Nobody does that unasked: Options.Remake says that it is to happen
// by itself, an order for all tables that it is to happen once.

// fate is what became of a slot.
type fate int

const (
	sound fate = iota
	gone       // lost, dropped or never read again: nobody else has had what was in it
	moved      // it is there, and somebody else read it or made it anew
)

// allTables is the name of an order for all tables, which also lets a slot be made anew.
const allTables = "*"

// ResyncAll asks that all tables of a pipeline that nobody runs are copied anew by its next
// run, under a new slot where the one that was is lost, gone or moved. A pipeline that
// runs is a *[LockedError].
// Of a pipeline with several slots it is the tables of these, or of all where none is given.
func ResyncAll(ctx context.Context, lake storage.Store, pipeline string, slots ...string) error {
	keys := map[string]bool{}
	for _, slot := range slots {
		keys[StreamName(pipeline, slot)] = true
	}
	lock, err := acquire(ctx, lake, pipeline, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { _ = lock.release(context.WithoutCancel(ctx)) }() // it goes stale by itself
	found := 0
	err = eachStream(ctx, lake, pipeline, func(key string) error {
		if len(keys) > 0 && !keys[key] {
			return nil
		}
		found++
		orders, err := readOrders(ctx, lake, key)
		if err != nil {
			return err
		}
		return writeOrders(ctx, lake, key, withOrder(orders, allTables, Order{Resync: 1, Why: asked, Since: time.Now().UTC()}))
	})
	if err == nil && found < max(1, len(keys)) {
		err = fmt.Errorf("pipeline %s has not all of the slots %v", pipeline, slots)
	}
	return err
}

// mayRemake reports whether the slot is to be made anew, of which err says that it does not fit.
func (p *Pipeline) mayRemake(err error) bool {
	position, ok := errors.AsType[*PositionError](err)
	if !ok || position.slot == sound {
		return false
	}
	return p.orderOf(allTables).Resync != 0 || position.slot == gone && p.opts.Remake
}

// lost stops all tables of a slot that is of no use, so that those who look later see it.
func (p *Pipeline) lost(ctx context.Context, err error) {
	if position, ok := errors.AsType[*PositionError](err); !ok || position.slot == sound {
		return
	}
	for _, t := range p.targets {
		t.drop()
		p.stop(t, err)
	}
	p.recordStops(ctx)
}

// remakeSlot makes the slot anew and lets all tables be copied anew: beside the stream, or,
// with Once, before it. Whatever comes in between, the next start finds a record that says so.
func (p *Pipeline) remakeSlot(ctx context.Context, slot *change.SlotState, known change.LSN, why error) (change.LSN, error) {
	src := p.opts.Source
	p.log.Warn("the slot is made anew, and all tables are copied anew", "slot", p.source.Slot, "because", why)
	if err := p.checkEnd(ctx, known); err != nil {
		return 0, err
	}
	p.last = p.newestMark(nil)
	p.recopyAll(reason(why))
	p.remaking = true
	if err := errors.Join(p.record(ctx, known), p.voidStages(ctx)); err != nil {
		return 0, err
	}
	if slot != nil {
		if err := src.DropSlot(ctx); err != nil {
			return 0, fmt.Errorf("drop the slot, to make it anew: %w", err)
		}
	}
	if err := p.publishAll(ctx); err != nil { // those that were not published any more, too
		return 0, err
	}
	at, err := src.CreateSlot(ctx)
	if err != nil {
		return 0, err
	}
	p.remaking = false
	p.dropped.Store(nil)
	if err := errors.Join(p.record(ctx, at), p.forgetOrder(ctx), p.discardAll(ctx)); err != nil {
		return 0, errors.Join(err, src.CloseSnapshot(context.WithoutCancel(ctx)))
	}
	if !p.opts.Once {
		return at, src.CloseSnapshot(ctx)
	}
	first := true
	p.leaveChunks()
	return at, p.copyMissing(ctx, func(ctx context.Context) (change.LSN, error) {
		if !first {
			return src.OpenSnapshot(ctx)
		}
		first = false
		return at, nil
	})
}

// publishAll lets the source publish all tables, which are copied anew.
func (p *Pipeline) publishAll(ctx context.Context) error {
	var tables []*change.Table
	for _, t := range p.targets {
		tables = append(tables, t.source)
	}
	prepared, err := p.opts.Source.Prepare(ctx, tables, p.followed)
	if err != nil {
		return fmt.Errorf("publish tables: %w", err)
	}
	p.checkPublished(ctx, prepared)
	return nil
}

// reason is what a person reads of it at each table.
func reason(why error) string {
	if position, ok := errors.AsType[*PositionError](why); ok {
		return position.What
	}
	return why.Error()
}

// recopyAll lets every table of ours be copied anew. Logical messages are in no table of the
// source: a copy of theirs would be empty, and take the place of those that are there.
func (p *Pipeline) recopyAll(why string) {
	for _, t := range p.targets {
		switch {
		case t.settled && !t.mine && t.at.LSN == 0: // a folder that is not ours
		case t.source.LogOnly && t.at.LSN != 0:
			p.log.Error("logical messages of a while are lost", "table", t.name, "because", why)
			t.settled, t.lost = true, true
			t.drop()
			p.stop(t, anew("%s: the messages since %s are lost, and a copy would take the place of those that are there", why, t.at.LSN))
		default:
			p.recopy(t, why)
		}
	}
}

// discardAll deletes what the spool has of tables that are copied anew.
func (p *Pipeline) discardAll(ctx context.Context) error {
	for _, t := range p.targets {
		if err := p.spool.delete(ctx, t.name, t.segments); err != nil {
			return err
		}
		t.segments = nil
	}
	return nil
}

// forgetOrder takes back the order for all tables: the record has noted it at each.
func (p *Pipeline) forgetOrder(ctx context.Context) error {
	if p.orderOf(allTables).none() {
		return nil
	}
	_, err := p.order(ctx, allTables, func(Order) (Order, error) { return Order{}, nil })
	return err
}

// dropSlot is the last step of the budget: the source's disk comes first. The record says it
// where it can be written; where it cannot, the next start finds that there is no slot.
func (p *Pipeline) dropSlot(ctx context.Context, f *change.SlotFigures) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	why := fmt.Sprintf("the source kept %s of log for it, more than wal_budget.drop_slot (%s), at %s", figure.Bytes(f.Kept()), figure.Bytes(p.opts.WALBudget.DropSlot), f.At.Format(time.RFC3339))
	p.dropped.Store(&why)
	if err := p.noteDropped(ctx); err != nil {
		p.log.Warn("cannot note that the slot is dropped", "error", err)
	}
	if err := p.opts.Source.GiveUpSlot(ctx); err != nil {
		p.log.Error("the slot cannot be dropped, which is tried again", "slot", p.source.Slot, "error", err)
		return
	}
	p.log.Error("the slot was dropped, and all tables have to be copied anew", "slot", p.source.Slot, "because", why)
}

// noteDropped writes into the newest record why the slot is dropped. It waits for nobody who
// writes one now, and nobody writes one in between.
func (p *Pipeline) noteDropped(ctx context.Context) error {
	if !p.recordMu.TryLock() {
		return errors.New("a record is being written")
	}
	defer p.recordMu.Unlock()
	if p.recorded == nil {
		return errors.New("there is none yet")
	}
	dropped := *p.recorded
	dropped.Dropped = p.droppedBy()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return p.putRecord(ctx, dropped)
}

// droppedBy is why the governor dropped the slot, "" where it did not.
func (p *Pipeline) droppedBy() string {
	if why := p.dropped.Load(); why != nil {
		return *why
	}
	return ""
}

// goneBy is what is known of why there is no slot.
func (r *progress) goneBy() string {
	if r == nil {
		return "gone from the source"
	}
	if r.Dropped != "" {
		return "gone: the budget dropped it, since " + r.Dropped
	}
	return "gone from the source"
}
