package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/array"
)

// An array lands as the JSON text that array_to_json prints (nulls, any number of
// dimensions, lower bounds forgotten), as PostgreSQL's own text, or as a list.

const maxDims = 6 // MAXDIM

// arrayShape is the head of a binary array.
type arrayShape struct {
	dims         int
	sizes, lower [maxDims]int
	reader       // the elements
}

// shapeOf reads the head of a binary array: dimensions, a flag for nulls, the elements' type.
func shapeOf(v []byte) (s arrayShape, err error) {
	if len(v) < 12 {
		return s, errMalformed
	}
	s.dims = int(binary.BigEndian.Uint32(v))
	if v = v[12:]; s.dims < 0 || s.dims > maxDims || len(v) < 8*s.dims {
		return s, errMalformed
	}
	for i := range s.dims {
		s.sizes[i], s.lower[i] = int(binary.BigEndian.Uint32(v[8*i:])), int(int32(binary.BigEndian.Uint32(v[8*i+4:])))
		if s.sizes[i] == 0 && s.dims > 1 || s.sizes[i] < 0 || s.sizes[i] > len(v)/4 { // an empty int2vector has a dimension
			return s, errMalformed
		}
	}
	s.rest = v[8*s.dims:]
	return s, nil
}

// jsonFromBinary writes PostgreSQL's binary array as JSON.
func (d *dataType) jsonFromBinary(dst, v []byte) ([]byte, error) {
	var scratch []byte
	return writeArray(dst, v, "[]", ',', func(dst, v []byte) ([]byte, error) {
		if v == nil {
			return append(dst, "null"...), nil
		}
		var err error
		dst, scratch, err = d.elem.jsonValue(dst, v, scratch)
		return dst, err
	})
}

// appendArray writes a binary array as PostgreSQL prints it.
func (d *dataType) appendArray(dst, v []byte) ([]byte, error) {
	s, err := shapeOf(v)
	if err != nil {
		return dst, err
	}
	start := len(dst)
	usual := true
	for i := range s.dims {
		usual = usual && s.lower[i] == 1
		dst = fmt.Appendf(dst, "[%d:%d]", s.lower[i], s.lower[i]+s.sizes[i]-1)
	}
	if usual {
		dst = dst[:start]
	} else {
		dst = append(dst, '=')
	}
	var scratch []byte
	return writeArray(dst, v, "{}", d.comma, func(dst, v []byte) ([]byte, error) {
		if v == nil {
			return append(dst, "NULL"...), nil
		}
		var err error
		scratch, err = d.elem.appendText(scratch[:0], v)
		return appendElement(dst, scratch, d.comma), err
	})
}

// appendElement writes an element of an array's text, in quotes where it needs them.
func appendElement(dst, v []byte, comma byte) []byte {
	if len(v) > 0 && !bytes.ContainsAny(v, "\"\\{} \t\n\r\v\f"+string(rune(comma))) && !strings.EqualFold(string(v), "NULL") {
		return append(dst, v...)
	}
	dst = append(dst, '"')
	for _, ch := range v {
		if ch == '"' || ch == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, ch)
	}
	return append(dst, '"')
}

// writeArray writes a binary array between brackets, its elements, nil for NULL, by element.
func writeArray(dst, v []byte, brackets string, comma byte, element func(dst, v []byte) ([]byte, error)) ([]byte, error) {
	s, err := shapeOf(v)
	if err != nil {
		return dst, err
	}
	if s.dims == 0 {
		return append(dst, brackets...), nil
	}
	var level func(sizes []int) error
	level = func(sizes []int) (err error) {
		if len(sizes) == 0 {
			v, ok := s.value()
			if !ok {
				return errMalformed
			}
			dst, err = element(dst, v)
			return err
		}
		dst = append(dst, brackets[0])
		for i := range sizes[0] {
			if i > 0 {
				dst = append(dst, comma)
			}
			if err := level(sizes[1:]); err != nil {
				return err
			}
		}
		dst = append(dst, brackets[1])
		return nil
	}
	if err = level(s.sizes[:s.dims]); err == nil && len(s.rest) > 0 {
		err = errMalformed
	}
	return dst, err
}

// jsonValue writes a binary value as JSON; scratch is room to work in, and is handed back.
func (d *dataType) jsonValue(dst, v, scratch []byte) (out, room []byte, err error) {
	switch d.kind {
	case list:
		dst, err = d.jsonFromBinary(dst, v)
	case composite:
		dst, err = d.jsonObject(dst, func(fn func(int, []byte) error) error { return d.eachAttribute(v, fn) }, true)
	default:
		if scratch, err = d.appendText(scratch[:0], v); err == nil {
			dst, err = d.jsonText(dst, scratch)
		}
	}
	return dst, scratch, err
}

// jsonObject writes a composite as JSON.
func (d *dataType) jsonObject(dst []byte, each func(func(int, []byte) error) error, coded bool) ([]byte, error) {
	dst = append(dst, '{')
	err := each(func(i int, v []byte) (err error) {
		if i > 0 {
			dst = append(dst, ',')
		}
		a := &d.attributes[i]
		dst = append(appendQuoted(dst, []byte(a.name)), ':')
		switch {
		case v == nil:
			dst = append(dst, "null"...)
		case coded:
			dst, _, err = a.jsonValue(dst, v, nil)
		default:
			dst, err = a.jsonText(dst, v)
		}
		return err
	})
	return append(dst, '}'), err
}

