package hudi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	"lakefeed/hudi/timeline"
)

// ArchiveOptions say how long the timeline may grow.
type ArchiveOptions struct {
	// KeepMin is how many of the newest completed writes stay on the timeline; default 50.
	KeepMin int
	// KeepMax is how many there must be before anything is archived; default twice KeepMin.
	KeepMax int
	// MaxArchiveBytes bounds the archived timeline: its oldest files are deleted beyond
	// that, but for what they say of columns that were dropped. Nothing else but an audit
	// reads them. 0: 256 MiB; below 0: no bound.
	MaxArchiveBytes int64

	// patient: where something holds the timeline it is tried again when that has grown by
	// as much as an archiving takes, and not each time.
	patient bool
}

// Validate tells what is wrong with the options, naming the field.
func (o *ArchiveOptions) Validate() error {
	if o.KeepMin < 0 || o.KeepMax < 0 {
		return badOption("archive: KeepMin %d, KeepMax %d: less than nothing", o.KeepMin, o.KeepMax)
	}
	return nil
}

func (o *ArchiveOptions) setDefaults() {
	o.KeepMin = cmp.Or(o.KeepMin, 50)
	o.KeepMax = max(cmp.Or(o.KeepMax, 2*o.KeepMin), o.KeepMin)
	o.MaxArchiveBytes = cmp.Or(o.MaxArchiveBytes, 256<<20)
}

// ArchiveResult says what an archiving did.
type ArchiveResult struct {
	// Instants is how many were taken off the timeline.
	Instants int
	// Held says why older instants than those stay, "" where nothing holds them.
	Held string
}

// Archive takes the oldest instants off the timeline into the archived timeline, so that
// it stays short: what readers and writers do at each commit follows its length. It goes
// no further than the oldest instant that is pending, savepointed, pinned or kept by the newest
// cleaning, replaced file groups that are still there, or extra metadata that no later
// commit has (see [Table.LastExtra]).
//
// The files of an instant are deleted when the archive has them, the oldest instant
// first and its completed file last: so an instant never seems to be unfinished, and what
// is left of the timeline has no gaps. What an archiving left that was interrupted goes at
// the next one, and by [Table.Recover].
func (t *Table) Archive(ctx context.Context, opts ArchiveOptions) (ArchiveResult, error) {
	if err := opts.Validate(); err != nil {
		return ArchiveResult{}, fmt.Errorf("archive the timeline of %s: %w", t.name, err)
	}
	opts.setDefaults()
	e := errand{"archive the timeline of " + t.name, "archiving", func() bool { return !t.archivable(opts) }}
	return serve(ctx, t, e, func(ctx context.Context) (ArchiveResult, error) { return t.archive(ctx, opts) })
}

// archivable tells whether the timeline is long enough to be archived.
func (t *Table) archivable(opts ArchiveOptions) bool {
	longest := opts.KeepMax
	if opts.patient {
		longest = max(longest, t.tried)
	}
	return len(t.timeline.Completed()) > longest
}

func (t *Table) archive(ctx context.Context, opts ArchiveOptions) (ArchiveResult, error) {
	if err := t.finishArchive(ctx); err != nil || !t.archivable(opts) {
		return ArchiveResult{}, err
	}
	// What a writer left that was rolled back while it still ran would count once its
	// instant is older than the timeline.
	if err := t.sweep(ctx); err != nil {
		return ArchiveResult{}, err
	}
	res, err := t.archiveOld(ctx, opts)
	if err != nil {
		return res, err
	}
	left := len(t.timeline.Completed())
	if t.tried = left + opts.KeepMax - opts.KeepMin; left > opts.KeepMax {
		t.opts.Logger.Warn("the timeline stays long, which makes commits dear", "table", t.name, "instants", left, "held", res.Held)
	}
	return res, nil
}

func (t *Table) archiveOld(ctx context.Context, opts ArchiveOptions) (ArchiveResult, error) {
	done := t.timeline.Completed()
	limit, err := t.archiveLimit(ctx, done[len(done)-opts.KeepMin].Time)
	if err != nil {
		return ArchiveResult{}, err
	}
	res := ArchiveResult{Held: limit.why}
	var old []timeline.Instant
	for _, i := range t.timeline.Instants() {
		if i.Time < limit.time {
			old = append(old, i)
		}
	}
	if len(old) == 0 {
		return res, nil
	}
	if err := t.deleteLate(ctx, limit.time); err != nil {
		return res, err
	}
	t.opts.Hook("archive")
	logs, err := t.archiveReader().logs(ctx)
	if err != nil {
		return res, err
	}
	written, err := t.writeArchive(ctx, old, logs)
	if err != nil {
		return res, err
	}
	if res.Instants, err = t.dropArchived(ctx, old); err != nil {
		return res, err
	}
	if opts.MaxArchiveBytes >= 0 {
		if err := t.trimArchive(ctx, logs, opts.MaxArchiveBytes-written); err != nil {
			return res, err
		}
	}
	t.opts.Logger.Info("archived", "table", t.name, "instants", res.Instants, "held", res.Held)
	return res, nil
}

