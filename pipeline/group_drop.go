package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Drop is [Pipeline.Drop] for all slots; that there were several stays noted.
func (g *Group) Drop(ctx context.Context, really bool) (d Dropped, err error) {
	lock, err := acquire(ctx, g.o.Lake, g.o.Name, g.o.Listen, g.log)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, lock.release(context.WithoutCancel(ctx))) }()
	ctx = lock.holding(ctx)
	if g.record, err = readSlots(ctx, g.o.Lake, g.o.Name); err != nil {
		return d, err
	}
	if g.record == nil {
		g.record = new(slotRecord)
	}
	defer g.close(ctx)
	slots := g.record.slots()
	slices.Reverse(slots) // the default one is the pipeline's own, and goes last
	if err := g.openStreams(ctx, slots); err != nil {
		return d, err
	}
	for _, s := range g.all() {
		p, err := New(g.options(s, lock))
		if err != nil {
			return d, err
		}
		one, err := p.Drop(ctx, really)
		if err != nil {
			return d, fmt.Errorf("slot %s: %w", s.slot, err)
		}
		d.add(one)
	}
	if !really {
		return d, nil
	}
	// Tables that lie in the lake still name the slots that they came through.
	none := slotRecord{Slots: []string{}, Tables: map[string]string{}}
	return d, none.write(ctx, g.o.Lake, g.o.Name)
}

// add adds what is dropped of another slot.
func (d *Dropped) add(one Dropped) {
	join := func(a *string, b, sep string) {
		if *a != "" && b != "" {
			*a += sep
		}
		*a += b
	}
	join(&d.Slot, one.Slot, ", ")
	join(&d.ByHand, one.ByHand, "; ")
	d.Publications = append(d.Publications, one.Publications...)
	d.Spooled += one.Spooled
	d.Record = d.Record || one.Record
}
