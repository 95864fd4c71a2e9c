package pipeline

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/change"
)

// fanout is how many files a spill divides into, at each level.
const fanout = 32

// spill is changes of one table on local disk, divided so that all changes of a
// key are in one file, in order.
//
// A row whose key changed while some of its values were not sent needs the rows
// that its old key had. It therefore goes where the old key's history is, its
// home, and so does all that comes after under the new key; where the new key's
// own history was, a row marked gone says that it no longer counts.
type spill struct {
	dir   string
	level int
	files [fanout]*spillFile
	homes map[string]uint64 // keys that are not at home(key)
	bytes int64
}

func newSpill(parent string) (*spill, error) {
	dir, err := os.MkdirTemp(parent, "table-")
	if err != nil {
		return nil, fmt.Errorf("make a folder to spill changes into (set spill_dir to a folder with room): %w", err)
	}
	return &spill{dir: dir, homes: map[string]uint64{}}, nil
}

func (s *spill) remove() {
	for _, f := range s.files {
		if f != nil {
			_ = f.f.Close()
		}
	}
	_ = os.RemoveAll(s.dir)
}

// add divides a slab over the files.
func (s *spill) add(b *slab) error {
	b = s.routed(b)
	var sel [fanout][]ref
	for row, r := range b.route {
		i := s.place(r)
		sel[i] = append(sel[i], ref{0, int32(row)})
	}
	rec := spillRecord(b)
	var err error
	for i, rows := range sel {
		if len(rows) == 0 {
			continue
		}
		if s.files[i] == nil {
			if s.files[i], err = createSpillFile(filepath.Join(s.dir, fmt.Sprintf("%d.arrow", i))); err != nil {
				return err
			}
		}
		part, err := take(rec, rows)
		if err != nil {
			return err
		}
		n, err := s.files[i].write(b.Table, part)
		if err != nil {
			return err
		}
		s.bytes += n
	}
	return nil
}

// place is the file of a home at this level: other bits at each level.
func (s *spill) place(route uint64) int { return int(route >> (5 * s.level) % fanout) }

// routed gives every row of a slab its home, and adds the rows that say "gone".
func (s *spill) routed(b *slab) *slab {
	if b.route != nil {
		return b
	}
	var out []ref // rows of b in order, gone rows between them
	out = make([]ref, 0, b.Len())
	routes := make([]uint64, 0, b.Len())
	gone := new(change.Bits)
	at := func(key string) uint64 {
		if h, ok := s.homes[key]; ok {
			return h
		}
		return home(key)
	}
	for row := range b.Len() {
		key := b.keys.Value(row)
		route := at(key)
		if next := row + 1; b.Ops[row] == change.Delete && next < b.Len() && b.Moved.Get(next) && b.HasUnchanged(next) {
			// The delete half of a key change: the new key's history moves here.
			newKey := b.keys.Value(next)
			if was := at(newKey); was != route {
				gone.Set(len(out))
				out, routes = append(out, ref{0, int32(next)}), append(routes, was)
				s.homes[newKey] = route
			}
		}
		out, routes = append(out, ref{0, int32(row)}), append(routes, route)
	}
	if !gone.Any() {
		return &slab{Batch: b.Batch, keys: b.keys, route: routes}
	}
	return b.rearranged(out, routes, gone)
}

// rearranged is the rows of b that sel names, in that order.
func (b *slab) rearranged(sel []ref, routes []uint64, gone *change.Bits) *slab {
	cols := make([]arrow.Array, b.Rows.NumCols())
	for i, c := range b.Rows.Columns() {
		a, err := gather(c.DataType(), []arrow.Array{c}, sel)
		if err != nil {
			panic(err) // the same type on both sides
		}
		cols[i] = a
	}
	n := &change.Batch{Table: b.Table, Rows: array.NewRecordBatch(b.Rows.Schema(), cols, int64(len(sel)))}
	keys := array.NewStringBuilder(memory.DefaultAllocator)
	for i, r := range sel {
		row := int(r.row)
		n.Ops, n.At = append(n.Ops, b.Ops[row]), append(n.At, b.At[row])
		n.Times, n.Xids = append(n.Times, b.Times[row]), append(n.Xids, b.Xids[row])
		keys.Append(b.keys.Value(row))
		if why := b.Rejects[row]; why != nil {
			n.Reject(i, why)
		}
		if b.Moved.Get(row) {
			if n.Moved == nil {
				n.Moved = new(change.Bits)
			}
			n.Moved.Set(i)
		}
		for c, u := range b.Unchanged {
			if u.Get(row) {
				setUnchanged(n, c, i)
			}
		}
	}
	return &slab{Batch: n, keys: keys.NewStringArray(), route: routes, gone: gone}
}

