package hudi

import (
	"context"
	"fmt"
	"path"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

const (
	datePatience = 10 * time.Second      // how long a commit waits for the clock of its store
	clockTick    = 20 * time.Millisecond // more than what a file system's clock is behind the computer's
)

// outlast waits until the store dates what is written now no earlier than the instant. Hudi 1.x takes the date of a commit's file for the time
// of its completion, and a log file to be of the newest base file that is no younger than
// the commit that it was begun on: one on a base file whose commit seems older than
// itself it counts to the base file before, and its rows are not seen.
func (t *Table) outlast(ctx context.Context, instant string) error {
	step := storage.ModTimeStep(t.store)
	if step == 0 {
		return nil
	}
	return t.awaitDate(ctx, instant, step)
}

// clockFile has no content: by its date a store tells what time it has.
var clockFile = path.Join(metaFolder, ".lakefeed", "clock")

// awaitDate waits for the store's clock. That of a disk is the computer's, at most a step
// behind. That of a store of whole seconds goes its own way, and only the date of a file
// tells it; where it is too far behind, the commit goes on.
func (t *Table) awaitDate(ctx context.Context, instant string, step time.Duration) error {
	began, err := timeline.ParseTime(instant)
	if err != nil {
		return err
	}
	if step < time.Second {
		return sleep(ctx, min(2*step, began.Add(step).Sub(t.opts.Now())))
	}
	var date time.Time
	wait := min(step, began.Add(step-1).Truncate(step).Sub(t.opts.Now())) + clockTick
	for left := datePatience; left > 0; left, wait = left-max(wait, 0), step/20 {
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		if date, err = t.storeTime(ctx); err != nil || !date.Before(began) {
			return err
		}
	}
	t.opts.Logger.Warn("the store's clock is behind the instant: until the next compaction Spark with Hudi 1.x will not see what is logged from now on",
		"table", t.name, "instant", instant, "store's time", date)
	return nil
}

// redate writes those commits of the newest base files once more, as they are, that the
// store dates before their instants: copy-on-write commits do not wait for its clock, and
// of what is to be logged on their files outlast tells.
func (t *Table) redate(ctx context.Context, newest []*FileSlice) error {
	step := storage.ModTimeStep(t.store)
	if step == 0 {
		return nil
	}
	instants := map[string]bool{}
	for _, s := range newest {
		instants[s.Instant] = true
	}
	files := map[string]string{} // the instants of their commits
	for _, i := range t.timeline.Completed() {
		if instants[i.Time] {
			files[t.instantFile(i)] = i.Time
		}
	}
	var last string
	var early []string
	for info, err := range t.store.List(ctx, t.timelineAt, false) {
		if err != nil {
			return fmt.Errorf("list %s: %w", t.timelineAt, err)
		}
		if at, found := files[info.Name]; found && timeline.FormatTime(info.ModTime) < at {
			early, last = append(early, info.Name), max(last, at)
		}
	}
	if early == nil {
		return nil
	}
	if err := t.awaitDate(ctx, last, step); err != nil {
		return err
	}
	for _, name := range early {
		if err := t.rewrite(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// rewrite lets the store give a file another date.
func (t *Table) rewrite(ctx context.Context, name string) error {
	if err := t.proveAgain(ctx); err != nil {
		return err
	}
	data, _, err := t.store.Get(ctx, name)
	if err == nil {
		err = t.store.Put(ctx, name, data)
	}
	if err != nil {
		return fmt.Errorf("write %s once more: %w", name, err)
	}
	return nil
}

// storeTime is the date that the store gives to a file that is written now; to one that
// another writer has written meanwhile a later one.
func (t *Table) storeTime(ctx context.Context) (date time.Time, err error) {
	dates, err := t.storeDates(ctx)
	return dates[clockFile], err
}

// storeDates are storeTime, that of the clock's file, and when those beside it were written: all
// by the one clock of the store.
func (t *Table) storeDates(ctx context.Context) (map[string]time.Time, error) {
	if err := t.store.Put(ctx, clockFile, nil); err != nil {
		return nil, fmt.Errorf("ask for the store's time: %w", err)
	}
	dates := map[string]time.Time{}
	for info, err := range t.store.List(ctx, path.Dir(clockFile), false) {
		if err != nil {
			return nil, fmt.Errorf("ask for the store's time: %w", err)
		}
		dates[info.Name] = info.ModTime
	}
	return dates, nil
}

// sleep waits for a time or for the end of ctx, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
