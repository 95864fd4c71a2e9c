package logfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"lakefeed/hudi/logfile"
)

const tinySchema = `{"type":"record","name":"t","fields":[{"name":"id","type":"long"}]}`

var header = logfile.Header{Instant: "20260101000000000", Schema: tinySchema}

// tinyLog is a log file of a data, a delete and a rollback block, and where they begin.
func tinyLog(t testing.TB) (data []byte, offsets []int64) {
	t.Helper()
	var b bytes.Buffer
	w := logfile.NewWriter(&b)
	for _, write := range []func() error{
		func() error { return w.Data(header, []byte{0, 0, 0, 1, 14, 0, 0, 0, 1, 16}, 2) },
		func() error {
			return w.Delete(header, []logfile.DeleteKey{{Key: "7"}, {Key: "a:1,b:ü", Partition: "day=1"}})
		},
		func() error { return w.Rollback(logfile.Header{Instant: "20260101000000002"}, header.Instant) },
	} {
		offsets = append(offsets, w.Written())
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	if w.Written() != int64(b.Len()) {
		t.Errorf("Written() = %d of %d bytes", w.Written(), b.Len())
	}
	return b.Bytes(), append(offsets, int64(b.Len()))
}

func blocks(t testing.TB, data []byte) []*logfile.Block {
	t.Helper()
	var all []*logfile.Block
	r := logfile.NewReader(bytes.NewReader(data), int64(len(data)))
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
}

func types(bs []*logfile.Block) []logfile.BlockType {
	var ts []logfile.BlockType
	for _, b := range bs {
		ts = append(ts, b.Type)
	}
	return ts
}

func TestWriterAndReader(t *testing.T) {
	data, offsets := tinyLog(t)
	bs := blocks(t, data)
	if got, want := types(bs), []logfile.BlockType{logfile.AvroData, logfile.Delete, logfile.Command}; !slices.Equal(got, want) {
		t.Fatalf("blocks %v, want %v", got, want)
	}
	content, err := bs[0].Content(nil)
	if err != nil {
		t.Fatal(err)
	}
	var records [][]byte
	for r, err := range logfile.Records(content) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	if len(records) != 2 || !bytes.Equal(records[1], []byte{16}) || bs[0].Header[logfile.Schema] != tinySchema {
		t.Errorf("records %v, header %v", records, bs[0].Header)
	}
	content, err = bs[1].Content(content)
	if err != nil {
		t.Fatal(err)
	}
	deletes, err := logfile.DecodeDeletes(content)
	if err != nil {
		t.Fatal(err)
	}
	if len(deletes) != 2 || deletes[1].DeleteKey != (logfile.DeleteKey{Key: "a:1,b:ü", Partition: "day=1"}) || !deletes[1].Ordering.Natural() {
		t.Errorf("deletes %+v", deletes)
	}
	if target, ok := bs[2].RollbackTarget(); !ok || target != header.Instant || bs[2].Instant() != "20260101000000002" {
		t.Errorf("rollback of %q, %v: %v", target, ok, bs[2].Header)
	}
	if size := offsets[3] - offsets[2]; size != 105 {
		t.Errorf("a rollback block has %d bytes, Hudi's 105", size)
	}
}

// The bytes of a delete block as Spark writes it.
func TestDeleteBytes(t *testing.T) {
	var b bytes.Buffer
	if err := logfile.NewWriter(&b).Delete(header, []logfile.DeleteKey{{Key: "7"}}); err != nil {
		t.Fatal(err)
	}
	content, err := blocks(t, b.Bytes())[0].Content(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{0, 0, 0, 3, 0, 0, 0, 9, 2, 2, 2, '7', 2, 0, 4, 0, 0}
	if !bytes.Equal(content, want) {
		t.Errorf("content % x, want % x", content, want)
	}
}

func TestDamagedFiles(t *testing.T) {
	data, at := tinyLog(t)
	const d, x, c, corrupt = logfile.AvroData, logfile.Delete, logfile.Command, logfile.Corrupt
	patch := func(off int64, with ...byte) []byte {
		out := slices.Clone(data)
		copy(out[off:], with)
		return out
	}
	tests := []struct {
		name string
		data []byte
		want []logfile.BlockType
	}{
		{"empty", nil, nil},
		{"not a log", []byte("PAR1 and so on"), []logfile.BlockType{corrupt}},
		{"torn last block", data[:at[3]-1], []logfile.BlockType{d, x, corrupt}},
		{"torn to its magic", data[:at[2]+6], []logfile.BlockType{d, x, corrupt}},
		{"torn within its magic", data[:at[2]+3], []logfile.BlockType{d, x, corrupt}},
		{"torn block, another after it", slices.Concat(data[:at[1]-5], data[at[1]:]), []logfile.BlockType{corrupt, x, c}},
		{"wrong length", patch(at[1]+13, 0xff), []logfile.BlockType{d, corrupt, c}},
		{"huge length", patch(at[1]+6, 0x7f), []logfile.BlockType{d, corrupt, c}},
		{"negative length", patch(at[1]+6, 0xff), []logfile.BlockType{d, corrupt, c}},
		{"wrong trailing length", patch(at[2]-1, 0), []logfile.BlockType{d, corrupt, c}},
		{"huge header", patch(at[1]+22, 0x7f), []logfile.BlockType{d, corrupt, c}},
		{"gap between blocks", slices.Concat(data[:at[1]], []byte("noise"), data[at[1]:]), []logfile.BlockType{corrupt, x, c}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bs := blocks(t, tt.data)
			if got := types(bs); !slices.Equal(got, tt.want) {
				t.Errorf("blocks %v, want %v", got, tt.want)
			}
			end := int64(0)
			for _, b := range bs {
				if b.Offset != end {
					t.Errorf("block at %d after %d", b.Offset, end)
				}
				end = b.Offset + b.Len
			}
			if end != int64(len(tt.data)) {
				t.Errorf("blocks end at %d of %d", end, len(tt.data))
			}
		})
	}
}

func TestUnknownFormatVersion(t *testing.T) {
	data, _ := tinyLog(t)
	data[17] = 9
	_, err := logfile.NewReader(bytes.NewReader(data), int64(len(data))).Next()
	if err == nil || !strings.Contains(err.Error(), "log format version 9") {
		t.Errorf("error %v", err)
	}
}

// failing is a file whose storage is out of order.
type failing struct{ io.ReaderAt }

var errStorage = errors.New("storage out of order")

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errStorage }

