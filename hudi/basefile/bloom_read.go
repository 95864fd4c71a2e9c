package basefile

import (
	"encoding/base64"
	"encoding/binary"
	"iter"
)

// bloomFilter is a filter of a base file's footer: rows of bits, of which one has the
// bits of a key that the file has. Hudi's type SIMPLE has one row, DYNAMIC_V0 one for
// each so many keys.
type bloomFilter []bloomRow

type bloomRow struct {
	hashes int
	size   uint32 // in bits
	bits   []byte
}

const (
	bloomVersion   = 0xffffffff // -1
	bloomHead      = 13         // version, number of hashes, kind of hash, size
	bloomRowsHead  = 12         // of DYNAMIC_V0: keys in a row, keys in the last row, rows
	maxBloomHashes = 1 << 10
)

// parseBloom reads a filter of either type; ok is false for what is none.
func parseBloom(text string) (f bloomFilter, ok bool) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, false
	}
	if row, rest, ok := parseBloomRow(data); ok && len(rest) == 0 {
		return bloomFilter{row}, true
	}
	if len(data) < bloomHead+bloomRowsHead {
		return nil, false
	}
	rows := binary.BigEndian.Uint32(data[bloomHead+8:])
	for rest := data[bloomHead+bloomRowsHead:]; ; {
		row, next, ok := parseBloomRow(rest)
		if !ok {
			return nil, false
		}
		f = append(f, row)
		if rest = next; len(rest) == 0 {
			return f, uint32(len(f)) == rows
		}
	}
}

func parseBloomRow(data []byte) (row bloomRow, rest []byte, ok bool) {
	if len(data) < bloomHead || binary.BigEndian.Uint32(data) != bloomVersion || data[8] != 1 {
		return row, nil, false
	}
	hashes, size := binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[9:])
	n := (uint64(size) + 7) / 8
	if hashes == 0 || hashes > maxBloomHashes || size == 0 || size > 1<<31-1 || uint64(len(data)-bloomHead) < n {
		return row, nil, false
	}
	data = data[bloomHead:]
	return bloomRow{int(hashes), size, data[:n]}, data[n:], true
}

// mayHave is false for keys that the file does not have.
func (f bloomFilter) mayHave(key string) bool {
	for _, row := range f {
		if row.mayHave(key) {
			return true
		}
	}
	return false
}

func (r bloomRow) mayHave(key string) bool {
	h := int32(0)
	for range r.hashes {
		h = murmur2(key, h)
		abs := uint32(h)
		if h < 0 {
			abs = -abs
		}
		if at := abs % r.size; r.bits[at>>3]&(1<<(at&7)) == 0 {
			return false
		}
	}
	return true
}

// MayHave tells whether the footer leaves it open that the file has one of the keys.
func (b *Reader) MayHave(keys iter.Seq[string]) bool {
	least, hasLeast := b.Footer(footerMinKey)
	greatest, hasGreatest := b.Footer(footerMaxKey)
	text, hasFilter := b.Footer(footerBloom)
	var filter bloomFilter
	if hasFilter {
		filter, hasFilter = parseBloom(text)
	}
	for key := range keys {
		switch {
		case hasLeast && key < least && javaLess(key, least): // writers order keys in one or the other way
		case hasGreatest && key > greatest && javaLess(greatest, key):
		case hasFilter && !filter.mayHave(key):
		default:
			return true
		}
	}
	return false
}