func setUnchanged(b *change.Batch, column, row int) {
	if b.Unchanged == nil {
		b.Unchanged = make([]*change.Bits, len(b.Table.Columns))
	}
	if b.Unchanged[column] == nil {
		b.Unchanged[column] = new(change.Bits)
	}
	b.Unchanged[column].Set(row)
}

// parts yields file after file; one that is larger than the budget is divided again.
func (s *spill) parts(budget int64, yield func([]*slab, error) bool) bool {
	for i, f := range s.files {
		if f == nil {
			continue
		}
		if err := f.close(); err != nil {
			return yield(nil, err)
		}
		if f.bytes > budget && s.level < 10 {
			sub := &spill{dir: filepath.Join(s.dir, strconv.Itoa(i)), level: s.level + 1}
			if err := sub.divide(f); err != nil {
				return yield(nil, err)
			}
			if !sub.parts(budget, yield) {
				return false
			}
			sub.remove()
			continue
		}
		var slabs []*slab
		err := f.read(func(b *slab) error { slabs = append(slabs, b); return nil })
		if !yield(slabs, err) || err != nil {
			return false
		}
	}
	return true
}

// divide spreads a file that is too large over files of the next level.
func (s *spill) divide(f *spillFile) error {
	if err := errors.Join(os.RemoveAll(s.dir), os.Mkdir(s.dir, 0o700)); err != nil {
		return fmt.Errorf("divide spilled changes: %w", err)
	}
	return f.read(s.add)
}

// spillFile is one file of a spill: Arrow streams, one after the other, each of one version of the table.
type spillFile struct {
	f        *os.File
	buf      *bufio.Writer
	w        *ipc.Writer
	versions []*change.Table // of each stream
	bytes    int64
}

func createSpillFile(name string) (*spillFile, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("spill changes: %w", err)
	}
	return &spillFile{f: f, buf: bufio.NewWriterSize(f, 64<<10)}, nil
}

func (f *spillFile) write(t *change.Table, rec arrow.RecordBatch) (int64, error) {
	if n := len(f.versions); n == 0 || f.versions[n-1] != t {
		if err := f.endStream(); err != nil {
			return 0, err
		}
		f.versions = append(f.versions, t)
		f.w = ipc.NewWriter(f.buf, ipc.WithSchema(rec.Schema()))
	}
	if err := f.w.Write(rec); err != nil {
		return 0, fmt.Errorf("spill changes to %s: %w", f.f.Name(), err)
	}
	n := int64(0)
	for _, c := range rec.Columns() {
		n += int64(c.Data().SizeInBytes())
	}
	f.bytes += n
	return n, nil
}

func (f *spillFile) endStream() error {
	if f.w == nil {
		return nil
	}
	err := f.w.Close()
	f.w = nil
	if err != nil {
		return fmt.Errorf("spill changes to %s: %w", f.f.Name(), err)
	}
	return nil
}

// remove deletes the file.
func (f *spillFile) remove() {
	_ = f.f.Close()
	_ = os.Remove(f.f.Name())
}

func (f *spillFile) close() error {
	if err := errors.Join(f.endStream(), f.buf.Flush()); err != nil {
		return fmt.Errorf("spill changes to %s: %w", f.f.Name(), err)
	}
	return nil
}

// read hands over every slab of the file. The file is left as it was: a round can be written again.
func (f *spillFile) read(fn func(*slab) error) error {
	if _, err := f.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read spilled changes: %w", err)
	}
	in := bufio.NewReaderSize(f.f, 256<<10)
	for _, t := range f.versions {
		r, err := ipc.NewReader(in)
		if err != nil {
			return fmt.Errorf("read spilled changes of %s: %w", t, err)
		}
		for r.Next() {
			rec := r.RecordBatch()
			rec.Retain()
			if err := fn(spilledSlab(t, rec)); err != nil {
				return err
			}
		}
		if err := r.Err(); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read spilled changes of %s: %w", t, err)
		}
	}
	return nil
}
