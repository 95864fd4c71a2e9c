package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"lakefeed/storage"
)

// Verbs that ask something for the incremental snapshots of a table.
const (
	StopSnapshot   Verb = stopSnapshot   // they are not made, or not to their end
	PauseSnapshot  Verb = pauseSnapshot  // they wait; one that is being made begins anew later
	ResumeSnapshot Verb = resumeSnapshot // they need not wait any more
)

func (v Verb) ofSnapshots() bool {
	return v == StopSnapshot || v == PauseSnapshot || v == ResumeSnapshot
}

// errSteered ends the reading of rows that are not wanted any more, or not now.
var errSteered = errors.New("it was stopped or paused")

// steering is what a verb makes of the snapshots of some tables.
func steering(verb string, takes func(table string) bool) func(*snapshotRecord) {
	return func(r *snapshotRecord) { r.steer(verb, takes) }
}

func (r *snapshotRecord) steer(verb string, takes func(table string) bool) (n int) {
	for i := range r.Snapshots {
		if s := &r.Snapshots[i]; takes(s.Table) {
			s.Paused = verb == pauseSnapshot
			n++
		}
	}
	if verb == stopSnapshot {
		r.Snapshots = slices.DeleteFunc(r.Snapshots, func(s Snapshot) bool { return takes(s.Table) })
	}
	return n
}

// steered ends the reading of the rows that are not to be read now, and shows what waits.
func (p *Pipeline) steered() {
	inc := &p.incremental
	inc.mu.Lock()
	running, window := inc.running, inc.window.Load()
	inc.mu.Unlock()
	if running != "" && !inc.holds(running) && window != nil {
		window.fail(errSteered)
	}
	for _, t := range p.all() {
		st := t.snapshot().Snapshot
		if st != nil && st.ID != running && st.State.waits() {
			p.showSteered(t, Snapshot{ID: st.ID, Table: t.name, Where: st.Where, Columns: st.Columns})
		}
	}
	for _, s := range inc.list() {
		if t := p.targetNamed(s.Table); t != nil {
			if st := t.snapshot().Snapshot; st == nil || st.ID != running && !st.State.waits() {
				p.showSnapshot(t, s, SnapshotStatus{State: SnapshotWaiting})
			}
		}
	}
	p.awake()
}

func (s SnapshotState) waits() bool { return s == SnapshotWaiting || s == SnapshotPaused }

// showSteered lets the status say what became of a snapshot that was stopped or paused.
func (p *Pipeline) showSteered(t *target, s Snapshot) {
	st := SnapshotStatus{State: SnapshotStopped}
	for _, now := range p.incremental.list() {
		if now.ID == s.ID {
			s, st.State = now, SnapshotWaiting
		}
	}
	p.showSnapshot(t, s, st)
}

// steerTable does for the incremental snapshots of a table what a verb says, while the pipeline runs.
func (p *Pipeline) steerTable(ctx context.Context, table string, verb Verb) error {
	n := 0
	err := p.incremental.change(ctx, p, func(r *snapshotRecord) {
		n = r.steer(string(verb), func(name string) bool { return name == table })
	})
	if err == nil && n == 0 {
		err = noSnapshots(table, verb)
	}
	if err != nil {
		return err
	}
	p.log.Info("asked for a table", "table", table, "verb", verb)
	p.steered()
	return nil
}

func noSnapshots(table string, verb Verb) error {
	return fmt.Errorf("%s %s: no rows of it are being read anew by a condition or by columns, or are to be (`lakefeed pause` keeps a copy of the whole table from beginning)", verb, table)
}

// steerOffline is steerTable for a pipeline that nobody runs.
func steerOffline(ctx context.Context, lake storage.Store, pipeline, table string, verb Verb) error {
	return inItsPlace(ctx, lake, pipeline, table, func(key string) error {
		r, err := readSnapshots(ctx, lake, key)
		if err != nil {
			return err
		}
		if r.steer(string(verb), func(name string) bool { return name == table }) == 0 {
			return noSnapshots(table, verb)
		}
		return r.write(ctx, lake, key)
	})
}
