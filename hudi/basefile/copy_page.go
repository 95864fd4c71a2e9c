package basefile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/klauspost/compress/s2"
	"github.com/parquet-go/parquet-go/format"
)

// rowValues are rows of one leaf column: levels, a byte each, and the values that are
// there, as the encoding PLAIN has them but for booleans, which take a byte each. Those of
// a page with a dictionary are indices of four bytes.
type rowValues struct {
	rep, def []byte // nil where the column has no such levels
	data     []byte
	levels   int // as many as values and nulls
}

// decodedPage is a data page that was read.
type decodedPage struct {
	rowValues
	indexed  bool // data are indices
	encoding format.Encoding
}

// dictionary is that of a column chunk. It only grows: pages that are copied as bytes
// keep their indices.
type dictionary struct {
	values   [][]byte
	bytes    int // of the values
	at       map[string]uint32
	encoding format.Encoding
	grown    bool
}

// plainDictionary is how files of Parquet's first version, Spark's for one, call the
// encoding of dictionaries and of indices into them.
const plainDictionary format.Encoding = 2

const (
	maxDictionary      = 1 << 16
	maxDictionaryBytes = 1 << 20
)

// index finds a value, and takes it in where there is room.
func (d *dictionary) index(v []byte) (uint32, bool) {
	if d.at == nil {
		d.at = make(map[string]uint32, len(d.values))
		for i, v := range d.values {
			d.at[string(v)] = uint32(i)
		}
	}
	if i, ok := d.at[string(v)]; ok {
		return i, true
	}
	if len(d.values) >= maxDictionary || d.bytes+len(v) > maxDictionaryBytes {
		return 0, false
	}
	i := uint32(len(d.values))
	v = bytes.Clone(v)
	d.values, d.bytes, d.grown = append(d.values, v), d.bytes+len(v), true
	d.at[string(v)] = i
	return i, true
}

// decodeDictionary reads the values of a dictionary page.
func decodeDictionary(l *leaf, h *pageHeader, data []byte) (*dictionary, error) {
	enc := h.Dictionary.V.Encoding
	if enc != format.Plain && enc != plainDictionary {
		return nil, noCopy("column %s has a dictionary in encoding %s", l.path, enc)
	}
	n := int(h.Dictionary.V.NumValues)
	if n < 0 || n > maxPageValues || n > len(data) {
		return nil, damagedParquet("a dictionary of %d values in %d bytes", n, len(data))
	}
	if l.elem.Type.V == format.Boolean {
		return nil, noCopy("column %s has a dictionary of booleans", l.path)
	}
	d := &dictionary{encoding: enc, values: make([][]byte, 0, n)}
	for range n {
		v, rest, ok := l.cutValue(data)
		if !ok {
			return nil, damagedParquet("a dictionary breaks off")
		}
		d.values, d.bytes, data = append(d.values, v), d.bytes+len(v), rest
	}
	return d, nil
}

func (d *dictionary) encode(l *leaf) []byte {
	var out []byte
	for _, v := range d.values {
		out = l.appendValue(out, v)
	}
	return out
}

// cutValue takes the first value from PLAIN data.
func (l *leaf) cutValue(data []byte) (v, rest []byte, ok bool) {
	if l.width > 0 {
		if len(data) < l.width {
			return nil, nil, false
		}
		return data[:l.width:l.width], data[l.width:], true
	}
	if len(data) < 4 {
		return nil, nil, false
	}
	n := binary.LittleEndian.Uint32(data)
	if uint64(n) > uint64(len(data)-4) {
		return nil, nil, false
	}
	return data[4 : 4+n : 4+n], data[4+n:], true
}

func (l *leaf) appendValue(dst, v []byte) []byte {
	if l.width == 0 {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(v)))
	}
	return append(dst, v...)
}

// decodePage reads a data page; raw is what stands behind its header.
func decodePage(l *leaf, h *pageHeader, codec format.CompressionCodec, raw []byte, dict *dictionary) (p decodedPage, err error) {
	var values []byte
	switch {
	case h.Type == format.DataPage && h.Data.Valid:
		values, err = p.levelsV1(l, h, codec, raw)
	case h.Type == format.DataPageV2 && h.DataV2.Valid:
		values, err = p.levelsV2(l, h, codec, raw)
	default:
		err = damagedParquet("a page of type %s where data are due", h.Type)
	}
	if err != nil {
		return p, err
	}
	n := p.levels
	if l.maxDef > 0 {
		n = bytes.Count(p.def, []byte{l.maxDef})
	}
	switch {
	case p.encoding == format.Plain && l.elem.Type.V == format.Boolean:
		p.data, err = decodeBits(values, n)
	case p.encoding == format.Plain:
		if l.width > 0 && len(values) != n*l.width {
			return p, damagedParquet("%d values of %d bytes in %d", n, l.width, len(values))
		}
		p.data = values
	case p.encoding == plainDictionary || p.encoding == format.RLEDictionary:
		if dict == nil {
			return p, damagedParquet("a page wants a dictionary, and there is none")
		}
		p.indexed = true
		p.data, err = decodeIndices(values, n, len(dict.values))
	default:
		return p, noCopy("column %s has a page in encoding %s", l.path, p.encoding)
	}
	return p, err
}

func (p *decodedPage) levelsV1(l *leaf, h *pageHeader, codec format.CompressionCodec, raw []byte) (data []byte, err error) {
	d := h.Data.V
	p.levels, p.encoding = int(d.NumValues), d.Encoding
	if p.levels < 0 || p.levels > maxPageValues {
		return nil, damagedParquet("a page of %d values", p.levels)
	}
	if data, err = decompress(codec, raw, int(h.UncompressedSize)); err != nil {
		return nil, err
	}
	if l.maxRep > 0 {
		if p.rep, data, err = cutLevels(data, d.RepEncoding, l.maxRep, p.levels); err != nil {
			return nil, err
		}
	}
	if l.maxDef > 0 {
		p.def, data, err = cutLevels(data, d.DefEncoding, l.maxDef, p.levels)
	}
	return data, err
}

