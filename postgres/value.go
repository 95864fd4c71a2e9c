package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// ValueError is a value that its column cannot hold: NaN in a numeric, infinity in
// a date, more digits than a decimal has. It stops its table.
type ValueError struct {
	Table, Column string
	Key           string // the row's key, where it is known
	Err           error
}

// Error names the table, the column and the row.
func (e *ValueError) Error() string {
	s := "table " + e.Table + ", column " + e.Column
	if e.Key != "" {
		s += ", row " + e.Key
	}
	return s + ": " + e.Err.Error()
}

// Unwrap is what is wrong with the value.
func (e *ValueError) Unwrap() error { return e.Err }

var (
	errMalformed = errors.New("the server sent a malformed value")
	errForm      = errors.New("the value came in binary, and only its text can be read")
)

// rangeError is a value that is sound, and beyond what its column holds.
type rangeError string

func (e rangeError) Error() string { return string(e) }

// decoder appends one value that is not NULL to its column's builder. With an error it
// has appended nothing, or one value that means nothing.
type decoder func(src []byte) error

// column builds one column of a batch. The decoders are chosen once, when the
// relation is met.
type column struct {
	array.Builder
	binary, text decoder
	inKey        bool // a value that does not fit is no null
}

// newColumn is a builder for values of type d with its two decoders.
func newColumn(d *dataType) column {
	return bind(array.NewBuilder(memory.DefaultAllocator, d.arrow()), d)
}

// bind is the decoders of type d that append to b.
func bind(b array.Builder, d *dataType) column {
	c := column{Builder: b}
	if b, ok := b.(*array.StringBuilder); ok {
		c.strings(b.BinaryBuilder, d)
		return c
	}
	switch d.kind {
	case boolean:
		b := b.(*array.BooleanBuilder)
		c.binary = fixed(1, func(v []byte) error { b.Append(v[0] != 0); return nil })
		c.text = func(v []byte) error { b.Append(string(v) == "t"); return nil }
	case int2, int4:
		b := b.(*array.Int32Builder)
		if c.binary = fixed(4, func(v []byte) error { b.Append(int32(binary.BigEndian.Uint32(v))); return nil }); d.kind == int2 {
			c.binary = fixed(2, func(v []byte) error { b.Append(int32(int16(binary.BigEndian.Uint16(v)))); return nil })
		}
		c.text = parsed(func(s string) (int64, error) { return strconv.ParseInt(s, 10, 32) }, func(v int64) { b.Append(int32(v)) })
	case int8, oid:
		b := b.(*array.Int64Builder)
		if c.binary = fixed(8, func(v []byte) error { b.Append(int64(binary.BigEndian.Uint64(v))); return nil }); d.kind == oid {
			c.binary = fixed(4, func(v []byte) error { b.Append(int64(binary.BigEndian.Uint32(v))); return nil })
		}
		c.text = parsed(func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }, b.Append)
	case float4:
		b := b.(*array.Float32Builder)
		c.binary = fixed(4, func(v []byte) error { b.Append(math.Float32frombits(binary.BigEndian.Uint32(v))); return nil })
		c.text = parsed(func(s string) (float64, error) { return strconv.ParseFloat(s, 32) }, func(v float64) { b.Append(float32(v)) })
	case float8:
		b := b.(*array.Float64Builder)
		c.binary = fixed(8, func(v []byte) error { b.Append(math.Float64frombits(binary.BigEndian.Uint64(v))); return nil })
		c.text = parsed(func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }, b.Append)
	case numeric:
		c.decimals(b.(*array.Decimal128Builder), d)
	case date, timestamp, timestampTZ:
		c.times(b, d)
	case bytea:
		c.bytes(b.(*array.BinaryBuilder), `\x`) // bytea_output is hex
	case geometry:
		c.bytes(b.(*array.BinaryBuilder), "")
	case embedding, halfEmbedding:
		c.embeddings(b.(*array.ListBuilder), d)
	case list:
		c.lists(b.(*array.ListBuilder), d)
	case composite:
		c.structs(b.(*array.StructBuilder), d)
	default:
		panic(fmt.Sprintf("postgres: no decoder of kind %d for %s", d.kind, b.Type()))
	}
	return c
}

