package postgres

import (
	"bytes"
	"errors"

	"github.com/apache/arrow-go/v18/arrow/array"
)

var errComposite = errors.New("the attributes of its composite type have changed, and the value is of others than before")

// eachAttribute cuts a composite's binary value into those of its attributes, nil for NULL.
func (d *dataType) eachAttribute(v []byte, fn func(i int, v []byte) error) error {
	r := reader{v}
	n, ok := r.number()
	switch {
	case !ok:
		return errMalformed
	case int(n) != len(d.attributes):
		return errComposite
	}
	for i := range d.attributes {
		id, ok1 := r.number()
		value, ok2 := r.value()
		switch {
		case !ok1 || !ok2:
			return errMalformed
		case uint32(id) != d.attributes[i].id:
			return errComposite
		}
		if err := fn(i, value); err != nil {
			return err
		}
	}
	if len(r.rest) > 0 {
		return errMalformed
	}
	return nil
}

// eachAttributeText cuts what PostgreSQL prints for a composite, `(1,"x,""y""",)`.
func (d *dataType) eachAttributeText(v []byte, fn func(i int, v []byte) error) error {
	if len(v) < 2 || v[0] != '(' || v[len(v)-1] != ')' {
		return errMalformed
	}
	v = v[1:]
	for i := range d.attributes {
		value, n := attributeText(v)
		if n < 0 {
			return errMalformed
		}
		if err := fn(i, value); err != nil {
			return err
		}
		end, last := v[n], i == len(d.attributes)-1
		if v = v[n+1:]; last != (end == ')') {
			return errComposite
		}
	}
	if len(v) > 0 {
		return errMalformed
	}
	return nil
}

// attributeText is the attribute that v begins with, nil for NULL, and where it ends: at
// a comma or the bracket; -1 where it has no end.
func attributeText(v []byte) (value []byte, n int) {
	if len(v) > 0 && (v[0] == ',' || v[0] == ')') {
		return nil, 0
	}
	value = []byte{}
	quoted := false
	for i := 0; i < len(v); i++ {
		switch ch := v[i]; {
		case ch == '\\' && i+1 < len(v):
			i++
			value = append(value, v[i])
		case ch == '"' && quoted && i+1 < len(v) && v[i+1] == '"':
			i++
			value = append(value, '"')
		case ch == '"':
			quoted = !quoted
		case !quoted && (ch == ',' || ch == ')'):
			return value, i
		default:
			value = append(value, ch)
		}
	}
	return nil, -1
}

// structs are composites in a column of structs.
func (c *column) structs(b *array.StructBuilder, d *dataType) {
	fields := make([]column, len(d.attributes))
	for i := range fields {
		fields[i] = bind(b.FieldBuilder(i), &d.attributes[i].dataType)
	}
	read := func(each func([]byte, func(int, []byte) error) error, coded bool) decoder {
		return func(v []byte) error {
			b.Append(true)
			had := 0
			var failed error
			err := each(v, func(i int, v []byte) error {
				f := &fields[i]
				decode := f.text
				if coded {
					decode = f.binary
				}
				had++
				failed = graver(failed, f.put(v, decode))
				return nil
			})
			for ; had < len(fields); had++ {
				fields[had].AppendNull()
			}
			return graver(err, failed)
		}
	}
	c.binary, c.text = read(d.eachAttribute, true), read(d.eachAttributeText, false)
}

// graver is the first of two errors, unless only the second says that a value is not sound.
func graver(a, b error) error {
	if _, bounds := errors.AsType[rangeError](a); a == nil || bounds && b != nil {
		if _, same := errors.AsType[rangeError](b); a == nil || !same {
			return b
		}
	}
	return a
}

// appendRecord writes a composite as PostgreSQL prints it.
func (d *dataType) appendRecord(dst, v []byte) ([]byte, error) {
	dst = append(dst, '(')
	var scratch []byte
	err := d.eachAttribute(v, func(i int, v []byte) (err error) {
		if i > 0 {
			dst = append(dst, ',')
		}
		if v == nil {
			return nil
		}
		scratch, err = d.attributes[i].appendText(scratch[:0], v)
		dst = appendBound(dst, scratch, `"\(),`)
		return err
	})
	return append(dst, ')'), err
}

// appendBound writes a part of a composite or range: in quotes where it is empty or has
// blanks or one of the characters special, with quotes and backslashes doubled.
func appendBound(dst, v []byte, special string) []byte {
	if len(v) > 0 && !bytes.ContainsAny(v, special+" \t\n\r\v\f") {
		return append(dst, v...)
	}
	return append(appendDoubled(append(dst, '"'), v, `"\`), '"')
}

// Flags of a range.
const (
	rangeEmpty    = 0x01
	rangeLowerInc = 0x02
	rangeUpperInc = 0x04
	rangeLowerInf = 0x08
	rangeUpperInf = 0x10
)

// appendRange writes a range as PostgreSQL prints it, "[1,5)".
func (d *dataType) appendRange(dst, v []byte) ([]byte, error) {
	if len(v) == 0 {
		return dst, errMalformed
	}
	flags, r := v[0], reader{v[1:]}
	if flags&rangeEmpty != 0 {
		return append(dst, "empty"...), nil
	}
	bound := func(infinite byte) error {
		if flags&infinite != 0 {
			return nil
		}
		v, ok := r.value()
		if !ok || v == nil {
			return errMalformed
		}
		text, err := d.elem.appendText(nil, v)
		dst = appendBound(dst, text, `"\()[],`)
		return err
	}
	dst = append(dst, "(["[flags&rangeLowerInc/rangeLowerInc])
	err := bound(rangeLowerInf)
	dst = append(dst, ',')
	err = graver(err, bound(rangeUpperInf))
	if err == nil && len(r.rest) > 0 {
		err = errMalformed
	}
	return append(dst, ")]"[flags&rangeUpperInc/rangeUpperInc]), err
}

// appendMultirange writes a multirange, "{[1,3),[5,7)}".
func (d *dataType) appendMultirange(dst, v []byte) ([]byte, error) {
	r := reader{v}
	n, ok := r.number()
	if !ok {
		return dst, errMalformed
	}
	dst = append(dst, '{')
	for i := range n {
		v, ok := r.value()
		if !ok || v == nil {
			return dst, errMalformed
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = d.elem.appendText(dst, v); err != nil {
			return dst, err
		}
	}
	if len(r.rest) > 0 {
		return dst, errMalformed
	}
	return append(dst, '}'), nil
}
