package hudi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sync/errgroup"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/timeline"
)

// CompactOptions say when a compaction is worth its while, how much it takes on and how
// long it may take. All conditions that are set must hold.
type CompactOptions struct {
	// MinDeltaCommits is how many delta commits there must be since the last
	// compaction; default 1, or log files that a bounded one left.
	MinDeltaCommits int
	// MinAge is how long ago the oldest of these delta commits must have begun.
	MinAge time.Duration
	// Either lets one of MinDeltaCommits and MinAge be enough, as Hudi's NUM_OR_TIME.
	Either bool
	// MinLogBytes is how large the log files of a file group must be together for it to
	// take part.
	MinLogBytes int64
	// MaxGroups bounds the file groups that take part; 0: no bound. Those with the most
	// bytes in log files come first.
	MaxGroups int
	// MaxBytes bounds what is read, base files and log files, so that the compaction ends
	// in time; 0: no bound. The first file group takes part whatever its size.
	MaxBytes int64
	// MaxTime is how long file groups are begun; 0: no bound. What is begun by then is
	// ended, the first file group in any case, and published; the others stay as they are.
	// With [Concurrency] there may be several instants then, as what is planned is all
	// compacted: writers of other engines may log on it meanwhile.
	MaxTime time.Duration
}

// Validate tells what is wrong with the options, naming the field.
func (o CompactOptions) Validate() error {
	switch {
	case o.MinDeltaCommits < 0 || o.MinAge < 0 || o.MinLogBytes < 0 || o.MaxGroups < 0 || o.MaxBytes < 0 || o.MaxTime < 0:
		return badOption("compact: a minimum or maximum is less than nothing")
	case o.Either && o.MinAge == 0:
		return badOption("compact: either of delta commits and age: no age is given")
	}
	return nil
}

// timeBound is a time after which nothing more is begun; the zero one never comes.
type timeBound time.Time

func within(d time.Duration) timeBound {
	if d == 0 {
		return timeBound{}
	}
	return timeBound(time.Now().Add(d))
}

func (b timeBound) passed() bool { return !time.Time(b).IsZero() && !time.Now().Before(time.Time(b)) }

// Compact merges the log files of a merge-on-read table into new base files, and
// returns its instant, "" when there was nothing to do. Rows keep the instants at
// which they were written.
//
// The plan is scheduled, carried out and completed in one go: no delta commit of its
// file groups is published while it is pending, since some readers would lose its rows.
// With [Concurrency] other writers go on with all other file groups meanwhile, and get a
// [ConflictError] for these. A plan that a crash left is carried out by [Table.Recover].
func (t *Table) Compact(ctx context.Context, opts CompactOptions) (instant string, err error) {
	if err := opts.Validate(); err != nil {
		return "", fmt.Errorf("compact %s: %w", t.name, err)
	}
	idle := func() bool { return !t.compactable(opts) }
	return serve(ctx, t, errand{what: "compact " + t.name, idle: idle}, func(ctx context.Context) (string, error) { return t.compact(ctx, opts) })
}

// compactable tells whether it is time for a compaction.
func (t *Table) compactable(opts CompactOptions) bool {
	if t.typ != MergeOnRead {
		return false
	}
	n, oldest := t.deltaCommits()
	switch {
	case n == 0 && opts.MinDeltaCommits <= 1: // a writer at work may give its log files up
		return len(t.timeline.Pending()) == 0 && len(opts.pick(t.view.slices(t.timeline, "", nil))) > 0
	case n == 0:
		return false
	}
	many := n >= opts.MinDeltaCommits
	old := opts.MinAge == 0 || before(oldest, t.opts.Now().Add(-opts.MinAge))
	if opts.Either {
		return many || old
	}
	return many && old
}

// pick chooses the slices that take part.
func (o CompactOptions) pick(found []*FileSlice) []*FileSlice {
	picked := slices.DeleteFunc(slices.Clone(found), func(s *FileSlice) bool {
		return s.Base == nil || len(s.Logs) == 0 || logBytes(s) < o.MinLogBytes
	})
	slices.SortStableFunc(picked, func(a, b *FileSlice) int { return cmp.Compare(logBytes(b), logBytes(a)) })
	if o.MaxGroups > 0 {
		picked = picked[:min(o.MaxGroups, len(picked))]
	}
	read := int64(0)
	for i, s := range picked {
		if read += sliceBytes(s); o.MaxBytes > 0 && read > o.MaxBytes && i > 0 {
			return picked[:i]
		}
	}
	return picked
}

