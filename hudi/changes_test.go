package hudi

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/timeline"
	"lakefeed/internal/golden"
	"lakefeed/storage"
	"lakefeed/storage/file"
)

// changedRows reads changes as lines in the form of the expected files.
func changedRows(t *testing.T, table *Table, opts ChangesOptions) []string {
	t.Helper()
	return rowLines(t, table.Changes(t.Context(), opts))
}

// TestGoldenChanges reads what Spark read incrementally.
func TestGoldenChanges(t *testing.T) {
	for _, name := range golden.Names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := golden.Unpack(t, name)
			store, err := file.Open(filepath.Join(dir, "table"))
			if err != nil {
				t.Fatal(err)
			}
			table, err := Open(t.Context(), store, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for what, path := range golden.Expected(t, dir) {
				from, ok := strings.CutPrefix(what, "incremental_from_")
				if !ok {
					continue
				}
				t.Run(what, func(t *testing.T) {
					opts := ChangesOptions{From: strings.TrimPrefix(from, "completion_"), Meta: true, BatchRows: 100}
					diffLines(t, changedRows(t, table, opts), goldenRows(t, path))
				})
			}
		})
	}
}

// image is what a read with images says of a key.
type image struct{ op, before, after string }

// imagesOf are the images of each key; a key that comes twice fails.
func imagesOf(t *testing.T, table *Table, opts ChangesOptions) map[string]image {
	t.Helper()
	opts.Images = true
	out := map[string]image{}
	for batch, err := range table.Changes(t.Context(), opts) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(batch.NumRows()) {
			m := image{op: canonicalValue(batch.Column(0), i).(string)}
			id := ""
			for c, side := range map[int]*string{1: &m.before, 2: &m.after} {
				if row, ok := canonicalValue(batch.Column(c), i).(map[string]any); ok {
					id, *side = row["id"].(string), canonical(t, row)
				}
			}
			if old, twice := out[id]; twice {
				t.Errorf("%s comes twice: %v, %v", id, old, m)
			}
			out[id] = m
		}
	}
	return out
}

// changeStory writes a table in several commits and remembers what it was after each.
type changeStory struct {
	table  *Table
	states []changeState
}

type changeState struct {
	at   string
	rows map[string]string // by key
}

// remember keeps what the table is now.
func (s *changeStory) remember(t *testing.T) {
	t.Helper()
	state := changeState{rows: map[string]string{}}
	if last, ok := s.table.Timeline().Last(); ok {
		state.at = last.Time
	}
	for batch, err := range s.table.Read(t.Context(), ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(batch.NumRows()) {
			row := map[string]any{}
			for c, f := range batch.Schema().Fields() {
				row[f.Name] = canonicalValue(batch.Column(c), i)
			}
			state.rows[row["id"].(string)] = canonical(t, row)
		}
	}
	s.states = append(s.states, state)
}

func newStory(t *testing.T, store storage.Store, typ TableType) *changeStory {
	t.Helper()
	s := &changeStory{table: newTable(t, store, typ, 2)}
	s.remember(t)
	upsert := func(seq int64, keys string) {
		rows := map[string]modelRow{}
		for _, k := range keys {
			rows[string(k)] = modelRow{seq: seq, data: string(k)}
		}
		mustUpsert(t, s.table, rows)
		s.remember(t)
	}
	del := func(keys string) {
		if _, err := s.table.Delete(t.Context(), strings.Split(keys, "")...); err != nil {
			t.Fatal(err)
		}
		s.remember(t)
	}
	upsert(1, "abcdefghij")
	upsert(2, "abk")
	del("bc")
	upsert(3, "bd")
	if typ == MergeOnRead {
		if _, err := s.table.Compact(t.Context(), CompactOptions{}); err != nil {
			t.Fatal(err)
		}
		s.remember(t)
	}
	upsert(4, "el")
	x, err := s.table.Begin(t.Context(), TxnOptions{Operation: InsertOverwriteTable})
	if err != nil {
		t.Fatal(err)
	}
	writeOne(t, s.table, x, "a", modelRow{seq: 5})
	if _, err := x.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s.remember(t)
	upsert(6, "am")
	return s
}

