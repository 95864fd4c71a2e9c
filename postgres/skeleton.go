package postgres

import (
	"context"
	"errors"
	"time"

	"lakefeed/change"
)

var errLater = errors.New("postgres: not built yet")

type (
	typeCache struct{}
	snapshot  struct{}
	stream    struct{}
)

func newTypeCache() *typeCache { return nil }

func (c *Connector) closeStream() error { return nil }

// Tables are the tables that Options.Match takes, as the catalogs have them now.
func (c *Connector) Tables(ctx context.Context) ([]*change.Table, error) { return nil, errLater }

// Slot is the state of the pipeline's slot, nil where there is none.
func (c *Connector) Slot(ctx context.Context) (*change.SlotState, error) { return nil, errLater }

// Prepare makes the publications hold exactly these tables. It is idempotent and
// must run before the slot is made.
func (c *Connector) Prepare(ctx context.Context, tables []*change.Table) error { return errLater }

// CreateSlot makes the slot and keeps a snapshot of its consistent point, which it returns, for Copy.
func (c *Connector) CreateSlot(ctx context.Context) (change.LSN, error) { return 0, errLater }

// DropSlot removes the slot; that there is none is no error.
func (c *Connector) DropSlot(ctx context.Context) error { return errLater }

// OpenSnapshot keeps a snapshot of the present, at the position that it returns, for Copy beside an existing slot.
func (c *Connector) OpenSnapshot(ctx context.Context) (change.LSN, error) { return 0, errLater }

// Copy emits every row that a table has under the snapshot. emit is never called concurrently.
func (c *Connector) Copy(ctx context.Context, t *change.Table, emit func(*change.Batch) error) error {
	return errLater
}

// CloseSnapshot lets go of the snapshot.
func (c *Connector) CloseSnapshot(ctx context.Context) error { return nil }

// Stream starts to read the log behind from.
func (c *Connector) Stream(ctx context.Context, from change.LSN) error { return errLater }

// Next returns what came, after wait at the latest.
func (c *Connector) Next(ctx context.Context, wait time.Duration) (*change.Chunk, error) {
	return nil, errLater
}

// Ack lets the server forget everything up to lsn.
func (c *Connector) Ack(ctx context.Context, lsn change.LSN) error { return errLater }

// Emit writes a logical message into the log, durably, and returns its position.
func (c *Connector) Emit(ctx context.Context, content string) (change.LSN, error) { return 0, errLater }

// LagBytes is how much log was written behind what the slot's reader has confirmed.
func (c *Connector) LagBytes(ctx context.Context) (int64, error) { return 0, errLater }

// Severity says how bad a Problem is.
type Severity int

// The severities.
const (
	Warning Severity = iota // it works, though not as one may think
	Error                   // it does not work
)

// Problem is one thing that Check found.
type Problem struct {
	Severity  Severity
	Table     string // "public.orders", empty where it concerns the server
	What      string
	Statement string // the SQL or setting that mends it, where there is one
}

// Check looks for everything that would keep a pipeline from working. An error
// means that the looking itself failed; that the database cannot be reached is a Problem.
func Check(ctx context.Context, opts Options) ([]Problem, error) { return nil, errLater }

// Retryable reports whether the same call may succeed later: the server restarts,
// the network failed, connections are scarce, the slot is still held.
func Retryable(err error) bool { return false }
