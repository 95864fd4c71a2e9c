package hudi

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/lock"
	"lakefeed/hudi/timeline"
	"lakefeed/internal/golden"
	"lakefeed/internal/long"
	"lakefeed/internal/seed"
	"lakefeed/storage/file"
)

// indexModel is a partitioned table and the rows that it must have.
type indexModel struct {
	t     *testing.T
	rnd   *rand.Rand
	table *Table
	opts  CreateOptions
	rows  map[place]int64 // seq
	seq   int64
	log   []string
}

var indexPlaces = []string{"eu", "us", "ap south", ""}

func placePath(name string) string {
	if name == "" {
		name = defaultPartition
	}
	return "place=" + name
}

func (m *indexModel) global() bool { return m.table.index().global() }

// set lets a row stand where it says, and if the index is global nowhere else.
func (m *indexModel) set(r placeRow) {
	if m.global() {
		m.forget(r.id)
	}
	m.rows[place{placePath(r.place), r.id}] = r.seq
}

func (m *indexModel) forget(key string) {
	for _, p := range indexPlaces {
		delete(m.rows, place{placePath(p), key})
	}
}

func (m *indexModel) has(r placeRow) bool {
	for _, p := range indexPlaces {
		if _, ok := m.rows[place{placePath(p), r.id}]; ok && (m.global() || p == r.place) {
			return true
		}
	}
	return false
}

func (m *indexModel) row() placeRow {
	m.seq++
	return placeRow{fmt.Sprint("k", m.rnd.IntN(80)), indexPlaces[m.rnd.IntN(len(indexPlaces))], 0, m.seq}
}

// fresh are rows that the table does not have, each once.
func (m *indexModel) fresh(n int) []placeRow {
	var out []placeRow
	seen := map[string]bool{}
	for range n {
		if r := m.row(); !m.has(r) && !seen[r.id] {
			seen[r.id] = true
			out = append(out, r)
		}
	}
	return out
}

func (m *indexModel) some(n int) []placeRow {
	out := make([]placeRow, n)
	for i := range out {
		out[i] = m.row()
	}
	return out
}

// step changes the table and the model alike.
func (m *indexModel) step() {
	ctx := m.t.Context()
	var err error
	what := ""
	switch p := m.rnd.IntN(100); {
	case p < 45:
		rows := m.some(1 + m.rnd.IntN(30))
		what = fmt.Sprint("upsert ", rows)
		_, err = m.table.Upsert(ctx, placeBatch(rows...))
		for _, r := range rows {
			m.set(r)
		}
	case p < 60:
		what, err = m.delete()
	case p < 66:
		rows := m.fresh(20)
		what = fmt.Sprint("insert ", rows)
		_, err = m.table.Insert(ctx, placeBatch(rows...))
		for _, r := range rows {
			m.set(r)
		}
	case p < 72:
		rows := m.fresh(40)
		what = fmt.Sprint("bulk insert ", rows)
		_, err = m.table.BulkInsert(ctx, batches(placeBatch(rows[:len(rows)/2]...), placeBatch(rows[len(rows)/2:]...)), BulkOptions{SortBytes: 1})
		for _, r := range rows {
			m.set(r)
		}
	case p < 80:
		what, err = m.overwrite()
	case p < 90:
		what = "compact"
		_, err = m.table.Compact(ctx, CompactOptions{})
	case p < 95:
		what = "clean"
		_, err = m.table.Clean(ctx, CleanOptions{RetainCommits: 2})
	default:
		what = "reopen"
		m.table, err = Open(ctx, m.table.store, m.opts.Options)
	}
	m.log = append(m.log, what)
	if err != nil {
		m.t.Fatalf("%s: %v", what, err)
	}
}