// archiveLimit is the instant before which all may be archived, and what holds it there.
type archiveLimit struct{ time, why string }

func (l *archiveLimit) lower(time, why string) {
	if time != "" && time < l.time {
		l.time, l.why = time, why
	}
}

// archiveLimit lowers an instant to the oldest that must stay.
func (t *Table) archiveLimit(ctx context.Context, newest string) (*archiveLimit, error) {
	limit := &archiveLimit{time: newest}
	for _, i := range t.timeline.Pending() {
		limit.lower(i.Time, "pending "+i.String())
	}
	for _, at := range t.timeline.Savepoints() {
		limit.lower(at, "savepoint "+at)
	}
	for _, i := range slices.Backward(t.timeline.Instants()) {
		if i.Action == timeline.Clean && i.State == timeline.Completed {
			kept, err := t.keptBy(ctx, t.timeline, i)
			if err != nil {
				return nil, err
			}
			limit.lower(kept, "kept by cleaning "+i.Time)
			break
		}
	}
	for id, at := range t.view.replaced {
		if t.view.group(id) != nil {
			limit.lower(at, "file group "+id.FileID+", which "+at+" replaced, is not cleaned yet")
		}
	}
	pinned, err := t.retained(ctx, timeline.Instant{Time: limit.time})
	if err != nil {
		return nil, err
	}
	limit.lower(pinned.Time, "a reader has pinned "+pinned.Time)
	return limit, t.keepExtras(ctx, limit)
}

// keepExtras lowers the limit to the newest commit of each extra metadata key that no
// commit behind it has. Of those that stay it reads, from the newest on, no more than it
// takes to find the keys of those that go. Keys of the job that a table was taken over from
// are of no use behind that, nor is what the take-over says once hoodie.properties says it.
func (t *Table) keepExtras(ctx context.Context, limit *archiveLimit) error {
	done := t.timeline.Completed()
	stay := slices.IndexFunc(done, func(i timeline.Instant) bool { return i.Time >= limit.time })
	if stay < 0 {
		stay = len(done)
	}
	newest := map[string]string{} // of the commits that go, the newest that has the key
	err := t.eachCommit(ctx, done[:stay], func(i timeline.Instant, m *timeline.CommitMetadata) bool {
		if _, over := m.ExtraMetadata[takeOverKey]; over {
			clear(newest)
		}
		for key := range m.ExtraMetadata {
			newest[key] = i.Time
		}
		return true
	})
	if t.saysTakenOver() {
		delete(newest, takeOverKey)
	}
	if err == nil && len(newest) > 0 {
		err = t.eachCommit(ctx, newestFirst(done[stay:]), func(_ timeline.Instant, m *timeline.CommitMetadata) bool {
			for key := range m.ExtraMetadata {
				delete(newest, key)
			}
			return len(newest) > 0
		})
	}
	for _, key := range slices.Sorted(maps.Keys(newest)) {
		limit.lower(newest[key], "no later commit than "+newest[key]+" has "+key)
	}
	return err
}

// writeArchive adds instants to the archived timeline, which has those files, and tells of
// how many bytes. One that an archiving that was interrupted added already comes twice,
// which readers take for once. The completed file of an instant comes last: Hudi 0.15 takes
// what the last entry of a compaction holds, else the plan, for the commit's metadata.
func (t *Table) writeArchive(ctx context.Context, old []timeline.Instant, logs []archiveLog) (written int64, err error) {
	w := &archiveWriter{store: t.store, folder: t.props.archiveFolder()}
	last, err := w.goOn(ctx, logs)
	if err != nil {
		return 0, err
	}
	for _, i := range old {
		for _, file := range byState(t.timeline.States(i.Time)) {
			data, err := t.readInstant(ctx, file)
			if err != nil {
				return 0, err
			}
			e, err := timeline.NewArchivedEntry(file, data)
			if err != nil {
				return 0, &CorruptError{t.instantFile(file), err}
			}
			if err := w.add(ctx, e); err != nil {
				return 0, err
			}
		}
	}
	if err := w.flush(ctx); err != nil || last == "" {
		return w.written, err
	}
	if err := t.store.Delete(ctx, last); err != nil {
		return 0, fmt.Errorf("delete %s: %w", last, err)
	}
	return w.written, nil
}

