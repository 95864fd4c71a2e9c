package hudi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// ArchivedInstant is a completed instant that archiving has taken off the timeline, and
// what its completed file said.
type ArchivedInstant struct {
	timeline.Instant

	Commit *timeline.CommitMetadata // of a write; nil where its file was empty
	Clean  *timeline.CleanMetadata  // of a clean
}

// Archived are the completed instants of the archived timeline whose times are at least
// from and at most to (empty: any), in no order. It holds a block or a batch of them at a
// time. Most of what this package does never looks at them.
func (t *Table) Archived(ctx context.Context, from, to string) iter.Seq2[ArchivedInstant, error] {
	return func(yield func(ArchivedInstant, error) bool) {
		r := archiveReader{store: t.store, from: from, to: to, yield: func(i ArchivedInstant) error {
			if !yield(i, nil) {
				return errEnough
			}
			return nil
		}}
		if err := r.read(ctx, t.Properties()); err != nil && !errors.Is(err, errEnough) {
			yield(ArchivedInstant{}, fmt.Errorf("read the archived timeline of %s: %w", t.name, err))
		}
	}
}

// archivedCompletions finds when archived writes of these times were completed. Those
// that the archive does not have are left out.
func (t *Table) archivedCompletions(ctx context.Context, props Properties, times map[string]bool) (map[string]string, error) {
	if len(times) == 0 {
		return nil, nil
	}
	sorted := slices.Sorted(maps.Keys(times))
	out := map[string]string{}
	r := archiveReader{store: t.store, from: sorted[0], to: sorted[len(sorted)-1], bare: true, yield: func(i ArchivedInstant) error {
		if times[i.Time] && i.Writes() {
			out[i.Time] = i.CompletionTime()
		}
		return nil
	}}
	if err := r.read(ctx, props); err != nil {
		return nil, fmt.Errorf("read the archived timeline: %w", err)
	}
	return out, nil
}

// archiveReader reads the archived timeline of either layout.
type archiveReader struct {
	store    storage.Store
	folder   string
	from, to string
	bare     bool // times and actions are enough
	yield    func(ArchivedInstant) error
	// seen holds what was passed on: a crash leaves instants in two files.
	seen map[timeline.Instant]bool
}

// read passes on the instants of a table's archive.
func (r *archiveReader) read(ctx context.Context, props Properties) error {
	r.seen, r.folder = map[timeline.Instant]bool{}, props.archiveFolder()
	if props.layout() == timeline.Layout1 {
		return r.readLogs(ctx)
	}
	return r.readHistory(ctx)
}

// empty tells whether nothing was archived of a table.
func (r *archiveReader) empty(ctx context.Context, props Properties) (bool, error) {
	r.folder = props.archiveFolder()
	if props.layout() == timeline.Layout1 {
		logs, err := r.logs(ctx)
		return len(logs) == 0, err
	}
	version, ok, err := r.historyVersion(ctx)
	if err != nil || !ok {
		return err == nil, err
	}
	names, err := r.manifest(ctx, version)
	return len(names) == 0, err
}

// pass passes an instant on, if it is wanted and new.
func (r *archiveReader) pass(i ArchivedInstant) error {
	if !r.wants(i.Time, i.Time) || r.seen[i.Instant] {
		return nil
	}
	r.seen[i.Instant] = true
	return r.yield(i)
}

// wants tells whether times from first to last may hold a wanted one.
func (r *archiveReader) wants(first, last string) bool {
	return last >= r.from && (r.to == "" || first <= r.to)
}

// get reads a small file of the archive; ok is false if it is not there.
func (r *archiveReader) get(ctx context.Context, name string) (data []byte, ok bool, err error) {
	data, _, err = r.store.Get(ctx, path.Join(r.folder, name))
	if errors.Is(err, storage.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", path.Join(r.folder, name), err)
	}
	return data, true, nil
}

// files are the names in the archive's folder with a prefix, and what comes behind it.
func (r *archiveReader) files(ctx context.Context, prefix string) (names []string, err error) {
	for info, err := range r.store.List(ctx, r.folder, false) {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", r.folder, err)
		}
		if name := path.Base(info.Name); strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, nil
}
