package hudi

import (
	"context"
	"errors"
	"slices"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// A table's folders are listed one after the other, which takes minutes where there are
// thousands. What is superseded and cleaned away meanwhile is not in the listing, nor by a
// timeline that was listed before are the files that took its place: rows would be missing
// without an error. So the timeline is listed once more when the folders are: it has the
// commit that superseded whatever was deleted before, and that commit names its files.

// loadTries is how often a table is listed that changes as a whole meanwhile.
const loadTries = 5

// errOvertaken says that writes came while a table was listed, and were archived.
var errOvertaken = errors.New("while it was listed, commits were archived that were not known: read it again")

// loadNew reads a table of which nothing is known.
func (t *Table) loadNew(ctx context.Context, props Properties) error {
	names, err := t.listTimeline(ctx)
	if err != nil {
		return err
	}
	return t.load(ctx, props, names)
}

// load reads the table anew, timeline and folders, from what was just listed of the
// timeline. It is stale still where something was taken back meanwhile.
func (t *Table) load(ctx context.Context, props Properties, names []string) error {
	for try := 1; ; try++ {
		before := timeline.NewLayout(props.layout(), names)
		v, err := t.listView(ctx)
		if err != nil {
			return err
		}
		if names, err = t.listTimeline(ctx); err != nil {
			return err
		}
		now := timeline.NewLayout(props.layout(), names)
		if err = t.overtake(ctx, v, before, now); err == nil {
			err = t.adopt(ctx, props, v, now)
		}
		if err == nil {
			t.names, t.stale = names, sawRollback(before, now)
			return nil
		}
		overtaken := errors.Is(err, errOvertaken) || errors.Is(err, storage.ErrNotExist) // archived since
		if !overtaken || try == loadTries {
			return err
		}
	}
}

// loadAs reads the folders anew. The timeline is known, and nobody else writes.
func (t *Table) loadAs(ctx context.Context, props Properties, tl *timeline.Timeline) error {
	v, err := t.listView(ctx)
	if err != nil {
		return err
	}
	return t.adopt(ctx, props, v, tl)
}

func (t *Table) listView(ctx context.Context) (*view, error) {
	files, err := t.listFiles(ctx)
	if err != nil {
		return nil, err
	}
	return newView(files), nil
}

// overtake takes in what was committed and cleaned away while a view's files were listed,
// between two looks at the timeline; errOvertaken where the second does not tell it all.
// What was taken back meanwhile does not count by the second, whether it was listed or not.
func (t *Table) overtake(ctx context.Context, v *view, before, now *timeline.Timeline) error {
	if archivedUnseen(before, now) {
		return errOvertaken
	}
	for _, i := range now.Completed() {
		if before.IsCompleted(i.Time) {
			continue
		}
		m, err := t.readCommit(ctx, i)
		if err != nil {
			return err
		}
		v.take(i.Time, m)
	}
	for _, i := range now.Instants() {
		if i.Action != timeline.Clean || i.State != timeline.Completed || slices.Contains(before.States(i.Time), i) {
			continue
		}
		files, err := t.readCleaned(ctx, i)
		if saysNothing(err) {
			return errOvertaken // what it deleted is not in the next listing
		}
		if err != nil {
			return err
		}
		for _, f := range files {
			v.drop(f)
		}
	}
	return nil
}

// sawRollback tells whether writes were taken back between two looks at a timeline. Their files may have
// been listed, and what answers them not. By the second look they do not count, but they would
// once they are older than the timeline: the folders are to be listed anew before that.
func sawRollback(before, now *timeline.Timeline) bool {
	for _, i := range now.Instants() {
		if (i.Action == timeline.Rollback || i.Action == timeline.Restore) && i.State == timeline.Completed && !slices.Contains(before.States(i.Time), i) {
			return true
		}
	}
	return slices.ContainsFunc(before.Instants(), func(i timeline.Instant) bool {
		return !now.Has(i.Time) && !now.BeforeStart(i.Time)
	})
}

// archivedUnseen tells whether writes may have come and been archived between two looks at
// a timeline, or may count as archived that were pending and taken back: see
// [mayLackUnseen].
func archivedUnseen(before, now *timeline.Timeline) bool {
	last, ok := before.Last()
	if _, any := now.Last(); !ok {
		return any
	}
	for _, i := range append(before.Pending(), last) {
		if !now.Has(i.Time) && now.BeforeStart(i.Time) {
			return true
		}
	}
	return false
}
