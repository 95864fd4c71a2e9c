package hudi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"lakefeed/hudi/logfile"
	"lakefeed/hudi/timeline"
)

// FileState says what a file in a table's folder is to its readers.
type FileState string

// The states of a file.
const (
	// FileLive is read by whoever reads the table now.
	FileLive FileState = "live"
	// FileOlder is of a slice that a newer one took over from: reads as of earlier
	// instants use it, until a cleaning deletes it.
	FileOlder FileState = "older"
	// FileReplaced is of a file group that a replacecommit took out of the table. It too
	// waits for a cleaning.
	FileReplaced FileState = "replaced"
	// FilePending is of an instant that is not completed: a writer is at work, or a crash
	// left it and the next transaction or service rolls it back.
	FilePending FileState = "pending"
	// FileRolledBack is a log file of a delta commit that was taken back. Readers pass
	// over it, and it goes when its slice is cleaned.
	FileRolledBack FileState = "rolled back"
	// FileOrphan is of an instant that never completed and that nothing knows any more.
	// No reader looks at it, and no cleaning finds it.
	FileOrphan FileState = "orphan"
	// FileMark is the file by which engines know a partition's folder.
	FileMark FileState = "mark"
	// FileForeign is none of a Hudi table's.
	FileForeign FileState = "foreign"
)

// TableFile is one file in a table's folder.
type TableFile struct {
	Path     string // below the table's folder
	Bytes    int64
	Modified time.Time
	State    FileState
	Data     *DataFile // what its name says; nil of FileMark and FileForeign
}

// Files are all files in the table's folder but those of .hoodie, in the order of their
// paths, with what they are to a reader of the table as it is known here. Log files that
// no commit on the timeline names are looked into.
func (t *Table) Files(ctx context.Context) ([]TableFile, error) {
	t.mu.RLock()
	tl, v := t.timeline, t.view
	t.mu.RUnlock()
	s := &stocktaking{table: t, timeline: tl, view: v, live: map[string]bool{}, wrote: map[string]bool{}}
	for _, slice := range v.slices(tl, "", nil) {
		if slice.Base != nil {
			s.live[slice.Base.Path()] = true
		}
		for _, f := range slice.Logs {
			s.live[f.Path()] = true
		}
	}
	if err := s.readCommits(ctx); err != nil {
		return nil, fmt.Errorf("look through the files of %s: %w", t.name, err)
	}
	files, err := s.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("look through the files of %s: %w", t.name, err)
	}
	return files, nil
}

// stocktaking tells what each file of a table is.
type stocktaking struct {
	table    *Table
	timeline *timeline.Timeline
	view     *view
	live     map[string]bool // paths
	wrote    map[string]bool // paths that completed commits of the timeline name
}

func (s *stocktaking) readCommits(ctx context.Context) error {
	for _, i := range s.timeline.Completed() {
		m, err := s.table.readCommit(ctx, i)
		if err != nil {
			return err
		}
		for _, stats := range m.PartitionToWriteStats {
			for _, stat := range stats {
				s.wrote[stat.Path] = true
			}
		}
	}
	return nil
}

func (s *stocktaking) list(ctx context.Context) ([]TableFile, error) {
	var out []TableFile
	for info, err := range s.table.store.List(ctx, "", true) {
		if err != nil {
			return nil, fmt.Errorf("list table: %w", err)
		}
		if strings.HasPrefix(info.Name, metaFolder+"/") {
			continue
		}
		f := TableFile{Path: info.Name, Bytes: info.Size, Modified: info.ModTime}
		if f.Data, _ = parseDataFile(info.Name, info.Size); f.Data != nil && s.table.plainPartitions() && s.table.partition.check(f.Data.Partition) != nil {
			f.Data = nil // in a folder that is no partition
		}
		if f.State, err = s.state(ctx, f); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

func (s *stocktaking) state(ctx context.Context, f TableFile) (FileState, error) {
	base := path.Base(f.Path)
	switch {
	case base == partitionFile || base == partitionFile+baseSuffix:
		return FileMark, nil
	case f.Data == nil:
		return FileForeign, nil
	case s.wrote[f.Path]:
		return s.committed(f.Data), nil
	}
	instant := f.Data.Instant
	if f.Data.IsLog() && s.timeline.Layout() == timeline.Layout1 {
		var err error
		if instant, err = s.logInstant(ctx, f.Data); err != nil {
			return "", err
		}
	}
	switch {
	case instant == rolledBack:
		return s.committed(f.Data), nil
	case s.timeline.IsCompleted(instant): // its commit names another file: of an attempt that failed
		return FileOrphan, nil
	case counts(s.timeline, instant):
		return s.committed(f.Data), nil
	case s.timeline.Has(instant):
		return FilePending, nil
	case f.Data.IsLog() && s.timeline.Layout() == timeline.Layout1 && counts(s.timeline, f.Data.Instant):
		return FileRolledBack, nil
	}
	return FileOrphan, nil
}

// committed is the state of a file that counts.
func (s *stocktaking) committed(f *DataFile) FileState {
	r := s.view.replaced[f.Group()]
	switch {
	case s.live[f.Path()]:
		return FileLive
	case r != "" && counts(s.timeline, r):
		return FileReplaced
	}
	return FileOlder
}

// rolledBack is the instant of a log file that holds nothing but rollbacks.
const rolledBack = "rollback"

// logInstant is the instant that wrote a log file, by its first block: in tables of
// version 6 the name does not say it. It is "" where there is no block.
func (s *stocktaking) logInstant(ctx context.Context, f *DataFile) (string, error) {
	opened, err := s.table.openFile(ctx, f.Path())
	if err != nil {
		return "", err
	}
	defer closeFile(opened)
	file, instant := &reading{Reader: opened, path: f.Path()}, ""
	for r := logfile.NewReader(file, file.Size()); ; {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return instant, nil
		}
		if err != nil {
			return "", file.blame(err)
		}
		if _, ok := b.RollbackTarget(); ok {
			instant = rolledBack
		} else if b.Type != logfile.Corrupt {
			return b.Instant(), nil
		}
	}
}