func logBytes(s *FileSlice) int64 {
	n := int64(0)
	for _, l := range s.Logs {
		n += l.Size
	}
	return n
}

func (t *Table) compact(ctx context.Context, opts CompactOptions) (string, error) {
	if !t.compactable(opts) {
		return "", nil
	}
	found, err := t.logged(ctx, t.view.slices(t.timeline, "", nil), checkScope{})
	if err != nil {
		return "", err
	}
	picked, until := opts.pick(found), within(opts.MaxTime)
	switch {
	case len(picked) == 0:
		return "", nil
	case opts.MaxTime > 0 && t.opts.Concurrency.optimistic():
		return t.compactSteps(ctx, picked, until)
	default:
		return t.compactPlan(ctx, picked, until)
	}
}

// hasLogRows tells whether a commit wrote to the log files of a slice: there may be only
// those of a transaction that was taken back, or is at work. That of a commit which is
// archived is not known. Of the timeline, what was written since the slice's instant is read.
func (t *Table) hasLogRows(tl *timeline.Timeline, s *FileSlice) bool {
	if tl.BeforeStart(s.Instant) {
		return len(s.Logs) > 0
	}
	wrote := t.written.files(s.Group(), tl)
	return slices.ContainsFunc(s.Logs, func(l *DataFile) bool { _, found := wrote[l.Name]; return found })
}

// deltaCommits counts the delta commits since the last compaction, and names the oldest.
func (t *Table) deltaCommits() (n int, oldest string) {
	for _, i := range slices.Backward(t.timeline.Completed()) {
		if i.Action == timeline.Compaction {
			break
		}
		if i.Action == timeline.DeltaCommit {
			n, oldest = n+1, i.Time
		}
	}
	return n, oldest
}

// compactionOf plans the compaction of a slice.
func compactionOf(s *FileSlice) timeline.CompactionOperation {
	const mib = 1 << 20
	op := timeline.CompactionOperation{
		BaseInstantTime: s.Instant, PartitionPath: s.Partition, FileID: s.FileID, DataFilePath: &s.Base.Name,
	}
	for _, l := range s.Logs {
		op.DeltaFilePaths = append(op.DeltaFilePaths, l.Name)
	}
	read := float64(sliceBytes(s)) / mib
	write := float64(s.Base.Size) / mib
	op.Metrics = map[string]float64{
		"TOTAL_LOG_FILES":      float64(len(s.Logs)),
		"TOTAL_LOG_FILES_SIZE": float64(logBytes(s)),
		"TOTAL_IO_READ_MB":     read,
		"TOTAL_IO_WRITE_MB":    write,
		"TOTAL_IO_MB":          read + write,
	}
	return op
}

// finishCompaction carries out a plan that a crash left, or that another engine
// scheduled: delta commits wait for it.
func (t *Table) finishCompaction(ctx context.Context, i timeline.Instant) error {
	plan, err := readPlan(ctx, t, i, timeline.DecodeCompactionPlan)
	if err != nil {
		return err
	}
	t.opts.Hook("compaction")
	return t.runCompaction(ctx, i.Time, plan, timeBound{})
}

// runCompaction carries out a plan that is written down, of which it begins nothing more
// after a time.
func (t *Table) runCompaction(ctx context.Context, at string, plan *timeline.CompactionPlan, until timeBound) error {
	files := instants(at, timeline.Compaction)
	if err := t.start(ctx, files[1], nil); err != nil {
		return err
	}
	m := &timeline.CommitMetadata{
		PartitionToWriteStats: map[string][]timeline.WriteStat{},
		Compacted:             true,
		OperationType:         "COMPACT",
	}
	var written []*DataFile
	var stats []timeline.WriteStat
	err := t.apart(ctx, files[0], func() (err error) {
		if written, stats, err = t.compactSlices(ctx, at, plan.Operations, until); err != nil {
			return err
		}
		return t.outlast(ctx, at)
	})
	if err == nil {
		err = t.restate(ctx, m)
	}
	if err == nil {
		err = t.removeAdded(ctx, at)
	}
	if err == nil {
		for _, s := range stats {
			m.PartitionToWriteStats[s.PartitionPath] = append(m.PartitionToWriteStats[s.PartitionPath], s)
		}
		err = t.deleteEarlier(ctx, files[2], m, plan, written)
	}
	if errors.As(err, new(*ConflictError)) || errors.As(err, new(*UnsupportedError)) {
		return errors.Join(err, t.deleteFiles(context.WithoutCancel(ctx), written)) // who takes it over may have seen none of them
	}
	if err != nil {
		return err
	}
	t.mu.Lock()
	for _, f := range written { // before readers see the compaction on the timeline, who would miss them else
		t.view.add(f)
	}
	t.mu.Unlock()
	if err := t.complete(ctx, files[:], m); err != nil {
		if errors.As(err, new(*ConflictError)) && !t.claim.mayHaveDecided(files[2]) { // another writer finished it with files of its own
			t.mu.Lock()
			for _, f := range written {
				t.view.drop(f)
			}
			t.mu.Unlock()
			err = errors.Join(err, t.deleteFiles(context.WithoutCancel(ctx), written))
		}
		return err
	}
	t.written.add(at, "", m)
	t.opts.Logger.Info("compacted", "table", t.name, "instant", at, "file groups", len(written), "left", len(plan.Operations)-len(written))
	return t.deleteAttempts(ctx, files[2], m, plan)
}

