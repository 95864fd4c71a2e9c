package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// LatestKey names the entry of a commit's extra metadata that holds the [Internal]
// schema of tables whose columns were renamed, dropped or moved.
const LatestKey = "latest_schema"

// Internal is a table's schema in which each column has a number that it keeps when
// it is renamed or moved, and that no other column gets when it is dropped: by it a
// file of an older schema is read.
type Internal struct {
	// Version is the instant from which on the schema holds, as a number.
	Version int64
	root    internalType
	last    int // the greatest number that was given; only of those that [Internal.Next] made
}

type internalField struct {
	ID   int          `json:"id"`
	Name string       `json:"name"`
	Type internalType `json:"type"`
}

// internalType is a nested type, or the name of any other.
type internalType struct {
	Name    string
	Fields  []internalField
	Element *internalType
	Value   *internalType
}

// UnmarshalJSON reads a type's name or a nested type.
func (t *internalType) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &t.Name)
	}
	var nested struct {
		Type    string          `json:"type"`
		Fields  []internalField `json:"fields"`
		Element *internalType   `json:"element"`
		Value   *internalType   `json:"value"`
	}
	if err := json.Unmarshal(data, &nested); err != nil {
		return err
	}
	t.Name, t.Fields, t.Element, t.Value = nested.Type, nested.Fields, nested.Element, nested.Value
	return nil
}

// ParseInternal reads an internal schema as commits have it. An empty text is none:
// nil without an error.
func ParseInternal(text string) (*Internal, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // said above
	}
	s := &Internal{}
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return nil, fmt.Errorf("parse internal schema: %w", err)
	}
	return s, nil
}

// UnmarshalJSON reads a version and its columns.
func (s *Internal) UnmarshalJSON(data []byte) error {
	var head struct {
		Version int64 `json:"version_id"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return err
	}
	s.Version = head.Version
	if err := json.Unmarshal(data, &s.root); err != nil {
		return err
	}
	if s.root.Name != "record" {
		return fmt.Errorf("a %s, not a record", s.root.Name)
	}
	return nil
}

// ParseHistory reads the internal schemas of a file of the folder .hoodie/.schema,
// and sorts them by version.
func ParseHistory(text []byte) ([]*Internal, error) {
	var h struct {
		Schemas []*Internal `json:"schemas"`
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, fmt.Errorf("parse schema history: %w", err)
	}
	if slices.Contains(h.Schemas, nil) {
		return nil, errors.New("parse schema history: a schema is null")
	}
	slices.SortFunc(h.Schemas, func(a, b *Internal) int { return int(min(max(a.Version-b.Version, -1), 1)) })
	return h.Schemas, nil
}

// absent begins the names of columns that a file cannot have.
const absent = "\x00"

// In returns the columns of want, which s names, under the names that they have in
// files of the schema file: renamed ones, nested ones too, with the name of then; ones
// that were not there yet, whatever was called so then, with a name that no file has.
// Hudi's own columns and such as s does not know keep their names. The types are
// want's.
func (s *Internal) In(file *Internal, want *arrow.Schema) *arrow.Schema {
	return arrow.NewSchema(inFile(s.root.Fields, file.root.Fields, want.Fields()), nil)
}

func inFile(now, then []internalField, want []arrow.Field) []arrow.Field {
	out := slices.Clone(want)
	for i, w := range want {
		at := fieldNamed(now, w.Name)
		if at < 0 || strings.HasPrefix(w.Name, "_hoodie_") {
			continue
		}
		old := slices.IndexFunc(then, func(f internalField) bool { return f.ID == now[at].ID })
		if old < 0 {
			out[i] = arrow.Field{Name: absent + w.Name, Type: w.Type, Nullable: true}
			continue
		}
		out[i].Name = then[old].Name
		out[i].Type = typeInFile(now[at].Type, then[old].Type, w.Type)
	}
	return out
}

func typeInFile(now, then internalType, want arrow.DataType) arrow.DataType {
	switch want := want.(type) {
	case *arrow.StructType:
		return arrow.StructOf(inFile(now.Fields, then.Fields, want.Fields())...)
	case *arrow.ListType:
		if now.Element != nil && then.Element != nil {
			elem := want.ElemField()
			elem.Type = typeInFile(*now.Element, *then.Element, elem.Type)
			return arrow.ListOfField(elem)
		}
	case *arrow.MapType:
		if now.Value != nil && then.Value != nil {
			item := want.ItemField()
			item.Type = typeInFile(*now.Value, *then.Value, item.Type)
			return arrow.MapOfFields(want.KeyField(), item)
		}
	}
	return want
}

// fieldNamed finds a field by name: as it is written, else but for upper and lower
// case.
func fieldNamed(fields []internalField, name string) int {
	if i := slices.IndexFunc(fields, func(f internalField) bool { return f.Name == name }); i >= 0 {
		return i
	}
	return slices.IndexFunc(fields, func(f internalField) bool { return strings.EqualFold(f.Name, name) })
}
