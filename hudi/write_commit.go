package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"lakefeed/hudi/timeline"
)

// start creates the requested and the inflight file of the transaction's instant.
func (x *Txn) start(ctx context.Context, action timeline.Action) error {
	t := x.table
	x.time = t.nextInstant()
	x.files = instants(x.time, action)
	x.token = newToken(x.time)
	var plan []byte
	if action == timeline.ReplaceCommit {
		requested, err := &timeline.RequestedReplaceMetadata{}, error(nil)
		if x.replace != nil {
			requested = x.replace.plan
		}
		if plan, err = requested.Encode(); err != nil {
			return err
		}
	}
	var err error
	if x.beat, err = t.startHeartbeat(ctx, x.time); err != nil {
		return err
	}
	for i, data := range [][]byte{plan, nil} {
		err := t.announce(ctx, x.files[i], data)
		if err == nil {
			continue
		}
		x.beat.end(context.WithoutCancel(ctx))
		if conflict := new(ConflictError); errors.As(err, &conflict) {
			return err // the instant is another writer's
		}
		t.given = x.time
		// What is there of it is rolled back like a crash's rest.
		return errors.Join(err, t.recoverAfter(ctx))
	}
	return nil // the timeline in memory gets all three files at the end
}

// announce creates the requested or inflight file of a transaction. A writer that knows of
// no other decides on the first, so that none that lives begins beside it.
func (t *Table) announce(ctx context.Context, i timeline.Instant, data []byte) error {
	if c := &t.opts.Concurrency; i.State != timeline.Requested || c.optimistic() || c.Exclusive {
		return t.putInstant(ctx, i, data)
	}
	err := t.decide(ctx, i, data, func() error { return t.alone(ctx, i.Time) })
	if err == nil {
		err = t.putInstant(ctx, i, data)
	}
	if err == nil {
		t.claim.carried()
	}
	return err
}

// newToken makes the two last parts of a write token, which must be whole numbers that Java's
// int can hold: one by chance, and the time of day of an instant. So no two attempts share a
// name, not those either of two writers that have chosen one instant.
func newToken(instant string) string {
	return strconv.Itoa(rand.IntN(math.MaxInt32)) + "-" + timeOfDay(instant) //nolint:gosec // no secret
}

// timeOfDay is the last part of the write tokens of an instant.
func timeOfDay(instant string) string {
	at := 0
	if len(instant) > 8 {
		at, _ = strconv.Atoi(instant[8:min(len(instant), 17)]) // 0 where it is none
	}
	return strconv.Itoa(at)
}

// Commit publishes the transaction under its instant, with extra as extra metadata
// beside the schema and [BucketsKey]. All group writers must be closed. Then those of
// [Options.Services] run that are due; what becomes of them changes nothing about the
// commit, and those that fail are tried again behind the next one. When it
// returns an error, a [ConflictError] or any other, call Abort: it takes back what was
// written or, where the store had published it all the same, says so.
func (x *Txn) Commit(ctx context.Context, extra map[string]string) (instant string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return "", errEnded
	}
	m, files, err := x.metadata(extra)
	if err == nil && x.rebases(m) {
		err = x.table.outlast(ctx, x.time)
	}
	if err == nil {
		err = x.table.acquire(ctx)
	}
	if err == nil {
		err = x.check(ctx, m)
	}
	if err == nil {
		err = x.publish(ctx, m)
	}
	var then error
	if err == nil {
		then = x.follow(ctx)
	}
	x.table.release(ctx)
	if err != nil {
		return "", fmt.Errorf("commit %s of %s: %w", x.time, x.table.name, err)
	}
	x.ended = true
	x.beat.end(context.WithoutCancel(ctx))
	x.table.committed(x, m, files)
	x.table.indexKeys(x)
	x.dropMarkers(ctx)
	x.table.opts.Logger.Debug("committed", "table", x.table.name, "instant", x.time, "files", len(files), "requests", x.table.requests.Total()-x.asked)
	x.table.unlock()
	if x.replace == nil && x.becomes == nil { // a service is not followed by others, and a table that was taken over is opened anew
		x.table.serveInline(ctx)
	}
	return x.time, then
}

