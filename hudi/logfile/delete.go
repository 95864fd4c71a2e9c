package logfile

import (
	"encoding/binary"
	"fmt"
)

// DeleteKey names a row to delete.
type DeleteKey struct {
	Key       string
	Partition string // path, empty in an unpartitioned table
}

// OrderingKind is the type of a delete's ordering value.
type OrderingKind int

// The kinds of an ordering value, in the order of Hudi's union.
const (
	NoOrdering OrderingKind = iota
	BooleanOrdering
	IntOrdering
	LongOrdering
	FloatOrdering
	DoubleOrdering
	BytesOrdering
	StringOrdering
	DateOrdering
	DecimalOrdering
	TimeMicrosOrdering
	TimestampMicrosOrdering
	ArrayOrdering // of several ordering fields
)

// Ordering is the value by which a delete is compared with the row that it meets.
type Ordering struct {
	Kind  OrderingKind
	Int   int64      // of booleans, ints, longs, dates and times
	Float float64    // of floats and doubles
	Bytes []byte     // of bytes, text, and decimals (two's complement, scale 15)
	Items []Ordering // of an array
}

// Natural tells whether the delete goes without an order and always wins: its value is
// null or the int 0.
func (o Ordering) Natural() bool {
	return o.Kind == NoOrdering || o.Kind == IntOrdering && o.Int == 0
}

// DeleteRecord is a delete as a block holds it.
type DeleteRecord struct {
	DeleteKey
	Ordering Ordering
}

// appendDeletes appends an Avro HoodieDeleteRecordList.
func appendDeletes(dst []byte, keys []DeleteKey) []byte {
	if len(keys) > 0 {
		dst = appendLong(dst, int64(len(keys)))
	}
	for _, k := range keys {
		for _, s := range [...]string{k.Key, k.Partition} {
			dst = append(dst, 2) // the union's string
			dst = appendLong(dst, int64(len(s)))
			dst = append(dst, s...)
		}
		dst = append(dst, 2*byte(IntOrdering), 0)
	}
	return append(dst, 0)
}

// DecodeDeletes returns the records of a delete block's content. Blocks of Hudi
// before 0.14 hold serialised Java objects; the error says so.
func DecodeDeletes(content []byte) ([]DeleteRecord, error) {
	if len(content) < 8 {
		return nil, fmt.Errorf("decode delete block: %d bytes", len(content))
	}
	switch v := binary.BigEndian.Uint32(content); v {
	case contentVersion:
	case 1, 2:
		return nil, fmt.Errorf("decode delete block: version %d, of a Hudi before 0.14, is not read: compact the table with Spark first", v)
	default:
		return nil, fmt.Errorf("decode delete block: version %d is not known", v)
	}
	n := binary.BigEndian.Uint32(content[4:])
	if int64(n) > int64(len(content)-8) {
		return nil, fmt.Errorf("decode delete block: %w", errShort)
	}
	c := cursor{buf: content[8 : 8+n]}
	var records []DeleteRecord
	c.items(func() {
		records = append(records, DeleteRecord{DeleteKey{c.optionalText(), c.optionalText()}, c.ordering()})
	})
	if c.err != nil {
		return nil, fmt.Errorf("decode delete block: %w", c.err)
	}
	return records, nil
}

func (c *cursor) optionalText() string {
	switch i := c.long(); i {
	case 0:
		return ""
	case 1:
		return string(c.bytes())
	default:
		c.fail(fmt.Errorf("branch %d of a union of two", i))
		return ""
	}
}

func (c *cursor) ordering() Ordering {
	kind := OrderingKind(c.long())
	if kind == ArrayOrdering {
		return c.orderings()
	}
	return c.wrapper(kind)
}

// orderings reads the values of several ordering fields.
func (c *cursor) orderings() Ordering {
	o := Ordering{Kind: ArrayOrdering}
	switch i := c.long(); i {
	case 0:
		return Ordering{}
	case 1:
		c.items(func() {
			kind := OrderingKind(c.long())
			if kind == ArrayOrdering {
				kind = DateOrdering // the union of the items has a second wrapper of dates in its place
			}
			o.Items = append(o.Items, c.wrapper(kind))
		})
	default:
		c.fail(fmt.Errorf("branch %d of a union of two", i))
	}
	return o
}

// wrapper reads the value that a wrapper record holds.
func (c *cursor) wrapper(kind OrderingKind) Ordering {
	o := Ordering{Kind: kind}
	switch kind {
	case NoOrdering:
	case BooleanOrdering:
		if c.boolean() {
			o.Int = 1
		}
	case IntOrdering, LongOrdering, DateOrdering, TimeMicrosOrdering, TimestampMicrosOrdering:
		o.Int = c.long()
	case FloatOrdering:
		o.Float = float64(c.float())
	case DoubleOrdering:
		o.Float = c.double()
	case BytesOrdering, StringOrdering, DecimalOrdering:
		o.Bytes = c.bytes()
	default:
		c.fail(fmt.Errorf("ordering value of kind %d is not known", kind))
	}
	return o
}
