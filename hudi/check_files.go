package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"lakefeed/hudi/internal/offset"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// A reader must not take a lost file for rows that are not there. So it compares the
// files that it uses with what the completed commits say they wrote: all are there, of
// the size that was written, and their log blocks are whole. What the timeline no
// longer tells of is not compared, nor what no commit completed: rollbacks see to that.

// checkScope says what of a table is read.
type checkScope struct {
	asOf       string
	partitions []string // nil: all
	buckets    []int    // nil: all
	planned    bool     // the slices are all that is read
	before     string   // slices from this instant on are left out; "": none
	baseOnly   bool
}

// has tells whether a file group without a slice should have been read.
func (c checkScope) has(id GroupID) bool {
	if c.planned || c.partitions != nil && !slices.Contains(c.partitions, id.Partition) {
		return false
	}
	return inBuckets(id.FileID, c.buckets)
}

// complete tells whether these slices are as many as there can be.
func (c checkScope) complete(found []*FileSlice) bool {
	return c.planned || c.partitions != nil && c.buckets != nil && len(found) >= len(c.partitions)*len(c.buckets)
}

// from is the oldest commit that tells about the slices. Only the whole timeline tells
// about a bucket or base file that is not there.
func (c checkScope) from(found []*FileSlice) string {
	if c.asOf != "" || !c.complete(found) {
		return ""
	}
	from := ""
	for n, s := range found {
		if s.Base == nil {
			return ""
		}
		if n == 0 || s.Instant < from {
			from = s.Instant
		}
	}
	return from
}

