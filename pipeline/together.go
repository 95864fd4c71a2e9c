package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"lakefeed/change"
)

// Tables that come to the source side by side are copied side by side: to publish them, to open
// a snapshot and to look at the catalogs takes longer than to read a small table.
const (
	copiesTogether = 16 // under one snapshot
	copiesAtOnce   = 3
	// smallPart is the part of the memory budget up to which a table is small: those that are copied at
	// once hold no more together than the half of it, as one copy does, and the snapshot does not last.
	smallPart = 12
)

// errLarge is a table that is not copied side by side with others.
var errLarge = errors.New("it is to be copied alone")

// startCopies begins what is due of copies: one, or, of tables that have none yet, several.
func (p *Pipeline) startCopies(ctx context.Context, j *jobs, due []*target) {
	if j.copies > 0 || len(due) == 0 {
		return
	}
	fresh := slices.DeleteFunc(slices.Clone(due), func(t *target) bool {
		return t.at.LSN != 0 || t.had != 0 || len(t.segments) > 0 || t.stage != nil || t.staged.Load() || t.recopy.counts || t.recopy.alone
	})
	if len(fresh) < 2 {
		p.startCopy(ctx, j, slices.MinFunc(due, func(a, b *target) int { return a.recopy.began.Compare(b.recopy.began) })) // each has its turn
		return
	}
	fresh = fresh[:min(len(fresh), copiesTogether)]
	for _, t := range fresh {
		t.safe = max(t.safe, p.written)
		p.enterCopy(j, t)
	}
	for _, t := range fresh {
		_ = p.noteAhead(ctx, t) // it is logged
	}
	j.group.Go(func() error {
		for _, c := range p.copyTogether(ctx, fresh) {
			select {
			case j.done <- result{t: c.t, copy: true, err: c.err}:
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
}

// copyTogether makes the first copies of small tables under one snapshot, and returns what came of each.
func (p *Pipeline) copyTogether(ctx context.Context, tables []*target) []*copyTry {
	tries := p.beginCopies(ctx, tables)
	for _, c := range tries {
		if c.err == nil && (c.v.Bytes > p.opts.MemoryBudget/smallPart || p.takesChunks(c.t, c.v)) {
			c.err = errLarge
		}
	}
	p.copyInOnePass(ctx, tries)
	p.findGone(ctx, tries)
	return tries
}

// copyTry is a copy of a table that is made.
type copyTry struct {
	t   *target
	v   *change.Table // as it is in the source
	err error         // what came of it
}

// beginCopies finds out where tables land, makes the source publish them, and asks for their sizes.
func (p *Pipeline) beginCopies(ctx context.Context, tables []*target) []*copyTry {
	tries := make([]*copyTry, len(tables))
	for i, t := range tables {
		p.phase("copy")
		t.report(func(s *TableStatus) {
			s.State, s.CopyRows, s.Error, s.Since = Copying, 0, "", time.Time{}
			if t.recopy.passed {
				s.Note, t.recopy.passed = "", false
			}
		})
		tries[i] = &copyTry{t: t}
		if t.recopy.counts {
			tries[i].err = p.noteCopy(ctx, t)
		}
		if tries[i].err == nil {
			tries[i].err = p.findLanding(ctx, t)
		}
	}
	there, failed, err := p.publishSeveral(ctx, tables)
	for _, c := range tries {
		if c.err != nil {
			continue
		}
		switch c.v = there[c.t.name]; {
		case err != nil:
			c.err = &sourceError{err}
		case failed[c.t.name] != nil:
			c.err = failed[c.t.name]
		case c.v == nil:
			c.err = errGone
		default:
			p.opts.Source.Follow(c.v)
			c.v, c.err = p.sized(ctx, c.v)
		}
	}
	return tries
}

// copyInOnePass copies tables under one snapshot, each from its beginning to its end.
func (p *Pipeline) copyInOnePass(ctx context.Context, tries []*copyTry) {
	for _, c := range tries {
		if c.err == nil {
			c.t.source = c.v
			c.err = p.removeStage(ctx, c.t)
		}
	}
	tries = slices.DeleteFunc(slices.Clone(tries), func(c *copyTry) bool { return c.err != nil })
	if len(tries) == 0 {
		return
	}
	at, err := p.opts.Source.OpenSnapshot(ctx)
	if err != nil {
		for _, c := range tries {
			c.err = &sourceError{fmt.Errorf("open snapshot: %w", err)}
		}
		return
	}
	var g errgroup.Group
	g.SetLimit(copiesAtOnce)
	for _, c := range tries {
		g.Go(func() error { c.err = p.copyTable(ctx, c.t, at); return nil })
	}
	_ = g.Wait() // each error is its table's
	if err := p.opts.Source.CloseSnapshot(context.WithoutCancel(ctx)); err != nil {
		p.log.Warn("close the snapshot of a copy", "table", tries[0].t.name, "error", err)
	}
}

// findGone makes of what came of the copies of tables that have gone from the source that they have.
func (p *Pipeline) findGone(ctx context.Context, tries []*copyTry) {
	if !slices.ContainsFunc(tries, func(c *copyTry) bool { return c.err != nil }) || ctx.Err() != nil {
		return
	}
	look, err := p.opts.Source.Look(ctx)
	if err != nil {
		return
	}
	for _, c := range tries {
		if c.err == nil || c.t.source.LogOnly || slices.ContainsFunc(look.Tables, func(v *change.Table) bool { return v.String() == c.t.name }) {
			continue
		}
		c.err = errGone
		if t := c.t; t.table != nil && t.at.LSN == 0 && t.shared == nil && !t.foreign { // nobody will want it
			c.err = errors.Join(errGone, removeCopy(ctx, t.store))
		}
	}
}

// publishSeveral makes the source publish tables as they are there now, beside those that it
// publishes already, and returns their descriptions, and why some could not be.
func (p *Pipeline) publishSeveral(ctx context.Context, tables []*target) (there map[string]*change.Table, failed map[string]error, err error) {
	look, err := p.opts.Source.Look(ctx)
	if err != nil {
		return nil, nil, err
	}
	wanted := map[string]*target{}
	there, failed = map[string]*change.Table{}, map[string]error{}
	for _, t := range tables {
		if wanted[t.name] = t; t.source.LogOnly { // in no catalog, and in no publication
			there[t.name] = t.source
		}
	}
	all := slices.DeleteFunc(slices.Clone(look.Tables), func(v *change.Table) bool {
		if wanted[v.String()] != nil {
			there[v.String()] = v
			return false
		}
		t := p.targetNamed(v.String())
		return t == nil || t.number() != v.ID
	})
	prepared, err := p.opts.Source.Prepare(ctx, all, func(v *change.Table) bool { return wanted[v.String()] == nil })
	if err != nil {
		return nil, nil, err
	}
	for _, f := range prepared.Failed {
		failed[f.Table.String()] = &sourceError{f.Err}
	}
	for name, v := range there {
		if failed[name] == nil && !v.LogOnly {
			failed[name] = p.publishedAs(ctx, wanted[name], prepared.Published[v.ID])
		}
	}
	return there, failed, nil
}

// publishedAs notes how a table is published from now on. What is staged of one that was published
// otherwise is of no use: what was done to the table between is in no log. A start must not find
// that beside the new entry, by which it would take it for whole.
func (p *Pipeline) publishedAs(ctx context.Context, t *target, now change.Published) error {
	had := t.howPublished()
	stale := t.stage != nil && (had == nil || !had.Same(now))
	if stale {
		if err := p.voidStage(ctx, t); err != nil {
			return err
		}
	}
	t.setPublished(&now)
	if stale {
		return errRepublished
	}
	return nil
}

var errRepublished = &staleError{why: "somebody changed how it is published"}
