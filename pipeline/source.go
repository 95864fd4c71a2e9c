package pipeline

import (
	"context"
	"time"

	"lakefeed/change"
)

// Source is where changes come from. postgres.Connector is one. The order of
// calls is Identity, Tables, Prepare, then a slot and copies under its snapshot,
// then Cover, Expect, Stream, Next and Ack until the end, and EndStream.
type Source interface {
	// Identity names the log that the source's positions belong to.
	Identity(ctx context.Context) (change.Identity, error)
	// History is where the log that Identity names comes from: the timelines that were left for it, and where.
	History(ctx context.Context) ([]change.Branch, error)
	// Tables are the tables to keep in step, as the source has them now.
	Tables(ctx context.Context) ([]*change.Table, error)
	// Look is what the source's catalogs say of those tables now; it may be called beside Next.
	Look(ctx context.Context) (*change.Look, error)
	// Slot is the state of the source's slot, nil where there is none.
	Slot(ctx context.Context) (*change.SlotState, error)
	// Published is how the tables are published now, by table number.
	Published(ctx context.Context) (map[uint32]change.Published, error)
	// Prepare makes the source publish the tables, those that it can; it is idempotent.
	// One that was followed until now and is not published has lost changes: it is left so, and named.
	Prepare(ctx context.Context, tables []*change.Table, followed func(*change.Table) bool) (*change.Prepared, error)
	// Publications are those of the pipeline that the source has; where only somebody else can
	// drop them the error is a *change.ByHandError. Unpublish drops them; that there are none is no error.
	Publications(ctx context.Context) ([]string, error)
	Unpublish(ctx context.Context) error
	// CreateSlot makes the slot and holds a snapshot of its consistent point,
	// which it returns, for Copy.
	CreateSlot(ctx context.Context) (change.LSN, error)
	// DropSlot removes the slot.
	DropSlot(ctx context.Context) error
	// OpenSnapshot holds a snapshot at a position, for copies beside an existing slot.
	OpenSnapshot(ctx context.Context) (change.LSN, error)
	// Copy emits every row that a table has under the snapshot; emit is never called concurrently.
	// Where the snapshot does not show the table any more it returns a *change.RewrittenError.
	Copy(ctx context.Context, t *change.Table, emit func(*change.Batch) error) error
	// PlanCopy cuts a table into chunks of about so many bytes.
	PlanCopy(ctx context.Context, t *change.Table, chunkBytes int64) (*change.CopyPlan, error)
	// CopyChunk emits the rows that a chunk has under the snapshot. It may be called for several
	// chunks at once. Where it has read limit bytes it may end the chunk early: it returns what it has read.
	CopyChunk(ctx context.Context, t *change.Table, chunk change.CopyChunk, limit int64, emit func(*change.Batch) error) (change.CopyChunk, error)
	// CopyKeys emits the rows with some keys, given by their values' texts, as Copy does.
	CopyKeys(ctx context.Context, t *change.Table, keys [][]string, emit func(*change.Batch) error) error
	// CheckWhere sees that a condition, in the source's own language, is one for rows of a table; if
	// it is not, the error is a *change.ConditionError. It may be called beside Next.
	CheckWhere(ctx context.Context, t *change.Table, where string) error
	// CopyWhere emits the rows that meet a condition, which CheckWhere has taken, or all where it is empty; t may be
	// narrower than the table, with what it lacks in Left. Begun is called before
	// the first: with until they may show what commits before that position too, with 0 they show the snapshot, exactly.
	CopyWhere(ctx context.Context, t *change.Table, where string, begun func(until change.LSN), emit func(*change.Batch) error) error
	// HasRows reports whether a partition has a row, and with before one of a transaction that had
	// ended at a look with that horizon; where that is not certain, there is a row, and with before none.
	HasRows(ctx context.Context, leaf change.Leaf, before uint64) (bool, error)
	// Bounds are the conditions that the rows of partitions meet, as far as they can be had.
	Bounds(ctx context.Context, leaves []uint32) (map[uint32]change.Bound, error)
	// Within reports for each of some rows, given by the texts of the columns that a bound is about, whether it meets it.
	Within(ctx context.Context, t *change.Table, b change.Bound, rows [][]string) ([]bool, error)
	// CloseSnapshot lets go of it.
	CloseSnapshot(ctx context.Context) error
	// Cover says that the lake holds a table's changes of transactions whose commit
	// starts before lsn: the next Stream leaves them out, and one that it could not deliver stops nothing.
	Cover(t *change.Table, lsn change.LSN)
	// Follow says that a table's changes are wanted from the next transaction on, though one
	// could not be delivered, and as the catalogs describe it by then; it may be called beside Next.
	Follow(t *change.Table)
	// Expect says that a transaction was read from this log before. Where the next Stream
	// begins at or before it and the log does not hold it, Next returns a *change.HistoryError.
	Expect(m change.Mark)
	// Stream starts to read behind from.
	Stream(ctx context.Context, from change.LSN) error
	// Next returns what came, after wait at the latest.
	Next(ctx context.Context, wait time.Duration) (*change.Chunk, error)
	// EndStream ends what Stream began, so that its slot is free.
	EndStream() error
	// Ack lets the source forget everything up to lsn.
	Ack(ctx context.Context, lsn change.LSN) error
	// Emit writes a logical message into the log and returns its position. Where the source
	// takes none the error is change.ErrReadOnly, and the position the end of its log.
	Emit(ctx context.Context, content string) (change.LSN, error)
	// Figures is what the source says of the log that it keeps for the slot, nil where there is
	// none; it may be called beside everything else, and waits for nothing else.
	Figures(ctx context.Context) (*change.SlotFigures, error)
	// GiveUpSlot removes the slot though we read it; it may be called beside everything else.
	GiveUpSlot(ctx context.Context) error
}
