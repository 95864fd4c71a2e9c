package pipeline

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The outer form of a segment, docs/format/spool.md: the magic, then frames, each with
// its length and a checksum over its number and its bytes, and an empty one at the end.
// So what is torn, bent, cut out or put twice is noticed before anybody reads what it says.
const (
	segmentMagic = "LFSPOOL1"
	frameHead    = 8       // length and checksum, little-endian
	frameBytes   = 1 << 20 // a frame holds no more
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameSum is the checksum of the frame with number n.
func frameSum(n uint64, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(binary.LittleEndian.AppendUint64(nil, n), castagnoli), castagnoli, body)
}

// frameWriter cuts what is written into frames.
type frameWriter struct {
	to    io.Writer
	n     uint64
	buf   bytes.Buffer
	bytes int64 // written to to
}

func newFrameWriter(to io.Writer) (*frameWriter, error) {
	n, err := io.WriteString(to, segmentMagic)
	return &frameWriter{to: to, bytes: int64(n)}, err
}

func (w *frameWriter) Write(p []byte) (int, error) {
	done := 0
	for len(p) > 0 {
		take := min(len(p), frameBytes-w.buf.Len())
		w.buf.Write(p[:take])
		p, done = p[take:], done+take
		if w.buf.Len() == frameBytes {
			if err := w.flush(); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// flush ends a frame, where there is something for it.
func (w *frameWriter) flush() error {
	if w.buf.Len() == 0 {
		return nil
	}
	return w.frame(w.buf.Bytes())
}

func (w *frameWriter) frame(body []byte) error {
	head := binary.LittleEndian.AppendUint32(make([]byte, 0, frameHead), uint32(len(body)))
	head = binary.LittleEndian.AppendUint32(head, frameSum(w.n, body))
	w.n++
	for _, b := range [][]byte{head, body} {
		n, err := w.to.Write(b)
		w.bytes += int64(n)
		if err != nil {
			return err
		}
	}
	w.buf.Reset()
	return nil
}

// end writes what is left and the empty frame behind it.
func (w *frameWriter) end() error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.frame(nil)
}

var errTorn = errors.New("it is torn or damaged")

// frameReader gives what a frameWriter took. It gives nothing of a frame whose checksum
// is not right, and io.EOF only behind the empty frame.
type frameReader struct {
	from io.Reader
	n    uint64
	body []byte
	rest []byte
	done bool
}

func newFrameReader(from io.Reader) (*frameReader, error) {
	magic := make([]byte, len(segmentMagic))
	if _, err := io.ReadFull(from, magic); err != nil || string(magic) != segmentMagic {
		return nil, fmt.Errorf("%w: it does not begin as a segment", errTorn)
	}
	return &frameReader{from: from}, nil
}

func (r *frameReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.done {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next reads the next frame into rest.
func (r *frameReader) next() error {
	var head [frameHead]byte
	if _, err := io.ReadFull(r.from, head[:]); err != nil {
		return fmt.Errorf("%w: frame %d is cut off", errTorn, r.n)
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size > frameBytes {
		return fmt.Errorf("%w: frame %d has an impossible length", errTorn, r.n)
	}
	if cap(r.body) < int(size) {
		r.body = make([]byte, size)
	}
	r.body = r.body[:size]
	if _, err := io.ReadFull(r.from, r.body); err != nil {
		return fmt.Errorf("%w: frame %d is cut off", errTorn, r.n)
	}
	if binary.LittleEndian.Uint32(head[4:]) != frameSum(r.n, r.body) {
		return fmt.Errorf("%w: the checksum of frame %d is another", errTorn, r.n)
	}
	r.n++
	r.rest, r.done = r.body, size == 0
	return nil
}

// frame is the whole next frame, for what stands in one alone.
func (r *frameReader) frame() ([]byte, error) {
	if err := r.next(); err != nil {
		return nil, err
	}
	b := r.rest
	r.rest = nil
	return b, nil
}
