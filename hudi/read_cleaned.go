package hudi

import (
	"context"
	"fmt"
	"slices"

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
	var out []horizon
	restored := "" // the oldest instant that the table was taken back to since
	for _, i := range slices.Backward(tl.Instants()) {
		switch {
		case i.Time <= after:
			return out, nil
		case i.State != timeline.Completed:
		case i.Action == timeline.Restore:
			to, err := t.restoredTo(ctx, i)
			if err != nil {
				return nil, err
			}
			if restored == "" || to < restored {
				restored = to
			}
		case i.Action == timeline.Clean:
			kept, err := t.keptBy(ctx, i)
			if err != nil {
				return nil, err
			}
			out = append(out, horizon{kept, restored})
		default:
		}
	}
	return out, nil
}

// checkCleaned refuses an instant before those that cleanings kept, unless a savepoint
// keeps it: what is left of it would be a part only.
func (t *Table) checkCleaned(ctx context.Context, tl *timeline.Timeline, asOf string) error {
	if tl.IsSavepoint(asOf) {
		return nil
	}
	if err := t.checkArchived(ctx, tl, asOf); err != nil {
		return err
	}
	found, err := t.horizons(ctx, tl, asOf)
	if err != nil {
		return err
	}
	oldest := ""
	for _, h := range found {
		if h.hides(asOf) {
			oldest = max(oldest, h.kept)
		}
	}
	if oldest != "" {
		return fmt.Errorf("as of %s: %w; the oldest that is kept is %s", asOf, ErrCleaned, oldest)
	}
	return nil
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

// keptBy is the oldest instant as of which a cleaning left the table whole.
func (t *Table) keptBy(ctx context.Context, clean timeline.Instant) (string, error) {
	m, err := readAs(ctx, t, clean, timeline.DecodeCleanMetadata)
	if err != nil {
		return "", err
	}
	return m.EarliestCommitToRetain, nil
}

// restoredTo is the instant that a restore took the table back to, where it was whole.
func (t *Table) restoredTo(ctx context.Context, restore timeline.Instant) (string, error) {
	plan, err := readPlan(ctx, t, restore, timeline.DecodeRestorePlan)
	if err != nil {
		return "", err
	}
	return plan.SavepointToRestoreTimestamp, nil
}
