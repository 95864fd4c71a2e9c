package hudi

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"lakefeed/hudi/logfile"
)

// GroupID names a file group: a file id is one within its partition only.
type GroupID struct {
	Partition string // path below the table's folder, as region=eu; "" without partitions
	FileID    string
}

// String is the id as a path.
func (id GroupID) String() string { return path.Join(id.Partition, id.FileID) }

func compareGroups(a, b GroupID) int {
	return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.FileID, b.FileID))
}

// FileGroup is the history of the rows of one file id: slices, oldest first.
type FileGroup struct {
	ID     GroupID
	Slices []*FileSlice
}

// FileSlice is one version of a file group: a base file and the log files on top of
// it. Base is nil while the slice waits for its compaction.
type FileSlice struct {
	Partition string
	FileID    string
	Instant   string // the base instant, which all of its files carry in their names
	Base      *DataFile
	Logs      []*DataFile // in the order in which they are merged
}

// Group is the file group that the slice is of.
func (s *FileSlice) Group() GroupID { return GroupID{s.Partition, s.FileID} }

// DataFile is a base or log file of a table, and what its name says.
type DataFile struct {
	Partition string // path of its folder below the table's, "" for that itself
	Name      string
	Size      int64
	FileID    string
	Token     string // write token: partition-stage-attempt
	Instant   string // of a base file: its writer; of a log file: its slice
	Version   int    // of a log file, from 1; 0 for a base file
}

// Path is where the file lies below the table's folder.
func (f *DataFile) Path() string { return path.Join(f.Partition, f.Name) }

// Group is the file group that the file belongs to.
func (f *DataFile) Group() GroupID { return GroupID{f.Partition, f.FileID} }

// IsLog tells a log file from a base file.
func (f *DataFile) IsLog() bool { return f.Version > 0 }

const baseSuffix = ".parquet"

func baseName(fileID, token, instant string) string {
	return fileID + "_" + token + "_" + instant + baseSuffix
}

// parseDataFile reads the path of a base or log file; ok is false for other files.
func parseDataFile(at string, size int64) (f *DataFile, ok bool) {
	folder, name := path.Split(at)
	if f, ok = parseDataName(name); ok {
		f.Partition, f.Size = strings.TrimSuffix(folder, "/"), size
	}
	return f, ok
}

func parseDataName(name string) (f *DataFile, ok bool) {
	if n, err := logfile.ParseFileName(name); err == nil {
		if n.Version < 1 || n.CDC {
			return nil, false
		}
		return &DataFile{Name: name, FileID: n.FileID, Instant: n.Instant, Version: n.Version, Token: n.Token}, true
	}
	stem, ok := strings.CutSuffix(name, baseSuffix)
	if !ok || strings.HasPrefix(name, ".") {
		return nil, false
	}
	parts := strings.Split(stem, "_")
	if len(parts) != 3 {
		return nil, false
	}
	return &DataFile{Name: name, FileID: parts[0], Token: parts[1], Instant: parts[2]}, true
}

// slice returns the group's slice of that instant, nil if there is none.
func (g *FileGroup) slice(instant string) *FileSlice {
	for _, s := range g.Slices {
		if s.Instant == instant {
			return s
		}
	}
	return nil
}

// add puts a file into its slice.
func (g *FileGroup) add(f *DataFile) {
	s := g.slice(f.Instant)
	if s == nil {
		s = &FileSlice{Partition: g.ID.Partition, FileID: g.ID.FileID, Instant: f.Instant}
		at, _ := slices.BinarySearchFunc(g.Slices, f.Instant, func(s *FileSlice, t string) int { return cmp.Compare(s.Instant, t) })
		g.Slices = slices.Insert(g.Slices, at, s)
	}
	if !f.IsLog() {
		s.Base = f
		return
	}
	at, found := slices.BinarySearchFunc(s.Logs, f, compareLogs)
	if !found {
		s.Logs = slices.Insert(s.Logs, at, f)
	}
}

func compareLogs(a, b *DataFile) int {
	return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.Token, b.Token))
}

// drop takes a file out of its slice, and the slice away when it was the last one.
func (g *FileGroup) drop(f *DataFile) {
	s := g.slice(f.Instant)
	if s == nil {
		return
	}
	switch {
	case !f.IsLog() && s.Base != nil && s.Base.Name == f.Name:
		s.Base = nil
	case f.IsLog():
		s.Logs = slices.DeleteFunc(s.Logs, func(l *DataFile) bool { return l.Name == f.Name })
	}
	if s.Base == nil && len(s.Logs) == 0 {
		g.Slices = slices.DeleteFunc(g.Slices, func(o *FileSlice) bool { return o == s })
	}
}

// nextVersion is the version of the next log file of the slice.
func (s *FileSlice) nextVersion() int {
	v := 0
	for _, l := range s.Logs {
		v = max(v, l.Version)
	}
	return v + 1
}
