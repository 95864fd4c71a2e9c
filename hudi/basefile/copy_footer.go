package basefile

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// File is a Parquet file as its footer describes it, for those who copy its
// bytes. Arrow's reader hides where they lie.
type File struct {
	raw    io.ReaderAt
	r      *readAhead // raw, in larger pieces
	size   int64
	meta   parquetMeta
	leaves []leaf

	indexes   []byte // of the pages, as far as they were read ahead
	indexesAt int64
}

// leaf is a column of a Parquet file: a leaf of its schema.
type leaf struct {
	path           string // with dots
	elem           format.SchemaElement
	width          int // bytes of a value; 0: values have lengths of their own
	maxDef, maxRep uint8
	topOptional    bool // the column of the table that it belongs to may be null
	maybeEmpty     bool // its least value may be "" whatever is stated
	compare        func(a, b []byte) int
}

var (
	errNoCopy  = errors.New("its bytes are not copied")
	errDamaged = errors.New("damaged Parquet")
)

// noCopy is an error for a file that must be decoded to be rewritten.
func noCopy(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNoCopy, fmt.Sprintf(format, args...))
}

func damagedParquet(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

const (
	parquetMagic   = "PAR1"
	maxFooterBytes = 256 << 20
	maxIndexBytes  = 32 << 20
	maxPageBytes   = 1 << 30
	maxPageValues  = 1 << 26
)

// openParquet reads a file's footer.
func openParquet(r io.ReaderAt, size int64) (f *File, err error) {
	defer recoverParquet("open", &err)
	return openAhead(&readAhead{r: r, size: size})
}

// openMade opens a file that is in memory, and is not read ahead of.
func openMade(data []byte) (*File, error) {
	return openAhead(&readAhead{r: bytes.NewReader(data), size: int64(len(data)), buf: data})
}

func openAhead(ahead *readAhead) (f *File, err error) {
	r, size := ahead.r, ahead.size
	f = &File{raw: r, r: ahead, size: size}
	var tail [8]byte
	if size < 12 {
		return nil, damagedParquet("%d bytes are no file", size)
	}
	if err := readFull(r, tail[:], size-8); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if string(tail[4:]) != parquetMagic || n > min(size-12, maxFooterBytes) {
		return nil, damagedParquet("its end is not that of a Parquet file")
	}
	if err := f.readThrift(size-8-n, n, &f.meta); err != nil {
		return nil, fmt.Errorf("read footer: %w", err)
	}
	if f.meta.Encryption.Value != nil {
		return nil, noCopy("it is encrypted")
	}
	if err := f.findLeaves(); err != nil {
		return nil, err
	}
	f.doubtLeast()
	if err := f.checkGroups(); err != nil {
		return nil, err
	}
	return f, f.readIndexes(size - 8 - n)
}

// readIndexes reads ahead what stands between the rows and the footer: the indexes of all pages.
func (f *File) readIndexes(footer int64) error {
	from := footer
	for g := range f.meta.RowGroups {
		for c := range f.meta.RowGroups[g].Columns {
			for _, at := range []int64{f.meta.RowGroups[g].Columns[c].ColumnIndexOffset, f.meta.RowGroups[g].Columns[c].OffsetIndexOffset} {
				if at > 0 {
					from = min(from, at)
				}
			}
		}
	}
	if from == footer || footer-from > maxIndexBytes {
		return nil
	}
	f.indexes, f.indexesAt = make([]byte, footer-from), from
	return readFull(f.raw, f.indexes, from)
}

// readThrift reads a structure of the file's metadata.
func (f *File) readThrift(at, n int64, into any) error {
	if at < 0 || n < 1 || n > maxFooterBytes || at > f.size-n {
		return damagedParquet("%d bytes at offset %d lie beyond the file", n, at)
	}
	if in := at - f.indexesAt; in >= 0 && in+n <= int64(len(f.indexes)) {
		_, err := decodeThrift(f.indexes[in:in+n], into)
		return err
	}
	data := make([]byte, n)
	if err := readFull(f.raw, data, at); err != nil {
		return err
	}
	_, err := decodeThrift(data, into)
	return err
}

// decodeThrift reads one structure from the start of data, and says where it ends.
func decodeThrift(data []byte, into any) (n int, err error) {
	if n, err = thriftLen(data); err != nil {
		return 0, err
	}
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), data[:n], into); err != nil {
		return 0, damagedParquet("%v", err)
	}
	return n, nil
}