func cutLevels(data []byte, enc format.Encoding, limit uint8, n int) (levels, rest []byte, err error) {
	if enc != format.RLE {
		return nil, nil, noCopy("levels in encoding %s", enc)
	}
	if len(data) < 4 || uint64(binary.LittleEndian.Uint32(data)) > uint64(len(data)-4) {
		return nil, nil, damagedParquet("levels break off")
	}
	end := 4 + binary.LittleEndian.Uint32(data)
	levels, err = decodeLevels(data[4:end], limit, n)
	return levels, data[end:], err
}

func (p *decodedPage) levelsV2(l *leaf, h *pageHeader, codec format.CompressionCodec, raw []byte) (data []byte, err error) {
	d := h.DataV2.V
	p.levels, p.encoding = int(d.NumValues), d.Encoding
	rep, def := int(d.RepBytes), int(d.DefBytes)
	if p.levels < 0 || p.levels > maxPageValues || rep < 0 || def < 0 || rep > len(raw) || def > len(raw)-rep {
		return nil, damagedParquet("a page of %d values, %d and %d bytes of levels", p.levels, rep, def)
	}
	if l.maxRep > 0 {
		if p.rep, err = decodeLevels(raw[:rep], l.maxRep, p.levels); err != nil {
			return nil, err
		}
	}
	if l.maxDef > 0 {
		if p.def, err = decodeLevels(raw[rep:rep+def], l.maxDef, p.levels); err != nil {
			return nil, err
		}
	}
	if d.Compressed.Valid && !d.Compressed.V {
		codec = format.Uncompressed
	}
	return decompress(codec, raw[rep+def:], int(h.UncompressedSize)-rep-def)
}

// compressionOf finds the implementation of a codec.
func compressionOf(c format.CompressionCodec) (compress.Codec, error) {
	switch c {
	case format.Uncompressed:
		return nil, nil
	case format.Snappy:
		return compress.GetCodec(compress.Codecs.Snappy)
	case format.Gzip:
		return compress.GetCodec(compress.Codecs.Gzip)
	case format.Zstd:
		return compress.GetCodec(compress.Codecs.Zstd)
	default:
		return nil, noCopy("compression %s", c)
	}
}

func decompress(c format.CompressionCodec, data []byte, size int) (out []byte, err error) {
	defer recoverParquet("decompress", &err)
	if size < 0 || size > maxPageBytes {
		return nil, damagedParquet("a page of %d bytes", size)
	}
	if c == format.Snappy {
		n, err := s2.DecodedLen(data)
		if err != nil || n != size {
			return nil, damagedParquet("a page of %d bytes is said to have %d: %v", n, size, err)
		}
		if out, err = s2.Decode(make([]byte, size), data); err != nil {
			return nil, damagedParquet("%v", err)
		}
		return out, nil
	}
	codec, err := compressionOf(c)
	if err != nil {
		return nil, err
	}
	if codec == nil {
		out = data
	} else if len(data) > 0 {
		out = codec.Decode(make([]byte, size), data)
	}
	if len(out) != size {
		return nil, damagedParquet("a page of %d bytes is said to have %d", len(out), size)
	}
	return out, nil
}

// encodePage makes a data page of the first version, header and all.
func encodePage(l *leaf, p *decodedPage, codec format.CompressionCodec, dict *dictionary) (head, body []byte, plain int, err error) {
	out := make([]byte, 0, len(p.data)+len(p.def)/4+64)
	if l.maxRep > 0 {
		out = appendLevels(out, p.rep, l.maxRep)
	}
	if l.maxDef > 0 {
		out = appendLevels(out, p.def, l.maxDef)
	}
	switch {
	case p.indexed:
		out = appendIndices(out, p.data, len(dict.values))
	case l.elem.Type.V == format.Boolean:
		out = appendBits(out, p.data)
	default:
		out = append(out, p.data...)
	}
	if len(out) > maxPageBytes {
		return nil, nil, 0, fmt.Errorf("a page of %d bytes", len(out))
	}
	h := pageHeader{Type: format.DataPage, UncompressedSize: int32(len(out))}
	h.Data.Set(dataHeader{NumValues: int32(p.levels), Encoding: p.encoding, DefEncoding: format.RLE, RepEncoding: format.RLE})
	head, body, err = sealPage(&h, codec, out)
	return head, body, len(out), err
}

func sealPage(h *pageHeader, codec format.CompressionCodec, data []byte) (head, body []byte, err error) {
	c, err := compressionOf(codec)
	if err != nil {
		return nil, nil, err
	}
	if c != nil {
		data = c.Encode(nil, data)
	}
	h.CompressedSize = int32(len(data))
	h.Sum.Set(int32(crc32.ChecksumIEEE(data)))
	head, err = encodeThrift(h)
	return head, data, err
}

func encodeDictionary(l *leaf, d *dictionary, codec format.CompressionCodec) (head, body []byte, plain int, err error) {
	data := d.encode(l)
	h := pageHeader{Type: format.DictionaryPage, UncompressedSize: int32(len(data))}
	h.Dictionary.Set(format.DictionaryPageHeader{NumValues: int32(len(d.values)), Encoding: d.encoding})
	head, body, err = sealPage(&h, codec, data)
	return head, body, len(data), err
}
