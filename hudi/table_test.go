package hudi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sync/errgroup"

	"lakefeed/hudi/internal/basetest"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

func newTable(t *testing.T, store storage.Store, typ TableType, buckets int) *Table {
	t.Helper()
	table, err := Create(t.Context(), store, CreateOptions{
		Name: "model", Type: typ, Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq",
		Options: Options{Buckets: buckets},
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func mustUpsert(t *testing.T, table *Table, rows map[string]modelRow) string {
	t.Helper()
	instant, err := table.Upsert(t.Context(), modelBatch(slices.Sorted(maps.Keys(rows)), rows, table.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	return instant
}

func mustRead(t *testing.T, table *Table, opts ReadOptions) map[string]modelRow {
	t.Helper()
	rows, err := readModel(t.Context(), table, opts)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func eachType(t *testing.T, test func(t *testing.T, typ TableType)) {
	for _, typ := range []TableType{CopyOnWrite, MergeOnRead} {
		t.Run(string(typ), func(t *testing.T) { test(t, typ) })
	}
}

// properties rewrites entries of a table's hoodie.properties.
func setProperties(t *testing.T, store storage.Store, entries Properties) {
	t.Helper()
	text, _, err := store.Get(t.Context(), propertiesFile)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseProperties(text)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(p, entries)
	if entries[propChecksum] == "" {
		p[propChecksum] = p.Checksum()
	}
	var b strings.Builder
	for k, v := range p {
		fmt.Fprintf(&b, "%s=%s\n", escape(k, true), escape(v, false))
	}
	if err := store.Put(t.Context(), propertiesFile, []byte(b.String())); err != nil {
		t.Fatal(err)
	}
}

func TestCreate(t *testing.T) {
	ctx, store := t.Context(), newStore(t)
	opts := CreateOptions{Name: "t", Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq"}
	table, err := Create(ctx, store, opts)
	if err != nil {
		t.Fatal(err)
	}
	if table.Type() != MergeOnRead || table.Buckets() != 1 || !table.Schema().Equal(modelSchema) {
		t.Errorf("got %s, %d buckets, %s", table.Type(), table.Buckets(), table.Schema())
	}
	if _, err := Create(ctx, store, opts); !errors.Is(err, ErrTableExists) {
		t.Errorf("create again: %v, want %v", err, ErrTableExists)
	}
	if _, err := Open(ctx, newStore(t), Options{}); !errors.Is(err, ErrNoTable) {
		t.Errorf("open nothing: %v, want %v", err, ErrNoTable)
	}
	other := newStore(t)
	if err := other.Put(ctx, "holiday/beach.jpg", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(ctx, other, opts); err == nil || !strings.Contains(err.Error(), "holiday/beach.jpg") {
		t.Errorf("create in a folder in use: %v", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	good := CreateOptions{Name: "t", Schema: modelSchema, RecordKey: []string{"id"}, OrderingField: "seq"}
	for want, change := range map[string]func(*CreateOptions){
		"name":           func(o *CreateOptions) { o.Name = "" },
		"type":           func(o *CreateOptions) { o.Type = "HEAP" },
		"record key":     func(o *CreateOptions) { o.RecordKey = nil },
		"ordering field": func(o *CreateOptions) { o.OrderingField = "" },
		`"nope"`:         func(o *CreateOptions) { o.OrderingField = "nope" },
		"buckets":        func(o *CreateOptions) { o.Buckets = -1 },
		"_hoodie_is_deleted": func(o *CreateOptions) {
			o.Schema = arrow.NewSchema(append(modelSchema.Fields(), arrow.Field{Name: "_hoodie_is_deleted", Type: arrow.FixedWidthTypes.Boolean}), nil)
		},
		"ID": func(o *CreateOptions) {
			o.Schema = arrow.NewSchema(append(modelSchema.Fields(), arrow.Field{Name: "ID", Type: arrow.PrimitiveTypes.Int32}), nil)
		},
	} {
		opts := good
		change(&opts)
		if _, err := Create(t.Context(), newStore(t), opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for key, value := range map[string]string{
		propVersion:       "7",
		propLayout:        "2",
		propPayload:       "com.example.Payload",
		propMergeMode:     "CUSTOM",
		propDropPartition: "true",
		propBaseFormat:    "ORC",
	} {
		store := newStore(t)
		newTable(t, store, MergeOnRead, 1)
		setProperties(t, store, Properties{key: value})
		_, err := Open(t.Context(), store, Options{})
		var unsupported *UnsupportedError
		if !errors.As(err, &unsupported) || unsupported.Value != value {
			t.Errorf("%s=%s: got %v", key, value, err)
		}
	}
}

func TestOpenNamesDamagedFiles(t *testing.T) {
	ctx := t.Context()
	damage := func(name string, text string) error {
		store := newStore(t)
		table := newTable(t, store, MergeOnRead, 1)
		name = strings.ReplaceAll(name, "T", mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}}))
		if err := store.Put(ctx, name, []byte(text)); err != nil {
			t.Fatal(err)
		}
		_, err := Open(ctx, store, Options{})
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || corrupt.File != name {
			t.Errorf("%s: got %v", name, err)
		}
		return err
	}
	damage(".hoodie/T.deltacommit", "{")
	damage(propertiesFile, "hoodie.table.type=MERGE_ON_READ\n")
	if err := damage(propertiesFile, "hoodie.table.name=x\nhoodie.table.type=MERGE_ON_READ\nhoodie.table.version=6\nhoodie.table.checksum=1\n"); !strings.Contains(err.Error(), "checksum") {
		t.Errorf("wrong checksum: got %v", err)
	}
}

func TestOpenDuringUpdateOfProperties(t *testing.T) {
	ctx, store := t.Context(), newStore(t)
	newTable(t, store, MergeOnRead, 1)
	text, _, err := store.Get(ctx, propertiesFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.Put(ctx, propertiesCopy, text), store.Delete(ctx, propertiesFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, store, Options{}); err != nil {
		t.Errorf("open with the backup only: %v", err)
	}
}

// A metadata table that Spark added where it is to be left alone, or a new version, stops the
// transaction at its begin and before it is published.
func TestTransactionRefusesChangedTable(t *testing.T) {
	for key, value := range map[string]string{propMetadata: "files", propMetadataBusy: "files", propVersion: "9"} {
		t.Run(key, func(t *testing.T) {
			ctx, store := t.Context(), newStore(t)
			newTable(t, store, MergeOnRead, 1)
			table := openWith(t, store, Options{Buckets: 1, MetadataTable: RefuseMetadataTable})
			want := map[string]modelRow{"a": {seq: 1}}
			mustUpsert(t, table, want)
			x, err := table.Begin(ctx, TxnOptions{})
			if err != nil {
				t.Fatal(err)
			}
			writeOne(t, table, x, "a", modelRow{seq: 2})
			old := table.Properties()[key]
			changed := Properties{key: value}
			if key == propVersion {
				changed[propLayout] = "2"
			}
			setProperties(t, store, changed)
			var unsupported *UnsupportedError
			if _, err := x.Commit(ctx, nil); !errors.As(err, &unsupported) {
				t.Errorf("commit: %v", err)
			}
			if err := x.Abort(ctx); key == propVersion && err == nil {
				t.Error("abort touched a table of another version")
			}
			if _, err := table.Begin(ctx, TxnOptions{}); !errors.As(err, &unsupported) || unsupported.Value != value {
				t.Errorf("begin: %v", err)
			}
			setProperties(t, store, Properties{key: old, propLayout: "1"})
			if err := table.Recover(ctx); err != nil {
				t.Fatal(err)
			}
			compareRows(t, mustRead(t, table, ReadOptions{}), want)
		})
	}
}

func writeOne(t *testing.T, table *Table, x *Txn, key string, row modelRow) {
	t.Helper()
	g, err := x.Group(t.Context(), "", table.Bucket(key))
	if err != nil {
		t.Fatal(err)
	}
	batch := modelBatch([]string{key}, map[string]modelRow{key: row}, x.Schema())
	keys, err := RecordKeys(batch, table.RecordKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(g.Upsert(t.Context(), batch, keys), g.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func TestSchemaChanges(t *testing.T) {
	ctx, store := t.Context(), newStore(t)
	fields := []arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String},
		{Name: "n", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "x", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
	}
	table, err := Create(ctx, store, CreateOptions{Name: "t", Schema: arrow.NewSchema(fields, nil), RecordKey: []string{"id"}, OrderingField: "n"})
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func([]arrow.Field) []arrow.Field{
		"x":  func(f []arrow.Field) []arrow.Field { f[2].Type = arrow.BinaryTypes.String; return f },
		"n":  func(f []arrow.Field) []arrow.Field { f[1].Type = arrow.BinaryTypes.String; return f },
		"id": func(f []arrow.Field) []arrow.Field { return f[1:] },
		"new": func(f []arrow.Field) []arrow.Field {
			return append(f, arrow.Field{Name: "new", Type: arrow.BinaryTypes.String})
		},
	} {
		_, err := table.Begin(ctx, TxnOptions{Schema: arrow.NewSchema(change(slices.Clone(fields)), nil)})
		var bad *SchemaError
		if !errors.As(err, &bad) || bad.Column != want {
			t.Errorf("%s: got %v", want, err)
		}
	}
	if _, err := table.Upsert(ctx, jsonRows(t, fields, `[{"id":"a","n":1,"x":1.5},{"id":"b","n":2,"x":2.5}]`)); err != nil {
		t.Fatal(err)
	}
	fields[1].Type, fields[2].Type = arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float64
	fields = append(fields, arrow.Field{Name: "new", Type: arrow.BinaryTypes.String, Nullable: true})
	x, err := table.Begin(ctx, TxnOptions{Schema: arrow.NewSchema(fields, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Commit(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Upsert(ctx, jsonRows(t, fields, `[{"id":"b","n":5000000000,"x":0.1,"new":"here"}]`)); err != nil {
		t.Fatal(err)
	}
	got := tableRows(t, table, ReadOptions{})
	diffLines(t, got, []string{`{"id":"a","n":1,"new":null,"x":1.5}`, `{"id":"b","n":5000000000,"new":"here","x":0.1}`})
}

func jsonRows(t testing.TB, fields []arrow.Field, text string) arrow.RecordBatch {
	t.Helper()
	return basetest.FromJSON(t, fields, text)
}

// A group whose rows are all deleted keeps an empty base file; what was never there is
// not made by deletes.
func TestDeleteAll(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		ctx, store := t.Context(), newStore(t)
		table := newTable(t, store, typ, 4)
		if _, err := table.Delete(ctx, "a", "b", "c"); err != nil {
			t.Fatal(err)
		}
		if n := len(table.view.groups(nil)); n != 0 {
			t.Errorf("deletes made %d file groups", n)
		}
		mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}, "b": {seq: 2}})
		if _, err := table.Delete(ctx, "a", "b", "c"); err != nil {
			t.Fatal(err)
		}
		compareRows(t, mustRead(t, table, ReadOptions{}), nil)
		if _, err := table.Compact(ctx, CompactOptions{}); err != nil {
			t.Fatal(err)
		}
		compareRows(t, mustRead(t, table, ReadOptions{}), nil)
		mustUpsert(t, table, map[string]modelRow{"a": {seq: 3}})
		compareRows(t, mustRead(t, table, ReadOptions{}), map[string]modelRow{"a": {seq: 3}})
	})
}

// Groups are written side by side, and readers read on meanwhile.
func TestConcurrentGroups(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		table := newTable(t, newStore(t), typ, 4)
		want := map[string]modelRow{}
		for round := range int64(4) {
			before := maps.Clone(want)
			x, err := table.Begin(t.Context(), TxnOptions{})
			if err != nil {
				t.Fatal(err)
			}
			work, ctx := errgroup.WithContext(t.Context())
			var mu sync.Mutex
			for b := range 4 {
				work.Go(func() error {
					up := map[string]modelRow{}
					for i := range 200 {
						if k := fmt.Sprint("k", i); table.Bucket(k) == b {
							up[k] = modelRow{seq: round + 1, data: strconv.FormatInt(round, 10)}
						}
					}
					mu.Lock()
					maps.Copy(want, up)
					mu.Unlock()
					return writeBucket(ctx, table, x, b, up)
				})
			}
			work.Go(func() error {
				got, err := readModel(ctx, table, ReadOptions{})
				if err == nil && !maps.Equal(got, before) {
					err = errors.New("a reader saw part of a transaction")
				}
				return err
			})
			if err := work.Wait(); err != nil {
				t.Fatal(err)
			}
			if _, err := x.Commit(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			compareRows(t, mustRead(t, table, ReadOptions{}), want)
		}
	})
}

func writeBucket(ctx context.Context, table *Table, x *Txn, bucket int, up map[string]modelRow) error {
	g, err := x.Group(ctx, "", bucket)
	if err != nil {
		return err
	}
	batch := modelBatch(slices.Sorted(maps.Keys(up)), up, x.Schema())
	keys, err := RecordKeys(batch, table.RecordKey())
	if err != nil {
		return err
	}
	return errors.Join(g.Upsert(ctx, batch, keys), g.Close(ctx))
}

func TestCommitSaysWhatWasWritten(t *testing.T) {
	ctx, store := t.Context(), newStore(t)
	table := newTable(t, store, CopyOnWrite, 1)
	mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}, "b": {seq: 1}, "c": {seq: 1}})
	x, err := table.Begin(ctx, TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := &model{t: t, table: table}
	if err := m.write(ctx, x, map[string]modelRow{"a": {seq: 2}, "d": {seq: 2}}, []string{"b", "zzz"}); err != nil {
		t.Fatal(err)
	}
	instant, err := x.Commit(ctx, map[string]string{"mine": "1"})
	if err != nil {
		t.Fatal(err)
	}
	last, _ := table.Timeline().Last()
	meta, err := table.readCommit(ctx, last)
	if err != nil {
		t.Fatal(err)
	}
	s := meta.PartitionToWriteStats[""][0]
	if s.NumWrites != 3 || s.NumInserts != 1 || s.NumUpdateWrites != 1 || s.NumDeletes != 1 {
		t.Errorf("got %d writes, %d inserts, %d updates, %d deletes; want 3, 1, 1, 1", s.NumWrites, s.NumInserts, s.NumUpdateWrites, s.NumDeletes)
	}
	r, err := store.Open(ctx, s.Path)
	if err != nil {
		t.Fatal(err)
	}
	if r.Size() != s.FileSizeInBytes || s.FileSizeInBytes != s.TotalWriteBytes {
		t.Errorf("file has %d bytes, the commit says %d and %d", r.Size(), s.FileSizeInBytes, s.TotalWriteBytes)
	}
	extra := meta.ExtraMetadata
	if extra[timeline.SchemaKey] != table.AvroSchema() || extra[BucketsKey] != "1" || extra["mine"] != "1" || last.Time != instant {
		t.Errorf("extra metadata of %v: %q", last, extra)
	}
}

// Rows keep when they were written through copies, compactions and rewrites of others.
func TestCommitTimesStay(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		ctx := t.Context()
		table := newTable(t, newStore(t), typ, 1)
		first := mustUpsert(t, table, map[string]modelRow{"a": {seq: 1}, "b": {seq: 1}})
		second := mustUpsert(t, table, map[string]modelRow{"b": {seq: 2}})
		if _, err := table.Compact(ctx, CompactOptions{}); err != nil {
			t.Fatal(err)
		}
		for batch, err := range table.Read(ctx, ReadOptions{Meta: true}) {
			if err != nil {
				t.Fatal(err)
			}
			for i := range int(batch.NumRows()) {
				want := map[string]string{"a": first, "b": second}[batch.Column(metaKey).ValueStr(i)]
				if got := batch.Column(metaCommitTime).ValueStr(i); got != want {
					t.Errorf("row %s is of %s, want %s", batch.Column(metaKey).ValueStr(i), got, want)
				}
				if name := batch.Column(metaFileName).ValueStr(i); !strings.HasSuffix(name, baseSuffix) || table.view.group(GroupID{FileID: name[:38]}) == nil {
					t.Errorf("row stands in %q", name)
				}
			}
		}
	})
}

func TestGroupWriterRefuses(t *testing.T) {
	ctx := t.Context()
	table := newTable(t, newStore(t), MergeOnRead, 2)
	x, err := table.Begin(ctx, TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := x.Abort(ctx); err != nil {
			t.Error(err)
		}
	}()
	if _, err := x.Group(ctx, "", 2); err == nil {
		t.Error("bucket 2 of 2: want an error")
	}
	g, err := x.Group(ctx, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Group(ctx, "", 0); err == nil {
		t.Error("bucket opened twice: want an error")
	}
	if _, err := x.Commit(ctx, nil); err == nil || !strings.Contains(err.Error(), "not closed") {
		t.Errorf("commit with an open writer: %v", err)
	}
	batch := jsonRows(t, modelSchema.Fields()[:2], `[{"id":"a"}]`)
	keys, err := RecordKeys(batch, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	var bad *SchemaError
	if err := g.Upsert(ctx, batch, keys); !errors.As(err, &bad) || bad.Column != "seq" {
		t.Errorf("rows without a required column: %v", err)
	}
	if err := g.Close(ctx); err == nil {
		t.Error("close after a failed upsert: want its error")
	}
	if _, err := x.Commit(ctx, nil); err == nil {
		t.Error("commit after a failed upsert: want its error")
	}
}
