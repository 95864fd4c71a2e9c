package pipeline

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi/basefile"
)

// window is what is known of the changes of a table while rows of it are read anew. A row was read as
// of a position, low (or a little behind it), and is written with a round that ends at a later one, to.
// What the stream brought between the two of its key decides: nothing, and the row was the same all the
// time; whole changes, and they are newer; changes that left some values out, and these are still the
// ones that were read. Changes are noted by who reads the stream, rows are queued by who reads
// the table, and taken by who writes rounds.
type window struct {
	table *change.Table
	limit int64                  // bytes that may be queued
	told  func(rows, left int64) // of rows that were read, and of those that the lake does not have

	names   []string // of the columns that are written of the rows that were read; none: all
	columns []byte   // the same, by a bit each as in a mask; nil: all

	use sync.RWMutex // held while the notes are read; for writing, when they are removed

	mu      sync.Mutex // guards what follows
	changed chan struct{}
	opened  bool  // the stream's changes are noted
	failed  error // it is of no use any more
	notes   *os.File
	out     *bufio.Writer
	noted   int64 // bytes in notes
	start   int64 // those before commit before low
	masks   []string
	maskIDs map[string]uint32
	emptied []change.LSN // commits of truncates
	moved   []movedKey

	low, until change.LSN
	queue      []*change.Batch
	queued     int64 // bytes of it
	inRounds   int   // rounds with rows of it that are not written
	ended      bool  // nothing more will be queued for now
	rows       int64 // that were queued
	left       int64 // that are not in the lake, so that some columns of them are not written
}

// movedKey is the new key of a row, some values of which were not sent.
type movedKey struct {
	commit change.LSN
	texts  []string
}

// movedMost is how many of these are kept.
const movedMost = 100_000

func newWindow(t *change.Table, dir string, limit int64, told func(rows, left int64)) (*window, error) {
	f, err := os.CreateTemp(dir, "window-")
	if err != nil {
		return nil, fmt.Errorf("make a file for changes while rows are read (set spill_dir to a folder with room): %w", err)
	}
	return &window{
		table: t, limit: limit, told: told, changed: make(chan struct{}), maskIDs: map[string]uint32{},
		notes: f, out: bufio.NewWriterSize(f, 64<<10),
	}, nil
}

// close removes the notes.
func (w *window) close() {
	w.fail(errWindowClosed)
	w.use.Lock()
	defer w.use.Unlock()
	_ = w.notes.Close()
	_ = os.Remove(w.notes.Name())
}

var errWindowClosed = errors.New("nothing is read anew any more")

// stir wakes who waits. Who calls it holds w.mu.
func (w *window) stir() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// await waits until something holds, which is asked under w.mu.
func (w *window) await(ctx context.Context, holds func() bool) error {
	for {
		w.mu.Lock()
		failed, done, changed := w.failed, holds(), w.changed
		w.mu.Unlock()
		switch {
		case failed != nil:
			return failed
		case done:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fail says that the window is of no use any more; the first reason counts.
func (w *window) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed == nil {
		w.failed, w.queue, w.queued = err, nil, 0
		w.stir()
	}
}

func (w *window) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// empty and room are for await.
func (w *window) empty() bool { return w.queued == 0 && w.inRounds == 0 }
func (w *window) room() bool  { return w.queued < w.limit }

// open notes that changes are noted from here on.
func (w *window) open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.opened {
		w.opened = true
		w.stir()
	}
}

// begin says as of where the rows are that come next.
func (w *window) begin(low, until change.LSN) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.low == 0 { // else rows were read under keys that have changed since
		w.moved = slices.DeleteFunc(w.moved, func(m movedKey) bool { return m.commit < low })
	}
	w.low, w.until, w.ended = low, max(low, until), false
}

