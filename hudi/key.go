package hudi

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
)

// What Hudi writes in a composite key for a null and for an empty value.
const (
	nullKeyPart  = "__null__"
	emptyKeyPart = "__empty__"
)

// RecordKeys returns the record keys of a batch's rows, made from the named columns
// as Hudi's key generators make them: the text of the value for one column,
// "a:1,b:2" for several. A null in one of them is an error.
//
// No two values share a key. Where Hudi's form could not tell them apart it is
// escaped, and such rows are not for Spark to upsert:
//
//   - in a composite key, the bytes "%", "," and ":" of a text become %25, %2C and
//     %3A, and the texts __null__ and __empty__ begin with %5F; an empty text is
//     __empty__, as in Hudi;
//   - a single text that is empty, __null__, __empty__ or begins with "%" gets a "%"
//     put before it.
//
// Values are written so: integers in decimal, booleans as true and false, dates as
// yyyy-MM-dd, timestamps and times as the number that they hold, floats as Java
// prints them, decimals in full with all digits of their scale, binary in hex.
func RecordKeys(batch arrow.RecordBatch, fields []string) (*array.String, error) {
	if len(fields) == 0 {
		return nil, errors.New("make record keys: no key columns")
	}
	parts := make([]keyPartWriter, len(fields))
	for i, name := range fields {
		at := batch.Schema().FieldIndices(name)
		if len(at) == 0 {
			return nil, badRow("make record keys: no column %s", name)
		}
		col := batch.Column(at[0])
		if col.NullN() > 0 {
			return nil, badRow("make record keys: column %s is null in row %d", name, column.FirstNull(col))
		}
		write, err := keyText(col, len(fields) > 1)
		if err != nil {
			return nil, fmt.Errorf("make record keys: column %s: %w", name, err)
		}
		parts[i] = keyPartWriter{name + ":", write}
	}
	if len(parts) == 1 {
		parts[0].prefix = ""
	}
	return buildKeys(parts, int(batch.NumRows())), nil
}

type keyPartWriter struct {
	prefix string
	write  func(dst []byte, row int) []byte
}

func buildKeys(parts []keyPartWriter, rows int) *array.String {
	b := array.NewStringBuilder(column.Allocator)
	defer b.Release()
	b.Reserve(rows)
	var key []byte
	for row := range rows {
		key = key[:0]
		for i, p := range parts {
			if i > 0 {
				key = append(key, ',')
			}
			key = append(key, p.prefix...)
			key = p.write(key, row)
		}
		b.BinaryBuilder.Append(key)
	}
	return b.NewStringArray()
}
