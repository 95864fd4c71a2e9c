package basefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"lakefeed/hudi/internal/column"
)

// flatColumn reads a column that is not nested, from pages that are PLAIN or have a
// dictionary, as nearly all are. The Parquet library reads and decompresses the pages;
// their values are copied once, to where Arrow has them, while the library makes a slice
// of each value, appends it to a builder, and converts decimals afterwards.
type flatColumn struct {
	parquet *file.Reader
	groups  []int // row groups still to open
	leaf    int
	typ     arrow.DataType
	width   int // bytes of a value in the file; 0: texts
	decimal bool

	pages file.PageReader
	left  int64 // rows of the column chunk behind those of the page
	page  flatPage
	dict  *flatDictionary
}

// flatPage is what is left of a data page.
type flatPage struct {
	rows    int
	levels  bitRuns // which rows are not null, where the column may have nulls
	values  []byte  // PLAIN
	indexed bool
	indices indexRuns
}

// flatType tells how values of a column lie in the file, where flatColumn knows.
func flatType(t arrow.DataType, physical parquet.Type, length int) (width int, decimal, ok bool) {
	switch t.ID() {
	case arrow.STRING, arrow.BINARY:
		return 0, false, physical == parquet.Types.ByteArray
	case arrow.INT32, arrow.DATE32, arrow.TIME32:
		return 4, false, physical == parquet.Types.Int32
	case arrow.INT64, arrow.TIMESTAMP, arrow.TIME64:
		return 8, false, physical == parquet.Types.Int64
	case arrow.FLOAT32:
		return 4, false, physical == parquet.Types.Float
	case arrow.FLOAT64:
		return 8, false, physical == parquet.Types.Double
	case arrow.DECIMAL128:
		return length, true, physical == parquet.Types.FixedLenByteArray && length >= 1 && length <= 16
	default:
		return 0, false, false
	}
}

// newFlatColumn is the reader of a leaf of Arrow type t; nil where it must be the library's.
func newFlatColumn(pq *file.Reader, leaf int, t arrow.DataType) *flatColumn {
	meta := pq.MetaData()
	d := meta.Schema.Column(leaf)
	width, decimal, ok := flatType(t, d.PhysicalType(), d.TypeLength())
	if !ok || d.MaxRepetitionLevel() > 0 || d.MaxDefinitionLevel() > 1 {
		return nil
	}
	for g := range meta.NumRowGroups() {
		chunk, err := meta.RowGroup(g).ColumnChunk(leaf)
		if err != nil {
			return nil
		}
		for _, e := range chunk.Encodings() {
			switch e {
			case parquet.Encodings.Plain, parquet.Encodings.PlainDict, parquet.Encodings.RLEDict, parquet.Encodings.RLE, parquet.Encodings.BitPacked:
			default:
				return nil
			}
		}
	}
	return &flatColumn{parquet: pq, leaf: leaf, typ: t, width: width, decimal: decimal}
}

func (c *flatColumn) begin(groups []int) {
	c.groups, c.pages, c.left, c.page = groups, nil, 0, flatPage{}
}

// next are the values of the next n rows; the caller releases them.
func (c *flatColumn) next(n int64) (arrow.Array, error) {
	out := newFlatRows(c, int(n))
	for out.rows < int(n) {
		if c.page.rows == 0 {
			if err := c.advance(); err != nil {
				return nil, err
			}
			continue
		}
		if err := c.read(out, min(int(n)-out.rows, c.page.rows)); err != nil {
			return nil, err
		}
	}
	return out.array(c.typ), nil
}

// advance goes on to the next page, of the next row group at the end of one. It may be one
// without rows.
func (c *flatColumn) advance() error {
	if c.pages == nil || !c.pages.Next() {
		return c.open()
	}
	switch page := c.pages.Page().(type) {
	case *file.DictionaryPage:
		return c.setDictionary(page)
	case *file.DataPageV1:
		return c.setV1(page)
	case *file.DataPageV2:
		return c.setV2(page)
	default:
		return damagedParquet("a page of type %s", page.Type())
	}
}