// push queues rows, and reports whether there is room for more.
func (w *window) push(b *change.Batch) bool {
	w.mu.Lock()
	w.queue, w.queued, w.rows = append(w.queue, b), w.queued+b.Bytes(), w.rows+int64(b.Len())
	room, rows, left := w.room(), w.rows, w.left
	w.mu.Unlock()
	w.told(rows, left)
	return room
}

// leaveOut notes rows that are not in the lake.
func (w *window) leaveOut(n int64) {
	w.mu.Lock()
	w.left += n
	rows, left := w.rows, w.left
	w.mu.Unlock()
	w.told(rows, left)
}

// end says that nothing more comes for now.
func (w *window) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
}

// presses reports whether a round that ends at a position is to be closed for the rows that wait.
func (w *window) presses(to change.LSN) bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.queued > 0 && (w.ended || w.queued >= w.limit/2) && to >= w.until
}

// written notes that a round with rows is.
func (w *window) written() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inRounds--
	w.stir()
}

// takeMoved is the keys under which rows are to be read once more.
func (w *window) takeMoved() (keys [][]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[string]bool{}
	for _, m := range w.moved {
		if id := fmt.Sprintf("%q", m.texts); !seen[id] {
			seen[id] = true
			keys = append(keys, m.texts)
		}
	}
	w.moved = nil
	return keys
}

// A note is the hash of a record key, the commit of a change, and what the change left out: the
// number of a mask, 0 for a change that left nothing of the row behind, or all of it.
const noteBytes = 16 + 8 + 4

// note notes changes of the table.
func (w *window) note(b *change.Batch) {
	start := 0
	for i, op := range b.Ops {
		if op == change.Truncate {
			w.noteRows(b.Slice(start, i))
			w.mu.Lock()
			w.emptied = append(w.emptied, b.At[i].Commit)
			w.mu.Unlock()
			start = i + 1
		}
	}
	w.noteRows(b.Slice(start, b.Len()))
}

func (w *window) noteRows(b *change.Batch) {
	if b.Len() == 0 {
		return
	}
	keys, err := recordKeys(b)
	if err != nil {
		w.fail(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		return
	}
	var buf [noteBytes]byte
	for row := range b.Len() {
		mask := uint32(0)
		if b.Ops[row] != change.Delete && b.Rejects[row] == nil && b.HasUnchanged(row) {
			mask = w.maskOf(b, row)
			if b.Moved.Get(row) && w.writes([]byte(w.masks[mask-1])) {
				w.noteMoved(b, row)
			}
		}
		h := basefile.HashKey(keys.Value(row))
		binary.LittleEndian.PutUint64(buf[0:], h.Hi)
		binary.LittleEndian.PutUint64(buf[8:], h.Lo)
		binary.LittleEndian.PutUint64(buf[16:], uint64(b.At[row].Commit))
		binary.LittleEndian.PutUint32(buf[24:], mask)
		if _, err := w.out.Write(buf[:]); err != nil {
			w.failed = fmt.Errorf("note changes while rows are read (set spill_dir to a folder with room): %w", err)
			w.stir()
			return
		}
		w.noted += noteBytes
	}
}

// maskOf is the number of the mask that has the columns whose values were not sent: one bit each.
func (w *window) maskOf(b *change.Batch, row int) uint32 {
	bits := make([]byte, (len(b.Table.Columns)+7)/8)
	for c, u := range b.Unchanged {
		if u.Get(row) {
			bits[c>>3] |= 1 << (c & 7)
		}
	}
	id, ok := w.maskIDs[string(bits)]
	if !ok {
		w.masks = append(w.masks, string(bits))
		id = uint32(len(w.masks))
		w.maskIDs[string(bits)] = id
	}
	return id
}

func (w *window) noteMoved(b *change.Batch, row int) {
	texts, err := keyTexts(b, row)
	w.askAgain(movedKey{b.At[row].Commit, texts}, err)
}

// askAgain notes the key of a row that is to be read by it. Who calls it holds w.mu.
func (w *window) askAgain(k movedKey, err error) {
	if err == nil && len(w.moved) == movedMost {
		err = errors.New("too many rows would have to be read by their keys: their keys change while they have large values, or they have values that the table cannot hold")
	}
	if err != nil && w.failed == nil {
		w.failed = err
		w.stir()
	}
	w.moved = append(w.moved, k)
}

// take hands out what is queued for a round that ends at a position, if it can have it.
func (w *window) take(to change.LSN) []*change.Batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queued == 0 || to < w.until {
		return nil
	}
	queue := w.queue
	w.queue, w.queued = nil, 0
	w.inRounds++
	w.stir()
	return queue
}

