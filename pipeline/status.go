package pipeline

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"lakefeed/change"
)

// State is what a table is doing.
type State string

// The states of a table.
const (
	Waiting    State = "waiting"     // not yet looked at
	Copying    State = "copying"     // its first copy runs
	CatchingUp State = "catching up" // behind by more than two commit intervals
	Streaming  State = "streaming"   // in step
	Paused     State = "paused"      // by a person or a policy; its changes wait in the spool
	Failed     State = "failed"      // stopped; Error says why, the others go on
)

// TableStatus is one table's line in a [Status].
type TableStatus struct {
	Table    string   `json:"table"`          // source name, "public.orders"
	Slot     string   `json:"slot,omitempty"` // that it comes through, where there are several
	Path     string   `json:"path"`           // folder under the lake
	Type     string   `json:"type"`
	Key      []string `json:"key,omitempty"` // record key columns, empty: append-only
	State    State    `json:"state"`
	Rows     int64    `json:"rows"`      // changes written by this process, rows of the first copy included
	CopyRows int64    `json:"copy_rows"` // rows copied so far by a copy that runs
	Estimate int64    `json:"estimate"`  // rows that copy expects
	// Of a copy in chunks: bytes of rows, by the source's statistics, read so far and in all,
	// bytes a second, seconds that are left, and chunks.
	CopyBytes      int64     `json:"copy_bytes,omitempty"`
	CopyTotal      int64     `json:"copy_total_bytes,omitempty"`
	CopyRate       float64   `json:"copy_bytes_per_second,omitempty"`
	CopyLeft       float64   `json:"copy_seconds_left,omitempty"`
	CopyChunks     int       `json:"copy_chunks,omitempty"`
	CopyChunksDone int       `json:"copy_chunks_done,omitempty"`
	Checkpoint     string    `json:"checkpoint"` // LSN that its newest commit covers
	Instant        string    `json:"instant"`    // its newest commit
	CommitTime     time.Time `json:"commit_time"`
	Freshness      float64   `json:"freshness_seconds"` // age of the oldest change that is not yet in the lake, 0 when in step
	Error          string    `json:"error,omitempty"`
	Since          time.Time `json:"stopped_since,omitzero"` // with Error: since when it stands
	Again          time.Time `json:"again_at,omitzero"`      // with Error: when it is tried again by itself
	Quarantined    int64     `json:"quarantined,omitempty"`  // rows that it cannot hold, which stand in quarantine
	Note           string    `json:"note,omitempty"`         // what else there is to know of it

	Snapshot *SnapshotStatus `json:"snapshot,omitempty"` // the newest of some of its rows, beside the stream; nil: this process knows of none

	// SchemaChanges is how many changes of its schema this process has found, SchemaPending
	// how many the lake has not taken on: it is frozen, or waits for a person.
	SchemaChanges int64 `json:"schema_changes,omitempty"`
	SchemaPending int   `json:"schema_pending,omitempty"`

	Spooled int64 `json:"spooled_bytes,omitempty"` // of its changes that wait in the spool
	behind  int64 // commit time of the oldest of these, Unix microseconds; 0: none
}

// StopText says of a table that stopped since when, why, and when it is tried again.
func (t *TableStatus) StopText() string {
	s := t.Table + " stopped"
	if !t.Since.IsZero() {
		s += " at " + t.Since.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	s += ": " + t.Error
	if !t.Again.IsZero() {
		s += "; it is tried again at " + t.Again.UTC().Format("15:04:05 UTC")
	}
	return s
}

// Status is what a pipeline is doing, for people and machines.
type Status struct {
	Pipeline string          `json:"pipeline"`
	Source   change.Identity `json:"source"`
	State    State           `json:"state"`
	Read     string          `json:"read_lsn"`           // up to here the source's log was read
	Acked    string          `json:"acked_lsn"`          // up to here the source may forget
	SlotLag  int64           `json:"slot_lag_bytes"`     // bytes of log that the source wrote behind what is confirmed, -1 unknown
	Slot     *SlotStatus     `json:"governor,omitempty"` // of the slot; nil before the first measurement
	Commits  int64           `json:"commits"`
	Rows     int64           `json:"rows"`
	Spilled  int64           `json:"spilled_bytes"`
	Spooled  int64           `json:"spooled_bytes"` // changes of tables that cannot be written now
	Tables   []TableStatus   `json:"tables"`
	Error    string          `json:"error,omitempty"`
	Signal   *SignalStatus   `json:"signal,omitempty"` // the newest; nil: this process has read none
	Slots    []SlotState     `json:"slots,omitempty"`  // where there are several
}

// Status may be called at any time, by anyone.
func (p *Pipeline) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{
		Pipeline: p.opts.Name, Source: p.source,
		Read: change.LSN(p.readLSN.Load()).String(), Acked: p.acked().String(),
		SlotLag: -1, Slot: p.governor.status(), Commits: p.commits.Load(), Spilled: p.spilled.Load(), Spooled: p.spool.bytes.Load(),
	}
	if s.Slot != nil {
		s.SlotLag = s.Slot.Lag
	}
	if away := p.gate.closed(); away != nil {
		s.Error = away.Error()
	}
	if p.lastErr != nil {
		s.Error = p.lastErr.Error()
	}
	for _, t := range p.targets {
		ts := t.snapshot()
		s.Tables = append(s.Tables, ts)
		s.Rows += ts.Rows
		s.State = busier(s.State, ts.State)
	}
	s.State = cmp.Or(s.State, Waiting)
	s.Signal = p.incremental.newestSignal()
	for _, name := range p.newcomers {
		s.Tables = append(s.Tables, TableStatus{Table: name, State: Waiting, Note: newcomer})
	}
	return s
}

