package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lakefeed/storage"
	"lakefeed/storage/storagetest"

	"github.com/apache/arrow-go/v18/arrow"
)

// tableModel is a table and what it must equal. Its seed chooses how keys are found,
// whether the table has partitions, and all that happens to it.
type tableModel struct {
	t      *testing.T
	rnd    *rand.Rand
	store  storage.Store
	create CreateOptions
	parts  []string // values of partitions
	table  *Table
	// follower only reads.
	follower *Table

	modelState
	past  map[string]modelState // by instant
	pins  map[string]time.Time  // until when instants are pinned
	seq   int64
	names int // of columns
	// numbers are columns of texts that were numbers once.
	numbers map[string]bool
	log     []string

	dying bool       // the store's process may die: see die
	after modelState // what the step that is at work leads to
}

func newTableModel(t *testing.T, typ TableType, seed uint64) *tableModel {
	t.Helper()
	m := &tableModel{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), store: newStore(t), past: map[string]modelState{}, numbers: map[string]bool{}, pins: map[string]time.Time{},
		modelState: modelState{schema: arrow.NewSchema([]arrow.Field{
			{Name: "id", Type: arrow.BinaryTypes.String},
			{Name: "part", Type: arrow.BinaryTypes.String, Nullable: true},
			{Name: "seq", Type: arrow.PrimitiveTypes.Int64},
			{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
			{Name: "price", Type: modelDecimal, Nullable: true},
			{Name: "n", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		}, nil), rows: map[place][]any{}},
	}
	m.parts = [][]string{{"eu", "ap south"}, {"us", ""}}[m.rnd.IntN(2)]
	m.create = m.choose(typ)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, %s by %s, partitions %v: %q", seed, typ, m.create.Index, m.create.PartitionBy, m.log)
		}
	})
	table, err := Create(t.Context(), m.store, m.create)
	if err != nil {
		t.Fatal(err)
	}
	m.table = table
	return m
}

// choose chooses what kind of a table it is. Half of them are as pipelines make them.
func (m *tableModel) choose(typ TableType) CreateOptions {
	index := IndexBucket
	if m.rnd.IntN(2) == 0 {
		index = []IndexType{IndexSimple, IndexBloom, IndexGlobalSimple, IndexGlobalBloom, IndexGlobalKey}[m.rnd.IntN(5)]
	}
	o := CreateOptions{
		Name: "model", Type: typ, Schema: m.schema, RecordKey: []string{"id"}, OrderingField: "seq",
		Options: Options{Index: index, BlockBytes: 512, RowGroupBytes: 4096, Now: fakeClock(m.rnd), Services: &ServicesOptions{}}, // its steps run them
	}
	if index == IndexGlobalKey || m.rnd.IntN(2) == 0 {
		o.PartitionBy, o.HiveStyle, o.URLEncode = []string{"part"}, m.rnd.IntN(2) == 0, m.rnd.IntN(2) == 0
	}
	switch index {
	case IndexGlobalKey:
		o.Keys = newKeyStore(m.t)
		fallthrough
	case IndexBucket:
		o.Buckets = 1 + m.rnd.IntN(3)
	default:
		o.MaxFileBytes = []int64{0, 4 << 10, 16 << 10}[m.rnd.IntN(3)]
		o.SmallFileBytes = []int64{0, -1, 3 << 10}[m.rnd.IntN(3)]
	}
	return o
}

// hashed tells whether the table has hash buckets.
func (m *tableModel) hashed() bool { return m.create.Buckets > 0 }

func (m *tableModel) global() bool { return m.table.index().global() }

func (m *tableModel) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

