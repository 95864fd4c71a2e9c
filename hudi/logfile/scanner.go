package logfile

import (
	"fmt"

	"github.com/twmb/avro"

	"lakefeed/hudi/schema"
)

// skipFunc steps over the value at the cursor.
type skipFunc func(c *cursor)

// skipper returns the function that steps over values of node.
func skipper(node *avro.SchemaNode) skipFunc {
	switch node.Type {
	case "boolean":
		return func(c *cursor) { c.take(1) }
	case "int", "long", "enum":
		return func(c *cursor) { c.long() }
	case "float":
		return func(c *cursor) { c.take(4) }
	case "double":
		return func(c *cursor) { c.take(8) }
	case "string", "bytes":
		return func(c *cursor) { c.bytes() }
	case "fixed":
		size := int64(node.Size)
		return func(c *cursor) { c.take(size) }
	case "array":
		item := skipper(node.Items)
		return func(c *cursor) { c.items(func() { item(c) }) }
	case "map":
		item := skipper(node.Values)
		return func(c *cursor) { c.items(func() { c.bytes(); item(c) }) }
	case "union":
		return unionSkipper(node)
	case "record", "error":
		fields := make([]skipFunc, len(node.Fields))
		for i := range node.Fields {
			fields[i] = skipper(&node.Fields[i].Type)
		}
		return func(c *cursor) {
			for _, skip := range fields {
				skip(c)
			}
		}
	}
	return func(*cursor) {} // null
}

func unionSkipper(node *avro.SchemaNode) skipFunc {
	branches := make([]skipFunc, len(node.Branches))
	for i := range node.Branches {
		branches[i] = skipper(&node.Branches[i])
	}
	return func(c *cursor) {
		if i := c.long(); i < 0 || i >= int64(len(branches)) {
			c.fail(fmt.Errorf("branch %d of a union of %d", i, len(branches)))
		} else {
			branches[i](c)
		}
	}
}

// Value is a column's value as a [Scanner] finds it.
type Value struct {
	Valid bool
	Int   int64   // of booleans, ints, longs and their logical types
	Float float64 // of floats and doubles
	Bytes []byte  // of text, bytes and fixed; shares the record's memory
}

// Scanner finds a few columns of Avro records without decoding the others: the key
// by which rows are merged, the ordering value, the delete flag. It is for one
// goroutine.
type Scanner struct {
	fields []scanField
	c      cursor
}

type scanField struct {
	name string
	at   int // index of the value; -1 when the field is stepped over
	skip skipFunc
	scan func(c *cursor) Value
}

// NewScanner returns a scanner for the named columns of records of the Avro
// schema. A column that the schema lacks is never valid; one that is a list, a map
// or a record is an error.
func NewScanner(avroSchema string, columns ...string) (*Scanner, error) {
	fields, err := schema.Record(avroSchema)
	if err != nil {
		return nil, err
	}
	s := &Scanner{}
	last := 0
	for i := range fields {
		f := scanField{name: fields[i].Name, at: -1, skip: skipper(&fields[i].Type)}
		for at, name := range columns {
			if name == f.name {
				f.at, last = at, i+1
				if f.scan, err = scanFunc(&fields[i].Type); err != nil {
					return nil, fmt.Errorf("scan column %s: %w", name, err)
				}
			}
		}
		s.fields = append(s.fields, f)
	}
	s.fields = s.fields[:last]
	return s, nil
}

// Scan puts the columns of one record into values, in the order in which
// [NewScanner] was given them. It looks no further than the last of them.
func (s *Scanner) Scan(record []byte, values []Value) error {
	clear(values)
	s.c = cursor{buf: record}
	c := &s.c
	for i := range s.fields {
		f := &s.fields[i]
		if f.at < 0 {
			f.skip(c)
		} else {
			values[f.at] = f.scan(c)
		}
		if c.err != nil {
			return fmt.Errorf("scan column %s: %w", f.name, c.err)
		}
	}
	return nil
}

func scanFunc(node *avro.SchemaNode) (func(*cursor) Value, error) {
	switch node.Type {
	case "null":
		return func(*cursor) Value { return Value{} }, nil
	case "boolean":
		return func(c *cursor) Value {
			if c.boolean() {
				return Value{Valid: true, Int: 1}
			}
			return Value{Valid: true}
		}, nil
	case "int", "long":
		return func(c *cursor) Value { return Value{Valid: true, Int: c.long()} }, nil
	case "float":
		return func(c *cursor) Value { return Value{Valid: true, Float: float64(c.float())} }, nil
	case "double":
		return func(c *cursor) Value { return Value{Valid: true, Float: c.double()} }, nil
	case "string", "bytes":
		return func(c *cursor) Value { return Value{Valid: true, Bytes: c.bytes()} }, nil
	case "fixed":
		size := int64(node.Size)
		return func(c *cursor) Value { return Value{Valid: true, Bytes: c.take(size)} }, nil
	case "union":
		return unionScan(node)
	}
	return nil, fmt.Errorf("a %s", node.Type)
}

func unionScan(node *avro.SchemaNode) (func(*cursor) Value, error) {
	branches := make([]func(*cursor) Value, len(node.Branches))
	for i := range node.Branches {
		var err error
		if branches[i], err = scanFunc(&node.Branches[i]); err != nil {
			return nil, err
		}
	}
	return func(c *cursor) Value {
		i := c.long()
		if i < 0 || i >= int64(len(branches)) {
			c.fail(fmt.Errorf("branch %d of a union of %d", i, len(branches)))
			return Value{}
		}
		return branches[i](c)
	}, nil
}
