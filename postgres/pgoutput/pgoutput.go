// Package pgoutput parses the messages of PostgreSQL's logical replication plugin
// "pgoutput", protocol version 2 (and the aborts of version 4), as they stand in the
// XLogData frames of a replication stream. It knows no network and allocates nothing for row changes:
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
// Between [StreamStart] and [StreamStop] come changes of a transaction that has not
// ended: their messages have a transaction id behind the kind and are for
// [Message.ParseStreamed]; [StreamedXid] reads no more than that. Messages do not say
// by themselves in which of the two forms they are.
//
// Input that does not follow the protocol gives a [*ParseError], never a panic.
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

// The kinds that protocol version 2 adds, for transactions in progress.
const (
	StreamStart  Kind = 'S' // changes of one transaction follow
	StreamStop   Kind = 'E' // they pause, or are all there
	StreamCommit Kind = 'c' // the transaction has committed
	StreamAbort  Kind = 'A' // it, or one of its sub-transactions, was rolled back
)

// Message is one message. Kind says which of the other fields Parse has set; the
// others keep what an earlier message left in them.
type Message struct {
	Kind Kind

	// LSN is, of Begin, where the transaction's commit record starts (its "final
	// LSN"); of Commit and StreamCommit the same; of Origin the origin's own LSN; of
	// Logical the message's place; of StreamAbort, where the server says it, the end of the abort record, else 0.
	LSN uint64
	// EndLSN is, of Commit and StreamCommit, where the commit record ends.
	EndLSN uint64
	// Time is, of Begin, Commit and StreamCommit, the commit's time in microseconds
	// since 2000-01-01 UTC; of StreamAbort the abort's, or 0.
	Time int64
	// Xid is, of Begin and the kinds of streamed transactions but StreamStop, the
	// transaction's id; of a message that ParseStreamed has read, the id of the
	// transaction or sub-transaction that it belongs to (of Logical always the former).
	Xid uint32
	// SubXid is, of StreamAbort, the sub-transaction that was rolled back; Xid where all was.
	SubXid uint32
	// Flags are those of Commit and StreamCommit (none so far), Logical (1: transactional), Truncate
	// ([TruncateCascade], [TruncateRestart]) and StreamStart (1: nothing came of the transaction before).
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