// deleteFiles deletes those of an attempt that came to nothing; nil ones were not written.
func (t *Table) deleteFiles(ctx context.Context, files []*DataFile) error {
	for _, f := range files {
		if f == nil {
			continue
		}
		err := ctx.Err()
		if err == nil {
			err = t.store.Delete(ctx, f.Path())
		}
		if err != nil {
			return fmt.Errorf("delete %s: %w", f.Path(), err)
		}
	}
	return nil
}

// deleteEarlier deletes the files of earlier attempts at an instant right before it is
// completed: hudi-rs reads no file group that has two base files of one commit. It does so
// only for as long as the lock is surely held, as one of them may be completed after that.
// Somebody else may have done the same before, and died: then it is a conflict.
func (t *Table) deleteEarlier(ctx context.Context, done timeline.Instant, m *timeline.CommitMetadata, plan *timeline.CompactionPlan, written []*DataFile) error {
	ctx, stop, err := t.fence(ctx, done)
	if err != nil {
		return err
	}
	defer stop()
	others, err := t.unnamed(ctx, done, m, plan)
	if err != nil || len(others) == 0 {
		return err
	}
	if err := t.prove(ctx); err != nil { // none of them is of one that took the table over meanwhile
		return err
	}
	for _, f := range written {
		if found, err := exists(ctx, t.store, f.Path()); err != nil || !found {
			return cmp.Or(err, error(&ConflictError{Instant: done.Time, Reason: "another writer took it over and deleted " + f.Path()}))
		}
	}
	return t.deleteFiles(ctx, others)
}

// deleteAttempts deletes the base files that an instant announced and its commit does not
// name, and then its markers: a process that was taken for dead may have written on.
func (t *Table) deleteAttempts(ctx context.Context, done timeline.Instant, m *timeline.CommitMetadata, plan *timeline.CompactionPlan) error {
	others, err := t.unnamed(ctx, done, m, plan)
	if err == nil {
		err = t.deleteFiles(ctx, others)
	}
	if err != nil {
		return err
	}
	return t.deleteMarkers(ctx, done.Time)
}

// unnamed are the base files that an instant announced and its commit does not name. Those of
// another write of the same millisecond are announced in the same place: what completed ones name is
// spared and, where the plan is known, what is not of its file groups.
func (t *Table) unnamed(ctx context.Context, done timeline.Instant, m *timeline.CommitMetadata, plan *timeline.CompactionPlan) ([]*DataFile, error) {
	marked, err := t.markedFiles(ctx, done.Time)
	if err != nil || len(marked) == 0 {
		return nil, err
	}
	named, err := t.namedBesides(ctx, done)
	if err != nil {
		return nil, err
	}
	for _, stats := range m.PartitionToWriteStats {
		for _, s := range stats {
			named[s.Path] = true
		}
	}
	var out []*DataFile
	for _, name := range marked {
		f, ok := parseDataFile(name, 0)
		if !ok || f.IsLog() || f.Instant != done.Time || named[name] {
			continue
		}
		if plan == nil || slices.ContainsFunc(plan.Operations, func(op timeline.CompactionOperation) bool {
			return op.PartitionPath == f.Partition && op.FileID == f.FileID
		}) {
			out = append(out, f)
		}
	}
	return out, nil
}

// compactors is how many file groups are compacted at a time: each has a row group
// being read and one being written in memory.
const compactors = 2

