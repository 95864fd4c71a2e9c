package pgoutput

import (
	"bytes"
	"encoding/binary"
)

// Parse reads one message. Old, New and Content are slices of b and hold only as long as it does.
func (m *Message) Parse(b []byte) error {
	r := reader{b: b}
	m.Kind = Kind(r.byte())
	r.kind = m.Kind
	m.body(&r)
	return r.end()
}

// ParseStreamed reads one message from between StreamStart and StreamStop, but not these two
// and Origin, whose form is that of Parse.
func (m *Message) ParseStreamed(b []byte) error {
	r := reader{b: b}
	m.Kind = Kind(r.byte())
	r.kind = m.Kind
	switch m.Kind {
	case Relation, Type, Insert, Update, Delete, Truncate, Logical:
		m.Xid = r.uint32()
		m.body(&r)
	default:
		r.fail(-1, "no kind of a streamed transaction")
	}
	return r.end()
}

// StreamedXid is the kind of a message that is for ParseStreamed, and the transaction or
// sub-transaction that it belongs to. The rest is not looked at.
func StreamedXid(b []byte) (Kind, uint32, error) {
	r := reader{b: b}
	r.kind = Kind(r.byte())
	xid := r.uint32()
	if r.err != nil {
		return 0, 0, r.err
	}
	return r.kind, xid, nil
}

// body reads what stands behind the kind, and the id of a streamed transaction.
func (m *Message) body(r *reader) {
	switch m.Kind {
	case Begin:
		m.LSN, m.Time, m.Xid = r.uint64(), int64(r.uint64()), r.uint32()
	case Commit:
		m.commit(r)
	case Origin:
		m.LSN, m.Prefix = r.uint64(), r.string()
	case Relation:
		m.relation(r)
	case Type:
		m.Type = TypeInfo{ID: r.uint32(), Namespace: r.string(), Name: r.string()}
	case Insert:
		m.RelationID = r.uint32()
		r.expect('N')
		m.New = r.tuple(m.New[:0])
	case Update:
		m.update(r)
	case Delete:
		m.RelationID = r.uint32()
		m.OldKind = OldKind(r.byte())
		if m.OldKind != OldKey && m.OldKind != OldRow {
			r.fail(-1, "want the old row, K or O")
		}
		m.Old = r.tuple(m.Old[:0])
	case Truncate:
		n := r.uint32()
		m.Flags = r.byte()
		m.Relations = m.Relations[:0]
		for ; n > 0 && r.err == nil; n-- {
			m.Relations = append(m.Relations, r.uint32())
		}
	case Logical:
		m.Flags = r.byte()
		m.LSN, m.Prefix = r.uint64(), r.string()
		m.Content = r.bytes(r.length())
	case StreamStart:
		m.Xid, m.Flags = r.uint32(), r.byte()
	case StreamStop:
	case StreamCommit:
		m.Xid = r.uint32()
		m.commit(r)
	case StreamAbort:
		m.Xid, m.SubXid, m.LSN, m.Time = r.uint32(), r.uint32(), 0, 0
		if r.err == nil && r.at < len(r.b) { // version 4, streaming "parallel"
			m.LSN, m.Time = r.uint64(), int64(r.uint64())
		}
	default:
		if r.err == nil {
			r.kind = 0
			r.fail(-1, "unknown kind")
		}
	}
}

func (m *Message) commit(r *reader) {
	m.Flags = r.byte()
	m.LSN, m.EndLSN, m.Time = r.uint64(), r.uint64(), int64(r.uint64())
}

func (m *Message) relation(r *reader) {
	rel := &m.Relation
	rel.ID, rel.Namespace, rel.Name = r.uint32(), r.string(), r.string()
	rel.Identity = r.byte()
	n := int(r.uint16())
	rel.Columns = rel.Columns[:0]
	for ; n > 0 && r.err == nil; n-- {
		rel.Columns = append(rel.Columns, Column{
			Key: r.byte()&1 != 0, Name: r.string(), TypeID: r.uint32(), Modifier: int32(r.uint32()),
		})
	}
}

func (m *Message) update(r *reader) {
	m.RelationID = r.uint32()
	m.OldKind, m.Old = NoOld, m.Old[:0]
	kind := r.byte()
	if k := OldKind(kind); k == OldKey || k == OldRow {
		m.OldKind = k
		m.Old = r.tuple(m.Old)
		kind = r.byte()
	}
	if kind != 'N' {
		r.fail(-1, "want the new row, N")
	}
	m.New = r.tuple(m.New[:0])
}

// reader reads big-endian fields; after the first fault it gives zeros.
type reader struct {
	b    []byte
	at   int
	kind Kind
	err  *ParseError
}

// fail notes the first fault, delta bytes from here.
func (r *reader) fail(delta int, what string) {
	if r.err == nil {
		r.err = &ParseError{Kind: r.kind, Offset: max(r.at+delta, 0), What: what}
		r.at = len(r.b)
	}
}

// end is the fault, or that something is left over.
func (r *reader) end() error {
	if r.err == nil && r.at < len(r.b) {
		r.fail(0, "bytes behind the end")
	}
	if r.err != nil { // a nil *ParseError is not a nil error
		return r.err
	}
	return nil
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b)-r.at {
		r.fail(0, "message ends early")
		return nil
	}
	v := r.b[r.at : r.at+n : r.at+n]
	r.at += n
	return v
}

func (r *reader) byte() byte {
	if v := r.bytes(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if v := r.bytes(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if v := r.bytes(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if v := r.bytes(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// length is a 32-bit length, never negative.
func (r *reader) length() int {
	n := int32(r.uint32())
	if n < 0 {
		r.fail(-4, "negative length")
		return 0
	}
	return int(n)
}

func (r *reader) string() string {
	n := bytes.IndexByte(r.b[r.at:], 0)
	if n < 0 {
		r.fail(0, "text without its end")
		return ""
	}
	s := string(r.bytes(n))
	r.at++
	return s
}

func (r *reader) expect(want byte) {
	if r.byte() != want {
		r.fail(-1, "want "+string(rune(want)))
	}
}

// tuple reads a row into row, the hot path.
func (r *reader) tuple(row []Value) []Value {
	n := int(r.uint16())
	for ; n > 0 && r.err == nil; n-- {
		v := Value{Kind: ValueKind(r.byte())}
		switch v.Kind {
		case Null, Unchanged:
		case Text, Binary:
			v.Data = r.bytes(r.length())
		default:
			r.fail(-1, "unknown kind of value")
		}
		row = append(row, v)
	}
	return row
}
