package hudi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"lakefeed/hudi/lock"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// ConcurrencyMode says who else writes to a table. The values are those of Hudi's
// hoodie.write.concurrency.mode.
type ConcurrencyMode string

const (
	// SingleWriter is a table that nobody else writes to: what is pending on it was
	// left by a crash. A second one is refused while the first is at work.
	SingleWriter ConcurrencyMode = "SINGLE_WRITER"
	// Optimistic is a table with several writers, of which each takes the lock. They
	// write side by side; of two that change one file group the later one to publish
	// gets a [ConflictError].
	Optimistic ConcurrencyMode = "OPTIMISTIC_CONCURRENCY_CONTROL"
)

// Concurrency is how a table is shared. The zero value is one writer. All writers of a
// table, Spark's too, must be told the same mode, lock and heartbeats.
type Concurrency struct {
	// Mode; "" is SingleWriter.
	Mode ConcurrencyMode
	// Locker excludes the other writers; nil: a lock among the Tables of this process.
	Locker lock.Locker
	// LockWait is how long to wait for the lock; 0: 1 minute, as Hudi's
	// hoodie.write.lock.wait_time_ms.
	LockWait time.Duration
	// Heartbeat is how often a writer must show that it lives; 0: 1 minute, as Hudi's
	// hoodie.client.heartbeat.interval_in_ms.
	Heartbeat time.Duration
	// HeartbeatMisses is after how many of them it is taken for dead and rolled back;
	// 0: 2, as Hudi's hoodie.client.heartbeat.tolerable.misses.
	HeartbeatMisses int
	// Exclusive says that a lock of the caller's own proves every other writer of the table
	// dead: what is pending is rolled back or finished at once, however alive its writer
	// looks. It is of use in mode SingleWriter only.
	Exclusive bool
	// RetryFor is how long [Table.Retry] begins transactions anew that met a conflict;
	// 0: 1 minute longer than it takes for a dead service to free its file groups.
	RetryFor time.Duration
}

func (c *Concurrency) setDefaults() {
	c.Mode = cmp.Or(c.Mode, SingleWriter)
	c.LockWait = cmp.Or(c.LockWait, time.Minute)
	c.Heartbeat = cmp.Or(c.Heartbeat, time.Minute)
	c.HeartbeatMisses = cmp.Or(c.HeartbeatMisses, 2)
	c.RetryFor = cmp.Or(c.RetryFor, c.deadAfter()+time.Minute)
}

// Validate tells what is wrong, naming the field.
func (c *Concurrency) Validate() error {
	switch {
	case c.Mode != "" && c.Mode != SingleWriter && c.Mode != Optimistic:
		return fmt.Errorf("concurrency mode %q: want %s or %s", c.Mode, SingleWriter, Optimistic)
	case c.Locker != nil && c.Mode != Optimistic:
		return fmt.Errorf("concurrency locker: it is of use in mode %s only", Optimistic)
	case c.Exclusive && c.Mode == Optimistic:
		return fmt.Errorf("concurrency exclusive: there are other writers in mode %s", Optimistic)
	case c.LockWait < 0 || c.Heartbeat < 0 || c.HeartbeatMisses < 0 || c.RetryFor < 0:
		return errors.New("concurrency: a time or count is negative")
	}
	return nil
}

func (c *Concurrency) optimistic() bool { return c.Mode == Optimistic }

// deadAfter is how old a heartbeat may be.
func (c *Concurrency) deadAfter() time.Duration {
	return c.Heartbeat * time.Duration(c.HeartbeatMisses)
}

// acquire takes the table's lock from other writers, where there are any. Who calls it
// has the turn.
func (t *Table) acquire(ctx context.Context) error {
	c := &t.opts.Concurrency
	if !c.optimistic() || t.lease != nil {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, c.LockWait)
	defer stop()
	lease, err := c.Locker.Lock(ctx)
	if err != nil {
		if d, ok := errors.AsType[*lock.DamagedError](err); ok {
			err = &CorruptError{d.File, err}
		}
		return fmt.Errorf("lock table %s: %w", t.name, err)
	}
	t.lease = lease
	t.claim.doubt() // others had the lock meanwhile
	return nil
}