func (m *tableModel) check(err error) {
	m.t.Helper()
	if m.dying && errors.Is(err, storagetest.ErrFault) {
		panic(modelDeath{})
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// at is a column's place.
func (m *tableModel) at(column string) int { return m.schema.FieldIndices(column)[0] }

// path is the partition of a value.
func (m *tableModel) path(part any) string {
	if len(m.create.PartitionBy) == 0 {
		return ""
	}
	name, _ := part.(string)
	if name == "" {
		name = defaultPartition
	}
	if m.create.HiveStyle {
		name = "part=" + name
	}
	return name
}

func (m *tableModel) placeOf(row []any, s *arrow.Schema) place {
	return place{m.path(row[s.FieldIndices("part")[0]]), row[s.FieldIndices("id")[0]].(string)}
}

func (m *tableModel) key() string { return "k" + strconv.Itoa(m.rnd.IntN(120)) }

func (m *tableModel) part() any {
	if p := m.parts[m.rnd.IntN(len(m.parts))]; p != "" {
		return p
	}
	return nil
}

// row makes a row of a key.
func (m *tableModel) row(key string) []any {
	m.seq++
	row := make([]any, m.schema.NumFields())
	for i, f := range m.schema.Fields() {
		switch f.Name {
		case "id":
			row[i] = key
		case "part":
			row[i] = m.part()
		case "seq":
			row[i] = m.seq
		default:
			row[i] = randomCell(m.rnd, f)
		}
	}
	return row
}

// set lets a row stand among others, and where the index is global none else of its key.
func (m *tableModel) set(rows map[place][]any, row []any) {
	p := m.placeOf(row, m.schema)
	if m.global() {
		m.forget(rows, p.key)
	}
	rows[p] = row
}

func (m *tableModel) forget(rows map[place][]any, key string) {
	for _, name := range m.parts {
		delete(rows, place{m.path(name), key})
	}
}

// has tells whether a table has a row of a key, in any partition.
func (m *tableModel) has(key string) bool {
	for _, name := range m.parts {
		if _, ok := m.rows[place{m.path(name), key}]; ok {
			return true
		}
	}
	return false
}

// fresh are rows of keys that the table does not have.
func (m *tableModel) fresh(n int) [][]any {
	var out [][]any
	seen := map[string]bool{}
	for range m.rnd.IntN(n) {
		if k := m.key(); !m.has(k) && !seen[k] {
			seen[k] = true
			out = append(out, m.row(k))
		}
	}
	return out
}

// remember what the table is as of an instant.
func (m *tableModel) remember(instant string) { m.past[instant] = m.modelState }

// someCommit is one of the commits that can still be read.
func (m *tableModel) someCommit() string {
	all := slices.Sorted(maps.Keys(m.past))
	if len(all) == 0 {
		return ""
	}
	return all[m.rnd.IntN(len(all))]
}

// readState reads a table, or some of its columns; a key that comes twice fails.
func (m *tableModel) readState(ctx context.Context, table *Table, opts ReadOptions) (modelState, error) {
	out := modelState{rows: map[place][]any{}}
	for batch, err := range table.Read(ctx, opts) {
		if err != nil {
			return out, err
		}
		out.schema = batch.Schema()
		for i := range int(batch.NumRows()) {
			row := make([]any, batch.NumCols())
			for c := range row {
				row[c] = cellOf(batch.Column(c), i)
			}
			p := m.placeOf(row, out.schema)
			if _, twice := out.rows[p]; twice {
				return out, fmt.Errorf("key %v comes twice", p)
			}
			out.rows[p] = row
		}
	}
	return out, nil
}

// compare reads the table and compares it with the model.
func (m *tableModel) compare(table *Table, opts ReadOptions, want modelState) {
	m.t.Helper()
	got, err := m.readState(m.t.Context(), table, opts)
	m.check(err)
	m.same(fmt.Sprintf("%+v", opts), got, want)
}

// same compares states, of which the one that was read has no schema where it is empty.
func (m *tableModel) same(what string, got, want modelState) {
	m.t.Helper()
	if len(got.rows) == 0 {
		got.schema = want.schema
	}
	if got.equal(want) {
		return
	}
	if !sameColumns(got.schema, want.schema) {
		m.t.Fatalf("%s: columns %v\nwant %v", what, got.schema, want.schema)
	}
	shown := 0
	for _, p := range slices.SortedFunc(maps.Keys(modelUnion(got.rows, want.rows)), func(a, b place) int { return strings.Compare(a.key, b.key) }) {
		if g, w := got.rows[p], want.rows[p]; !slices.Equal(g, w) && shown < 3 {
			m.t.Errorf("%s: row %v: got %v, want %v", what, p, g, w)
			shown++
		}
	}
	if m.t.Failed() {
		m.t.FailNow()
	}
}
