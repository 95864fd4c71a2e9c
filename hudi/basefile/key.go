package basefile

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// KeyHash stands for a record key in sets that must stay small whatever the keys'
// length: 128 bits, so that two keys of a table never meet, seeded by the process, so
// that nobody can make two meet.
type KeyHash = xxh3.Uint128

var keySeed = func() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}()

// HashKey is the hash of a record key, another one in each process.
func HashKey(key string) KeyHash { return xxh3.HashString128Seed(key, keySeed) }

// HashKeyBytes is [HashKey] of a key in UTF-8.
func HashKeyBytes(key []byte) KeyHash { return xxh3.Hash128Seed(key, keySeed) }
