package logfile

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/schema"
)

// Records returns the Avro records of a data block's content, one by one, not
// decoded. They share the content's memory.
func Records(content []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if len(content) < 8 {
			yield(nil, fmt.Errorf("read data block: %d bytes", len(content)))
			return
		}
		if v := binary.BigEndian.Uint32(content); v > contentVersion {
			yield(nil, fmt.Errorf("read data block: version %d is not known", v))
			return
		}
		n, rest := binary.BigEndian.Uint32(content[4:]), content[8:]
		for i := range n {
			if len(rest) < 4 || int64(binary.BigEndian.Uint32(rest)) > int64(len(rest)-4) {
				yield(nil, fmt.Errorf("read record %d of %d: the data block ends before", i+1, n))
				return
			}
			end := 4 + int(binary.BigEndian.Uint32(rest))
			if !yield(rest[4:end:end], nil) {
				return
			}
			rest = rest[end:]
		}
	}
}

// Decoder turns Avro records of one schema into rows of another. It is for one
// goroutine.
type Decoder struct {
	fields  []fieldDecoder
	missing []int // reader columns that the records lack
	c       cursor
}

type fieldDecoder struct {
	name   string
	column int // of the reader; -1 when the field is stepped over
	read   readFunc
	skip   skipFunc
}

// NewDecoder returns a decoder for records that were written with the Avro schema
// (a block's [Schema]) to rows of the Arrow schema: its columns, by name, in its
// order. Columns that the records lack become null, columns that it lacks are
// stepped over; int becomes long and float double where it asks for it.
func NewDecoder(avroSchema string, reader *arrow.Schema) (*Decoder, error) {
	fields, err := schema.Record(avroSchema)
	if err != nil {
		return nil, err
	}
	d := &Decoder{}
	found := make([]bool, reader.NumFields())
	for i := range fields {
		f := &fields[i]
		at := reader.FieldIndices(f.Name)
		if len(at) == 0 {
			d.fields = append(d.fields, fieldDecoder{name: f.Name, column: -1, skip: skipper(&f.Type)})
			continue
		}
		read, err := nullableReader(&f.Type, reader.Field(at[0]).Type)
		if err != nil {
			return nil, fmt.Errorf("decode column %s: %w", f.Name, err)
		}
		found[at[0]] = true
		d.fields = append(d.fields, fieldDecoder{name: f.Name, column: at[0], read: read})
	}
	for i, ok := range found {
		if !ok && !reader.Field(i).Nullable {
			return nil, fmt.Errorf("decode column %s: the records lack it, and it may not be null", reader.Field(i).Name)
		}
		if !ok {
			d.missing = append(d.missing, i)
		}
	}
	return d, nil
}

// Decodable returns the reader's schema with those columns that [NewDecoder] would
// refuse in the type that the records have for them, for the caller to convert.
func Decodable(avroSchema string, reader *arrow.Schema) (*arrow.Schema, error) {
	nodes, err := schema.Record(avroSchema)
	if err != nil {
		return nil, err
	}
	fields := reader.Fields()
	for i := range nodes {
		for _, at := range reader.FieldIndices(nodes[i].Name) {
			if _, err := nullableReader(&nodes[i].Type, fields[at].Type); err == nil {
				continue
			}
			if fields[at].Type, err = schema.TypeOf(&nodes[i].Type); err != nil {
				return nil, fmt.Errorf("column %s: %w", nodes[i].Name, err)
			}
		}
	}
	return arrow.NewSchema(fields, nil), nil
}

// Append decodes one record into a row of b, a builder of the reader's schema.
// After an error the builder's columns are of unequal length.
func (d *Decoder) Append(b *array.RecordBuilder, record []byte) error {
	d.c = cursor{buf: record}
	c := &d.c
	for i := range d.fields {
		f := &d.fields[i]
		if f.column < 0 {
			f.skip(c)
		} else {
			f.read(c, b.Field(f.column))
		}
		if c.err != nil {
			return fmt.Errorf("decode column %s: %w", f.name, c.err)
		}
	}
	if len(c.buf) > 0 {
		return fmt.Errorf("decode record: %d bytes after the last column", len(c.buf))
	}
	for _, i := range d.missing {
		b.Field(i).AppendNull()
	}
	return nil
}

// Decode decodes all records of a block's content into rows of b.
func (d *Decoder) Decode(b *array.RecordBuilder, content []byte) error {
	for record, err := range Records(content) {
		if err != nil {
			return err
		}
		if err := d.Append(b, record); err != nil {
			return err
		}
	}
	return nil
}
