package basefile

import (
	"encoding/base64"
	"encoding/binary"
)

const (
	// bloomHashes is how many bits a key sets: what Hudi takes for one false positive
	// in 1e9.
	bloomHashes = 30
	// bloomBits is the size that a filter starts with. Below bloomKeys keys it keeps
	// that promise.
	bloomBits = 1 << 22
	bloomKeys = 97_000
	// bloomBitsPerKey is what the promise takes: ln(1e9) / ln(2)^2.
	bloomBitsPerKey = 43.14
)

// bloom is Hudi's Bloom filter of a base file's record keys. It is filled in a vector
// of fixed size, which is folded to fit the number of keys at the end: positions are
// hashes modulo the size, so one of half the size is the union of both halves.
//
// A file of more than bloomKeys keys gets a filter that says "perhaps" to every key.
// Hudi's own grows to a megabyte of footer, and says no more from there on.
type bloom struct {
	bits []byte
	keys int
}

func newBloom(expected int64, every bool) *bloom {
	b := &bloom{}
	if expected <= bloomKeys && !every {
		b.bits = make([]byte, bloomBits/8)
	}
	return b
}

func (b *bloom) add(key string) {
	b.keys++
	if b.keys > bloomKeys {
		b.bits = nil
	}
	b.set(key)
}

// set adds a key that is counted already.
func (b *bloom) set(key string) {
	if b.bits != nil {
		bloomSet(b.bits, bloomBits, bloomHashes, key)
	}
}

// bloomSet sets a key's bits in a vector of that size.
func bloomSet(bits []byte, size uint32, hashes int, key string) {
	h := int32(0)
	for range hashes {
		h = murmur2(key, h)
		abs := uint32(h)
		if h < 0 {
			abs = -abs
		}
		at := abs % size
		bits[at>>3] |= 1 << (at & 7)
	}
}

// encode returns the filter as footers hold it, of the type SIMPLE.
func (b *bloom) encode() string {
	bits := b.fold()
	out := make([]byte, 13, 13+len(bits))
	binary.BigEndian.PutUint32(out, 0xffffffff) // version -1
	binary.BigEndian.PutUint32(out[4:], bloomHashes)
	out[8] = 1 // murmur2
	binary.BigEndian.PutUint32(out[9:], uint32(len(bits)*8))
	return base64.StdEncoding.EncodeToString(append(out, bits...))
}

// fold returns the smallest vector that keeps the promise for the number of keys.
func (b *bloom) fold() []byte {
	if b.bits == nil {
		return []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	bits := b.bits
	for n := len(bits) / 2; n >= 8 && float64(n*8) >= float64(b.keys)*bloomBitsPerKey; n /= 2 {
		for i := range n {
			bits[i] |= bits[n+i]
		}
		bits = bits[:n]
	}
	return bits
}

// murmur2 is Hadoop's MurmurHash, which extends the sign of the last bytes.
func murmur2(key string, seed int32) int32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(seed) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
	}
	if n := len(key); n > 0 {
		if n >= 3 {
			h ^= uint32(int32(int8(key[n-3]))) << 16
		}
		if n >= 2 {
			h ^= uint32(int32(int8(key[n-2]))) << 8
		}
		h ^= uint32(int32(int8(key[n-1])))
		h *= m
	}
	h ^= h >> 13
	h *= m
	return int32(h ^ h>>15)
}