// open begins the next row group.
func (c *flatColumn) open() error {
	if c.pages != nil {
		if err := errors.Join(c.pages.Err(), c.pages.Close()); err != nil {
			return fmt.Errorf("read page: %w", err)
		}
		c.pages = nil
	}
	if c.left > 0 {
		return damagedParquet("a column chunk ends %d rows before its row group", c.left)
	}
	if len(c.groups) == 0 {
		return io.ErrUnexpectedEOF
	}
	group := c.parquet.RowGroup(c.groups[0])
	pages, err := group.GetColumnPageReader(c.leaf)
	if err != nil {
		return fmt.Errorf("open column chunk: %w", err)
	}
	c.groups, c.left, c.pages, c.dict = c.groups[1:], group.NumRows(), pages, nil
	return nil
}

func (c *flatColumn) optional() bool {
	return c.parquet.MetaData().Schema.Column(c.leaf).MaxDefinitionLevel() > 0
}

// setV1 begins a page whose levels have their length before them.
func (c *flatColumn) setV1(page *file.DataPageV1) error {
	data, levels := page.Data(), []byte(nil)
	if c.optional() {
		if e := page.DefinitionLevelEncoding(); e != parquet.Encodings.RLE {
			return damagedParquet("levels in encoding %s, which Parquet gave up in 2013", e)
		}
		if len(data) < 4 || uint64(binary.LittleEndian.Uint32(data)) > uint64(len(data)-4) {
			return damagedParquet("levels are longer than their page")
		}
		n := binary.LittleEndian.Uint32(data)
		levels, data = data[4:4+n], data[4+n:]
	}
	return c.setPage(page, levels, data)
}

// setV2 begins a page whose header has the length of the levels.
func (c *flatColumn) setV2(page *file.DataPageV2) error {
	data := page.Data()
	rep, def := int64(page.RepetitionLevelByteLen()), int64(page.DefinitionLevelByteLen())
	if rep < 0 || def < 0 || rep+def > int64(len(data)) {
		return damagedParquet("levels are longer than their page")
	}
	return c.setPage(page, data[rep:rep+def], data[rep+def:])
}

func (c *flatColumn) setPage(page file.Page, levels, values []byte) error {
	rows := int64(page.NumValues())
	if rows < 0 || rows > c.left {
		return damagedParquet("a page of %d rows, where the row group has %d", rows, c.left)
	}
	c.page = flatPage{rows: int(rows), levels: bitRuns{data: levels}, values: values}
	c.left -= rows
	switch e := parquet.Encoding(page.Encoding()); {
	case e == parquet.Encodings.Plain || rows == 0:
	case e != parquet.Encodings.PlainDict && e != parquet.Encodings.RLEDict:
		return damagedParquet("a page in encoding %s, which its column chunk does not state", e)
	case c.dict == nil:
		return damagedParquet("a page wants a dictionary, and there is none")
	case len(values) > 0:
		c.page.indexed, c.page.values = true, nil
		c.page.indices = indexRuns{data: values[1:], width: int(values[0]), entries: c.dict.entries}
	default:
		c.page.indexed = true // of nulls alone
	}
	return nil
}

// read reads the next n rows of the page.
func (c *flatColumn) read(out *flatRows, n int) error {
	there := n
	if out.valid != nil {
		if err := c.page.levels.read(out.valid, out.rows, n); err != nil {
			return err
		}
		there = bitutil.CountSetBits(out.valid, out.rows, n)
	}
	if err := c.values(out, there); err != nil {
		return err
	}
	if there < n {
		out.spread(n, there)
	}
	out.rows, c.page.rows = out.rows+n, c.page.rows-n
	if there > 0 && c.page.rows == 0 && len(c.page.values)+len(c.page.indices.data) > 0 {
		return damagedParquet("a page has values behind its rows")
	}
	return nil
}