// check compares the changes between all pairs of states with these.
func (s *changeStory) check(t *testing.T, table *Table, completion func(string) string) {
	t.Helper()
	for i, from := range s.states {
		for _, to := range s.states[i:] {
			if to.at == "" {
				continue
			}
			opts := ChangesOptions{From: completion(from.at), To: completion(to.at), BatchRows: 3}
			if to.at == s.states[len(s.states)-1].at {
				opts.To = ""
			}
			got := imagesOf(t, table, opts)
			for id, m := range got {
				op := OpUpdate
				switch {
				case from.rows[id] == "":
					op = OpInsert
				case to.rows[id] == "":
					op = OpDelete
				}
				if m.op != op || m.before != from.rows[id] || m.after != to.rows[id] {
					t.Errorf("from %s to %s: %s: got %+v, want %s of\n%s to\n%s", from.at, to.at, id, m, op, from.rows[id], to.rows[id])
				}
			}
			for id := range union(from.rows, to.rows) {
				if _, changed := got[id]; !changed && from.rows[id] != to.rows[id] {
					t.Errorf("from %s to %s: no image of %s", from.at, to.at, id)
				}
			}
			s.checkRows(t, table, opts, got)
		}
	}
}

// checkRows finds in a read without images the rows of one with them.
func (s *changeStory) checkRows(t *testing.T, table *Table, opts ChangesOptions, images map[string]image) {
	t.Helper()
	var want []string
	for _, m := range images {
		if m.after != "" {
			want = append(want, m.after)
		}
	}
	slices.Sort(want)
	diffLines(t, changedRows(t, table, opts), want)
}

func union(a, b map[string]string) map[string]bool {
	out := map[string]bool{}
	for _, m := range []map[string]string{a, b} {
		for k := range m {
			out[k] = true
		}
	}
	return out
}

func TestChangeImages(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		store := newStore(t)
		s := newStory(t, store, typ)
		s.check(t, s.table, func(at string) string { return at })
		table := asVersion9(t, store, nil)
		s.check(t, table, func(at string) string {
			if at == "" {
				return ""
			}
			return at + "5"
		})
	})
}

// Few keys are held at once: the deleted ones are found in several passes.
func TestDeletesInPasses(t *testing.T) {
	store := newStore(t)
	table := newTable(t, store, CopyOnWrite, 1)
	rows, gone := map[string]modelRow{}, []string{}
	for i := range 500 {
		key := strconv.Itoa(i)
		rows[key] = modelRow{seq: 1}
		if i%3 == 0 {
			gone = append(gone, key)
		}
	}
	from := mustUpsert(t, table, rows)
	if _, err := table.Delete(t.Context(), gone...); err != nil {
		t.Fatal(err)
	}
	c, err := table.newChanges(t.Context(), ChangesOptions{From: from, Images: true})
	if err == nil {
		err = c.readStates(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	c.heldKeys = 20
	var got []string
	err = c.run(t.Context(), func(batch arrow.RecordBatch) error {
		ids := batch.Column(1).(*array.Struct).Field(0).(*array.String)
		for i := range ids.Len() {
			got = append(got, ids.Value(i))
		}
		return nil
	})
	slices.Sort(got)
	slices.Sort(gone)
	if err != nil || !slices.Equal(got, gone) {
		t.Errorf("deleted %q, want %q, %v", got, gone, err)
	}
}

// What was cleaned away is refused where it is needed, and only there.
func TestChangesCleaned(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		store := newStore(t)
		s := newStory(t, store, typ)
		if _, err := s.table.Clean(t.Context(), CleanOptions{RetainCommits: 1}); err != nil {
			t.Fatal(err)
		}
		fails := func(opts ChangesOptions) error {
			for _, err := range s.table.Changes(t.Context(), opts) {
				if err != nil {
					return err
				}
			}
			return nil
		}
		first, last := s.states[1].at, s.states[len(s.states)-1]
		for _, opts := range []ChangesOptions{{From: first, Images: true}, {To: first}, {From: first, To: s.states[3].at}} {
			if err := fails(opts); !errors.Is(err, ErrCleaned) {
				t.Errorf("%+v: got %v", opts, err)
			}
		}
		if err := fails(ChangesOptions{From: last.at, To: first}); err == nil {
			t.Error("read from the last commit to the first")
		}
		if got := imagesOf(t, s.table, ChangesOptions{}); len(got) != len(last.rows) {
			t.Errorf("from the beginning: %d images, want %d inserts", len(got), len(last.rows))
		}
		if got := changedRows(t, s.table, ChangesOptions{From: first}); len(got) != len(last.rows) {
			t.Errorf("since the first commit: %q", got)
		}
	})
}

