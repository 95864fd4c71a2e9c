package hudi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	parquetfile "github.com/apache/arrow-go/v18/parquet/file"

	"lakefeed/hudi/logfile"
	"lakefeed/storage"
)

// fileDamage is what may befall a file, and what the error says of it then.
type fileDamage struct {
	kind string // of the file: base, log or, if "", any
	says string
	at   func(size int64) int64        // the offset that it tells, of a file of that size
	make func(data []byte) (is []byte) // nil: gone
}

func damagedAt(offset int64) func(int64) int64 { return func(int64) int64 { return offset } }

var damages = map[string]fileDamage{
	"deleted":   {"", "is missing", damagedAt(-1), func([]byte) []byte { return nil }},
	"emptied":   {"", "is 0 bytes", damagedAt(0), func([]byte) []byte { return []byte{} }},
	"cut short": {"", "bytes, and commit", func(n int64) int64 { return n - 8 }, func(d []byte) []byte { return d[:len(d)-8] }},
	"grown":     {"base", "bytes, and commit", func(n int64) int64 { return n }, func(d []byte) []byte { return append(d, d...) }},
	"magic":     {"log", "is broken", damagedAt(0), func(d []byte) []byte { d[1] = '?'; return d }},
	"length":    {"log", "is broken", damagedAt(0), func(d []byte) []byte { d[13]++; return d }},
}

