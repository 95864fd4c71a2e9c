package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/array"
)

// Values of PostGIS and pgvector. A geometry or geography is EWKB in binary, and the same
// bytes in hexadecimal as text.

// halfFloat is a number of 16 bits, whose every value a float32 has.
func halfFloat(bits uint16) float32 {
	sign, exponent, fraction := uint32(bits>>15)<<31, uint32(bits>>10&0x1f), uint32(bits&0x3ff)
	switch exponent {
	case 0: // zero and what is smaller than the smallest exponent says
		return float32(math.Copysign(math.Ldexp(float64(fraction), -24), float64(math.Float32frombits(sign|1))))
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// eachDimension calls fn for each number of a binary vector or halfvec: the dimensions, two bytes
// that mean nothing, the numbers.
func (d *dataType) eachDimension(v []byte, fn func(float32)) error {
	width := 4
	if d.kind == halfEmbedding {
		width = 2
	}
	if len(v) < 4 || len(v)-4 != width*int(binary.BigEndian.Uint16(v)) {
		return errMalformed
	}
	for v = v[4:]; len(v) > 0; v = v[width:] {
		if width == 2 {
			fn(halfFloat(binary.BigEndian.Uint16(v)))
		} else {
			fn(math.Float32frombits(binary.BigEndian.Uint32(v)))
		}
	}
	return nil
}

// appendEmbedding writes a vector or halfvec, "[1,2.5]".
func (d *dataType) appendEmbedding(dst, v []byte) ([]byte, error) {
	dst = append(dst, '[')
	n := len(dst)
	err := d.eachDimension(v, func(f float32) {
		if len(dst) > n {
			dst = append(dst, ',')
		}
		dst = appendFloat(dst, float64(f), 32)
	})
	return append(dst, ']'), err
}

// appendSparse writes a sparsevec, "{1:1.5,3:2}/5": in binary its dimensions, how many are there,
// four bytes that mean nothing, where they are, counted from 0, and the numbers.
func appendSparse(dst, v []byte) ([]byte, error) {
	if len(v) < 12 {
		return dst, errMalformed
	}
	dimensions, n := binary.BigEndian.Uint32(v), int(binary.BigEndian.Uint32(v[4:]))
	if v = v[12:]; len(v) != 8*n {
		return dst, errMalformed
	}
	dst = append(dst, '{')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(strconv.AppendInt(dst, int64(binary.BigEndian.Uint32(v[4*i:]))+1, 10), ':')
		dst = appendFloat(dst, float64(math.Float32frombits(binary.BigEndian.Uint32(v[4*(n+i):]))), 32)
	}
	return fmt.Appendf(dst, "}/%d", dimensions), nil
}

// embeddings are vectors and halfvecs in a column of lists.
func (c *column) embeddings(b *array.ListBuilder, d *dataType) {
	numbers := b.ValueBuilder().(*array.Float32Builder)
	c.binary = func(v []byte) error {
		b.Append(true)
		return d.eachDimension(v, numbers.Append)
	}
	c.text = func(v []byte) error {
		b.Append(true)
		if len(v) < 2 || v[0] != '[' || v[len(v)-1] != ']' {
			return errMalformed
		}
		for s := range bytes.SplitSeq(v[1:len(v)-1], []byte{','}) {
			f, err := strconv.ParseFloat(string(s), 32)
			if err != nil {
				return errMalformed
			}
			numbers.Append(float32(f))
		}
		return nil
	}
}