// release gives the lock to other writers. One that stays in its place expires.
func (t *Table) release(ctx context.Context) {
	if t.lease == nil {
		return
	}
	lease := t.lease
	t.lease = nil
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), t.opts.Concurrency.LockWait)
	defer stop()
	if err := lease.Unlock(ctx); err != nil {
		t.opts.Logger.Warn("the table's lock was not given back", "table", t.name, "error", err)
	}
}

// fence proves that the lock is held still, right before an instant is completed, and
// bounds the time that this may take.
func (t *Table) fence(ctx context.Context, i timeline.Instant) (context.Context, context.CancelFunc, error) {
	if t.lease == nil || i.State != timeline.Completed {
		return ctx, func() {}, nil
	}
	until, err := t.lease.Check(ctx)
	if errors.Is(err, lock.ErrLost) {
		return nil, nil, &ConflictError{Instant: i.Time, Reason: "another writer has the table's lock", Err: err}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("prove that the table's lock is held: %w", err)
	}
	if until.IsZero() {
		return ctx, func() {}, nil
	}
	ctx, stop := context.WithDeadline(ctx, until)
	return ctx, stop, nil
}

// apart does long work on a pending instant of a service while other writers may have
// the lock: the instant's heartbeat tells them that it is being worked on. Afterwards
// the lock is held again, and the instant still this writer's.
func (t *Table) apart(ctx context.Context, i timeline.Instant, work func() error) error {
	if !t.opts.Concurrency.optimistic() {
		return work()
	}
	beat, err := t.startHeartbeat(ctx, i.Time)
	if err != nil {
		return err
	}
	defer beat.end(context.WithoutCancel(ctx))
	t.release(ctx)
	err = work()
	lost := beat.check()
	if err != nil && lost == nil {
		t.given = i.Time // the next one need not wait until it is taken for dead
	}
	if aerr := t.acquire(ctx); aerr != nil {
		return errors.Join(err, aerr)
	}
	if serr := t.settled(ctx, ""); serr != nil {
		return errors.Join(err, serr)
	}
	claimed := t.claim.versionNow()
	// Where another writer took the instant over, that may be why the work failed.
	if lost = errors.Join(lost, t.checkOpen(ctx, i)); lost != nil || err != nil {
		return errors.Join(lost, err)
	}
	t.claim.looked(claimed)
	return nil
}

// checkOpen sees that an instant's first two files stand, and the last does not yet.
func (t *Table) checkOpen(ctx context.Context, i timeline.Instant) error {
	if err := t.checkPending(ctx, i); err != nil {
		return err
	}
	done := t.instantFile(instants(i.Time, i.Action)[2])
	found, err := exists(ctx, t.store, done)
	if err != nil {
		return fmt.Errorf("look for %s: %w", done, err)
	}
	if found {
		return &ConflictError{Instant: i.Time, Reason: "another writer finished it"}
	}
	return nil
}

// checkPending sees that an instant's first two files stand.
func (t *Table) checkPending(ctx context.Context, i timeline.Instant) error {
	files := instants(i.Time, i.Action)
	for _, f := range files[:2] {
		found, err := exists(ctx, t.store, t.instantFile(f))
		if err != nil {
			return fmt.Errorf("look for %s: %w", t.instantFile(f), err)
		}
		if !found {
			return &ConflictError{Instant: i.Time, Reason: "another writer took " + t.instantFile(f) + " away and so rolled the transaction back"}
		}
	}
	return nil
}

// Retry runs a function that is one whole transaction, from Begin to Commit or Abort,
// again for as long as it returns a [ConflictError] and Concurrency.RetryFor is not
// over. With a single writer it runs it once.
func (t *Table) Retry(ctx context.Context, transaction func(ctx context.Context) error) error {
	deadline := time.Now().Add(t.opts.Concurrency.RetryFor)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := transaction(ctx)
		if c := new(ConflictError); !errors.As(err, &c) || !t.opts.Concurrency.optimistic() {
			return err
		}
		wait := pause/2 + rand.N(pause) //nolint:gosec // it only spreads writers in time
		if time.Now().Add(wait).After(deadline) {
			return fmt.Errorf("conflicts for %v: %w", t.opts.Concurrency.RetryFor, err)
		}
		t.opts.Logger.Info("a transaction met a conflict and begins anew", "table", t.name, "error", err)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}

