package hudi

import (
	"io"

	"github.com/apache/arrow-go/v18/arrow"
)

// baseOptions says how a base file is written.
type baseOptions struct {
	avroSchema    string        // of the records, with the meta columns; kept in the footer
	schema        *arrow.Schema // of the batches, with the meta columns
	codec         string        // snappy (the default), zstd, gzip or none
	expectedRows  int64         // 0: not known
	rowGroupBytes int64         // of Arrow data in a row group; 0: 16 MiB
}

// baseStats is what a base file holds.
type baseStats struct {
	rows, bytes    int64
	minKey, maxKey string
}

// baseWriter writes a base file: Parquet in the style of Hudi's Avro writer.
type baseWriter struct{}

// newBaseWriter begins a base file in w, which it does not close.
func newBaseWriter(w io.Writer, opts baseOptions) (*baseWriter, error) { return nil, nil }

// write adds the rows of batch, whose columns are the schema's.
func (w *baseWriter) write(batch arrow.RecordBatch) error { return nil }

// close writes what is buffered, and the footer.
func (w *baseWriter) close() (baseStats, error) { return baseStats{}, nil }

// baseReader reads a base file in batches.
type baseReader struct{}

// openBaseReader opens a base file for the columns of schema: by name, in its order
// and types; what the file lacks is null. A nil schema means the file's own.
func openBaseReader(r io.ReaderAt, size int64, schema *arrow.Schema) (*baseReader, error) {
	return nil, nil
}

// next returns the next batch, to be released by the caller, or io.EOF.
func (r *baseReader) next() (arrow.RecordBatch, error) { return nil, io.EOF }

// close lets go of the reader's buffers, not of the file.
func (r *baseReader) close() error { return nil }
