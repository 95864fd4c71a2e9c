package timeline

import "slices"

// AsOf is the timeline as far as writes of times up to this one are concerned: those of
// later times count as not completed. It is for reading only: With and Without give the
// whole timeline again.
func (t *Timeline) AsOf(time string) *Timeline {
	return t.withWrites(func(i Instant) bool { return i.Time <= time })
}

// CompletedBy is the timeline as it was at a time of completion: writes that completed
// later count as not completed. As [Timeline.AsOf] it is for reading only.
func (t *Timeline) CompletedBy(completion string) *Timeline {
	return t.withWrites(func(i Instant) bool { return i.CompletionTime() <= completion })
}

// withWrites takes back the completion of writes that are not kept.
func (t *Timeline) withWrites(keep func(Instant) bool) *Timeline {
	out := *t
	out.instants = slices.Clone(t.instants)
	out.completed = map[string]string{}
	for n, i := range out.instants {
		switch {
		case i.State != Completed || !i.Action.writes():
		case keep(i):
			out.completed[i.Time] = i.CompletionTime()
		default:
			out.instants[n].State, out.instants[n].Completion = Inflight, ""
		}
	}
	return &out
}