func damage(t *testing.T, store storage.Store, name string, change func([]byte) []byte) {
	t.Helper()
	data, _, err := store.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if data = change(slices.Clone(data)); data == nil {
		err = store.Delete(t.Context(), name)
	} else {
		err = store.Put(t.Context(), name, data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// damaged makes a table of one row, changed once, two of a merge-on-read table's files.
func damaged(t *testing.T, typ TableType) (storage.Store, *Table) {
	t.Helper()
	store := newStore(t)
	table := newTable(t, store, typ, 1)
	for seq := range int64(2) {
		mustUpsert(t, table, map[string]modelRow{"a": {seq: seq + 1}, "b": {seq: seq + 1}})
	}
	return store, table
}

// uses are all that reads a table's files.
var uses = map[string]func(ctx context.Context, table *Table) error{
	"read": func(ctx context.Context, table *Table) error {
		_, err := readModel(ctx, table, ReadOptions{})
		return err
	},
	"read as of": func(ctx context.Context, table *Table) error {
		last, _ := table.Timeline().Last()
		_, err := readModel(ctx, table, ReadOptions{AsOf: last.Time})
		return err
	},
	"lookup": func(ctx context.Context, table *Table) error {
		rec, _, err := table.Lookup(ctx, "", 0, []string{"a"}, []string{"seq"})
		if err == nil {
			rec.Release()
		}
		return err
	},
	"compact": func(ctx context.Context, table *Table) error {
		_, err := table.Compact(ctx, CompactOptions{})
		if err != nil && len(table.Timeline().Pending()) > 0 {
			return fmt.Errorf("it left %v pending after %v", table.Timeline().Pending(), err) //nolint:errorlint // not that one
		}
		return err
	},
	"merge": func(ctx context.Context, table *Table) error {
		rows := map[string]modelRow{"a": {seq: 9}}
		_, err := table.Upsert(ctx, modelBatch([]string{"a"}, rows, table.Schema()))
		return err
	},
	"rewrite": func(ctx context.Context, table *Table) error {
		before := table.Timeline().Instants()
		_, err := table.Rewrite(ctx, nil, nil, func(rows arrow.RecordBatch) (arrow.RecordBatch, error) { return rows, nil })
		if after := table.Timeline().Completed(); err != nil && !slices.Equal(after, before) {
			return fmt.Errorf("it left %v after %v", after, err) //nolint:errorlint // not that one
		}
		return err
	},
}

// A file that a commit wrote and that is lost or broken is an error in everything that
// reads it, in the process that wrote it and in the next.
func TestDamage(t *testing.T) {
	for typ, names := range map[TableType][]string{
		CopyOnWrite: {"read", "read as of", "lookup", "merge", "rewrite"},
		MergeOnRead: {"read", "read as of", "lookup", "compact", "rewrite"},
	} {
		for what, d := range damages {
			for _, kind := range []string{"base", "log"} {
				for _, use := range names {
					for _, anew := range []bool{false, true} {
						inLog := kind == "log"
						if inLog && typ == CopyOnWrite || d.kind != "" && d.kind != kind {
							continue
						}
						t.Run(fmt.Sprintf("%s/%s %s/%s/%v", typ, kind, what, use, anew), func(t *testing.T) {
							store, table := damaged(t, typ)
							file := table.Slices()[0].Base
							if inLog {
								file = table.Slices()[0].Logs[0]
							}
							damage(t, store, file.Name, d.make)
							checkDamage(t, store, table, anew, use, file, d)
						})
					}
				}
			}
		}
	}
}

func checkDamage(t *testing.T, store storage.Store, table *Table, anew bool, use string, file *DataFile, d fileDamage) {
	t.Helper()
	if anew {
		var err error
		if table, err = Open(t.Context(), store, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	err := uses[use](t.Context(), table)
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != file.Name || !strings.Contains(err.Error(), d.says) {
		t.Errorf("got %v, want %s of %s", err, d.says, file.Name)
		return
	}
	if want := d.at(file.Size); corrupt.Offset() != want || want >= 0 && !strings.Contains(err.Error(), fmt.Sprintf("%s is damaged at offset %d: ", file.Name, want)) {
		t.Errorf("%v: offset %d, want %d", err, corrupt.Offset(), want)
	}
}

// Without any data file a table is not an empty one, and nothing goes on from there.
func TestAllFilesLost(t *testing.T) {
	eachType(t, func(t *testing.T, typ TableType) {
		for _, use := range []string{"read", "lookup", "merge", "rewrite"} {
			store, table := damaged(t, typ)
			last := table.Slices()[0].Base.Name
			for _, f := range table.view.group(table.Slices()[0].Group()).files() {
				if err := store.Delete(t.Context(), f.Name); err != nil {
					t.Fatal(err)
				}
			}
			table, err := Open(t.Context(), store, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var corrupt *CorruptError
			if err := uses[use](t.Context(), table); !errors.As(err, &corrupt) || typ == CopyOnWrite && corrupt.File != last {
				t.Errorf("%s: %v", use, err)
			}
		}
	})
}

// What a transaction left that did not complete is no damage, nor what others append.
func TestLeftoversAreNoDamage(t *testing.T) {
	store, table := damaged(t, MergeOnRead)
	want := map[string]modelRow{"a": {seq: 2}, "b": {seq: 2}}
	log := table.Slices()[0].Logs[0]
	damage(t, store, log.Name, func(d []byte) []byte { return append(d, d[:len(d)/2]...) })
	torn := logfile.FileName(log.FileID, log.Instant, 2, "7-7-7")
	if err := store.Put(t.Context(), torn, []byte("#HUDI#torn")); err != nil {
		t.Fatal(err)
	}
	x, err := table.Begin(t.Context(), TxnOptions{})
	if err != nil {
		t.Fatal(err)
	}
	writeOne(t, table, x, "a", modelRow{seq: 3})
	other, err := Open(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	compareRows(t, mustRead(t, other, ReadOptions{}), want)
	if err := x.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), want)
	if _, err := table.Compact(t.Context(), CompactOptions{}); err != nil {
		t.Fatal(err)
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), want)
}

// A commit that a restore took back says nothing any more.
func TestRestoredTimeline(t *testing.T) {
	store, table := damaged(t, CopyOnWrite)
	last, _ := table.Timeline().Last()
	mustRead(t, table, ReadOptions{})
	lost := table.Slices()[0].Base.Name
	if err := errors.Join(store.Delete(t.Context(), table.instantFile(last)), store.Delete(t.Context(), lost)); err != nil {
		t.Fatal(err)
	}
	if err := table.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	compareRows(t, mustRead(t, table, ReadOptions{}), map[string]modelRow{"a": {seq: 1}, "b": {seq: 1}})
	damage(t, store, table.Slices()[0].Base.Name, damages["emptied"].make)
	if _, err := readModel(t.Context(), table, ReadOptions{}); err == nil {
		t.Error("the file that counts again is damaged, and nothing says so")
	}
}

// flipped is a store whose reads of a file fail, or have other bits.
type flipped struct {
	storage.Store
	name string
	at   int64 // below 0: reads fail
}

type flippedReader struct {
	storage.Reader
	at int64
}

func (s *flipped) Open(ctx context.Context, name string) (storage.Reader, error) {
	r, err := s.Store.Open(ctx, name)
	if err == nil && name == s.name {
		r = flippedReader{r, s.at}
	}
	return r, err
}

func (r flippedReader) ReadAt(p []byte, off int64) (int, error) {
	if r.at < 0 {
		return 0, errAway
	}
	n, err := r.Reader.ReadAt(p, off)
	if i := r.at - off; i >= 0 && i < int64(n) {
		p[i] ^= 0xff
	}
	return n, err
}

func readAll(ctx context.Context, table *Table) error {
	for _, err := range table.Read(ctx, ReadOptions{}) {
		if err != nil {
			return err
		}
	}
	return nil
}

var errAway = errors.New("the store is away")

// TestFlippedBits reads a table of which one byte is another, each in turn: what is
// noticed is the file's fault, by name, and a store that fails is not.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	store, table := damaged(t, MergeOnRead)
	slice := table.Slices()[0]
	for _, f := range []*DataFile{slice.Base, slice.Logs[0]} {
		bad := &flipped{Store: store, name: f.Path(), at: -1}
		again, err := Open(t.Context(), bad, Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = readAll(t.Context(), again)
		if corrupt, ok := errors.AsType[*CorruptError](err); ok || !errors.Is(err, errAway) {
			t.Errorf("%s of a store that is away: %v, %v", f.Name, err, corrupt)
		}
		noticed := 0
		for bad.at = range f.Size {
			err := readAll(t.Context(), again)
			if err == nil {
				continue // a value, or what no reader needs
			}
			noticed++
			if (isA[*SchemaError](err) || isA[*UnsupportedError](err)) && strings.Contains(err.Error(), f.Name) {
				continue // what it says now is another thing
			}
			if corrupt, ok := errors.AsType[*CorruptError](err); !ok || corrupt.File != f.Path() {
				t.Fatalf("byte %d of %s: %v", bad.at, f.Name, err)
			}
		}
		if noticed < 50 {
			t.Errorf("%d of %d bytes of %s were missed", noticed, f.Size, f.Name)
		}
	}
}

// TestFlippedPages reads a base file of which one byte of its pages is another, each in turn, whole and by key:
// the rows are what they were, or the file is named.
func TestFlippedPages(t *testing.T) {
	t.Parallel()
	store, table := damaged(t, CopyOnWrite)
	want := mustRead(t, table, ReadOptions{})
	base := table.Slices()[0].Base
	data, _, err := store.Get(t.Context(), base.Path())
	if err != nil {
		t.Fatal(err)
	}
	bad := &flipped{Store: store, name: base.Path(), at: -2}
	table, err = Open(t.Context(), bad, Options{})
	if err != nil {
		t.Fatal(err)
	}
	noticed, end := 0, pagesEnd(t, data)
	for bad.at = 4; bad.at < end; bad.at++ {
		rows, err := readModel(t.Context(), table, ReadOptions{})
		if err == nil {
			compareRows(t, rows, want)
		} else {
			noticed++
		}
		rec, _, found := table.Lookup(t.Context(), "", 0, []string{"a"}, []string{"seq"})
		if found == nil {
			if seq := rec.Column(0).(*array.Int64).Value(0); seq != want["a"].seq {
				t.Errorf("byte %d: a row of %d is found, not %d", bad.at, seq, want["a"].seq)
			}
			rec.Release()
		}
		for _, err := range []error{err, found} {
			if corrupt, ok := errors.AsType[*CorruptError](err); err != nil && (!ok || corrupt.File != base.Path()) {
				t.Fatalf("byte %d: %v", bad.at, err)
			}
		}
	}
	if noticed < int(end)/3 { // the meta columns, half of them, are not read
		t.Errorf("only %d of %d bytes were noticed", noticed, end)
	}
}

// pagesEnd is where the last page of a Parquet file ends.
func pagesEnd(t *testing.T, data []byte) (end int64) {
	t.Helper()
	r, err := parquetfile.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	last := r.MetaData().RowGroup(r.NumRowGroups() - 1)
	chunk, err := last.ColumnChunk(last.NumColumns() - 1)
	if err != nil {
		t.Fatal(err)
	}
	return chunk.DataPageOffset() + chunk.TotalCompressedSize()
}

// TestEmptyCommit refuses a table of whose commit a crash of its machine left the name.
func TestEmptyCommit(t *testing.T) {
	t.Parallel()
	eachType(t, func(t *testing.T, typ TableType) {
		store, table := damaged(t, typ)
		last, _ := table.Timeline().Last()
		damage(t, store, table.instantFile(last), func([]byte) []byte { return []byte{} })
		_, err := Open(t.Context(), store, Options{})
		if corrupt, ok := errors.AsType[*CorruptError](err); !ok || corrupt.File != table.instantFile(last) {
			t.Errorf("open: %v", err)
		}
	})
}
