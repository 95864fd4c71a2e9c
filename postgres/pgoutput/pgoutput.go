// Package pgoutput parses the messages of PostgreSQL's logical replication plugin
// "pgoutput", protocol version 1, as they stand in the XLogData frames of a
// replication stream. It knows no network and allocates nothing for row changes:
// a [Message] is parsed into again and again, and its values are slices of the input.
//
//	var m pgoutput.Message
//	for data := range frames {
//		if err := m.Parse(data); err != nil {
//			return err
//		}
//		switch m.Kind {
//		case pgoutput.Insert:
//			store(m.RelationID, m.New)
//		}
//	}
//
// Input that does not follow the protocol gives a [*ParseError], never a panic.
// The later protocol versions add kinds and, inside streamed transactions, a
// transaction id behind the kind; a Message has room for both.
package pgoutput

import "fmt"

// Kind is a message's first byte.
type Kind byte

// The kinds of protocol version 1.
const (
	Begin    Kind = 'B'
	Commit   Kind = 'C'
	Origin   Kind = 'O'
	Relation Kind = 'R'
	Type     Kind = 'Y'
	Insert   Kind = 'I'
	Update   Kind = 'U'
	Delete   Kind = 'D'
	Truncate Kind = 'T'
	Logical  Kind = 'M' // pg_logical_emit_message
)

// Message is one message. Kind says which of the other fields Parse has set; the
// others keep what an earlier message left in them.
type Message struct {
	Kind Kind

	// LSN is, of Begin, where the transaction's commit record starts (its "final
	// LSN"); of Commit the same; of Origin the origin's own LSN; of Logical the message's place.
	LSN uint64
	// EndLSN is, of Commit, where the commit record ends.
	EndLSN uint64
	// Time is, of Begin and Commit, the commit's time in microseconds since 2000-01-01 UTC.
	Time int64
	// Xid is, of Begin, the transaction's id.
	Xid uint32
	// Flags are those of Commit (none so far), Logical (1: transactional) and
	// Truncate ([TruncateCascade], [TruncateRestart]).
	Flags uint8

	// RelationID is, of Insert, Update and Delete, the table's number.
	RelationID uint32
	// OldKind is, of Update and Delete, what Old holds.
	OldKind OldKind
	// Old and New are rows, one value for each column of the relation.
	Old, New []Value

	// Relation is the description of a table that later messages name by its ID.
	Relation RelationInfo
	// Type describes a type that is not built in.
	Type TypeInfo
	// Relations are, of Truncate, the tables.
	Relations []uint32

	// Prefix and Content are those of Logical; Prefix is also Origin's name.
	Prefix  string
	Content []byte
}

// Flags of Truncate.
const (
	TruncateCascade = 1
	TruncateRestart = 2
)

// Transactional is the flag of a Logical message that stands and falls with its transaction.
const Transactional = 1

// OldKind says what an old row holds.
type OldKind byte

// What an old row may hold.
const (
	NoOld  OldKind = 0
	OldKey OldKind = 'K' // the columns of the replica identity
	OldRow OldKind = 'O' // all columns: REPLICA IDENTITY FULL
)

// Value is one column of a row.
type Value struct {
	Kind ValueKind
	Data []byte // of Text and Binary: a part of the parsed message
}

// ValueKind is the form of a Value.
type ValueKind byte

// The forms of a Value.
const (
	Null      ValueKind = 'n'
	Unchanged ValueKind = 'u' // a TOAST value that the UPDATE left alone and that was not sent
	Text      ValueKind = 't'
	Binary    ValueKind = 'b'
)

// RelationInfo describes a table.
type RelationInfo struct {
	ID        uint32
	Namespace string // the schema; pg_catalog is sent, and kept, as ""
	Name      string
	Identity  byte // pg_class.relreplident: d, n, f or i
	Columns   []Column
}

// Column describes a column of a RelationInfo.
type Column struct {
	Key      bool // it is part of the replica identity
	Name     string
	TypeID   uint32
	Modifier int32 // pg_attribute.atttypmod
}

// TypeInfo describes a type that is not built in.
type TypeInfo struct {
	ID              uint32
	Namespace, Name string
}

// ParseError says where a message does not follow the protocol.
type ParseError struct {
	Kind   Kind   // the message's kind, 0 when it is empty
	Offset int    // where in the message
	What   string // what is wrong there
}

// Error names the message, the place and the fault.
func (e *ParseError) Error() string {
	if e.Kind == 0 {
		return fmt.Sprintf("pgoutput: message: %s at byte %d", e.What, e.Offset)
	}
	return fmt.Sprintf("pgoutput: message %q: %s at byte %d", rune(e.Kind), e.What, e.Offset)
}
