package pipeline

import (
	"context"
	"fmt"
	"sync"
	"time"

	"lakefeed/change"
	"lakefeed/internal/figure"
)

// The governor protects the source: it measures how much log that keeps for the slot, tells
// how long that can go on, and takes the steps of the budget. It runs beside the sessions, so
// that it sees also what happens between them.

// WALBudget says how much log the source may keep for a pipeline's slot, in bytes, and what
// is done from there on. A step of 0 is never taken.
type WALBudget struct {
	// Warn is when the log, /readyz' text and status say it. The default is 4 GiB.
	Warn int64
	// Spool is the lag that the slot is to stay within: from half of it on rounds go to the spool
	// instead of into the tables, so that the slot moves as fast as the spool takes them.
	Spool int64
	// DropSlot is when the slot is dropped to save the source's disk. Every table is then to
	// be copied anew: see Options.Remake.
	DropSlot int64

	Every  time.Duration // between measurements: default 10 s, 2 s with a step behind Warn, and half a second at most near it
	Answer time.Duration // the lake has to give a sign of life within, default 5 s
}

// defaultWarn is WALBudget.Warn where nothing is said.
const defaultWarn = 4 << 30

// Step is what the governor does now.
type Step string

// The steps, the mildest first.
const (
	StepNone  Step = "none"
	StepWarn  Step = "warn"
	StepSpool Step = "spool"
	StepDrop  Step = "drop_slot"
)

// Steps are all of them.
var Steps = []Step{StepNone, StepWarn, StepSpool, StepDrop}

func (s Step) rank() int {
	for i, other := range Steps {
		if s == other {
			return i
		}
	}
	return 0
}

// Spools reports whether rounds go to the spool, and not into the tables.
func (s Step) Spools() bool { return s.rank() >= StepSpool.rank() }

// SpoolFrom is the lag from which on rounds go to the spool: half of what there is to be, since the log
// grows on while a lake that is away is waited for, and while what has come meanwhile goes to the spool.
func (b WALBudget) SpoolFrom() int64 { return (b.Spool + 1) / 2 }

// presses reports whether so much of the budget's lag is used that a round that waits for the lake is
// reason to doubt it.
func (b WALBudget) presses(f *change.SlotFigures) bool {
	return b.Spool > 0 && f != nil && f.Lag() >= b.Spool/4
}

// step is the step for what was measured. One that was taken ends a quarter below where
// it begins, so that it is not taken and left with each commit.
func (b WALBudget) step(was Step, f *change.SlotFigures) Step {
	over := func(n, from int64, s Step) bool {
		if was.rank() >= s.rank() {
			from -= from / 4
		}
		return from > 0 && n >= from
	}
	switch {
	case over(f.Kept(), b.DropSlot, StepDrop):
		return StepDrop
	case over(f.Lag(), b.SpoolFrom(), StepSpool): // not what an open transaction keeps: spooling does not move that
		return StepSpool
	case over(f.Kept(), b.Warn, StepWarn), f.Safe >= 0 && over(f.Limit-f.Safe, f.Limit/4*3, StepWarn):
		return StepWarn
	}
	return StepNone
}

// governor is what is known of the slot, and what is done about it.
type governor struct {
	p      *Pipeline
	budget WALBudget
	now    chan struct{} // asks for a measurement

	mu      sync.Mutex // guards what follows
	figures *change.SlotFigures
	failed  string // why it cannot be measured
	gone    bool   // the source has no such slot
	history history
	step    Step
	since   time.Time
	told    time.Time // when the log last said it
	behind  bool      // the log last said so of the standby that is read
}

// tellAgain is how often the log repeats a step that lasts.
const tellAgain = 10 * time.Minute

func newGovernor(p *Pipeline, b WALBudget) *governor {
	setDefault(&b.Warn, defaultWarn)
	every := 10 * time.Second
	if b.Spool != 0 || b.DropSlot != 0 {
		every = 2 * time.Second
	}
	setDefault(&b.Every, every)
	setDefault(&b.Answer, 5*time.Second)
	return &governor{p: p, budget: b, now: make(chan struct{}, 1), step: StepNone}
}

// run measures until ctx ends.
func (g *governor) run(ctx context.Context) {
	for {
		g.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-g.now:
		case <-time.After(g.pause()):
		}
	}
}

// soon makes the governor measure now: there is something new.
func (g *governor) soon() {
	select {
	case g.now <- struct{}{}:
	default: // it will
	}
}

// pause is the time to the next measurement: less where a step is near, or a wait for the lake.
func (g *governor) pause() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	every := g.budget.Every
	near := g.p.gate.closed() != nil || g.step.Spools()
	for _, from := range []int64{g.budget.SpoolFrom(), g.budget.DropSlot} {
		near = near || g.figures != nil && from > 0 && g.figures.Kept() > from/2
	}
	if near {
		return min(every, time.Second/2)
	}
	return every
}

// look measures once, and does what the budget says.
func (g *governor) look(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, 30*time.Second)
	f, err := g.p.opts.Source.Figures(asking)
	cancel()
	if ctx.Err() != nil {
		return
	}
	g.note(f, err)
	if err == nil && f != nil {
		g.p.clock.end(f)
		g.tellStandby(f.Standby)
	}
	if err == nil && f != nil && !f.Lost {
		g.take(ctx, f)
	}
	g.p.watchLake(ctx)
}

