package hudi

import (
	"context"
	"maps"
	"slices"
	"time"

	"lakefeed/hudi/timeline"
)

// While a compaction is pending, writers of other engines log on its file groups under its
// instant. Where it is completed without one of them, they take what they have logged, which
// lies on no base file, for all of that group. So what other writers may have seen planned is
// compacted, and where the time is bounded it is planned step by step.

// compactSteps compacts slices, one plan of some of them after the other, until a time is
// over, and returns the last one's instant.
func (t *Table) compactSteps(ctx context.Context, picked []*FileSlice, until timeBound) (newest string, err error) {
	began, done, n := time.Now(), int64(0), 1
	for {
		if newest, err = t.compactPlan(ctx, picked[:n], timeBound{}); err != nil {
			return newest, err
		}
		for _, s := range picked[:n] {
			done += sliceBytes(s)
		}
		if picked = picked[n:]; len(picked) == 0 || until.passed() {
			return newest, nil
		}
		if picked, err = t.stillLogged(ctx, picked); err != nil || len(picked) == 0 {
			return newest, err
		}
		n = until.step(picked, float64(done)/time.Since(began).Seconds())
	}
}

// step is how many of the slices are compacted in half of the time that is left, at a pace of
// so many bytes a second, or those that are compacted side by side.
func (b timeBound) step(picked []*FileSlice, pace float64) (n int) {
	bytes := pace * time.Until(time.Time(b)).Seconds() / 2
	for bytes > 0 && n < len(picked) {
		bytes -= float64(sliceBytes(picked[n]))
		n++
	}
	return min(max(n, compactors), len(picked))
}

// stillLogged are the slices as other writers have left them, as far as they can be compacted.
func (t *Table) stillLogged(ctx context.Context, picked []*FileSlice) ([]*FileSlice, error) {
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	now := map[GroupID]*FileSlice{}
	for _, s := range t.view.slices(t.timeline, "", nil) {
		now[s.Group()] = s
	}
	var found []*FileSlice
	for _, s := range picked {
		if s = now[s.Group()]; s != nil && s.Base != nil && len(s.Logs) > 0 {
			found = append(found, s)
		}
	}
	return t.logged(ctx, found, checkScope{planned: true})
}

// logged are those of the slices, which are whole, that have logs to be compacted and that no
// other writer's service is about to rewrite.
func (t *Table) logged(ctx context.Context, found []*FileSlice, scope checkScope) ([]*FileSlice, error) {
	if err := t.checkWhole(ctx, found, scope); err != nil {
		return nil, err // before the plan: transactions wait for what it says
	}
	planned, err := t.planned(ctx) // by other writers' services, which are at work
	if err != nil {
		return nil, err
	}
	busy := slices.Concat(slices.Collect(maps.Values(planned))...)
	return slices.DeleteFunc(found, func(s *FileSlice) bool { return !t.hasLogRows(t.timeline, s) || slices.Contains(busy, s.Group()) }), nil
}

// compactPlan plans the compaction of slices and carries it out, beginning nothing more after
// a time.
func (t *Table) compactPlan(ctx context.Context, picked []*FileSlice, until timeBound) (string, error) {
	plan := &timeline.CompactionPlan{PreserveHoodieMetadata: true}
	for _, s := range picked {
		plan.Operations = append(plan.Operations, compactionOf(s))
	}
	i, err := t.schedule(ctx, timeline.Compaction, plan)
	if err != nil {
		return "", err
	}
	return i.Time, t.runCompaction(ctx, i.Time, plan, until)
}