// rollbackRest takes back what an instant wrote after another writer had taken it for
// dead and rolled it back.
func (t *Table) rollbackRest(ctx context.Context, instant string) error {
	marked, err := t.markedFiles(ctx, instant)
	if err != nil || len(marked) == 0 || t.timeline.Has(instant) {
		return err
	}
	if err := t.rollbackLost(ctx, instant); err != nil {
		return err
	}
	return t.deleteMarkers(ctx, instant)
}

// findBusy notes what services are about to rewrite: a transaction that begins now
// could not be published over it.
func (x *Txn) findBusy(ctx context.Context) error {
	if !x.table.opts.Concurrency.optimistic() {
		return nil
	}
	planned, err := x.table.planned(ctx)
	if err != nil {
		return err
	}
	x.busy = map[GroupID]string{}
	for i, groups := range planned {
		for _, g := range groups {
			x.busy[x.table.conflictKey(g)] = i.Time
		}
	}
	return nil
}

// checkBusy refuses to write to a bucket that a service is about to rewrite.
func (x *Txn) checkBusy(id bucketID) error {
	key := GroupID{id.partition, bucketKey(id.bucket)}
	if other := x.busy[key]; other != "" {
		return &ConflictError{Instant: x.time, Other: other, Groups: []GroupID{key}, Reason: "a service is about to rewrite the file group"}
	}
	return nil
}

func bucketKey(bucket int) string { return fmt.Sprintf("bucket %d", bucket) }

// conflictKey is what two writers of a table may not both change: a bucket, which may
// be a file group of each, or a file group.
func (t *Table) conflictKey(g GroupID) GroupID {
	if b, err := bucketOfFileID(g.FileID); err == nil && t.buckets > 0 && b < t.buckets {
		g.FileID = bucketKey(b)
	}
	return g
}

// mutated are the file groups that the transaction changes, by their conflict key.
func (x *Txn) mutated(m *timeline.CommitMetadata) map[GroupID]GroupID {
	out := map[GroupID]GroupID{}
	for _, g := range groupsOf(m) {
		out[x.table.conflictKey(g)] = g
	}
	return out
}

// groupsOf are the file groups that a commit wrote to or replaced.
func groupsOf(m *timeline.CommitMetadata) []GroupID {
	var out []GroupID
	for partition, stats := range m.PartitionToWriteStats {
		for _, s := range stats {
			out = append(out, GroupID{partition, s.FileID})
		}
	}
	for partition, ids := range m.PartitionToReplaceFileIDs {
		for _, id := range ids {
			out = append(out, GroupID{partition, id})
		}
	}
	return out
}

// checkConflicts looks, under the lock, at what other writers did to the table since
// the transaction began.
func (x *Txn) checkConflicts(ctx context.Context, m *timeline.CommitMetadata) error {
	t := x.table
	mine := x.mutated(m)
	if err := x.checkPast(); err != nil {
		return err
	}
	if err := x.checkTakenBack(ctx); err != nil {
		return err
	}
	for _, i := range t.timeline.Completed() {
		if x.timeline.IsCompleted(i.Time) {
			continue
		}
		theirs, err := t.readCommit(ctx, i)
		if err != nil {
			return err
		}
		if x.replacesAll() && len(groupsOf(theirs)) > 0 {
			return &ConflictError{Instant: x.time, Other: i.Time, Groups: sortGroups(groupsOf(theirs)), Reason: "it replaces the whole table, and the other commit changed it"}
		}
		if theirs.OperationType == string(InsertOverwriteTable) && len(mine) > 0 && !t.full.Equal(x.before) {
			return &ConflictError{Instant: x.time, Other: i.Time, Reason: "the other commit wrote the whole table anew in another schema, in which its files are not"}
		}
		if err := errors.Join(x.conflict(i, mine, groupsOf(theirs)), x.checkLooked(i, theirs)); err != nil {
			return err
		}
	}
	if err := x.mergeSchema(ctx, m); err != nil {
		return err
	}
	busy, err := t.planned(ctx)
	if err == nil {
		err = x.checkNewest(busy)
	}
	if err != nil {
		return err
	}
	for i, groups := range busy {
		if i.Time == x.time { // its own plan
			continue
		}
		if err := x.conflict(i, mine, groups); err != nil {
			return err
		}
	}
	return nil
}

