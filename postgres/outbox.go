package postgres

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"lakefeed/change"
	"lakefeed/postgres/pgoutput"
)

// messagesTable is the table of the logical messages that Options.Messages takes. It is
// in no catalog, and its number is no table's.
const (
	messagesSchema = "_lakefeed"
	messagesName   = "messages"
	messagesID     = 0
)

// messageColumns are its columns. Content is empty where it is no text; then bytes has it.
var messageColumns = []struct {
	name string
	kind kind
}{
	{"prefix", text}, {"content", text}, {"content_bytes", bytea}, {"lsn", int8}, {"transactional", boolean}, {"ts", timestampTZ},
}

// newMessages is a description of the table of messages, and what is collected of it.
func newMessages() *relation {
	t := &change.Table{
		Schema: messagesSchema, Name: messagesName, ID: messagesID, LogOnly: true,
		Note: "its rows are logical messages, which are in the log alone",
	}
	r := &relation{}
	for _, c := range messageColumns {
		d := dataType{kind: c.kind}
		r.types = append(r.types, d)
		t.Columns = append(t.Columns, change.Column{Name: c.name, Type: d.arrow().String(), Arrow: d.arrow(), Nullable: true})
	}
	r.rows = newRows(t, r.types)
	return r
}

// keeps reports whether a message is to be kept. Our own never are.
func (c *Connector) keeps(prefix string) bool {
	return c.opts.Messages != nil && prefix != messagePrefix && !strings.HasPrefix(prefix, messagePrefix+".") && c.opts.Messages(prefix)
}

// keep makes a row of a message. It is one change of its transaction; where it is in
// none, its place is one that no commit has: the last byte of its record.
func (s *stream) keep(m *pgoutput.Message) {
	if !s.open {
		s.tx = stamp{Position: change.Position{Commit: change.LSN(m.LSN - 1)}, time: s.clock + epochMicros}
	}
	r := s.relations[messagesID]
	if old := s.skip != nil && s.tx.Compare(*s.skip) < 0; !old && r.rows != nil && !s.isCovered(messagesID) {
		s.touch(r)
		s.bytes += int64(8 * len(r.types))
		if err := r.rows.insert(change.Create, s.tx, messageRow(m, s.tx.time), nil); err != nil {
			s.fail(messagesID, r.rows.table, err)
		}
	}
	s.tx.Index++
}

// messageRow is a message as the server would send a row of the table.
func messageRow(m *pgoutput.Message, micros int64) []pgoutput.Value {
	null := pgoutput.Value{Kind: pgoutput.Null}
	long := func(v uint64) pgoutput.Value {
		return pgoutput.Value{Kind: pgoutput.Binary, Data: binary.BigEndian.AppendUint64(nil, v)}
	}
	content := []pgoutput.Value{null, {Kind: pgoutput.Binary, Data: m.Content}}
	if utf8.Valid(m.Content) {
		content = []pgoutput.Value{{Kind: pgoutput.Text, Data: m.Content}, null}
	}
	return []pgoutput.Value{
		{Kind: pgoutput.Text, Data: []byte(m.Prefix)},
		content[0], content[1],
		long(m.LSN),
		{Kind: pgoutput.Binary, Data: []byte{m.Flags & pgoutput.Transactional}},
		long(uint64(micros - epochMicros)),
	}
}
