package basefile

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Levels and dictionary indices are runs: either one value n times, or groups of
// eight values packed into bits. Here levels are a byte each, indices four.

// decodeRuns reads n values of that many bits, each of which is at most limit.
func decodeRuns(data []byte, width, n int, limit uint32, put func(v uint32, times int)) error {
	for n > 0 {
		head, k := binary.Uvarint(data)
		if k <= 0 || head>>1 == 0 {
			return damagedParquet("a run of levels or indices is garbled")
		}
		data = data[k:]
		var err error
		if head&1 == 0 {
			data, n, err = decodeRepeated(data, width, n, head>>1, limit, put)
		} else {
			data, n, err = decodePacked(data, width, n, head>>1, limit, put)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func decodeRepeated(data []byte, width, n int, count uint64, limit uint32, put func(uint32, int)) ([]byte, int, error) {
	size := (width + 7) / 8
	if len(data) < size {
		return nil, 0, damagedParquet("a run of levels or indices breaks off")
	}
	var b [4]byte
	copy(b[:], data[:size])
	v, times := binary.LittleEndian.Uint32(b[:]), int(min(count, uint64(n)))
	if v > limit {
		return nil, 0, damagedParquet("level or index %d is over %d", v, limit)
	}
	put(v, times)
	return data[size:], n - times, nil
}

func decodePacked(data []byte, width, n int, groups uint64, limit uint32, put func(uint32, int)) ([]byte, int, error) {
	values := n
	if groups < uint64(n+7)/8 {
		values = int(groups) * 8
	}
	if len(data) < (values*width+7)/8 {
		return nil, 0, damagedParquet("a run of levels or indices breaks off")
	}
	var acc uint64
	held, at, mask := 0, 0, uint64(1)<<width-1
	for range values {
		for held < width {
			acc |= uint64(data[at]) << held
			held, at = held+8, at+1
		}
		v := uint32(acc & mask)
		acc, held = acc>>width, held-width
		if v > limit {
			return nil, 0, damagedParquet("level or index %d is over %d", v, limit)
		}
		put(v, 1)
	}
	size := uint64(len(data))
	if groups < size { // what pads the last group may be missing at the end
		size = min(size, groups*uint64(width))
	}
	return data[size:], n - values, nil
}

// appendRuns encodes n values.
func appendRuns(dst []byte, width, n int, at func(i int) uint32) []byte {
	packed := 0 // from here on values wait to be packed
	for i := 0; i < n; {
		same := 1
		for v := at(i); i+same < n && at(i+same) == v; same++ {
		}
		if pad := (8 - (i-packed)%8) % 8; same-pad >= 8 { // enough to fill the group before, and for a run
			i += pad
			same -= pad
			dst = appendPacked(dst, width, packed, i, at)
			dst = binary.AppendUvarint(dst, uint64(same)<<1)
			var b [4]byte
			binary.LittleEndian.PutUint32(b[:], at(i))
			dst = append(dst, b[:(width+7)/8]...)
			packed = i + same
		}
		i += same
	}
	return appendPacked(dst, width, packed, n, at)
}

// appendPacked packs values, whose last group is filled with zeros.
func appendPacked(dst []byte, width, from, to int, at func(i int) uint32) []byte {
	if from == to {
		return dst
	}
	groups := (to - from + 7) / 8
	dst = binary.AppendUvarint(dst, uint64(groups)<<1|1)
	var acc uint64
	held := 0
	for i := from; i < from+groups*8; i++ {
		if i < to {
			acc |= uint64(at(i)) << held
		}
		for held += width; held >= 8; held -= 8 {
			dst = append(dst, byte(acc))
			acc >>= 8
		}
	}
	return dst
}

// widthOf is the number of bits that values up to a limit take.
func widthOf(limit uint32) int { return bits.Len32(limit) }

// decodeLevels reads n levels.
func decodeLevels(data []byte, limit uint8, n int) (levels []byte, err error) {
	levels = make([]byte, 0, n)
	err = decodeRuns(data, widthOf(uint32(limit)), n, uint32(limit), func(v uint32, times int) {
		if times == 1 {
			levels = append(levels, byte(v))
			return
		}
		at := len(levels)
		levels = levels[:at+times]
		if v != 0 {
			copy(levels[at:], bytes.Repeat([]byte{byte(v)}, times))
		}
	})
	return levels, err
}

// appendLevels writes levels with their length before them, as pages of the first
// version have them.
func appendLevels(dst, levels []byte, limit uint8) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = appendRuns(dst, widthOf(uint32(limit)), len(levels), func(i int) uint32 { return uint32(levels[i]) })
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// decodeIndices reads n indices of a dictionary, the width before them.
func decodeIndices(data []byte, n, entries int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	if len(data) == 0 || data[0] > 32 || entries == 0 {
		return nil, damagedParquet("dictionary indices are garbled")
	}
	out := make([]byte, 0, 4*n)
	err := decodeRuns(data[1:], int(data[0]), n, uint32(entries-1), func(v uint32, times int) {
		for range times {
			out = binary.LittleEndian.AppendUint32(out, v)
		}
	})
	return out, err
}

func appendIndices(dst, indices []byte, entries int) []byte {
	width := max(widthOf(uint32(max(entries-1, 0))), 1)
	return appendRuns(append(dst, byte(width)), width, len(indices)/4, func(i int) uint32 {
		return binary.LittleEndian.Uint32(indices[4*i:])
	})
}

func appendBits(dst, values []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, (len(values)+7)/8)...)
	for i, v := range values {
		dst[at+i/8] |= v << (i % 8)
	}
	return dst
}

func decodeBits(data []byte, n int) ([]byte, error) {
	if len(data) < (n+7)/8 {
		return nil, damagedParquet("%d booleans in %d bytes", n, len(data))
	}
	out := make([]byte, n)
	for i := range out {
		out[i] = data[i/8] >> (i % 8) & 1
	}
	return out, nil
}
