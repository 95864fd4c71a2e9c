package basefile

import (
	"bytes"
	"cmp"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// Value is a value that is compared; its kind says which field holds it.
type Value struct {
	Kind    Kind
	Int     int64
	Float   float64
	Bytes   []byte
	Decimal decimal128.Num // of the column's scale
}

// Kind says how values are compared.
type Kind uint8

// The kinds. Values of no kind, as lists, are not compared.
const (
	NoKind Kind = iota
	IntKind
	FloatKind
	BytesKind
	DecimalKind
)

// Compare orders constants of one kind; ok is false if one of them is no number.
func (a *Value) Compare(b *Value) (order int, ok bool) {
	switch a.Kind {
	case IntKind:
		return cmp.Compare(a.Int, b.Int), true
	case FloatKind:
		return cmp.Compare(a.Float, b.Float), a.Float == a.Float && b.Float == b.Float //nolint:gocritic // NaN is not itself
	case BytesKind:
		return bytes.Compare(a.Bytes, b.Bytes), true
	default:
		return a.Decimal.Cmp(b.Decimal), true
	}
}

// KindOf is how values of a type are compared.
func KindOf(t arrow.DataType) Kind {
	switch t.ID() {
	case arrow.BOOL, arrow.INT32, arrow.INT64, arrow.DATE32, arrow.TIME32, arrow.TIME64, arrow.TIMESTAMP:
		return IntKind
	case arrow.FLOAT32, arrow.FLOAT64:
		return FloatKind
	case arrow.STRING, arrow.BINARY, arrow.FIXED_SIZE_BINARY:
		return BytesKind
	case arrow.DECIMAL128:
		return DecimalKind
	default:
		return NoKind
	}
}
