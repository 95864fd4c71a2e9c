package pipeline

import "lakefeed/change"

// receive takes in a table that another slot has left to this one. It holds for as long as
// nothing was read behind the position: what the slot's log has of the table from there on is
// still to come, and was published from before it on.
func (p *Pipeline) receive(t *target, record *progress) {
	if p.opts.part == nil {
		return
	}
	how, ok := p.opts.part.taken[t.name]
	if !ok || record == nil || record.has(t.name) || record.LSN > how.At {
		return
	}
	t.received, t.stranger, t.mine, t.had = true, false, true, how.Had
	t.setPublished(&how.Published)
}

// adopt lets a table that was last written through another slot of the pipeline be this
// one's: positions are those of the log, whichever slot reads it. What that one read last, this one may not see.
func (p *Pipeline) adopt(t *target, at *checkpoint) {
	if p.opts.part == nil || at.Pipeline != p.opts.Name || at.Source.Slot == p.source.Slot {
		return
	}
	at.Source.Slot, at.Last = p.source.Slot, change.Mark{}
	t.adopted = true
}

// copyStranger lets a table be copied anew that was written through another slot, which has
// not handed it over: what happened to it since may be in no log that is read.
func (p *Pipeline) copyStranger(t *target, record *progress) {
	if t.adopted && !t.received && !record.has(t.name) && t.at.LSN != 0 && t.recopy == nil && !t.failed() {
		p.recopy(t, "it came through another slot before, which did not hand it over")
	}
}