// rowFate is what the stream did to a row since it was read: changed with no mask is of no use any more.
type rowFate struct {
	changed bool
	mask    []byte // columns whose values are still those that were read
}

// see takes in one more change.
func (f *rowFate) see(mask string) {
	switch {
	case mask == "":
		f.mask = nil
	case !f.changed:
		f.mask = []byte(mask)
	default:
		f.mask = f.mask[:min(len(f.mask), len(mask))] // beyond are columns of another version, which are gone
		for i := range f.mask {
			f.mask[i] &= mask[i]
		}
	}
	f.changed = true
	if !slices.ContainsFunc(f.mask, func(b byte) bool { return b != 0 }) {
		f.mask = nil
	}
}

// rowsAsOf are rows that were read, as they are at the end of a round, under a version of the table
// that has the same columns. Those of which the stream knows more are left out, or have what it does not know.
func (w *window) rowsAsOf(queue []*change.Batch, v *change.Table, to change.LSN) ([]*change.Batch, error) {
	w.use.RLock()
	defer w.use.RUnlock()
	keys := make([]*array.String, len(queue))
	fates := map[basefile.KeyHash]*rowFate{}
	for i, b := range queue {
		var err error
		if keys[i], err = recordKeys(b); err != nil {
			return nil, err
		}
		for row := range b.Len() {
			fates[basefile.HashKey(keys[i].Value(row))] = nil
		}
	}
	gone, err := w.readNotes(fates, to)
	if err != nil || gone {
		return nil, err
	}
	var out []*change.Batch
	for i, b := range queue {
		if b = w.rowsLeft(b, keys[i], fates, v, to); b != nil {
			out = append(out, b)
		}
	}
	return out, nil
}

// readNotes brings together what was noted of some keys between low and a position; gone: the table
// was emptied there.
func (w *window) readNotes(fates map[basefile.KeyHash]*rowFate, to change.LSN) (gone bool, err error) {
	w.mu.Lock()
	if w.failed != nil {
		defer w.mu.Unlock()
		return false, w.failed
	}
	low, start, masks := w.low, w.start, slices.Clone(w.masks)
	gone = slices.ContainsFunc(w.emptied, func(at change.LSN) bool { return low <= at && at < to })
	err = w.out.Flush()
	end := w.noted
	w.mu.Unlock()
	if err != nil || gone {
		return gone, err
	}
	in := bufio.NewReaderSize(io.NewSectionReader(w.notes, start, end-start), 256<<10)
	var buf [noteBytes]byte
	for at := start; at < end; at += noteBytes {
		if _, err := io.ReadFull(in, buf[:]); err != nil {
			return false, fmt.Errorf("read the changes that were noted: %w", err)
		}
		commit := change.LSN(binary.LittleEndian.Uint64(buf[16:]))
		if commit >= to {
			break
		}
		if commit < low {
			start = at + noteBytes
			continue
		}
		h := basefile.KeyHash{Hi: binary.LittleEndian.Uint64(buf[0:]), Lo: binary.LittleEndian.Uint64(buf[8:])}
		f, asked := fates[h]
		if !asked {
			continue
		}
		if f == nil {
			f = new(rowFate)
			fates[h] = f
		}
		if id := binary.LittleEndian.Uint32(buf[24:]); id == 0 {
			f.see("")
		} else {
			f.see(masks[id-1])
		}
	}
	w.mu.Lock()
	w.start = max(w.start, start)
	w.mu.Unlock()
	return false, nil
}

