package hudi

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
)

// keyText returns a function that appends the key text of a row's value.
func keyText(col arrow.Array, composite bool) (func(dst []byte, row int) []byte, error) {
	switch col := col.(type) {
	case *array.String:
		return keyStrings(col.Value, composite), nil
	case *array.LargeString:
		return keyStrings(col.Value, composite), nil
	case *array.Binary:
		return keyBytes(col.Value, composite), nil
	case *array.FixedSizeBinary:
		return keyBytes(col.Value, composite), nil
	}
	write, err := column.Text(col)
	if err != nil {
		return nil, fmt.Errorf("no key text for %s", col.DataType())
	}
	return write, nil
}

func keyStrings(value func(int) string, composite bool) func([]byte, int) []byte {
	if composite {
		return func(dst []byte, row int) []byte { return appendKeyPart(dst, value(row)) }
	}
	return func(dst []byte, row int) []byte { return appendSingleKey(dst, value(row)) }
}

func keyBytes(value func(int) []byte, composite bool) func([]byte, int) []byte {
	empty := "%"
	if composite {
		empty = emptyKeyPart
	}
	return func(dst []byte, row int) []byte {
		v := value(row)
		if len(v) == 0 {
			return append(dst, empty...)
		}
		return hex.AppendEncode(dst, v)
	}
}

// appendSingleKey appends the key of a one-column table.
func appendSingleKey(dst []byte, s string) []byte {
	if s == "" || s[0] == '%' || s == nullKeyPart || s == emptyKeyPart {
		dst = append(dst, '%')
	}
	return append(dst, s...)
}

// appendKeyPart appends one value of a composite key.
func appendKeyPart(dst []byte, s string) []byte {
	switch s {
	case "":
		return append(dst, emptyKeyPart...)
	case nullKeyPart, emptyKeyPart:
		return append(append(dst, "%5F"...), s[1:]...)
	}
	for {
		i := strings.IndexAny(s, "%,:")
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		switch s[i] {
		case '%':
			dst = append(dst, "%25"...)
		case ',':
			dst = append(dst, "%2C"...)
		case ':':
			dst = append(dst, "%3A"...)
		}
		s = s[i+1:]
	}
}
