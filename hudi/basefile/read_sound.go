package basefile

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// checkSound sees that an array has the values that its length and its offsets promise.
// Of a damaged file the Parquet library makes arrays that have not, and what computes
// with them panics, in goroutines of its own.
func checkSound(col arrow.Array) error {
	d := col.Data()
	end := d.Offset() + d.Len()
	switch col := col.(type) {
	case *array.Struct:
		for i, child := range d.Children() {
			if child.Len() < end {
				return fmt.Errorf("damaged Parquet: field %d has %d values of %d", i, child.Len(), end)
			}
		}
		for i := range col.NumField() {
			if err := checkSound(col.Field(i)); err != nil {
				return err
			}
		}
		return nil
	case array.ListLike:
		if err := checkOffsets(col); err != nil {
			return err
		}
		return checkSound(col.ListValues())
	}
	if t, ok := col.DataType().(arrow.FixedWidthDataType); ok && end > 0 {
		if b := d.Buffers()[1]; b == nil || int64(b.Len())*8 < int64(end)*int64(t.BitWidth()) {
			return fmt.Errorf("damaged Parquet: a column has less than %d values", end)
		}
	}
	return nil
}

func checkOffsets(col array.ListLike) error {
	last := int64(0)
	for row := range col.Len() {
		from, to := col.ValueOffsets(row)
		if from < last || to < from || to > int64(col.ListValues().Len()) {
			return fmt.Errorf("damaged Parquet: the list in row %d has values %d to %d of %d", row, from, to, col.ListValues().Len())
		}
		last = to
	}
	return nil
}
