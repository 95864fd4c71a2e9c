package s3

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"lakefeed/internal/scratch"
)

// Sizes of parts. S3 takes 10,000 of them, each of at least 5 MiB but the last: the size
// doubles after each 1000, so that 8 TiB have room, and 8 GB are sent in parts of one size.
const (
	firstPart = 8 << 20
	partGrows = 1000
	leastPart = 64 << 10 // that a part holds before it grows
)

func (s *Store) sizeOf(number int32) int64 { return s.partSize << ((number - 1) / partGrows) }

// part collects the bytes of one upload: in memory as long as the store's budget has
// some, else in a file without a name on local disk. So any number of files may be written at once.
type part struct {
	s    *Store
	mem  []byte
	file *os.File
	size int64
}

// Write adds bytes.
func (p *part) Write(b []byte) (int, error) {
	if p.file == nil && !p.grow(len(b)) {
		if err := p.spill(); err != nil {
			return 0, err
		}
	}
	if p.file != nil {
		n, err := p.file.Write(b)
		p.size += int64(n)
		if err != nil {
			return n, fmt.Errorf("keep a part for s3: %w", err)
		}
		return n, nil
	}
	p.mem = append(p.mem, b...)
	p.size += int64(len(b))
	return len(b), nil
}

// grow makes room for n bytes in memory, if the budget has it.
func (p *part) grow(n int) bool {
	need, have := len(p.mem)+n, cap(p.mem)
	if need <= have {
		return true
	}
	want := max(need, 2*have, leastPart)
	if !p.s.memory.TryAcquire(int64(want - have)) {
		return false
	}
	mem := make([]byte, len(p.mem), want)
	copy(mem, p.mem)
	p.mem = mem
	return true
}

// spill moves the part to a file.
func (p *part) spill() error {
	f, err := scratch.Create("", "lakefeed-s3")
	if err != nil {
		return fmt.Errorf("keep a part for s3: %w", err)
	}
	p.file = f
	if _, err := f.Write(p.mem); err != nil {
		return fmt.Errorf("keep a part for s3: %w", err)
	}
	p.forget()
	return nil
}

// forget gives the memory back.
func (p *part) forget() {
	p.s.memory.Release(int64(cap(p.mem)))
	p.mem = nil
}

// body is the part's content.
func (p *part) body() io.ReadSeeker {
	if p.file != nil {
		return io.NewSectionReader(p.file, 0, p.size)
	}
	return bytes.NewReader(p.mem)
}

// release lets go of what the part holds.
func (p *part) release() {
	p.forget()
	if p.file != nil {
		_ = p.file.Close() // it has no name; what it held was sent or is given up
		p.file = nil
	}
}
