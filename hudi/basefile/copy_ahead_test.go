package basefile

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lakefeed/hudi/internal/column"
)

// countedReads counts what is asked of a file.
type countedReads struct {
	io.ReaderAt
	reads int
	bytes int64
}

func (c *countedReads) ReadAt(into []byte, off int64) (int, error) {
	c.reads++
	c.bytes += int64(len(into))
	return c.ReaderAt.ReadAt(into, off)
}

// longPages is a file of one column whose pages are a little longer than a mebibyte, as Spark's
// are where values do not compress.
func longPages(t *testing.T, pages int) []byte {
	t.Helper()
	const value, perPage = 40 << 10, 26 // 1 MiB and 16 KiB
	b := array.NewBinaryBuilder(column.Allocator, arrow.BinaryTypes.Binary)
	defer b.Release()
	noise := rand.NewChaCha8([32]byte{1})
	for range pages * perPage {
		v := make([]byte, value)
		if _, err := noise.Read(v); err != nil {
			t.Fatal(err)
		}
		b.Append(v)
	}
	sc := arrow.NewSchema([]arrow.Field{{Name: "v", Type: arrow.BinaryTypes.Binary}}, nil)
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(sc, &out, parquet.NewWriterProperties(
		parquet.WithDictionaryDefault(false), parquet.WithStats(false), parquet.WithBatchSize(1), parquet.WithDataPageSize(1<<20)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	rows := array.NewRecordBatch(sc, []arrow.Array{b.NewArray()}, int64(pages*perPage))
	defer rows.Release()
	if err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestLongPagesAhead reads pages that are a little longer than what is read at a time: by no more
// requests than as many bytes of short pages, and each byte once.
func TestLongPagesAhead(t *testing.T) {
	t.Parallel()
	const pages = 20
	data := longPages(t, pages)
	if _, frames := pagesOf(t, data); len(frames) != pages || frames[0].size() <= readAheadBytes {
		t.Fatalf("%d pages, the first of %d bytes", len(frames), frames[0].size())
	}
	r := &countedReads{ReaderAt: bytes.NewReader(data)}
	if err := CheckPages(t.Context(), r, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	const footer = 3 // its length, itself, and what is between the rows and it
	if most := len(data)/readAheadBytes + 1 + footer; r.reads > most || r.bytes > int64(len(data))+footer<<10 {
		t.Errorf("%d requests of %d bytes for a file of %d, want %d requests at most", r.reads, r.bytes, len(data), most)
	}
}
