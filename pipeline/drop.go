package pipeline

import (
	"context"
	"errors"
	"fmt"

	"lakefeed/change"
)

// Dropped is what [Pipeline.Drop] removes, or removed.
type Dropped struct {
	Slot         string   `json:"slot,omitempty"` // "": there is none
	Publications []string `json:"publications,omitempty"`
	// ByHand is the statement that somebody has to run on the primary of a standby.
	ByHand string `json:"by_hand,omitempty"`
	// Spooled is the bytes of changes that wait in the spool: the tables will never have them.
	Spooled int64 `json:"spooled_bytes,omitempty"`
	Record  bool  `json:"record"` // the lake has a record of the pipeline
}

// Drop ends a pipeline for good: it removes its slot, its publications and its spool, and what
// the lake says of it. The tables stay as they are. Unless really is set it only says what that
// would be. A pipeline that runs is a *[LockedError], a slot that does not belong to this lake a
// *[PositionError]. Whatever an interrupted Drop left is removed by the next.
func (p *Pipeline) Drop(ctx context.Context, really bool) (d Dropped, err error) {
	ctx, p.cancel = context.WithCancelCause(ctx)
	defer p.cancel(nil)
	unlock, err := p.enterSpool(ctx)
	if err != nil {
		return d, err
	}
	defer func() { err = p.release(ctx, err, unlock) }()
	if err := p.enterLake(ctx); err != nil {
		return d, err
	}
	if p.lock == nil {
		return d, fmt.Errorf("drop the pipeline: the lake is away: %w", p.gate.closed())
	}
	if d, err = p.dropping(ctx); err != nil || !really {
		return d, err
	}
	if d.Slot != "" {
		if err := p.opts.Source.DropSlot(ctx); err != nil {
			return d, err
		}
	}
	if d.ByHand == "" {
		if err := p.opts.Source.Unpublish(ctx); err != nil {
			return d, err
		}
	}
	return d, p.forget(ctx)
}

// dropping is what there is to be removed, if it is this lake's.
func (p *Pipeline) dropping(ctx context.Context) (d Dropped, err error) {
	past, err := readAncestry(ctx, p.opts.Source)
	if err != nil {
		return d, err
	}
	p.source = past.now
	record, err := readProgress(ctx, p.opts.Lake, p.opts.key())
	if err != nil {
		return d, err
	}
	if d.Record = record != nil; d.Record {
		if _, err := past.shared("the lake "+p.opts.Lake.String(), record.Source); err != nil {
			return d, err
		}
	}
	slot, err := freeSlot(ctx, p.opts.Source)
	if err != nil {
		return d, err
	}
	if err := ownSlot(p.source, slot); err != nil {
		return d, err
	}
	if slot != nil {
		d.Slot = slot.Name
		if record == nil {
			return d, fits(p.source, slot, 0, nil)
		}
	}
	d.Publications, err = p.opts.Source.Publications(ctx)
	if readOnly, is := errors.AsType[*change.ByHandError](err); is {
		d.ByHand, err = readOnly.Statement, nil
	}
	if err != nil {
		return d, err
	}
	_, err = p.spool.list(ctx)
	d.Spooled = p.spool.bytes.Load()
	return d, err
}

// forget removes what the lake and the spool have of the pipeline, but for the locks, the record
// last: until it is gone, another Drop knows that it is this lake's.
func (p *Pipeline) forget(ctx context.Context) error {
	var files []string
	for info, err := range p.spool.store.List(ctx, "", true) {
		if err != nil {
			return fmt.Errorf("list the spool %s: %w", p.spool.store, err)
		}
		if info.Name != lockName(p.opts.key()) {
			files = append(files, info.Name)
		}
	}
	for _, name := range files {
		if err := p.spool.store.Delete(ctx, name); err != nil {
			return fmt.Errorf("empty the spool %s: %w", p.spool.store, err)
		}
	}
	lake, name := p.opts.Lake, p.opts.key() // what is of tables is the default slot's
	for _, kind := range []string{"schema", "leaves", "bootstrap"} {
		if err := lake.DeleteAll(ctx, "_lakefeed/"+kind+"/"+folderName(name)); err != nil {
			return fmt.Errorf("remove _lakefeed/%s/%s: %w", kind, folderName(name), err)
		}
	}
	for _, record := range []string{ordersName(name), snapshotsName(name), replayName(name), stoppedName(name), progressName(name)} {
		if err := lake.Delete(ctx, record); err != nil {
			return fmt.Errorf("remove %s: %w", record, err)
		}
	}
	return nil
}