func encodeThrift(v any) ([]byte, error) {
	return thrift.Marshal(new(thrift.CompactProtocol), v)
}

func readFull(r io.ReaderAt, into []byte, at int64) error {
	n, err := r.ReadAt(into, at)
	if n == len(into) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at offset %d: %w", len(into), at, err)
}

// readAhead reads pieces of which the next one is behind the last one mostly: a request
// to an object store is dear.
type readAhead struct {
	r    io.ReaderAt
	size int64
	only []segment // nil: all of it may be read; else, in order, what will be
	buf  []byte
	at   int64 // of buf
}

const readAheadBytes = 1 << 20

func (a *readAhead) ReadAt(into []byte, off int64) (int, error) {
	n := int64(len(into))
	if a.has(off) < n {
		if off < 0 || n > readAheadBytes/2 || n > a.piece(off) {
			return a.r.ReadAt(into, off)
		}
		if err := a.fill(off, n); err != nil {
			return 0, err
		}
	}
	return copy(into, a.buf[off-a.at:]), nil
}

// view is at least so many bytes at an offset, of those up to another one; until the next call.
func (a *readAhead) view(off, least, to int64) ([]byte, error) {
	if off < 0 || least > to-off || to > a.size {
		return nil, damagedParquet("%d bytes at offset %d lie beyond %d", least, off, to)
	}
	if a.has(off) < least {
		if err := a.fill(off, least); err != nil {
			return nil, err
		}
	}
	return a.buf[off-a.at:][:min(a.has(off), to-off)], nil
}

// has is how many bytes at an offset are there.
func (a *readAhead) has(off int64) int64 {
	if off < a.at {
		return 0
	}
	return max(a.at+int64(len(a.buf))-off, 0)
}

// piece is how many bytes are read at an offset.
func (a *readAhead) piece(off int64) int64 {
	return min(readAheadBytes, a.size-off, a.end(off)-off)
}

// fill reads on behind what is there of an offset, to so many bytes of it at least: a whole piece, so
// that what is a little longer than one takes no request of its own for its end.
func (a *readAhead) fill(off, least int64) error {
	kept := a.has(off)
	n := kept + max(a.piece(off+kept), least-kept)
	if kept > 0 {
		copy(a.buf, a.buf[off-a.at:])
	}
	a.at = off
	a.buf = slices.Grow(a.buf[:kept], int(n-kept))[:n]
	if err := readFull(a.r, a.buf[kept:], off+kept); err != nil {
		a.buf = a.buf[:0]
		return err
	}
	return nil
}

// end is where a piece ends that begins at an offset: no later than the last of what will
// be read of it.
func (a *readAhead) end(off int64) int64 {
	if a.only == nil {
		return a.size
	}
	next, _ := slices.BinarySearchFunc(a.only, off+readAheadBytes, func(s segment, at int64) int { return cmp.Compare(s.at, at) })
	if next == 0 {
		return off
	}
	last := a.only[next-1]
	return last.at + last.size
}

// findLeaves walks the schema.
func (f *File) findLeaves() error {
	if len(f.meta.Schema) == 0 {
		return damagedParquet("no schema")
	}
	at := 1
	for range f.meta.Schema[0].NumChildren.V {
		next, err := f.addLeaves(at, leaf{}, nil)
		if err != nil {
			return err
		}
		at = next
	}
	if at != len(f.meta.Schema) {
		return damagedParquet("%d elements of the schema belong to no column", len(f.meta.Schema)-at)
	}
	return nil
}