// note keeps what was measured.
func (g *governor) note(f *change.SlotFigures, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = ""
	if err != nil {
		g.failed = err.Error()
		return
	}
	if g.gone = f == nil; g.gone {
		g.figures, g.history = nil, history{}
		return
	}
	g.figures = f
	g.history.add(f)
}

// take takes the step that is due.
func (g *governor) take(ctx context.Context, f *change.SlotFigures) {
	g.mu.Lock()
	was, next := g.step, g.budget.step(g.step, f)
	again := next != StepNone && time.Since(g.told) >= tellAgain
	if next != was {
		g.step, g.since = next, f.At
	}
	if next != was || again {
		g.told = time.Now()
	}
	g.mu.Unlock()
	if next != was || again {
		g.tell(was, next)
	}
	g.p.diverted.Store(next.Spools())
	if next == StepDrop {
		g.p.dropSlot(ctx, f)
	}
}

// tell logs a step.
func (g *governor) tell(was, next Step) {
	s := g.status()
	args := []any{"kept", s.Kept, "lag", s.Lag, "text", s.Text()}
	switch next {
	case StepNone:
		g.p.log.Info("the source keeps little log for the slot again", args...)
	case StepWarn:
		if was.rank() > StepWarn.rank() {
			g.p.log.Info("the slot's lag is within the budget again: rounds go into the tables", args...)
			return
		}
		g.p.log.Warn("the source keeps much log for the slot", args...)
	case StepSpool:
		g.p.log.Warn("the slot's lag has reached the budget's step `spool`: rounds go to the spool, and into the tables from there", args...)
	case StepDrop:
		g.p.log.Error("the source keeps more log for the slot than the budget allows: the slot is dropped, to save the source's disk", args...)
	}
}

// SlotStatus is what is known of the slot, and what the governor does about it.
type SlotStatus struct {
	*change.SlotFigures
	Lag        int64   `json:"lag_bytes"`         // written behind what the slot's reader has confirmed
	Kept       int64   `json:"kept_bytes"`        // kept for the slot
	LagSeconds float64 `json:"lag_seconds"`       // how long ago the source wrote what is confirmed
	Rate       float64 `json:"bytes_a_second"`    // of log that the source writes
	LimitIn    float64 `json:"seconds_to_limit"`  // until the source gives the slot up, if it goes on as in the last minutes; -1: it will not
	BudgetIn   float64 `json:"seconds_to_budget"` // until the budget's next step, likewise

	Step    Step      `json:"step"`
	Since   time.Time `json:"step_since,omitzero"`
	Budget  WALBudget `json:"-"`
	Problem string    `json:"problem,omitempty"` // why it cannot be measured
}

// presses reports whether the lag is on its way to the step `spool`.
func (g *governor) presses() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.budget.presses(g.figures)
}

// status is what is known now, nil before the first measurement.
func (g *governor) status() *SlotStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := &SlotStatus{Lag: -1, Kept: -1, LagSeconds: -1, LimitIn: -1, BudgetIn: -1, Step: g.step, Since: g.since, Budget: g.budget, Problem: g.failed}
	if g.gone {
		s.Problem = "the source has no such slot"
	}
	f := g.figures
	if f == nil {
		if s.Problem == "" {
			return nil
		}
		return s
	}
	s.SlotFigures, s.Lag, s.Kept = f, f.Lag(), f.Kept()
	s.LagSeconds, s.Rate = g.history.lagSeconds(f), g.history.rate(ofCurrent)
	if f.Safe >= 0 {
		s.LimitIn = g.history.reaches(f.Safe, ofKept)
	}
	for _, from := range []int64{g.budget.Warn, g.budget.SpoolFrom(), g.budget.DropSlot} {
		if left := from - f.Kept(); left > 0 && s.BudgetIn < 0 {
			s.BudgetIn = g.history.reaches(left, ofKept)
		}
	}
	return s
}

// Text says it for people.
func (s *SlotStatus) Text() string {
	if s.SlotFigures == nil {
		return s.Problem
	}
	if s.Lost {
		return "the slot is lost: " + lostBy(s.Why)
	}
	text := fmt.Sprintf("the source keeps %s of log for the slot, %s behind what is confirmed", figure.Bytes(s.Kept), figure.Bytes(s.Lag))
	if s.LagSeconds >= 1 {
		text += fmt.Sprintf(" (%s)", seconds(s.LagSeconds))
	}
	if why := standbyLags(s.Standby); why != "" {
		text += fmt.Sprintf("; the standby that is read %s, so that the lake lacks what came since%s", why, lastReplayed(s.Standby))
	}
	if s.Holder != "" {
		text += "; it keeps the rest for " + s.Holder
	}
	if s.Safe >= 0 {
		text += fmt.Sprintf("; the slot is lost after another %s (max_slot_wal_keep_size)", figure.Bytes(s.Safe))
		if s.LimitIn >= 0 {
			text += ", in " + seconds(s.LimitIn) + " at this rate"
		}
	}
	if s.BudgetIn >= 0 {
		text += fmt.Sprintf("; the next step of the budget comes in %s at this rate", seconds(s.BudgetIn))
	}
	if s.IdleTimeout > 0 && !s.IdleSince.IsZero() {
		text += fmt.Sprintf("; nobody has read it since %s, and the source gives it up at %s (idle_replication_slot_timeout)",
			s.IdleSince.Format(time.RFC3339), s.IdleSince.Add(s.IdleTimeout).Format(time.RFC3339))
	}
	return text
}

func seconds(s float64) string {
	return (time.Duration(s) * time.Second).String()
}
