package hudi

import (
	"cmp"
	"maps"
	"slices"

	"lakefeed/hudi/timeline"
)

// view is what the listing of a table's folder and its timeline say together: the
// file groups, and which of them are gone.
type view struct {
	partitions map[string]map[string]*FileGroup // by path, then by file id
	replaced   map[GroupID]string               // the completed replacecommit that replaced it
	archived   map[string]string                // completions of archived delta commits that log files are of
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
	if asOf != "" {
		tl = tl.AsOf(asOf)
	}
	latest := v.latest
	if tl.Layout() == timeline.Layout2 {
		latest = v.latestByCompletion
	}
	var out []*FileSlice
	for _, g := range v.groups(partitions) {
		if r := v.replaced[g.ID]; r != "" && counts(tl, r) {
			continue
		}
		if s := latest(g, tl); s != nil {
			out = append(out, s)
		}
	}
	return out
}

// latest is the newest slice with a base file that counts, and the logs of the slices
// after it that wait for a compaction. It is a copy.
func (v *view) latest(g *FileGroup, tl *timeline.Timeline) *FileSlice {
	var later []*DataFile // a new slice, so that the copy shares none that grows
	for _, s := range slices.Backward(g.Slices) {
		if limit := tl.Limit(); limit != "" && s.Instant > limit {
			continue // nothing in it was there yet
		}
		later = append(slices.Clone(s.Logs), later...)
		if s.Base != nil && counts(tl, s.Instant) {
			return g.newSlice(s.Instant, s.Base, later)
		}
	}
	if len(later) == 0 {
		return nil
	}
	return g.newSlice(later[0].Instant, nil, later)
}

func (g *FileGroup) newSlice(instant string, base *DataFile, logs []*DataFile) *FileSlice {
	return &FileSlice{Partition: g.ID.Partition, FileID: g.ID.FileID, Instant: instant, Base: base, Logs: logs}
}

// latestByCompletion is latest in tables of version 8 and later. Their log files carry
// the instant of their own delta commit, and belong to the newest base file up to its
// completion; they are merged in the order of completion.
func (v *view) latestByCompletion(g *FileGroup, tl *timeline.Timeline) *FileSlice {
	out := g.newSlice("", nil, nil)
	for _, s := range slices.Backward(g.Slices) {
		if s.Base != nil && counts(tl, s.Instant) {
			out.Instant, out.Base = s.Instant, s.Base
			break
		}
	}
	completed := map[string]string{}
	for _, s := range g.Slices {
		c, ok := v.completion(tl, s.Instant)
		if !ok || len(s.Logs) == 0 || c < out.Instant {
			continue
		}
		completed[s.Instant] = c
		out.Logs = append(out.Logs, s.Logs...)
	}
	slices.SortStableFunc(out.Logs, func(a, b *DataFile) int {
		return cmp.Or(cmp.Compare(completed[a.Instant], completed[b.Instant]), compareLogs(a, b))
	})
	switch {
	case out.Base != nil:
	case len(out.Logs) == 0:
		return nil
	default:
		out.Instant = out.Logs[0].Instant
	}
	return out
}

// completion is when a write was completed; ok is false if what it wrote does not count.
func (v *view) completion(tl *timeline.Timeline, instant string) (completion string, ok bool) {
	if c, ok := tl.CompletionOf(instant); ok {
		return c, true
	}
	return cmp.Or(v.archived[instant], instant), counts(tl, instant)
}

// archivedTimes are the times of files whose writes were archived.
func (v *view) archivedTimes(tl *timeline.Timeline) map[string]bool {
	return v.archivedSlices(tl, func(*FileSlice) bool { return true })
}

// archivedLogs are the times of log files whose delta commits were archived.
func (v *view) archivedLogs(tl *timeline.Timeline) map[string]bool {
	return v.archivedSlices(tl, func(s *FileSlice) bool { return len(s.Logs) > 0 })
}

func (v *view) archivedSlices(tl *timeline.Timeline, wanted func(*FileSlice) bool) map[string]bool {
	out := map[string]bool{}
	for _, p := range v.partitions {
		for _, g := range p {
			for _, s := range g.Slices {
				if wanted(s) && !tl.Has(s.Instant) && tl.BeforeStart(s.Instant) {
					out[s.Instant] = true
				}
			}
		}
	}
	return out
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
