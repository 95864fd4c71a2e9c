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
)

// errLarge is a table that is not copied side by side with others, since it is copied in chunks.
var errLarge = errors.New("it is to be copied in chunks")

// startCopies begins what is due of copies: one, or, of tables that have none yet, several.
func (p *Pipeline) startCopies(ctx context.Context, j *jobs, due []*target) {
	if j.copies > 0 || len(due) == 0 {
		return
	}
	fresh := slices.DeleteFunc(slices.Clone(due), func(t *target) bool {
		return t.at.LSN != 0 || t.had != 0 || len(t.segments) > 0 || t.stage != nil || t.recopy.counts || t.recopy.alone
	})
	if len(fresh) < 2 {
		p.startCopy(ctx, j, due[0])
		return
	}
	fresh = fresh[:min(len(fresh), copiesTogether)]
	for _, t := range fresh {
		t.safe = max(t.safe, p.written)
		p.enterCopy(j, t)
	}
	for _, t := range fresh {
		p.noteAhead(ctx, t)
	}
	j.group.Go(func() error {
		errs := p.copyTogether(ctx, fresh)
		for i, t := range fresh {
			select {
			case j.done <- result{t: t, copy: true, err: errs[i]}:
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
}

// copyTogether makes the first copies of tables under one snapshot, and returns what came of each.
func (p *Pipeline) copyTogether(ctx context.Context, tables []*target) []error {
	errs := make([]error, len(tables))
	each := func(do func(i int, t *target) error) {
		for i, t := range tables {
			if errs[i] == nil {
				errs[i] = do(i, t)
			}
		}
	}
	each(func(_ int, t *target) error {
		p.phase("copy")
		t.report(func(s *TableStatus) { s.State, s.CopyRows, s.Error, s.Since = Copying, 0, "", time.Time{} })
		return p.findLanding(ctx, t)
	})
	there, failed, err := p.publishSeveral(ctx, tables)
	each(func(_ int, t *target) error {
		v := there[t.name]
		switch {
		case err != nil:
			return &sourceError{err}
		case failed[t.name] != nil:
			return &sourceError{failed[t.name]}
		case v == nil:
			return errGone
		}
		var err error
		p.opts.Source.Follow(v)
		if v, err = p.sized(ctx, v); err != nil {
			return &sourceError{err}
		}
		if p.takesChunks(t, v) {
			return errLarge
		}
		t.source = v
		return p.removeStage(ctx, t)
	})
	at, err := p.opts.Source.OpenSnapshot(ctx)
	if err != nil {
		each(func(int, *target) error { return &sourceError{fmt.Errorf("open snapshot: %w", err)} })
		return errs
	}
	var g errgroup.Group
	g.SetLimit(copiesAtOnce)
	for i, t := range tables {
		if errs[i] == nil {
			g.Go(func() error { errs[i] = p.copyTable(ctx, t, at); return nil })
		}
	}
	_ = g.Wait() // each error is its table's
	if err := p.opts.Source.CloseSnapshot(context.WithoutCancel(ctx)); err != nil {
		p.log.Warn("close the snapshot of a copy", "table", tables[0].name, "error", err)
	}
	p.goneMeanwhile(ctx, tables, errs)
	return errs
}

// goneMeanwhile makes of what came of the copies of tables that have gone from the source that they have.
func (p *Pipeline) goneMeanwhile(ctx context.Context, tables []*target, errs []error) {
	if !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) || ctx.Err() != nil {
		return
	}
	look, err := p.opts.Source.Look(ctx)
	if err != nil {
		return
	}
	seen := map[string]bool{}
	for _, v := range look.Tables {
		seen[v.String()] = true
	}
	for i, t := range tables {
		if errs[i] != nil && !seen[t.name] {
			errs[i] = errGone
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
	for _, t := range tables {
		wanted[t.name] = t
	}
	there, failed = map[string]*change.Table{}, map[string]error{}
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
		failed[f.Table.String()] = f.Err
	}
	for name, v := range there {
		if failed[name] == nil {
			published := prepared.Published[v.ID]
			wanted[name].setPublished(&published)
		}
	}
	return there, failed, nil
}
