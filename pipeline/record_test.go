package pipeline

import (
	"log/slog"
	"testing"
	"time"

	"lakefeed/change"
	memstore "lakefeed/storage/mem"
)

// TestRecordBehindTheClock writes a record, beside the spool alone, after the clock was set back:
// it counts, and not the one of before that the lake has.
func TestRecordBehindTheClock(t *testing.T) {
	t.Parallel()
	o := Options{Name: "p", Lake: memstore.New(), Spool: memstore.New()}
	p := &Pipeline{opts: o, spool: newSpool(&o), log: slog.New(slog.DiscardHandler)}
	before := progress{Pipeline: "p", LSN: 5, Written: time.Now().Add(24 * time.Hour).UTC()}
	if err := writeProgressAt(t.Context(), o.Lake, progressName("p"), before); err != nil {
		t.Fatal(err)
	}
	read := func() *progress {
		r, err := p.readRecord(t.Context())
		if err != nil || r == nil || r.LSN != 5 {
			t.Fatalf("%+v, %v", r, err)
		}
		return r
	}
	read()
	p.lakeLost = time.Now() // so that it is not asked
	for _, want := range []change.LSN{7, 8} {
		if err := p.writeRecord(t.Context(), progress{Pipeline: "p", LSN: 5, Commits: map[string]change.LSN{"public.t": want}}); err != nil {
			t.Fatal(err)
		}
		p.recorded = nil // of a process that ended
		if got := read().Commits["public.t"]; got != want {
			t.Errorf("the record says %v, want %v", got, want)
		}
	}
}
