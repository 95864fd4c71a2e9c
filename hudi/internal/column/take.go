package column

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Take is the rows of batch that sel names, in that order; the caller releases it.
// Where sel names all rows it is batch itself. Rows that lie one behind the other are
// copied at once: where a merge leaves out a few rows of a file that is nearly all of them.
func Take(batch arrow.RecordBatch, sel []int32) (arrow.RecordBatch, error) {
	spans := spansOf(sel)
	if len(spans) == 1 && spans[0] == (span{0, 0, int32(batch.NumRows())}) || len(sel) == 0 && batch.NumRows() == 0 {
		batch.Retain()
		return batch, nil
	}
	columns := make([]arrow.Array, batch.NumCols())
	defer Release(columns)
	for i, col := range batch.Columns() {
		var err error
		if columns[i], err = gatherSpans(col.DataType(), []arrow.Array{col}, spans, len(sel)); err != nil {
			return nil, fmt.Errorf("take rows of column %s: %w", batch.ColumnName(i), err)
		}
	}
	return array.NewRecordBatch(batch.Schema(), columns, int64(len(sel))), nil
}

// spansOf are the rows that sel names, of one part.
func spansOf(sel []int32) []span {
	var spans []span
	for i := 0; i < len(sel); {
		n := int32(1)
		for i+int(n) < len(sel) && sel[i+int(n)] == sel[i]+n {
			n++
		}
		spans, i = append(spans, span{0, sel[i], n}), i+int(n)
	}
	return spans
}

// Room is memory that is not cleared, as every byte of it will be written: clearing took an
// eighth of a read's time. Nothing else in Go's library hands out such memory.
func Room(n int) []byte {
	var b strings.Builder
	b.Grow(n + 1)
	// An empty text need not lie anywhere.
	b.WriteByte(0)
	return unsafe.Slice(unsafe.StringData(b.String()), n) //nolint:gosec // n bytes were asked for, and the text is not used
}
