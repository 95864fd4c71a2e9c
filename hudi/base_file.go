package hudi

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/twmb/avro"

	"lakefeed/hudi/schema"
)

// What the footer of a base file says beside Parquet's own.
const (
	footerAvroSchema = "parquet.avro.schema"
	footerModel      = "writer.model.name"
	footerCalendar   = "org.apache.spark.version" // Spark reads dates before 1582 and times before 1900 only from files that say they are of 3.0 or later
	footerMinKey     = "hoodie_min_record_key"
	footerMaxKey     = "hoodie_max_record_key"
	footerBloom      = "org.apache.hudi.bloomfilter"
	footerBloomType  = "hoodie_bloom_filter_type_code"
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
	minKey, maxKey string // in the order of Java's strings
}

// baseWriter writes a base file: Parquet as Hudi's Avro writer lays it out, but for
// lists, which have three levels and may hold nulls. Decimals are fixed-size byte
// arrays whatever their precision: Hudi multiplies INT32 and INT64 ones by ten to
// their scale when it rewrites a file.
//
// Batches wait, not copied, until they make a row group.
type baseWriter struct {
	opts    baseOptions
	key     int // column of the record key
	sink    *countingWriter
	file    *pqarrow.FileWriter
	bloom   *bloom
	stats   baseStats
	pending []arrow.RecordBatch
	size    int64 // of pending, in bytes of Arrow data
}

// newBaseWriter begins a base file in w, which it does not close.
func newBaseWriter(w io.Writer, opts baseOptions) (*baseWriter, error) {
	if opts.rowGroupBytes == 0 {
		opts.rowGroupBytes = 16 << 20
	}
	key := opts.schema.FieldIndices(schema.RecordKey)
	if len(key) != 1 {
		return nil, fmt.Errorf("begin base file: no column %s", schema.RecordKey)
	}
	props, err := baseProperties(opts)
	if err != nil {
		return nil, fmt.Errorf("begin base file: %w", err)
	}
	sink := &countingWriter{w: w}
	file, err := pqarrow.NewFileWriter(arrow.NewSchema(opts.schema.Fields(), nil), sink, props, pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, fmt.Errorf("begin base file: %w", err)
	}
	return &baseWriter{opts: opts, key: key[0], sink: sink, file: file, bloom: newBloom(opts.expectedRows)}, nil
}

// baseProperties chooses encodings: dictionaries pay for the columns that hardly
// change within a file; for others hashing every value costs more than it saves.
func baseProperties(opts baseOptions) (*parquet.WriterProperties, error) {
	codecs := map[string]compress.Compression{
		"": compress.Codecs.Snappy, "snappy": compress.Codecs.Snappy, "zstd": compress.Codecs.Zstd,
		"gzip": compress.Codecs.Gzip, "none": compress.Codecs.Uncompressed,
	}
	codec, ok := codecs[opts.codec]
	if !ok {
		return nil, fmt.Errorf("codec %q: want snappy, zstd, gzip or none", opts.codec)
	}
	record, err := avro.Parse(opts.avroSchema)
	if err != nil {
		return nil, fmt.Errorf("parse schema: %w", err)
	}
	root := record.Root()
	return parquet.NewWriterProperties(
		parquet.WithRootName(strings.TrimPrefix(root.Namespace+"."+root.Name, ".")),
		parquet.WithRootRepetition(parquet.Repetitions.Required),
		parquet.WithCompression(codec),
		parquet.WithDictionaryDefault(false),
		parquet.WithDictionaryFor(schema.CommitTime, true),
		parquet.WithDictionaryFor(schema.PartitionPath, true),
		parquet.WithDictionaryFor(schema.FileName, true),
		parquet.WithMaxRowGroupLength(1<<31-1),
		parquet.WithAllocator(allocator),
	), nil
}

// write adds the rows of batch, whose columns are the schema's.
func (w *baseWriter) write(batch arrow.RecordBatch) error {
	if err := w.check(batch); err != nil {
		return fmt.Errorf("write base file: %w", err)
	}
	if batch.NumRows() == 0 {
		return nil
	}
	w.addKeys(batch.Column(w.key).(*array.String))
	size := arrowBytes(batch)
	parts := max(1, size/w.opts.rowGroupBytes) // of a batch that makes several row groups
	for i := range parts {
		part := batch.NewSlice(batch.NumRows()*i/parts, batch.NumRows()*(i+1)/parts)
		w.pending = append(w.pending, part)
		w.size += size / parts
		if w.size >= w.opts.rowGroupBytes {
			if err := w.flush(); err != nil {
				return fmt.Errorf("write base file: %w", err)
			}
		}
	}
	return nil
}

