package basefile

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"math/bits"

	"github.com/parquet-go/parquet-go/format"
)

// startFilter begins the Bloom filter with the older file's, which may hold keys that
// are gone. Where that has not room for as many keys as there may be, has too many bits
// set, or is of another kind, the filter is made of the keys.
func (r *Rewrite) startFilter() {
	b := r.w.bloom
	rows := r.old.meta.NumRows + r.w.stats.Rows
	if rows > bloomKeys {
		b.bits = nil
	}
	if b.bits == nil {
		return
	}
	text, _ := r.old.footer(footerBloom)
	kind, _ := r.old.footer(footerBloomType)
	old := decodeBloom(text, kind)
	if old == nil || float64(len(old)*8) < float64(rows)*bloomBitsPerKey || crowded(old) {
		r.fill = true
		return
	}
	for i := range b.bits {
		b.bits[i] |= old[i%len(old)]
	}
}

// decodeBloom returns the bits of a filter that is of our kind, else nil.
func decodeBloom(text, kind string) []byte {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || kind != "SIMPLE" && kind != "" || len(data) < 13+8 {
		return nil
	}
	vector := data[13:]
	if binary.BigEndian.Uint32(data) != 0xffffffff || binary.BigEndian.Uint32(data[4:]) != bloomHashes || data[8] != 1 ||
		uint64(binary.BigEndian.Uint32(data[9:])) != uint64(len(vector))*8 || bloomBits/8%len(vector) != 0 {
		return nil
	}
	return vector
}

// crowded tells whether a filter has more bits set than one that is full: half of them.
func crowded(vector []byte) bool {
	n := 0
	for _, b := range vector {
		n += bits.OnesCount8(b)
	}
	return n > len(vector)*8*11/20
}

// isBound tells whether a key is the older file's least or greatest.
func (r *Rewrite) isBound(key string) bool {
	low, _ := r.old.footer(footerMinKey)
	high, _ := r.old.footer(footerMaxKey)
	return key == low || key == high
}

// endKeys takes the older file's keys into the range of the footer, and counts.
func (r *Rewrite) endKeys(ctx context.Context) error {
	if r.w.bloom.keys = int(r.w.stats.Rows); r.w.bloom.keys > bloomKeys {
		r.w.bloom.bits = nil
	}
	if r.w.stats.Rows == 0 {
		r.w.hasKeys = false
		return nil
	}
	low, ok := r.old.footer(footerMinKey)
	high, also := r.old.footer(footerMaxKey)
	if ok && also && !r.lost {
		if r.old.meta.NumRows > 0 {
			r.w.widen(low)
			r.w.widen(high)
		}
		return nil
	}
	r.keys, r.many = nil, true // all keys are wanted
	for g := range r.old.meta.RowGroups {
		err := r.keysOf(ctx, g, func(_ int64, key []byte) error {
			if r.changed[HashKey(string(key))]&toDelete == 0 {
				r.w.widen(string(key))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isText tells whether a column holds one text a row.
func (l *leaf) isText() bool { return l.maxRep == 0 && l.elem.Type.V == format.ByteArray }
