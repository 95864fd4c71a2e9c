package basefile

import "encoding/binary"

// thriftLen is the length of the structure at the start of data, in Thrift's compact
// form. The library that decodes it trusts the lengths that lists claim, which a
// damaged file may set to anything: here each must be as long as it says.
func thriftLen(data []byte) (int, error) {
	w := thriftWalk{data: data}
	if !w.structure(0) {
		return 0, damagedParquet("metadata breaks off or is garbled at byte %d of %d", w.at, len(data))
	}
	return w.at, nil
}

type thriftWalk struct {
	data []byte
	at   int
}

// Types of Thrift's compact form.
const (
	thriftStop   = 0
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

const maxThriftDepth = 100

func (w *thriftWalk) structure(depth int) bool {
	for depth < maxThriftDepth {
		head, ok := w.byte()
		switch {
		case !ok:
			return false
		case head == 0:
			return true
		case head>>4 == 0:
			if _, ok := w.varint(); !ok {
				return false
			}
		}
		if t := head & 15; t != thriftTrue && t != thriftFalse && !w.value(t, depth) {
			return false
		}
	}
	return false
}

// value skips a value; in lists booleans take a byte.
func (w *thriftWalk) value(t byte, depth int) bool {
	switch {
	case t == thriftTrue || t == thriftFalse || t == thriftByte:
		return w.skip(1)
	case t >= thriftI16 && t <= thriftI64:
		_, ok := w.varint()
		return ok
	case t == thriftDouble:
		return w.skip(8)
	case t == thriftBinary:
		n, ok := w.varint()
		return ok && w.skip(n)
	case t == thriftList || t == thriftSet:
		return w.list(depth + 1)
	case t == thriftMap:
		return w.mapping(depth + 1)
	case t == thriftStruct:
		return w.structure(depth + 1)
	}
	return false
}

func (w *thriftWalk) list(depth int) bool {
	head, ok := w.byte()
	if !ok || depth > maxThriftDepth {
		return false
	}
	n := uint64(head >> 4)
	if n == 15 {
		if n, ok = w.varint(); !ok {
			return false
		}
	}
	for ; n > 0; n-- {
		if !w.value(head&15, depth) {
			return false
		}
	}
	return true
}

func (w *thriftWalk) mapping(depth int) bool {
	n, ok := w.varint()
	if !ok || n == 0 || depth > maxThriftDepth {
		return ok && n == 0
	}
	types, ok := w.byte()
	for ; ok && n > 0; n-- {
		ok = w.value(types>>4, depth) && w.value(types&15, depth)
	}
	return ok
}

func (w *thriftWalk) byte() (byte, bool) {
	if w.at >= len(w.data) {
		return 0, false
	}
	w.at++
	return w.data[w.at-1], true
}

func (w *thriftWalk) varint() (uint64, bool) {
	v, n := binary.Uvarint(w.data[w.at:])
	if n <= 0 {
		return 0, false
	}
	w.at += n
	return v, true
}

func (w *thriftWalk) skip(n uint64) bool {
	if n > uint64(len(w.data)-w.at) {
		return false
	}
	w.at += int(n)
	return true
}
