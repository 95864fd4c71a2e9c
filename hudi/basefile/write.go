package basefile

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/twmb/avro"

	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/schema"
	"lakefeed/internal/arrowsize"
)

// What the footer of a base file says beside Parquet's own.
const (
	FooterAvroSchema = "parquet.avro.schema"
	footerModel      = "writer.model.name"
	footerCalendar   = "org.apache.spark.version" // Spark reads dates before 1582 and times before 1900 only from files that say they are of 3.0 or later
	footerMinKey     = "hoodie_min_record_key"
	footerMaxKey     = "hoodie_max_record_key"
	footerBloom      = "org.apache.hudi.bloomfilter"
	footerBloomType  = "hoodie_bloom_filter_type_code"
)

// WriterOptions says how a base file is written.
type WriterOptions struct {
	AvroSchema    string        // of the records, with the meta columns; kept in the footer
	Schema        *arrow.Schema // of the batches, with the meta columns
	Codec         string        // snappy (the default), zstd, gzip or none
	ExpectedRows  int64         // 0: not known
	Unfiltered    bool          // the Bloom filter says "perhaps" to every key: where hashes say in which file a key is, nobody asks it
	RowGroupBytes int64         // of Arrow data in a row group; 0: 16 MiB
	PageBytes     int64         // of a page before compression; 0: 64 KiB
}

// Stats is what a base file holds.
type Stats struct {
	Rows, Bytes    int64
	MinKey, MaxKey string // in the order of Java's strings
}

// Writer writes a base file: Parquet as Hudi's Avro writer lays it out, but for
// lists, which have three levels and may hold nulls. Decimals are fixed-size byte
// arrays whatever their precision: Hudi multiplies INT32 and INT64 ones by ten to
// their scale when it rewrites a file.
//
// Batches wait, not copied, until they make a row group.
type Writer struct {
	opts    WriterOptions
	key     int // column of the record key
	file    int // column of the file's name, -1 if there is none
	codec   compress.Compression
	root    string // name of the schema
	sink    *countingWriter
	out     *parquetWriter
	leaves  []leaf
	bloom   *bloom
	stats   Stats
	hasKeys bool // stats have a range of keys
	pending []arrow.RecordBatch
	held    int64 // of pending, in bytes of Arrow data
}

// Format is what base files of one schema have in common. Making it costs what some
// thousand rows do. It may be used by several goroutines.
type Format struct {
	like Writer // that every writer begins as; nobody writes to what they share
	meta parquetMeta
}

// NewFormat checks the options, and learns from an empty file what Arrow makes of the schema.
func NewFormat(opts WriterOptions) (*Format, error) {
	if opts.RowGroupBytes == 0 {
		opts.RowGroupBytes = 16 << 20
	}
	if opts.PageBytes == 0 {
		opts.PageBytes = defaultPageBytes
	}
	key := opts.Schema.FieldIndices(schema.RecordKey)
	if len(key) != 1 || opts.Schema.Field(key[0]).Type.ID() != arrow.STRING {
		return nil, fmt.Errorf("begin base file: no text column %s", schema.RecordKey)
	}
	f := &Format{like: Writer{opts: opts, key: key[0], file: -1}}
	if name := opts.Schema.FieldIndices(schema.FileName); len(name) == 1 {
		f.like.file = name[0]
	}
	if err := f.learn(); err != nil {
		return nil, fmt.Errorf("begin base file: %w", err)
	}
	return f, nil
}

func (f *Format) learn() error {
	codecs := map[string]compress.Compression{
		"": compress.Codecs.Snappy, "snappy": compress.Codecs.Snappy, "zstd": compress.Codecs.Zstd,
		"gzip": compress.Codecs.Gzip, "none": compress.Codecs.Uncompressed,
	}
	w := &f.like
	codec, ok := codecs[w.opts.Codec]
	if !ok {
		return fmt.Errorf("codec %q: want snappy, zstd, gzip or none", w.opts.Codec)
	}
	record, err := avro.Parse(w.opts.AvroSchema)
	if err != nil {
		return fmt.Errorf("parse schema: %w", err)
	}
	root := record.Root()
	w.codec, w.root = codec, strings.TrimPrefix(root.Namespace+"."+root.Name, ".")
	empty, err := w.encode(nil, w.properties(0, 0))
	if err != nil {
		return err
	}
	w.leaves, f.meta = empty.leaves, empty.meta
	return nil
}

