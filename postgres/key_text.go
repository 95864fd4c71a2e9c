package postgres

import (
	"encoding/binary"
	"fmt"

	"lakefeed/change"
	"lakefeed/postgres/pgoutput"
)

// keyText is the key of a row, for people: "a = 1, b = x". field gives the value of a
// column, nil for one that is not known, and says whether it is text or binary.
func keyText(t *change.Table, types []dataType, field func(i int) (v []byte, coded bool)) string {
	var b []byte
	for n, i := range t.Key {
		if n > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, t.Columns[i].Name...), " = "...)
		v, coded := field(i)
		if v != nil && coded {
			v = binaryText(v, &types[i])
		}
		if v == nil {
			v = []byte("?")
		}
		b = append(b, v...)
	}
	return string(b)
}

// binaryText is a binary value as PostgreSQL prints it; nil where it cannot be read.
func binaryText(v []byte, d *dataType) []byte {
	text, err := d.appendText([]byte{}, v)
	if err != nil {
		return nil
	}
	return text
}

// keyText is the key of a change's row; that of a table without a key is its place in the log.
func (r *rows) keyText(s stamp, row, old []pgoutput.Value) string {
	if r.keys != nil {
		return fmt.Sprintf("change %d of the transaction %d that commits at %s", s.Index+1, s.xid, s.Commit)
	}
	return keyText(r.table, r.types, func(i int) ([]byte, bool) {
		v := &row[i]
		if v.Kind == pgoutput.Unchanged && i < len(old) {
			v = &old[i]
		}
		switch v.Kind {
		case pgoutput.Binary, pgoutput.Text:
			return v.Data, v.Kind == pgoutput.Binary
		default:
			return nil, false
		}
	})
}

// keyText is the key of the row at hand; that of a table without a key is where it lies.
func (cp *copier) keyText(fields [][]byte, table, ctid []byte) string {
	if cp.rows.keys != nil {
		return fmt.Sprintf("tableoid = %d, ctid = (%d,%d)", binary.BigEndian.Uint32(table), binary.BigEndian.Uint32(ctid), binary.BigEndian.Uint16(ctid[4:]))
	}
	return keyText(cp.rows.table, cp.types, func(i int) ([]byte, bool) { return fields[i], cp.types[i].native() })
}