// put appends a value, nil for NULL, by one of the column's decoders: exactly one, whatever comes.
func (c *column) put(v []byte, read decoder) error {
	if v == nil {
		c.AppendNull()
		return nil
	}
	n := c.Len()
	err := read(v)
	switch {
	case err == nil || c.Len() > n:
	case c.inKey:
		c.AppendEmptyValue()
	default:
		c.AppendNull()
	}
	return err
}

// fixed is a decoder of values of n bytes.
func fixed(n int, f decoder) decoder {
	return func(v []byte) error {
		if len(v) != n {
			return errMalformed
		}
		return f(v)
	}
}

// parsed is a decoder of text by a function of strconv. PostgreSQL writes
// "NaN", "Infinity" and "-Infinity", which ParseFloat reads.
func parsed[T any](parse func(string) (T, error), add func(T)) decoder {
	return func(v []byte) error {
		x, err := parse(string(v))
		if err != nil {
			return err
		}
		add(x)
		return nil
	}
}

func (c *column) decimals(b *array.Decimal128Builder, d *dataType) {
	precision, scale := d.decimal()
	c.binary = func(v []byte) error {
		x, err := decimalFromBinary(v, precision, scale)
		if err == nil {
			b.Append(x)
		}
		return err
	}
	c.text = func(v []byte) error {
		x, err := decimalFromText(v, precision, scale)
		if err == nil {
			b.Append(x)
		}
		return err
	}
}

func (c *column) times(b array.Builder, d *dataType) {
	if d.kind == date {
		b := b.(*array.Date32Builder)
		add := func(days int64, err error) error {
			if err == nil {
				b.Append(arrow.Date32(days))
			}
			return err
		}
		c.binary = fixed(4, func(v []byte) error { return add(dateFromBinary(v)) })
		c.text = func(v []byte) error { return add(dateFromText(v)) }
		return
	}
	t := b.(*array.TimestampBuilder)
	add := func(micros int64, err error) error {
		if err == nil {
			t.Append(arrow.Timestamp(micros))
		}
		return err
	}
	c.binary = fixed(8, func(v []byte) error { return add(timestampFromBinary(v)) })
	c.text = func(v []byte) error { return add(timestampFromText(v)) }
}

// bytes are in hexadecimal behind prefix where they come as text.
func (c *column) bytes(b *array.BinaryBuilder, prefix string) {
	c.binary = func(v []byte) error { b.Append(v); return nil }
	var buf []byte
	c.text = func(v []byte) error {
		v, ok := bytes.CutPrefix(v, []byte(prefix))
		if !ok {
			return errMalformed
		}
		var err error
		if buf, err = hex.AppendDecode(buf[:0], v); err == nil {
			b.Append(buf)
		}
		return err
	}
}

var errUTF8 = rangeError("the text is not UTF-8 (the database's encoding is SQL_ASCII)")

// strings are the types whose column holds text.
func (c *column) strings(b *array.BinaryBuilder, d *dataType) {
	add := func(v []byte) error {
		if !utf8.Valid(v) {
			return errUTF8
		}
		b.Append(v)
		return nil
	}
	var buf []byte // reused for what must be formatted
	format := func(f func(dst, v []byte) ([]byte, error)) decoder {
		return func(v []byte) error {
			out, err := f(buf[:0], v)
			if err == nil {
				err = add(out)
			}
			buf = out
			return err
		}
	}
	c.text, c.binary = add, format(d.appendText)
	switch {
	case d.landing == asText:
	case d.kind == list:
		c.text, c.binary = format(d.jsonFromText), format(d.jsonFromBinary)
	case d.kind == text || d.kind == jsonText:
		c.binary = add
	case d.kind == char:
		c.text = format(func(dst, v []byte) ([]byte, error) { return appendChar(dst, v), nil })
	}
}

