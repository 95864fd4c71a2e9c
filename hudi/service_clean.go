package hudi

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// CleanOptions say what a cleaning must keep.
type CleanOptions struct {
	// RetainCommits is the number of newest commits whose file slices stay, so that
	// the table can be read as of them; default 10.
	RetainCommits int
}

// CleanResult says what a cleaning did.
type CleanResult struct {
	Instant string // "" when there was nothing to do
	Files   int    // deleted
}

// Clean deletes file slices that neither a reader of the newest commits, nor one that
// has a pin, nor a savepoint needs.
func (t *Table) Clean(ctx context.Context, opts CleanOptions) (CleanResult, error) {
	if opts.RetainCommits <= 0 {
		opts.RetainCommits = 10
	}
	if err := t.lock(ctx); err != nil {
		return CleanResult{}, err
	}
	defer t.unlock()
	var res CleanResult
	err := t.prepare(ctx)
	if err == nil {
		res, err = t.clean(ctx, opts.RetainCommits)
	}
	if err != nil {
		return CleanResult{}, fmt.Errorf("clean %s: %w", t.name, err)
	}
	return res, nil
}

func (t *Table) clean(ctx context.Context, retain int) (CleanResult, error) {
	earliest, found := t.earliestToRetain(retain)
	if !found {
		return CleanResult{}, nil
	}
	earliest, err := t.retained(ctx, earliest)
	if err != nil {
		return CleanResult{}, err
	}
	var old []*DataFile
	for _, g := range t.view.groups(nil) {
		old = append(old, g.olderThan(t.timeline, earliest.Time, t.view.replaced[g.ID])...)
	}
	if old, err = t.unsaved(ctx, old); err != nil || len(old) == 0 {
		return CleanResult{}, err
	}
	last, _ := t.timeline.Last()
	plan := &timeline.CleanerPlan{
		EarliestInstantToRetain: &timeline.ActionInstant{
			Timestamp: earliest.Time, Action: string(earliest.Action), State: earliest.State.String(),
		},
		LastCompletedCommitTimestamp:     last.Time,
		Policy:                           timeline.KeepLatestCommits,
		FilePathsToBeDeletedPerPartition: map[string][]timeline.CleanFileInfo{},
	}
	for _, f := range old {
		files := plan.FilePathsToBeDeletedPerPartition[f.Partition]
		plan.FilePathsToBeDeletedPerPartition[f.Partition] = append(files, timeline.CleanFileInfo{FilePath: t.url(f.Path())})
	}
	data, err := plan.Encode()
	if err != nil {
		return CleanResult{}, err
	}
	i := timeline.Instant{Time: t.nextInstant(), Action: timeline.Clean, State: timeline.Requested}
	t.opts.Hook("clean")
	if err := t.putInstant(ctx, i, data); err != nil {
		return CleanResult{}, err
	}
	t.with(i)
	if back, err := t.withdraw(ctx, i, plan); err != nil || back {
		return CleanResult{}, err
	}
	return CleanResult{i.Time, len(old)}, t.runClean(ctx, i.Time, plan)
}

// earliestToRetain is the retain-th newest completed commit, or the savepoint before it.
func (t *Table) earliestToRetain(retain int) (timeline.Instant, bool) {
	commits := t.timeline.Completed()
	if len(commits) < retain {
		return timeline.Instant{}, false
	}
	return commits[len(commits)-retain], true
}

// olderThan are the files of a group that readers of the table as of that instant or
// later do not need: all before the slice that they would read.
func (g *FileGroup) olderThan(tl *timeline.Timeline, instant, replaced string) []*DataFile {
	if replaced != "" && replaced < instant {
		return g.files()
	}
	keep := -1
	for i, s := range g.Slices {
		if s.Instant < instant && s.Base != nil && counts(tl, s.Instant) {
			keep = i
		}
	}
	if keep <= 0 {
		return nil
	}
	return (&FileGroup{Slices: g.Slices[:keep]}).files()
}

// unsaved are the files that no savepoint holds.
func (t *Table) unsaved(ctx context.Context, files []*DataFile) ([]*DataFile, error) {
	saved, err := t.savedFiles(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(files, func(f *DataFile) bool { return saved[f.Path()] }), nil
}

// finishClean goes on with a cleaning that a crash left, or withdraws it if that was
// before it looked who reads.
func (t *Table) finishClean(ctx context.Context, i timeline.Instant) error {
	plan, err := t.cleanPlan(ctx, i)
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
	if err := t.store.PutIfAbsent(ctx, t.instantFile(files[1]), data); err != nil && !errors.Is(err, storage.ErrExist) {
		return fmt.Errorf("create %s: %w", t.instantFile(files[1]), err)
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
	if data, err = m.Encode(); err != nil {
		return err
	}
	t.opts.Hook("clean")
	if err := t.putInstant(ctx, files[2], data); err != nil {
		return err
	}
	t.with(files[:]...)
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