// values reads n values, one behind the other.
func (c *flatColumn) values(out *flatRows, n int) (err error) {
	switch {
	case n == 0:
		return nil
	case c.page.indexed:
		indices := out.scratch(n)
		if err := c.page.indices.read(indices); err != nil {
			return err
		}
		if c.width == 0 {
			return out.gatherTexts(c.dict, indices)
		}
		out.gather(c.dict, indices)
		return nil
	case c.width == 0:
		if out.data == nil {
			out.data = column.Room(min((len(c.page.values)/c.page.rows+1)*(out.n-out.rows), maxBatchBytes))[:0]
		}
		out.data, c.page.values, err = plainTexts(out.data, out.offsets[out.rows+1:out.rows+1+n], c.page.values)
		return err
	}
	size := n * c.width
	if size > len(c.page.values) {
		return damagedParquet("%d values of %d bytes in %d", n, c.width, len(c.page.values))
	}
	c.convert(out.fixed[out.rows*out.width:], c.page.values, n)
	c.page.values = c.page.values[size:]
	return nil
}

// convert writes n values as Arrow has them.
func (c *flatColumn) convert(dst, src []byte, n int) {
	if !c.decimal {
		copy(dst, src[:n*c.width])
		return
	}
	for i := range n {
		hi, lo := bigEndian(src[i*c.width:], c.width)
		binary.LittleEndian.PutUint64(dst[16*i:], lo)
		binary.LittleEndian.PutUint64(dst[16*i+8:], hi)
	}
}

// bigEndian is a number of 1 to 16 bytes, with its sign, as 128 bits.
func bigEndian(src []byte, width int) (hi, lo uint64) {
	if width > 8 {
		hi, _ = signed(src[:width-8], width-8)
		return hi, binary.BigEndian.Uint64(src[width-8:])
	}
	lo, sign := signed(src, width)
	return sign, lo
}

// signed is a number of at most 8 bytes, and its sign in every bit of another.
func signed(src []byte, width int) (v, sign uint64) {
	var buf [8]byte
	if len(src) < 8 {
		copy(buf[:], src)
		src = buf[:]
	}
	n := int64(binary.BigEndian.Uint64(src)) >> (64 - 8*width)
	return uint64(n), uint64(n >> 63)
}

// plainTexts appends the next texts to data, as many as there are offsets, which it sets to
// where they end.
func plainTexts(data []byte, offsets []int32, src []byte) (all, rest []byte, err error) {
	if len(data)+len(src) > math.MaxInt32 {
		return nil, nil, errTooLong
	}
	end := len(data)
	data = data[:cap(data)]
	for i := range offsets {
		if len(src) < 4 {
			return nil, nil, damagedParquet("a page breaks off before its last text")
		}
		n := binary.LittleEndian.Uint32(src)
		src = src[4:]
		if uint64(n) > uint64(len(src)) {
			return nil, nil, damagedParquet("a text of %d bytes, where the page has %d", n, len(src))
		}
		switch {
		case n <= shortText && len(src) >= shortText && len(data)-end >= shortText:
			copyShort(data[end:], src)
		case int(n) <= len(data)-end:
			copy(data[end:], src[:n])
		default:
			data = append(data[:end], src[:n]...)
			data = data[:cap(data)]
		}
		src = src[n:]
		end += int(n)
		offsets[i] = int32(end)
	}
	return data[:end], src, nil
}

// shortText bounds the texts of which so many bytes are copied however long they are, what
// is behind them too: that takes a few instructions, and for many the call of copy would
// take most of the time.
const shortText = 32

func copyShort(dst, src []byte) { *(*[shortText]byte)(dst) = *(*[shortText]byte)(src) }

var errTooLong = errors.New("a batch's texts are longer than 2 GiB")

// flatRows are rows of a column that are being read.
type flatRows struct {
	n, rows int    // to read; read
	valid   []byte // a bit a row; nil where there are no nulls
	width   int    // of fixed
	fixed   []byte
	offsets []int32
	data    []byte
	indices []uint32
}

