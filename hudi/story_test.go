package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
	"lakefeed/storage"
)

// storyRow is a row of a story's table, in one of its partitions.
type storyRow struct {
	id, place string // place "" is null
	seq       int64
	name      string
	note      int64 // of a column that comes later; 0 is null
}

// storyState is what a table holds: a text for each row, by partition and key.
type storyState map[string]string

// storyStep is a step of a story: what it does, and what the table holds after it.
type storyStep struct {
	name  string
	run   func(ctx context.Context, table *Table) error
	after storyState
}

// story is a table's life in steps: those of layout, schema and partitions that crashStory
// does not have. Each step may be done again where it is not known whether it was done.
type story struct {
	create CreateOptions
	steps  []storyStep

	rows   map[string]storyRow
	schema *arrow.Schema
}

// stories are the kinds of table that a life is told of.
var stories = map[string]Options{
	"simple": {Index: IndexSimple, MaxFileBytes: 16 << 10},
	"keys":   {Index: IndexGlobalKey, Buckets: 2},
}

func tellStory(typ TableType, opts Options) *story {
	opts.Services = &ServicesOptions{} // the steps run them
	opts.BlockBytes, opts.RowGroupBytes = 512, 4096
	l := &story{rows: map[string]storyRow{}, schema: arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String},
		{Name: "place", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "seq", Type: arrow.PrimitiveTypes.Int64},
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)}
	l.create = CreateOptions{
		Name: "story", Type: typ, Schema: l.schema, RecordKey: []string{"id"}, OrderingField: "seq",
		PartitionBy: []string{"place"}, HiveStyle: true, Options: opts,
	}
	l.tell(typ)
	return l
}

// tell makes the steps.
func (l *story) tell(typ TableType) {
	l.write("insert", (*Table).Insert, l.some(0, 24, "eu", "us", "")...)
	l.write("insert into small files", (*Table).Insert, l.some(24, 40, "eu", "us")...)
	l.write("upsert and move", (*Table).Upsert, l.some(10, 44, "us", "ap", "eu")...)
	l.delete(2, 12, 15, 30)
	l.evolve(slices.Insert(slices.Clone(l.schema.Fields()), 2, arrow.Field{Name: "note", Type: arrow.PrimitiveTypes.Int64, Nullable: true}))
	l.write("upsert with the new column", (*Table).Upsert, l.some(0, 9, "eu")...)
	l.overwrite(l.some(100, 112, "eu"))
	l.service("cluster", func(ctx context.Context, t *Table) error {
		_, err := t.Cluster(ctx, ClusterOptions{SortBy: []string{"seq"}, SortBytes: 4096})
		return err
	})
	other := CopyOnWrite
	if typ == CopyOnWrite {
		other = MergeOnRead
	}
	l.convert(ConvertOptions{Type: other})
	l.write("upsert after the conversion", (*Table).Upsert, l.some(105, 120, "eu", "ap")...)
	if l.create.Buckets > 0 {
		l.convert(ConvertOptions{Buckets: 3})
	}
	l.convert(ConvertOptions{Type: typ})
	l.write("upsert after both", (*Table).Upsert, l.some(20, 34, "us")...)
	l.rename("name", "title")
	l.drop("ap")
	l.service("pin and clean", pinAndClean)
	l.evolve(slices.DeleteFunc(slices.Clone(l.schema.Fields()), func(f arrow.Field) bool { return f.Name == "note" }))
	l.write("upsert without the column", (*Table).Upsert, l.some(120, 126, "ap", "us")...)
	l.service("compact", func(ctx context.Context, t *Table) error {
		_, err := t.Compact(ctx, CompactOptions{})
		return err
	})
	l.service("clean", func(ctx context.Context, t *Table) error {
		_, err := t.Clean(ctx, CleanOptions{RetainCommits: 1})
		return err
	})
	l.service("archive", func(ctx context.Context, t *Table) error {
		_, err := t.Archive(ctx, ArchiveOptions{KeepMin: 2})
		return err
	})
	l.write("upsert at last", (*Table).Upsert, l.some(0, 30, "ap")...)
}

// pinAndClean registers a reader, cleans beside it, and releases what is registered.
func pinAndClean(ctx context.Context, t *Table) error {
	if _, err := t.Pin(ctx, "", time.Hour); err != nil {
		return err
	}
	if _, err := t.Clean(ctx, CleanOptions{RetainVersions: 1}); err != nil {
		return err
	}
	pins, err := t.Pins(ctx)
	for _, p := range pins {
		err = errors.Join(err, t.Unpin(ctx, p.ID))
	}
	return err
}