// rowsLeft is the rows of a batch that are of use at a position, nil where none are.
func (w *window) rowsLeft(b *change.Batch, keys *array.String, fates map[basefile.KeyHash]*rowFate, v *change.Table, to change.LSN) *change.Batch {
	var sel []ref
	masks := map[int][]byte{}
	for row := range b.Len() {
		f := fates[basefile.HashKey(keys.Value(row))]
		switch {
		case f != nil && f.mask == nil:
			continue
		case b.Ops[row] == change.Patch && b.Rejects[row] != nil: // only as a whole it can go into quarantine
			w.mu.Lock()
			w.askAgain(movedKey{texts: b.Rejects[row].Key}, nil)
			w.mu.Unlock()
			continue
		case f == nil:
		case b.Rejects[row] != nil || !w.writes(f.mask):
			continue
		default:
			masks[len(sel)] = f.mask
		}
		sel = append(sel, ref{0, int32(row)})
	}
	if len(sel) == 0 {
		return nil
	}
	out := *b
	if len(sel) < b.Len() || len(masks) > 0 {
		out = *(&slab{Batch: b, keys: keys}).rearranged(sel, nil, nil).Batch
	}
	out.Table, out.At = v, make([]change.Position, len(sel))
	for i := range out.At { // behind every change of the round, and before those that follow
		out.At[i] = change.Position{Commit: to - 1, Index: uint64(i)}
	}
	for row, mask := range masks {
		for c := range v.Columns {
			if mask[c>>3]&(1<<(c&7)) == 0 && !slices.Contains(v.Key, c) {
				setUnchanged(&out, c, row)
			}
		}
	}
	return &out
}

// writes reports whether some of the columns of a mask are to be written.
func (w *window) writes(mask []byte) bool {
	for i, bits := range mask {
		if w.columns == nil && bits != 0 || i < len(w.columns) && w.columns[i]&bits != 0 {
			return true
		}
	}
	return false
}

// only lets nothing but some columns of rows be written.
func (w *window) only(columns []string) {
	w.names, w.columns = columns, make([]byte, (len(w.table.Columns)+7)/8)
	for _, name := range columns {
		c := columnIndex(w.table, name)
		w.columns[c>>3] |= 1 << (c & 7)
	}
}

// patched is rows that were read, as patches of the columns that are to be written. Where a row has a value that the
// table cannot hold it stays whole, if it was read so.
func (w *window) patched(b *change.Batch) *change.Batch {
	if w.columns == nil {
		return b
	}
	whole := len(b.Table.Columns) == len(w.table.Columns)
	out, n := *b, b.Len()
	cols := make([]arrow.Array, len(w.table.Columns))
	none := map[string]arrow.Array{} // nulls of each type: of the columns that were not read
	out.Table, out.Ops, out.Unchanged = w.table, make([]change.Op, n), make([]*change.Bits, len(cols))
	unsent := new(change.Bits)
	for row := range n {
		if out.Ops[row] = change.Patch; whole && b.Rejects[row] != nil {
			out.Ops[row] = b.Ops[row]
		} else {
			unsent.Set(row)
		}
	}
	for c, col := range w.table.Columns {
		if at := columnIndex(b.Table, col.Name); at >= 0 {
			cols[c] = b.Rows.Column(at)
		} else {
			id := col.Arrow.String()
			if none[id] == nil {
				none[id] = array.MakeArrayOfNull(mem, col.Arrow, n)
			}
			cols[c] = none[id]
		}
		if w.columns[c>>3]&(1<<(c&7)) == 0 && !inKey(w.table, c) && !isShardColumn(col) {
			out.Unchanged[c] = unsent
		}
	}
	out.Rows = array.NewRecordBatch(w.table.ArrowSchema(), cols, int64(n))
	return &out
}
