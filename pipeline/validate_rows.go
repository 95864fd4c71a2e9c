package pipeline

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

var mem = memory.DefaultAllocator

// Bounds of what a validation holds in memory.
const (
	keyRanges   = 1 << 16   // ranges of key hashes that are summed up
	rowsAtOnce  = 200_000   // rows of the source that are kept to be looked at one by one
	lookRanges  = 1 << 10   // differing ranges that are looked at
	countAtOnce = 4_000_000 // rows of a table without a key that are counted in a pass
)

// sum is an order-independent digest of rows: how many, and the sum of 128-bit hashes.
type sum struct{ n, lo, hi uint64 }

func (s *sum) add(h hash128) {
	var carry uint64
	s.n++
	s.lo, carry = bits.Add64(s.lo, h.lo, 0)
	s.hi, _ = bits.Add64(s.hi, h.hi, carry)
}

type hash128 struct{ lo, hi uint64 }

var seedLo, seedHi = maphash.MakeSeed(), maphash.MakeSeed()

func hashOf(b []byte) hash128 { return hash128{maphash.Bytes(seedLo, b), maphash.Bytes(seedHi, b)} }

// sums digests one side by ranges of keys.
func (v *validation) sums(ctx context.Context, side each, n *int64) ([]sum, error) {
	out := make([]sum, keyRanges)
	var buf []byte
	err := side(ctx, func(r rows) error {
		*n += int64(r.n)
		for row := range r.n {
			buf = append(buf[:0], r.keys.Value(row)...)
			in := rangeOf(r.keys.Value(row))
			buf = appendRow(buf, r, row)
			out[in].add(hashOf(buf))
		}
		return nil
	})
	return out, err
}

func rangeOf(key string) int { return int(maphash.String(seedLo, key) >> 48) }

func differing(a, b []sum) map[int]bool {
	out := map[int]bool{}
	for i := range a {
		if a[i] != b[i] {
			out[i] = true
		}
	}
	return out
}

// appendRow appends the values of a row so that unlike rows are unlike bytes.
func appendRow(buf []byte, r rows, row int) []byte {
	for _, c := range r.columns {
		buf = appendValue(buf, c, row)
	}
	return buf
}

func appendValue(buf []byte, c arrow.Array, row int) []byte {
	if c.IsNull(row) {
		return append(buf, 0)
	}
	buf = append(buf, 1)
	switch c := c.(type) {
	case *array.String:
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(c.Value(row))))
		return append(buf, c.Value(row)...)
	case *array.Binary:
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(c.Value(row))))
		return append(buf, c.Value(row)...)
	case *array.Boolean:
		if c.Value(row) {
			return append(buf, 1)
		}
		return append(buf, 0)
	case *array.Int32:
		return binary.LittleEndian.AppendUint32(buf, uint32(c.Value(row)))
	case *array.Date32:
		return binary.LittleEndian.AppendUint32(buf, uint32(c.Value(row)))
	case *array.Int64:
		return binary.LittleEndian.AppendUint64(buf, uint64(c.Value(row)))
	case *array.Timestamp:
		return binary.LittleEndian.AppendUint64(buf, uint64(c.Value(row)))
	case *array.Float32:
		return binary.LittleEndian.AppendUint32(buf, floatBits32(c.Value(row)))
	case *array.Float64:
		return binary.LittleEndian.AppendUint64(buf, floatBits64(c.Value(row)))
	case *array.Decimal128:
		d := c.Value(row)
		buf = binary.LittleEndian.AppendUint64(buf, uint64(d.HighBits()))
		return binary.LittleEndian.AppendUint64(buf, d.LowBits())
	default:
		return append(buf, c.ValueStr(row)...)
	}
}

// One NaN stands for all of them.
func floatBits32(f float32) uint32 {
	if f != f {
		return 0x7fc00000
	}
	return math.Float32bits(f)
}

func floatBits64(f float64) uint64 {
	if f != f {
		return 0x7ff8000000000000
	}
	return math.Float64bits(f)
}

// seen is a row of the source, kept while the lake is read.
type seen struct {
	row    []byte
	values []string
	inLake bool
}

