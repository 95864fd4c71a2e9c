package basefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go/format"

	"lakefeed/hudi/internal/basetest"
	"lakefeed/hudi/internal/offset"
	"lakefeed/internal/golden"
)

// pagesOf are the pages of a file: where they lie, and their frames.
func pagesOf(t testing.TB, data []byte) (at []int64, frames []pageFrame) {
	t.Helper()
	f, err := openParquet(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for g := range f.meta.RowGroups {
		for c := range f.meta.RowGroups[g].Columns {
			from, to := chunkRange(&f.meta.RowGroups[g].Columns[c].Meta)
			err := f.walkPages(from, to, func(first int64, _ []byte, pages []pageFrame) error {
				for _, p := range pages {
					at, frames = append(at, first), append(frames, p)
					first += int64(p.size())
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return at, frames
}

// summed copies a file page by page, which gives each page a checksum.
func summed(t testing.TB, data []byte) []byte {
	t.Helper()
	f, err := openParquet(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := newParquetWriter(&countingWriter{w: &out}, &f.meta)
	if err != nil {
		t.Fatal(err)
	}
	for g := range f.meta.RowGroups {
		chunks := make([]*newChunk, len(f.leaves))
		for c := range chunks {
			if chunks[c], err = f.copyChunk(g, c); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.group(f.meta.RowGroups[g].NumRows, chunks); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// checkSums sees that all pages have checksums, which pagesOf compared.
func checkSums(t testing.TB, data []byte) {
	t.Helper()
	at, frames := pagesOf(t, data)
	for i, p := range frames {
		if !p.summed {
			t.Fatalf("the page at offset %d of %d has no checksum", at[i], len(data))
		}
	}
}

// Pages of any writer are copied as they are, but for the checksum in their headers: they come out with the same
// rows, sizes and indexes, of dictionaries, both versions of pages and all codecs.
func TestCopiedPagesGetChecksums(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(14, 1))
	kinds := map[format.PageType]int{}
	for range 12 {
		opts, data := checksumFile(t, rnd)
		out := summed(t, data)
		checkSums(t, out)
		checkIndexes(t, out)
		want, got := allRows(t, data, opts.Schema), allRows(t, out, opts.Schema)
		if !slices.Equal(got, want) {
			t.Fatal("other rows")
		}
		if again := summed(t, out); !bytes.Equal(again, out) {
			t.Fatal("pages with checksums are not copied as they are")
		}
		at, frames := pagesOf(t, data)
		_, summedFrames := pagesOf(t, out)
		for i, p := range frames {
			kinds[p.kind]++
			q := summedFrames[i]
			if p.summed || q.kind != p.kind || q.body != p.body || q.rows != p.rows || q.head == p.head {
				t.Fatalf("page at %d: %+v became %+v", at[i], p, q)
			}
		}
	}
	if len(kinds) != 3 {
		t.Errorf("pages of the types %v", kinds)
	}
}

// checksumFile is a small file of another writer.
func checksumFile(t testing.TB, rnd *rand.Rand) (WriterOptions, []byte) {
	sc := basetest.Schema()
	opts := testOptions(t, sc)
	keys := make([]string, 60)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	return opts, basetest.Foreign(t, rnd, opts.AvroSchema, basetest.Rows(rnd, sc, keys, "f.parquet"))
}

func allRows(t testing.TB, data []byte, sc *arrow.Schema) []string {
	t.Helper()
	rows, err := rowsUntil(data, sc, false)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// rowsUntil reads rows, a few at a time, until there is an error.
func rowsUntil(data []byte, sc *arrow.Schema, library bool) (rows []string, err error) {
	r, err := open(bytes.NewReader(data), int64(len(data)), sc, library)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	r.batch = 16
	if err := r.openGroups(nil); err != nil {
		return nil, err
	}
	return textsUntil(r.Next)
}

func textsUntil(next func() (arrow.RecordBatch, error)) (rows []string, err error) {
	for {
		batch, err := next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		for i := range int(batch.NumRows()) {
			rows = append(rows, basetest.RowJSON(batch, i))
		}
		batch.Release()
	}
}

// flipRun reads a file of which a bit is another one in all ways that there are.
type flipRun struct {
	opts  WriterOptions
	fresh arrow.RecordBatch
	all   []string
	made  []string // of the file with changes
}

func newFlipRun(t testing.TB, opts WriterOptions, data []byte, fresh arrow.RecordBatch) *flipRun {
	t.Helper()
	f := &flipRun{opts: opts, fresh: fresh, all: allRows(t, data, opts.Schema)}
	made, err := f.rewrite(data)
	if err != nil {
		t.Fatal(err)
	}
	f.made = allRows(t, made, opts.Schema)
	checkSums(t, made)
	return f
}

func (f *flipRun) rewrite(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := NewWriter(&out, f.opts)
	if err != nil {
		return nil, err
	}
	r := NewRewrite(w, "g.parquet")
	r.Delete([]string{"3"})
	if err := r.Upsert(f.fresh); err != nil {
		return nil, err
	}
	_, err = r.Finish(context.Background(), bytes.NewReader(data), int64(len(data)))
	return out.Bytes(), err
}

// pick reads some rows of each row group.
func (f *flipRun) pick(data []byte) ([]string, error) {
	p, err := OpenRows(bytes.NewReader(data), int64(len(data)), f.opts.Schema, func(f *File, g int) ([]Range, error) {
		found, err := f.RowsWith(g, nil, func(key []byte) bool { return len(key) == 1 && key[0]%2 == 0 })
		return found, err
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.Close() }()
	return textsUntil(p.Next)
}

// try reads the file in every way, and returns the errors. What comes before an error is right where the bit is in a
// page's body. Two are held to that only: what the library reads of columns for which it is not used, and pages of
// version 2, whose headers say where levels end.
func (f *flipRun) try(t testing.TB, where string, data []byte, body, second bool) (errs []error) {
	t.Helper()
	for _, library := range []bool{false, true} {
		rows, err := rowsUntil(data, f.opts.Schema, library)
		sound := len(rows) <= len(f.all) && slices.Equal(rows, f.all[:len(rows)])
		if told := err != nil || !body && (library || second); !told && len(rows) < len(f.all) || !sound && (body || !told) {
			t.Errorf("%s: other rows (by the library: %v, error: %v): %s", where, library, err, firstOther(rows, f.all))
		}
		errs = append(errs, err)
	}
	rows, err := f.pick(data)
	for _, row := range rows {
		if !slices.Contains(f.all, row) && (body || !second) {
			t.Errorf("%s: a row that is picked: %s", where, row)
			break
		}
	}
	errs = append(errs, err)
	made, err := f.rewrite(data)
	if err == nil {
		rows, readErr := rowsUntil(made, f.opts.Schema, false)
		if (readErr == nil && !second || body) && !slices.Equal(rows, f.made) {
			t.Errorf("%s: other rows behind a rewrite: %s", where, firstOther(rows, f.made))
		}
	}
	return append(errs, err)
}

func firstOther(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("row %d is %s, not %s", i, got[i], want[i])
		}
	}
	return fmt.Sprintf("%d rows, not %d", len(got), len(want))
}

// flippable are files of which all pages have checksums, and how they are tried.
type flippable struct {
	data   []byte
	at     []int64
	frames []pageFrame
	run    *flipRun
}

func flippables(t testing.TB) (all []flippable) {
	t.Helper()
	opts, files, fresh := fuzzFiles(t)
	for i, data := range files {
		run := newFlipRun(t, opts, data, fresh)
		if i > 0 { // the first is one of ours
			data = summed(t, data)
		}
		at, frames := pagesOf(t, data)
		all = append(all, flippable{data, at, frames, run})
	}
	return all
}

// flip flips a bit of a page, and tries the file. Behind the page's header it is an error wherever the page is read,
// before any of its rows are given, and a rewrite does not take it over. In a header it may be noticed as late as at
// the end of the row group.
func (f *flippable) flip(t testing.TB, page, off int, bit uint) {
	t.Helper()
	frame := &f.frames[page]
	bad := bytes.Clone(f.data)
	bad[f.at[page]+int64(off)] ^= 1 << bit
	where := fmt.Sprintf("bit %d of byte %d of the page at %d", bit, off, f.at[page])
	body := off >= frame.head
	errs := f.run.try(t, where, bad, body, frame.kind == format.DataPageV2)
	for way, err := range errs[:2] {
		if body && (!errors.Is(err, errChecksum) || !strings.Contains(err.Error(), "column ") || offset.Of(err) != f.at[page]) {
			t.Errorf("%s, read in way %d: %v", where, way, err)
		}
	}
}

// A bit that flips anywhere in the pages of a file is an error, or the rows are what they were.
func TestFlippedPages(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(14, 2))
	for _, f := range flippables(t) {
		for range 8 {
			page := rnd.IntN(len(f.frames))
			frame := &f.frames[page]
			f.flip(t, page, rnd.IntN(frame.head), rnd.UintN(8))
			if frame.body > 0 {
				f.flip(t, page, frame.head+rnd.IntN(frame.body), rnd.UintN(8))
			}
		}
	}
}

// FuzzFlippedPages is that for any bit.
func FuzzFlippedPages(f *testing.F) {
	files := flippables(f)
	f.Add(uint(0), uint(3), uint(17), uint(2))
	f.Add(uint(1), uint(40), uint(70), uint(6))
	f.Fuzz(func(t *testing.T, file, page, off, bit uint) {
		c := &files[file%uint(len(files))]
		page %= uint(len(c.frames))
		c.flip(t, int(page), int(off%uint(c.frames[page].size())), bit%8)
	})
}

// FuzzFrame reads headers of pages as bytes, as they are decoded, and gives them checksums.
func FuzzFrame(f *testing.F) {
	for _, c := range flippables(f) {
		for i := 0; i < len(c.frames); i += 5 {
			f.Add(c.data[c.at[i]:c.at[i]+int64(c.frames[i].head)], uint32(i)<<27)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, sum uint32) {
		p, ok := readFrame(data)
		var h, again pageHeader
		n, err := decodeThrift(data, &h)
		if !ok || err != nil {
			return
		}
		if p.head != n || p.body != int(h.CompressedSize) || p.summed != h.Sum.Valid || p.sum != uint32(h.Sum.V) || p.kind != h.Type {
			t.Fatalf("%+v of %+v", p, h)
		}
		if p.summed {
			return
		}
		head := p.withSum(data[:n], sum)
		if len(head) == n {
			return
		}
		if m, err := decodeThrift(head, &again); err != nil || m != len(head) || !again.Sum.Valid || uint32(again.Sum.V) != sum {
			t.Fatalf("%x became %x: %+v, %v", data[:n], head, again, err)
		}
		if again.Sum = h.Sum; again != h {
			t.Fatalf("%+v became %+v", h, again)
		}
	})
}

// Spark's files have checksums, which are held against their pages: of one whose checksum is another one, nothing is read.
func TestGoldenChecksums(t *testing.T) {
	t.Parallel()
	pages := 0
	for _, name := range []string{"v6_0150_cow_plain_nomdt_bucket", "v9_120_mor_none_nomdt_committime"} {
		err := filepath.WalkDir(filepath.Join(golden.Unpack(t, name), "table"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".parquet" || d.Name()[0] == '.' {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			checkSums(t, data)
			at, frames := pagesOf(t, data)
			pages += len(at)
			for i := 0; i < len(frames); i += 7 {
				bad := bytes.Clone(data)
				bad[at[i]+int64(frames[i].head)] ^= 4
				if _, err := rowsUntil(bad, nil, false); !errors.Is(err, errChecksum) {
					t.Errorf("%s, page at %d: %v", d.Name(), at[i], err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if pages == 0 {
		t.Error("no pages")
	}
}
