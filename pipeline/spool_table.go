package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"lakefeed/change"
)

// tableKey is the key of a stream's schema metadata under which the table's
// description stands.
const tableKey = "lakefeed.table"

// tableText is a table as a segment describes it; the types of its columns are those of
// the stream's first fields.
type tableText struct {
	Schema    string         `json:"schema"`
	Name      string         `json:"name"`
	ID        uint32         `json:"id"`
	Columns   []columnText   `json:"columns"`
	Key       []int          `json:"key,omitempty"`
	KeyKind   change.KeyKind `json:"key_kind"`
	Storage   string         `json:"storage,omitempty"`
	Leaves    []change.Leaf  `json:"leaves,omitempty"`
	Generated []int          `json:"generated,omitempty"`
	Note      string         `json:"note,omitempty"`
	Missing   []byte         `json:"missing,omitempty"` // an Arrow stream: one row, a column for each that has a default of older rows
}

type columnText struct {
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Nullable   bool              `json:"nullable,omitempty"`
	Missing    bool              `json:"missing,omitempty"`
	ID         int               `json:"id,omitempty"`
	Shape      string            `json:"shape,omitempty"`
	Default    uint32            `json:"default,omitempty"`
	Definition change.Definition `json:"definition,omitempty"`
	Reads      string            `json:"reads,omitempty"`
}

// describedSchema is a record's schema with the table's description in its metadata.
func describedSchema(t *change.Table, fields *arrow.Schema) (*arrow.Schema, error) {
	text := tableText{Schema: t.Schema, Name: t.Name, ID: t.ID, Key: t.Key, KeyKind: t.KeyKind, Storage: t.Storage, Leaves: t.Leaves, Generated: t.Generated, Note: t.Note}
	var missing []arrow.Array
	var names []arrow.Field
	for _, c := range t.Columns {
		text.Columns = append(text.Columns, columnText{c.Name, c.Type, c.Nullable, c.Missing != nil, c.ID, c.Shape, c.Default, c.Definition, c.Reads})
		if c.Missing != nil {
			missing = append(missing, c.Missing)
			names = append(names, arrow.Field{Name: c.Name, Type: c.Missing.DataType(), Nullable: true})
		}
	}
	if len(missing) > 0 {
		var b bytes.Buffer
		schema := arrow.NewSchema(names, nil)
		w := ipc.NewWriter(&b, ipc.WithSchema(schema))
		if err := errors.Join(w.Write(array.NewRecordBatch(schema, missing, 1)), w.Close()); err != nil {
			return nil, err
		}
		text.Missing = b.Bytes()
	}
	b, err := json.Marshal(text)
	if err != nil {
		return nil, err
	}
	meta := arrow.NewMetadata([]string{tableKey}, []string{string(b)})
	return arrow.NewSchema(fields.Fields(), &meta), nil
}

// describedTable is the table that a stream's schema describes.
func describedTable(schema *arrow.Schema) (*change.Table, error) {
	at := schema.Metadata().FindKey(tableKey)
	if at < 0 {
		return nil, errors.New("a stream does not say of which table it is")
	}
	var text tableText
	if err := json.Unmarshal([]byte(schema.Metadata().Values()[at]), &text); err != nil {
		return nil, fmt.Errorf("read the description of a table: %w", err)
	}
	n := len(text.Columns)
	if schema.NumFields() != n+len(spillFields) {
		return nil, fmt.Errorf("a stream has %d columns for the %d of its table", schema.NumFields()-len(spillFields), n)
	}
	for i, f := range spillFields {
		if have := schema.Field(n + i); have.Name != f.Name || !arrow.TypeEqual(have.Type, f.Type) {
			return nil, fmt.Errorf("column %d of a stream is %s", n+i, have)
		}
	}
	for _, k := range text.Key {
		if k < 0 || k >= n {
			return nil, fmt.Errorf("its key names column %d", k)
		}
	}
	t := &change.Table{Schema: text.Schema, Name: text.Name, ID: text.ID, Key: text.Key, KeyKind: text.KeyKind, Storage: text.Storage, Leaves: text.Leaves, Generated: text.Generated, Note: text.Note}
	for i, c := range text.Columns {
		t.Columns = append(t.Columns, change.Column{Name: c.Name, Type: c.Type, Arrow: schema.Field(i).Type, Nullable: c.Nullable, ID: c.ID, Shape: c.Shape, Default: c.Default, Definition: c.Definition, Reads: c.Reads})
	}
	return t, readMissing(t, text)
}

// readMissing puts the defaults of older rows into the columns that have one.
func readMissing(t *change.Table, text tableText) error {
	if len(text.Missing) == 0 {
		return nil
	}
	r, err := ipc.NewReader(bytes.NewReader(text.Missing))
	if err != nil {
		return fmt.Errorf("read the defaults of older rows: %w", err)
	}
	if !r.Next() {
		return fmt.Errorf("the defaults of older rows are not there: %w", r.Err())
	}
	row := r.RecordBatch()
	row.Retain()
	for i, c := range text.Columns {
		if !c.Missing {
			continue
		}
		at := row.Schema().FieldIndices(c.Name)
		if len(at) == 0 || row.NumRows() != 1 {
			return fmt.Errorf("the default of older rows of column %s is not there", c.Name)
		}
		t.Columns[i].Missing = row.Column(at[0])
	}
	return nil
}
