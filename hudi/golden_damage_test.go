package hudi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/internal/golden"
	"lakefeed/internal/seed"
	"lakefeed/storage"
	"lakefeed/storage/mem"
)

// goldenDamaged are the golden tables whose files are damaged: of each version and type, with
// Avro and Parquet in their logs, with a metadata table and without.
var goldenDamaged = []string{
	"v6_0150_cow_hive_nomdt", "v6_0150_mor_hive_nomdt", "v6_0150_mor_none_nomdt_parquetlog",
	"v6_120_mor_none_nomdt", "v8_120_mor_hive_mdt", "v9_120_mor_none_nomdt_committime",
}

// goldenWound is damage to one file.
type goldenWound struct {
	file, kind string
	data       []byte // what the file is now
	flip       int64  // the byte that is another one; below 0: another kind of damage
}

// TestGoldenDamage damages files of Spark's tables, each in turn: it is emptied, cut, flipped,
// full of garbage, or another one of its kind. The table is read as before, or an error names
// the file; nothing panics.
//
// What no format has a checksum for is left out: a bit that flips in an Avro log block, in the
// text of the timeline or in a Parquet footer may say something else, and what a commit or log
// file says in the place of another may fit. There it is enough that nothing panics.
func TestGoldenDamage(t *testing.T) {
	t.Parallel()
	tables := goldenDamaged
	if soak() {
		tables = golden.Names(t)
	}
	var mu sync.Mutex
	met := map[string]int{}
	t.Run("tables", func(t *testing.T) {
		for _, name := range tables {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				g := openGolden(t, name)
				wounds := g.wounds(rand.New(rand.NewPCG(seed.New(t), 3)))
				for n := range some(t, len(wounds), 25) {
					what := g.hurt(t, wounds[n])
					mu.Lock()
					met[what]++
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("%v", met)
	if met[noticed] == 0 || met[harmless] == 0 {
		t.Errorf("want both: %v", met)
	}
}

// What becomes of damage.
const (
	noticed   = "an error"
	harmless  = "the same rows"
	unguarded = "other rows, of what has no checksum"
)

// replaced begins the kind of a wound by another file.
const replaced = "replaced by "

// metadataTable is the folder of Hudi's metadata table.
const metadataTable = ".hoodie/metadata/"

// goldenTable is a golden table in memory.
type goldenTable struct {
	store *mem.Store
	files map[string][]byte
	want  goldenView
}

// goldenView is what a reader sees of a table.
type goldenView struct{ rows, changes []string }

func openGolden(t *testing.T, name string) *goldenTable {
	t.Helper()
	g := &goldenTable{store: mem.New(), files: map[string][]byte{}}
	for file, data := range golden.Files(t, name) {
		if below, ok := strings.CutPrefix(file, name+"/table/"); ok {
			g.files[below] = data
			if err := g.store.Put(t.Context(), below, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	var err error
	if g.want, err = viewGolden(t.Context(), g.store); err != nil || len(g.want.rows) == 0 {
		t.Fatalf("%d rows, %v", len(g.want.rows), err)
	}
	return g
}

// viewGolden reads a table's rows and its changes from the beginning.
func viewGolden(ctx context.Context, store storage.Store) (v goldenView, err error) {
	table, err := Open(ctx, store, Options{})
	if err != nil {
		return v, err
	}
	if v.rows, err = sortedLines(table.Read(ctx, ReadOptions{Meta: true})); err != nil {
		return v, fmt.Errorf("read: %w", err)
	}
	if v.changes, err = sortedLines(table.Changes(ctx, ChangesOptions{})); err != nil && !errors.Is(err, ErrCleaned) {
		return v, fmt.Errorf("read changes: %w", err)
	}
	return v, nil
}

func sortedLines(rows iter.Seq2[arrow.RecordBatch, error]) (lines []string, err error) {
	for batch, err := range rows {
		if err != nil {
			return nil, err
		}
		for row := range int(batch.NumRows()) {
			var line strings.Builder
			for i, col := range batch.Columns() {
				if col.IsValid(row) {
					fmt.Fprintf(&line, "%s=%s ", batch.Schema().Field(i).Name, col.ValueStr(row))
				}
			}
			lines = append(lines, line.String())
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// kindOf is what kind a file is of, by its name.
func kindOf(file string) string {
	base := path.Base(file)
	switch {
	case strings.Contains(base, ".log."):
		return "log"
	case strings.HasSuffix(base, ".parquet"):
		return "base"
	case strings.HasPrefix(file, metaFolder):
		_, kind, _ := strings.Cut(base, ".")
		return kind
	}
	return base
}

// wounds are all that may befall the table's files, in an order of their own.
func (g *goldenTable) wounds(rnd *rand.Rand) (all []goldenWound) {
	names := slices.Sorted(maps.Keys(g.files))
	for _, file := range names {
		data := g.files[file]
		if len(data) == 0 || strings.HasPrefix(file, metadataTable) {
			continue // nothing reads them
		}
		garbage := make([]byte, len(data))
		for i := range garbage {
			garbage[i] = byte(rnd.Uint32())
		}
		all = append(all,
			goldenWound{file, "emptied", []byte{}, -1}, goldenWound{file, "cut in half", data[:len(data)/2], -1},
			goldenWound{file, "cut by a byte", data[:len(data)-1], -1}, goldenWound{file, "garbage", garbage, -1})
		for _, other := range names {
			if other != file && path.Dir(other) == path.Dir(file) && kindOf(other) == kindOf(file) && len(g.files[other]) > 0 && rnd.IntN(4) == 0 {
				all = append(all, goldenWound{file, replaced + other, g.files[other], -1})
				break
			}
		}
		for range 4 {
			at := rnd.Int64N(int64(len(data)))
			flipped := slices.Clone(data)
			flipped[at] ^= 1 << rnd.IntN(8)
			all = append(all, goldenWound{file, fmt.Sprintf("flipped at %d", at), flipped, at})
		}
	}
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// hurt damages a file, reads the table, checks it, and mends the file.
func (g *goldenTable) hurt(t *testing.T, w goldenWound) (met string) {
	t.Helper()
	ctx := t.Context()
	put := func(data []byte) {
		if err := g.store.Put(ctx, w.file, data); err != nil {
			t.Fatal(err)
		}
	}
	defer put(g.files[w.file])
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s %s: panic: %v\n%s", w.file, w.kind, p, debug.Stack())
		}
	}()
	put(w.data)
	v, err := viewGolden(ctx, g.store)
	report, checkErr := Check(ctx, g.store, CheckOptions{})
	switch same := slices.Equal(v.rows, g.want.rows) && slices.Equal(v.changes, g.want.changes); {
	case err != nil:
		if !strings.Contains(err.Error(), path.Base(w.file)) && w.guarded(g) {
			t.Errorf("%s %s: the error does not name it: %v", w.file, w.kind, err)
		}
		if checkErr == nil && report.Sound() {
			t.Errorf("%s %s: it cannot be read (%v), and the check calls it sound", w.file, w.kind, err)
		}
		return noticed
	case same:
		return harmless
	case w.guarded(g):
		t.Errorf("%s %s: %d rows, %d changes, want %d, %d, the same ones", w.file, w.kind, len(v.rows), len(v.changes), len(g.want.rows), len(g.want.changes))
	}
	return unguarded
}

// guarded tells whether damage must be noticed where it matters: not where what has no checksum
// is another thing now that makes sense.
func (w *goldenWound) guarded(g *goldenTable) bool {
	data, base := g.files[w.file], kindOf(w.file) == "base"
	if w.flip < 0 {
		return base || !strings.HasPrefix(w.kind, replaced)
	}
	if !base {
		return false
	}
	n := len(data)
	footer := int64(data[n-8]) | int64(data[n-7])<<8 | int64(data[n-6])<<16 | int64(data[n-5])<<24
	return w.flip < int64(n)-8-footer
}
