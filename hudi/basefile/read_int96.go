package basefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"lakefeed/hudi/internal/column"
)

// int96Column reads a column of timestamps of 96 bits, as Spark wrote them once. The
// Parquet library makes nanoseconds of them, of which 64 bits hold the years 1677 to
// 2262 only and others come out as times within these: so it is read here, as
// microseconds.
type int96Column struct {
	parquet *file.Reader
	groups  []int // row groups still to read
	leaf    int
	chunk   *file.Int96ColumnChunkReader
	left    int64 // rows of the chunk
}

// julianEpoch is the Julian day of 1970-01-01.
const julianEpoch = 2440588

func (c *int96Column) begin(groups []int) { c.groups, c.chunk, c.left = groups, nil, 0 }

// next are the times of the next n rows; the caller releases them.
func (c *int96Column) next(n int64) (arrow.Array, error) {
	b := array.NewTimestampBuilder(column.Allocator, arrow.FixedWidthTypes.Timestamp_us.(*arrow.TimestampType))
	defer b.Release()
	b.Reserve(int(n))
	for n > 0 {
		if c.left == 0 {
			if err := c.open(); err != nil {
				return nil, err
			}
			continue
		}
		read, err := c.read(b, min(n, c.left))
		if err != nil {
			return nil, err
		}
		n -= read
		c.left -= read
	}
	return b.NewArray(), nil
}

func (c *int96Column) open() error {
	if len(c.groups) == 0 {
		return io.ErrUnexpectedEOF
	}
	group := c.parquet.RowGroup(c.groups[0])
	c.groups, c.left = c.groups[1:], group.NumRows()
	reader, err := group.Column(c.leaf)
	if err != nil {
		return fmt.Errorf("open column chunk: %w", err)
	}
	chunk, ok := reader.(*file.Int96ColumnChunkReader)
	if !ok {
		return fmt.Errorf("column chunk of %s, not of 96-bit times", reader.Type())
	}
	c.chunk = chunk
	return nil
}

func (c *int96Column) read(b *array.TimestampBuilder, n int64) (int64, error) {
	values, levels := make([]parquet.Int96, n), make([]int16, n)
	rows, found, err := c.chunk.ReadBatch(n, values, levels, nil)
	if err != nil {
		return 0, fmt.Errorf("read column chunk: %w", err)
	}
	if rows == 0 {
		return 0, errors.New("the column chunk ends before its row group")
	}
	optional := c.chunk.Descriptor().MaxDefinitionLevel() > 0
	at := 0
	for i := range rows {
		if optional && levels[i] == 0 {
			b.AppendNull()
			continue
		}
		if at >= found {
			return 0, errors.New("the column chunk has fewer values than it states")
		}
		b.Append(int96Micros(values[at]))
		at++
	}
	return rows, nil
}

// int96Micros is a time of nanoseconds within a Julian day.
func int96Micros(v parquet.Int96) arrow.Timestamp {
	nanos, day := int64(binary.LittleEndian.Uint64(v[:8])), int64(binary.LittleEndian.Uint32(v[8:]))
	return arrow.Timestamp((day-julianEpoch)*86_400_000_000 + nanos/1000)
}
