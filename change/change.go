// Package change is what a source emits: the changes of one table, in columns.
//
// A [Batch] is an Arrow record of one [Table] with, for every row, the operation,
// the position in the source's log, the commit time and the transaction, and for
// every column the rows whose value the source did not send ("unchanged": a TOAST
// value that an UPDATE left alone). A [Chunk] is the batches that a source read in
// one go; where it is whole, it ends with a transaction.
//
// The package knows neither a database nor a lake.
package change

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// LSN is a byte position in PostgreSQL's write-ahead log.
type LSN uint64

// String prints l as PostgreSQL does: two hexadecimal numbers, "16/B374D848".
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// ParseLSN reads PostgreSQL's notation, "16/B374D848".
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if ok {
		h, err := strconv.ParseUint(hi, 16, 32)
		if err == nil {
			l, err := strconv.ParseUint(lo, 16, 32)
			if err == nil {
				return LSN(h<<32 | l), nil
			}
		}
	}
	return 0, fmt.Errorf("parse LSN %q: want two hexadecimal numbers, as in 16/B374D848", s)
}

// Position is the place of one change in a source's log: the LSN at which its
// transaction's commit record starts, and its index among the changes of that
// transaction. Positions are compared as numbers and only within one [Identity].
type Position struct {
	Commit LSN
	Index  uint64
}

// Compare orders positions by commit, then index.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Commit, q.Commit), cmp.Compare(p.Index, q.Index))
}

// Identity names the log that LSNs belong to. Two positions of different
// identities cannot be compared: a restored database, a promoted standby or a
// re-created slot starts another log.
type Identity struct {
	SystemID string `json:"system_id"` // PostgreSQL's system identifier, decimal
	Timeline int32  `json:"timeline"`  // PostgreSQL's timeline number
	Database string `json:"database"`
	Slot     string `json:"slot"`
}

// Op is what happened to a row, in Debezium's letters.
type Op byte

// The operations of a change. Patch is no source's.
const (
	Create   Op = 'c' // an INSERT
	Update   Op = 'u'
	Delete   Op = 'd' // only the key columns have values
	Read     Op = 'r' // a row of the first copy
	Truncate Op = 't' // no column has a value; all rows before it are gone
	Patch    Op = 'p' // some columns of a row, the others are unchanged; where there is no such row it is nothing
)

// Column is one column of a source table.
type Column struct {
	Name     string
	Type     string         // the source's name of the type, "numeric(12,2)"
	Arrow    arrow.DataType // the type in which its values travel
	Nullable bool
	// Missing is the value of rows that are older than the column (an array of
	// length 1), nil where that is NULL: PostgreSQL's attmissingval.
	Missing arrow.Array
	// ID is the source's own number for the column, which a rename keeps and a
	// column of the same name that is added later does not have; 0: not known.
	ID int
	// Shape changes with every change of the column's definition; empty: not known.
	Shape string
	// Default is the source's own number for the column's default, which another one does not
	// have, nor the same one after an ALTER TABLE gave the column a type, even the one that it
	// had, and so perhaps other values; 0: there is none, or it is not known.
	Default uint32
	// Definition is of the column's type.
	Definition Definition
	// Reads is the same for types in which one stored value reads alike. A source may give a
	// column a type without a look at its rows, and older ones read otherwise then where this
	// is another one; empty: not known.
	Reads string
}

// KeyKind says what identifies the rows of a table.
type KeyKind int

// The kinds of keys.
const (
	NoKey      KeyKind = iota // nothing does: the table lands append-only
	PrimaryKey                // its primary key
	UniqueKey                 // the unique index that is its replica identity, or a unique not-null index under identity FULL
)

// Table is one source table under one schema. A change of its schema makes
// another Table; batches of one schema share one pointer.
type Table struct {
	Schema, Name string
	ID           uint32 // the source's own number for it
	Columns      []Column
	// Left are columns that the table has besides, and that nobody wants.
	Left []Column
	// Filter is the condition of the rows that the source publishes, in its own language, where
	// somebody has set one; empty: all.
	Filter  string
	Key     []int // indexes of the key columns in key order, empty for NoKey
	KeyKind KeyKind
	// Bytes and RowsEstimate are the source's own measure of the table when it
	// was looked at: size on disk without indexes, and estimated rows.
	Bytes, RowsEstimate int64
	// Storage changes when the source writes every row anew, without a change in the
	// log: TRUNCATE, VACUUM FULL, some ALTER TABLE. Empty: not known.
	Storage string
	// Generated are the source's own numbers of the columns that are left out since they are
	// computed, and nothing of them is in the log; nil: not known.
	Generated []int
	// Leaves are the tables that hold the rows of a partitioned table; nil: it is none.
	Leaves []Leaf
	// Constraints are its checks, unique and foreign keys and exclusions, by name, as the
	// source prints them; nil: not known.
	Constraints map[string]string
	// Note says why the table has no usable key, for people.
	Note string
	// Refused says why the source cannot deliver the table, empty: it can.
	Refused string
	// LogOnly says that its rows are in the source's log and nowhere else there, as
	// logical messages are: its first copy is empty, and there is nothing to compare it with.
	LogOnly bool
}

// Leaf is a partition that holds rows of a partitioned table.
type Leaf struct {
	ID      uint32 `json:"id"`
	Name    string `json:"name"`    // qualified
	Storage string `json:"storage"` // as [Table.Storage]
	// Link is another one when the leaf, or a partition that it is in, was taken away and put back.
	Link string `json:"link"`
	// Whole says that it was made as a partition, so that the log has all of its rows; one
	// that was attached later may have had some.
	Whole bool `json:"whole"`
	// Xid is the transaction that last changed its entry in the catalogs, as a TRUNCATE does.
	Xid uint32 `json:"xid"`
}

