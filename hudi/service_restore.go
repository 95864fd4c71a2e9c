package hudi

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"lakefeed/hudi/logfile"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// RestoreResult says what a restore or rollback did.
type RestoreResult struct {
	Instant   string   // its own; "" when there was nothing to do
	TakenBack []string // the instants that are gone, the newest first
}

// Restore takes the table back to what it was as of a commit: all later writes are taken
// back, the newest first, and their files deleted. That cannot be undone. The table as of
// that commit must still be whole, as a savepoint keeps it; later savepoints must be
// released before. A commit with a [TakeOver] is not taken back. Readers that began before may miss files.
//
// A restore that was interrupted is gone on with by [Table.Recover], and by whatever
// writes next.
func (t *Table) Restore(ctx context.Context, instant string) (RestoreResult, error) {
	return serve(ctx, t, errand{what: "restore " + t.name + " to " + instant, busy: "restore"}, func(ctx context.Context) (RestoreResult, error) { return t.restore(ctx, instant) })
}

func (t *Table) restore(ctx context.Context, to string) (RestoreResult, error) {
	if to == "" {
		return RestoreResult{}, errors.New("it has to be said to which commit")
	}
	plan, then, err := t.planRestore(ctx, to)
	if err != nil || len(plan.InstantsToRollback) == 0 {
		return RestoreResult{}, err
	}
	if err := t.retypeFor(ctx, plan.SavepointToRestoreTimestamp, then); err != nil {
		return RestoreResult{}, err
	}
	i, err := t.schedule(ctx, timeline.Restore, plan)
	if err != nil {
		return RestoreResult{}, err
	}
	t.opts.Logger.Info("restoring", "table", t.name, "to", to, "instant", i.Time, "writes", len(plan.InstantsToRollback))
	res := RestoreResult{Instant: i.Time}
	for _, gone := range plan.InstantsToRollback {
		res.TakenBack = append(res.TakenBack, gone.CommitTime)
	}
	return res, t.runRestore(ctx, i.Time, plan)
}

// retypeFor makes a table merge-on-read again that was so as of an instant, when it had these
// slices: log files of then are about to count again, which readers of a copy-on-write table do
// not see.
func (t *Table) retypeFor(ctx context.Context, instant string, then []*FileSlice) error {
	var last timeline.Instant
	for _, i := range t.timeline.Completed() {
		if i.Time <= instant {
			last = i
		}
	}
	if t.typ == MergeOnRead || last.Action != timeline.DeltaCommit && !slices.ContainsFunc(then, func(s *FileSlice) bool { return len(s.Logs) > 0 }) {
		return nil
	}
	if err := t.redate(ctx, then); err != nil {
		return err
	}
	return t.settle(ctx, MergeOnRead, t.buckets)
}

// checkNoneAtWork refuses what is not to be done beside a write or service of others: that it
// takes back, or is built upon, what they go on with.
func (t *Table) checkNoneAtWork(what string) error {
	for _, i := range t.timeline.Pending() {
		return t.atWork(i, " is at work on the table, and a "+what+" cannot be made beside it")
	}
	return nil
}

// planRestore names the writes after an instant, and is what the table had then.
func (t *Table) planRestore(ctx context.Context, to string) (*timeline.RestorePlan, []*FileSlice, error) {
	if err := t.checkNoneAtWork("restore"); err != nil {
		return nil, nil, err
	}
	to, err := t.commitAt(to)
	if err != nil {
		return nil, nil, err
	}
	plan := &timeline.RestorePlan{SavepointToRestoreTimestamp: to}
	var gone []timeline.Instant
	for _, i := range slices.Backward(t.timeline.Completed()) {
		if i.Time <= to {
			break
		}
		if t.timeline.IsSavepoint(i.Time) {
			return nil, nil, badOption("savepoint %s is of a later commit: release it first", i.Time)
		}
		plan.InstantsToRollback = append(plan.InstantsToRollback, timeline.InstantInfo{CommitTime: i.Time, Action: string(i.Action)})
		gone = append(gone, i)
	}
	if err := t.checkTakesBack(ctx, gone...); err != nil {
		return nil, nil, err
	}
	then, err := t.wholeAsOf(ctx, to)
	return plan, then, err
}

