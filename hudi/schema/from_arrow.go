package schema

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/twmb/avro"
)

// record, field and the types below print the keys of an Avro schema in Spark's order.
type record struct {
	Type      string  `json:"type"`
	Name      string  `json:"name"`
	Namespace string  `json:"namespace,omitempty"`
	Doc       *string `json:"doc,omitempty"`
	Fields    []any   `json:"fields"`
}

type field struct {
	Name    string          `json:"name"`
	Type    any             `json:"type"`
	Doc     *string         `json:"doc,omitempty"`
	Default json.RawMessage `json:"default,omitempty"`
}

type logical struct {
	Type string `json:"type"`
	Name string `json:"logicalType"`
}

type array struct {
	Type  string `json:"type"`
	Items any    `json:"items"`
}

type mapping struct {
	Type   string `json:"type"`
	Values any    `json:"values"`
}

type decimal struct {
	Type      string `json:"type"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Size      int    `json:"size"`
	Logical   string `json:"logicalType"`
	Precision int32  `json:"precision"`
	Scale     int32  `json:"scale"`
}

// FromArrow returns the Avro schema of a table's data columns as JSON, without the
// meta columns. Record, nested records and decimals are named as Spark names them.
// A nullable column becomes ["null", T] with the default null.
//
// Columns may be booleans, integers up to 64 bits (signed), floats, text, binary,
// dates (Date32), timestamps in microseconds, decimals of up to 38 digits, and
// lists, structs and text-keyed maps of these.
func FromArrow(table string, fields *arrow.Schema) (string, error) {
	name := CleanName(table)
	if name == "" {
		return "", fmt.Errorf("name schema: table %q has no name", table)
	}
	rec, err := recordOf(name+"_record", "hoodie."+name, fields.Fields())
	if err != nil {
		return "", err
	}
	out, err := marshal(rec)
	if err != nil {
		return "", fmt.Errorf("print schema of %s: %w", table, err)
	}
	if _, err := avro.Parse(out); err != nil {
		return "", fmt.Errorf("check schema of %s: %w", table, err)
	}
	return out, nil
}

func recordOf(name, namespace string, fields []arrow.Field) (record, error) {
	rec := record{Type: "record", Name: name, Namespace: namespace, Fields: make([]any, 0, len(fields))}
	for _, f := range fields {
		if f.Name == "" || CleanName(f.Name) != f.Name {
			return rec, fmt.Errorf("name column %q: Avro allows only letters, digits and underscores", f.Name)
		}
		t, err := typeOf(f.Type, f.Nullable, f.Name, namespace+"."+name)
		if err != nil {
			return rec, fmt.Errorf("column %s: %w", f.Name, err)
		}
		out := field{Name: f.Name, Type: t}
		if f.Nullable {
			out.Default = json.RawMessage("null")
		}
		rec.Fields = append(rec.Fields, out)
	}
	return rec, nil
}

// typeOf translates a type that stands at name inside namespace. The path down to
// it is unique in the record, and so are the names made from it.
func typeOf(t arrow.DataType, nullable bool, name, namespace string) (any, error) {
	out, err := plainTypeOf(t, name, namespace)
	if err != nil {
		return nil, err
	}
	if nullable {
		return []any{"null", out}, nil
	}
	return out, nil
}

func plainTypeOf(t arrow.DataType, name, namespace string) (any, error) {
	switch t := t.(type) {
	case *arrow.BooleanType:
		return "boolean", nil
	case *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type:
		return "int", nil
	case *arrow.Int64Type:
		return "long", nil
	case *arrow.Float32Type:
		return "float", nil
	case *arrow.Float64Type:
		return "double", nil
	case *arrow.StringType, *arrow.LargeStringType:
		return "string", nil
	case *arrow.BinaryType, *arrow.LargeBinaryType:
		return "bytes", nil
	case *arrow.Date32Type:
		return logical{"int", "date"}, nil
	case *arrow.TimestampType:
		if t.Unit == arrow.Microsecond {
			return logical{"long", "timestamp-micros"}, nil
		}
	case *arrow.Decimal128Type:
		if t.Precision >= 1 && t.Precision <= 38 && t.Scale >= 0 && t.Scale <= t.Precision {
			return decimal{"fixed", "fixed", namespace + "." + name, MinBytes(int(t.Precision)), "decimal", t.Precision, t.Scale}, nil
		}
	case *arrow.ListType:
		items, err := typeOf(t.Elem(), t.ElemField().Nullable, name, namespace)
		return array{"array", items}, err
	case *arrow.MapType:
		if t.KeyType().ID() == arrow.STRING {
			values, err := typeOf(t.ItemType(), t.ItemField().Nullable, name, namespace)
			return mapping{"map", values}, err
		}
	case *arrow.StructType:
		return recordOf(name, namespace, t.Fields())
	}
	return nil, fmt.Errorf("no Avro type for Arrow's %s", t)
}

// WithMeta puts the five meta columns before the columns of avroJSON, as the
// schemas in base files and log blocks have them. A schema that has them stays.
func WithMeta(avroJSON string) (string, error) {
	var rec struct {
		record
		Fields []json.RawMessage `json:"fields"`
	}
	if err := json.Unmarshal([]byte(avroJSON), &rec); err != nil {
		return "", fmt.Errorf("parse schema: %w", err)
	}
	if rec.Type != "record" {
		return "", fmt.Errorf("parse schema: a %s, not a record", rec.Type)
	}
	var first field
	if len(rec.Fields) > 0 {
		if err := json.Unmarshal(rec.Fields[0], &first); err != nil {
			return "", fmt.Errorf("parse schema: %w", err)
		}
	}
	if first.Name == CommitTime {
		return avroJSON, nil
	}
	none := ""
	for _, name := range MetaFields {
		f := field{Name: name, Type: []string{"null", "string"}, Doc: &none, Default: json.RawMessage("null")}
		rec.record.Fields = append(rec.record.Fields, f)
	}
	for _, f := range rec.Fields {
		rec.record.Fields = append(rec.record.Fields, f)
	}
	return marshal(rec.record)
}

func marshal(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return string(bytes.TrimSpace(b.Bytes())), nil
}
