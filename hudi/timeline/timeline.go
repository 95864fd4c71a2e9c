package timeline

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Layout says where a timeline's files are and how they are named. Tables of version 6
// have [Layout1], those of version 8 and 9 [Layout2].
type Layout int

const (
	// Layout1 has all files in .hoodie, with JSON in those of commits. An instant counts
	// from its own time on.
	Layout1 Layout = 1
	// Layout2 has its files in a folder of their own, with Avro in those of commits. The
	// names of completed files have the time of completion too.
	Layout2 Layout = 2
)

// Timeline is the state of a table's instants, as the names of the timeline's files tell
// it. It does not change. The zero Timeline is empty and of layout 1.
type Timeline struct {
	layout   Layout
	files    []Instant // one for each timeline file, in order
	instants []Instant // one for each instant, in its highest state, in order
	pending  []Instant // those of them that are not completed
	saved    []Instant // those of them that are savepoints
	newest   string    // the greatest time, of instants or completions
	start    string    // oldest time that archiving has left; empty if there is none
	shared   *tail     // of files and instants

	// Of a timeline of the past:
	limit string
	keep  func(Instant) bool // what counts of archived writes
}

// tail is how far lists are used that several timelines share: the one that ends there
// may append to them in place, so that a commit's price does not follow their length.
type tail struct {
	mu    sync.Mutex
	files int
}

// New makes a timeline of layout 1 of the names of its files. It ignores other names.
func New(names []string) *Timeline { return NewLayout(Layout1, names) }

// NewLayout makes a timeline of a layout of the names of its files. It ignores other
// names.
func NewLayout(layout Layout, names []string) *Timeline {
	return build(layout, parseNames(layout, names))
}

// parseNames are the files that names name, in order, each once.
func parseNames(layout Layout, names []string) []Instant {
	files := make([]Instant, 0, len(names))
	for _, name := range names {
		if i, ok := ParseName(name); ok && layout.has(i) {
			files = append(files, i)
		}
	}
	sortNearly(files)
	return slices.Compact(files)
}

// sortNearly sorts files that mostly come in the order of their times, as in listings: then
// those of one time alone.
func sortNearly(files []Instant) {
	byTime := func(a, b Instant) int { return strings.Compare(a.Time, b.Time) }
	if !slices.IsSortedFunc(files, byTime) {
		slices.SortFunc(files, compare)
		return
	}
	for len(files) > 0 {
		n := 1
		for n < len(files) && files[n].Time == files[0].Time {
			n++
		}
		slices.SortFunc(files[:n], compare)
		files = files[n:]
	}
}

// has tells whether files of an instant may stand in a timeline of the layout.
func (l Layout) has(i Instant) bool {
	return l == Layout2 || i.Completion == "" && i.Action != Clustering
}

// build resolves the states of files, which are in order.
func build(layout Layout, files []Instant) *Timeline {
	t := &Timeline{layout: layout, files: files, shared: &tail{files: len(files)}}
	t.resolve(files)
	t.start = t.findStart()
	return t
}

// resolve adds the instants that files behind those of the others make.
func (t *Timeline) resolve(files []Instant) {
	for len(files) > 0 {
		n := slices.IndexFunc(files, func(i Instant) bool { return i.Time != files[0].Time })
		if n < 0 {
			n = len(files)
		}
		from := len(t.instants)
		t.instants = append(t.instants, resolveTime(files[:n])...)
		for _, i := range t.instants[from:] {
			t.newest = max(t.newest, i.CompletionTime())
			if i.State != Completed {
				t.pending = append(t.pending, i)
			}
			if i.Action == Savepoint {
				t.saved = append(t.saved, i)
			}
		}
		files = files[n:]
	}
}

// resolveTime makes the instants of files of one time: those of one family are one
// instant, in the highest of their states. Its action is that of the pending files, as a
// completed compaction is named as a commit.
func resolveTime(files []Instant) []Instant {
	out := make([]Instant, 0, 1)
	for _, i := range files {
		family := i.Action.family()
		n := slices.IndexFunc(out, func(o Instant) bool { return o.Action.family() == family })
		if n < 0 {
			out = append(out, i)
			continue
		}
		seen := &out[n]
		seen.State = max(seen.State, i.State)
		seen.Completion = max(seen.Completion, i.Completion)
		if i.Action != family {
			seen.Action = i.Action
		}
	}
	slices.SortFunc(out, compare)
	return out
}

// findStart finds the oldest write that is not savepointed. Archiving may leave
// savepointed writes behind, so older ones than this do not tell that all that follow
// are still on the timeline; nor do cleans and rollbacks, which are archived apart.
func (t *Timeline) findStart() string {
	first := ""
	for _, i := range t.instants {
		if !i.Action.writes() {
			continue
		}
		if !slices.ContainsFunc(t.saved, func(s Instant) bool { return s.Time == i.Time }) {
			return i.Time
		}
		if first == "" {
			first = i.Time
		}
	}
	return first
}

// With is the timeline after files of these names were added. Where these are later than
// all that there are, its price is that of the new ones.
func (t *Timeline) With(names ...string) *Timeline {
	added := parseNames(t.Layout(), names)
	if len(added) == 0 {
		return t.whole()
	}
	if n := len(t.files); n > 0 && added[0].Time <= t.files[n-1].Time || t.keep != nil {
		files := slices.Concat(t.files, added)
		slices.SortFunc(files, compare)
		return build(t.Layout(), slices.Compact(files))
	}
	out := &Timeline{layout: t.layout, newest: t.newest, pending: slices.Clone(t.pending), saved: slices.Clone(t.saved)}
	t.extend(out, added)
	out.start = out.findStart()
	return out
}

