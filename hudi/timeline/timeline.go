package timeline

import (
	"maps"
	"slices"
	"strings"
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
	layout    Layout
	files     map[Instant]struct{} // one for each timeline file
	instants  []Instant            // one for each instant, in its highest state
	completed map[string]string    // times of completed writes, and of their completion
	times     map[string]struct{}
	start     string // oldest time that archiving has left; empty if there is none

	// Of a timeline of the past:
	limit string
	keep  func(Instant) bool // what counts of archived writes
}

// New makes a timeline of layout 1 of the names of its files. It ignores other names.
func New(names []string) *Timeline { return NewLayout(Layout1, names) }

// NewLayout makes a timeline of a layout of the names of its files. It ignores other
// names.
func NewLayout(layout Layout, names []string) *Timeline {
	return build(layout, parseNames(layout, map[Instant]struct{}{}, names))
}

func parseNames(layout Layout, files map[Instant]struct{}, names []string) map[Instant]struct{} {
	for _, name := range names {
		if i, ok := ParseName(name); ok && layout.has(i) {
			files[i] = struct{}{}
		}
	}
	return files
}

// has tells whether files of an instant may stand in a timeline of the layout.
func (l Layout) has(i Instant) bool {
	return l == Layout2 || i.Completion == "" && i.Action != Clustering
}

// build resolves the states: files of one time and family are one instant, in the
// highest of their states. Its action is that of the pending files, as a completed
// compaction is named as a commit.
func build(layout Layout, files map[Instant]struct{}) *Timeline {
	type group struct {
		time   string
		family Action
	}
	groups := make(map[group]Instant, len(files))
	for i := range files {
		g := group{i.Time, i.Action.family()}
		seen, ok := groups[g]
		if !ok {
			seen = i
		}
		seen.State = max(seen.State, i.State)
		seen.Completion = max(seen.Completion, i.Completion)
		if i.Action != g.family {
			seen.Action = i.Action
		}
		groups[g] = seen
	}
	t := &Timeline{
		layout:    layout,
		files:     files,
		instants:  slices.SortedFunc(maps.Values(groups), compare),
		completed: map[string]string{},
		times:     map[string]struct{}{},
	}
	for _, i := range t.instants {
		t.times[i.Time] = struct{}{}
		if i.Action.writes() && i.State == Completed {
			t.completed[i.Time] = i.CompletionTime()
		}
	}
	t.start = t.findStart()
	return t
}

// findStart finds the oldest write that is not savepointed. Archiving may leave
// savepointed writes behind, so older ones than this do not tell that all that follow
// are still on the timeline; nor do cleans and rollbacks, which are archived apart.
func (t *Timeline) findStart() string {
	saved := map[string]bool{}
	for _, i := range t.instants {
		if i.Action == Savepoint {
			saved[i.Time] = true
		}
	}
	first := ""
	for _, i := range t.instants {
		if !i.Action.writes() {
			continue
		}
		if !saved[i.Time] {
			return i.Time
		}
		if first == "" {
			first = i.Time
		}
	}
	return first
}

// With is the timeline after files of these names were added.
func (t *Timeline) With(names ...string) *Timeline {
	files := make(map[Instant]struct{}, len(t.files)+len(names))
	maps.Copy(files, t.files)
	return build(t.Layout(), parseNames(t.Layout(), files, names))
}

// Without is the timeline after files of these names were deleted.
func (t *Timeline) Without(names ...string) *Timeline {
	gone := parseNames(t.Layout(), map[Instant]struct{}{}, names)
	files := make(map[Instant]struct{}, len(t.files))
	for i := range t.files {
		if _, ok := gone[i]; !ok {
			files[i] = struct{}{}
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
	return t.filter(func(i Instant) bool { return i.State == Completed && i.Action.writes() })
}

// ByCompletion are the instants of Completed in the order in which they were completed.
func (t *Timeline) ByCompletion() []Instant {
	out := t.Completed()
	slices.SortStableFunc(out, func(a, b Instant) int { return strings.Compare(a.CompletionTime(), b.CompletionTime()) })
	return out
}

// Pending are the instants of all actions that are not completed, the oldest first.
func (t *Timeline) Pending() []Instant {
	return t.filter(func(i Instant) bool { return i.State != Completed })
}

// PendingCompactions are the compactions that are not completed, the oldest first.
func (t *Timeline) PendingCompactions() []Instant {
	return t.filter(func(i Instant) bool { return i.State != Completed && i.Action == Compaction })
}

// PendingReplaces are the replace commits and clusterings that are not completed, the
// oldest first.
func (t *Timeline) PendingReplaces() []Instant {
	return t.filter(func(i Instant) bool { return i.State != Completed && i.Replaces() })
}

func (t *Timeline) filter(keep func(Instant) bool) []Instant {
	var out []Instant
	for _, i := range t.instants {
		if keep(i) {
			out = append(out, i)
		}
	}
	return out
}

// Savepoints are the times of the completed savepoints, the oldest first.
func (t *Timeline) Savepoints() []string {
	var out []string
	for _, i := range t.instants {
		if i.Action == Savepoint && i.State == Completed {
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
		if i.State == Completed && i.Action.writes() {
			return i, true
		}
	}
	return Instant{}, false
}

// IsCompleted tells whether an instant of Completed has this time.
func (t *Timeline) IsCompleted(time string) bool {
	_, ok := t.completed[time]
	return ok
}

// CompletionOf is when the write of a time was completed: an instant of Completed.
func (t *Timeline) CompletionOf(time string) (completion string, ok bool) {
	completion, ok = t.completed[time]
	return completion, ok
}

// Has tells whether any instant, in any state, has this time.
func (t *Timeline) Has(time string) bool {
	_, ok := t.times[time]
	return ok
}

// BeforeStart tells whether a time is older than the timeline reaches back: a write of
// that time, if its files are there, was completed and then archived. An empty timeline
// has no start.
func (t *Timeline) BeforeStart(time string) bool {
	return time < t.start && (t.keep == nil || t.keep(Instant{Time: time}))
}

// States are the timeline's files of a time, one Instant for each file, by action and
// state. The completed file of a compaction is there as a commit.
func (t *Timeline) States(time string) []Instant {
	var out []Instant
	for i := range t.files {
		if i.Time == time {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, compare)
	return out
}

// Next is the time of a new instant or of a completion: now, or if the timeline is ahead
// of that, the first time greater than all on it.
func (t *Timeline) Next(now time.Time) string {
	last := ""
	for _, i := range t.instants {
		last = max(last, i.CompletionTime())
	}
	next := FormatTime(now)
	if last != "" && next <= last {
		return after(last)
	}
	return next
}