// checkTakenBack sees that nobody is at taking back commits that the transaction builds upon.
func (x *Txn) checkTakenBack(ctx context.Context) error {
	t := x.table
	for _, i := range t.timeline.Pending() {
		switch i.Action {
		case timeline.Restore:
			return &ConflictError{Instant: x.time, Other: i.Time, Reason: "a restore of the table has begun"}
		case timeline.Rollback:
			plan, err := readPlan(ctx, t, i, timeline.DecodeRollbackPlan)
			if errors.Is(err, storage.ErrNotExist) {
				return &ConflictError{Instant: x.time, Other: i.Time, Reason: "another writer is at a rollback, and has ended it meanwhile", Err: err}
			}
			if err != nil {
				return err
			}
			if gone := plan.InstantToRollback; gone != nil && x.timeline.IsCompleted(gone.CommitTime) {
				return &ConflictError{Instant: x.time, Other: i.Time, Reason: "the commit " + gone.CommitTime + ", which it builds upon, is being taken back"}
			}
		default:
		}
	}
	return nil
}

// checkPast sees that what was there when the transaction began still is, and that
// archiving took nothing away that is to be looked at.
func (x *Txn) checkPast() error {
	now := x.table.timeline
	for _, i := range x.timeline.Completed() {
		if !counts(now, i.Time) {
			return &ConflictError{Instant: x.time, Other: i.Time, Reason: "the commit, which it builds upon, was taken back"}
		}
	}
	unseen := x.timeline.Pending()
	if last, ok := x.timeline.Last(); ok {
		unseen = append(unseen, last)
	}
	for _, i := range unseen {
		if !now.Has(i.Time) && now.BeforeStart(i.Time) {
			return &ConflictError{Instant: x.time, Other: i.Time, Reason: "other writers' commits were archived before it could look at them"}
		}
	}
	return nil
}

// conflict is the error where another instant changed groups of the transaction.
func (x *Txn) conflict(other timeline.Instant, mine map[GroupID]GroupID, theirs []GroupID) error {
	both := map[GroupID]bool{}
	for _, g := range theirs {
		if own, ok := mine[x.table.conflictKey(g)]; ok {
			both[own] = true
		}
	}
	if len(both) == 0 {
		return nil
	}
	return &ConflictError{Instant: x.time, Other: other.Time, Groups: sortGroups(slices.Collect(maps.Keys(both))), Reason: "both change the same file groups"}
}

func sortGroups(g []GroupID) []GroupID {
	slices.SortFunc(g, compareGroups)
	return slices.Compact(g)
}

// planned are the file groups that compactions and clusterings which are not completed
// have before them.
func (t *Table) planned(ctx context.Context) (map[timeline.Instant][]GroupID, error) {
	out := map[timeline.Instant][]GroupID{}
	for _, i := range t.timeline.Pending() {
		var err error
		switch i.Action {
		case timeline.Compaction:
			out[i], err = t.compactionGroups(ctx, i)
		case timeline.ReplaceCommit:
			out[i], err = t.clusteringGroups(ctx, i)
		default:
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *Table) compactionGroups(ctx context.Context, i timeline.Instant) ([]GroupID, error) {
	plan, err := readPlan(ctx, t, i, timeline.DecodeCompactionPlan)
	if err != nil {
		return nil, err
	}
	var out []GroupID
	for _, op := range plan.Operations {
		out = append(out, GroupID{op.PartitionPath, op.FileID})
	}
	return out, nil
}

// clusteringGroups is empty for replacements that are no clusterings.
func (t *Table) clusteringGroups(ctx context.Context, i timeline.Instant) ([]GroupID, error) {
	i.State = timeline.Requested
	data, err := t.readInstant(ctx, i)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	m, err := timeline.DecodeRequestedReplaceMetadata(data)
	if err != nil {
		return nil, &CorruptError{t.instantFile(i), err}
	}
	if m.ClusteringPlan == nil {
		return nil, nil
	}
	var out []GroupID
	for _, g := range m.ClusteringPlan.InputGroups {
		for _, s := range g.Slices {
			out = append(out, GroupID{s.PartitionPath, s.FileID})
		}
	}
	return out, nil
}

// groupNames is the list of file groups that an error shows.
func groupNames(groups []GroupID) string {
	const most = 5
	var names []string
	for _, g := range groups[:min(len(groups), most)] {
		names = append(names, g.String())
	}
	if more := len(groups) - most; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