// some are rows of keys from one number to another, spread over places. What they hold
// follows from how far the life is told.
func (l *story) some(from, to int, places ...string) []storyRow {
	var out []storyRow
	for n := from; n < to; n++ {
		r := storyRow{id: fmt.Sprintf("k%03d", n), place: places[n%len(places)], seq: int64(len(l.steps)*1000 + n), name: fmt.Sprint("name", len(l.steps)), note: int64(n % 3)}
		out = append(out, r)
	}
	return out
}

func (l *story) global() bool { return l.create.Index == IndexGlobalKey }

// place is the path of a row's partition.
func (r storyRow) path() string {
	if r.place == "" {
		return "place=" + defaultPartition
	}
	return "place=" + r.place
}

func (l *story) step(name string, run func(context.Context, *Table) error) {
	l.steps = append(l.steps, storyStep{name, run, l.state()})
}

func (l *story) service(name string, run func(context.Context, *Table) error) { l.step(name, run) }

func (l *story) write(name string, write func(*Table, context.Context, arrow.RecordBatch) (string, error), rows ...storyRow) {
	schema := l.schema
	l.put(rows)
	l.step(name, func(ctx context.Context, t *Table) error {
		_, err := write(t, ctx, storyBatch(schema, rows))
		return err
	})
}

// put lets rows stand in the table, of a global index each key once.
func (l *story) put(rows []storyRow) {
	for _, r := range rows {
		if l.global() {
			maps.DeleteFunc(l.rows, func(_ string, o storyRow) bool { return o.id == r.id })
		}
		if !l.schema.HasField("note") {
			r.note = 0
		}
		l.rows[r.path()+"/"+r.id] = r
	}
}

func (l *story) delete(numbers ...int) {
	keys := map[string][]string{}
	for _, n := range numbers {
		id := fmt.Sprintf("k%03d", n)
		for at, r := range l.rows {
			if r.id == id {
				keys[r.path()] = append(keys[r.path()], id)
				delete(l.rows, at)
			}
		}
	}
	l.step("delete", func(ctx context.Context, t *Table) error {
		_, err := t.DeleteFrom(ctx, keys)
		return err
	})
}

func (l *story) overwrite(rows []storyRow) {
	schema := l.schema
	maps.DeleteFunc(l.rows, func(_ string, r storyRow) bool { return r.place == rows[0].place })
	l.put(rows)
	l.step("overwrite a partition", func(ctx context.Context, t *Table) error {
		_, err := t.InsertOverwrite(ctx, storyBatch(schema, rows))
		return err
	})
}

func (l *story) drop(place string) {
	maps.DeleteFunc(l.rows, func(_ string, r storyRow) bool { return r.place == place })
	l.step("delete a partition", func(ctx context.Context, t *Table) error {
		_, err := t.DeletePartitions(ctx, "place="+place)
		return err
	})
}

func (l *story) convert(opts ConvertOptions) {
	opts.SortBytes = 4096
	l.step(fmt.Sprintf("convert to %d %s", opts.Buckets, opts.Type), func(ctx context.Context, t *Table) error { return t.Convert(ctx, opts) })
}

// evolve gives the table other columns, in a commit without rows.
func (l *story) evolve(fields []arrow.Field) {
	next := arrow.NewSchema(fields, nil)
	if l.schema = next; !next.HasField("note") {
		for at, r := range l.rows {
			r.note = 0
			l.rows[at] = r
		}
	}
	l.step("evolve", func(ctx context.Context, t *Table) error {
		if _, err := t.CompactFor(ctx, next); err != nil {
			return err
		}
		x, err := t.Begin(ctx, TxnOptions{Schema: next})
		if err != nil {
			return err
		}
		if _, err = x.Commit(ctx, nil); err != nil {
			err = errors.Join(err, x.Abort(ctx))
		}
		return err
	})
}

func (l *story) rename(from, to string) {
	fields := slices.Clone(l.schema.Fields())
	fields[l.schema.FieldIndices(from)[0]].Name = to
	l.schema = arrow.NewSchema(fields, nil)
	l.step("rename", func(ctx context.Context, t *Table) error {
		_, err := t.RenameColumn(ctx, from, to)
		return err
	})
}

// state is what the table holds now, as readStory finds it.
func (l *story) state() storyState {
	s := storyState{"": strings.Join(columnNames(l.schema), " ")}
	for at, r := range l.rows {
		var text []string
		for _, f := range l.schema.Fields() {
			if cell := r.cell(f.Name); cell != "" {
				text = append(text, f.Name+"="+cell)
			}
		}
		s[at] = strings.Join(text, " ")
	}
	return s
}

