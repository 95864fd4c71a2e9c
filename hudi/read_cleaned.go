package hudi

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"lakefeed/hudi/timeline"
)

// horizon is what a cleaning left: the table is whole as of kept and later and, where it
// was taken back since, as of restored and later.
type horizon struct{ kept, restored string }

func (h horizon) hides(asOf string) bool {
	return asOf < h.kept && (h.restored == "" || asOf < h.restored)
}

// horizons are those of all cleanings after an instant. The newest alone does not do: by
// number of versions a cleaning may go further than a later one by commits. No cleaning
// that is archived hides a commit that is not: what it kept is archived with it.
func (t *Table) horizons(ctx context.Context, tl *timeline.Timeline, after string) ([]horizon, error) {
	later := slices.DeleteFunc(tl.Instants(), func(i timeline.Instant) bool {
		return i.Time <= after || i.State != timeline.Completed || i.Action != timeline.Restore && i.Action != timeline.Clean
	})
	said := make([]string, len(later))
	read, ctx := errgroup.WithContext(ctx)
	read.SetLimit(commitReaders)
	for n, i := range later {
		read.Go(func() (err error) {
			if i.Action == timeline.Restore {
				said[n], err = t.restoredTo(ctx, i)
			} else {
				said[n], err = t.keptBy(ctx, tl, i)
			}
			return err
		})
	}
	if err := read.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	var out []horizon
	restored := "" // the oldest instant that the table was taken back to since
	for n, i := range slices.Backward(later) {
		switch {
		case i.Action == timeline.Clean:
			out = append(out, horizon{said[n], restored})
		case said[n] != "" && (restored == "" || said[n] < restored):
			restored = said[n]
		}
	}
	return out, nil
}

// checkCleaned refuses an instant before those that cleanings kept, unless a savepoint or a
// pin keeps it: what is left of it would be a part only.
func (t *Table) checkCleaned(ctx context.Context, tl *timeline.Timeline, asOf string) error {
	_, err := t.keptAlone(ctx, tl, asOf)
	return err
}

// keptAlone is [Table.checkCleaned], and tells whether the instant may stand before those that
// cleanings kept, so that it goes with the savepoint or the pin that keeps it.
func (t *Table) keptAlone(ctx context.Context, tl *timeline.Timeline, asOf string) (bool, error) {
	if tl.IsSavepoint(asOf) {
		return true, nil
	}
	if err := t.checkArchived(ctx, tl, asOf); err != nil {
		return false, err
	}
	found, err := t.horizons(ctx, tl, asOf)
	if err != nil {
		return false, err
	}
	oldest := ""
	for _, h := range found {
		if h.hides(asOf) {
			oldest = max(oldest, h.kept)
		}
	}
	if oldest == "" {
		return false, nil
	}
	if pinned, err := t.keptByPin(ctx, asOf); err != nil || pinned {
		return pinned, err
	}
	return false, fmt.Errorf("as of %s: %w; the oldest that is kept is %s", asOf, ErrCleaned, oldest)
}

// OldestAsOf is the oldest commit as of which, and as of each later one, the table can be
// read; "" where it has no commits. Savepoints keep older ones.
func (t *Table) OldestAsOf(ctx context.Context) (string, error) {
	tl := t.Timeline()
	done := tl.Completed()
	if len(done) == 0 {
		return "", nil
	}
	hidden, err := t.horizons(ctx, tl, done[0].Time)
	if err != nil {
		return "", fmt.Errorf("find the oldest readable commit of %s: %w", t.name, err)
	}
	oldest := ""
	for _, i := range slices.Backward(done) {
		if slices.ContainsFunc(hidden, func(h horizon) bool { return h.hides(i.Time) }) {
			break
		}
		oldest = i.Time
	}
	return oldest, nil
}

// keptBy is the oldest instant as of which a cleaning left the table whole. Where a crash left
// its file empty, its plan tells; where nothing does, as it was archived since the timeline was
// looked at, that is the newest commit before it, whose files no cleaning deletes.
func (t *Table) keptBy(ctx context.Context, tl *timeline.Timeline, clean timeline.Instant) (string, error) {
	m, err := readAs(ctx, t, clean, timeline.DecodeCleanMetadata)
	if err == nil {
		return m.EarliestCommitToRetain, nil
	}
	if !saysNothing(err) {
		return "", err
	}
	plan, err := readPlan(ctx, t, clean, timeline.DecodeCleanerPlan)
	switch {
	case err == nil && plan.EarliestInstantToRetain != nil:
		return plan.EarliestInstantToRetain.Timestamp, nil
	case err != nil && !saysNothing(err):
		return "", err
	}
	kept := ""
	for _, i := range tl.Completed() {
		if i.Time < clean.Time {
			kept = i.Time
		}
	}
	return kept, nil
}

// restoredTo is the instant that a restore took the table back to, where it was whole; "" where
// nothing tells.
func (t *Table) restoredTo(ctx context.Context, restore timeline.Instant) (string, error) {
	plan, err := readPlan(ctx, t, restore, timeline.DecodeRestorePlan)
	switch {
	case err == nil:
		return plan.SavepointToRestoreTimestamp, nil
	case saysNothing(err):
		return "", nil
	}
	return "", err
}
