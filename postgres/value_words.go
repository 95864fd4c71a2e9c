package postgres

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// appendVector writes a tsvector: 'word':1A,2 with quotes and backslashes doubled.
func appendVector(dst, v []byte) ([]byte, error) {
	if len(v) < 4 {
		return dst, errMalformed
	}
	n, v := int(binary.BigEndian.Uint32(v)), v[4:]
	for i := range n {
		word, rest, ok := bytes.Cut(v, []byte{0})
		if !ok || len(rest) < 2 || len(rest) < 2+2*int(binary.BigEndian.Uint16(rest)) {
			return dst, errMalformed
		}
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(appendDoubled(append(dst, '\''), word, `'\`), '\'')
		places := int(binary.BigEndian.Uint16(rest))
		v = rest[2:]
		for j := range places {
			dst = append(dst, ":,"[min(j, 1)])
			p := binary.BigEndian.Uint16(v)
			dst = strconv.AppendUint(dst, uint64(p&0x3fff), 10)
			if w := p >> 14; w > 0 {
				dst = append(dst, "CBA"[w-1])
			}
			v = v[2:]
		}
	}
	if len(v) > 0 {
		return dst, errMalformed
	}
	return dst, nil
}

// appendDoubled writes text with the characters of twice doubled.
func appendDoubled(dst, v []byte, twice string) []byte {
	for _, ch := range v {
		if bytes.IndexByte([]byte(twice), ch) >= 0 {
			dst = append(dst, ch)
		}
		dst = append(dst, ch)
	}
	return dst
}

// appendHstore writes an hstore: "key"=>"value", "key"=>NULL.
func appendHstore(dst, v []byte) ([]byte, error) {
	r := reader{v}
	n, ok := r.number()
	if !ok {
		return dst, errMalformed
	}
	quoted := func(v []byte) {
		dst = append(dst, '"')
		for _, ch := range v {
			if ch == '"' || ch == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, ch)
		}
		dst = append(dst, '"')
	}
	for i := range n {
		key, ok1 := r.value()
		value, ok2 := r.value()
		if !ok1 || !ok2 || key == nil {
			return dst, errMalformed
		}
		if i > 0 {
			dst = append(dst, ", "...)
		}
		quoted(key)
		if dst = append(dst, "=>"...); value == nil {
			dst = append(dst, "NULL"...)
		} else {
			quoted(value)
		}
	}
	if len(r.rest) > 0 {
		return dst, errMalformed
	}
	return dst, nil
}

// reader cuts a binary value into its parts.
type reader struct{ rest []byte }

// number is the next four bytes.
func (r *reader) number() (int32, bool) {
	if len(r.rest) < 4 {
		return 0, false
	}
	n := int32(binary.BigEndian.Uint32(r.rest))
	r.rest = r.rest[4:]
	return n, true
}

// value is the next value behind its length, nil for NULL.
func (r *reader) value() (v []byte, ok bool) {
	n, ok := r.number()
	switch {
	case !ok || n < -1 || int(n) > len(r.rest):
		return nil, false
	case n == -1:
		return nil, true
	}
	v, r.rest = r.rest[:n:n], r.rest[n:]
	return v, true
}
