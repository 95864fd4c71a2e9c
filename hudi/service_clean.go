package hudi

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	"lakefeed/hudi/timeline"
)

// CleanOptions say what a cleaning must keep: one of its fields, by default 10 commits.
// Whatever they say, the newest slice of each file group stays, and so does what a
// savepoint or a pinned reader needs.
type CleanOptions struct {
	// RetainCommits is the number of newest commits whose file slices stay, so that
	// the table can be read as of them.
	RetainCommits int
	// Retain is how long ago the table can still be read as of.
	Retain time.Duration
	// RetainVersions is the number of newest slices of each file group that stay.
	RetainVersions int
}

// Validate tells what is wrong with the options.
func (o CleanOptions) Validate() error {
	given := 0
	for _, n := range []int64{int64(o.RetainCommits), int64(o.Retain), int64(o.RetainVersions)} {
		switch {
		case n < 0:
			return badOption("retain: less than nothing")
		case n > 0:
			given++
		}
	}
	if given > 1 {
		return badOption("retain: choose one of commits, time and versions")
	}
	return nil
}

// policy is the options' name in Hudi.
func (o CleanOptions) policy() string {
	switch {
	case o.Retain > 0:
		return timeline.KeepLatestByHours
	case o.RetainVersions > 0:
		return timeline.KeepLatestFileVersions
	default:
		return timeline.KeepLatestCommits
	}
}

// CleanResult says what a cleaning did.
type CleanResult struct {
	Instant string // "" when there was nothing to do
	Files   int    // deleted
}

// Clean deletes file slices that neither a reader of the newest commits, nor one that
// has a pin, nor a savepoint needs.
func (t *Table) Clean(ctx context.Context, opts CleanOptions) (CleanResult, error) {
	if err := opts.Validate(); err != nil {
		return CleanResult{}, fmt.Errorf("clean %s: %w", t.name, err)
	}
	idle := func() bool { return len(t.cleanable(opts)) == 0 }
	return serve(ctx, t, errand{what: "clean " + t.name, idle: idle}, func(ctx context.Context) (CleanResult, error) { return t.clean(ctx, opts) })
}

// cleanable are the files that a cleaning might remove: savepoints and pins may keep some.
func (t *Table) cleanable(opts CleanOptions) []*DataFile {
	earliest, found := t.earliestToRetain(opts)
	if !found {
		return nil
	}
	return t.olderFiles(earliest.Time, opts.RetainVersions)
}

func (t *Table) clean(ctx context.Context, opts CleanOptions) (CleanResult, error) {
	earliest, found := t.earliestToRetain(opts)
	if !found {
		return CleanResult{}, nil
	}
	earliest, err := t.retained(ctx, earliest)
	if err != nil {
		return CleanResult{}, err
	}
	old := t.olderFiles(earliest.Time, opts.RetainVersions)
	if old, err = t.unsaved(ctx, old); err != nil || len(old) == 0 {
		return CleanResult{}, err
	}
	last, _ := t.timeline.Last()
	plan := &timeline.CleanerPlan{
		EarliestInstantToRetain: &timeline.ActionInstant{
			Timestamp: earliest.Time, Action: string(earliest.Action), State: earliest.State.String(),
		},
		LastCompletedCommitTimestamp:     last.Time,
		Policy:                           opts.policy(),
		FilePathsToBeDeletedPerPartition: map[string][]timeline.CleanFileInfo{},
	}
	for _, f := range old {
		files := plan.FilePathsToBeDeletedPerPartition[f.Partition]
		plan.FilePathsToBeDeletedPerPartition[f.Partition] = append(files, timeline.CleanFileInfo{FilePath: t.url(f.Path())})
	}
	i, err := t.schedule(ctx, timeline.Clean, plan)
	if err != nil {
		return CleanResult{}, err
	}
	if back, err := t.withdraw(ctx, i, plan); err != nil || back {
		return CleanResult{}, err
	}
	return CleanResult{i.Time, len(old)}, t.runClean(ctx, i.Time, plan)
}

// earliestToRetain is the oldest commit as of which the table must stay readable.
func (t *Table) earliestToRetain(opts CleanOptions) (timeline.Instant, bool) {
	commits := t.timeline.Completed()
	switch {
	case len(commits) == 0:
		return timeline.Instant{}, false
	case opts.RetainVersions > 0:
		return commits[t.wholeFrom(commits, opts.RetainVersions)], true
	case opts.Retain > 0:
		// What was read then is the commit before, if there is one.
		since := timeline.FormatTime(t.opts.Now().UTC().Add(-opts.Retain))
		at, _ := slices.BinarySearchFunc(commits, since, func(i timeline.Instant, s string) int { return cmp.Compare(i.Time, s) })
		return commits[max(at-1, 0)], at > 0
	}
	n := cmp.Or(opts.RetainCommits, 10)
	if len(commits) < n {
		return timeline.Instant{}, false
	}
	return commits[len(commits)-n], true
}

// wholeFrom is the first of some commits as of which the table is whole when each file
// group keeps so many slices, and replaced ones none.
func (t *Table) wholeFrom(commits []timeline.Instant, versions int) int {
	need := ""
	for _, g := range t.view.groups(nil) {
		if replaced := t.view.replaced[g.ID]; replaced != "" {
			need = max(need, replaced)
		} else if kept := g.newest(t.timeline, versions); kept > 0 {
			need = max(need, g.Slices[kept].Instant)
		}
	}
	at := slices.IndexFunc(commits, func(i timeline.Instant) bool { return i.Time >= need })
	if at < 0 {
		return len(commits) - 1
	}
	return at
}