// compactSlices writes the base files of a plan, some side by side, as far as it comes.
func (t *Table) compactSlices(ctx context.Context, at string, ops []timeline.CompactionOperation, until timeBound) ([]*DataFile, []timeline.WriteStat, error) {
	files, stats := make([]*DataFile, len(ops)), make([]timeline.WriteStat, len(ops))
	attempt := newToken(t.nextInstant())
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(compactors, runtime.GOMAXPROCS(0)))
	for n, op := range ops {
		if n > 0 && until.passed() {
			files, stats = files[:n], stats[:n]
			break
		}
		g.Go(func() (err error) {
			if files[n], stats[n], err = t.compactSlice(ctx, at, strconv.Itoa(n)+"-"+attempt, op); err != nil {
				return fmt.Errorf("compact file group %s: %w", op.FileID, err)
			}
			return nil
		})
	}
	return files, stats, g.Wait()
}

// compactSlice writes the base file of one operation.
func (t *Table) compactSlice(ctx context.Context, at, token string, op timeline.CompactionOperation) (*DataFile, timeline.WriteStat, error) {
	var none timeline.WriteStat
	s, err := sliceOf(op)
	if err != nil {
		return nil, none, err
	}
	f := &DataFile{Partition: op.PartitionPath, Name: baseName(op.FileID, token, at), FileID: op.FileID, Token: token, Instant: at}
	dst, err := t.createData(ctx, at, f, markerMerge)
	if err != nil {
		return nil, none, err
	}
	defer dst.abort()
	w, err := t.newBaseWriter(dst, t.avro, t.full)
	if err != nil {
		return nil, none, err
	}
	scan := &sliceScan{table: t, slice: s, timeline: t.timeline, full: t.full, schema: t.full}
	if err := scan.checkPlanned(ctx, at); err != nil {
		return nil, none, err
	}
	stats, err := scan.compact(ctx, w, f.Name)
	if err != nil {
		return nil, none, fmt.Errorf("write %s: %w", f.Path(), err)
	}
	if err := dst.commit(); err != nil {
		return nil, none, err
	}
	f.Size = stats.Bytes
	return f, compactionStat(f, op.BaseInstantTime, scan.stats), nil
}

// compact writes the slice's rows, base and logs merged, to a new base file of that name.
func (s *sliceScan) compact(ctx context.Context, w *basefile.Writer, name string) (stats basefile.Stats, err error) {
	s.batchRows = defaultBatchRows
	logs, err := s.openLogs(ctx)
	if err != nil {
		return stats, err
	}
	defer logs.close()
	if s.slice.Base == nil || !logs.replace() { // of the base's rows some may win
		err := s.merge(ctx, logs, func(rows arrow.RecordBatch) error { return w.WriteMoved(rows, name) })
		if err != nil {
			return stats, err
		}
		return w.Close()
	}
	r := basefile.NewRewrite(w, name)
	for h, w := range logs.winners {
		if w.deleted() {
			r.DeleteHash(h)
		}
	}
	if err := logs.emit(ctx, s, r.Upsert); err != nil {
		return stats, err
	}
	if stats, err = s.rewrite(ctx, r); err == nil {
		s.stats.rows = stats.Rows
		s.stats.updated, s.stats.deleted = r.Found()
	}
	return stats, err
}

// sliceOf is the slice that an operation names.
func sliceOf(op timeline.CompactionOperation) (*FileSlice, error) {
	s := &FileSlice{Partition: op.PartitionPath, FileID: op.FileID, Instant: op.BaseInstantTime}
	names := slices.Clone(op.DeltaFilePaths)
	if op.DataFilePath != nil && *op.DataFilePath != "" {
		names = append(names, *op.DataFilePath)
	}
	for _, name := range names {
		f, ok := parseDataFile(path.Join(op.PartitionPath, path.Base(name)), 0)
		switch {
		case !ok:
			return nil, fmt.Errorf("the plan names %q, which is no data file", name)
		case f.IsLog():
			s.Logs = append(s.Logs, f)
		default:
			s.Base = f
		}
	}
	slices.SortFunc(s.Logs, compareLogs)
	return s, nil
}

func compactionStat(f *DataFile, prev string, scan scanStats) timeline.WriteStat {
	stat := newStat(f, prev)
	stat.NumWrites = scan.rows
	stat.NumUpdateWrites = scan.updated
	stat.NumDeletes = scan.deleted
	stat.TotalLogRecords = scan.logRecords
	stat.TotalLogFilesCompacted = scan.logFiles
	stat.TotalLogSizeCompacted = scan.logBytes
	stat.TotalUpdatedRecordsCompacted = scan.updated
	stat.TotalLogBlocks = scan.logBlocks
	stat.TotalCorruptLogBlock = scan.corruptBlocks
	stat.TotalRollbackBlocks = scan.rollbackBlocks
	return stat
}
