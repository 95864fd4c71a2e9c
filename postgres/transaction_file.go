package postgres

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"lakefeed/internal/scratch"
	"lakefeed/postgres/pgoutput"
)

// transactionFiles are the transactions in progress that the server streams to us, each in a
// file of its own: its messages as they came, each behind its length. They are read
// as changes only when the transaction commits, since until then its columns and
// types are in no catalog that others see, and it may be rolled back.
//
// The files have no names: they are gone with the process, however it ends, and the
// server streams what had not committed from its beginning again.
type transactionFiles struct {
	dir string                      // for the files; empty: os.TempDir
	all map[uint32]*transactionFile // by transaction id
	now *transactionFile            // whose messages come in, nil outside a block of them
	buf *bufio.Writer
}

// transactionFile is one transaction in progress.
type transactionFile struct {
	xid  uint32
	file *os.File
	size int64

	// A sub-transaction that is rolled back takes with it all that came since its first
	// message, since they nest. Where the newest ones began is known, so that the file is
	// cut off there; of one that began earlier the messages are passed over by their id.
	newest  uint32 // sub-transaction, or xid
	subs    []subStart
	aborted map[uint32]struct{}

	message int64 // where the first logical message to be kept stands, -1: there is none

	in   *bufio.Reader // of a transaction that has committed
	used int           // bytes of in that next has handed out
	long []byte        // a message that is longer than in's buffer
}

// subStart says where in the file the messages of a sub-transaction begin.
type subStart struct {
	xid uint32
	at  int64
}

const (
	subStarts         = 4096 // of so many sub-transactions the beginning is known
	transactionBuffer = 256 << 10
	transactionHeader = 4 // the length of a message
)

// start begins, or goes on with, the messages of a transaction.
func (p *transactionFiles) start(xid uint32, first bool) error {
	t := p.all[xid]
	switch {
	case p.now != nil:
		return errors.New("the server sent a part of a transaction within a part of another")
	case first == (t != nil):
		return fmt.Errorf("the server sent a part of transaction %d, and its first part is missing or comes twice", xid)
	case first:
		file, err := scratch.Create(p.dir, "lakefeed-stream")
		if err != nil {
			return fmt.Errorf("spill a transaction in progress (spill_dir may name another place): %w", err)
		}
		t = &transactionFile{xid: xid, file: file, newest: xid, message: -1}
		if p.all == nil {
			p.all, p.buf = map[uint32]*transactionFile{}, bufio.NewWriterSize(nil, transactionBuffer)
		}
		p.all[xid] = t
	}
	p.now = t
	p.buf.Reset(t.file)
	return nil
}

// write adds a message of the transaction, or of its sub-transaction xid; keep says
// that it is a logical message which somebody wants.
func (p *transactionFiles) write(xid uint32, msg []byte, keep bool) error {
	t := p.now
	if int32(xid-t.newest) > 0 { // ids wrap around
		if t.newest = xid; len(t.subs) == subStarts {
			t.subs = append(t.subs[:0], t.subs[subStarts/2:]...)
		}
		t.subs = append(t.subs, subStart{xid, t.size})
	}
	if keep && t.message < 0 {
		t.message = t.size
	}
	t.size += int64(transactionHeader + len(msg))
	var n [transactionHeader]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(msg)))
	if _, err := p.buf.Write(n[:]); err != nil {
		return p.full(err)
	}
	if _, err := p.buf.Write(msg); err != nil {
		return p.full(err)
	}
	return nil
}

// stop ends the block of messages.
func (p *transactionFiles) stop() error {
	if p.now == nil {
		return errors.New("the server ended a part of a transaction that it did not begin")
	}
	p.now = nil
	if err := p.buf.Flush(); err != nil {
		return p.full(err)
	}
	return nil
}

// full says what room is missing.
func (p *transactionFiles) full(err error) error {
	return fmt.Errorf("spill a transaction in progress (make room, let spill_dir name another place, or set streaming: false so that the server keeps it on its own disk until it commits): %w", err)
}

// abort drops a transaction, or one of its sub-transactions. It reports whether a
// logical message stays that may have been of the latter: the server does not say.
func (p *transactionFiles) abort(xid, sub uint32) (doubt bool, err error) {
	t := p.all[xid]
	switch {
	case t == nil:
		return false, nil // nothing came of it
	case p.now != nil:
		return false, errors.New("the server rolled a transaction back within a part of one")
	case sub == xid:
		delete(p.all, xid)
		return false, t.close()
	}
	if err := t.cut(sub); err != nil {
		return false, p.full(err)
	}
	return t.message >= 0, nil
}

// cut drops what came since a sub-transaction began.
func (t *transactionFile) cut(sub uint32) error {
	for i, start := range slices.Backward(t.subs) {
		if start.xid != sub {
			continue
		}
		at := start.at
		t.subs, t.size = t.subs[:i], at
		if t.message >= at {
			t.message = -1
		}
		_, err := t.file.Seek(at, io.SeekStart)
		return errors.Join(err, t.file.Truncate(at))
	}
	if t.aborted == nil {
		t.aborted = map[uint32]struct{}{}
	}
	t.aborted[sub] = struct{}{}
	return nil
}

// take hands out a transaction that has committed, to be read from its beginning.
func (p *transactionFiles) take(xid uint32) (*transactionFile, error) {
	t := p.all[xid]
	if t == nil || p.now != nil {
		return nil, fmt.Errorf("the server committed transaction %d, which it did not send, or not to its end", xid)
	}
	delete(p.all, xid)
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, t.close())
	}
	t.in = bufio.NewReaderSize(io.LimitReader(t.file, t.size), transactionBuffer)
	return t, nil
}

// next is the next message, nil at the end. It holds until the next call.
func (t *transactionFile) next() ([]byte, error) {
	for {
		msg, err := t.read()
		if err != nil || msg == nil || len(t.aborted) == 0 {
			return msg, err
		}
		_, xid, err := pgoutput.StreamedXid(msg)
		if err != nil {
			return nil, err
		}
		if _, gone := t.aborted[xid]; !gone {
			return msg, nil
		}
	}
}

func (t *transactionFile) read() ([]byte, error) {
	if _, err := t.in.Discard(t.used); err != nil {
		return nil, readBack(err)
	}
	t.used = 0
	head, err := t.in.Peek(transactionHeader)
	if len(head) == 0 && errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, readBack(err)
	}
	n := transactionHeader + int(binary.BigEndian.Uint32(head))
	if n <= t.in.Size() {
		msg, err := t.in.Peek(n)
		if err != nil {
			return nil, readBack(err)
		}
		t.used = n
		return msg[transactionHeader:], nil
	}
	if cap(t.long) < n {
		t.long = make([]byte, n)
	}
	if _, err := io.ReadFull(t.in, t.long[:n]); err != nil {
		return nil, readBack(err)
	}
	return t.long[transactionHeader:n], nil
}

func readBack(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // which would say that a connection broke
		err = errors.New("its file is shorter than what was written")
	}
	return fmt.Errorf("read a spilled transaction back: %w", err)
}

func (t *transactionFile) close() error { return t.file.Close() }

// reset drops every transaction in progress.
func (p *transactionFiles) reset() {
	for _, t := range p.all {
		_ = t.close() // there is nothing in it that anybody wants
	}
	p.all, p.now = nil, nil
}
