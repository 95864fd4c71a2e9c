package pipeline

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/change"
	"lakefeed/storage"
	memstore "lakefeed/storage/mem"
)

// spooledTable has every kind of thing that a segment has to keep.
func spooledTable() *change.Table {
	missing := array.NewStringBuilder(memory.DefaultAllocator)
	missing.Append("was")
	return &change.Table{
		Schema: "public", Name: "t", ID: 7, Key: []int{0}, KeyKind: change.PrimaryKey, Storage: "9", Note: "n",
		Columns: []change.Column{
			{Name: "id", Type: "integer", Arrow: arrow.PrimitiveTypes.Int32, ID: 1, Shape: "x"},
			{Name: "v", Type: "text", Arrow: arrow.BinaryTypes.String, Nullable: true, ID: 2, Missing: missing.NewArray(), Definition: change.Definition{"label 1": "a"}},
		},
	}
}

// changesOf is a batch of a table: a create, an update whose v was not sent, and a row that
// came from another key, each of its own transaction.
func changesOf(t *change.Table, from change.LSN, ids ...int32) *change.Batch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, t.ArrowSchema())
	out := &change.Batch{Table: t}
	for i, id := range ids {
		b.Field(0).(*array.Int32Builder).Append(id)
		if i%3 == 1 {
			b.Field(1).(*array.StringBuilder).AppendNull()
			setUnchanged(out, 1, i)
			out.Ops = append(out.Ops, change.Update)
		} else {
			b.Field(1).(*array.StringBuilder).Append("v")
			out.Ops = append(out.Ops, change.Create)
		}
		out.At = append(out.At, change.Position{Commit: from + change.LSN(i), Index: uint64(i)})
		out.Times, out.Xids = append(out.Times, int64(100+i)), append(out.Xids, uint32(i))
	}
	out.Rows = b.NewRecordBatch()
	return out
}

func testSpool(t *testing.T) (*spool, *memstore.Store) {
	t.Helper()
	store := memstore.New()
	return newSpool(&Options{Name: "p", Lake: memstore.New(), Spool: store}), store
}

func segmentOf(t *testing.T, s *spool, from, to change.LSN, batches ...*change.Batch) segment {
	t.Helper()
	pend := new(pending)
	for _, b := range batches {
		if err := pend.add(b); err != nil {
			t.Fatal(err)
		}
	}
	seg, err := s.write(t.Context(), segmentHead{Pipeline: "p", Table: "public.t", From: from, To: to, Rows: pend.rows, Truncated: pend.truncated}, pend)
	if err != nil {
		t.Fatal(err)
	}
	return seg
}

// readAll reads a segment.
func readAll(ctx context.Context, s *spool, seg segment) (h segmentHead, versions []*change.Table, slabs []*slab, err error) {
	err = s.read(ctx, "public.t", seg, func(got segmentHead) error { h = got; return nil },
		func(v *change.Table) { versions = append(versions, v) }, func(b *slab) error { slabs = append(slabs, b); return nil })
	return h, versions, slabs, err
}

// TestSegment writes a segment of two versions of a table and reads it back: what a row
// is made of comes back, and nothing less.
func TestSegment(t *testing.T) {
	t.Parallel()
	s, _ := testSpool(t)
	one, two := spooledTable(), spooledTable()
	two.Columns = append(two.Columns[:1:1], change.Column{Name: "w", Type: "text", Arrow: arrow.BinaryTypes.String, ID: 3})
	a, b := changesOf(one, 10, 1, 2, 3), changesOf(two, 20, 4, 5)
	seg := segmentOf(t, s, 10, 30, a, b)
	h, versions, slabs, err := readAll(t.Context(), s, seg)
	if err != nil || h.Rows != 5 || len(slabs) != 2 || len(versions) != 2 {
		t.Fatalf("%+v, %d versions, %d slabs, %v", h, len(versions), len(slabs), err)
	}
	for i, want := range []*change.Batch{a, b} {
		got := slabs[i]
		if !array.RecordEqual(got.Rows, want.Rows) || len(got.At) != want.Len() || got.route != nil {
			t.Errorf("slab %d: %v", i, got.Rows)
		}
		for row := range want.Len() {
			if got.At[row] != want.At[row] || got.Ops[row] != want.Ops[row] || got.Times[row] != want.Times[row] || got.Xids[row] != want.Xids[row] || got.HasUnchanged(row) != want.HasUnchanged(row) {
				t.Errorf("slab %d, row %d: %v", i, row, got.At[row])
			}
		}
		have, had := *versions[i], *want.Table
		if have.String() != had.String() || have.ID != had.ID || have.KeyKind != had.KeyKind || have.Storage != had.Storage || have.Key[0] != 0 {
			t.Errorf("table %+v", have)
		}
		for c := range had.Columns {
			x, y := have.Columns[c], had.Columns[c]
			if x.Name != y.Name || x.Type != y.Type || x.ID != y.ID || x.Shape != y.Shape || !arrow.TypeEqual(x.Arrow, y.Arrow) || x.Definition.Broken(y.Definition) != "" || (x.Missing == nil) != (y.Missing == nil) {
				t.Errorf("column %+v, want %+v", x, y)
			}
		}
	}
	if got := versions[0].Columns[1].Missing.(*array.String).Value(0); got != "was" {
		t.Errorf("missing %q", got)
	}
}