func (m *indexModel) delete() (what string, err error) {
	if m.global() {
		var keys []string
		for _, r := range m.some(12) {
			keys = append(keys, r.id)
			m.forget(r.id)
		}
		_, err = m.table.Delete(m.t.Context(), keys...)
		return fmt.Sprint("delete ", keys), err
	}
	keys := map[string][]string{}
	for _, r := range m.some(12) {
		p := placePath(r.place)
		keys[p] = append(keys[p], r.id)
		delete(m.rows, place{p, r.id})
	}
	_, err = m.table.DeleteFrom(m.t.Context(), keys)
	return fmt.Sprint("delete ", keys), err
}

func (m *indexModel) overwrite() (what string, err error) {
	ctx, gone := m.t.Context(), map[string]bool{}
	var rows []placeRow
	switch m.rnd.IntN(3) {
	case 0:
		p := placePath(indexPlaces[m.rnd.IntN(4)])
		gone[p] = true
		what = "delete partition " + p
		_, err = m.table.DeletePartitions(ctx, p, "place=none")
	case 1:
		rows = m.fresh(15)
		for _, r := range rows {
			gone[placePath(r.place)] = true
		}
		what = fmt.Sprint("overwrite ", rows)
		_, err = m.table.InsertOverwrite(ctx, placeBatch(rows...))
	default:
		rows = m.fresh(30)
		for _, p := range indexPlaces {
			gone[placePath(p)] = true
		}
		what = fmt.Sprint("overwrite the table ", rows)
		_, err = m.table.InsertOverwriteTable(ctx, placeBatch(rows...))
	}
	maps.DeleteFunc(m.rows, func(p place, _ int64) bool { return gone[p.partition] })
	for _, r := range rows {
		m.set(r)
	}
	return what, err
}

func batches(all ...arrow.RecordBatch) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		for _, b := range all {
			if !yield(b, nil) {
				return
			}
		}
	}
}

func (m *indexModel) compare() {
	m.t.Helper()
	want := []string{}
	for p, seq := range m.rows {
		want = append(want, fmt.Sprintf("%s %s %d", p.partition, p.key, seq))
	}
	slices.Sort(want)
	diffLines(m.t, readPlaces(m.t, m.table, ReadOptions{}), want)
	if m.t.Failed() {
		m.t.FailNow()
	}
	for _, s := range m.table.Slices() {
		if s.Base == nil {
			m.t.Fatalf("file group %s has no base file", s.Group())
		}
	}
}

// TestIndexModelLong changes tables at random, through each index.
func TestIndexModelLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, opts := range map[string]Options{
		"BUCKET":        {Buckets: 2},
		"SIMPLE":        {Index: IndexSimple},
		"BLOOM":         {Index: IndexBloom},
		"GLOBAL_SIMPLE": {Index: IndexGlobalSimple},
		"GLOBAL_BLOOM":  {Index: IndexGlobalBloom, SmallFileBytes: -1},
		"GLOBAL_KEY":    {Index: IndexGlobalKey, Buckets: 2},
		"small files":   {Index: IndexSimple, MaxFileBytes: 3 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachType(t, func(t *testing.T, typ TableType) {
				create := placeOptions(typ)
				create.Options = opts
				create.RowGroupBytes = 1 << 10
				if create.Index == IndexGlobalKey {
					create.Keys = newKeyStore(t)
				}
				table, err := Create(t.Context(), newStore(t), create)
				if err != nil {
					t.Fatal(err)
				}
				m := &indexModel{t: t, rnd: rand.New(rand.NewPCG(seed.New(t), 2)), table: table, opts: create, rows: map[place]int64{}}
				t.Cleanup(func() {
					if t.Failed() {
						t.Log(strings.Join(m.log, "\n"))
					}
				})
				for range 25 {
					m.step()
					m.compare()
				}
			})
		})
	}
}

