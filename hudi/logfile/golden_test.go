package logfile_test

import (
	"bytes"
	"errors"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/hudi/logfile"
	"lakefeed/hudi/schema"
	"lakefeed/internal/golden"
)

// goldenLogs calls each for every log file of the tables that Spark wrote.
func goldenLogs(t *testing.T, each func(t *testing.T, name string, data []byte)) {
	for _, table := range golden.Names(t) {
		t.Run(table, func(t *testing.T) {
			for name, data := range golden.Files(t, table) {
				base := path.Base(name)
				if strings.Contains(base, ".log.") && !strings.HasSuffix(base, ".crc") && !strings.Contains(base, ".marker") {
					each(t, base, data)
				}
			}
		})
	}
}

// Every block parses, and every Avro record comes out of our encoder as Spark wrote it.
func TestGoldenLogs(t *testing.T) {
	counts := map[logfile.BlockType]int{}
	records, deletes := 0, 0
	goldenLogs(t, func(t *testing.T, name string, data []byte) {
		n, err := logfile.ParseFileName(name)
		if err != nil || n.String() != name || n.Version < 1 {
			t.Errorf("name %q: %+v, %v", name, n, err)
		}
		r := logfile.NewReader(bytes.NewReader(data), int64(len(data)))
		end := int64(0)
		for {
			b, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			counts[b.Type]++
			if b.Offset != end || b.Instant() == "" {
				t.Errorf("%s: block at %d after %d, instant %q", name, b.Offset, end, b.Instant())
			}
			end = b.Offset + b.Len
			content, err := b.Content(nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			switch b.Type {
			case logfile.AvroData:
				records += checkRecords(t, name, b.Header[logfile.Schema], content)
			case logfile.Delete:
				keys, err := logfile.DecodeDeletes(content)
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				for _, k := range keys {
					if !k.Ordering.Natural() {
						t.Errorf("%s: delete of %q with ordering %+v", name, k.Key, k.Ordering)
					}
				}
				deletes += len(keys)
			case logfile.Command:
				if target, ok := b.RollbackTarget(); !ok || target == "" {
					t.Errorf("%s: command block %v", name, b.Header)
				}
			case logfile.Corrupt:
				t.Errorf("%s: corrupt block at %d", name, b.Offset)
			case logfile.HFileData, logfile.ParquetData, logfile.CDCData: // files of their own
			}
		}
	})
	t.Logf("blocks %v, %d records, %d deletes", counts, records, deletes)
	if counts[logfile.AvroData] == 0 || counts[logfile.Delete] == 0 || counts[logfile.Command] == 0 || counts[logfile.ParquetData] == 0 {
		t.Errorf("block types not seen: %v", counts)
	}
}

func checkRecords(t *testing.T, name, avro string, content []byte) int {
	t.Helper()
	sc, err := schema.ToArrow(avro)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	dec, err := logfile.NewDecoder(avro, sc)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, sc)
	defer b.Release()
	if err := dec.Decode(b, content); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	enc, err := logfile.NewEncoder(avro, sc)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var again []byte
	for row := range int(batch.NumRows()) {
		if again, err = enc.Append(again, batch, row); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if !bytes.Equal(again, content[8:]) {
		t.Errorf("%s: %d records encode otherwise", name, batch.NumRows())
	}
	scan, err := logfile.NewScanner(avro, schema.RecordKey, "seq")
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	keys := batch.Column(sc.FieldIndices(schema.RecordKey)[0]).(*array.String)
	row, values := 0, make([]logfile.Value, 2)
	for record, err := range logfile.Records(content) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := scan.Scan(record, values); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if string(values[0].Bytes) != keys.Value(row) {
			t.Errorf("%s: record %d: key %q, want %q", name, row, values[0].Bytes, keys.Value(row))
		}
		row++
	}
	return int(batch.NumRows())
}
