package hudi

import (
	"maps"
	"slices"

	"lakefeed/hudi/timeline"
)

// view is what the listing of a table's folder and its timeline say together: the
// file groups, and which of them are gone.
type view struct {
	partitions map[string]map[string]*FileGroup // by path, then by file id
	replaced   map[GroupID]string               // the completed replacecommit that replaced it
}

// counts tells whether what an instant wrote is there for readers: it has completed,
// on the timeline or before what is left of it.
func counts(tl *timeline.Timeline, instant string) bool {
	return tl.IsCompleted(instant) || !tl.Has(instant) && tl.BeforeStart(instant)
}

func newView(files []*DataFile) *view {
	v := &view{partitions: map[string]map[string]*FileGroup{}, replaced: map[GroupID]string{}}
	for _, f := range files {
		v.add(f)
	}
	return v
}

func (v *view) add(f *DataFile) {
	p := v.partitions[f.Partition]
	if p == nil {
		p = map[string]*FileGroup{}
		v.partitions[f.Partition] = p
	}
	g := p[f.FileID]
	if g == nil {
		g = &FileGroup{ID: f.Group()}
		p[f.FileID] = g
	}
	g.add(f)
}

// group is a file group, nil if it is not there.
func (v *view) group(id GroupID) *FileGroup { return v.partitions[id.Partition][id.FileID] }

// groups are the file groups of some partitions (nil: all), in the order of their ids.
func (v *view) groups(partitions []string) []*FileGroup {
	if partitions == nil {
		partitions = slices.Collect(maps.Keys(v.partitions))
	}
	var out []*FileGroup
	for _, p := range partitions {
		out = slices.AppendSeq(out, maps.Values(v.partitions[p]))
	}
	slices.SortFunc(out, func(a, b *FileGroup) int { return compareGroups(a.ID, b.ID) })
	return slices.Compact(out)
}

func (v *view) drop(f *DataFile) {
	g := v.group(f.Group())
	if g == nil {
		return
	}
	if g.drop(f); len(g.Slices) > 0 {
		return
	}
	if delete(v.partitions[f.Partition], f.FileID); len(v.partitions[f.Partition]) == 0 {
		delete(v.partitions, f.Partition)
	}
}

// replace notes the file groups that a completed replacecommit replaced.
func (v *view) replace(instant string, m *timeline.CommitMetadata) {
	for partition, ids := range m.PartitionToReplaceFileIDs {
		for _, id := range ids {
			v.replaced[GroupID{partition, id}] = instant
		}
	}
}

// slices are the file slices that make the table, or some of its partitions (nil:
// all), as of an instant ("": now), in the order of their groups' ids.
func (v *view) slices(tl *timeline.Timeline, asOf string, partitions []string) []*FileSlice {
	var out []*FileSlice
	for _, g := range v.groups(partitions) {
		if r := v.replaced[g.ID]; r != "" && (asOf == "" || r <= asOf) {
			continue
		}
		if s := g.latest(tl, asOf); s != nil {
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
			return &FileSlice{Partition: g.ID.Partition, FileID: g.ID.FileID, Instant: s.Instant, Base: s.Base, Logs: later}
		}
	}
	if len(later) == 0 {
		return nil
	}
	return &FileSlice{Partition: g.ID.Partition, FileID: g.ID.FileID, Instant: later[0].Instant, Logs: later}
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
