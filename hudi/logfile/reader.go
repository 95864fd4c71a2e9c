package logfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Block is one block of a log file. Its content stays in the file until asked for.
type Block struct {
	Type   BlockType
	Offset int64 // of the block in the file
	Len    int64 // of the whole block; for a corrupt one up to the next block or the end
	Header map[HeaderKey]string

	ContentOffset int64
	ContentLen    int64
	r             io.ReaderAt
}

// Instant returns the delta commit that wrote the block.
func (b *Block) Instant() string { return b.Header[InstantTime] }

// RollbackTarget returns the instant whose blocks a rollback block takes back; ok
// is false for any other block.
func (b *Block) RollbackTarget() (instant string, ok bool) {
	if b.Type != Command || b.Header[CommandBlockType] != rollbackCommand {
		return "", false
	}
	return b.Header[TargetInstantTime], true
}

// Section returns the content as a file of its own, as an inline Parquet or HFile
// block needs it.
func (b *Block) Section() *io.SectionReader {
	return io.NewSectionReader(b.r, b.ContentOffset, b.ContentLen)
}

// Content reads the content into buf, which grows where it is too small, and
// returns it.
func (b *Block) Content(buf []byte) ([]byte, error) {
	if int64(cap(buf)) < b.ContentLen {
		buf = make([]byte, b.ContentLen)
	}
	buf = buf[:b.ContentLen]
	if _, err := io.ReadFull(b.Section(), buf); err != nil {
		return nil, fmt.Errorf("read %s block at %d: %w", b.Type, b.Offset, err)
	}
	return buf, nil
}

// Reader finds the blocks of a log file in their order.
type Reader struct {
	r    io.ReaderAt
	size int64
	pos  int64
}

// NewReader returns a reader of the log file of that size in r.
func NewReader(r io.ReaderAt, size int64) *Reader { return &Reader{r: r, size: size} }

// errCorrupt says that the bytes at hand are not a block.
var errCorrupt = errors.New("corrupt block")

// Next returns the next block, or io.EOF after the last. Bytes that are not a
// block, from a write that broke off, come as one block of type [Corrupt] that
// reaches to the next block. Any other error is the storage's.
func (r *Reader) Next() (*Block, error) {
	if r.pos >= r.size {
		return nil, io.EOF
	}
	b, err := r.block(r.pos)
	if errors.Is(err, errCorrupt) {
		b, err = r.corrupt()
	}
	if err != nil {
		return nil, fmt.Errorf("read log block at %d: %w", r.pos, err)
	}
	r.pos += b.Len
	return b, nil
}

// block reads the block that begins at off. It is whole when both lengths agree
// and another block, or the end of the file, follows.
func (r *Reader) block(off int64) (*Block, error) {
	var fixed [len(magic) + 16]byte
	if err := r.readAt(fixed[:], off); err != nil {
		return nil, err
	}
	length := int64(binary.BigEndian.Uint64(fixed[6:]))
	if string(fixed[:6]) != magic || length < int64(frame-14+8) || length > r.size-off-14 {
		return nil, errCorrupt
	}
	end := off + 14 + length
	var tail [8 + len(magic)]byte
	n := min(int64(len(tail)), r.size-end+8)
	if err := r.readAt(tail[:n], end-8); err != nil {
		return nil, err
	}
	if int64(binary.BigEndian.Uint64(tail[:])) != length+6 || int(n) == len(tail) && string(tail[8:]) != magic {
		return nil, errCorrupt
	}
	if v := binary.BigEndian.Uint32(fixed[14:]); v != formatVersion {
		return nil, fmt.Errorf("log format version %d: only %d is known", v, formatVersion)
	}
	b := &Block{Type: BlockType(binary.BigEndian.Uint32(fixed[18:])), Offset: off, Len: end - off, r: r.r}
	header, pos, err := r.header(off+int64(len(fixed)), end-8)
	if err != nil {
		return nil, err
	}
	var size [8]byte
	if pos+8 > end-8 {
		return nil, errCorrupt
	}
	if err := r.readAt(size[:], pos); err != nil {
		return nil, err
	}
	b.Header, b.ContentOffset = header, pos+8
	b.ContentLen = int64(binary.BigEndian.Uint64(size[:]))
	if b.ContentLen < 0 || b.ContentLen > end-8-b.ContentOffset {
		return nil, errCorrupt
	}
	return b, nil
}

// header reads the map at off, which must end before limit, and returns where it ends.
func (r *Reader) header(off, limit int64) (map[HeaderKey]string, int64, error) {
	var word [8]byte
	if off+4 > limit {
		return nil, 0, errCorrupt
	}
	if err := r.readAt(word[:4], off); err != nil {
		return nil, 0, err
	}
	off += 4
	header := map[HeaderKey]string{}
	for range binary.BigEndian.Uint32(word[:4]) {
		if off+8 > limit {
			return nil, 0, errCorrupt
		}
		if err := r.readAt(word[:], off); err != nil {
			return nil, 0, err
		}
		off += 8
		n := int64(binary.BigEndian.Uint32(word[4:]))
		if n > limit-off {
			return nil, 0, errCorrupt
		}
		text := make([]byte, n)
		if err := r.readAt(text, off); err != nil {
			return nil, 0, err
		}
		header[HeaderKey(binary.BigEndian.Uint32(word[:]))] = string(text)
		off += n
	}
	return header, off, nil
}

// corrupt returns what lies between the position and the next magic, or the end.
func (r *Reader) corrupt() (*Block, error) {
	const step = 64 << 10
	buf := make([]byte, step+len(magic)-1)
	for off := r.pos + 1; off < r.size; off += step {
		chunk := buf[:min(int64(len(buf)), r.size-off)]
		if err := r.readAt(chunk, off); err != nil {
			return nil, err
		}
		if i := bytes.Index(chunk, []byte(magic)); i >= 0 {
			return r.gap(off + int64(i)), nil
		}
	}
	return r.gap(r.size), nil
}

func (r *Reader) gap(end int64) *Block {
	return &Block{Type: Corrupt, Offset: r.pos, Len: end - r.pos, ContentOffset: r.pos, ContentLen: end - r.pos, r: r.r}
}

// readAt fills b. Bytes beyond the end of the file make a block corrupt.
func (r *Reader) readAt(b []byte, off int64) error {
	if off+int64(len(b)) > r.size {
		return errCorrupt
	}
	if n, err := r.r.ReadAt(b, off); n < len(b) {
		return err
	}
	return nil
}
