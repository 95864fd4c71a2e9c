package hudi

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lakefeed/hudi/internal/basetest"
	"lakefeed/hudi/logfile"
	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

const foreignFile = "00000000-0000-4000-8000-000000000000-0"

// foreign makes a table of one file group as another writer would: the base file first,
// then log blocks, each by a commit of its own.
type foreign struct {
	t       testing.TB
	store   storage.Store
	props   Properties
	fields  []arrow.Field
	meta    bool
	base    string // instant of the base file
	commits int
	logs    int
	extra   map[string]string // extra metadata of the commits
}

func newForeign(t *testing.T, props Properties, fields ...arrow.Field) *foreign {
	t.Helper()
	return newForeignIn(t, newStore(t), props, fields...)
}

func newForeignIn(t testing.TB, store storage.Store, props Properties, fields ...arrow.Field) *foreign {
	t.Helper()
	p := Properties{
		propName: "t", propType: string(MergeOnRead), propVersion: "6", propLayout: "1", propRecordKey: "id",
		propPayload: payloadOverwrite, propTimezone: "UTC",
	}
	maps.Copy(p, props)
	f := &foreign{t: t, store: store, props: p, fields: fields, meta: p[propMetaFields] != "false", extra: map[string]string{}}
	f.put(propertiesFile, p.Format(time.Unix(0, 0)))
	return f
}

func (f *foreign) put(name string, data []byte) {
	f.t.Helper()
	if err := f.store.Put(f.t.Context(), name, data); err != nil {
		f.t.Fatal(err)
	}
}

// instant is that of the next commit.
func (f *foreign) instant() string { return fmt.Sprintf("20260101%09d", f.commits+1) }

// commit completes the next commit, which wrote a file.
func (f *foreign) commit(file string) {
	f.t.Helper()
	avro, err := schema.FromArrow("t", arrow.NewSchema(f.fields, nil))
	if err != nil {
		f.t.Fatal(err)
	}
	extra := map[string]string{timeline.SchemaKey: avro}
	maps.Copy(extra, f.extra)
	text, err := json.Marshal(map[string]any{"partitionToWriteStats": map[string]any{"": []any{
		map[string]any{"fileId": foreignFile, "path": file, "prevCommit": f.base},
	}}, "operationType": "UPSERT", "extraMetadata": extra})
	if err != nil {
		f.t.Fatal(err)
	}
	f.put(path.Join(metaFolder, f.instant()+".deltacommit"), text)
	f.commits++
}

// rows are the rows of a JSON array, with the meta columns where the table has them.
func (f *foreign) rows(text string, columns ...string) arrow.RecordBatch {
	f.t.Helper()
	fields := f.fields
	if columns != nil {
		fields = nil
		for _, c := range columns {
			i := slices.IndexFunc(f.fields, func(f arrow.Field) bool { return f.Name == c })
			fields = append(fields, f.fields[i])
		}
	}
	if f.meta {
		fields = schema.ArrowWithMeta(arrow.NewSchema(fields, nil)).Fields()
		var rows []map[string]any
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&rows); err != nil {
			f.t.Fatal(err)
		}
		for _, r := range rows {
			r[keyColumn], r[schema.CommitTime] = fmt.Sprint(r["id"]), f.instant() // one key column
		}
		out, _ := json.Marshal(rows)
		text = string(out)
	}
	return jsonRows(f.t, fields, text)
}

func (f *foreign) avro(s *arrow.Schema) string {
	f.t.Helper()
	data := slices.DeleteFunc(s.Fields(), func(f arrow.Field) bool { return schema.IsMeta(f.Name) })
	avro, err := schema.FromArrow("t", arrow.NewSchema(data, nil))
	if err == nil && f.meta {
		avro, err = schema.WithMeta(avro)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return avro
}

func (f *foreign) writeBase(text string) {
	f.t.Helper()
	f.base = f.instant()
	batch := f.rows(text)
	defer batch.Release()
	name := baseName(foreignFile, "0-0-0", f.base)
	f.put(name, f.parquet(batch))
	f.commit(name)
}

func (f *foreign) parquet(batch arrow.RecordBatch) []byte {
	f.t.Helper()
	return plainParquet(f.t, batch)
}

// log writes a log file of one block.
func (f *foreign) log(typ logfile.BlockType, header map[logfile.HeaderKey]string, content []byte) {
	f.t.Helper()
	f.logs++
	header[logfile.InstantTime] = f.instant()
	name := logfile.FileName(foreignFile, f.base, f.logs, "0-0-0")
	f.put(name, rawBlock(typ, header, content))
	f.commit(name)
}

// rawBlock is a log block as any writer may make it.
func rawBlock(typ logfile.BlockType, header map[logfile.HeaderKey]string, content []byte) []byte {
	var h []byte
	h = binary.BigEndian.AppendUint32(h, uint32(len(header)))
	for k, v := range header {
		h = binary.BigEndian.AppendUint32(h, uint32(k))
		h = binary.BigEndian.AppendUint32(h, uint32(len(v)))
		h = append(h, v...)
	}
	size := 4 + 4 + len(h) + 8 + len(content) + 4 + 8
	b := binary.BigEndian.AppendUint64([]byte("#HUDI#"), uint64(size))
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(typ))
	b = append(b, h...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(content)))
	b = append(b, content...)
	b = append(b, 0, 0, 0, 0)
	return binary.BigEndian.AppendUint64(b, uint64(size+6))
}