// compareRanges looks at the rows of the ranges that differ, one by one.
func (v *validation) compareRanges(ctx context.Context, ranges map[int]bool) error {
	for i := range ranges { // many ranges: some of them are enough to say what is wrong
		if len(ranges) <= lookRanges {
			break
		}
		delete(ranges, i)
	}
	source := map[string]*seen{}
	var buf []byte
	err := v.eachSource(ctx, func(r rows) error {
		for row := range r.n {
			key := r.keys.Value(row)
			if ranges[rangeOf(key)] && len(source) < rowsAtOnce {
				buf = appendRow(buf[:0], r, row)
				source[string([]byte(key))] = &seen{row: append([]byte(nil), buf...), values: values(r, row)}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	full := len(source) >= rowsAtOnce
	err = v.eachLake(ctx, func(r rows) error {
		for row := range r.n {
			key := r.keys.Value(row)
			if !ranges[rangeOf(key)] {
				continue
			}
			s := source[key]
			switch {
			case s == nil && !full:
				v.differ(Difference{Key: string([]byte(key)), Kind: "not in the source"})
			case s == nil:
			case s.inLake:
				v.differ(Difference{Key: string([]byte(key)), Kind: "twice in the lake"})
			default:
				s.inLake = true
				buf = appendRow(buf[:0], r, row)
				if string(buf) != string(s.row) {
					v.unlike(key, s, r, row)
				}
			}
		}
		return nil
	})
	for key, s := range source {
		switch _, held := v.aside.keys[key]; {
		case s.inLake:
		case held:
			v.differ(Difference{Key: key, Kind: "in quarantine, though it fits"})
		default:
			v.differ(Difference{Key: key, Kind: "missing in the lake"})
		}
	}
	if err == nil && v.report.Different == 0 {
		return fmt.Errorf("%d ranges of keys differ, and no row in them: the table changed while it was compared, run validate again", len(ranges))
	}
	return err
}

func (v *validation) differ(d Difference) {
	v.report.Different++
	if len(v.report.Samples) < v.o.Samples {
		v.report.Samples = append(v.report.Samples, d)
	}
}

// unlike says which columns of a row differ; the row counts once.
func (v *validation) unlike(key string, s *seen, r rows, row int) {
	v.report.Different++
	have := values(r, row)
	for i, name := range v.layout.names {
		if have[i] != s.values[i] && len(v.report.Samples) < v.o.Samples {
			v.report.Samples = append(v.report.Samples, Difference{Key: string([]byte(key)), Kind: "different", Column: name, Source: s.values[i], Lake: have[i]})
		}
	}
}

func values(r rows, row int) []string {
	out := make([]string, len(r.columns))
	for i, c := range r.columns {
		out[i] = "null"
		if !c.IsNull(row) {
			out[i] = shortened(c.ValueStr(row))
		}
	}
	return out
}

// shortened keeps a value printable; where two long ones differ, their hashes do.
func shortened(s string) string {
	const most = 200
	if len(s) <= most {
		return string([]byte(s))
	}
	return fmt.Sprintf("%.*s... (%d bytes, hash %x)", most, s, len(s), maphash.String(seedLo, s))
}

// runAppendOnly compares a table without a key: record keys are unique in the
// lake, and every row of the source is there at least as often. It takes as many
// passes as bound the rows that are counted at once.
func (v *validation) runAppendOnly(ctx context.Context) error {
	count := func(r rows) error { v.report.SourceRows += int64(r.n); return nil }
	if err := v.eachSource(ctx, count); err != nil {
		return err
	}
	if err := v.eachLake(ctx, func(r rows) error { v.report.LakeRows += int64(r.n); return nil }); err != nil {
		return err
	}
	passes := uint64(max(v.report.SourceRows, v.report.LakeRows)/countAtOnce + 1)
	for pass := range passes {
		if err := v.appendOnlyPass(ctx, pass, passes); err != nil {
			return err
		}
	}
	return nil
}

func (v *validation) appendOnlyPass(ctx context.Context, pass, passes uint64) error {
	rowsOf := map[hash128]int64{}
	keys := map[hash128]bool{}
	var buf []byte
	err := v.eachSource(ctx, func(r rows) error {
		for row := range r.n {
			buf = appendRow(buf[:0], r, row)
			if h := hashOf(buf); h.lo%passes == pass {
				rowsOf[h]++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = v.eachLake(ctx, func(r rows) error {
		for row := range r.n {
			key := r.keys.Value(row)
			if h := hashOf([]byte(key)); h.lo%passes == pass {
				if keys[h] {
					v.differ(Difference{Key: string([]byte(key)), Kind: "twice in the lake"})
				}
				keys[h] = true
			}
			buf = appendRow(buf[:0], r, row)
			if h := hashOf(buf); h.lo%passes == pass {
				rowsOf[h]--
			}
		}
		return nil
	})
	for _, n := range rowsOf {
		if n < 0 {
			v.report.LakeOnly -= n
		}
		if n > 0 {
			v.report.Different += n - 1 // differ counts one
			v.differ(Difference{Kind: "missing in the lake", Source: fmt.Sprintf("a row that the source has %d times more", n)})
		}
	}
	return err
}
