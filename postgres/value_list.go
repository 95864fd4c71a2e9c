package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// An array lands as the JSON text that array_to_json prints: nulls, any number of
// dimensions, lower bounds forgotten.

// jsonFromBinary writes PostgreSQL's binary array as JSON.
func jsonFromBinary(dst, v []byte, elem kind) ([]byte, error) {
	if len(v) < 12 {
		return dst, errMalformed
	}
	dims := int(binary.BigEndian.Uint32(v))
	v = v[12:] // behind: a flag for nulls, the type of the elements
	if dims == 0 {
		return append(dst, "[]"...), nil
	}
	if dims < 0 || dims > 6 || len(v) < 8*dims { // MAXDIM
		return dst, errMalformed
	}
	var sizes [6]int
	for i := range dims {
		if sizes[i] = int(binary.BigEndian.Uint32(v[8*i:])); sizes[i] == 0 || sizes[i] > len(v)/4 {
			return dst, errMalformed
		}
	}
	w := listWriter{rest: v[8*dims:], elem: elem}
	dst, err := w.level(dst, sizes[:dims])
	if err == nil && len(w.rest) > 0 {
		err = errMalformed
	}
	return dst, err
}

// listWriter writes the elements of a binary array.
type listWriter struct {
	rest    []byte
	elem    kind
	scratch []byte
}

func (w *listWriter) level(dst []byte, sizes []int) ([]byte, error) {
	if len(sizes) == 0 {
		return w.element(dst)
	}
	dst = append(dst, '[')
	for i := range sizes[0] {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = w.level(dst, sizes[1:]); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (w *listWriter) element(dst []byte) ([]byte, error) {
	if len(w.rest) < 4 {
		return dst, errMalformed
	}
	n := int(int32(binary.BigEndian.Uint32(w.rest)))
	w.rest = w.rest[4:]
	if n == -1 {
		return append(dst, "null"...), nil
	}
	if n < 0 || n > len(w.rest) {
		return dst, errMalformed
	}
	var err error
	if w.scratch, err = appendText(w.scratch[:0], w.rest[:n], w.elem); err != nil {
		return dst, err
	}
	w.rest = w.rest[n:]
	return appendJSON(dst, w.scratch, w.elem), nil
}

// jsonFromText writes what PostgreSQL prints for an array, `[0:1]={1,"a\"b"}`, as JSON.
func jsonFromText(dst, v []byte, elem kind) ([]byte, error) {
	if len(v) > 0 && v[0] == '[' { // lower bounds that are not 1
		_, rest, ok := bytes.Cut(v, []byte("]={"))
		if !ok {
			return dst, errMalformed
		}
		v = v[len(v)-len(rest)-1:]
	}
	depth := 0
	var scratch []byte
	for i := 0; i < len(v); {
		switch ch := v[i]; ch {
		case '{':
			depth++
			dst = append(dst, '[')
			i++
		case '}':
			depth--
			dst = append(dst, ']')
			i++
		case ',':
			dst = append(dst, ',')
			i++
		default:
			var quoted bool
			n := 0
			scratch, n, quoted = arrayElement(scratch[:0], v[i:])
			if n == 0 || depth == 0 {
				return dst, errMalformed
			}
			if i += n; !quoted && string(scratch) == "NULL" {
				dst = append(dst, "null"...)
			} else {
				dst = appendJSON(dst, scratch, elem)
			}
		}
	}
	if depth != 0 {
		return dst, errMalformed
	}
	return dst, nil
}

// arrayElement reads one element of an array's text into dst, without its quotes
// and backslashes; n is its length there, 0 where it has no end.
func arrayElement(dst, v []byte) (out []byte, n int, quoted bool) {
	i := 0
	if quoted = v[0] == '"'; quoted {
		i++
	}
	for ; i < len(v); i++ {
		switch ch := v[i]; {
		case ch == '\\' && i+1 < len(v):
			i++
			dst = append(dst, v[i])
		case quoted && ch == '"':
			return dst, i + 1, true
		case !quoted && (ch == ',' || ch == '}'):
			return dst, i, false
		default:
			dst = append(dst, ch)
		}
	}
	return dst, 0, quoted
}

// appendJSON writes an element, given as PostgreSQL prints it, as array_to_json does.
func appendJSON(dst, v []byte, k kind) []byte {
	switch k {
	case boolean:
		if string(v) == "t" {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case int2, int4, int8:
		return append(dst, v...)
	case float4, float8, numeric:
		if len(v) > 0 && v[len(v)-1] >= '0' && v[len(v)-1] <= '9' { // neither NaN nor Infinity
			return append(dst, v...)
		}
		return appendQuoted(dst, v)
	case jsonText, jsonb:
		return append(dst, v...)
	case timestamp, timestampTZ: // 2026-11-05T07:08:09+00:00
		date, clock, ok := bytes.Cut(v, []byte(" "))
		if !ok { // infinity
			return appendQuoted(dst, v)
		}
		dst = append(append(append(dst, '"'), date...), 'T')
		if i := bytes.Index(clock, []byte("+00")); i >= 0 {
			dst = append(append(dst, clock[:i+3]...), ":00"...)
			clock = clock[i+3:]
		}
		return append(append(dst, clock...), '"')
	default:
		return appendQuoted(dst, v)
	}
}

// appendQuoted writes JSON text with the escapes that PostgreSQL writes.
func appendQuoted(dst, v []byte) []byte {
	dst = append(dst, '"')
	for _, ch := range v {
		switch ch {
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '"', '\\':
			dst = append(dst, '\\', ch)
		default:
			if ch < ' ' {
				dst = fmt.Appendf(dst, `\u%04x`, ch)
			} else {
				dst = append(dst, ch)
			}
		}
	}
	return append(dst, '"')
}
