package pipeline

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
)

// keyTexts are the values of a row's key as texts that the source reads, in key order.
func keyTexts(b *change.Batch, row int) ([]string, error) {
	texts := make([]string, len(b.Table.Key))
	for i, k := range b.Table.Key {
		var ok bool
		if texts[i], ok = keyText(b.Rows.Column(k), row); !ok {
			return nil, fmt.Errorf("a row cannot be asked for by its key: column %s is %s", b.Table.Columns[k].Name, b.Rows.Column(k).DataType())
		}
	}
	return texts, nil
}

func keyText(col arrow.Array, row int) (string, bool) {
	if col.IsNull(row) {
		return "", false
	}
	switch col := col.(type) {
	case *array.String:
		return col.Value(row), true
	case *array.Binary:
		return `\x` + hex.EncodeToString(col.Value(row)), true
	case *array.Float32:
		return strconv.FormatFloat(float64(col.Value(row)), 'g', -1, 32), true
	case *array.Float64:
		return strconv.FormatFloat(col.Value(row), 'g', -1, 64), true
	case *array.Date32:
		return timeText(time.Unix(int64(col.Value(row))*86400, 0), "-01-02"), true
	case *array.Timestamp:
		return timeText(time.UnixMicro(int64(col.Value(row))), "-01-02 15:04:05.999999+00"), true
	case *array.Int16, *array.Int32, *array.Int64, *array.Boolean, *array.Decimal128:
		return col.ValueStr(row), true
	}
	return "", false
}

// timeText is a time with its year in front, which may be one before Christ.
func timeText(t time.Time, form string) string {
	t = t.UTC()
	if y := t.Year(); y <= 0 {
		return fmt.Sprintf("%04d", 1-y) + t.Format(form) + " BC"
	}
	return fmt.Sprintf("%04d", t.Year()) + t.Format(form)
}