const maxSchemaDepth = 64

func (f *File) addLeaves(at int, l leaf, path []string) (int, error) {
	if at >= len(f.meta.Schema) || len(path) > maxSchemaDepth {
		return 0, damagedParquet("the schema has no end")
	}
	e := f.meta.Schema[at]
	path = append(path, e.Name)
	switch e.RepetitionType.V {
	case format.Optional:
		l.maxDef++
		l.topOptional = l.topOptional || len(path) == 1
	case format.Repeated:
		l.maxDef++
		l.maxRep++
	case format.Required:
	default:
		return 0, damagedParquet("column %s: repetition %d", e.Name, e.RepetitionType.V)
	}
	at++
	if e.Type.Valid {
		l.path, l.elem = strings.Join(path, "."), e
		if err := l.setType(); err != nil {
			return 0, err
		}
		f.leaves = append(f.leaves, l)
		return at, nil
	}
	for range e.NumChildren.V {
		next, err := f.addLeaves(at, l, path)
		if err != nil {
			return 0, err
		}
		at = next
	}
	return at, nil
}

// checkGroups sees that every column chunk lies in the file.
func (f *File) checkGroups() error {
	rows := int64(0)
	for g := range f.meta.RowGroups {
		group := &f.meta.RowGroups[g]
		if len(group.Columns) != len(f.leaves) || group.NumRows < 0 {
			return damagedParquet("row group %d has %d columns of %d, and %d rows", g, len(group.Columns), len(f.leaves), group.NumRows)
		}
		rows += group.NumRows
		for c := range group.Columns {
			if err := f.checkChunk(&group.Columns[c], &f.leaves[c]); err != nil {
				return fmt.Errorf("column %s of row group %d: %w", f.leaves[c].path, g, err)
			}
		}
	}
	if rows != f.meta.NumRows {
		return damagedParquet("%d rows in its row groups, %d in all", rows, f.meta.NumRows)
	}
	return nil
}

func (f *File) checkChunk(c *parquetChunk, l *leaf) error {
	m := &c.Meta
	if c.FilePath != "" || c.Crypto.Value != nil {
		return noCopy("it is encrypted or in another file")
	}
	from, to := chunkRange(m)
	if from < 4 || to < from || to > f.size-8 || m.Type != l.elem.Type.V || m.NumValues < 0 {
		return damagedParquet("bytes %d to %d, of type %s", from, to, m.Type)
	}
	return nil
}

// chunkRange is where the bytes of a column chunk lie.
func chunkRange(m *chunkMeta) (from, to int64) {
	from = m.DataPageOffset
	if m.DictionaryPageOffset > 0 {
		from = min(from, m.DictionaryPageOffset)
	}
	return from, from + m.TotalCompressedSize
}

// footer returns an entry of the footer's key-value metadata.
func (f *File) footer(key string) (value string, ok bool) {
	for _, kv := range f.meta.KeyValues {
		if kv.Key == key {
			return kv.Value, true
		}
	}
	return "", false
}

// leafOf finds a column by its path, -1 if there is none.
func (f *File) leafOf(path string) int {
	for i := range f.leaves {
		if f.leaves[i].path == path {
			return i
		}
	}
	return -1
}

// same tells whether the bytes of one column are those of the other's values.
func (l *leaf) same(o *leaf) bool {
	a, b := l.elem, o.elem
	logical := a.LogicalType.Value == nil || b.LogicalType.Value == nil || a.LogicalType.String() == b.LogicalType.String()
	return l.path == o.path && a.Type == b.Type && l.width == o.width && l.maxDef == o.maxDef && l.maxRep == o.maxRep &&
		a.RepetitionType == b.RepetitionType && a.ConvertedType == b.ConvertedType &&
		a.Scale == b.Scale && a.Precision == b.Precision && logical
}