// finishRestore goes on with a restore that a crash left.
func (t *Table) finishRestore(ctx context.Context, i timeline.Instant) error {
	plan, err := readPlan(ctx, t, i, timeline.DecodeRestorePlan)
	if err != nil {
		return err
	}
	t.opts.Hook("restore")
	return t.runRestore(ctx, i.Time, plan)
}

// runRestore carries out a plan that is written down.
func (t *Table) runRestore(ctx context.Context, at string, plan *timeline.RestorePlan) error {
	files := instants(at, timeline.Restore)
	if err := t.start(ctx, files[1], nil); err != nil {
		return err
	}
	began := time.Now()
	m := &timeline.RestoreMetadata{
		StartRestoreTime: at, RestoreInstantInfo: plan.InstantsToRollback,
		RollbackMetadata: map[string][]*timeline.RollbackMetadata{},
	}
	there, err := t.listFiles(ctx)
	if err != nil {
		return err
	}
	for _, target := range plan.InstantsToRollback {
		done, err := t.restoreOne(ctx, at, target, there)
		if err != nil {
			return fmt.Errorf("take back %s: %w", target.CommitTime, err)
		}
		m.InstantsToRollback = append(m.InstantsToRollback, target.CommitTime)
		m.RollbackMetadata[target.CommitTime] = append(m.RollbackMetadata[target.CommitTime], done)
	}
	m.TimeTakenInMillis = time.Since(began).Milliseconds()
	if err := t.complete(ctx, files[:], m); err != nil {
		return err
	}
	t.opts.Logger.Info("restored", "table", t.name, "instant", at, "to", plan.SavepointToRestoreTimestamp)
	if err := t.loadAs(ctx, t.props, t.timeline); err != nil {
		return err
	}
	return t.settleBuckets(ctx)
}

// restoreOne takes back one write, or what an interrupted restore left of it.
func (t *Table) restoreOne(ctx context.Context, at string, target timeline.InstantInfo, there []*DataFile) (*timeline.RollbackMetadata, error) {
	i := timeline.Instant{Time: target.CommitTime, Action: timeline.Action(target.Action)}
	plan, err := t.planTakeBack(ctx, i, there)
	if err != nil {
		return nil, err
	}
	m, err := t.takeBack(ctx, at, plan)
	if err != nil {
		return nil, err
	}
	return m, t.forget(ctx, i)
}

// planTakeBack finds what a write left: what its commit says or, where that is gone
// already, what a search finds; and of the files that are there whatever belongs to its
// base files, as the logs of transactions that were rolled back. Log files in which
// nothing else stands are deleted: a command block would count for nothing once its
// target is archived. Another write of the same time keeps its files, and what was logged on them.
func (t *Table) planTakeBack(ctx context.Context, target timeline.Instant, there []*DataFile) (*timeline.RollbackPlan, error) {
	plan, err := t.planCommitted(ctx, target)
	if errors.Is(err, storage.ErrNotExist) {
		plan, _, err = t.planRollback(ctx, target)
	}
	if err != nil {
		return nil, err
	}
	if err := t.deleteWhole(ctx, plan); err != nil {
		return nil, err
	}
	others, err := t.namedBesides(ctx, target)
	if err != nil {
		return nil, err
	}
	keeps := map[GroupID]bool{}
	for name := range others {
		if f, ok := parseDataFile(name, 0); ok {
			keeps[f.Group()] = true
		}
	}
	for _, f := range there {
		if f.Instant != target.Time || keeps[f.Group()] {
			continue
		}
		named := slices.ContainsFunc(plan.Requests, func(r timeline.RollbackRequest) bool { return slices.Contains(r.FilesToBeDeleted, t.url(f.Path())) })
		if !named {
			plan.Requests = append(plan.Requests, timeline.RollbackRequest{PartitionPath: f.Partition, FilesToBeDeleted: []string{t.url(f.Path())}})
		}
	}
	return plan, nil
}

// deleteWhole lets a plan delete the log files in which there are blocks of its target alone,
// instead of answering them.
func (t *Table) deleteWhole(ctx context.Context, plan *timeline.RollbackPlan) error {
	for n, r := range plan.Requests {
		if len(r.LogBlocksToBeDeleted) == 0 {
			continue
		}
		for full := range r.LogBlocksToBeDeleted {
			alone, err := t.onlyBlocksOf(ctx, path.Join(r.PartitionPath, path.Base(full)), plan.InstantToRollback.CommitTime)
			if err != nil {
				return err
			}
			if alone {
				plan.Requests[n] = timeline.RollbackRequest{PartitionPath: r.PartitionPath, FilesToBeDeleted: []string{full}}
			}
		}
	}
	return nil
}

