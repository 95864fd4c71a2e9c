package basefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/parquet-go/parquet-go/format"

	"lakefeed/hudi/internal/offset"
)

// pageFrame is what the header of a page says of the page as bytes. Reading no more than
// that takes a twentieth of what decoding the header takes.
type pageFrame struct {
	kind   format.PageType
	head   int    // bytes of the header
	body   int    // bytes behind it
	rows   int    // values and nulls of a data page
	summed bool   // the header has a checksum
	sum    uint32 // that: CRC-32 of the body

	sumAt  int   // of the header, where a checksum belongs
	before int16 // number of the field before it
}

// Fields of a page's header, and of the headers of pages within it.
const (
	frameKind = 1
	frameBody = 3
	frameSum  = 4
	frameData = 5
	frameV2   = 8
	frameRows = 1

	maxFrameHead = 16 << 20
)

// size is that of the page, header and all.
func (f *pageFrame) size() int { return f.head + f.body }

func (f *pageFrame) isData() bool { return f.kind == format.DataPage || f.kind == format.DataPageV2 }

// readFrame reads the header at the start of data; false if it is none, or breaks off.
func readFrame(data []byte) (f pageFrame, ok bool) {
	w := thriftWalk{data: data}
	f.kind, f.body, f.sumAt = -1, -1, -1
	for id := int16(0); ; {
		at, before := w.at, id
		field, t, ok := w.field(id)
		if !ok {
			return f, false
		}
		if id = field; f.sumAt < 0 && (t == thriftStop || id > frameSum) {
			f.sumAt, f.before = at, before
		}
		switch {
		case t == thriftStop:
			f.head = w.at
			return f, f.body >= 0
		case t == thriftI32 && id <= frameSum:
			ok = f.number(&w, id)
		case t == thriftStruct && (id == frameData || id == frameV2):
			ok = f.values(&w)
		case t != thriftTrue && t != thriftFalse:
			ok = w.value(t, 0)
		}
		if !ok {
			return f, false
		}
	}
}

// number reads a field of the header.
func (f *pageFrame) number(w *thriftWalk, id int16) bool {
	n, ok := w.i32()
	switch id {
	case frameKind:
		f.kind = format.PageType(n)
	case frameBody:
		f.body = int(n)
	case frameSum:
		f.summed, f.sum = true, uint32(n)
	}
	return ok
}

// values reads how many values a data page has.
func (f *pageFrame) values(w *thriftWalk) bool {
	for id := int16(0); ; {
		field, t, ok := w.field(id)
		switch id = field; {
		case !ok || t == thriftStop:
			return ok
		case t == thriftI32 && id == frameRows:
			var n int32
			n, ok = w.i32()
			f.rows = int(n)
		case t != thriftTrue && t != thriftFalse:
			ok = w.value(t, 1)
		}
		if !ok {
			return false
		}
	}
}

// withSum is a header without a checksum, with one. The rest stays as it is.
func (f *pageFrame) withSum(head []byte, sum uint32) []byte {
	if f.before < 0 || f.before >= frameSum {
		return head // its fields are in an order in which nobody writes them
	}
	out := append(make([]byte, 0, len(head)+6), head[:f.sumAt]...)
	step := byte(frameSum-f.before) << 4
	out = append(out, step|thriftI32)
	out = binary.AppendUvarint(out, uint64(sum<<1^uint32(int32(sum)>>31)))
	next := head[f.sumAt]
	if next>>4 != 0 { // it says how far its field is from the one before
		next -= step
	}
	return append(append(out, next), head[f.sumAt+1:]...)
}

// atPage says of which page an error is.
func atPage(at int64, err error) error {
	return offset.At(at, fmt.Errorf("the page at offset %d: %w", at, err))
}

// errChecksum is the damage that only a checksum shows.
var errChecksum = errors.New("its bytes are not those that its checksum is of")

// check compares the page's body with its checksum, if it has one.
func (f *pageFrame) check(body []byte) error {
	if f.summed {
		return checkSum(crc32.ChecksumIEEE(body), f.sum)
	}
	return nil
}

// check compares what is behind the header with its checksum, if it has one.
func (h *pageHeader) check(body []byte) error {
	if h.Sum.Valid {
		return checkSum(crc32.ChecksumIEEE(body), uint32(h.Sum.V))
	}
	return nil
}

func checkSum(got, stated uint32) error {
	if got != stated {
		return fmt.Errorf("%w: %w (CRC-32 is %08x, its header says %08x)", errDamaged, errChecksum, got, stated)
	}
	return nil
}

// field reads the head of a field, behind one of that number.
func (w *thriftWalk) field(before int16) (id int16, t byte, ok bool) {
	head, ok := w.byte()
	if !ok || head == thriftStop {
		return before, thriftStop, ok
	}
	if head>>4 != 0 {
		return before + int16(head>>4), head & 15, true
	}
	v, ok := w.varint()
	return int16(v>>1) ^ -int16(v&1), head & 15, ok
}

func (w *thriftWalk) i32() (int32, bool) {
	v, ok := w.varint()
	return int32(uint32(v)>>1) ^ -int32(v&1), ok && v <= math.MaxUint32
}