// Archived commits' rows are changes like others.
func TestChangesOfArchivedCommits(t *testing.T) {
	for name, want := range archivedTables {
		store, _ := archivedStore(t, name)
		table, err := Open(t.Context(), store, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := changedRows(t, table, ChangesOptions{Columns: []string{"id", "seq", "name"}})
		diffLines(t, got, tableRows(t, table, ReadOptions{Columns: []string{"id", "seq", "name"}}))
		if len(got) != len(want.rows) {
			t.Errorf("%s: %d rows", name, len(got))
		}
		// Only the two oldest rows are of before the timeline's start.
		newer := changedRows(t, table, ChangesOptions{From: table.Timeline().Start(), Columns: []string{"seq"}})
		for _, row := range newer {
			if row == `{"seq":6}` {
				t.Errorf("%s: after the timeline's start: %q", name, newer)
			}
		}
		from := want.first
		for a, err := range table.Archived(t.Context(), from, from) {
			if from = a.CompletionTime(); err != nil {
				t.Fatal(err)
			}
		}
		for _, err := range table.Changes(t.Context(), ChangesOptions{From: from, Images: true}) {
			if !errors.Is(err, ErrCleaned) {
				t.Errorf("%s: images from the first commit: %v", name, err)
			}
		}
	}
}

// Log files with partial updates are known, so that their rows are completed from older
// files.
func TestPartialLogsAreKnown(t *testing.T) {
	f := newForeign(t, Properties{}, modelSchema.Field(0), arrow.Field{Name: "a", Type: arrow.BinaryTypes.String, Nullable: true})
	for _, step := range []string{`base [{"id":"k","a":"x"}]`, `log [{"id":"k","a":"y"}]`, `partial id,a [{"id":"k"}]`} {
		f.step(step)
	}
	table, err := Open(t.Context(), f.store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	logs := table.Slices()[0].Logs
	for layout, want := range map[timeline.Layout][]bool{timeline.Layout1: {false, false}, timeline.Layout2: {false, true}} {
		c := &changeReader{table: table, whole: timeline.NewLayout(layout, nil)}
		for i, log := range logs {
			if got, err := c.hasPartial(t.Context(), log); err != nil || got != want[i] {
				t.Errorf("layout %d, log %d: partial %v, %v, want %v", layout, i, got, err, want[i])
			}
		}
	}
}

func TestChangesOfTableWithoutMetaFields(t *testing.T) {
	f := newForeign(t, Properties{propMetaFields: "false"}, modelSchema.Field(0))
	f.step(`base [{"id":"k"}]`)
	table, err := Open(t.Context(), f.store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range table.Changes(t.Context(), ChangesOptions{}) {
		if unsupported := new(UnsupportedError); !errors.As(err, &unsupported) || unsupported.What != propMetaFields {
			t.Errorf("got %v", err)
		}
	}
}