// planCommitted plans by what a completed write says that it wrote.
func (t *Table) planCommitted(ctx context.Context, target timeline.Instant) (*timeline.RollbackPlan, error) {
	done := target
	for _, i := range t.states(target) {
		if i.State == timeline.Completed {
			done = i
		}
	}
	if done.State != timeline.Completed {
		return nil, storage.ErrNotExist
	}
	m, err := t.readCommit(ctx, done)
	if err != nil {
		return nil, err
	}
	plan := &timeline.RollbackPlan{
		InstantToRollback: &timeline.InstantInfo{CommitTime: target.Time, Action: string(target.Action)},
	}
	for _, stats := range m.PartitionToWriteStats {
		for _, s := range stats {
			f, ok := parseDataFile(s.Path, s.FileSizeInBytes)
			if !ok {
				continue
			}
			r := timeline.RollbackRequest{PartitionPath: f.Partition, FilesToBeDeleted: []string{t.url(f.Path())}}
			if f.IsLog() {
				r.FileID, r.LatestBaseInstant, r.FilesToBeDeleted = f.FileID, f.Instant, []string{}
				r.LogBlocksToBeDeleted = map[string]int64{t.url(f.Path()): f.Size}
			}
			plan.Requests = append(plan.Requests, r)
		}
	}
	return plan, nil
}

// onlyBlocksOf tells whether all blocks of a log file are of one instant. Of a file that
// is gone they are.
func (t *Table) onlyBlocksOf(ctx context.Context, name, instant string) (bool, error) {
	alone := true
	err := t.eachBlock(ctx, name, func(b *logfile.Block) bool {
		alone = b.Type != logfile.Command && b.Instant() == instant
		return alone
	})
	if errors.Is(err, storage.ErrNotExist) {
		return true, nil
	}
	return alone, err
}

// Rollback takes back the newest completed write, which instant must name ("": whichever
// that is), and which is no [TakeOver]. That cannot be undone. The table as of the write before must
// still be whole.
func (t *Table) Rollback(ctx context.Context, instant string) (RestoreResult, error) {
	return serve(ctx, t, errand{what: "roll back a commit of " + t.name, busy: "rollback"}, func(ctx context.Context) (RestoreResult, error) { return t.rollbackLast(ctx, instant) })
}

func (t *Table) rollbackLast(ctx context.Context, instant string) (RestoreResult, error) {
	if err := t.checkNoneAtWork("rollback"); err != nil {
		return RestoreResult{}, err
	}
	instant, err := t.commitAt(instant)
	if err != nil {
		return RestoreResult{}, err
	}
	commits := t.timeline.Completed()
	target := commits[len(commits)-1]
	switch {
	case target.Time != instant:
		return RestoreResult{}, badOption("%s is not the newest commit, which is %s: restore the table to the commit before it", instant, target.Time)
	case t.timeline.IsSavepoint(instant):
		return RestoreResult{}, badOption("savepoint %s keeps it: release it first", instant)
	}
	if err := t.checkTakesBack(ctx, target); err != nil {
		return RestoreResult{}, err
	}
	before := "0" // nothing, unless there is an archive
	if len(commits) > 1 {
		before = commits[len(commits)-2].Time
	}
	then, err := t.wholeAsOf(ctx, before)
	if err != nil {
		return RestoreResult{}, err
	}
	there, err := t.listFiles(ctx)
	if err != nil {
		return RestoreResult{}, err
	}
	plan, err := t.planTakeBack(ctx, target, there)
	if err != nil {
		return RestoreResult{}, err
	}
	if err := t.retypeFor(ctx, before, then); err != nil {
		return RestoreResult{}, err
	}
	at, err := t.startRollback(ctx, plan)
	if err != nil {
		return RestoreResult{}, err
	}
	if err := t.loadAs(ctx, t.props, t.timeline); err != nil {
		return RestoreResult{}, err
	}
	return RestoreResult{at, []string{instant}}, t.settleBuckets(ctx)
}