func TestReadErrorIsNotDamage(t *testing.T) {
	if _, err := logfile.NewReader(failing{}, 1000).Next(); !errors.Is(err, errStorage) {
		t.Errorf("error %v, want %v", err, errStorage)
	}
}

func TestDecodeDeletes(t *testing.T) {
	block := func(version, n uint32, datum ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, version), n), datum...)
	}
	for want, content := range map[string][]byte{
		"of a Hudi before 0.14":      block(2, 0),
		"version 4 is not known":     block(4, 0),
		"3 bytes":                    {0, 0, 3},
		"record ends within a value": block(3, 5, 2, 2, 2, '7', 2),
		"ordering value of kind 13":  block(3, 8, 2, 2, 2, '7', 0, 26, 0, 0),
		"branch 2 of a union of two": block(3, 8, 2, 2, 2, '7', 0, 24, 4, 0),
	} {
		if _, err := logfile.DecodeDeletes(content); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("% x: error %v, want %q", content, err, want)
		}
	}
	got, err := logfile.DecodeDeletes(block(3, 8, 2, 2, 2, '7', 0, 6, 59, 0)) // LongWrapper(-30)
	if err != nil || len(got) != 1 || got[0].Ordering.Kind != logfile.LongOrdering || got[0].Ordering.Int != -30 || got[0].Ordering.Natural() {
		t.Errorf("%+v, %v", got, err)
	}
	// ArrayWrapper [LongWrapper(-30), StringWrapper("x"), null, LocalDateWrapper(1)]
	got, err = logfile.DecodeDeletes(block(3, 18, 2, 2, 2, '7', 0, 24, 2, 8, 6, 59, 14, 2, 'x', 0, 24, 2, 0, 0))
	if err != nil || len(got) != 1 || got[0].Ordering.Kind != logfile.ArrayOrdering || len(got[0].Ordering.Items) != 4 ||
		got[0].Ordering.Items[0].Int != -30 || string(got[0].Ordering.Items[1].Bytes) != "x" ||
		got[0].Ordering.Items[2].Kind != logfile.NoOrdering || got[0].Ordering.Items[3].Kind != logfile.DateOrdering {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := logfile.DecodeDeletes(block(3, 1, 0)); err != nil || len(got) != 0 {
		t.Errorf("an empty block: %+v, %v", got, err)
	}
}

func TestFileName(t *testing.T) {
	name := logfile.FileName("00000001-b6f3-4013-9049-d52f615fb82a-0", "20261122020919254", 12, "2-611-677")
	if want := ".00000001-b6f3-4013-9049-d52f615fb82a-0_20261122020919254.log.12_2-611-677"; name != want {
		t.Errorf("%s, want %s", name, want)
	}
	for _, ok := range []string{name, ".f_1.log.1", ".files-0000-0_00000000000000010.log.1_0-0-0", ".f_1.log.3_1-0-1.cdc"} {
		if n, err := logfile.ParseFileName(ok); err != nil || n.String() != ok {
			t.Errorf("%q: %+v, %v", ok, n, err)
		}
	}
	for _, bad := range []string{"", "f_1.log.1_1-0-1", ".f_1.log.x_1-0-1", ".f_1.log.1_a-b-c", ".f_1.log.1_1-0-1.crc", ".f_1.log.99999999999999999999_1-0-1", ".f.log.1"} {
		if n, err := logfile.ParseFileName(bad); err == nil {
			t.Errorf("%q: %+v, no error", bad, n)
		}
	}
}

func TestNamesOfTypes(t *testing.T) {
	if got := logfile.Corrupt.String() + ", " + logfile.BlockType(77).String(); got != "corrupt, block type 77" {
		t.Error(got)
	}
}

// A reader neither panics nor loses or repeats a byte, whatever the file.
func FuzzReader(f *testing.F) {
	data, at := tinyLog(f)
	f.Add(data)
	f.Add(data[:at[2]+30])
	f.Fuzz(func(t *testing.T, data []byte) {
		r := logfile.NewReader(bytes.NewReader(data), int64(len(data)))
		end := int64(0)
		for {
			b, err := r.Next()
			if err != nil {
				if errors.Is(err, io.EOF) && end != int64(len(data)) {
					t.Errorf("end at %d of %d", end, len(data))
				}
				return
			}
			if b.Offset != end || b.Len < 1 {
				t.Fatalf("block at %d of %d bytes after %d", b.Offset, b.Len, end)
			}
			end += b.Len
			content, err := b.Content(nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = logfile.DecodeDeletes(content) // must not panic
		}
	})
}
