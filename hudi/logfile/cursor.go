package logfile

import (
	"encoding/binary"
	"errors"
	"math"
)

// errShort says that a value reaches beyond the end of its record.
var errShort = errors.New("record ends within a value")

// cursor reads Avro values from a record. After an error, which it keeps, it reads
// zeros.
type cursor struct {
	buf []byte
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.buf = nil
}

// long reads a zigzag varint, which an int is, too.
func (c *cursor) long() int64 {
	if len(c.buf) > 0 && c.buf[0] < 0x80 {
		u := c.buf[0]
		c.buf = c.buf[1:]
		return int64(u>>1) ^ -int64(u&1)
	}
	v, n := binary.Varint(c.buf)
	if n <= 0 {
		c.fail(errShort)
		return 0
	}
	c.buf = c.buf[n:]
	return v
}

// take returns the next n bytes.
func (c *cursor) take(n int64) []byte {
	if n < 0 || n > int64(len(c.buf)) {
		c.fail(errShort)
		return nil
	}
	b := c.buf[:n:n]
	c.buf = c.buf[n:]
	return b
}

// bytes reads bytes or a string with its length.
func (c *cursor) bytes() []byte { return c.take(c.long()) }

func (c *cursor) boolean() bool {
	b := c.take(1)
	return b != nil && b[0] != 0
}

func (c *cursor) float() float32 {
	b := c.take(4)
	if b == nil {
		return 0
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(b))
}

func (c *cursor) double() float64 {
	b := c.take(8)
	if b == nil {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

// items calls item for each entry of an array or a map. The entries come in blocks;
// a negative count has the block's size in bytes after it.
func (c *cursor) items(item func()) {
	for {
		n := c.long()
		if n < 0 {
			n = -n
			c.long()
		}
		if n == 0 || c.err != nil {
			return
		}
		if n < 0 || n > int64(len(c.buf)) { // every entry takes a byte
			c.fail(errShort)
			return
		}
		for ; n > 0 && c.err == nil; n-- {
			item()
		}
	}
}