// follow does what follows on the commit, before anybody else writes.
func (x *Txn) follow(ctx context.Context) error {
	if x.becomes != nil {
		return x.table.become(ctx, x.becomes)
	}
	if x.replace == nil || x.replace.then == nil {
		return nil
	}
	return x.replace.then(ctx)
}

// followLate is follow for a commit that was found to stand: others may have gone on since.
func (x *Txn) followLate(ctx context.Context) error {
	last, _ := x.table.timeline.Last()
	if last.Time != x.time && x.replace != nil && x.replace.then != nil {
		return &ConflictError{Instant: x.time, Other: last.Time, Reason: "it is published, and the other came before hoodie.properties said so: do it again"}
	}
	return x.follow(ctx)
}

func (x *Txn) dropMarkers(ctx context.Context) {
	if err := x.table.deleteMarkers(ctx, x.time); err != nil {
		x.table.opts.Logger.Warn("markers stay until the next recovery", "table", x.table.name, "instant", x.time, "error", err)
	}
}

// metadata describes the commit.
func (x *Txn) metadata(extra map[string]string) (*timeline.CommitMetadata, []*DataFile, error) {
	m := &timeline.CommitMetadata{
		PartitionToWriteStats: map[string][]timeline.WriteStat{},
		ExtraMetadata:         maps.Clone(extra),
		OperationType:         string(x.op),
	}
	if m.ExtraMetadata == nil {
		m.ExtraMetadata = map[string]string{}
	}
	m.ExtraMetadata[timeline.SchemaKey] = x.avro
	if x.count > 0 {
		m.ExtraMetadata[BucketsKey] = strconv.Itoa(x.count)
	}
	if err := x.takeOverExtra(m.ExtraMetadata); err != nil {
		return nil, nil, err
	}
	var files []*DataFile
	for _, g := range x.groups {
		switch {
		case g.err != nil:
			return nil, nil, g.err
		case !g.closed:
			return nil, nil, fmt.Errorf("the writer of %s is not closed", g)
		case g.file != nil:
			p := g.id.Partition
			m.PartitionToWriteStats[p] = append(m.PartitionToWriteStats[p], g.stat)
			files = append(files, g.file)
		}
	}
	if x.op.replaces() {
		m.PartitionToReplaceFileIDs = x.replaced()
	}
	return m, files, nil
}

// rebases tells whether the transaction lays a base file over another of a file group
// whose changes go to log files.
func (x *Txn) rebases(m *timeline.CommitMetadata) bool {
	for _, stats := range m.PartitionToWriteStats {
		for _, s := range stats {
			if f, ok := parseDataFile(s.Path, 0); x.typ == MergeOnRead && ok && !f.IsLog() && s.PrevCommit != timeline.NoCommit {
				return true
			}
		}
	}
	return false
}

// check looks once more whether the table is still ours to write.
func (x *Txn) check(ctx context.Context, m *timeline.CommitMetadata) error {
	t := x.table
	props, err := t.readProperties(ctx)
	if err != nil {
		return err
	}
	if err := x.checkProperties(props); err != nil {
		return err
	}
	if !t.opts.Concurrency.optimistic() {
		return x.checkAlone(ctx)
	}
	if err := t.checkPending(ctx, x.files[0]); err != nil {
		return err
	}
	if err := t.settled(ctx, ""); err != nil {
		return err
	}
	if err := errors.Join(x.beat.check(), t.refresh(ctx)); err != nil {
		return err
	}
	if t.buckets != x.had {
		return &ConflictError{Instant: x.time, Reason: fmt.Sprintf("the table has got %d buckets", t.buckets)}
	}
	if err := x.checkConflicts(ctx, m); err != nil {
		return err
	}
	return t.removeMetadataTable(ctx)
}

