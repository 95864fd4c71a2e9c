package basefile

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"testing"
)

// mightContain asks a filter of the type SIMPLE, as readers do.
func mightContain(t *testing.T, text, key string) bool {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	size := binary.BigEndian.Uint32(b[9:])
	bits := make([]byte, (size+7)/8)
	bloomSet(bits, size, int(binary.BigEndian.Uint32(b[4:])), key)
	for i := range bits {
		if bits[i]&^b[13+i] != 0 {
			return false
		}
	}
	return true
}

func TestBloom(t *testing.T) {
	tests := []struct {
		expected int64
		keys     int
		bits     uint32
	}{
		{0, 0, 64},
		{0, 1, 64},
		{0, 2, 128},
		{1000, 1000, 65536},
		{0, 60000, 1 << 22},
		{0, bloomKeys, 1 << 22},
		{0, bloomKeys + 1, 64},
		{bloomKeys + 1, 10, 64},
	}
	for _, tt := range tests {
		t.Run(strconv.Itoa(tt.keys), func(t *testing.T) {
			b := newBloom(tt.expected, false)
			for i := range tt.keys {
				b.add(fmt.Sprint("key-", i))
			}
			text := b.encode()
			head, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			if got := binary.BigEndian.Uint32(head[9:]); got != tt.bits || len(head) != 13+int(tt.bits)/8 {
				t.Errorf("%d bits in %d bytes, want %d", got, len(head), tt.bits)
			}
			for i := 0; i < tt.keys; i += 1 + tt.keys/100 {
				if !mightContain(t, text, fmt.Sprint("key-", i)) {
					t.Errorf("key %d is not in", i)
				}
			}
			saysAll := tt.keys > bloomKeys || tt.expected > bloomKeys
			for i := range 10 {
				if mightContain(t, text, fmt.Sprint("other-", i)) != saysAll {
					t.Errorf("another key: in is %v", !saysAll)
				}
			}
		})
	}
}

// Bytes beyond ASCII, whose sign murmur2 extends: the filter is what
// SimpleBloomFilter of Hudi 0.15.0 made of these keys.
func TestBloomBeyondASCII(t *testing.T) {
	const want = "/////wAAAA4BAAAAmlMnrQ4LfiY+4HQgCoNOgoEvIUoB"
	b, err := base64.StdEncoding.DecodeString(want)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[13:])
	for _, key := range []string{"é", "😀", "aé", "a:ü,b:ß", "ключ", "1"} {
		bloomSet(b[13:], binary.BigEndian.Uint32(b[9:]), int(binary.BigEndian.Uint32(b[4:])), key)
	}
	if got := base64.StdEncoding.EncodeToString(b); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func BenchmarkBloomAdd(b *testing.B) {
	f := newBloom(0, false)
	for b.Loop() {
		f.keys = 0 // never too many
		f.add("1234567890")
	}
}

// FuzzBloomFilter reads filters of foreign footers, and finds in ours the keys that they
// are made of.
func FuzzBloomFilter(f *testing.F) {
	f.Add(newBloom(0, false).encode(), "key")
	f.Add("/////wAAAAEBAAAACP8=", "")
	f.Fuzz(func(t *testing.T, text, key string) {
		if filter, ok := parseBloom(text); ok {
			filter.mayHave(key)
		}
		b := newBloom(1, false)
		b.add(key)
		if filter, ok := parseBloom(b.encode()); !ok || !filter.mayHave(key) {
			t.Errorf("a filter of %q does not have it", key)
		}
	})
}
