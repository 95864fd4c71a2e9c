package hudi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"lakefeed/hudi/logfile"
	"lakefeed/hudi/timeline"
)

// A rollback takes back a write that did not complete. Its plan is written down first,
// as the requested file of an instant of its own; then base files are deleted and log
// files answered by a command block in a further log file, so that their blocks count
// no more, since a log file may hold blocks of others too. Then the rollback completes,
// and last the files of the failed instant go, inflight before requested. A crash
// anywhere in it leaves enough behind to go on: deleting twice and answering twice do
// no harm.

// rollback takes back a pending write.
func (t *Table) rollback(ctx context.Context, target timeline.Instant) error {
	done, err := t.rolledBack(ctx, target.Time)
	if err != nil {
		return err
	}
	if done { // by another writer perhaps, before it had written all
		marked, err := t.markedFiles(ctx, target.Time)
		if err != nil {
			return err
		}
		if len(marked) == 0 {
			return t.forget(ctx, target)
		}
	}
	plan, late, err := t.planRollback(ctx, target)
	if err != nil {
		return err
	}
	if done && len(plan.Requests) == 0 {
		return t.forget(ctx, target)
	}
	plan.Requests = append(plan.Requests, late...)
	_, err = t.startRollback(ctx, plan)
	return err
}

// rollbackLost takes back what an instant wrote that is not on the timeline, if there
// is anything.
func (t *Table) rollbackLost(ctx context.Context, instant string) error {
	action := timeline.Commit
	if t.typ == MergeOnRead {
		action = timeline.DeltaCommit
	}
	plan, _, err := t.planRollback(ctx, timeline.Instant{Time: instant, Action: action})
	if err != nil || len(plan.Requests) == 0 {
		return err
	}
	_, err = t.startRollback(ctx, plan)
	return err
}

// startRollback writes a plan down and carries it out, at the instant that it returns.
func (t *Table) startRollback(ctx context.Context, plan *timeline.RollbackPlan) (string, error) {
	i, err := t.schedule(ctx, timeline.Rollback, plan)
	if err != nil {
		return "", err
	}
	t.opts.Logger.Info("rolling back", "table", t.name, "instant", plan.InstantToRollback.CommitTime, "rollback", i.Time)
	return i.Time, t.runRollback(ctx, i.Time, plan)
}

// rolledBack tells whether a rollback of the instant has completed, and only the
// instant's own files are left to delete.
func (t *Table) rolledBack(ctx context.Context, instant string) (bool, error) {
	for _, i := range slices.Backward(t.timeline.Instants()) {
		if i.Time <= instant {
			break
		}
		if i.Action != timeline.Rollback || i.State != timeline.Completed {
			continue
		}
		m, err := readAs(ctx, t, i, timeline.DecodeRollbackMetadata)
		if err != nil {
			return false, err
		}
		if slices.Contains(m.CommitsRollback, instant) {
			return true, nil
		}
	}
	return false, nil
}

// planRollback finds what an instant wrote: what its markers name, and base files that
// bear its time. late is what its markers announce and is not there, but may come yet: a store
// that is asked for a file may finish it when the process that asked is dead.
func (t *Table) planRollback(ctx context.Context, target timeline.Instant) (plan *timeline.RollbackPlan, late []timeline.RollbackRequest, err error) {
	files, err := t.listFiles(ctx)
	if err != nil {
		return nil, nil, err
	}
	marked, err := t.markedFiles(ctx, target.Time)
	if err != nil {
		return nil, nil, err
	}
	if len(marked) == 0 {
		if marked, err = t.logsOf(ctx, files, target.Time); err != nil {
			return nil, nil, err
		}
	}
	others, err := t.namedBesides(ctx, target)
	if err != nil {
		return nil, nil, err
	}
	plan = &timeline.RollbackPlan{
		InstantToRollback: &timeline.InstantInfo{CommitTime: target.Time, Action: string(target.Action)},
	}
	there := map[string]bool{}
	for _, f := range files {
		there[f.Path()] = true
		switch {
		case others[f.Path()]:
		case !f.IsLog() && f.Instant == target.Time:
			plan.Requests = append(plan.Requests, timeline.RollbackRequest{
				PartitionPath: f.Partition, FilesToBeDeleted: []string{t.url(f.Path())},
			})
		case f.IsLog() && slices.Contains(marked, f.Path()):
			plan.Requests = append(plan.Requests, timeline.RollbackRequest{
				PartitionPath: f.Partition, FileID: f.FileID, LatestBaseInstant: f.Instant,
				FilesToBeDeleted:     []string{},
				LogBlocksToBeDeleted: map[string]int64{t.url(f.Path()): f.Size},
			})
		}
	}
	for _, name := range marked {
		if f, ok := parseDataFile(name, 0); ok && !there[name] && f.ofAttempt(target.Time) {
			late = append(late, timeline.RollbackRequest{PartitionPath: f.Partition, FilesToBeDeleted: []string{t.url(name)}})
		}
	}
	if len(others) > 0 {
		err = t.deleteWhole(ctx, plan) // their instant counts, as it is the other one's
	}
	return plan, late, err
}