// avroContent is the content of an Avro data block.
func (f *foreign) avroContent(batch arrow.RecordBatch) (avro string, content []byte) {
	f.t.Helper()
	avro = f.avro(batch.Schema())
	enc, err := logfile.NewEncoder(avro, batch.Schema())
	if err != nil {
		f.t.Fatal(err)
	}
	content = binary.BigEndian.AppendUint32(nil, 3)
	content = binary.BigEndian.AppendUint32(content, uint32(batch.NumRows()))
	for row := range int(batch.NumRows()) {
		if content, err = enc.Append(content, batch, row); err != nil {
			f.t.Fatal(err)
		}
	}
	return avro, content
}

// step does what one line of a story says:
//
//	base [rows]              the base file
//	log [rows]               an Avro block
//	parquet [rows]           a Parquet block
//	partial a,b [rows]       an Avro block of a partial update, with these columns only
//	compacted T,T [rows]     an Avro block that a log compaction made of those of these instants
//	delete KEY               a delete block, without order
//	delete KEY KIND VALUE    with an ordering value: int, long, double, string, array (of longs)
func (f *foreign) step(line string) {
	f.t.Helper()
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "base":
		f.writeBase(rest)
	case "log":
		batch := f.rows(rest)
		avro, content := f.avroContent(batch)
		f.log(logfile.AvroData, map[logfile.HeaderKey]string{logfile.Schema: avro}, content)
	case "parquet":
		batch := f.rows(rest)
		f.log(logfile.ParquetData, map[logfile.HeaderKey]string{logfile.Schema: f.avro(batch.Schema())}, f.parquet(batch))
	case "partial":
		columns, rows, _ := strings.Cut(rest, " ")
		avro, content := f.avroContent(f.rows(rows, strings.Split(columns, ",")...))
		f.log(logfile.AvroData, map[logfile.HeaderKey]string{logfile.Schema: avro, logfile.IsPartial: "true"}, content)
	case "compacted":
		times, rows, _ := strings.Cut(rest, " ")
		avro, content := f.avroContent(f.rows(rows))
		f.log(logfile.AvroData, map[logfile.HeaderKey]string{logfile.Schema: avro, logfile.CompactedBlockTimes: times}, content)
	case "delete":
		f.log(logfile.Delete, map[logfile.HeaderKey]string{logfile.Schema: f.avro(arrow.NewSchema(f.fields, nil))}, deleteContent(f.t, strings.Fields(rest)))
	default:
		f.t.Fatalf("step %q", line)
	}
}

func deleteContent(t testing.TB, words []string) []byte {
	t.Helper()
	datum := []byte{2, 2, byte(2 * len(words[0]))}
	datum = append(datum, words[0]...)
	datum = append(datum, 0)
	if len(words) == 1 {
		datum = append(datum, 0)
	} else {
		datum = appendWrapper(t, datum, words[1], words[2])
	}
	datum = append(datum, 0)
	content := binary.BigEndian.AppendUint32(nil, 3)
	content = binary.BigEndian.AppendUint32(content, uint32(len(datum)))
	return append(content, datum...)
}

func appendWrapper(t testing.TB, b []byte, kind, value string) []byte {
	t.Helper()
	kinds := map[string]byte{"bool": 1, "int": 2, "long": 3, "float": 4, "double": 5, "bytes": 6, "string": 7, "date": 8, "decimal": 9, "time": 10, "timestamp": 11, "array": 12}
	b = append(b, 2*kinds[kind])
	switch kind {
	case "bool":
		return append(b, map[string]byte{"false": 0, "true": 1}[value])
	case "int", "long", "date", "time", "timestamp":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return binary.AppendVarint(b, n)
	case "float":
		return binary.LittleEndian.AppendUint32(b, uint32(floatBits(t, value, 32)))
	case "double":
		return binary.LittleEndian.AppendUint64(b, floatBits(t, value, 64))
	case "decimal": // unscaled, of scale 15
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, 16)
		return binary.BigEndian.AppendUint64(b, uint64(n))
	case "array":
		items := strings.Split(value, ",")
		b = append(b, 2, byte(2*len(items)))
		for _, it := range items {
			b = appendWrapper(t, b, "long", it)
		}
		return append(b, 0)
	}
	b = binary.AppendVarint(b, int64(len(value)))
	return append(b, value...)
}

// open opens the table.
func (f *foreign) open() *Table {
	f.t.Helper()
	table, err := Open(f.t.Context(), f.store, Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	return table
}

// read are the table's rows as JSON, without columns that are null, in order.
func (f *foreign) read(opts ReadOptions) ([]string, error) {
	f.t.Helper()
	var out []string
	for batch, err := range f.open().Read(f.t.Context(), opts) {
		if err != nil {
			return nil, err
		}
		for row := range int(batch.NumRows()) {
			out = append(out, basetest.RowJSON(batch, row))
		}
	}
	slices.Sort(out)
	return out, nil
}

func floatBits(t testing.TB, value string, size int) uint64 {
	t.Helper()
	v, err := strconv.ParseFloat(value, size)
	if err != nil {
		t.Fatal(err)
	}
	if size == 32 {
		return uint64(math.Float32bits(float32(v)))
	}
	return math.Float64bits(v)
}

// plainParquet is a batch as a Parquet file of another writer.
func plainParquet(t testing.TB, batch arrow.RecordBatch) []byte {
	t.Helper()
	table := array.NewTableFromRecords(batch.Schema(), []arrow.RecordBatch{batch})
	defer table.Release()
	var out bytes.Buffer
	if err := pqarrow.WriteTable(table, &out, 1<<20, nil, pqarrow.DefaultWriterProps()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
