package postgres

import (
	"encoding/binary"
	"testing"

	"lakefeed/change"
)

// BenchmarkDecode decodes inserts of the 13 columns of a usual table, from the
// message's bytes to finished batches.
func BenchmarkDecode(b *testing.B) {
	kinds := []kind{int8, int4, text, numeric, numeric, text, int4, boolean, text, jsonb, float8, timestampTZ, timestampTZ}
	types := make([]dataType, len(kinds))
	t := &change.Table{Schema: "public", Name: "orders", Key: []int{0}, KeyKind: change.PrimaryKey}
	msg := []byte("I\x00\x00\x40\x00N\x00\x0d")
	for i, k := range kinds {
		types[i] = dataType{kind: k}
		if k == numeric {
			types[i].precision, types[i].scale = 12, 2
		}
		t.Columns = append(t.Columns, change.Column{Name: string(rune('a' + i)), Arrow: types[i].arrow()})
		v := cannedValue(k)
		msg = append(binary.BigEndian.AppendUint32(append(msg, 'b'), uint32(len(v))), v...)
	}
	s := &stream{open: true, relations: map[uint32]*relation{0x4000: {types: types, rows: newRows(t, types)}}}
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		if err := s.parser.Parse(msg); err != nil {
			b.Fatal(err)
		}
		if err := s.change(&s.parser); err != nil {
			b.Fatal(err)
		}
		s.tx.Index++
		if rows++; rows%32768 == 0 {
			s.take()
		}
	}
}

func cannedValue(k kind) []byte {
	switch k {
	case boolean:
		return []byte{1}
	case int4:
		return []byte{0, 1, 2, 3}
	case int8, float8, timestampTZ:
		return []byte{0, 2, 3, 4, 5, 6, 7, 8}
	case numeric: // 1234.5
		return []byte{0, 2, 0, 0, 0, 0, 0, 2, 0x04, 0xd2, 0x13, 0x88}
	case jsonb:
		return []byte("\x01" + `{"sku": "SKU-1234", "channel": "web", "tags": ["a1", "b2"]}`)
	default:
		return []byte("order note 0123456789abcdef")
	}
}