// appendText writes a binary value as PostgreSQL prints it under our settings.
func (d *dataType) appendText(dst, v []byte) ([]byte, error) {
	if n, ok := widths[d.kind]; ok && len(v) != n {
		return dst, errMalformed
	}
	switch d.kind {
	case boolean:
		return append(dst, "ft"[min(v[0], 1)]), nil
	case int2:
		return strconv.AppendInt(dst, int64(int16(binary.BigEndian.Uint16(v))), 10), nil
	case int4:
		return strconv.AppendInt(dst, int64(int32(binary.BigEndian.Uint32(v))), 10), nil
	case int8:
		return strconv.AppendInt(dst, int64(binary.BigEndian.Uint64(v)), 10), nil
	case oid, unsigned4:
		return strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(v)), 10), nil
	case unsigned8:
		return strconv.AppendUint(dst, binary.BigEndian.Uint64(v), 10), nil
	case lsn:
		return fmt.Appendf(dst, "%X/%X", binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])), nil
	case tid:
		return fmt.Appendf(dst, "(%d,%d)", binary.BigEndian.Uint32(v), binary.BigEndian.Uint16(v[4:])), nil
	case float4:
		return appendFloat(dst, float64(math.Float32frombits(binary.BigEndian.Uint32(v))), 32), nil
	case float8:
		return appendFloat(dst, math.Float64frombits(binary.BigEndian.Uint64(v)), 64), nil
	case numeric:
		return appendNumeric(dst, v)
	case text, jsonText:
		return append(dst, v...), nil
	case jsonb, versioned: // a version byte first
		if len(v) == 0 || v[0] != 1 {
			return dst, errMalformed
		}
		return append(dst, v[1:]...), nil
	case char:
		return appendChar(dst, v), nil
	case bytea:
		return hex.AppendEncode(append(dst, `\x`...), v), nil
	case date:
		return appendDate(dst, v), nil
	case timeOfDay:
		return appendClock(dst, int64(binary.BigEndian.Uint64(v))), nil
	case timeTZ:
		return appendTimeTZ(dst, v), nil
	case timestamp:
		return appendTimestamp(dst, v, ""), nil
	case timestampTZ:
		return appendTimestamp(dst, v, "+00"), nil
	case interval:
		return appendInterval(dst, v), nil
	case uuid:
		return appendUUID(dst, v), nil
	case network, block:
		return appendNetwork(dst, v, d.kind == block)
	case mac:
		return appendMAC(dst, v)
	case bitString:
		return appendBits(dst, v)
	case snapshotID:
		return appendSnapshot(dst, v)
	case point, segment, path, box, polygon, line, circle:
		return appendShape(dst, v, d.kind)
	case tsvector:
		return appendVector(dst, v)
	case hstore:
		return appendHstore(dst, v)
	case geometry:
		return fmt.Appendf(dst, "%X", v), nil
	case embedding, halfEmbedding:
		return d.appendEmbedding(dst, v)
	case sparseEmbedding:
		return appendSparse(dst, v)
	case vector:
		return appendNumbers(dst, v)
	case list:
		return d.appendArray(dst, v)
	case rangeOf:
		return d.appendRange(dst, v)
	case multirange:
		return d.appendMultirange(dst, v)
	case composite:
		return d.appendRecord(dst, v)
	case other:
		return dst, errForm
	default:
		panic(fmt.Sprintf("postgres: no text for kind %d", d.kind))
	}
}

// widths are the lengths of binary values that have one.
var widths = map[kind]int{
	boolean: 1, int2: 2, int4: 4, int8: 8, oid: 4, float4: 4, float8: 8, date: 4,
	timeOfDay: 8, timeTZ: 12, timestamp: 8, timestampTZ: 8, interval: 16, uuid: 16,
	unsigned4: 4, unsigned8: 8, lsn: 8, tid: 6, point: 16, segment: 32, box: 32, line: 24, circle: 24,
}

// appendChar writes a value of type "char": nothing for the zero byte, and \ooo
// for one that is no ASCII, as version 16 began to.
func appendChar(dst, v []byte) []byte {
	switch {
	case len(v) != 1:
		return append(dst, v...)
	case v[0] == 0:
		return dst
	case v[0] < 0x80:
		return append(dst, v[0])
	}
	return append(dst, '\\', '0'+v[0]>>6, '0'+v[0]>>3&7, '0'+v[0]&7)
}

func appendUUID(dst, v []byte) []byte {
	for i, j := range [...]int{4, 6, 8, 10, 16} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, v[[...]int{0, 4, 6, 8, 10}[i]:j])
	}
	return dst
}
