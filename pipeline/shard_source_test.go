package pipeline

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
)

// scripted is a source that hands out one batch, and keeps what it is asked for.
type scripted struct {
	Source

	table  *change.Table
	batch  *change.Batch
	copied *change.Table
	keys   [][]string
}

func (s *scripted) Tables(context.Context) ([]*change.Table, error) {
	return []*change.Table{s.table}, nil
}

func (s *scripted) Next(context.Context, time.Duration) (*change.Chunk, error) {
	return &change.Chunk{Batches: []*change.Batch{s.batch}}, nil
}

func (s *scripted) CopyKeys(_ context.Context, t *change.Table, keys [][]string, emit func(*change.Batch) error) error {
	s.copied, s.keys = t, keys
	b := *s.batch
	b.Table = t
	return emit(&b)
}

func (s *scripted) Prepare(_ context.Context, tables []*change.Table, _ func(*change.Table) bool) (*change.Prepared, error) {
	s.copied = tables[0]
	return &change.Prepared{Missing: tables, Failed: []change.Failure{{Table: tables[0]}}}, nil
}

func scriptedSource() *scripted {
	t := &change.Table{
		Schema: "public", Name: "items", ID: 7, Key: []int{1}, KeyKind: change.PrimaryKey,
		Columns: []change.Column{{Name: "body", Type: "text", Arrow: arrow.BinaryTypes.String, ID: 2, Nullable: true}, {Name: "id", Type: "integer", Arrow: arrow.PrimitiveTypes.Int32, ID: 1}},
	}
	bodies, ids := array.NewStringBuilder(mem), array.NewInt32Builder(mem)
	bodies.AppendNull()
	bodies.Append("b")
	ids.AppendValues([]int32{1, 2}, nil)
	unsent := new(change.Bits)
	unsent.Set(0)
	return &scripted{table: t, batch: &change.Batch{
		Table: t, Rows: array.NewRecordBatch(t.ArrowSchema(), []arrow.Array{bodies.NewArray(), ids.NewArray()}, 2),
		Ops: []change.Op{change.Update, change.Create}, At: make([]change.Position, 2), Times: make([]int64, 2), Xids: make([]uint32, 2),
		Unchanged: []*change.Bits{unsent, nil}, Rejects: map[int]*change.Reject{1: {Key: []string{"2"}}},
	}}
}

// TestShardSource looks at what a shard's source makes of tables and batches, and what the one behind it is asked.
func TestShardSource(t *testing.T) {
	t.Parallel()
	for _, inKey := range []bool{true, false} {
		inner := scriptedSource()
		s := NewShardSource(inner, "eu", func(string, string) bool { return inKey })
		chunk, err := s.Next(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		b, again := chunk.Batches[0], func() *change.Table {
			c, err := s.Next(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			return c.Batches[0].Table
		}()
		if again != b.Table {
			t.Error("batches of one version do not share one table")
		}
		keys, err := recordKeys(b)
		if err != nil {
			t.Fatal(err)
		}
		wantKeys, wantReject := []string{"1", "2"}, []string{"2"}
		if inKey {
			wantKeys, wantReject = []string{"db_shard_source_partition:eu,id:1", "db_shard_source_partition:eu,id:2"}, []string{"eu", "2"}
		}
		if got := []string{keys.Value(0), keys.Value(1)}; !slices.Equal(got, wantKeys) {
			t.Errorf("record keys %q, want %q", got, wantKeys)
		}
		if got := b.Rejects[1].Key; !slices.Equal(got, wantReject) || len(inner.batch.Rejects[1].Key) != 1 {
			t.Errorf("the key of a row that does not fit is %q", got)
		}
		if !b.HasUnchanged(0) || b.HasUnchanged(1) || len(b.Unchanged) != 3 || b.Rows.Column(2).ValueStr(1) != "eu" {
			t.Errorf("got %v, %v", b.Rows, b.Unchanged)
		}
		schema := newSchema(b.Table, true, nil)
		if at := schema.FieldIndices(colShard); len(at) != 1 || schema.Field(at[0]).Nullable == inKey || schema.NumFields() != 4 {
			t.Errorf("the lake's schema is %v", schema)
		}
		asked := [][]string{{"2"}}
		if inKey {
			asked = [][]string{{"eu", "2"}}
		}
		err = s.CopyKeys(t.Context(), b.Table, asked, func(c *change.Batch) error {
			if c.Table != b.Table || c.Rows.NumCols() != 3 {
				t.Errorf("copied rows are of %v", c.Rows.Schema())
			}
			return nil
		})
		if err != nil || len(inner.copied.Columns) != 2 || !slices.Equal(inner.copied.Key, []int{1}) || !slices.Equal(inner.keys[0], []string{"2"}) {
			t.Errorf("the source was asked for %q of %+v, %v", inner.keys, inner.copied, err)
		}
		prepared, err := s.Prepare(t.Context(), []*change.Table{b.Table}, nil)
		if err != nil || prepared.Missing[0] != b.Table || prepared.Failed[0].Table != b.Table || len(inner.copied.Columns) != 2 {
			t.Errorf("prepared %+v, %v", prepared, err)
		}
	}
}

// A table without a key gets record keys that no other shard makes; one with a column of the name is refused.
func TestShardSourceOddTables(t *testing.T) {
	t.Parallel()
	inner := scriptedSource()
	inner.table.Key, inner.table.KeyKind = nil, change.NoKey
	keys := array.NewStringBuilder(mem)
	keys.AppendValues([]string{"0/1,0", "0/1,1"}, nil)
	inner.batch.Keys = keys.NewStringArray()
	s := NewShardSource(inner, "eu", func(string, string) bool { return true })
	chunk, err := s.Next(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if b := chunk.Batches[0]; b.Keys.Value(1) != "eu/0/1,1" || len(b.Table.Key) != 0 || !keyedByShard(b.Table) {
		t.Errorf("key %q of %v", b.Keys.Value(1), b.Table.Key)
	}
	inner.table.Columns[0].Name = colShard
	tables, err := s.Tables(t.Context())
	if err != nil || tables[0].Refused == "" {
		t.Errorf("a table with a column of that name is taken: %+v, %v", tables[0], err)
	}
}