func (w *baseWriter) check(batch arrow.RecordBatch) error {
	if int(batch.NumCols()) != w.opts.schema.NumFields() {
		return fmt.Errorf("a batch of %d columns, want %d", batch.NumCols(), w.opts.schema.NumFields())
	}
	for i, f := range w.opts.schema.Fields() {
		col := batch.Column(i)
		if !arrow.TypeEqual(col.DataType(), f.Type) {
			return fmt.Errorf("column %s is %s, want %s", f.Name, col.DataType(), f.Type)
		}
		if col.NullN() > 0 && (!f.Nullable || i == w.key) {
			return fmt.Errorf("column %s is null in row %d", f.Name, firstNull(col))
		}
	}
	return nil
}

func (w *baseWriter) addKeys(keys *array.String) {
	for i := range keys.Len() {
		key := keys.Value(i)
		w.bloom.add(key)
		if w.stats.rows == 0 || javaLess(key, w.stats.minKey) {
			w.stats.minKey = strings.Clone(key)
		}
		if w.stats.rows == 0 || javaLess(w.stats.maxKey, key) {
			w.stats.maxKey = strings.Clone(key)
		}
		w.stats.rows++
	}
}

// javaLess orders texts by their UTF-16 units, as Java does. Bytes of UTF-8 say the
// same, but for characters beyond the first 65,536, which come before U+E000.
func javaLess(a, b string) bool {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x >= 0xee && y >= 0xee && (x >= 0xf0) != (y >= 0xf0) {
			return x > y
		}
		return x < y
	}
	return len(a) < len(b)
}

// flush writes what is pending as a row group.
func (w *baseWriter) flush() error {
	if len(w.pending) == 0 {
		return nil
	}
	if err := w.file.NewRowGroupChecked(); err != nil {
		return err
	}
	chunks := make([]arrow.Array, len(w.pending))
	for i, f := range w.opts.schema.Fields() {
		rows := int64(0)
		for j, batch := range w.pending {
			chunks[j] = batch.Column(i)
			rows += batch.NumRows()
		}
		column := arrow.NewChunked(chunks[0].DataType(), chunks)
		err := w.file.WriteColumnChunked(column, 0, rows)
		column.Release()
		if err != nil {
			return fmt.Errorf("column %s: %w", f.Name, err)
		}
	}
	for _, batch := range w.pending {
		batch.Release()
	}
	w.pending, w.size = w.pending[:0], 0
	return nil
}

// close writes what is buffered, and the footer.
func (w *baseWriter) close() (baseStats, error) {
	if err := w.flush(); err != nil {
		return baseStats{}, fmt.Errorf("write base file: %w", err)
	}
	entries := [][2]string{{footerAvroSchema, w.opts.avroSchema}, {footerModel, "avro"}, {footerCalendar, "3.5.0"}, {footerBloom, w.bloom.encode()}, {footerBloomType, "SIMPLE"}}
	if w.stats.rows > 0 {
		entries = append(entries, [2]string{footerMinKey, w.stats.minKey}, [2]string{footerMaxKey, w.stats.maxKey})
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, w.file.AppendKeyValueMetadata(e[0], e[1]))
	}
	if err := errors.Join(append(errs, w.file.Close())...); err != nil {
		return baseStats{}, fmt.Errorf("end base file: %w", err)
	}
	w.stats.bytes = w.sink.n
	return w.stats, nil
}

// countingWriter counts, and hides from the Parquet writer that w could be closed.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// arrowBytes is how much memory the batch's rows take, whatever they are a slice of.
func arrowBytes(batch arrow.RecordBatch) int64 {
	var n int64
	for _, col := range batch.Columns() {
		n += columnBytes(col)
	}
	return n
}

func columnBytes(col arrow.Array) int64 {
	rows := int64(col.Len())
	switch col := col.(type) {
	case array.BinaryLike:
		return rows*4 + int64(len(col.ValueBytes()))
	case *array.Struct:
		n := int64(0)
		for i := range col.NumField() {
			n += columnBytes(col.Field(i))
		}
		return n
	case array.ListLike:
		if rows == 0 {
			return 0
		}
		from, _ := col.ValueOffsets(0)
		_, to := col.ValueOffsets(int(rows) - 1)
		values := array.NewSlice(col.ListValues(), from, to)
		defer values.Release()
		return rows*4 + columnBytes(values)
	}
	if t, ok := col.DataType().(arrow.FixedWidthDataType); ok {
		return rows * int64(t.BitWidth()) / 8
	}
	return rows
}