// Bound is what the rows of a leaf have in common: a condition that only the source which
// printed it can tell whether a row meets, and the columns that it is about. It is never to be kept
// where somebody else could change it.
type Bound struct {
	Condition string
	Columns   []string
}

// String is the qualified name, for people: "public.orders".
func (t *Table) String() string { return t.Schema + "." + t.Name }

// ArrowSchema has one nullable field for every column, in order.
func (t *Table) ArrowSchema() *arrow.Schema {
	fields := make([]arrow.Field, len(t.Columns))
	for i, c := range t.Columns {
		fields[i] = arrow.Field{Name: c.Name, Type: c.Arrow, Nullable: true}
	}
	return arrow.NewSchema(fields, nil)
}

// Batch is consecutive changes of one table, oldest first.
//
// A change of a row's key is two rows: the delete of the old key, and right after
// it an update that is marked Moved, whose unchanged columns are those of the old key's row.
type Batch struct {
	Table *Table
	Rows  arrow.RecordBatch // one column for each of Table.Columns
	Ops   []Op
	At    []Position
	Times []int64  // commit time, Unix microseconds; 0 for rows of the first copy
	Xids  []uint32 // transaction ids; 0 for rows of the first copy
	// Unchanged has, for each column, the rows whose value was not sent; nil
	// where the batch has none in that column. Such a row's value in Rows is null.
	Unchanged []*Bits
	Moved     *Bits // nil where no key changed
	// Keys are record keys that the source made, for tables with NoKey; nil otherwise.
	Keys *array.String
	// Rejects are the rows, by number, that hold a value which its column cannot: only
	// the key's columns mean something in Rows. A Delete among them is of a row whose key is such a value.
	Rejects map[int]*Reject
}

// Reject is a row that its table cannot hold.
type Reject struct {
	Column string   // the first whose value does not fit
	Type   string   // the source's name of its type
	Reason string   // why
	Key    []string // the key's values as the source prints them; nil for NoKey
	NoKey  bool     // a value of the key is among those that do not fit
	Row    []byte   // a JSON object of all values that were sent, each as the source prints it, or null
	Unsent []string // columns whose value was not sent
}

// Bytes is about how much memory it takes.
func (r *Reject) Bytes() int64 { return int64(len(r.Row)) + 128 }

// Len is the number of changes.
func (b *Batch) Len() int { return len(b.Ops) }

// Bytes is about how much memory the batch holds.
func (b *Batch) Bytes() int64 {
	n := int64(len(b.Ops)) * (1 + 16 + 8 + 4)
	for _, c := range b.Rows.Columns() {
		n += int64(c.Data().SizeInBytes())
	}
	if b.Keys != nil {
		n += int64(b.Keys.Data().SizeInBytes())
	}
	for _, r := range b.Rejects {
		n += r.Bytes()
	}
	return n
}

// HasUnchanged reports whether any value of the row was not sent.
func (b *Batch) HasUnchanged(row int) bool {
	for _, u := range b.Unchanged {
		if u.Get(row) {
			return true
		}
	}
	return false
}

// Message is a logical message (pg_logical_emit_message) that passed in the stream, and
// is not a row of a table.
type Message struct {
	Prefix  string
	Content []byte
	At      LSN
}

// Signal is a row of the signal table: somebody asks for something.
type Signal struct {
	ID, Type, Data string
	At             Position
	Err            error // why the row could not be read; nil: it was
}

// Failure is a table that cannot go on: its changes from Since on are no longer
// delivered, and those before it were.
type Failure struct {
	Table *Table
	Since LSN  // the commit of the first change that is missing
	Lost  bool // the log does not have what is missing: only a new copy helps
	Err   error
}

// WrittenLeaf is a partition that had a change, which comes as one of the partitioned table.
type WrittenLeaf struct {
	Table *Table // the partitioned one
	ID    uint32 // of the partition
	Name  string // qualified
	Since LSN    // the commit of the change
}

// Chunk is what a source read in one go. Everything in it belongs to committed transactions.
type Chunk struct {
	Batches  []*Batch
	Messages []Message
	Failures []Failure
	Signals  []Signal // in order
	// Leaves are partitions that were written, each at its first change behind the start of the
	// stream, and again when something was done to it since.
	Leaves []WrittenLeaf
	// Whole says that the chunk ends at the end of a transaction, and End is then
	// the LSN up to which everything was delivered by this and the earlier
	// chunks: every transaction whose commit record ends at or before End.
	Whole bool
	End   LSN
	// Time is the commit time of the newest transaction in it, zero where there is none.
	Time time.Time
	// Last is the newest transaction that has come to its end and shows in every reading of the log,
	// zero where there is none.
	Last Mark
}

// Bits is a growing set of row numbers. The nil *Bits is empty.
type Bits struct{ words []uint64 }

// Set adds i.
func (b *Bits) Set(i int) {
	for len(b.words) <= i>>6 {
		b.words = append(b.words, 0)
	}
	b.words[i>>6] |= 1 << (i & 63)
}

// Get reports whether i is in the set.
func (b *Bits) Get(i int) bool {
	return b != nil && i>>6 < len(b.words) && b.words[i>>6]&(1<<(i&63)) != 0
}

// Any reports whether the set has a member.
func (b *Bits) Any() bool {
	if b != nil {
		for _, w := range b.words {
			if w != 0 {
				return true
			}
		}
	}
	return false
}
