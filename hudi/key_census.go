package hudi

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"lakefeed/hudi/basefile"
	"lakefeed/internal/scratch"
)

// keyCensus finds keys that come twice among any number of rows, in bounded memory:
// hashes beyond what may be held go to files, divided by their first bits, and each file
// is looked through by itself.
type keyCensus struct {
	limit int // entries in memory
	dir   string
	held  []censusEntry
	parts []*censusPart // nil until memory is full
}

type censusEntry struct {
	hash  basefile.KeyHash
	slice int32
}

// duplicate is a key that comes twice, and where.
type duplicate struct {
	hash   basefile.KeyHash
	slices [2]int32
}

type censusPart struct {
	file *os.File
	w    *bufio.Writer
}

const (
	censusBytes = 20 // of an entry in a file
	censusParts = 64
)

// newKeyCensus holds up to memory bytes of hashes.
func newKeyCensus(memory int64, tempDir string) *keyCensus {
	const entryBytes = 24
	return &keyCensus{limit: int(max(memory/entryBytes, 1)), dir: tempDir}
}

// add counts a key in.
func (k *keyCensus) add(h basefile.KeyHash, slice int32) error {
	if k.held = append(k.held, censusEntry{h, slice}); len(k.held) >= k.limit {
		return k.spill()
	}
	return nil
}

func (k *keyCensus) spill() error {
	for len(k.parts) < censusParts {
		f, err := scratch.Create(k.dir, "lakefeed-keys")
		if err != nil {
			return fmt.Errorf("make a file for hashes of keys: %w", err)
		}
		k.parts = append(k.parts, &censusPart{f, bufio.NewWriterSize(f, 16<<10)})
	}
	var b [censusBytes]byte
	for _, e := range k.held {
		binary.LittleEndian.PutUint64(b[:], e.hash.Hi)
		binary.LittleEndian.PutUint64(b[8:], e.hash.Lo)
		binary.LittleEndian.PutUint32(b[16:], uint32(e.slice))
		if _, err := k.parts[e.hash.Hi%censusParts].w.Write(b[:]); err != nil {
			return fmt.Errorf("write hashes of keys: %w", err)
		}
	}
	k.held = k.held[:0]
	return nil
}

// twice are the keys that come more than once in slices that must not share one.
func (k *keyCensus) twice(clash func(a, b int32) bool) ([]duplicate, error) {
	if k.parts == nil {
		return findTwice(k.held, clash), nil
	}
	if err := k.spill(); err != nil {
		return nil, err
	}
	var out []duplicate
	for _, p := range k.parts {
		entries, err := p.read()
		if err != nil {
			return nil, err
		}
		out = append(out, findTwice(entries, clash)...)
	}
	return out, nil
}

func (p *censusPart) read() ([]censusEntry, error) {
	err := p.w.Flush()
	if err == nil {
		_, err = p.file.Seek(0, io.SeekStart)
	}
	var out []censusEntry
	var b [censusBytes]byte
	for r := bufio.NewReader(p.file); err == nil; {
		if _, err = io.ReadFull(r, b[:]); err == nil {
			h := basefile.KeyHash{Hi: binary.LittleEndian.Uint64(b[:]), Lo: binary.LittleEndian.Uint64(b[8:])}
			out = append(out, censusEntry{h, int32(binary.LittleEndian.Uint32(b[16:]))})
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read hashes of keys: %w", err)
	}
	return out, nil
}

func findTwice(entries []censusEntry, clash func(a, b int32) bool) []duplicate {
	slices.SortFunc(entries, func(a, b censusEntry) int {
		return cmp.Or(cmp.Compare(a.hash.Hi, b.hash.Hi), cmp.Compare(a.hash.Lo, b.hash.Lo), cmp.Compare(a.slice, b.slice))
	})
	var out []duplicate
	for from := 0; from < len(entries); {
		to := from + 1
		for to < len(entries) && entries[to].hash == entries[from].hash {
			to++
		}
		if a, b, ok := firstClash(entries[from:to], clash); ok {
			out = append(out, duplicate{entries[from].hash, [2]int32{a, b}})
		}
		from = to
	}
	return out
}

func firstClash(same []censusEntry, clash func(a, b int32) bool) (a, b int32, ok bool) {
	for i := range same {
		for j := i + 1; j < len(same); j++ {
			if clash(same[i].slice, same[j].slice) {
				return same[i].slice, same[j].slice, true
			}
		}
	}
	return 0, 0, false
}

func (k *keyCensus) close() {
	for _, p := range k.parts {
		_ = p.file.Close() // it is gone then
	}
}
