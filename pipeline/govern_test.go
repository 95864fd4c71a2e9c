package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/storage"
	memstore "lakefeed/storage/mem"
	"lakefeed/storage/storagetest"
)

// figures is a slot with so much log behind what is confirmed, and so much kept.
func figures(at time.Time, current, lag, kept int64) *change.SlotFigures {
	return &change.SlotFigures{At: at, Current: change.LSN(current), Confirmed: change.LSN(current - lag), Restart: change.LSN(current - kept), Safe: -1, Limit: -1}
}

// onward counts the records that are older than the one before.
type onward struct {
	storage.Store
	newest change.LSN
	back   int
}

func (s *onward) Put(ctx context.Context, name string, data []byte) error {
	var r progress
	if err := json.Unmarshal(data, &r); err != nil {
		return err
	}
	if r.LSN < s.newest {
		s.back++
	}
	s.newest = r.LSN
	return s.Store.Put(ctx, name, data)
}

// TestDroppedBesideRecords: the note that the slot is dropped takes the place of no newer record, which the source
// was told of.
func TestDroppedBesideRecords(t *testing.T) {
	t.Parallel()
	lake := &onward{Store: memstore.New()}
	p := &Pipeline{opts: Options{Name: "p", Lake: lake}}
	p.spool = newSpool(&p.opts)
	done := make(chan error)
	go func() {
		err := error(nil)
		for lsn := change.LSN(1); lsn < 20_000 && err == nil; lsn++ {
			err = p.writeRecord(t.Context(), progress{LSN: lsn})
		}
		done <- err
	}()
	for {
		select {
		case err := <-done:
			if err != nil || lake.back > 0 {
				t.Errorf("%d records were written over a newer one, %v", lake.back, err)
			}
			return
		default:
			_ = p.noteDropped(t.Context()) // where a record is being written it does not wait
		}
	}
}

// TestBudgetSteps walks up and down: a step ends a quarter below where it begins, the spool's at half of the
// lag that is to be kept, an open transaction keeps log that no spool lets go, and the server's own limit counts too.
func TestBudgetSteps(t *testing.T) {
	t.Parallel()
	b := WALBudget{Warn: 100, Spool: 400, DropSlot: 400}
	step := StepNone
	for i, c := range []struct {
		lag, kept int64
		want      Step
	}{
		{50, 99, StepNone},
		{50, 100, StepWarn},
		{50, 76, StepWarn},
		{50, 75, StepWarn},
		{50, 74, StepNone},
		{199, 199, StepWarn},
		{200, 210, StepSpool},
		{151, 160, StepSpool},
		{149, 160, StepWarn},
		{10, 399, StepWarn},
		{10, 400, StepDrop},
		{250, 300, StepDrop},
		{250, 299, StepSpool},
	} {
		if step = b.step(step, figures(time.Now(), 1000, c.lag, c.kept)); step != c.want {
			t.Errorf("%d: lag %d, kept %d: %s, want %s", i, c.lag, c.kept, step, c.want)
			step = c.want
		}
	}
	f := figures(time.Now(), 1000, 10, 10)
	if f.Limit, f.Safe = 80, 21; b.step(StepNone, f) != StepNone {
		t.Error("a quarter of the server's limit is left, and more")
	}
	if f.Safe = 20; b.step(StepNone, f) != StepWarn {
		t.Error("a quarter of the server's limit is left, and no step is taken")
	}
	for lag, want := range map[int64]bool{99: false, 100: true} {
		if b.presses(figures(time.Now(), 1000, lag, lag)) != want {
			t.Errorf("a lag of %d presses: %t", lag, !want)
		}
	}
	if none := (WALBudget{}); none.presses(figures(time.Now(), 1<<50, 1<<49, 1<<49)) || none.step(StepNone, figures(time.Now(), 1<<50, 1<<49, 1<<49)) != StepNone {
		t.Error("a step is taken that nobody asked for")
	}
}

// TestForecast measures a source that writes 10 bytes a second and is told of all of them
// until it is told of none.
func TestForecast(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var h history
	var f *change.SlotFigures
	for i := range int64(3000) {
		lag := int64(0)
		if i > 2900 {
			lag = 10 * (i - 2900)
		}
		f = figures(begin.Add(time.Duration(i)*time.Second), 1000+10*i, lag, lag)
		h.add(f)
		if i == 2900 && (h.lagSeconds(f) != 0 || h.reaches(100, ofKept) != -1) {
			t.Errorf("nothing is behind: %g s, limit in %g s", h.lagSeconds(f), h.reaches(100, ofKept))
		}
	}
	if len(h) > samples {
		t.Errorf("%d measurements are kept", len(h))
	}
	if got := h.rate(ofCurrent); got != 10 {
		t.Errorf("it writes %g bytes a second", got)
	}
	if got := h.lagSeconds(f); got < 99 || got > 101 {
		t.Errorf("it is %g s behind", got)
	}
	if got := h.reaches(99*10, ofKept); got < 110 || got > 130 { // 99 of the last 120 seconds it grew
		t.Errorf("the limit comes in %g s", got)
	}
	for i := range int64(10) { // the clock is set back
		h.add(figures(begin.Add(-24*time.Hour+time.Duration(i)*time.Second), 100000+20*i, 0, 0))
	}
	if got := h.rate(ofCurrent); got != 20 {
		t.Errorf("behind a clock that was set back, it writes %g bytes a second", got)
	}
	var none history
	if none.rate(ofKept) != 0 || none.reaches(1, ofKept) != -1 || none.lagSeconds(f) != 0 {
		t.Error("nothing was measured, and something is told")
	}
}

func TestGateIsAStore(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(*testing.T) storage.Store { return newGate(memstore.New()) })
}

// waiting is a store whose calls last until their context ends.
type waiting struct{ storage.Store }

func (w waiting) Put(ctx context.Context, _ string, _ []byte) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestGateBreaksOff closes a gate before calls and around them.
func TestGateBreaksOff(t *testing.T) {
	t.Parallel()
	inner := memstore.New()
	g := newGate(inner)
	if err := g.Put(t.Context(), "f", []byte("1")); err != nil {
		t.Fatal(err)
	}
	r, err := g.Open(t.Context(), "f")
	w, err2 := g.Create(t.Context(), "w")
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	slow := newGate(waiting{inner})
	under := make(chan error)
	go func() { under <- slow.Put(t.Context(), "g", nil) }()
	why := errors.New("no route to host")
	slow.shut(why)
	g.shut(why)
	for what, err := range map[string]error{
		"under way":  <-under,
		"Put":        g.Put(t.Context(), "f", nil),
		"Delete":     g.Delete(t.Context(), "f"),
		"Commit":     w.Commit(),
		"Write":      func() error { _, err := w.Write([]byte("x")); return err }(),
		"List":       func() error { _, err := storage.Names(t.Context(), g, ""); return err }(),
		"Open":       func() error { _, err := g.Open(t.Context(), "f"); return err }(),
		"Get absent": func() error { _, _, err := g.Get(t.Context(), "absent"); return err }(),
	} {
		if away, ok := errors.AsType[*AwayError](err); !ok || errors.Is(err, storage.ErrNotExist) || away.Err != why { //nolint:errorlint // the very one
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := errors.Join(w.Abort(), r.Close()); err != nil {
		t.Log(err)
	}
	if !g.open() || g.open() {
		t.Error("it opens once")
	}
	if b, _, err := g.Get(t.Context(), "f"); err != nil || string(b) != "1" {
		t.Errorf("%q, %v", b, err)
	}
	if _, _, err := g.Get(t.Context(), "w"); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("a write that was broken off is there: %v", err)
	}
}
