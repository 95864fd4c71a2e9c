package hudi

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// written is what completed commits say of the files that a reader needs, to tell a
// damaged table from one that has no more rows. It knows the commits that it was asked
// to read, and of each file group no more than the files since the newest base file:
// memory is bounded by the table's files, not by its timeline.
type written struct {
	mu       sync.Mutex
	seen     map[string]bool // the commits that it knows
	groups   map[GroupID]*writtenGroup
	replaced map[GroupID]bool // by a replacecommit
	all      bool             // older files and replaced groups are kept
}

type writtenGroup struct {
	base  string                  // instant of the newest base file
	files map[string]*writtenFile // by name
}

type writtenFile struct {
	*DataFile // but for its size

	// since: a base file of this time or later has its rows. It is the file's instant, of
	// log files of tables of version 8 and later the completion of their commit.
	since string
	parts []writtenPart
}

// writtenPart is what one commit wrote of a file: all of it, but in stores where log
// files grow by appends.
type writtenPart struct {
	commit   string
	from, to int64 // to 0: not known
}

// commitReaders bounds the commits that are read at once.
const commitReaders = 16

func newWritten() *written {
	return &written{seen: map[string]bool{}, groups: map[GroupID]*writtenGroup{}, replaced: map[GroupID]bool{}}
}

// read takes in the commits of a timeline from one instant to another ("": the newest).
func (w *written) read(ctx context.Context, t *Table, tl *timeline.Timeline, from, to string) error {
	var read errgroup.Group
	read.SetLimit(commitReaders)
	for _, i := range w.unknown(tl, from, to) {
		read.Go(func() error {
			m, err := t.readCommit(ctx, i)
			if errors.Is(err, storage.ErrNotExist) {
				return nil // archived since the timeline was listed
			}
			if err == nil {
				w.add(i.Time, i.Completion, m)
			}
			return err
		})
	}
	return read.Wait() //nolint:wrapcheck // from readCommit
}

func (w *written) unknown(tl *timeline.Timeline, from, to string) []timeline.Instant {
	done := tl.Completed()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(done, func(i timeline.Instant) bool {
		return i.CompletionTime() < from || to != "" && i.Time > to || w.seen[i.Time]
	})
}

// add takes in a commit, and when it was completed if that is not its own time. They may
// come in any order.
func (w *written) add(instant, completion string, m *timeline.CommitMetadata) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[instant] {
		return
	}
	w.seen[instant] = true
	for _, stats := range m.PartitionToWriteStats {
		for _, s := range stats {
			if f, ok := parseDataFile(s.Path, 0); ok {
				part := writtenPart{commit: instant, from: s.LogOffset}
				if s.FileSizeInBytes > 0 {
					part.to = s.LogOffset + s.FileSizeInBytes
				}
				since := f.Instant
				if f.IsLog() {
					since = cmp.Or(completion, since)
				}
				w.addFile(f, since, part)
			}
		}
	}
	for partition, ids := range m.PartitionToReplaceFileIDs {
		for _, id := range ids {
			w.replaced[GroupID{partition, id}] = true
			if !w.all {
				delete(w.groups, GroupID{partition, id})
			}
		}
	}
}

func (w *written) addFile(f *DataFile, since string, part writtenPart) {
	id := f.Group()
	g := w.groups[id]
	if g == nil {
		g = &writtenGroup{files: map[string]*writtenFile{}}
		w.groups[id] = g
	}
	if !w.all && (w.replaced[id] || since < g.base) {
		return
	}
	if !w.all && !f.IsLog() && f.Instant > g.base {
		g.base = f.Instant
		for name, o := range g.files {
			if o.since < g.base {
				delete(g.files, name)
			}
		}
	}
	if g.files[f.Name] == nil {
		g.files[f.Name] = &writtenFile{DataFile: f, since: since}
	}
	g.files[f.Name].parts = append(g.files[f.Name].parts, part)
}

// keep forgets that it knows commits that were archived, which nobody asks for again, and
// all when a commit is gone from the timeline otherwise: a restore took it back, and what
// it superseded counts again.
func (w *written) keep(tl *timeline.Timeline) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.seen {
		if !counts(tl, i) {
			w.clear()
			return
		}
		if !tl.Has(i) {
			delete(w.seen, i)
		}
	}
}

// forget forgets all.
func (w *written) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clear()
}

func (w *written) clear() {
	w.seen, w.groups, w.replaced = map[string]bool{}, map[GroupID]*writtenGroup{}, map[GroupID]bool{}
}

// ids are the file groups, of those that has picks, that commits wrote to.
func (w *written) ids(has func(GroupID) bool) []GroupID {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []GroupID
	for id := range w.groups {
		if has(id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareGroups)
	return ids
}

// files are those of a group, with the parts that commits of this timeline wrote: the
// reader's may be older than what is known here.
func (w *written) files(id GroupID, tl *timeline.Timeline) map[string]writtenFile {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]writtenFile{}
	if g := w.groups[id]; g != nil {
		for name, f := range g.files {
			var parts []writtenPart
			for _, p := range f.parts {
				if counts(tl, p.commit) {
					parts = append(parts, p)
				}
			}
			if len(parts) > 0 {
				out[name] = writtenFile{f.DataFile, f.since, parts}
			}
		}
	}
	return out
}

// end is how long the file is at least, 0 when that is not known, and the commit that
// made it so.
func (f writtenFile) end() writtenPart {
	return slices.MaxFunc(f.parts, func(a, b writtenPart) int { return int(a.to - b.to) })
}

// at is the commit that wrote something between two offsets.
func (f writtenFile) at(from, to int64) (commit string, found bool) {
	for _, p := range f.parts {
		if p.to == 0 || p.from < to && from < p.to {
			return p.commit, true
		}
	}
	return "", false
}