func columnNames(s *arrow.Schema) (names []string) {
	for _, f := range s.Fields() {
		names = append(names, f.Name)
	}
	return names
}

// cell is the text of a value, "" if it is null.
func (r storyRow) cell(name string) string {
	switch name {
	case "id":
		return r.id
	case "place":
		return r.place
	case "seq":
		return strconv.FormatInt(r.seq, 10)
	case "note":
		if r.note == 0 {
			return ""
		}
		return strconv.FormatInt(r.note, 10)
	default:
		return r.name
	}
}

func storyBatch(schema *arrow.Schema, rows []storyRow) arrow.RecordBatch {
	b := array.NewRecordBuilder(column.Allocator, schema)
	defer b.Release()
	for _, r := range rows {
		for i, f := range schema.Fields() {
			if cell := r.cell(f.Name); cell == "" {
				b.Field(i).AppendNull()
			} else if err := b.Field(i).AppendValueFromString(cell); err != nil {
				panic(err) // not of these rows
			}
		}
	}
	return b.NewRecordBatch()
}

// readStory reads what a table holds, with its columns; a key that comes twice is an error.
func readStory(ctx context.Context, table *Table) (storyState, error) {
	s := storyState{"": strings.Join(columnNames(table.Schema()), " ")}
	for batch, err := range table.Read(ctx, ReadOptions{Meta: true}) {
		if err != nil {
			return nil, err
		}
		for row := range int(batch.NumRows()) {
			var text []string
			at := ""
			for i, f := range batch.Schema().Fields() {
				switch c := batch.Column(i); {
				case f.Name == "_hoodie_partition_path":
					at = c.ValueStr(row) + "/" + at
				case f.Name == "_hoodie_record_key":
					at += c.ValueStr(row)
				case !strings.HasPrefix(f.Name, "_hoodie") && c.IsValid(row):
					text = append(text, f.Name+"="+c.ValueStr(row))
				}
			}
			if _, twice := s[at]; twice {
				return nil, fmt.Errorf("%s comes twice", at)
			}
			s[at] = strings.Join(text, " ")
		}
	}
	return s, nil
}

// begin makes the table.
func (l *story) begin(ctx context.Context, store storage.Store, keys KeyStore) (*Table, error) {
	opts := l.create
	if l.global() {
		opts.Keys = keys
	}
	return Create(ctx, store, opts)
}

// open is the table as another process has it.
func (l *story) open(ctx context.Context, store storage.Store, keys KeyStore) (*Table, error) {
	opts := l.create.Options
	opts.Concurrency.Exclusive = true
	if l.global() {
		opts.Keys = keys
	}
	empty, err := Open(ctx, store, Options{})
	if err != nil {
		return nil, err
	}
	if _, ok := empty.Timeline().Last(); ok {
		opts.Buckets = 0 // as the last commit says
	}
	return Open(ctx, store, opts)
}

// TestStory tells each story to its end.
func TestStory(t *testing.T) {
	t.Parallel()
	eachStory(t, func(t *testing.T, l *story) {
		table, err := l.begin(t.Context(), newStore(t), newKeyStore(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range l.steps {
			if err := s.run(t.Context(), table); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			got, err := readStory(t.Context(), table)
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			if d := got.differs(s.after); d != "" {
				t.Fatalf("%s: %s", s.name, d)
			}
		}
	})
}

// eachStory tells of each kind of table, of both types.
func eachStory(t *testing.T, run func(t *testing.T, l *story)) {
	t.Helper()
	for name, opts := range stories {
		for _, typ := range []TableType{CopyOnWrite, MergeOnRead} {
			t.Run(fmt.Sprintf("%s/%s", name, typ), func(t *testing.T) {
				t.Parallel()
				run(t, tellStory(typ, opts))
			})
		}
	}
}

// differs says what of a state is not as wanted, "" if all is.
func (s storyState) differs(want storyState) string {
	if maps.Equal(s, want) {
		return ""
	}
	var out []string
	for _, at := range slices.Sorted(maps.Keys(modelUnionOf(s, want))) {
		if s[at] != want[at] && len(out) < 4 {
			out = append(out, fmt.Sprintf("%q is %q, want %q", at, s[at], want[at]))
		}
	}
	return fmt.Sprintf("%d rows, want %d: %s", len(s)-1, len(want)-1, strings.Join(out, "; "))
}

func modelUnionOf(a, b storyState) storyState {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}