// checkFiles looks whether the slices are all that commits wrote, and tells what these
// wrote, for the scans to compare.
func (t *Table) checkFiles(ctx context.Context, tl *timeline.Timeline, found []*FileSlice, scope checkScope) (*written, error) {
	w := t.written
	if scope.asOf != "" {
		w = newWritten() // t.written knows the newest files only
	}
	from := scope.from(found)
	if err := w.read(ctx, t, tl, from, scope.asOf); err != nil {
		return nil, err
	}
	there := map[GroupID]bool{}
	for _, s := range found {
		there[s.Group()] = true
		if err := t.checkSlice(ctx, w, tl, s, scope); err != nil {
			return nil, err
		}
	}
	if from != "" { // every bucket is there, and groups may be known that were replaced since
		return w, nil
	}
	for _, id := range w.ids(scope.has) {
		if !there[id] {
			if err := t.checkSlice(ctx, w, tl, &FileSlice{Partition: id.Partition, FileID: id.FileID}, scope); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

// checkSlice looks whether a slice has what commits wrote to its group.
func (t *Table) checkSlice(ctx context.Context, w *written, tl *timeline.Timeline, s *FileSlice, scope checkScope) error {
	wrote := w.files(s.Group(), tl)
	for _, name := range slices.Sorted(maps.Keys(wrote)) {
		f := wrote[name]
		switch {
		case s.Base != nil && f.since < s.Instant: // a newer base file has its rows
		case scope.before != "" && f.Instant >= scope.before:
		case f.IsLog() && (scope.baseOnly || slices.ContainsFunc(s.Logs, func(l *DataFile) bool { return l.Name == name })):
		case !f.IsLog() && s.Base != nil && s.Base.Name == name:
		default:
			if err := t.lacks(ctx, tl, s, f, scope); err != nil {
				return err
			}
		}
	}
	return nil
}

// lacks judges a file that a slice should have.
func (t *Table) lacks(ctx context.Context, tl *timeline.Timeline, s *FileSlice, f writtenFile, scope checkScope) error {
	r, err := t.openFile(ctx, f.Path())
	if err == nil {
		closeFile(r)
		if !f.IsLog() && s.Base != nil && s.Base.Instant == f.Instant {
			s.Base = f.DataFile // what the slice has is of an attempt that failed
			return nil
		}
		return fmt.Errorf("%s was not there when the table's folder was listed: open the table anew", f.Path())
	}
	if err = t.missing(ctx, f, err); errors.Is(err, ErrCleaned) && scope.asOf == "" && t.isReplaced(s.Group(), tl) {
		return nil // its commits were read, and what replaced it was archived before it was
	}
	return err
}

// isReplaced tells whether a file group was taken out of the table.
func (t *Table) isReplaced(id GroupID, tl *timeline.Timeline) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r := t.view.replaced[id]
	return r != "" && counts(tl, r)
}

// missing makes of the error of opening a file one that says whether it was lost.
func (t *Table) missing(ctx context.Context, f writtenFile, err error) error {
	if !errors.Is(err, storage.ErrNotExist) || len(f.parts) == 0 {
		return err
	}
	names, lerr := t.listTimeline(ctx) // as it is now
	if lerr != nil {
		return errors.Join(err, lerr)
	}
	tl, commit := timeline.NewLayout(t.Timeline().Layout(), names), f.end().commit
	if !counts(tl, commit) {
		return err // taken back meanwhile
	}
	cleaned, lerr := t.cleaned(ctx, tl, f.DataFile)
	if lerr == nil && !cleaned {
		cleaned, lerr = t.cleanedBefore(ctx, f.DataFile)
	}
	if lerr != nil {
		return errors.Join(err, lerr)
	}
	if cleaned {
		return fmt.Errorf("open %s: %w", f.Path(), ErrCleaned)
	}
	return &CorruptError{f.Path(), fmt.Errorf("it is missing, and commit %s wrote it", commit)}
}

// cleaned tells whether a cleaning has deleted a file or is about to.
func (t *Table) cleaned(ctx context.Context, tl *timeline.Timeline, f *DataFile) (bool, error) {
	for _, i := range tl.Instants() {
		if i.Action != timeline.Clean {
			continue
		}
		plan, err := readPlan(ctx, t, i, timeline.DecodeCleanerPlan)
		if errors.Is(err, storage.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		files := plan.FilePathsToBeDeletedPerPartition[f.Partition]
		if slices.ContainsFunc(files, func(c timeline.CleanFileInfo) bool { return path.Base(c.FilePath) == f.Name }) {
			return true, nil
		}
	}
	return false, nil
}

// cleanedBefore tells whether a cleaning that is archived has deleted a file: then this
// Table was opened, or refreshed, before that.
func (t *Table) cleanedBefore(ctx context.Context, f *DataFile) (bool, error) {
	for i, err := range t.Archived(ctx, f.Instant, "") {
		if err != nil {
			return false, err
		}
		if i.Clean == nil {
			continue
		}
		gone := i.Clean.PartitionMetadata[f.Partition].SuccessDeleteFiles
		if slices.ContainsFunc(gone, func(name string) bool { return path.Base(name) == f.Name }) {
			return true, nil
		}
	}
	return false, nil
}

// open opens a file of the slice that is as long as commits made it. A log file may be
// longer, by what other writers append.
func (s *sliceScan) open(ctx context.Context, f *DataFile) (*reading, error) {
	file, err := s.table.openFile(ctx, f.Path())
	wrote, known := s.wrote[f.Name]
	if err != nil {
		return nil, s.table.missing(ctx, wrote, err)
	}
	if !known {
		return &reading{Reader: file, path: f.Path()}, nil
	}
	end, size := wrote.end(), file.Size()
	if end.to > 0 && (size < end.to || size > end.to && !f.IsLog()) {
		closeFile(file)
		return nil, &CorruptError{f.Path(), offset.At(min(size, end.to), fmt.Errorf("it is %d bytes, and commit %s wrote %d", size, end.commit, end.to))}
	}
	return &reading{Reader: file, path: f.Path()}, nil
}

// checkWhole looks through the files of slices, down to the blocks of their logs but not to
// the rows.
func (t *Table) checkWhole(ctx context.Context, found []*FileSlice, scope checkScope) error {
	w, err := t.checkFiles(ctx, t.timeline, found, scope)
	if err != nil {
		return err
	}
	for _, s := range found {
		if len(s.Logs) == 0 {
			continue
		}
		scan := &sliceScan{table: t, slice: s, timeline: t.timeline, wrote: w.files(s.Group(), t.timeline)}
		if err := scan.probe(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *sliceScan) probe(ctx context.Context) error {
	if s.slice.Base != nil {
		file, err := s.open(ctx, s.slice.Base)
		if err != nil {
			return err
		}
		closeFile(file)
	}
	logs := &mergedLogs{}
	defer logs.close()
	for _, f := range s.slice.Logs {
		if err := s.openLog(ctx, logs, f); err != nil {
			return fmt.Errorf("read %s: %w", f.Path(), err)
		}
	}
	return nil
}

// checkPlanned looks whether the slice that a plan of that instant names is all that
// commits wrote.
func (s *sliceScan) checkPlanned(ctx context.Context, at string) error {
	scope := checkScope{planned: true, before: at}
	w, err := s.table.checkFiles(ctx, s.timeline, []*FileSlice{s.slice}, scope)
	if err == nil {
		s.wrote = w.files(s.slice.Group(), s.timeline)
	}
	return err
}