// checkProperties looks whether the table may be written still, as it was when the transaction began.
func (x *Txn) checkProperties(props Properties) error {
	able := props.checkWritable
	if x.replace != nil {
		able = props.checkServable
	}
	if x.becomes != nil {
		able = props.with(x.becomes).checkWritable
	}
	if err := errors.Join(able(), x.table.checkMetadataTable(props)); err != nil {
		return err
	}
	if typ := TableType(props[propType]); typ != x.typ {
		return &ConflictError{Instant: x.time, Reason: fmt.Sprintf("the table was made %s", typ)}
	}
	return x.checkAdded(props)
}

// checkAlone sees that the table is as the transaction found it, but for its own files, and
// that this is so as long as the claim is held. Where that was so since the timeline was listed,
// no writer that knows the claim can have decided anything, and what the decision shows then is
// not listed for: what another engine took for a crash's rest is told by its own files.
func (x *Txn) checkAlone(ctx context.Context) error {
	t := x.table
	changed, err := t.hold(ctx)
	switch {
	case err != nil:
		return err
	case !changed:
		return t.checkPending(ctx, x.files[0])
	}
	claimed := t.claim.versionNow()
	if err := t.alone(ctx, x.time, x.files[:2]...); err != nil {
		return err
	}
	t.claim.looked(claimed)
	return nil
}

// publish is the moment of the commit.
func (x *Txn) publish(ctx context.Context, m *timeline.CommitMetadata) error {
	data, err := m.Encode()
	if err != nil {
		return err
	}
	x.table.opts.Hook("publish")
	return x.table.putDecided(ctx, x.files[2], data, x.files[:2]...)
}

// committed brings what is known of the table up to a transaction: for readers at once, who
// would miss its files else.
func (t *Table) committed(x *Txn, m *timeline.CommitMetadata, files []*DataFile) {
	names := t.named(x.files[:])
	t.written.add(x.time, "", m)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timeline = t.timeline.With(names...)
	for _, f := range files {
		t.view.add(f)
	}
	t.view.replace(x.time, m)
	t.schema, t.full, t.avro, t.buckets = x.schema, x.full, x.avro, x.count
}

// Abort takes back what the transaction wrote; [ErrPublished] when Commit's answer was
// lost and the transaction stands. After Commit it does nothing, so that it may be
// deferred.
func (x *Txn) Abort(ctx context.Context) error {
	published, err := x.abort(ctx)
	if published {
		return errors.Join(ErrPublished, err)
	}
	return err
}

// undo takes a whole transaction back that has failed, and returns why; nil where the
// store had published it all the same, and only the answer was lost.
func (x *Txn) undo(ctx context.Context, failure error) error {
	published, err := x.abort(context.WithoutCancel(ctx))
	if published {
		x.table.opts.Logger.Warn("a commit stands whose answer was lost", "table", x.table.name, "instant", x.time, "error", failure)
		return err
	}
	return errors.Join(failure, err)
}

// abort is Abort; with a transaction that was published it does what follows on the commit.
func (x *Txn) abort(ctx context.Context) (published bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return false, nil
	}
	x.ended = true
	defer x.table.unlock()
	for _, g := range x.groups {
		if !g.closed {
			g.out.abandon()
		}
	}
	t := x.table
	defer x.beat.end(ctx)
	t.given = x.time
	err = t.acquire(ctx)
	if err == nil {
		err = t.settled(ctx, x.time)
	}
	if err == nil {
		err = t.refresh(ctx)
	}
	gone := false
	if err == nil {
		published, gone, err = x.fate(ctx)
	}
	if published {
		x.dropMarkers(ctx)
		return true, x.followLate(ctx)
	}
	if err == nil {
		err = t.takeUp(ctx, t.own(x.files[0]))
	}
	switch {
	case err != nil:
	case t.opts.Concurrency.optimistic():
		err = t.rollbackRest(ctx, x.time)
	case gone && x.counts():
		err = x.deleteRest(ctx)
	case gone:
		err = x.leaveRest(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("abort %s of %s: %w", x.time, t.name, err)
	}
	return false, nil
}

