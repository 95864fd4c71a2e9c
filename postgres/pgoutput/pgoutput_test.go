package pgoutput_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"lakefeed/postgres/pgoutput"
)

// msg joins the parts of a message: strings and bytes as they are, numbers big-endian.
func msg(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		case byte:
			b = append(b, p)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, p)
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(p))
		case uint64:
			b = binary.BigEndian.AppendUint64(b, p)
		default:
			panic(fmt.Sprintf("part %T", p))
		}
	}
	return b
}

var good = map[string][]byte{
	"begin":    msg("B", uint64(0x1_0000_0010), uint64(7), 771),
	"commit":   msg("C", byte(0), uint64(0x10), uint64(0x40), uint64(7)),
	"origin":   msg("O", uint64(0x99), "peer\x00"),
	"relation": msg("R", 16400, "public\x00", "orders\x00", "d", uint16(2), byte(1), "id\x00", 20, -1, byte(0), "note\x00", 25, -1),
	"type":     msg("Y", 16500, "public\x00", "mood\x00"),
	"insert":   msg("I", 16400, "N", uint16(3), "t", 2, "17", "n", "b", 4, 17),
	"update":   msg("U", 16400, "N", uint16(2), "t", 2, "17", "u"),
	"update k": msg("U", 16400, "K", uint16(2), "t", 2, "16", "n", "N", uint16(2), "t", 2, "17", "u"),
	"update o": msg("U", 16400, "O", uint16(1), "t", 2, "16", "N", uint16(1), "t", 0),
	"delete":   msg("D", 16400, "K", uint16(2), "t", 2, "16", "n"),
	"truncate": msg("T", 2, byte(3), 16400, 16401),
	"message":  msg("M", byte(1), uint64(0x77), "lakefeed\x00", 5, "hello"),
	"start":    msg("S", 771, byte(1)),
	"stop":     msg("E"),
	"end":      msg("c", 771, byte(0), uint64(0x10), uint64(0x40), uint64(7)),
	"abort":    msg("A", 771, 772),
}

func TestParse(t *testing.T) {
	text := func(s string) pgoutput.Value { return pgoutput.Value{Kind: pgoutput.Text, Data: []byte(s)} }
	null, unchanged := pgoutput.Value{Kind: pgoutput.Null}, pgoutput.Value{Kind: pgoutput.Unchanged}
	want := map[string]pgoutput.Message{
		"begin":  {Kind: pgoutput.Begin, LSN: 0x1_0000_0010, Time: 7, Xid: 771},
		"commit": {Kind: pgoutput.Commit, LSN: 0x10, EndLSN: 0x40, Time: 7},
		"origin": {Kind: pgoutput.Origin, LSN: 0x99, Prefix: "peer"},
		"relation": {Kind: pgoutput.Relation, Relation: pgoutput.RelationInfo{
			ID: 16400, Namespace: "public", Name: "orders", Identity: 'd',
			Columns: []pgoutput.Column{{Key: true, Name: "id", TypeID: 20, Modifier: -1}, {Name: "note", TypeID: 25, Modifier: -1}},
		}},
		"type":     {Kind: pgoutput.Type, Type: pgoutput.TypeInfo{ID: 16500, Namespace: "public", Name: "mood"}},
		"insert":   {Kind: pgoutput.Insert, RelationID: 16400, New: []pgoutput.Value{text("17"), null, {Kind: pgoutput.Binary, Data: []byte{0, 0, 0, 17}}}},
		"update":   {Kind: pgoutput.Update, RelationID: 16400, New: []pgoutput.Value{text("17"), unchanged}},
		"update k": {Kind: pgoutput.Update, RelationID: 16400, OldKind: pgoutput.OldKey, Old: []pgoutput.Value{text("16"), null}, New: []pgoutput.Value{text("17"), unchanged}},
		"update o": {Kind: pgoutput.Update, RelationID: 16400, OldKind: pgoutput.OldRow, Old: []pgoutput.Value{text("16")}, New: []pgoutput.Value{text("")}},
		"delete":   {Kind: pgoutput.Delete, RelationID: 16400, OldKind: pgoutput.OldKey, Old: []pgoutput.Value{text("16"), null}},
		"truncate": {Kind: pgoutput.Truncate, Flags: pgoutput.TruncateCascade | pgoutput.TruncateRestart, Relations: []uint32{16400, 16401}},
		"message":  {Kind: pgoutput.Logical, Flags: pgoutput.Transactional, LSN: 0x77, Prefix: "lakefeed", Content: []byte("hello")},
		"start":    {Kind: pgoutput.StreamStart, Xid: 771, Flags: 1},
		"stop":     {Kind: pgoutput.StreamStop},
		"end":      {Kind: pgoutput.StreamCommit, Xid: 771, LSN: 0x10, EndLSN: 0x40, Time: 7},
		"abort":    {Kind: pgoutput.StreamAbort, Xid: 771, SubXid: 772},
	}
	for name, b := range good {
		var m pgoutput.Message
		if err := m.Parse(b); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if w := want[name]; !reflect.DeepEqual(m, w) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, m, w)
		}
	}
}

