package pipeline

import (
	"cmp"
	"time"

	"lakefeed/change"
)

// Bootstrap says how large tables are copied.
type Bootstrap struct {
	// ResumeAbove is the size in the source, in bytes, from which on a table is copied chunk by
	// chunk, so that an interrupted copy goes on; default 4 GiB, with Standby 64 MiB. Smaller
	// tables begin anew.
	ResumeAbove int64
	// ChunkBytes is about how many bytes of rows a chunk has; default 64 MiB, or more where a
	// table would have more than 256 chunks, of each of which something is in memory when they are merged.
	ChunkBytes int64
	// Standby says that the source reads chunks on a standby: for what passes there they wait.
	Standby bool
	// Readers is how many chunks are read at once; default 4.
	Readers int
	// Patience is how long a copy waits for a standby that stands still, or is away, where others wait to
	// be made; default 2 minutes.
	Patience time.Duration
}

const (
	resumeAbove = 4 << 30
	chunkBytes  = 64 << 20
	mostChunks  = 256
	readers     = 4
	// standbyPatience is how long a copy waits for a standby while others wait for the copy.
	standbyPatience = 2 * time.Minute
)

func (b *Bootstrap) readers() int { return cmp.Or(b.Readers, readers) }

func (b *Bootstrap) patience() time.Duration { return cmp.Or(b.Patience, standbyPatience) }

// inChunks is [Bootstrap.InChunks]; a shard's rows, which come to those of others, are read in one pass.
func (p *Pipeline) inChunks(t *change.Table) bool {
	return p.opts.Shards == nil && p.opts.Bootstrap.InChunks(t)
}

// takesChunks reports whether a table's copy is made chunk by chunk: that of a large one, and one
// that has begun so, whatever is configured now.
func (p *Pipeline) takesChunks(t *target, v *change.Table) bool {
	return (p.inChunks(v) || t.foreign || t.stage != nil && v.KeyKind != change.NoKey) && (t.recopy == nil || !t.recopy.pass)
}

// InChunks reports whether a table is copied chunk by chunk. One without a key is not: its
// rows can be told apart under one snapshot only.
func (b *Bootstrap) InChunks(t *change.Table) bool {
	return t.KeyKind != change.NoKey && !t.LogOnly && t.Bytes >= b.resumeAbove()
}

func (b *Bootstrap) resumeAbove() int64 {
	if b.Standby {
		return cmp.Or(b.ResumeAbove, chunkBytes)
	}
	return cmp.Or(b.ResumeAbove, resumeAbove)
}

// ChunkOf is about how many bytes of rows a chunk of a table has.
func (b *Bootstrap) ChunkOf(t *change.Table) int64 {
	return cmp.Or(b.ChunkBytes, max(chunkBytes, t.Bytes/mostChunks))
}
