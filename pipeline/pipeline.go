// Package pipeline keeps the tables of a lake in step with one source, exactly once.
//
// [Pipeline.Run] is the story on one page. A round is whole transactions, bounded
// in bytes and time (batch.go); what does not fit in memory is spilled (spill.go).
// For every table of the round the changes are reduced to one a key (reduce.go),
// values that the source did not send are filled in (fill.go), the columns become
// the table's (convert.go), and one commit carries rows and checkpoint together
// (write.go, checkpoint.go). Only then the source may forget (Ack). Round N+1 is
// captured while round N is written.
//
// The package knows a [Source] by its interface, never a database.
package pipeline

import (
	"context"
	"log/slog"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/storage"
)

// Options say what a pipeline reads, where it lands and within which bounds.
type Options struct {
	Name   string        // of the pipeline; names its lock and progress record in the lake
	Source Source        // owned by the caller, who closes it after Run
	Lake   storage.Store // rooted at lake.url

	// Table says how a source table lands; nil: defaults for all.
	Table func(t *change.Table) TableOptions

	Interval     time.Duration // commit interval, default 10s
	MaxRows      int64         // a round closes at this many changes, default 1,000,000
	MaxBytes     int64         // ... or this many bytes of changes, default 64 MiB
	MemoryBudget int64         // bytes of changes held in memory over all rounds, default 128 MiB; what is beyond is spilled
	SpillDir     string        // default: a folder under os.TempDir, removed at the end
	LeanColumns  bool          // leave out the extra columns but _event_lsn

	CompactAfter  int // delta commits before a merge-on-read table is compacted inline, default 10
	RetainCommits int // commits whose files the cleaner keeps, default 10

	Once   bool       // copy what is missing, drain to a message sent at the start, commit, return nil
	Until  change.LSN // with Once: drain exactly to this position instead (every transaction whose commit starts before it, none after)
	Listen string     // address of this process's server, written into the lock so that others find it; may be empty

	Logger   *slog.Logger                             // silent when nil
	OnPhase  func(phase string)                       // called as work enters a phase: copy, capture, reduce, marker, data file, log append, publish, ack, rollback, compaction, clean; for crash tests
	Progress func(table string, rows, estimate int64) // first copy: rows so far; may be nil
}

// TableOptions say how one table lands.
type TableOptions struct {
	Path    string         // folder under the lake; default <schema>/<table>, cleaned
	Type    hudi.TableType // default merge-on-read
	Buckets int            // default: by the size of the source table
}

// State is what a table is doing.
type State string

// The states of a table.
const (
	Waiting    State = "waiting"     // not yet looked at
	Copying    State = "copying"     // its first copy runs
	CatchingUp State = "catching up" // behind by more than two commit intervals
	Streaming  State = "streaming"   // in step
	Failed     State = "failed"      // stopped; Error says why, the others go on
)

// TableStatus is one table's line in a [Status].
type TableStatus struct {
	Table      string    `json:"table"` // source name, "public.orders"
	Path       string    `json:"path"`  // folder under the lake
	Type       string    `json:"type"`
	Key        []string  `json:"key,omitempty"` // record key columns, empty: append-only
	State      State     `json:"state"`
	Rows       int64     `json:"rows"`       // changes written by this process, rows of the first copy included
	CopyRows   int64     `json:"copy_rows"`  // rows copied so far by a copy that runs
	Estimate   int64     `json:"estimate"`   // rows that copy expects
	Checkpoint string    `json:"checkpoint"` // LSN that its newest commit covers
	Instant    string    `json:"instant"`    // its newest commit
	CommitTime time.Time `json:"commit_time"`
	Freshness  float64   `json:"freshness_seconds"` // age of the oldest change that is not yet in the lake, 0 when in step
	Error      string    `json:"error,omitempty"`
}

// Status is what a pipeline is doing, for people and machines.
type Status struct {
	Pipeline string          `json:"pipeline"`
	Source   change.Identity `json:"source"`
	State    State           `json:"state"`
	Read     string          `json:"read_lsn"`       // up to here the source's log was read
	Acked    string          `json:"acked_lsn"`      // up to here the source may forget
	SlotLag  int64           `json:"slot_lag_bytes"` // bytes of log that the source keeps for the slot, -1 unknown
	Commits  int64           `json:"commits"`
	Rows     int64           `json:"rows"`
	Spilled  int64           `json:"spilled_bytes"`
	Tables   []TableStatus   `json:"tables"`
	Error    string          `json:"error,omitempty"`
}

// Observer is called with figures as they arise; metrics are made of them. All
// methods may be called concurrently.
type Observer interface {
	Committed(table string, rows int64, took time.Duration, latency time.Duration) // latency: source commit to lake commit, newest change
}

// Run copies what is missing, then streams until ctx ends or, with Once, until
// the lake has caught up. A table that fails is left behind and shown in
// [Pipeline.Status]; Run returns an error when the source, the lake or the lock
// fails, or at the end of Once when a table failed.
func (p *Pipeline) Run(ctx context.Context) error { return nil }

// Status may be called at any time, by anyone.
func (p *Pipeline) Status() Status { return Status{} }

// Pipeline is one source and its tables.
type Pipeline struct{}

// New makes a pipeline; nothing is touched before [Pipeline.Run].
func New(o Options) (*Pipeline, error) { return &Pipeline{}, nil }
