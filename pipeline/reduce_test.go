package pipeline

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
)

// narrow is a table with a key, a value and a wide value that updates may leave out.
var narrow = &change.Table{
	Schema: "public", Name: "t", ID: 1, Key: []int{0}, KeyKind: change.PrimaryKey,
	Columns: []change.Column{
		{Name: "id", Type: "integer", Arrow: arrow.PrimitiveTypes.Int32},
		{Name: "v", Type: "integer", Arrow: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "wide", Type: "text", Arrow: arrow.BinaryTypes.String, Nullable: true},
	},
}

// changes builds batches of the table narrow.
type changes struct {
	b      *array.RecordBuilder
	batch  change.Batch
	commit change.LSN
}

func newChanges() *changes {
	return &changes{b: array.NewRecordBuilder(mem, narrow.ArrowSchema()), commit: 100}
}

// add appends a change; wide "" leaves the wide value out where the row is an update.
func (c *changes) add(op change.Op, id, v int, wide string, moved bool) {
	row := len(c.batch.Ops)
	c.b.Field(0).(*array.Int32Builder).Append(int32(id))
	if op == change.Delete {
		c.b.Field(1).AppendNull()
		c.b.Field(2).AppendNull()
	} else {
		c.b.Field(1).(*array.Int32Builder).Append(int32(v))
		if wide == "" {
			c.b.Field(2).AppendNull()
			if c.batch.Unchanged == nil {
				c.batch.Unchanged = make([]*change.Bits, 3)
				c.batch.Unchanged[2] = new(change.Bits)
			}
			c.batch.Unchanged[2].Set(row)
		} else {
			c.b.Field(2).(*array.StringBuilder).Append(wide)
		}
	}
	if moved {
		if c.batch.Moved == nil {
			c.batch.Moved = new(change.Bits)
		}
		c.batch.Moved.Set(row)
	}
	c.batch.Ops = append(c.batch.Ops, op)
	c.batch.At = append(c.batch.At, change.Position{Commit: c.commit, Index: uint64(row)})
	c.batch.Times = append(c.batch.Times, 1)
	c.batch.Xids = append(c.batch.Xids, 1)
}

func (c *changes) done() *change.Batch {
	b := c.batch
	b.Table, b.Rows = narrow, c.b.NewRecordBatch()
	c.batch, c.commit = change.Batch{}, c.commit+10
	return &b
}

// model is what a table of narrow's kind holds.
type model map[int]modelRow

type modelRow struct {
	v    int
	wide string
}

// random applies random changes to the model and returns them as batches.
func (m model) random(rng *rand.Rand, batches, rowsEach int) []*change.Batch {
	var out []*change.Batch
	c := newChanges()
	for range batches {
		for len(c.batch.Ops) < rowsEach {
			m.step(rng, c)
		}
		out = append(out, c.done())
	}
	return out
}

func (m model) step(rng *rand.Rand, c *changes) {
	id, v := rng.IntN(40), rng.IntN(1000)
	old, exists := m[id]
	wide := fmt.Sprintf("wide %d", rng.IntN(1000))
	switch {
	case !exists:
		m[id] = modelRow{v, wide}
		c.add(change.Create, id, v, wide, false)
	case rng.IntN(4) == 0:
		delete(m, id)
		c.add(change.Delete, id, 0, "", false)
	case rng.IntN(3) == 0:
		to := rng.IntN(40)
		if _, taken := m[to]; taken {
			return
		}
		delete(m, id)
		c.add(change.Delete, id, 0, "", false)
		if rng.IntN(3) > 0 {
			m[to] = modelRow{v, old.wide}
			c.add(change.Update, to, v, "", true)
		} else {
			m[to] = modelRow{v, wide}
			c.add(change.Update, to, v, wide, true)
		}
	case rng.IntN(2) == 0:
		m[id] = modelRow{v, old.wide}
		c.add(change.Update, id, v, "", false)
	default:
		m[id] = modelRow{v, wide}
		c.add(change.Update, id, v, wide, false)
	}
}

// apply does to the stored rows what the writer would do with what remains of the parts.
func apply(t *testing.T, stored model, p *pending, budget int64) model {
	t.Helper()
	after := maps.Clone(stored)
	seen := map[string]bool{}
	once := func(key string) {
		if seen[key] {
			t.Fatalf("key %s survives twice", key)
		}
		seen[key] = true
	}
	for slabs, err := range p.parts(budget) {
		if err != nil {
			t.Fatal(err)
		}
		r := reduce(slabs, p.limit)
		for _, k := range r.deletes {
			once(k)
			delete(after, atoi(k))
		}
		for _, at := range r.upserts {
			s := r.slabs[at.slab]
			once(s.keys.Value(int(at.row)))
			id := int(s.Rows.Column(0).(*array.Int32).Value(int(at.row)))
			row := modelRow{v: int(s.Rows.Column(1).(*array.Int32).Value(int(at.row)))}
			from, key, ok := r.value(at, 2)
			if ok {
				row.wide = r.slabs[from.slab].Rows.Column(2).(*array.String).Value(int(from.row))
			} else {
				old, found := stored[atoi(key)]
				if !found {
					t.Fatalf("row %d is to be filled from row %s, which is not stored", id, key)
				}
				row.wide = old.wide
			}
			after[id] = row
		}
	}
	return after
}

func atoi(s string) (n int) { _, _ = fmt.Sscan(s, &n); return n }

// TestReduce applies random changes to a model, and what is left of them after
// reduction to the rows stored before, from memory and from disk.
func TestReduce(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		want := model{}
		for i := range 20 {
			want[i] = modelRow{i, fmt.Sprintf("stored %d", i)}
		}
		stored := maps.Clone(want)
		batches := want.random(rng, 1+rng.IntN(4), 1+rng.IntN(60))
		for _, way := range []string{"memory", "disk", "disk, divided again", "half on disk"} {
			p := &pending{}
			for i, b := range batches {
				if err := p.add(b); err != nil {
					t.Fatal(err)
				}
				if way != "memory" && (way != "half on disk" || i == 0) {
					if err := p.toDisk(t.TempDir()); err != nil {
						t.Fatal(err)
					}
				}
			}
			budget := int64(1 << 30)
			if way == "disk, divided again" {
				budget = 1500
			}
			for range 2 { // a round can be written again
				if got := apply(t, stored, p, budget); !maps.Equal(got, want) {
					t.Fatalf("seed %d, from %s:\n got %v\nwant %v", seed, way, got, want)
				}
			}
			p.reset()
		}
	}
}
