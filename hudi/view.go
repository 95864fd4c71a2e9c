package hudi

import (
	"maps"
	"slices"

	"lakefeed/hudi/timeline"
)

// view is what the listing of a table's folder and its timeline say together: the
// file groups, and which of them are gone.
type view struct {
	groups   map[string]*FileGroup
	replaced map[string]string // file id -> the completed replacecommit that replaced it
}

// counts tells whether what an instant wrote is there for readers: it has completed,
// on the timeline or before what is left of it.
func counts(tl *timeline.Timeline, instant string) bool {
	return tl.IsCompleted(instant) || !tl.Has(instant) && tl.BeforeStart(instant)
}

func newView(files []*DataFile) *view {
	v := &view{groups: map[string]*FileGroup{}, replaced: map[string]string{}}
	for _, f := range files {
		v.add(f)
	}
	return v
}

func (v *view) add(f *DataFile) {
	g := v.groups[f.FileID]
	if g == nil {
		g = &FileGroup{ID: f.FileID}
		v.groups[f.FileID] = g
	}
	g.add(f)
}

func (v *view) drop(f *DataFile) {
	g := v.groups[f.FileID]
	if g == nil {
		return
	}
	if g.drop(f); len(g.Slices) == 0 {
		delete(v.groups, f.FileID)
	}
}

// replace notes the file groups that a completed replacecommit replaced.
func (v *view) replace(instant string, m *timeline.CommitMetadata) {
	for _, ids := range m.PartitionToReplaceFileIDs {
		for _, id := range ids {
			v.replaced[id] = instant
		}
	}
}

// slices are the file slices that make the table as of an instant ("": now), in the
// order of their file ids.
func (v *view) slices(tl *timeline.Timeline, asOf string) []*FileSlice {
	var out []*FileSlice
	for _, id := range slices.Sorted(maps.Keys(v.groups)) {
		if r := v.replaced[id]; r != "" && (asOf == "" || r <= asOf) {
			continue
		}
		if s := v.groups[id].latest(tl, asOf); s != nil {
			out = append(out, s)
		}
	}
	return out
}

// latest is the newest slice with a base file that counts, as of an instant, and the
// logs of the slices after it that wait for a compaction. It is a copy.
func (g *FileGroup) latest(tl *timeline.Timeline, asOf string) *FileSlice {
	var later []*DataFile // a new slice, so that the copy shares none that grows
	for _, s := range slices.Backward(g.Slices) {
		if asOf != "" && s.Instant > asOf {
			continue
		}
		later = append(slices.Clone(s.Logs), later...)
		if s.Base != nil && counts(tl, s.Instant) {
			return &FileSlice{FileID: g.ID, Instant: s.Instant, Base: s.Base, Logs: later}
		}
	}
	if len(later) == 0 {
		return nil
	}
	return &FileSlice{FileID: g.ID, Instant: later[0].Instant, Logs: later}
}

// files are all files of a group, oldest first.
func (g *FileGroup) files() []*DataFile {
	var out []*DataFile
	for _, s := range g.Slices {
		if s.Base != nil {
			out = append(out, s.Base)
		}
		out = append(out, s.Logs...)
	}
	return out
}
