package basefile

import (
	"bytes"
	"encoding/binary"

	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
)

// bitRuns reads levels of one bit: runs of one value, or packed as Arrow packs them.
type bitRuns struct {
	data   []byte
	left   int // of the run
	packed []byte
	at     int // of packed
	value  bool
}

// read sets n bits of dst.
func (r *bitRuns) read(dst []byte, at, n int) error {
	for n > 0 {
		if r.left == 0 {
			if err := r.advance(); err != nil {
				return err
			}
		}
		k := min(n, r.left)
		if r.packed != nil {
			bitutil.CopyBitmap(r.packed, r.at, k, dst, at)
			r.at += k
		} else {
			bitutil.SetBitsTo(dst, int64(at), int64(k), r.value)
		}
		r.left, at, n = r.left-k, at+k, n-k
	}
	return nil
}

func (r *bitRuns) advance() error {
	head, k := binary.Uvarint(r.data)
	if k <= 0 || head>>1 == 0 || len(r.data) == k {
		return damagedParquet("a run of levels is garbled or breaks off")
	}
	r.data = r.data[k:]
	if head&1 == 1 {
		n := int(min(head>>1, uint64(len(r.data)))) // a byte has eight of them
		r.packed, r.at, r.left, r.data = r.data[:n], 0, 8*n, r.data[n:]
		return nil
	}
	if r.data[0] > 1 {
		return damagedParquet("level %d is over 1", r.data[0])
	}
	r.packed, r.value, r.left, r.data = nil, r.data[0] == 1, int(min(head>>1, maxRun)), r.data[1:]
	return nil
}

// maxRun is longer than any page.
const maxRun = 1 << 30

// indexRuns reads indices into a dictionary.
type indexRuns struct {
	data    []byte
	width   int // bits of an index
	entries int // of the dictionary

	left   int // of the run
	packed []byte
	bit    int // of packed
	value  uint32
}

// read fills dst.
func (r *indexRuns) read(dst []uint32) error {
	for len(dst) > 0 {
		if r.left == 0 {
			if err := r.advance(); err != nil {
				return err
			}
		}
		n := min(len(dst), r.left)
		if r.packed != nil {
			r.unpack(dst[:n])
		} else {
			for i := range dst[:n] {
				dst[i] = r.value
			}
		}
		for _, v := range dst[:n] {
			if int64(v) >= int64(r.entries) {
				return damagedParquet("index %d into a dictionary of %d", v, r.entries)
			}
		}
		r.left, dst = r.left-n, dst[n:]
	}
	return nil
}

func (r *indexRuns) advance() error {
	head, k := binary.Uvarint(r.data)
	if k <= 0 || head>>1 == 0 || r.width > 32 {
		return damagedParquet("a run of indices is garbled or breaks off")
	}
	r.data = r.data[k:]
	if head&1 == 0 {
		size := (r.width + 7) / 8
		if len(r.data) < size {
			return damagedParquet("a run of indices breaks off")
		}
		var b [4]byte
		copy(b[:], r.data[:size])
		r.packed, r.value, r.left, r.data = nil, binary.LittleEndian.Uint32(b[:]), int(min(head>>1, maxRun)), r.data[size:]
		return nil
	}
	size := len(r.data)
	if groups := head >> 1; r.width == 0 {
		r.packed, r.value, r.left = nil, 0, int(min(groups, maxRun/8))*8
		return nil
	} else if groups <= uint64(size) {
		size = min(size, int(groups)*r.width)
	}
	r.packed, r.bit, r.left, r.data = r.data[:size], 0, size*8/r.width, r.data[size:]
	if r.left == 0 {
		return damagedParquet("a run of indices breaks off")
	}
	return nil
}

// unpack takes indices from the packed ones.
func (r *indexRuns) unpack(dst []uint32) {
	mask := uint64(1)<<r.width - 1
	for i := range dst {
		var word uint64
		if src := r.packed[r.bit/8:]; len(src) >= 8 {
			word = binary.LittleEndian.Uint64(src)
		} else {
			var b [8]byte
			copy(b[:], src)
			word = binary.LittleEndian.Uint64(b[:])
		}
		dst[i] = uint32(word >> (r.bit % 8) & mask)
		r.bit += r.width
	}
}

// flatDictionary has the values of a column chunk as Arrow has them.
type flatDictionary struct {
	entries int
	fixed   []byte
	offsets []int32
	data    []byte
}

// setDictionary takes the chunk's dictionary, whose page does not stay.
func (c *flatColumn) setDictionary(page *file.DictionaryPage) error {
	if e := parquet.Encoding(page.Encoding()); e != parquet.Encodings.Plain && e != parquet.Encodings.PlainDict {
		return damagedParquet("a dictionary in encoding %s", e)
	}
	n, src := int(page.NumValues()), page.Data()
	if n < 0 || n > len(src)/max(c.width, 1) {
		return damagedParquet("a dictionary of %d values in %d bytes", n, len(src))
	}
	d := &flatDictionary{entries: n}
	switch {
	case c.width == 0:
		d.offsets = make([]int32, n+1)
		var err error
		if d.data, _, err = plainTexts(nil, d.offsets[1:], src); err != nil {
			return err
		}
	case c.decimal:
		d.fixed = make([]byte, 16*n)
		c.convert(d.fixed, src, n)
	default:
		d.fixed = bytes.Clone(src[:n*c.width])
	}
	c.dict = d
	return nil
}