// ofAttempt tells whether nothing but an attempt at the write of an instant can have the file's
// name: base files bear its time, and so do the tokens that we give to log files.
func (f *DataFile) ofAttempt(instant string) bool {
	if !f.IsLog() {
		return f.Instant == instant
	}
	parts := strings.Split(f.Token, "-")
	return parts[len(parts)-1] == timeOfDay(instant)
}

// deleteLate deletes once more what rollbacks of writes from before an instant deleted, behind which
// the timeline is about to begin: a file that a store finished after that would count from then on.
func (t *Table) deleteLate(ctx context.Context, before string) error {
	for _, i := range t.timeline.Instants() {
		if i.Action != timeline.Rollback || i.State != timeline.Completed {
			continue
		}
		m, err := readAs(ctx, t, i, timeline.DecodeRollbackMetadata)
		if err != nil {
			return err
		}
		for _, target := range m.CommitsRollback {
			if target >= before {
				continue
			}
			for _, p := range m.PartitionMetadata {
				for _, full := range p.SuccessDeleteFiles {
					name := path.Join(p.PartitionPath, path.Base(full))
					if f, ok := parseDataFile(name, 0); !ok || !f.ofAttempt(target) {
						continue
					}
					if err := t.store.Delete(ctx, name); err != nil {
						return fmt.Errorf("delete %s: %w", name, err)
					}
				}
			}
		}
	}
	return nil
}

// namedBesides are the files of completed writes that chose the time of another one: two writers
// did in the same millisecond that knew nothing of each other. Where nothing on the timeline is
// older, one may be archived by now.
func (t *Table) namedBesides(ctx context.Context, target timeline.Instant) (map[string]bool, error) {
	named := map[string]bool{}
	add := func(m *timeline.CommitMetadata) {
		for _, stats := range m.PartitionToWriteStats {
			for _, s := range stats {
				named[s.Path] = true
			}
		}
	}
	stands := false
	for _, i := range t.timeline.States(target.Time) {
		if !i.Writes() || i.State != timeline.Completed {
			continue
		}
		if i.SameAs(target) {
			stands = true
			continue
		}
		m, err := t.readCommit(ctx, i)
		if err != nil {
			return nil, err
		}
		add(m)
	}
	if all := t.timeline.Instants(); stands || len(all) > 0 && all[0].Time < target.Time {
		return named, nil
	}
	for i, err := range t.Archived(ctx, target.Time, target.Time) {
		if err != nil {
			return nil, err
		}
		if i.Commit != nil {
			add(i.Commit)
		}
	}
	return named, nil
}

// logsOf finds the log files that hold blocks of an instant by reading all blocks'
// headers: the way out where the markers are lost.
func (t *Table) logsOf(ctx context.Context, files []*DataFile, instant string) ([]string, error) {
	var out []string
	for _, f := range files {
		if !f.IsLog() || f.Instant > instant {
			continue
		}
		has, err := t.hasBlocksOf(ctx, f, instant)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Path(), err)
		}
		if has {
			out = append(out, f.Path())
		}
	}
	return out, nil
}

func (t *Table) hasBlocksOf(ctx context.Context, f *DataFile, instant string) (found bool, err error) {
	err = t.eachBlock(ctx, f.Path(), func(b *logfile.Block) bool {
		found = b.Type != logfile.Command && b.Instant() == instant
		return !found
	})
	return found, err
}

// eachBlock calls fn with the blocks of a log file until it returns false.
func (t *Table) eachBlock(ctx context.Context, name string, fn func(*logfile.Block) bool) error {
	file, err := t.openFile(ctx, name)
	if err != nil {
		return err
	}
	defer closeFile(file)
	for r := logfile.NewReader(file, file.Size()); ; {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if !fn(b) {
			return nil
		}
	}
}

// finishRollback goes on with a rollback that a crash left.
func (t *Table) finishRollback(ctx context.Context, i timeline.Instant) error {
	plan, err := readPlan(ctx, t, i, timeline.DecodeRollbackPlan)
	if err != nil {
		return err
	}
	if plan.InstantToRollback == nil {
		return &CorruptError{t.instantFile(i), errors.New("it does not say what it rolls back")}
	}
	target := plan.InstantToRollback.CommitTime
	if last, _ := t.timeline.Last(); t.timeline.IsCompleted(target) && target != last.Time {
		return &UnsupportedError{"pending action", i.String(), "it takes back the completed commit " + target + ", and later ones stand: finish it with the engine that began it"}
	}
	t.opts.Hook("rollback")
	return t.runRollback(ctx, i.Time, plan)
}

// runRollback carries out a plan that is written down.
func (t *Table) runRollback(ctx context.Context, at string, plan *timeline.RollbackPlan) error {
	files := instants(at, timeline.Rollback)
	if err := t.start(ctx, files[1], nil); err != nil {
		return err
	}
	m, err := t.takeBack(ctx, at, plan)
	if err != nil {
		return err
	}
	if err := t.complete(ctx, files[:], m); err != nil {
		return err
	}
	return t.forget(ctx, takenBack(plan))
}