// goOn lets the writer's first file begin with what the archive's newest one has, if
// that is short: so an archive of many years has few files, and an archiving's price does
// not follow what there is already. The newest one, which it returns, is to be deleted
// afterwards.
func (w *archiveWriter) goOn(ctx context.Context, logs []archiveLog) (last string, err error) {
	if len(logs) == 0 {
		return "", nil
	}
	l := logs[len(logs)-1]
	w.next = l.number + 1
	if l.size >= archiveShortBytes {
		return "", nil
	}
	last = path.Join(w.folder, l.name)
	data, _, err := w.store.Get(ctx, last)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", last, err)
	}
	w.file = slices.Clone(data)
	w.written -= int64(len(w.file))
	return last, nil
}

// trimArchive deletes the oldest of the archive's files beyond a number of bytes. What is
// gone is no error.
func (t *Table) trimArchive(ctx context.Context, logs []archiveLog, limit int64) error {
	var old []string
	for _, l := range slices.Backward(logs) {
		if limit -= l.size; limit < 0 {
			old = append(old, path.Join(t.props.archiveFolder(), l.name))
		}
	}
	if len(old) == 0 {
		return nil
	}
	old, err := t.keepColumns(ctx, old)
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := t.store.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
	}
	return nil
}

// archiveReader reads the archive's folder, of which nothing is known yet.
func (t *Table) archiveReader() *archiveReader {
	return &archiveReader{store: t.store, folder: t.props.archiveFolder()}
}

// byState sorts the files of an instant, the completed one last.
func byState(files []timeline.Instant) []timeline.Instant {
	slices.SortStableFunc(files, func(a, b timeline.Instant) int { return cmp.Compare(a.State, b.State) })
	return files
}

// dropArchived deletes the files of instants of the timeline, and tells of how many.
func (t *Table) dropArchived(ctx context.Context, old []timeline.Instant) (instants int, err error) {
	var gone []string
	defer func() { t.forgetArchived(gone) }()
	for _, i := range old {
		if err := t.proveAgain(ctx); err != nil { // another writer may need it by now
			return instants, err
		}
		for _, f := range byState(t.timeline.States(i.Time)) {
			t.opts.Hook("archive")
			if err := t.store.Delete(ctx, t.instantFile(f)); err != nil {
				return instants, fmt.Errorf("delete %s: %w", t.instantFile(f), err)
			}
			gone = append(gone, f.FileName())
		}
		instants++
	}
	return instants, nil
}

// finishArchive deletes what is left of instants that an archiving which was interrupted
// had in the archive already.
func (t *Table) finishArchive(ctx context.Context) error {
	left, err := t.halfArchived(ctx, t.timeline)
	if err == nil && len(left) > 0 {
		_, err = t.dropArchived(ctx, left)
	}
	return err
}

// halfArchived are the oldest instants of a timeline where they have no requested file
// any more, as archiving deletes their completed files last, and the archive has them.
func (t *Table) halfArchived(ctx context.Context, tl *timeline.Timeline) ([]timeline.Instant, error) {
	all := tl.Instants()
	n := slices.IndexFunc(all, func(i timeline.Instant) bool {
		first := slices.MinFunc(tl.States(i.Time), func(a, b timeline.Instant) int { return cmp.Compare(a.State, b.State) })
		return first.State == timeline.Requested || i.State != timeline.Completed || i.Action == timeline.Savepoint
	})
	if n < 0 {
		n = len(all)
	}
	if n == 0 {
		return nil, nil
	}
	archived := map[string]bool{}
	for i, err := range t.Archived(ctx, all[0].Time, all[n-1].Time) {
		if err != nil {
			return nil, err
		}
		archived[i.Time] = true
	}
	return slices.DeleteFunc(all[:n], func(i timeline.Instant) bool { return !archived[i.Time] }), nil
}

// forgetArchived notes that files of the timeline were archived; the rest is as it was.
func (t *Table) forgetArchived(gone []string) {
	slices.Sort(gone)
	t.names = slices.DeleteFunc(t.names, func(name string) bool {
		_, found := slices.BinarySearch(gone, name)
		return found
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timeline = t.timeline.Without(gone...)
	t.written.keep(t.timeline)
}

// checkArchived refuses an instant before the timeline where an archiving took older ones
// off it: which files counted then is not known any more.
func (t *Table) checkArchived(ctx context.Context, tl *timeline.Timeline, asOf string) error {
	done := tl.Completed()
	if len(done) == 0 || asOf >= done[0].Time {
		return nil
	}
	r := &archiveReader{store: t.store}
	empty, err := r.empty(ctx, t.Properties())
	if err != nil || empty {
		return err
	}
	return fmt.Errorf("as of %s: %w; the timeline begins at %s, what was before is archived", asOf, ErrCleaned, done[0].Time)
}

// archiveFolder is where the archived timeline is.
func (p Properties) archiveFolder() string {
	if p.layout() == timeline.Layout2 {
		return path.Join(p.timelineFolder(), cmp.Or(p[propHistory], "history"))
	}
	return path.Join(metaFolder, cmp.Or(p[propArchive], "archived"))
}