// NewWriter begins a base file in dst, which it does not close.
func (f *Format) NewWriter(dst io.Writer) (*Writer, error) {
	w := f.like
	w.sink, w.bloom = &countingWriter{w: dst}, newBloom(w.opts.ExpectedRows, w.opts.Unfiltered)
	var err error
	if w.out, err = newParquetWriter(w.sink, &f.meta); err != nil {
		return nil, fmt.Errorf("begin base file: %w", err)
	}
	return &w, nil
}

// NewWriter is [Format.NewWriter] of a format that one file has.
func NewWriter(dst io.Writer, opts WriterOptions) (*Writer, error) {
	f, err := NewFormat(opts)
	if err != nil {
		return nil, err
	}
	return f.NewWriter(dst)
}

// defaultPageBytes is how large a page is before compression: who looks for a row of wide
// columns reads one page, and a changed row costs the encoding of one.
const defaultPageBytes = 64 << 10

// properties choose encodings: dictionaries pay for the columns that hardly change
// within a file; for others hashing every value costs more than it saves. The widest
// column takes that many bytes in so many rows.
func (w *Writer) properties(rows, bytes int64) *parquet.WriterProperties {
	props := w.plainProperties(rows, bytes)
	for i := range w.leaves {
		if l := &w.leaves[i]; l.maxRep > 0 {
			props = append(props, parquet.WithStatsFor(l.path, false)) // Arrow's bounds of these are wrong at times
		}
	}
	return parquet.NewWriterProperties(append(props,
		parquet.WithCompression(w.codec),
		parquet.WithDictionaryFor(schema.CommitTime, true),
		parquet.WithDictionaryFor(schema.PartitionPath, true),
		parquet.WithDictionaryFor(schema.FileName, true),
		parquet.WithPageIndexEnabled(true),
	)...)
}

// plainProperties are those of rows that will be spliced into pages.
func (w *Writer) plainProperties(rows, bytes int64) []parquet.WriterProperty {
	return []parquet.WriterProperty{
		parquet.WithRootName(w.root),
		parquet.WithCreatedBy(createdBy),
		parquet.WithRootRepetition(parquet.Repetitions.Required),
		parquet.WithDictionaryDefault(false),
		parquet.WithDataPageSize(w.opts.PageBytes),
		parquet.WithBatchSize(min(max(w.opts.PageBytes*rows/max(bytes, 1), 1), 1024)), // after which the size of a page is looked at
		parquet.WithMaxRowGroupLength(1<<31 - 1),
		parquet.WithAllocator(column.Allocator),
	}
}

