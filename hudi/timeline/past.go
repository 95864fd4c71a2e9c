package timeline

import (
	"cmp"
	"slices"
)

// AsOf is the timeline as far as writes of times up to this one are concerned: those of
// later times count as not completed. It is for reading only: With and Without give the
// whole timeline again.
func (t *Timeline) AsOf(time string) *Timeline {
	return t.until(time, func(i Instant) bool { return i.Time <= time })
}

// CompletedBy is the timeline as it was at a time of completion: writes that completed
// later count as not completed. Archived tells when a write that is not on the timeline
// any more was completed, where that is not its own time; nil knows of none. As
// [Timeline.AsOf] it is for reading only.
func (t *Timeline) CompletedBy(completion string, archived map[string]string) *Timeline {
	return t.until(completion, func(i Instant) bool {
		return cmp.Or(archived[i.Time], i.CompletionTime()) <= completion
	})
}

// Between is the timeline with those writes only that completed after one time and up to
// another (empty: any): all others count as not completed. Archived is as for
// [Timeline.CompletedBy], and it is for reading only, too.
func (t *Timeline) Between(from, to string, archived map[string]string) *Timeline {
	return t.until(to, func(i Instant) bool {
		c := cmp.Or(archived[i.Time], i.CompletionTime())
		return c > from && (to == "" || c <= to)
	})
}

// until takes back the completion of writes that are not kept.
func (t *Timeline) until(limit string, keep func(Instant) bool) *Timeline {
	out := *t
	out.limit, out.keep = limit, keep
	out.instants, out.pending = slices.Clone(t.instants), nil
	for n := range out.instants {
		i := &out.instants[n]
		if i.wrote() && !keep(*i) {
			i.State, i.Completion = Inflight, ""
		}
		if i.State != Completed {
			out.pending = append(out.pending, *i)
		}
	}
	return &out
}

// Limit is up to what time the timeline is one of the past; empty for one of today.
func (t *Timeline) Limit() string { return t.limit }

// Start is the oldest write that archiving has left, savepointed ones aside; empty if
// there is none.
func (t *Timeline) Start() string { return t.start }
