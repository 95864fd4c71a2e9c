package pipeline

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
)

// A shard is one of several databases whose tables land in the same tables of the lake. Its
// source is another that describes each table with one column more, whose value is the
// shard's name. All behind it takes that for a column like any other: keys, partitions, the
// spool, quarantine, validation. See docs/adr/0015-shards.md.

// shardColumnID is the number of the column that holds the shard's name: no source has such.
const shardColumnID = -1

func isShardColumn(c change.Column) bool { return c.ID == shardColumnID }

// shardColumnOf is the index of that column in a table, -1: it has none.
func shardColumnOf(t *change.Table) int { return slices.IndexFunc(t.Columns, isShardColumn) }

// shardSource is the source of one shard.
type shardSource struct {
	Source

	shard string
	inKey func(schema, table string) bool // whether the shard is a part of a table's key

	mu   sync.Mutex
	seen map[uint32]widened // by table number: the newest version that the stream brought
}

// widened is a version of a table, and the same with the shard's column.
type widened struct{ from, to *change.Table }

// NewShardSource is the source of a shard. InKey says of which tables it is a part of the key; each of their rows
// has the shard in the column db_shard_source_partition.
func NewShardSource(s Source, shard string, inKey func(schema, table string) bool) Source {
	return &shardSource{Source: s, shard: shard, inKey: inKey, seen: map[uint32]widened{}}
}

// widen is a table with the shard's column behind its own, and in front of its key's where it is one of them.
func (s *shardSource) widen(t *change.Table) *change.Table {
	out, n := *t, len(t.Columns)
	out.Columns = append(slices.Clone(t.Columns), change.Column{
		Name: colShard, Type: "text", Arrow: arrow.BinaryTypes.String, ID: shardColumnID, Shape: "shard",
	})
	if t.KeyKind != change.NoKey && s.inKey(t.Schema, t.Name) {
		out.Key = append([]int{n}, t.Key...)
	}
	if columnIndex(t, colShard) >= 0 && t.Refused == "" {
		out.Refused = "it has a column named " + colShard + " itself, which holds the shard's name in the lake: rename it"
	}
	return &out
}

func (s *shardSource) widenAll(tables []*change.Table) []*change.Table {
	out := make([]*change.Table, len(tables))
	for i, t := range tables {
		out[i] = s.widen(t)
	}
	return out
}

// ownTable is a table as the source behind knows it.
func ownTable(t *change.Table) *change.Table {
	at := shardColumnOf(t)
	if at < 0 {
		return t
	}
	out := *t
	out.Columns, out.Key = slices.Delete(slices.Clone(t.Columns), at, at+1), nil
	for _, k := range t.Key {
		if k > at {
			k--
		} else if k == at {
			continue
		}
		out.Key = append(out.Key, k)
	}
	return &out
}

// versionOf is widen for the tables of batches, of which those of one version share one.
func (s *shardSource) versionOf(t *change.Table) *change.Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.seen[t.ID]; ok && w.from == t {
		return w.to
	}
	w := widened{t, s.widen(t)}
	s.seen[t.ID] = w
	return w.to
}

// batch is a batch of a table as t has it.
func (s *shardSource) batch(b *change.Batch, t *change.Table) *change.Batch {
	at := shardColumnOf(t)
	if at < 0 {
		return b
	}
	out := *b
	out.Table = t
	out.Rows = array.NewRecordBatch(t.ArrowSchema(), slices.Insert(slices.Clone(b.Rows.Columns()), at, s.constant(b.Len())), int64(b.Len()))
	if b.Unchanged != nil {
		out.Unchanged = slices.Insert(slices.Clone(b.Unchanged), at, nil)
	}
	if b.Keys != nil {
		out.Keys = s.keys(b.Keys)
	}
	if slices.Contains(t.Key, at) && len(b.Rejects) > 0 {
		out.Rejects = s.rejects(b.Rejects, slices.Index(t.Key, at))
	}
	return &out
}

// constant is the shard's name, n times.
func (s *shardSource) constant(n int) arrow.Array {
	b := array.NewStringBuilder(mem)
	b.Reserve(n)
	b.ReserveData(n * len(s.shard))
	for range n {
		b.Append(s.shard)
	}
	return b.NewStringArray()
}

// keys are record keys that the source made: positions of a log, of which each shard has its own.
func (s *shardSource) keys(of *array.String) *array.String {
	b := array.NewStringBuilder(mem)
	b.Reserve(of.Len())
	for row := range of.Len() {
		b.Append(s.shard + "/" + of.Value(row))
	}
	return b.NewStringArray()
}

