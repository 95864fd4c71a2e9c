package hudi

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// keyMaker finds the record keys of a table's rows: in Hudi's own column, or, in a
// table without these columns, by the key fields.
type keyMaker struct {
	virtual bool
	fields  []string
	prefix  string // that some key generators put before the value of a single field
}

func newKeyMaker(p Properties) keyMaker {
	k := keyMaker{virtual: strings.EqualFold(p[propMetaFields], "false"), fields: p.list(propRecordKey)}
	if generator := p[propKeyGenerator] + p[propKeyGenType]; len(k.fields) == 1 && strings.Contains(strings.ToUpper(generator), "COMPLEX") {
		k.prefix = k.fields[0] + ":"
	}
	return k
}

// columns are what keys are made of.
func (k keyMaker) columns() []string {
	if k.virtual {
		return append([]string{}, k.fields...)
	}
	return []string{keyColumn}
}

// of are the keys of a batch's rows; the caller releases them.
func (k keyMaker) of(batch arrow.RecordBatch) (*array.String, error) {
	if k.virtual {
		return k.make(batch)
	}
	keys, err := keysOf(batch)
	if err == nil {
		keys.Retain()
	}
	return keys, err
}

// make makes the keys as Hudi's key generators do. They need not be told apart from
// those of other tables, so nothing is escaped.
func (k keyMaker) make(batch arrow.RecordBatch) (*array.String, error) {
	if len(k.fields) == 0 {
		return nil, &UnsupportedError{propMetaFields, "false", "the table names no record key either, by which its log files could be merged"}
	}
	parts := make([]keyPartWriter, len(k.fields))
	for i, name := range k.fields {
		col := columnOf(batch, name)
		if col == nil {
			return nil, fmt.Errorf("make record keys: no column %s", name)
		}
		write, err := foreignKeyText(col, len(k.fields) > 1)
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

// ofDelete is the key that a delete block names.
func (k keyMaker) ofDelete(key string) string {
	if k.virtual {
		return strings.TrimPrefix(key, k.prefix)
	}
	return key
}

// foreignKeyText is keyText without escapes, and with what stands for a null and for an
// empty text.
func foreignKeyText(col arrow.Array, composite bool) (func(dst []byte, row int) []byte, error) {
	var write func(dst []byte, row int) []byte
	switch col := col.(type) {
	case *array.String:
		write = func(dst []byte, row int) []byte { return append(dst, col.Value(row)...) }
	case *array.LargeString:
		write = func(dst []byte, row int) []byte { return append(dst, col.Value(row)...) }
	default:
		var err error
		if write, err = keyText(col, composite); err != nil {
			return nil, err
		}
	}
	return func(dst []byte, row int) []byte {
		from := len(dst)
		if col.IsNull(row) {
			return append(dst, nullKeyPart...)
		}
		if dst = write(dst, row); composite && len(dst) == from {
			dst = append(dst, emptyKeyPart...)
		}
		return dst
	}, nil
}
