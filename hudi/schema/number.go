package schema

import (
	"github.com/apache/arrow-go/v18/arrow"
)

// NewInternal numbers the columns of a schema.
func NewInternal(s *arrow.Schema) *Internal {
	return (&Internal{}).Next(s)
}

// Next is the schema that comes after s in a table whose columns are found by name: each
// column and nested field that s has keeps its number, and others get new ones, which
// none before had.
func (s *Internal) Next(next *arrow.Schema) *Internal {
	n := numbering{last: s.last}
	out := &Internal{root: internalType{Name: "record", Fields: n.fields(s.root.Fields, next.Fields())}}
	out.last = n.last
	return out
}

// numbering gives numbers.
type numbering struct{ last int }

func (n *numbering) fields(old []internalField, next []arrow.Field) []internalField {
	out := make([]internalField, len(next))
	for i, f := range next {
		var was internalField
		if at := fieldNamed(old, f.Name); at >= 0 {
			was = old[at]
		} else {
			n.last++
			was.ID = n.last
		}
		out[i] = internalField{ID: was.ID, Name: f.Name, Type: n.types(was.Type, f.Type)}
	}
	return out
}

func (n *numbering) types(old internalType, next arrow.DataType) internalType {
	inner := func(t *internalType, next arrow.DataType) *internalType {
		if t == nil {
			t = &internalType{}
		}
		out := n.types(*t, next)
		return &out
	}
	switch next := next.(type) {
	case *arrow.StructType:
		return internalType{Name: "record", Fields: n.fields(old.Fields, next.Fields())}
	case *arrow.ListType:
		return internalType{Name: "array", Element: inner(old.Element, next.Elem())}
	case *arrow.MapType:
		return internalType{Name: "map", Value: inner(old.Value, next.ItemType())}
	}
	return internalType{Name: next.Name()}
}
