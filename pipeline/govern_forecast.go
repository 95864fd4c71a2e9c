package pipeline

import (
	"sort"
	"time"

	"lakefeed/change"
)

// sample is one measurement.
type sample struct {
	at            time.Time
	current, kept int64
}

func ofCurrent(s sample) int64 { return s.current }
func ofKept(s sample) int64    { return s.kept }

// history is measurements, the oldest first: every one of the last minutes, fewer of the hours before.
type history []sample

// What a history keeps, and what forecasts look back at: commits come in intervals, and
// less than some of these would show their teeth.
const (
	samples  = 2048
	lookBack = 2 * time.Minute
)

// add adds a measurement. When there are too many, every other of the older half goes.
func (h *history) add(f *change.SlotFigures) {
	if n := len(*h); n > 0 && f.At.Before((*h)[n-1].at) { // the clock was set back: what was measured before says nothing
		*h = nil
	}
	if len(*h) >= samples {
		thin := (*h)[:0]
		for i, s := range *h {
			if i >= samples/2 || i%2 == 0 {
				thin = append(thin, s)
			}
		}
		*h = thin
	}
	*h = append(*h, sample{f.At, int64(f.Current), f.Kept()})
}

// recent is the measurements of the last minutes.
func (h history) recent() history {
	if len(h) == 0 {
		return nil
	}
	since := h[len(h)-1].at.Add(-lookBack)
	return h[sort.Search(len(h), func(i int) bool { return !h[i].at.Before(since) }):]
}

// rate is how fast a figure grew in the last minutes, a second; 0 where that is not known.
func (h history) rate(of func(sample) int64) float64 {
	h = h.recent()
	if len(h) < 2 {
		return 0
	}
	first, last := h[0], h[len(h)-1]
	took := last.at.Sub(first.at).Seconds()
	if took <= 0 {
		return 0
	}
	return float64(of(last)-of(first)) / took
}

// reaches is in how many seconds a figure will have grown by so much; -1: it does not grow.
func (h history) reaches(left int64, of func(sample) int64) float64 {
	rate := h.rate(of)
	if rate <= 0 {
		return -1
	}
	return float64(left) / rate
}

// lagSeconds is how long ago the source's log ended where the slot's reader has confirmed
// it, as far as it was measured: 0 where nothing was written since, at least so much where
// that was before the first measurement.
func (h history) lagSeconds(f *change.SlotFigures) float64 {
	at := int64(f.Confirmed)
	i := sort.Search(len(h), func(i int) bool { return h[i].current > at })
	if i == len(h) {
		return 0
	}
	return max(0, f.At.Sub(h[max(0, i-1)].at).Seconds())
}