// rejects are rows that their table cannot hold, with the shard among their keys' values.
func (s *shardSource) rejects(of map[int]*change.Reject, at int) map[int]*change.Reject {
	out := maps.Clone(of)
	for row, r := range of {
		known := *r
		known.Key = slices.Insert(slices.Clone(r.Key), min(at, len(r.Key)), s.shard)
		out[row] = &known
	}
	return out
}

// emit hands on the batches of a copy of t.
func (s *shardSource) emit(t *change.Table, emit func(*change.Batch) error) func(*change.Batch) error {
	return func(b *change.Batch) error { return emit(s.batch(b, t)) }
}

// Tables implements [Source].
func (s *shardSource) Tables(ctx context.Context) ([]*change.Table, error) {
	tables, err := s.Source.Tables(ctx)
	return s.widenAll(tables), err
}

// Look implements [Source].
func (s *shardSource) Look(ctx context.Context) (*change.Look, error) {
	look, err := s.Source.Look(ctx)
	if err != nil {
		return nil, err
	}
	out := *look
	out.Tables = s.widenAll(look.Tables)
	return &out, nil
}

// Prepare implements [Source].
func (s *shardSource) Prepare(ctx context.Context, tables []*change.Table, followed func(*change.Table) bool) (*change.Prepared, error) {
	all := map[string]*change.Table{}
	narrowed := make([]*change.Table, len(tables))
	for i, t := range tables {
		all[t.String()], narrowed[i] = t, ownTable(t)
	}
	prepared, err := s.Source.Prepare(ctx, narrowed, followed)
	if err != nil {
		return nil, err
	}
	given := func(t *change.Table) *change.Table {
		if known := all[t.String()]; known != nil {
			return known
		}
		return t
	}
	out := *prepared
	out.Missing, out.Failed = slices.Clone(prepared.Missing), slices.Clone(prepared.Failed)
	for i, t := range out.Missing {
		out.Missing[i] = given(t)
	}
	for i := range out.Failed {
		out.Failed[i].Table = given(out.Failed[i].Table)
	}
	return &out, nil
}

// Copy implements [Source].
func (s *shardSource) Copy(ctx context.Context, t *change.Table, emit func(*change.Batch) error) error {
	return s.Source.Copy(ctx, ownTable(t), s.emit(t, emit))
}

// PlanCopy implements [Source].
func (s *shardSource) PlanCopy(ctx context.Context, t *change.Table, chunkBytes int64) (*change.CopyPlan, error) {
	return s.Source.PlanCopy(ctx, ownTable(t), chunkBytes)
}

// CopyChunk implements [Source].
func (s *shardSource) CopyChunk(ctx context.Context, t *change.Table, chunk change.CopyChunk, limit int64, emit func(*change.Batch) error) (change.CopyChunk, error) {
	return s.Source.CopyChunk(ctx, ownTable(t), chunk, limit, s.emit(t, emit))
}

// CopyKeys implements [Source].
func (s *shardSource) CopyKeys(ctx context.Context, t *change.Table, keys [][]string, emit func(*change.Batch) error) error {
	if at := slices.Index(t.Key, shardColumnOf(t)); at >= 0 {
		own := make([][]string, len(keys))
		for i, k := range keys {
			own[i] = slices.Delete(slices.Clone(k), at, at+1)
		}
		keys = own
	}
	return s.Source.CopyKeys(ctx, ownTable(t), keys, s.emit(t, emit))
}

// CheckWhere implements [Source].
func (s *shardSource) CheckWhere(ctx context.Context, t *change.Table, where string) error {
	return s.Source.CheckWhere(ctx, ownTable(t), where)
}

// CopyWhere implements [Source].
func (s *shardSource) CopyWhere(ctx context.Context, t *change.Table, where string, begun func(change.LSN), emit func(*change.Batch) error) error {
	return s.Source.CopyWhere(ctx, ownTable(t), where, begun, s.emit(t, emit))
}

// Within implements [Source].
func (s *shardSource) Within(ctx context.Context, t *change.Table, b change.Bound, rows [][]string) ([]bool, error) {
	return s.Source.Within(ctx, ownTable(t), b, rows)
}

// Cover implements [Source].
func (s *shardSource) Cover(t *change.Table, lsn change.LSN) { s.Source.Cover(ownTable(t), lsn) }

// Follow implements [Source].
func (s *shardSource) Follow(t *change.Table) { s.Source.Follow(ownTable(t)) }

// Next implements [Source].
func (s *shardSource) Next(ctx context.Context, wait time.Duration) (*change.Chunk, error) {
	chunk, err := s.Source.Next(ctx, wait)
	if err != nil || len(chunk.Batches) == 0 {
		return chunk, err
	}
	out := *chunk
	out.Batches = make([]*change.Batch, len(chunk.Batches))
	for i, b := range chunk.Batches {
		out.Batches[i] = s.batch(b, s.versionOf(b.Table))
	}
	return &out, nil
}
