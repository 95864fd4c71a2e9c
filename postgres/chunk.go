package postgres

import (
	"context"
	"errors"
	"fmt"

	"lakefeed/change"
)

// pieceBytes is about how much of a chunk one COPY reads: between two of them a chunk
// that proves larger than it was thought to be can end.
const pieceBytes = 32 << 20

// CopyChunk emits the rows that a chunk of a table has under the snapshot, over a connection
// of its own; more chunks at once than there are connections wait for one. Where
// it has read limit bytes (0: no limit) it may end the chunk early: what it returns is what it
// has read, and the rest is to be read as another chunk. Errors are those of [Connector.Copy]; with
// SnapshotURL a standby that has not come to the snapshot's position yet is a *change.BehindError.
func (c *Connector) CopyChunk(ctx context.Context, t *change.Table, chunk change.CopyChunk, limit int64, emit func(*change.Batch) error) (change.CopyChunk, error) {
	s := c.snap
	if s == nil {
		return chunk, errors.New("copy " + t.String() + ": no snapshot is open")
	}
	done := chunk
	read := func(w *wire) (err error) {
		done, err = c.copyChunk(ctx, w, t, chunk, s.at, limit, emit)
		return err
	}
	var err error
	var until change.LSN
	if c.opts.SnapshotURL == "" {
		err = c.under(ctx, s, read)
	} else if err = s.letGo(ctx); err == nil {
		until, err = c.onStandby(ctx, s, read)
	}
	if err != nil {
		return chunk, fmt.Errorf("copy %s: %w", chunk, c.copyError(ctx, t, c.altered(ctx, t, err)))
	}
	done.Until = until
	return done, nil
}

func (c *Connector) copyChunk(ctx context.Context, w *wire, t *change.Table, chunk change.CopyChunk, at change.LSN, limit int64, emit func(*change.Batch) error) (change.CopyChunk, error) {
	now, err := c.look(ctx, t.ID)
	if err == nil && now == nil {
		err = &change.AlteredError{Table: t.String(), Err: errors.New("it is gone")}
	}
	if err != nil {
		return chunk, err
	}
	types, err := copyTypes(t, now)
	if err != nil {
		return chunk, err
	}
	if err := shownAsDescribed(ctx, w, t); err != nil {
		return chunk, err
	}
	cp := &copier{wire: w, rows: c.newRows(t, types), types: types, at: at, limit: c.opts.ChunkBytes, emit: emit, pace: c.pace.of(ctx)}
	from, err := nameOf(ctx, w, chunk.Table)
	if err != nil {
		return chunk, err
	}
	if !now.partitioned || chunk.Table != t.ID { // else through its root
		from = "ONLY " + from
	}
	if chunk.Whole {
		return chunk, cp.part(ctx, copyPart{from: filtered(t, from, ""), table: chunk.Table})
	}
	done := chunk
	for at := chunk.From; ; {
		to := pieceEnd(chunk, at)
		if err := cp.part(ctx, copyPart{filtered(t, from, blockRange(at, to)), chunk.Table, chunk.File}); err != nil {
			return chunk, err
		}
		if to == chunk.To {
			return chunk, nil
		}
		if at = to; limit > 0 && cp.total >= limit {
			done.To, done.Blocks = to, to-chunk.From
			return done, nil
		}
	}
}

// pieceEnd is where the piece ends that begins at a block.
func pieceEnd(c change.CopyChunk, at int64) int64 {
	blocks := max(c.Blocks, 1)
	to := at + max(blocks*pieceBytes/max(c.Bytes, 1), 1)
	if end := c.From + blocks; to >= end { // an open chunk's last piece is open
		return c.To
	}
	return to
}

// blockRange is the condition that takes the rows of some blocks.
func blockRange(from, to int64) string {
	if to == change.ToEnd {
		return fmt.Sprintf(" WHERE ctid >= '(%d,0)'::tid", from)
	}
	return fmt.Sprintf(" WHERE ctid >= '(%d,0)'::tid AND ctid < '(%d,0)'::tid", from, to)
}

// nameOf is the name of a table, quoted, as the snapshot has it.
func nameOf(ctx context.Context, w *wire, table uint32) (string, error) {
	defer w.watch(ctx)()
	name, err := w.value(fmt.Sprintf("SELECT %d::oid::regclass", table))
	return name, interrupted(ctx, err)
}