// Instants are the newest instants of the tables, but for those that have stopped, or whose copy is
// to be made: what the lake has of them is not of now.
func (s Status) Instants() map[string]string {
	instants := map[string]string{}
	for _, t := range s.Tables {
		if t.State != Failed && t.State != Waiting {
			instants[t.Table] = t.Instant
		}
	}
	return instants
}

// busier is the state to show for a pipeline of which one table is in state b: it streams when all do,
// and not already while the second waits for its first copy.
func busier(a, b State) State {
	rank := map[State]int{Streaming: 1, Waiting: 2, Paused: 3, CatchingUp: 4, Copying: 5, Failed: 6}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// snapshot is the table's status now.
func (t *target) snapshot() TableStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	if s.behind > 0 {
		s.Freshness = max(0, time.Since(time.UnixMicro(s.behind)).Seconds())
	} else if len(t.waiting) > 0 {
		s.Freshness = max(0, time.Since(time.UnixMicro(t.waiting[0])).Seconds())
	} else if s.State == Failed { // what it misses is not even read
		s.Freshness = max(0, time.Since(s.Since).Seconds())
	}
	return s
}

// pendingSince notes the commit time of the first change of a new round.
func (t *target) pendingSince(micros int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = append(t.waiting, micros)
}

// written notes that the oldest round's changes are in the lake.
func (t *target) written() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) > 0 {
		t.waiting = t.waiting[1:]
	}
}

func (p *Pipeline) setTargets(targets []*target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newcomers = nil
	p.targets, p.byName, p.byNumber = targets, map[string]*target{}, map[uint32]*target{}
	for _, t := range targets {
		p.byName[t.name], p.byNumber[t.number()] = t, t
	}
}

// addTarget adds a target to those of a pipeline that runs.
func (p *Pipeline) addTarget(t *target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets = append(slices.Clone(p.targets), t)
	slices.SortFunc(p.targets, func(a, b *target) int { return strings.Compare(a.name, b.name) })
	p.byName[t.name], p.byNumber[t.number()] = t, t
}

// dropTarget takes a target from those of a pipeline that runs.
func (p *Pipeline) dropTarget(t *target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.shared != nil {
		t.shared.forget(t)
	}
	p.targets = slices.DeleteFunc(slices.Clone(p.targets), func(other *target) bool { return other == t })
	delete(p.byName, t.name)
	maps.DeleteFunc(p.byNumber, func(_ uint32, other *target) bool { return other == t })
}

// renumber notes the number that the source has given to a target's table.
func (p *Pipeline) renumber(t *target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.byNumber, func(_ uint32, other *target) bool { return other == t })
	p.byNumber[t.number()] = t
}

// all are the targets now.
func (p *Pipeline) all() []*target {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.targets
}

func (p *Pipeline) targetOf(t *change.Table) *target { return p.targetNamed(t.String()) }

func (p *Pipeline) targetNamed(name string) *target {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byName[name]
}

// targetNumbered is the target whose table has a number in the source.
func (p *Pipeline) targetNumbered(number uint32) *target {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byNumber[number]
}

func (p *Pipeline) setError(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastErr = err
}

func (p *Pipeline) acked() change.LSN { return change.LSN(p.ackedLSN.Load()) }

func (p *Pipeline) phase(name string) {
	if p.opts.OnPhase != nil {
		p.opts.OnPhase(name)
	}
}

// instants is the newest commit of every table.
func (p *Pipeline) instants() map[string]string {
	m := map[string]string{}
	for _, t := range p.all() {
		if s := t.snapshot(); s.State == Streaming {
			m[t.name] = s.Instant
		}
	}
	return m
}
