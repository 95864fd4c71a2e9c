package pipeline

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"lakefeed/change"
)

// openSpool takes in what the spool has of the tables, and sees that nothing of it is
// missing: each segment begins where the one before it ends, or the table's checkpoint
// is, and the newest that the record knows of is there.
func (p *Pipeline) openSpool(ctx context.Context, record *progress) error {
	found, err := p.spool.list(ctx)
	if err != nil {
		return err
	}
	stages, err := p.stagesOfUse(ctx)
	if err != nil {
		return err
	}
	for _, t := range p.targets {
		segs := found[tableFolder(t.name)]
		order := p.orderOf(t.name)
		t.paused, t.accept = order.Paused, order.Accept
		var begun *stage
		if stages[tableFolder(t.name)] {
			if begun, err = p.stageFor(ctx, t, segs, record); err != nil {
				return err
			}
		}
		switch {
		case begun != nil:
			err = p.takeStaged(ctx, t, begun, segs)
		case t.wantsCopy(order):
			err = p.spool.delete(ctx, t.name, segs)
			t.status.State = Waiting
			p.recopy(t, cmp.Or(order.Why, asked))
		case !t.mayHaveCopy(): // what an interrupted first copy left
			err = p.spool.delete(ctx, t.name, segs)
		case t.settled:
		case t.waitsForCopy(record):
			err = p.spool.delete(ctx, t.name, segs)
			p.recopy(t, record.Stopped[t.name].Why)
			t.recopy.counts = true
		default:
			err = p.takeSegments(ctx, t, segs, record)
		}
		if err != nil {
			return err
		}
		p.restop(t, record)
	}
	return nil
}

// takeSegments takes in a table's segments. Those that its checkpoint covers are what a
// crash left behind a commit.
func (p *Pipeline) takeSegments(ctx context.Context, t *target, segs []segment, record *progress) error {
	n := slices.IndexFunc(segs, func(s segment) bool { return s.to > t.at.LSN })
	if n < 0 {
		n = len(segs)
	}
	if err := p.spool.delete(ctx, t.name, segs[:n]); err != nil {
		return err
	}
	if segs = segs[n:]; record != nil {
		t.expected = record.Spooled[t.name]
	}
	if t.opened { // else it is looked at when it can be
		if err := p.lacksSegment(t, segs); err != nil {
			p.fail(t, err)
			return p.spool.delete(ctx, t.name, segs)
		}
	}
	t.safe = max(t.at.LSN, t.had, t.expected)
	if len(segs) == 0 {
		return nil
	}
	first, err := p.spool.head(ctx, t.name, segs[0])
	last, err2 := p.spool.head(ctx, t.name, segs[len(segs)-1])
	if err := errors.Join(err, err2); err != nil {
		return p.badSegment(ctx, t, segs, err)
	}
	segs[0].oldest, t.spooledLast, t.spooledSource = first.Oldest, last.Last, last.Source
	t.segments, t.safe = segs, max(t.safe, segs[len(segs)-1].to)
	return nil
}

// lacksSegment is the error of a table of which the spool lacks something that its
// checkpoint does not cover.
func (p *Pipeline) lacksSegment(t *target, segs []segment) error {
	end := t.at.LSN
	lost := func(to change.LSN) error {
		return anew("the spool %s lacks the changes of %s from %s to %s, which the source was told to forget: somebody removed them, or `spool` names another place than before", p.spool.store, t.name, end, to)
	}
	for i, seg := range segs {
		if seg.from > end || i > 0 && seg.from != end {
			return lost(seg.from)
		}
		end = seg.to
	}
	if t.expected > end {
		return lost(t.expected)
	}
	return nil
}

func (p *Pipeline) badSegment(ctx context.Context, t *target, segs []segment, err error) error {
	bad, ok := errors.AsType[*SegmentError](err)
	if !ok {
		return err
	}
	p.fail(t, anew("%s: changes of %s are lost", bad.Error(), t.name))
	return p.spool.delete(ctx, t.name, segs)
}

// incomplete reports whether changes of the table were passed over that its copy, which is
// to be made, will have.
func (t *target) incomplete() bool {
	return (t.had != 0 || t.copied != 0) && (t.recopy != nil || t.isDropped() && !t.held)
}

// noteStopped notes why a table waits for a new copy, so that the next start knows.
func (p *Pipeline) noteStopped(r *progress, t *target) {
	if !t.job && !t.opened { // one that may be there does not count
		t.copied = max(t.copied, r.LSN)
	}
	note := stopNote{Copied: t.copied}
	if t.noted != nil {
		note = *t.noted
	} else if t.recopy != nil {
		note.Why, note.Recopy = t.recopy.why, true
	} else if err, ok := p.failures.Load(t.name); ok {
		note.Why = err.(error).Error() // only errors are stored
	}
	r.Stopped[t.name] = note
}

// waitsForCopy reports whether a table that can be read waits for a copy that is to be made by itself. Between
// its newest commit and that copy changes were passed over, so that what the spool has of it is of no use.
func (t *target) waitsForCopy(record *progress) bool {
	note, ok := record.stopped(t.name)
	return ok && note.Recopy && !note.fulfilled(t) && t.opened && !t.failed() && t.at.LSN != 0
}

// restop stops a table again that waited for a new copy and has none.
func (p *Pipeline) restop(t *target, record *progress) {
	t.copied = t.at.Copied
	if record == nil || t.recopy != nil {
		return
	}
	note, ok := record.Stopped[t.name]
	if ok && !t.opened { // whether it has its copy shows when it can be read
		t.noted = &note
	}
	if t.failed() || t.at.LSN == 0 {
		return
	}
	if ok && !note.fulfilled(t) {
		t.settled = true
		p.fail(t, note.again())
	}
}

// withoutRemoved leaves out the tables that somebody removed from the pipeline.
func (p *Pipeline) withoutRemoved(tables []*change.Table) []*change.Table {
	return slices.DeleteFunc(slices.Clone(tables), func(t *change.Table) bool { return p.orderOf(t.String()).Removed })
}
