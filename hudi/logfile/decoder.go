package logfile

import (
	"iter"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Records returns the Avro records of a data block's content, one by one, not
// decoded. They share the content's memory.
func Records(content []byte) iter.Seq2[[]byte, error] { return nil }

// Decoder turns Avro records of one schema into rows of another.
type Decoder struct{}

// NewDecoder returns a decoder for records that were written with the Avro schema
// (a block's [Schema]) to rows of the Arrow schema: its columns, by name, in its
// order. Columns that the records lack become null, columns that it lacks are
// stepped over; int becomes long and float double where it asks for it.
func NewDecoder(avroSchema string, reader *arrow.Schema) (*Decoder, error) { return &Decoder{}, nil }

// Append decodes one record into a row of b, a builder of the reader's schema.
func (d *Decoder) Append(b *array.RecordBuilder, record []byte) error { return nil }

// Decode decodes all records of a block's content into rows of b.
func (d *Decoder) Decode(b *array.RecordBuilder, content []byte) error { return nil }

// Value is a column's value as a [Scanner] finds it.
type Value struct {
	Valid bool
	Int   int64  // booleans, ints, longs and their logical types
	Bytes []byte // text, bytes, fixed; shares the record's memory
}

// Scanner finds a few columns of Avro records without decoding the others.
type Scanner struct{}

// NewScanner returns a scanner for the named columns of records of the Avro
// schema. A column that the schema lacks is never valid.
func NewScanner(avroSchema string, columns ...string) (*Scanner, error) { return &Scanner{}, nil }

// Scan puts the columns of one record into values, in the order of their names.
func (s *Scanner) Scan(record []byte, values []Value) error { return nil }