// TestSegmentTruncated keeps that a table was emptied, though no row follows.
func TestSegmentTruncated(t *testing.T) {
	t.Parallel()
	s, _ := testSpool(t)
	b := changesOf(spooledTable(), 10, 1, 2)
	b.Ops[1], b.Unchanged = change.Truncate, nil
	h, versions, slabs, err := readAll(t.Context(), s, segmentOf(t, s, 10, 20, b))
	if err != nil || !h.Truncated || len(versions) != 1 || len(slabs) != 0 {
		t.Errorf("%+v, %d versions, %d slabs, %v", h, len(versions), len(slabs), err)
	}
}

// TestSegmentDamaged bends each byte, and cuts at each: all of it is noticed.
func TestSegmentDamaged(t *testing.T) {
	t.Parallel()
	s, store := testSpool(t)
	seg := segmentOf(t, s, 10, 30, changesOf(spooledTable(), 10, 1))
	name := "p/" + tableFolder("public.t") + "/" + seg.file()
	whole, _, err := store.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, at int, b []byte) {
		t.Helper()
		if err := store.Put(t.Context(), name, b); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := readAll(t.Context(), s, seg); !errors.Is(err, errTorn) {
			t.Fatalf("%s at %d of %d: %v", what, at, len(whole), err)
		}
	}
	for at := range whole {
		bent := bytes.Clone(whole)
		bent[at] ^= 0x40
		check("bent", at, bent)
		check("cut", at, whole[:at])
	}
	if err := s.delete(t.Context(), "public.t", []segment{seg}); err != nil || s.bytes.Load() != 0 {
		t.Errorf("%d bytes are left, %v", s.bytes.Load(), err)
	}
	if _, _, _, err := readAll(t.Context(), s, seg); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("a segment that is gone: %v", err)
	}
}

// TestSegmentForeign finds a segment that was put in the place of another.
func TestSegmentForeign(t *testing.T) {
	t.Parallel()
	s, store := testSpool(t)
	a := segmentOf(t, s, 10, 20, changesOf(spooledTable(), 10, 1))
	b := segmentOf(t, s, 20, 30, changesOf(spooledTable(), 20, 2))
	folder := "p/" + tableFolder("public.t") + "/"
	text, _, err := store.Get(t.Context(), folder+a.file())
	if err == nil {
		err = store.Put(t.Context(), folder+b.file(), text)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := readAll(t.Context(), s, b); !errors.Is(err, errForeign) {
		t.Errorf("it is read: %v", err)
	}
}

// TestSpoolList takes only what is named as a segment.
func TestSpoolList(t *testing.T) {
	t.Parallel()
	s, store := testSpool(t)
	b := segmentOf(t, s, 0x20, 0x30, changesOf(spooledTable(), 0x20, 2))
	a := segmentOf(t, s, 0x10, 0x20, changesOf(spooledTable(), 0x10, 1))
	folder := "p/" + tableFolder("public.t") + "/"
	for _, name := range []string{"p/progress", folder + "x", folder + "1-2.arrow", folder + "00000000000000AA-00000000000000bb.arrow", "p/other/0000000000000010-0000000000000020.arrow"} {
		if err := store.Put(t.Context(), name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	found, err := s.list(t.Context())
	segs := found[tableFolder("public.t")]
	if err != nil || len(found) != 1 || len(segs) != 2 || segs[0] != a || segs[1] != b || s.bytes.Load() != a.bytes+b.bytes {
		t.Errorf("%+v, %d bytes, %v", found, s.bytes.Load(), err)
	}
	if tableFolder("a.b") == tableFolder("a%2Eb") || tableFolder("A.b") == tableFolder("a.b") {
		t.Error("two tables share a folder")
	}
}

// FuzzSegment reads whatever comes, without a panic.
func FuzzSegment(f *testing.F) {
	var b bytes.Buffer
	pend := new(pending)
	if err := pend.add(changesOf(spooledTable(), 10, 1, 2, 3)); err != nil {
		f.Fatal(err)
	}
	if _, err := writeSegment(&b, segmentHead{Pipeline: "p", Table: "public.t", From: 1, To: 20}, pend); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), true)
	f.Add([]byte(segmentMagic), false)
	f.Fuzz(func(t *testing.T, text []byte, framed bool) {
		if framed { // whatever is in frames that are whole
			var whole bytes.Buffer
			w, err := newFrameWriter(&whole)
			if err == nil {
				err = w.frame([]byte(`{"from":"0/1","to":"0/2"}`))
			}
			if err == nil {
				_, err = w.Write(text)
			}
			if err == nil {
				err = w.end()
			}
			if err != nil {
				t.Fatal(err)
			}
			text = whole.Bytes()
		}
		_ = readSegment(t.Context(), bytes.NewReader(text), func(segmentHead) error { return nil }, func(*change.Table) {}, func(*slab) error { return nil })
	})
}