// streamed is a message as it stands in a streamed transaction.
func streamed(xid int, b []byte) []byte { return append(msg(string(b[:1]), xid), b[1:]...) }

// TestParseStreamed: every kind of a streamed transaction reads as it does outside, and has its transaction's id.
func TestParseStreamed(t *testing.T) {
	for name, b := range good {
		var want, m pgoutput.Message
		if err := want.Parse(b); err != nil {
			t.Fatal(err)
		}
		long := streamed(900, b)
		err := m.ParseStreamed(long)
		if !strings.ContainsRune("RYIUDTM", rune(want.Kind)) {
			if _, ok := errors.AsType[*pgoutput.ParseError](err); !ok {
				t.Errorf("%s within a streamed transaction: %v", name, err)
			}
			continue
		}
		want.Xid = 900
		if err != nil || !reflect.DeepEqual(m, want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", name, m, err, want)
		}
		if kind, xid, err := pgoutput.StreamedXid(long); kind != m.Kind || xid != 900 || err != nil {
			t.Errorf("%s is a %q of %d, %v", name, kind, xid, err)
		}
		for n := range long {
			if err := m.ParseStreamed(long[:n]); err == nil {
				t.Errorf("%s: no error for its first %d bytes", name, n)
			}
		}
		if _, _, err := pgoutput.StreamedXid(long[:4]); err == nil {
			t.Errorf("%s: a transaction's id of 3 bytes", name)
		}
	}
}

// TestParseAbort: the longer form of version 4.
func TestParseAbort(t *testing.T) {
	m := pgoutput.Message{LSN: 1, Time: 2}
	if err := m.Parse(good["abort"]); err != nil || m.LSN != 0 || m.Time != 0 {
		t.Errorf("got %+v, %v", m, err)
	}
	if err := m.Parse(append(good["abort"], msg(uint64(0x55), uint64(8))...)); err != nil || m.LSN != 0x55 || m.Time != 8 {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestParseFaults(t *testing.T) {
	for name, c := range map[string]struct {
		in     []byte
		offset int
		what   string
	}{
		"empty":             {nil, 0, "ends early"},
		"unknown":           {msg("Z"), 0, "unknown kind"},
		"left over":         {msg("T", 0, byte(0), "x"), 6, "behind the end"},
		"no new row":        {msg("I", 1, "K", uint16(0)), 5, "want N"},
		"no old row":        {msg("D", 1, "N", uint16(0)), 5, "K or O"},
		"update of nothing": {msg("U", 1, "K", uint16(0), "K"), 8, "the new row"},
		"kind of value":     {msg("I", 1, "N", uint16(1), "x"), 8, "kind of value"},
		"negative length":   {msg("I", 1, "N", uint16(1), "t", -2), 9, "negative"},
		"long length":       {msg("I", 1, "N", uint16(1), "t", 9, "short"), 13, "ends early"},
		"open text":         {msg("R", 1, "public"), 5, "without its end"},
	} {
		var m pgoutput.Message
		err := m.Parse(c.in)
		pe, ok := errors.AsType[*pgoutput.ParseError](err)
		if !ok {
			t.Errorf("%s: got %v, want a ParseError", name, err)
		} else if pe.Offset != c.offset || !strings.Contains(pe.What, c.what) {
			t.Errorf("%s: got %v, want %q at byte %d", name, err, c.what, c.offset)
		}
	}
	for name, b := range good { // every message that is cut short
		for n := range b {
			var m pgoutput.Message
			if err := m.Parse(b[:n]); err == nil {
				t.Errorf("%s: no error for its first %d bytes", name, n)
			}
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	var m pgoutput.Message
	n := testing.AllocsPerRun(100, func() {
		for _, name := range []string{"begin", "insert", "update k", "delete", "truncate", "commit", "start", "stop", "end", "abort"} {
			if err := m.Parse(good[name]); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range good {
		f.Add(b)
		f.Add(streamed(900, b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m pgoutput.Message
		_, xid, short := pgoutput.StreamedXid(b)
		streamed := m.ParseStreamed(b)
		if streamed == nil && (short != nil || m.Xid != xid) {
			t.Fatalf("of transaction %d, %d: %v", m.Xid, xid, short)
		}
		for _, err := range []error{streamed, short, m.Parse(b)} {
			var pe *pgoutput.ParseError
			if err != nil && (!errors.As(err, &pe) || pe.Offset > len(b) || pe.Offset < 0) {
				t.Fatalf("got %v for %d bytes", err, len(b))
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	row := msg("I", 16400, "N", uint16(13))
	for range 13 {
		row = append(row, msg("b", 8, uint64(1))...)
	}
	b.SetBytes(int64(len(row)))
	var m pgoutput.Message
	for b.Loop() {
		if err := m.Parse(row); err != nil {
			b.Fatal(err)
		}
	}
}

func Example() {
	var m pgoutput.Message
	data := []byte("I\x00\x00\x40\x10N\x00\x02t\x00\x00\x00\x0217n") // from an XLogData frame
	if err := m.Parse(data); err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range m.New {
		fmt.Printf("%c %q\n", v.Kind, v.Data)
	}
	// Output:
	// t "17"
	// n ""
}