// newest is the first of the group's newest slices, so many of which have a base file
// that counts; 0 where there are no more.
func (g *FileGroup) newest(tl *timeline.Timeline, versions int) int {
	for i, s := range slices.Backward(g.Slices) {
		if s.Base != nil && counts(tl, s.Instant) {
			if versions--; versions == 0 {
				return i
			}
		}
	}
	return 0
}

// olderFiles are the files that readers of the table as of an instant or later do not
// need; of those beyond so many slices of their group, where versions is not 0.
func (t *Table) olderFiles(instant string, versions int) []*DataFile {
	var old []*DataFile
	for _, g := range t.view.groups(nil) {
		keep, replaced := g.needed(t.timeline, instant), t.view.replaced[g.ID]
		switch {
		case replaced != "" && (replaced < instant || versions > 0 && replaced == instant):
			keep = len(g.Slices)
		case versions > 0:
			keep = min(keep, g.newest(t.timeline, versions))
		}
		old = append(old, (&FileGroup{Slices: g.Slices[:keep]}).files()...)
	}
	return old
}

// needed is the first slice that readers of the table as of an instant or later need.
func (g *FileGroup) needed(tl *timeline.Timeline, instant string) int {
	keep := 0
	for i, s := range g.Slices {
		if s.Instant <= instant && s.Base != nil && counts(tl, s.Instant) {
			keep = i
		}
	}
	return keep
}

// unsaved are the files that no savepoint holds. Of a slice that one holds all log files stay: what
// takes back a write whose log file is among the savepoint's may stand in a later one.
func (t *Table) unsaved(ctx context.Context, files []*DataFile) ([]*DataFile, error) {
	saved, err := t.savedFiles(ctx)
	if err != nil {
		return nil, err
	}
	type sliceOf struct {
		GroupID

		instant string
	}
	held := map[sliceOf]bool{}
	for name := range saved {
		if f, ok := parseDataFile(name, 0); ok {
			held[sliceOf{f.Group(), f.Instant}] = true
		}
	}
	return slices.DeleteFunc(files, func(f *DataFile) bool {
		return saved[f.Path()] || f.IsLog() && held[sliceOf{f.Group(), f.Instant}]
	}), nil
}

// finishClean goes on with a cleaning that a crash left, or withdraws it if that was
// before it looked who reads.
func (t *Table) finishClean(ctx context.Context, i timeline.Instant) error {
	plan, err := readPlan(ctx, t, i, timeline.DecodeCleanerPlan)
	if err != nil {
		return err
	}
	if i.State == timeline.Requested {
		if back, err := t.withdraw(ctx, i, plan); err != nil || back {
			return err
		}
	}
	t.opts.Hook("clean")
	return t.runClean(ctx, i.Time, plan)
}

// runClean carries out a plan that is written down.
func (t *Table) runClean(ctx context.Context, at string, plan *timeline.CleanerPlan) error {
	files := instants(at, timeline.Clean)
	data, err := plan.Encode()
	if err != nil {
		return err
	}
	if err := t.start(ctx, files[1], data); err != nil {
		return err
	}
	began := time.Now()
	var gone []string
	for partition, files := range plan.FilePathsToBeDeletedPerPartition {
		for _, f := range files {
			name := path.Join(partition, path.Base(f.FilePath))
			if err := t.store.Delete(ctx, name); err != nil {
				return fmt.Errorf("delete %s: %w", name, err)
			}
			gone = append(gone, name)
		}
	}
	m := cleanMetadata(at, plan)
	m.TimeTakenInMillis = time.Since(began).Milliseconds()
	if err := t.complete(ctx, files[:], m); err != nil {
		return err
	}
	t.mu.Lock()
	for _, name := range gone {
		if f, ok := parseDataFile(name, 0); ok {
			t.view.drop(f)
		}
	}
	t.mu.Unlock()
	t.opts.Logger.Info("cleaned", "table", t.name, "instant", at, "files", len(gone))
	return nil
}

// cleanMetadata says that all of a plan is done.
func cleanMetadata(at string, plan *timeline.CleanerPlan) *timeline.CleanMetadata {
	m := &timeline.CleanMetadata{
		StartCleanTime:               at,
		LastCompletedCommitTimestamp: plan.LastCompletedCommitTimestamp,
		PartitionMetadata:            map[string]timeline.CleanPartitionMetadata{},
	}
	for partition, files := range plan.FilePathsToBeDeletedPerPartition {
		gone := make([]string, len(files))
		for i, f := range files {
			gone[i] = path.Base(f.FilePath)
		}
		m.TotalFilesDeleted += int32(len(gone))
		m.PartitionMetadata[partition] = timeline.CleanPartitionMetadata{
			PartitionPath: partition, Policy: plan.Policy,
			DeletePathPatterns: gone, SuccessDeleteFiles: gone, FailedDeleteFiles: []string{},
		}
	}
	if plan.EarliestInstantToRetain != nil {
		m.EarliestCommitToRetain = plan.EarliestInstantToRetain.Timestamp
	}
	return m
}