// TestInsertSizes sees small files filled, and new ones begun where they are full.
func TestInsertSizes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	opts := placeOptions(CopyOnWrite)
	opts.PartitionBy, opts.Options = nil, Options{Index: IndexSimple, MaxFileBytes: 128 << 10, SmallFileBytes: 96 << 10, RowGroupBytes: 64 << 10}
	table, err := Create(ctx, newStore(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	rows := func(from, n int) arrow.RecordBatch {
		out := make([]placeRow, n)
		for i := range out {
			out[i] = placeRow{fmt.Sprintf("%06d", from+i), "", 0, 1}
		}
		return placeBatch(out...)
	}
	for i := range 4 {
		if _, err := table.Upsert(ctx, rows(i*5, 5)); err != nil {
			t.Fatal(err)
		}
		if n := len(table.Slices()); n != 1 {
			t.Fatalf("%d file groups after commit %d, want the small one filled", n, i)
		}
	}
	if _, err := table.BulkInsert(ctx, batches(rows(1000, 12_000)), BulkOptions{}); err != nil {
		t.Fatal(err)
	}
	found := table.Slices()
	if len(found) < 3 {
		t.Fatalf("%d file groups after a bulk insert", len(found))
	}
	for _, s := range found {
		if s.Base.Size > 2*opts.MaxFileBytes {
			t.Errorf("%s has %d bytes, want about %d", s.Group(), s.Base.Size, opts.MaxFileBytes)
		}
	}
	if _, err := table.BulkInsert(ctx, batches(rows(1, 1), rows(1, 1)), BulkOptions{}); !refusedTwice(err) {
		t.Errorf("a key that comes twice: %v", err)
	}
}

// TestIndexHealsTwice gives a key that stands in two file groups, as a bulk insert
// leaves it, one row again.
func TestIndexHealsTwice(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		ctx := t.Context()
		opts := placeOptions(typ)
		opts.Options = Options{Index: IndexGlobalBloom}
		table, err := Create(ctx, newStore(t), opts)
		if err != nil {
			t.Fatal(err)
		}
		for i, place := range []string{"eu", "eu", "us"} {
			if _, err := table.BulkInsert(ctx, batches(placeBatch(placeRow{"a", place, 0, int64(i)})), BulkOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(readPlaces(t, table, ReadOptions{})); n != 3 {
			t.Fatalf("%d rows", n)
		}
		if _, err := table.Upsert(ctx, placeBatch(placeRow{"a", "us", 0, 9})); err != nil {
			t.Fatal(err)
		}
		diffLines(t, readPlaces(t, table, ReadOptions{}), []string{"place=us a 9"})
		if _, err := table.Delete(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		diffLines(t, readPlaces(t, table, ReadOptions{}), []string{})
	})
}

func TestIndexChoice(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for want, change := range map[string]func(*CreateOptions){
		"want BUCKET":       func(o *CreateOptions) { o.Index = "HBASE" },
		"there are none":    func(o *CreateOptions) { o.Index, o.Buckets = IndexBloom, 2 },
		"GLOBAL_SIMPLE, wh": func(o *CreateOptions) { o.Index, o.Buckets = IndexGlobalSimple, 0 },
		"has 2 buckets":     func(*CreateOptions) {},
	} {
		opts := placeOptions(MergeOnRead)
		change(&opts)
		store := newStore(t)
		table, err := Create(ctx, store, opts)
		if err == nil {
			_, err = table.Upsert(ctx, placeBatch(placeRow{"a", "eu", 0, 1}))
		}
		if err == nil {
			if index := table.Index(); index != opts.Index && index != IndexBucket {
				t.Errorf("index %s, want %s", index, opts.Index)
			}
			_, err = Open(ctx, store, Options{Index: IndexSimple})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestIndexOfSpark goes on with tables that Spark wrote without buckets.
func TestIndexOfSpark(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"v6_0150_cow_hive_nomdt", "v6_0150_mor_hive_nomdt"} {
		for _, index := range []IndexType{IndexSimple, IndexBloom} {
			t.Run(name+" "+string(index), func(t *testing.T) {
				t.Parallel()
				ctx := t.Context()
				store, err := file.Open(filepath.Join(golden.Unpack(t, name), "table"))
				if err != nil {
					t.Fatal(err)
				}
				table, err := Open(ctx, store, Options{})
				if err != nil {
					t.Fatal(err)
				}
				var unsupported *UnsupportedError
				if _, err := table.DeleteFrom(ctx, map[string][]string{"region=eu": {"20"}}); !errors.As(err, &unsupported) {
					t.Errorf("write with no index: %v", err)
				}
				if table, err = Open(ctx, store, Options{Index: index}); err != nil {
					t.Fatal(err)
				}
				before := tableRows(t, table, ReadOptions{})
				for batch, err := range table.Read(ctx, ReadOptions{}) { // each row over itself
					if err != nil {
						t.Fatal(err)
					}
					if _, err := table.Upsert(ctx, batch); err != nil {
						t.Fatal(err)
					}
				}
				diffLines(t, tableRows(t, table, ReadOptions{}), before)
				last, _ := table.Timeline().Last()
				m, err := table.readCommit(ctx, last)
				if err != nil {
					t.Fatal(err)
				}
				for _, stats := range m.PartitionToWriteStats {
					for _, s := range stats {
						if s.PrevCommit == timeline.NoCommit || s.NumInserts > 0 {
							t.Errorf("%s: %d inserts, over %s", s.Path, s.NumInserts, s.PrevCommit)
						}
					}
				}
			})
		}
	}
}

// TestIndexSharedKey lets two writers side by side give a row to one new key: with file
// groups of their own they would not meet, and the key would have two rows.
func TestIndexSharedKey(t *testing.T) {
	t.Parallel()
	for _, index := range []IndexType{IndexSimple, IndexGlobalKey} {
		t.Run(string(index), func(t *testing.T) {
			t.Parallel()
			ctx, store := t.Context(), newStore(t)
			lock := lock.NewProcess(t.Name())
			open := func() *Table {
				opts := placeOptions(MergeOnRead)
				opts.Options = Options{Index: index, Concurrency: Concurrency{Mode: Optimistic, Locker: lock}}
				if index == IndexGlobalKey {
					opts.Keys = newKeyStore(t)
					opts.Buckets = 1
				}
				table, err := Create(ctx, store, opts)
				if errors.Is(err, ErrTableExists) {
					table, err = Open(ctx, store, opts.Options)
				}
				if err != nil {
					t.Fatal(err)
				}
				return table
			}
			one, two := open(), open()
			write := func(x *Txn, place string) {
				keyed, err := one.keyed(placeBatch(placeRow{"a", place, 0, 1}))
				if err != nil {
					t.Fatal(err)
				}
				w := rowWriter{txn: x, index: x.table.index(), rows: keyed, lookUp: true, fill: true}
				if err := w.write(ctx, keyed.last(false), nil); err != nil {
					t.Fatal(err)
				}
			}
			x, err := one.Begin(ctx, TxnOptions{})
			if err != nil {
				t.Fatal(err)
			}
			y, err := two.Begin(ctx, TxnOptions{})
			if err != nil {
				t.Fatal(err)
			}
			write(x, "eu")
			place := "eu"
			if index == IndexGlobalKey {
				place = "us"
			}
			write(y, place)
			if _, err := x.Commit(ctx, nil); err != nil {
				t.Fatal(err)
			}
			var conflict *ConflictError
			if _, err := y.Commit(ctx, nil); !errors.As(err, &conflict) {
				t.Errorf("the second writer of the key: %v", err)
			}
			if err := y.Abort(ctx); err != nil {
				t.Fatal(err)
			}
			diffLines(t, readPlaces(t, one, ReadOptions{}), []string{"place=eu a 1"})
		})
	}
}

// refusedTwice tells whether rows were refused, for a key that comes twice.
func refusedTwice(err error) bool {
	row := new(RowError)
	return errors.As(err, &row) && row.Twice
}
