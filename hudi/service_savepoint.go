package hudi

import (
	"context"
	"fmt"
	"path"
	"slices"

	"lakefeed/hudi/timeline"
)

// SavepointOptions describe a savepoint.
type SavepointOptions struct {
	// Instant is the commit to keep; "": the newest.
	Instant string
	// By and Comment say who made it and what for.
	By, Comment string
}

// Savepoint keeps the table as of a commit: no cleaning deletes a file that it needs,
// until [Table.ReleaseSavepoint]. It returns the commit's instant, which is the
// savepoint's too. A savepoint that is there already stays as it is.
func (t *Table) Savepoint(ctx context.Context, opts SavepointOptions) (instant string, err error) {
	return serve(ctx, t, errand{what: "make a savepoint of " + t.name, busy: "savepoint"}, func(ctx context.Context) (string, error) { return t.savepoint(ctx, opts) })
}

func (t *Table) savepoint(ctx context.Context, opts SavepointOptions) (string, error) {
	at, err := t.commitAt(opts.Instant)
	if err != nil {
		return "", err
	}
	if t.timeline.IsSavepoint(at) {
		return at, nil
	}
	for _, i := range t.timeline.Pending() {
		if i.Action != timeline.Clean && i.Time < at { // it may complete yet, and what it wrote would not be kept
			return "", t.atWork(i, ", which began before the commit, is at work")
		}
	}
	if _, err := t.checkPinned(ctx, at); err != nil { // a cleaning that is at it
		return "", err
	}
	found, err := t.wholeAsOf(ctx, at)
	if err != nil {
		return "", err
	}
	later, err := t.begunBehind(ctx, at)
	if err != nil {
		return "", err
	}
	m := &timeline.SavepointMetadata{
		SavepointedBy: opts.By, SavepointedAt: t.opts.Now().UnixMilli(), Comments: opts.Comment,
		PartitionMetadata: map[string]timeline.SavepointPartitionMetadata{},
	}
	for _, s := range found {
		p := m.PartitionMetadata[s.Partition]
		p.PartitionPath = s.Partition
		for _, f := range s.files() {
			if later[f.Path()] {
				continue
			}
			p.SavepointDataFile = append(p.SavepointDataFile, f.Name)
		}
		m.PartitionMetadata[s.Partition] = p
	}
	files := instants(at, timeline.Savepoint) // which has no requested one
	t.opts.Hook("savepoint")
	if err := t.start(ctx, files[1], nil); err != nil {
		return "", err
	}
	if err := t.complete(ctx, files[1:], m); err != nil {
		return "", err
	}
	t.opts.Logger.Info("savepoint", "table", t.name, "instant", at)
	return at, nil
}

// begunBehind are the files that the writes behind an instant began. A slice as of it has their
// log files, which are of its base file, and needs none of them: a restore deletes them.
func (t *Table) begunBehind(ctx context.Context, at string) (map[string]bool, error) {
	begun := map[string]bool{}
	behind := slices.DeleteFunc(t.timeline.Completed(), func(i timeline.Instant) bool { return i.Time <= at })
	err := t.eachCommit(ctx, behind, func(_ timeline.Instant, m *timeline.CommitMetadata) bool {
		for _, stats := range m.PartitionToWriteStats {
			for _, s := range stats {
				if s.LogOffset == 0 { // else an older write began it
					begun[s.Path] = true
				}
			}
		}
		return true
	})
	return begun, err
}

// ReleaseSavepoint gives what a savepoint kept back to the cleaning. That there is none
// at that instant is an error.
func (t *Table) ReleaseSavepoint(ctx context.Context, instant string) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	defer t.unlock()
	t.busyWith("release of a savepoint")
	known := slices.Contains(t.timeline.Savepoints(), instant)
	err := t.prepare(ctx)
	switch {
	case err != nil:
	case known && !slices.Contains(t.timeline.Savepoints(), instant): // an earlier try did it, or another
	default:
		err = t.releaseSavepoint(ctx, instant)
	}
	if err != nil {
		return fmt.Errorf("release savepoint %s of %s: %w", instant, t.name, err)
	}
	return nil
}

func (t *Table) releaseSavepoint(ctx context.Context, instant string) error {
	var there []timeline.Instant
	for _, i := range slices.Backward(t.timeline.States(instant)) { // completed, then inflight
		if i.Action == timeline.Savepoint {
			there = append(there, i)
		}
	}
	if len(there) == 0 {
		return badOption("there is none: %s", t.savepointList())
	}
	if err := t.proveAgain(ctx); err != nil {
		return err
	}
	for _, i := range there {
		if err := t.store.Delete(ctx, t.instantFile(i)); err != nil {
			return fmt.Errorf("delete %s: %w", t.instantFile(i), err)
		}
		t.without(i)
	}
	return nil
}

// Savepoints are the instants of the table's savepoints, the oldest first.
func (t *Table) Savepoints() []string { return t.Timeline().Savepoints() }

func (t *Table) savepointList() string {
	if all := t.timeline.Savepoints(); len(all) > 0 {
		return fmt.Sprintf("the table's savepoints are %v", all)
	}
	return "the table has no savepoints"
}

// commitAt is the completed write of an instant, "" being the newest.
func (t *Table) commitAt(instant string) (string, error) {
	last, ok := t.timeline.Last()
	switch {
	case !ok:
		return "", badOption("the table has no commits")
	case instant == "":
		return last.Time, nil
	case !t.timeline.IsCompleted(instant):
		return "", badOption("instant %s: no completed commit of the table has it; the newest is %s", instant, last.Time)
	}
	return instant, nil
}

// wholeAsOf are the slices that make the table as of an instant, all of which must
// still be there.
func (t *Table) wholeAsOf(ctx context.Context, instant string) ([]*FileSlice, error) {
	if err := t.checkCleaned(ctx, t.timeline, instant); err != nil {
		return nil, err
	}
	found := t.view.slices(t.timeline, instant, nil)
	if _, err := t.checkFiles(ctx, t.timeline, found, t.scope(ReadOptions{AsOf: instant})); err != nil {
		return nil, err
	}
	return found, nil
}

// files are the slice's, base file first.
func (s *FileSlice) files() []*DataFile {
	if s.Base == nil {
		return s.Logs
	}
	return append([]*DataFile{s.Base}, s.Logs...)
}

// savedFiles are the paths of the files that savepoints keep.
func (t *Table) savedFiles(ctx context.Context) (map[string]bool, error) {
	saved := map[string]bool{}
	for _, i := range t.timeline.Instants() {
		if i.Action != timeline.Savepoint || i.State != timeline.Completed {
			continue
		}
		m, err := readAs(ctx, t, i, timeline.DecodeSavepointMetadata)
		if err != nil {
			return nil, err
		}
		for partition, p := range m.PartitionMetadata {
			for _, f := range p.SavepointDataFile {
				saved[path.Join(partition, path.Base(f))] = true
			}
		}
	}
	return saved, nil
}
