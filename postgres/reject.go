package postgres

import (
	"encoding/hex"
	"errors"
	"slices"
	"unicode/utf8"

	"lakefeed/change"
	"lakefeed/postgres/pgoutput"
)

// misfit is the first value of a row that its column cannot hold.
type misfit struct {
	err    error // nil: there is none
	column int
	inKey  bool // one of them is in the key
}

// take looks at how a value was appended to column i. What does not fit is noted where the
// row is to be handed out as a reject, and an error elsewhere.
func (r *rows) take(i int, err error) error {
	if err == nil {
		return nil
	}
	if _, bounds := errors.AsType[rangeError](err); !bounds || r.quarantine == nil || !r.quarantine[i] {
		r.misfit = misfit{}
		return err
	}
	if r.misfit.err == nil {
		r.misfit.err, r.misfit.column = err, i
	}
	r.misfit.inKey = r.misfit.inKey || slices.Contains(r.table.Key, i)
	return nil
}

// form is how a value is there.
type form uint8

const (
	unsent  form = iota // it is not
	coded               // in binary
	printed             // as text
)

// logged is the value of column i of a change.
func logged(row, old []pgoutput.Value, i int) ([]byte, form) {
	v := &row[i]
	if v.Kind == pgoutput.Unchanged && i < len(old) && old[i].Kind != pgoutput.Null {
		v = &old[i]
	}
	switch v.Kind {
	case pgoutput.Binary:
		return v.Data, coded
	case pgoutput.Text:
		return v.Data, printed
	case pgoutput.Unchanged:
		return nil, unsent
	default:
		return nil, coded
	}
}

// reject notes the row at hand, whose values field gives, where one of them does not fit.
func (r *rows) reject(field func(i int) ([]byte, form)) {
	m := r.misfit
	if m.err == nil {
		return
	}
	r.misfit = misfit{}
	col := r.table.Columns[m.column]
	out := &change.Reject{Column: col.Name, Type: col.Type, Reason: m.err.Error(), NoKey: m.inKey}
	for _, i := range r.table.Key {
		v, f := field(i)
		out.Key = append(out.Key, string(r.types[i].print(v, f)))
	}
	row := []byte{'{'}
	for i, c := range r.table.Columns {
		v, f := field(i)
		if f == unsent {
			out.Unsent = append(out.Unsent, c.Name)
			continue
		}
		if len(row) > 1 {
			row = append(row, ',')
		}
		row = append(appendJSONText(row, []byte(c.Name)), ':')
		if v = r.types[i].print(v, f); v == nil {
			row = append(row, "null"...)
		} else {
			row = appendJSONText(row, v)
		}
	}
	out.Row = append(row, '}')
	if r.rejects == nil {
		r.rejects = map[int]*change.Reject{}
	}
	r.rejects[r.len()] = out
}

// print is a value as PostgreSQL prints it, nil for NULL.
func (d *dataType) print(v []byte, f form) []byte {
	if v == nil || f != coded {
		return v
	}
	out, err := d.appendText([]byte{}, v)
	if err != nil { // it was decoded a moment ago
		return hex.AppendEncode([]byte(`\x`), v)
	}
	return out
}

// appendJSONText writes a JSON string, or, of what is not UTF-8, {"hex": "..."}.
func appendJSONText(dst, v []byte) []byte {
	if !utf8.Valid(v) {
		return append(hex.AppendEncode(append(dst, `{"hex":"`...), v), `"}`...)
	}
	return appendQuoted(dst, v)
}
