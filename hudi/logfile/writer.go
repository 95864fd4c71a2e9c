package logfile

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Writer appends blocks to a log file. It does not buffer: each block is written
// in two or three pieces.
type Writer struct {
	w       io.Writer
	written int64
	buf     []byte
}

// NewWriter returns a writer that appends to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Written returns the number of bytes written.
func (w *Writer) Written() int64 { return w.written }

// Data writes an Avro data block. The content is as many records as said, one
// after the other, as [Encoder.Append] makes them.
func (w *Writer) Data(h Header, content []byte, records int) error {
	var head [8]byte
	binary.BigEndian.PutUint32(head[:4], contentVersion)
	binary.BigEndian.PutUint32(head[4:], uint32(records))
	return w.block(AvroData, []entry{{InstantTime, h.Instant}, {Schema, h.Schema}}, head[:], content)
}

// Delete writes a delete block. Its keys go without an ordering value: a delete
// wins over whatever stands before it in the log or in the base file.
func (w *Writer) Delete(h Header, keys []DeleteKey) error {
	datum := appendDeletes(nil, keys)
	var head [8]byte
	binary.BigEndian.PutUint32(head[:4], contentVersion)
	binary.BigEndian.PutUint32(head[4:], uint32(len(datum)))
	return w.block(Delete, []entry{{InstantTime, h.Instant}, {Schema, h.Schema}}, head[:], datum)
}

// Rollback writes a command block with which readers drop the blocks that the
// delta commit target wrote before. The header's schema may be empty.
func (w *Writer) Rollback(h Header, target string) error {
	entries := []entry{{InstantTime, h.Instant}, {TargetInstantTime, target}, {CommandBlockType, rollbackCommand}}
	if h.Schema != "" {
		entries = append(entries, entry{Schema, h.Schema})
	}
	return w.block(Command, entries, nil, nil)
}

type entry struct {
	key  HeaderKey
	text string
}

func (w *Writer) block(t BlockType, header []entry, head, content []byte) error {
	contentLen := len(head) + len(content)
	headerLen := 4
	for _, e := range header {
		headerLen += 8 + len(e.text)
	}
	size := frame + headerLen + contentLen + 4 // 4: the empty footer
	b := append(w.buf[:0], magic...)
	b = binary.BigEndian.AppendUint64(b, uint64(size-len(magic)-8))
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(t))
	b = binary.BigEndian.AppendUint32(b, uint32(len(header)))
	for _, e := range header {
		b = binary.BigEndian.AppendUint32(b, uint32(e.key))
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.text)))
		b = append(b, e.text...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(contentLen))
	b = append(b, head...)
	w.buf = b
	var tail [12]byte
	binary.BigEndian.PutUint64(tail[4:], uint64(size-8))
	for _, part := range [...][]byte{b, content, tail[:]} {
		n, err := w.w.Write(part)
		w.written += int64(n)
		if err != nil {
			return fmt.Errorf("write %s block: %w", t, err)
		}
	}
	return nil
}
