package hudi

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// keyHash stands for a record key in sets that must stay small whatever the keys'
// length: 128 bits, so that two keys of a table never meet, seeded by the process, so
// that nobody can make two meet.
type keyHash = xxh3.Uint128

var keySeed = func() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}()

func hashKey(key string) keyHash { return xxh3.HashString128Seed(key, keySeed) }

func hashKeyBytes(key []byte) keyHash { return xxh3.Hash128Seed(key, keySeed) }