// extend lets out have what t has, and files behind it.
func (t *Timeline) extend(out *Timeline, added []Instant) {
	out.files, out.instants, out.shared = t.files, t.instants, t.shared
	if out.shared == nil {
		out.shared = &tail{}
	}
	out.shared.mu.Lock()
	defer out.shared.mu.Unlock()
	if out.shared.files != len(t.files) { // another one has gone on from here
		out.files, out.instants = slices.Clip(t.files), slices.Clip(t.instants)
		defer func(files int) { out.shared = &tail{files: files} }(len(t.files) + len(added))
	} else {
		out.shared.files += len(added)
	}
	out.files = append(out.files, added...)
	out.resolve(added)
}

// whole is the timeline without what makes it one of the past.
func (t *Timeline) whole() *Timeline {
	if t.keep == nil {
		return t
	}
	return build(t.Layout(), t.files)
}

// Without is the timeline after files of these names were deleted.
func (t *Timeline) Without(names ...string) *Timeline {
	gone := parseNames(t.Layout(), names)
	files := make([]Instant, 0, len(t.files))
	for _, i := range t.files {
		if _, found := slices.BinarySearchFunc(gone, i, compare); !found {
			files = append(files, i)
		}
	}
	return build(t.Layout(), files)
}

// Layout is the timeline's layout.
func (t *Timeline) Layout() Layout { return max(t.layout, Layout1) }

// Instants are all instants, each in its highest state, the oldest first.
func (t *Timeline) Instants() []Instant {
	return slices.Clone(t.instants)
}

// Completed are the completed instants that wrote data: commits, delta commits, replace
// commits and compactions, the oldest first.
func (t *Timeline) Completed() []Instant {
	return filter(t.instants, Instant.wrote)
}

// ByCompletion are the instants of Completed in the order in which they were completed.
func (t *Timeline) ByCompletion() []Instant {
	out := t.Completed()
	slices.SortStableFunc(out, func(a, b Instant) int { return strings.Compare(a.CompletionTime(), b.CompletionTime()) })
	return out
}

// Pending are the instants of all actions that are not completed, the oldest first.
func (t *Timeline) Pending() []Instant { return slices.Clone(t.pending) }

// PendingCompactions are the compactions that are not completed, the oldest first.
func (t *Timeline) PendingCompactions() []Instant {
	return filter(t.pending, func(i Instant) bool { return i.Action == Compaction })
}

// PendingReplaces are the replace commits and clusterings that are not completed, the
// oldest first.
func (t *Timeline) PendingReplaces() []Instant {
	return filter(t.pending, Instant.Replaces)
}

func filter(instants []Instant, keep func(Instant) bool) []Instant {
	var out []Instant
	for _, i := range instants {
		if keep(i) {
			out = append(out, i)
		}
	}
	return out
}

// Savepoints are the times of the completed savepoints, the oldest first.
func (t *Timeline) Savepoints() []string {
	var out []string
	for _, i := range t.saved {
		if i.State == Completed {
			out = append(out, i.Time)
		}
	}
	return out
}

// IsSavepoint tells whether a completed savepoint has this time.
func (t *Timeline) IsSavepoint(time string) bool {
	return slices.Contains(t.Savepoints(), time)
}

// Last is the newest of Completed.
func (t *Timeline) Last() (Instant, bool) {
	for _, i := range slices.Backward(t.instants) {
		if i.wrote() {
			return i, true
		}
	}
	return Instant{}, false
}

// IsCompleted tells whether an instant of Completed has this time.
func (t *Timeline) IsCompleted(time string) bool {
	_, ok := t.CompletionOf(time)
	return ok
}

// CompletionOf is when the write of a time was completed: an instant of Completed.
func (t *Timeline) CompletionOf(time string) (completion string, ok bool) {
	for _, i := range at(t.instants, time) {
		if i.wrote() {
			completion, ok = i.CompletionTime(), true
		}
	}
	return completion, ok
}

// Has tells whether any instant, in any state, has this time.
func (t *Timeline) Has(time string) bool { return len(at(t.instants, time)) > 0 }

// at are those of a time.
func at(instants []Instant, time string) []Instant {
	from, _ := slices.BinarySearchFunc(instants, time, func(i Instant, time string) int { return strings.Compare(i.Time, time) })
	to := from
	for to < len(instants) && instants[to].Time == time {
		to++
	}
	return instants[from:to]
}

// BeforeStart tells whether a time is older than the timeline reaches back: a write of
// that time, if its files are there, was completed and then archived. An empty timeline
// has no start.
func (t *Timeline) BeforeStart(time string) bool {
	return time < t.start && (t.keep == nil || t.keep(Instant{Time: time}))
}

// States are the timeline's files of a time, one Instant for each file, by action and
// state. The completed file of a compaction is there as a commit.
func (t *Timeline) States(time string) []Instant { return slices.Clone(at(t.files, time)) }

// Next is the time of a new instant or of a completion: now, or if the timeline is ahead
// of that, the first time greater than all on it.
func (t *Timeline) Next(now time.Time) string {
	next := FormatTime(now)
	if t.newest != "" && next <= t.newest {
		return after(t.newest)
	}
	return next
}