// fate tells what has become of the transaction, where its table was looked at anew. One that
// another writer put, as it was decided, may be archived by now. A completed file of its instant
// may be another's, which chose the same millisecond.
func (x *Txn) fate(ctx context.Context) (published, gone bool, err error) {
	t := x.table
	own := t.states(x.files[0])
	if slices.Contains(own, x.files[2]) {
		m, err := t.readCommit(ctx, x.files[2])
		if err != nil {
			return false, false, err
		}
		published = x.names(m)
		return published, !published, nil
	}
	if len(own) > 0 || !t.timeline.BeforeStart(x.time) {
		return false, len(own) == 0, nil
	}
	for i, err := range t.Archived(ctx, x.time, x.time) {
		if err != nil {
			return false, false, err
		}
		published = published || i.SameAs(x.files[2]) && (i.Commit == nil || x.names(i.Commit))
	}
	return published, !published, nil
}

// names tells whether a commit is the transaction's: it names its files, whose names are nobody
// else's. One that wrote none has nothing to tell it by but its decision.
func (x *Txn) names(m *timeline.CommitMetadata) bool {
	wrote := false
	for _, g := range x.groups {
		if g.file == nil {
			continue
		}
		wrote = true
		for _, s := range m.PartitionToWriteStats[g.id.Partition] {
			if s.Path == g.file.Path() {
				return true
			}
		}
	}
	return !wrote && x.table.claim.mayHaveDecided(x.files[2])
}

// counts tells whether readers take the files of a transaction that is gone for committed: its
// instant is another writer's commit, or the timeline begins behind it. Of one that was decided
// this may be its own commit, archived.
func (x *Txn) counts() bool {
	tl := x.table.timeline
	return tl.IsCompleted(x.time) || tl.BeforeStart(x.time) && !x.table.claim.mayHaveDecided(x.files[2])
}

// leaveRest announces once more what the transaction wrote, as another writer has rolled it
// back and may have been done before it was written: [Table.Recover] and archiving find it
// so, and take it back. The claim is left to that writer.
func (x *Txn) leaveRest(ctx context.Context) error {
	for _, g := range x.groups {
		if g.file == nil {
			continue
		}
		kind := markerCreate
		if g.file.IsLog() {
			kind = markerAppend
		}
		if err := x.table.createMarker(ctx, x.time, g.file.Path(), kind); err != nil {
			return err
		}
	}
	return nil
}

// deleteRest deletes what the transaction wrote, since it counts for readers, and nobody takes it back.
// The files' names are its own: nothing of others is in them.
func (x *Txn) deleteRest(ctx context.Context) error {
	t := x.table
	marked, err := t.markedFiles(ctx, x.time) // with those of which it is not known that they were written
	if err != nil {
		return err
	}
	var files []*DataFile
	for _, name := range marked {
		if f, ok := parseDataFile(name, 0); ok && strings.HasSuffix(f.Token, "-"+x.token) {
			files = append(files, f)
		}
	}
	for _, g := range x.groups {
		files = append(files, g.file)
	}
	if err := t.deleteFiles(ctx, files); err != nil {
		return err
	}
	x.dropMarkers(ctx)
	return t.loadAs(ctx, t.props, t.timeline) // they may have been listed
}

// newStat describes a file in a commit; prev is the instant of the slice before.
func newStat(f *DataFile, prev string) timeline.WriteStat {
	return timeline.WriteStat{
		FileID: f.FileID, PartitionPath: f.Partition, Path: f.Path(), PrevCommit: prev,
		TotalWriteBytes: f.Size, FileSizeInBytes: f.Size,
	}
}