// encode makes a Parquet file of one row group in memory.
func (w *Writer) encode(batches []arrow.RecordBatch, props *parquet.WriterProperties) (*File, error) {
	var data bytes.Buffer
	data.Grow(int(w.held / 4)) // most columns shrink to less
	file, err := pqarrow.NewFileWriter(arrow.NewSchema(w.opts.Schema.Fields(), nil), &data, props, pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, err
	}
	if len(batches) > 0 {
		if err := file.NewRowGroupChecked(); err != nil {
			return nil, err
		}
		for i, f := range w.opts.Schema.Fields() {
			if err := writeColumn(file, batches, i); err != nil {
				return nil, fmt.Errorf("column %s: %w", f.Name, err)
			}
		}
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return openMade(data.Bytes())
}

// encodePlain is encode for rows that will be spliced into pages.
func (w *Writer) encodePlain(rows arrow.RecordBatch) (*File, error) {
	batches := []arrow.RecordBatch{rows}
	n, widest := measure(batches)
	return w.encode(batches, parquet.NewWriterProperties(append(w.plainProperties(n, widest), parquet.WithStats(false))...))
}

func writeColumn(file *pqarrow.FileWriter, batches []arrow.RecordBatch, i int) error {
	chunks := make([]arrow.Array, len(batches))
	rows := int64(0)
	for j, batch := range batches {
		chunks[j] = backed(batch.Column(i))
		defer chunks[j].Release()
		rows += batch.NumRows()
	}
	column := arrow.NewChunked(chunks[0].DataType(), chunks)
	defer column.Release()
	return file.WriteColumnChunked(column, 0, rows)
}

// Write adds the rows of batch, whose columns are the schema's.
func (w *Writer) Write(batch arrow.RecordBatch) error {
	if err := w.check(batch); err != nil {
		return fmt.Errorf("write base file: %w", err)
	}
	if batch.NumRows() == 0 {
		return nil
	}
	w.addKeys(batch.Column(w.key).(*array.String))
	return w.add(batch)
}

// WriteMoved adds rows of another file; only what they say of their file changes, to name.
func (w *Writer) WriteMoved(batch arrow.RecordBatch, name string) error {
	moved := w.moved(batch, name)
	defer moved.Release()
	return w.Write(moved)
}

// moved is batch as rows of a file of that name, to be released by the caller.
func (w *Writer) moved(batch arrow.RecordBatch, name string) arrow.RecordBatch {
	if w.file < 0 {
		batch.Retain()
		return batch
	}
	names := column.Repeat(name, int(batch.NumRows()))
	defer names.Release()
	return column.Replace(batch, w.file, names)
}

// add adds rows whose keys are known.
func (w *Writer) add(batch arrow.RecordBatch) error {
	size := arrowsize.Batch(batch)
	parts := max(1, size/w.opts.RowGroupBytes) // of a batch that makes several row groups
	for i := range parts {
		part := batch.NewSlice(batch.NumRows()*i/parts, batch.NumRows()*(i+1)/parts)
		w.pending = append(w.pending, part)
		w.held += size / parts
		if w.held >= w.opts.RowGroupBytes {
			if err := w.flush(); err != nil {
				return fmt.Errorf("write base file: %w", err)
			}
		}
	}
	return nil
}

func (w *Writer) check(batch arrow.RecordBatch) error {
	if int(batch.NumCols()) != w.opts.Schema.NumFields() {
		return fmt.Errorf("a batch of %d columns, want %d", batch.NumCols(), w.opts.Schema.NumFields())
	}
	for i, f := range w.opts.Schema.Fields() {
		col := batch.Column(i)
		if !arrow.TypeEqual(col.DataType(), f.Type) {
			return fmt.Errorf("column %s is %s, want %s", f.Name, col.DataType(), f.Type)
		}
		if col.NullN() > 0 && (!f.Nullable || i == w.key) {
			return fmt.Errorf("column %s is null in row %d", f.Name, column.FirstNull(col))
		}
	}
	return nil
}

func (w *Writer) addKeys(keys *array.String) {
	for i := range keys.Len() {
		key := keys.Value(i)
		w.bloom.add(key)
		w.widen(key)
		w.stats.Rows++
	}
}

// widen takes a key into the range of keys.
func (w *Writer) widen(key string) {
	if !w.hasKeys || javaLess(key, w.stats.MinKey) {
		w.stats.MinKey = strings.Clone(key)
	}
	if !w.hasKeys || javaLess(w.stats.MaxKey, key) {
		w.stats.MaxKey = strings.Clone(key)
	}
	w.hasKeys = true
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
func (w *Writer) flush() error {
	if len(w.pending) == 0 {
		return nil
	}
	rows, widest := measure(w.pending)
	group, err := w.encode(w.pending, w.properties(rows, widest))
	if err != nil {
		return err
	}
	for _, batch := range w.pending {
		batch.Release()
	}
	w.pending, w.held = w.pending[:0], 0
	chunks := make([]*newChunk, len(w.leaves))
	for i := range chunks {
		if chunks[i], err = group.copyChunk(0, i); err != nil {
			return err
		}
	}
	return w.out.group(rows, chunks)
}

// measure counts rows, and the bytes of the widest column.
func measure(batches []arrow.RecordBatch) (rows, widest int64) {
	sizes := map[int]int64{}
	for _, batch := range batches {
		rows += batch.NumRows()
		for i, col := range batch.Columns() {
			sizes[i] += arrowsize.Column(col)
			widest = max(widest, sizes[i])
		}
	}
	return rows, widest
}

// Size is about how large the file is, with what is buffered.
func (w *Writer) Size() int64 {
	const filterPerRow = 7                                 // of the footer's filter of keys
	return w.out.at + w.held/2 + filterPerRow*w.stats.Rows // compression and encodings save about half
}

// Close writes what is buffered, and the footer.
func (w *Writer) Close() (Stats, error) {
	if err := w.flush(); err != nil {
		return Stats{}, fmt.Errorf("write base file: %w", err)
	}
	entries := [][2]string{{FooterAvroSchema, w.opts.AvroSchema}, {footerModel, "avro"}, {footerCalendar, "3.5.0"}, {footerBloom, w.bloom.encode()}, {footerBloomType, "SIMPLE"}}
	if w.hasKeys {
		entries = append(entries, [2]string{footerMinKey, w.stats.MinKey}, [2]string{footerMaxKey, w.stats.MaxKey})
	}
	if err := w.out.close(entries); err != nil {
		return Stats{}, fmt.Errorf("end base file: %w", err)
	}
	w.stats.Bytes = w.sink.n
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
