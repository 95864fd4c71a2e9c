package pipeline

import (
	"errors"
	"slices"
	"time"
)

// The source holds one snapshot, so that copies and incremental snapshots are made one after the other, but for
// small ones. Those that are due are made in the order of their last tries, and a copy in chunks that can do
// nothing but wait lets the others go first: what it has read stays.

// turnError ends a try of a copy that waits for something while others wait for it.
type turnError struct{ error }

func (e *turnError) Unwrap() error { return e.error }

// passTurn puts a copy behind the others that are due, where that is why its try ended.
func (p *Pipeline) passTurn(t *target, work *recopy, err error) bool {
	turn, is := errors.AsType[*turnError](err)
	if !is {
		return false
	}
	work.next, work.passed, t.recopy = time.Now(), true, work
	p.log.Info("a copy lets others go first", "table", t.name, "parts kept", t.stage.parts(), "because", turn.error)
	t.report(func(s *TableStatus) {
		s.State, s.Note = Waiting, "others are copied meanwhile: "+turn.Error()
	})
	t.stand()
	return true
}

// snapshotWaits reports whether an incremental snapshot could be made now.
func (p *Pipeline) snapshotWaits() bool {
	inc := &p.incremental
	return p.opts.Until == 0 && slices.ContainsFunc(inc.list(), func(s Snapshot) bool {
		t := p.targetNamed(s.Table)
		return !s.Paused && (!p.opts.Once || inc.wanted(s.ID)) && t != nil && t.at.LSN != 0 && t.direct() && !time.Now().Before(inc.tries[s.ID].next)
	})
}