// takeBack does what a plan says and tells what was done. Where the target has
// completed, it does not count any more before a file of it is gone.
func (t *Table) takeBack(ctx context.Context, at string, plan *timeline.RollbackPlan) (*timeline.RollbackMetadata, error) {
	began := time.Now()
	target := *plan.InstantToRollback
	if err := t.uncommit(ctx, takenBack(plan)); err != nil {
		return nil, err
	}
	done, err := t.executeRollback(ctx, at, plan)
	if err != nil {
		return nil, err
	}
	m := &timeline.RollbackMetadata{
		StartRollbackTime: at,
		TimeTakenInMillis: time.Since(began).Milliseconds(),
		CommitsRollback:   []string{target.CommitTime},
		PartitionMetadata: done,
		InstantsRollback:  []timeline.InstantInfo{target},
	}
	for _, p := range done {
		m.TotalFilesDeleted += int32(len(p.SuccessDeleteFiles))
	}
	return m, nil
}

// takenBack is the write that a plan is for.
func takenBack(plan *timeline.RollbackPlan) timeline.Instant {
	return timeline.Instant{Time: plan.InstantToRollback.CommitTime, Action: timeline.Action(plan.InstantToRollback.Action)}
}

// uncommit deletes the completed file of a write, if there is one.
func (t *Table) uncommit(ctx context.Context, target timeline.Instant) error {
	for _, i := range t.states(target) {
		if i.State != timeline.Completed {
			continue
		}
		t.opts.Hook("rollback")
		if err := t.store.Delete(ctx, t.instantFile(i)); err != nil {
			return fmt.Errorf("delete %s: %w", t.instantFile(i), err)
		}
		t.without(i)
	}
	return nil
}

// executeRollback tells what it did in each partition.
func (t *Table) executeRollback(ctx context.Context, at string, plan *timeline.RollbackPlan) (map[string]timeline.RollbackPartitionMetadata, error) {
	all := map[string]timeline.RollbackPartitionMetadata{}
	for _, r := range plan.Requests {
		done, found := all[r.PartitionPath]
		if !found {
			done = timeline.RollbackPartitionMetadata{
				PartitionPath:      r.PartitionPath,
				SuccessDeleteFiles: []string{}, FailedDeleteFiles: []string{},
				RollbackLogFiles: map[string]int64{}, LogFilesFromFailedCommit: map[string]int64{},
			}
		}
		for _, f := range r.FilesToBeDeleted {
			name := path.Join(r.PartitionPath, path.Base(f))
			if err := t.store.Delete(ctx, name); err != nil {
				return nil, fmt.Errorf("delete %s: %w", name, err)
			}
			done.SuccessDeleteFiles = append(done.SuccessDeleteFiles, f)
		}
		all[r.PartitionPath] = done
		if len(r.LogBlocksToBeDeleted) == 0 {
			continue
		}
		name, size, err := t.writeRollbackBlock(ctx, at, plan.InstantToRollback.CommitTime, r)
		if err != nil {
			return nil, err
		}
		done.RollbackLogFiles[t.url(name)] = size
		maps.Copy(done.LogFilesFromFailedCommit, r.LogBlocksToBeDeleted)
	}
	return all, nil
}

// writeRollbackBlock answers log files of a slice by a command block.
func (t *Table) writeRollbackBlock(ctx context.Context, at, target string, r timeline.RollbackRequest) (string, int64, error) {
	files, err := t.listFolder(ctx, r.PartitionPath, false) // the view may not know them
	if err != nil {
		return "", 0, err
	}
	s := &FileSlice{}
	for _, f := range files {
		if f.FileID == r.FileID && f.Instant == r.LatestBaseInstant && f.IsLog() {
			s.Logs = append(s.Logs, f)
		}
	}
	name := path.Join(r.PartitionPath, logfile.FileName(r.FileID, r.LatestBaseInstant, s.nextVersion(), "0-"+newToken(at)))
	f, err := t.createFile(ctx, name)
	if err != nil {
		return "", 0, err
	}
	defer f.abort()
	log := logfile.NewWriter(f)
	if err := log.Rollback(logfile.Header{Instant: at}, target); err != nil {
		return "", 0, fmt.Errorf("write %s: %w", name, err)
	}
	return name, log.Written(), f.commit()
}

// forget deletes the timeline files and the markers of a write that is taken back.
func (t *Table) forget(ctx context.Context, target timeline.Instant) error {
	instant := target.Time
	var gone []timeline.Instant
	for _, i := range slices.Backward(t.states(target)) { // inflight, then requested
		if i.State == timeline.Completed {
			continue
		}
		if err := t.store.Delete(ctx, t.instantFile(i)); err != nil {
			return fmt.Errorf("delete %s: %w", t.instantFile(i), err)
		}
		gone = append(gone, i)
	}
	t.without(gone...)
	if err := t.store.Delete(ctx, heartbeatFile(instant)); err != nil {
		return fmt.Errorf("delete heartbeat of %s: %w", instant, err)
	}
	return t.deleteMarkers(ctx, instant)
}

// url is the full path of a file of the table, for the plans and reports on the
// timeline, which name files so.
func (t *Table) url(name string) string { return t.store.String() + "/" + name }
