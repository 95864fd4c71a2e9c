package basefile

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"lakefeed/hudi/internal/column"
)

// Picked rows come once each, where some of a row group were given out before one of its pages shows that it is not taken
// apart: in version 2 of Parquet what follows a dictionary that is full is in such encodings.
func TestPickBehindDictionary(t *testing.T) {
	t.Parallel()
	const rows, few = 2400, 1500
	fields := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "pad", Type: arrow.BinaryTypes.String}}, nil)
	data := spliced(t, numbered(t, fields, 0, few, true), numbered(t, fields, few, rows, false))
	f, err := openParquet(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if n := f.meta.RowGroups[0].NumRows; n != rows || len(f.meta.RowGroups) != 2 {
		t.Fatalf("%d row groups, of %d rows", len(f.meta.RowGroups), n)
	}
	p, err := OpenRows(bytes.NewReader(data), int64(len(data)), fields, func(_ *File, g int) ([]Range, error) {
		if g > 0 {
			return []Range{{0, rows}}, nil
		}
		return []Range{{0, 2}, {3, 1400}, {1401, rows}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	got := readNumbers(t, p)
	if len(got) < rows || !slices.Equal(got[len(got)-rows:], numbers(0, rows)) {
		t.Fatalf("%d rows, and the second row group is not the last of them", len(got))
	}
	got = got[:len(got)-rows]
	want := slices.Delete(numbers(0, rows), 2, 3)
	if len(got) == rows-2 { // what was not wanted of the rows behind the first part may come too
		want = slices.Delete(want, 1399, 1400)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d rows of the first row group, want %d", len(got), rows-2)
	}
}

func numbers(from, to int64) (out []int64) {
	for n := from; n < to; n++ {
		out = append(out, n)
	}
	return out
}

// numbered is a file of one row group, whose numbers have a dictionary or are in an encoding that is not taken apart.
func numbered(t *testing.T, fields *arrow.Schema, from, to int64, dictionary bool) *File {
	t.Helper()
	b := array.NewRecordBuilder(column.Allocator, fields)
	defer b.Release()
	pad := strings.Repeat("x", 20_000)
	for _, n := range numbers(from, to) {
		b.Field(0).(*array.Int64Builder).Append(n)
		b.Field(1).(*array.StringBuilder).Append(pad)
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	props := parquet.NewWriterProperties(
		parquet.WithDictionaryFor("pad", false), parquet.WithDictionaryFor("n", dictionary), parquet.WithEncodingFor("n", parquet.Encodings.DeltaBinaryPacked),
		parquet.WithDataPageSize(2000), parquet.WithBatchSize(50),
	)
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(fields, &out, props, pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(batch), w.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := openParquet(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// spliced is a file of two row groups, each of the pages of one file and then of another.
func spliced(t *testing.T, a, b *File) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := newParquetWriter(&countingWriter{w: &out}, &a.meta)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var chunks []*newChunk
		for i := range a.leaves {
			first, err := a.copyChunk(0, i)
			if err != nil {
				t.Fatal(err)
			}
			then, err := b.copyChunk(0, i)
			if err != nil || then.dict > 0 {
				t.Fatal(then.dict, err)
			}
			first.segments, first.pages = append(first.segments, then.segments...), nil
			first.meta.NumValues += then.meta.NumValues
			first.meta.TotalUncompressedSize += then.meta.TotalUncompressedSize
			first.meta.Encodings = append(slices.Clone(first.meta.Encodings), then.meta.Encodings...)
			first.meta.EncodingStats, first.meta.Stats.Valid = nil, false
			chunks = append(chunks, first)
		}
		if err := w.group(a.meta.NumRows+b.meta.NumRows, chunks); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readNumbers(t *testing.T, p *RowReader) (got []int64) {
	t.Helper()
	for {
		batch, err := p.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, batch.Column(0).(*array.Int64).Int64Values()...)
		batch.Release()
	}
}
