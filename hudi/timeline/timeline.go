package timeline

import (
	"maps"
	"slices"
	"time"
)

// Timeline is the state of a table's instants, as the names of the timeline's files tell
// it. It does not change. The zero Timeline is empty.
type Timeline struct {
	files     map[Instant]struct{} // one for each timeline file
	instants  []Instant            // one for each instant, in its highest state
	completed map[string]struct{}  // times of completed writes
	times     map[string]struct{}
	start     string // oldest time that archiving has left; empty if there is none
}

// New makes a timeline of the names of its files. It ignores other names.
func New(names []string) *Timeline {
	return build(parseNames(map[Instant]struct{}{}, names))
}

func parseNames(files map[Instant]struct{}, names []string) map[Instant]struct{} {
	for _, name := range names {
		if i, ok := ParseName(name); ok {
			files[i] = struct{}{}
		}
	}
	return files
}

// build resolves the states: files of one time and family are one instant, in the
// highest of their states. Its action is that of the pending files, as a completed
// compaction is named as a commit.
func build(files map[Instant]struct{}) *Timeline {
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
		if i.Action != g.family {
			seen.Action = i.Action
		}
		groups[g] = seen
	}
	t := &Timeline{
		files:     files,
		instants:  slices.SortedFunc(maps.Values(groups), compare),
		completed: map[string]struct{}{},
		times:     map[string]struct{}{},
	}
	for _, i := range t.instants {
		t.times[i.Time] = struct{}{}
		if i.Action.writes() && i.State == Completed {
			t.completed[i.Time] = struct{}{}
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
	return build(parseNames(files, names))
}

// Without is the timeline after files of these names were deleted.
func (t *Timeline) Without(names ...string) *Timeline {
	gone := parseNames(map[Instant]struct{}{}, names)
	files := make(map[Instant]struct{}, len(t.files))
	for i := range t.files {
		if _, ok := gone[i]; !ok {
			files[i] = struct{}{}
		}
	}
	return build(files)
}

// Instants are all instants, each in its highest state, the oldest first.
func (t *Timeline) Instants() []Instant {
	return slices.Clone(t.instants)
}

// Completed are the completed instants that wrote data: commits, delta commits, replace
// commits and compactions, the oldest first.
func (t *Timeline) Completed() []Instant {
	return t.filter(func(i Instant) bool { return i.State == Completed && i.Action.writes() })
}

// Pending are the instants of all actions that are not completed, the oldest first.
func (t *Timeline) Pending() []Instant {
	return t.filter(func(i Instant) bool { return i.State != Completed })
}

// PendingCompactions are the compactions that are not completed, the oldest first.
func (t *Timeline) PendingCompactions() []Instant {
	return t.filter(func(i Instant) bool { return i.State != Completed && i.Action == Compaction })
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

// Has tells whether any instant, in any state, has this time.
func (t *Timeline) Has(time string) bool {
	_, ok := t.times[time]
	return ok
}

// BeforeStart tells whether a time is older than the timeline reaches back: a write of
// that time, if its files are there, was completed and then archived. An empty timeline
// has no start.
func (t *Timeline) BeforeStart(time string) bool {
	return time < t.start
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

// Next is the time of a new instant: now, or if the timeline is ahead of that, the first
// time greater than all on it.
func (t *Timeline) Next(now time.Time) string {
	next := FormatTime(now)
	if n := len(t.instants); n > 0 {
		if last := t.instants[n-1].Time; next <= last {
			return after(last)
		}
	}
	return next
}