func newFlatRows(c *flatColumn, n int) *flatRows {
	out := &flatRows{n: n, width: c.width}
	if c.optional() {
		out.valid = make([]byte, bitutil.BytesForBits(int64(n)))
	}
	if c.decimal {
		out.width = 16
	}
	if c.width == 0 {
		out.offsets = arrow.Int32Traits.CastFromBytes(column.Room(arrow.Int32Traits.BytesRequired(n + 1)))
		out.offsets[0] = 0
	} else {
		out.fixed = column.Room(n * out.width)
	}
	return out
}

func (o *flatRows) scratch(n int) []uint32 {
	if cap(o.indices) < n {
		o.indices = make([]uint32, n)
	}
	return o.indices[:n]
}

// gather takes values of the dictionary.
func (o *flatRows) gather(dict *flatDictionary, indices []uint32) {
	dst := o.fixed[o.rows*o.width:]
	switch o.width {
	case 4:
		for i, at := range indices {
			binary.NativeEndian.PutUint32(dst[4*i:], binary.NativeEndian.Uint32(dict.fixed[4*at:]))
		}
	case 8:
		for i, at := range indices {
			binary.NativeEndian.PutUint64(dst[8*i:], binary.NativeEndian.Uint64(dict.fixed[8*at:]))
		}
	default:
		for i, at := range indices {
			copy(dst[o.width*i:][:o.width], dict.fixed[o.width*int(at):])
		}
	}
}

// gatherTexts appends texts of the dictionary.
func (o *flatRows) gatherTexts(dict *flatDictionary, indices []uint32) error {
	offsets, size := o.offsets[o.rows+1:], len(o.data)
	for i, at := range indices {
		size += int(dict.offsets[at+1] - dict.offsets[at])
		if size > math.MaxInt32 {
			return errTooLong
		}
		offsets[i] = int32(size)
	}
	from := len(o.data)
	if cap(o.data) < size { // at once for the rows that are missing, if these are like the others
		more := min(size/(o.rows+len(indices))*o.n, maxBatchBytes)
		o.data = append(column.Room(max(size, more))[:0], o.data...)
	}
	o.data = o.data[:size]
	for i := 0; i < len(indices); {
		at, run := indices[i], i+1
		for run < len(indices) && indices[run] == at {
			run++
		}
		fill(o.data[from:offsets[run-1]], dict.data[dict.offsets[at]:dict.offsets[at+1]])
		i, from = run, int(offsets[run-1])
	}
	return nil
}

// fill repeats a text to the end of dst.
func fill(dst, text []byte) {
	for n := copy(dst, text); n > 0 && n < len(dst); n *= 2 {
		copy(dst[n:], dst[:n])
	}
}

// spread makes room between the last values for the nulls among n rows.
func (o *flatRows) spread(n, there int) {
	for i := n - 1; i >= 0; i-- {
		valid := bitutil.BitIsSet(o.valid, o.rows+i)
		if o.width == 0 {
			o.offsets[o.rows+1+i] = o.offsets[o.rows+there]
		} else if to := o.fixed[(o.rows+i)*o.width:][:o.width]; !valid {
			clear(to)
		} else if i+1 != there {
			copy(to, o.fixed[(o.rows+there-1)*o.width:])
		}
		if valid {
			there--
		}
	}
}

func (o *flatRows) array(t arrow.DataType) arrow.Array {
	nulls := 0
	var valid *memory.Buffer
	if o.valid != nil {
		if nulls = o.n - bitutil.CountSetBits(o.valid, 0, o.n); nulls > 0 {
			valid = memory.NewBufferBytes(o.valid)
		}
	}
	buffers := []*memory.Buffer{valid, memory.NewBufferBytes(o.fixed)}
	if o.width == 0 {
		buffers = []*memory.Buffer{valid, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(o.offsets)), memory.NewBufferBytes(o.data)}
	}
	data := array.NewData(t, o.n, buffers, nil, nulls, 0)
	defer data.Release()
	return array.MakeFromData(data)
}