// jsonText writes a value, given as PostgreSQL prints it, as JSON.
func (d *dataType) jsonText(dst, v []byte) ([]byte, error) {
	switch d.kind {
	case list:
		return d.jsonFromText(dst, v)
	case composite:
		return d.jsonObject(dst, func(fn func(int, []byte) error) error { return d.eachAttributeText(v, fn) }, false)
	default:
		return appendJSON(dst, v, d.kind), nil
	}
}

// jsonFromText writes what PostgreSQL prints for an array, `[0:1]={1,"a\"b"}`, as JSON.
func (d *dataType) jsonFromText(dst, v []byte) ([]byte, error) {
	err := d.eachElementText(v, func(mark byte) { dst = append(dst, mark) }, func(v []byte) (err error) {
		if v == nil {
			dst = append(dst, "null"...)
			return nil
		}
		if d.elem.kind == char {
			v = appendChar(nil, v)
		}
		dst, err = d.elem.jsonText(dst, v)
		return err
	})
	return dst, err
}

// eachElementText cuts an array's text into its elements, nil for NULL; mark is told of
// what stands between them: '[', ',' and ']'.
func (d *dataType) eachElementText(v []byte, mark func(byte), fn func(v []byte) error) error {
	if len(v) > 0 && v[0] == '[' { // lower bounds that are not 1
		_, rest, ok := bytes.Cut(v, []byte("]={"))
		if !ok {
			return errMalformed
		}
		v = v[len(v)-len(rest)-1:]
	}
	depth, comma := 0, d.comma
	var scratch []byte
	for i := 0; i < len(v); {
		switch ch := v[i]; ch {
		case '{':
			depth++
			mark('[')
			i++
		case '}':
			depth--
			mark(']')
			i++
		case comma:
			mark(',')
			i++
		default:
			var quoted bool
			n := 0
			scratch, n, quoted = arrayElement(scratch[:0], v[i:], comma)
			if n == 0 || depth == 0 {
				return errMalformed
			}
			i += n
			value := scratch
			if value == nil {
				value = []byte{}
			}
			if !quoted && string(scratch) == "NULL" {
				value = nil
			}
			if err := fn(value); err != nil {
				return err
			}
		}
	}
	if depth != 0 {
		return errMalformed
	}
	return nil
}

const (
	errDims     = rangeError("a list has one dimension, and the array has more")
	errNullElem = rangeError("a list holds no null, and the array has one")
)

// lists are arrays in a column of lists. Spark cannot rewrite a null in a list.
func (c *column) lists(b *array.ListBuilder, d *dataType) {
	e := bind(b.ValueBuilder(), d.elem)
	c.binary = func(v []byte) error {
		s, err := shapeOf(v)
		switch {
		case err != nil:
			return err
		case s.dims > 1:
			return errDims
		}
		b.Append(true)
		var failed error
		for range s.sizes[0] {
			v, ok := s.value()
			if !ok {
				return errMalformed
			}
			if v == nil {
				failed = graver(failed, errNullElem)
			}
			failed = graver(failed, e.put(v, e.binary))
		}
		if len(s.rest) > 0 {
			return errMalformed
		}
		return failed
	}
	c.text = func(v []byte) error {
		deepest, depth := 0, 0
		b.Append(true)
		var failed error
		err := d.eachElementText(v, func(mark byte) {
			switch mark {
			case '[':
				depth++
				deepest = max(deepest, depth)
			case ']':
				depth--
			}
		}, func(v []byte) error {
			if v == nil {
				failed = graver(failed, errNullElem)
			}
			failed = graver(failed, e.put(v, e.text))
			return nil
		})
		if deepest > 1 {
			failed = graver(failed, errDims)
		}
		return graver(err, failed)
	}
}

// appendNumbers writes an int2vector or oidvector, "1 2 3".
func appendNumbers(dst, v []byte) ([]byte, error) {
	s, err := shapeOf(v)
	if err != nil || s.dims > 1 {
		return dst, errMalformed
	}
	for i := range s.sizes[0] {
		if i > 0 {
			dst = append(dst, ' ')
		}
		v, ok := s.value()
		switch {
		case ok && len(v) == 2:
			dst = strconv.AppendInt(dst, int64(int16(binary.BigEndian.Uint16(v))), 10)
		case ok && len(v) == 4:
			dst = strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(v)), 10)
		default:
			return dst, errMalformed
		}
	}
	if len(s.rest) > 0 {
		return dst, errMalformed
	}
	return dst, nil
}

// arrayElement reads one element of an array's text into dst, without its quotes
// and backslashes; n is its length there, 0 where it has no end.
func arrayElement(dst, v []byte, comma byte) (out []byte, n int, quoted bool) {
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
		case !quoted && (ch == comma || ch == '}'):
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
