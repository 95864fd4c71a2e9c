package basefile

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// parquetWriter writes a Parquet file of column chunks that are ready.
type parquetWriter struct {
	sink  *countingWriter
	meta  parquetMeta
	index []chunkIndex // of all chunks, in their order
	at    int64        // the file's end, with what waits in buf
	buf   []byte
}

// gatherBytes is how much is written at a time, where pieces are small.
const gatherBytes = 128 << 10

// chunkIndex is where the pages of a chunk are, and what is in them; empty where
// nothing is known.
type chunkIndex struct{ offset, column []byte }

// newParquetWriter begins a file with the schema of like.
func newParquetWriter(sink *countingWriter, like *parquetMeta) (*parquetWriter, error) {
	w := &parquetWriter{sink: sink}
	w.meta = parquetMeta{Version: like.Version, Schema: like.Schema, CreatedBy: like.CreatedBy, ColumnOrders: like.ColumnOrders}
	return w, w.put([]byte(parquetMagic))
}

// group writes a row group.
func (w *parquetWriter) group(rows int64, chunks []*newChunk) error {
	if rows == 0 {
		return nil
	}
	g := parquetGroup{NumRows: rows, FileOffset: w.at, Ordinal: int16(min(len(w.meta.RowGroups), 1<<15-1))}
	defer readOnly(chunks)()
	for _, c := range chunks {
		chunk, err := w.chunk(c)
		if err != nil {
			return fmt.Errorf("column %s: %w", c.l.path, err)
		}
		g.TotalByteSize += chunk.Meta.TotalUncompressedSize
		g.TotalCompressedSize += chunk.Meta.TotalCompressedSize
		g.Columns = append(g.Columns, chunk)
	}
	w.meta.RowGroups = append(w.meta.RowGroups, g)
	w.meta.NumRows += rows
	return nil
}

func (w *parquetWriter) chunk(c *newChunk) (parquetChunk, error) {
	at := w.at
	if err := (&chunkCopy{w: w, c: c}).run(); err != nil {
		return parquetChunk{}, err
	}
	out := parquetChunk{FileOffset: at, Meta: c.meta}
	m := &out.Meta
	if c.l.maxRep > 0 {
		m.Stats = thrift.Null[chunkStats]{} // Arrow's bounds of what lists and maps hold are not to be trusted
	}
	m.TotalCompressedSize = w.at - at
	m.DataPageOffset, m.DictionaryPageOffset = at+c.dict, 0
	if c.dict > 0 {
		m.DictionaryPageOffset = at
	}
	index, err := c.index(m.DataPageOffset)
	w.index = append(w.index, index)
	return out, err
}

// put writes bytes, or keeps them until there are enough.
func (w *parquetWriter) put(data []byte) error {
	w.at += int64(len(data))
	if len(w.buf)+len(data) > gatherBytes {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(data) >= gatherBytes/2 {
		if err := w.flush(); err != nil {
			return err
		}
		_, err := w.sink.Write(data)
		return err
	}
	w.buf = append(w.buf, data...)
	return nil
}

func (w *parquetWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.sink.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// index encodes the indexes of a chunk's pages.
func (c *newChunk) index(at int64) (out chunkIndex, err error) {
	if len(c.pages) == 0 {
		return out, nil
	}
	var where offsetIndex
	var what columnIndex
	row, known := int64(0), true
	for _, p := range c.pages {
		where.Pages = append(where.Pages, format.PageLocation{Offset: at, CompressedPageSize: int32(p.size), FirstRowIndex: row})
		at, row = at+p.size, row+p.rows
		known = known && p.stats != nil && !p.stats.unknown && c.l.maxRep == 0
		if known {
			what.add(c.l, *p.stats)
		}
	}
	if out.offset, err = encodeThrift(&where); err != nil || !known {
		return out, err
	}
	what.finish(c.l)
	out.column, err = encodeThrift(&what)
	return out, err
}

func (x *columnIndex) add(l *leaf, s valueStats) {
	low, high := l.bounds(s)
	x.NullPages = append(x.NullPages, s.min == nil)
	x.Mins, x.Maxs = append(x.Mins, low), append(x.Maxs, high)
	x.NullCounts = append(x.NullCounts, s.nulls)
}

// finish tells in which order the bounds are, and leaves out counts that are not known.
func (x *columnIndex) finish(l *leaf) {
	up, down, last := true, true, -1
	for i := range x.Mins {
		if x.NullCounts != nil && x.NullCounts[i] < 0 {
			x.NullCounts = nil
		}
		if x.NullPages[i] {
			x.Mins[i], x.Maxs[i] = []byte{}, []byte{}
			continue
		}
		if last >= 0 {
			low, high := l.compare(x.Mins[last], x.Mins[i]), l.compare(x.Maxs[last], x.Maxs[i])
			up, down = up && low <= 0 && high <= 0, down && low >= 0 && high >= 0
		}
		last = i
	}
	switch {
	case up:
		x.Order = format.Ascending
	case down:
		x.Order = format.Descending
	}
}

// close writes the indexes and the footer, with these entries.
func (w *parquetWriter) close(entries [][2]string) error {
	if err := w.writeIndexes(); err != nil {
		return err
	}
	for _, e := range entries {
		w.meta.KeyValues = append(w.meta.KeyValues, format.KeyValue{Key: e[0], Value: e[1]})
	}
	if w.meta.RowGroups == nil {
		w.meta.RowGroups = thrift.Slice[parquetGroup]{}
	}
	footer, err := encodeThrift(&w.meta)
	if err != nil {
		return err
	}
	footer = binary.LittleEndian.AppendUint32(footer, uint32(len(footer)))
	return errors.Join(w.put(append(footer, parquetMagic...)), w.flush())
}

// writeIndexes writes first the column indexes, then the offset indexes.
func (w *parquetWriter) writeIndexes() error {
	put := func(data []byte, at *int64, n *int32) error {
		if len(data) == 0 {
			return nil
		}
		*at, *n = w.at, int32(len(data))
		return w.put(data)
	}
	for _, column := range []bool{true, false} {
		i := 0
		for g := range w.meta.RowGroups {
			for c := range w.meta.RowGroups[g].Columns {
				chunk, index := &w.meta.RowGroups[g].Columns[c], w.index[i]
				i++
				err := error(nil)
				if column {
					err = put(index.column, &chunk.ColumnIndexOffset, &chunk.ColumnIndexLength)
				} else {
					err = put(index.offset, &chunk.OffsetIndexOffset, &chunk.OffsetIndexLength)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}
