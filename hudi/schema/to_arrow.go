package schema

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/twmb/avro"
)

// ToArrow returns the Arrow schema of an Avro record schema, meta columns
// included where it has them. It also takes what Spark writes and [FromArrow]
// does not: [T, "null"], decimals in bytes, enums (as text), fixed, times, local
// timestamps and maps. The error for anything else names the column.
func ToArrow(avroJSON string) (*arrow.Schema, error) {
	record, err := Record(avroJSON)
	if err != nil {
		return nil, err
	}
	fields, err := arrowFields(record)
	if err != nil {
		return nil, err
	}
	return arrow.NewSchema(fields, nil), nil
}

func arrowFields(record []avro.SchemaField) ([]arrow.Field, error) {
	fields := make([]arrow.Field, 0, len(record))
	for i := range record {
		f, err := arrowField(record[i].Name, &record[i].Type)
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

func arrowField(name string, node *avro.SchemaNode) (arrow.Field, error) {
	value, nullable, err := Unwrap(node)
	if err != nil {
		return arrow.Field{}, fmt.Errorf("column %s: %w", name, err)
	}
	t, err := arrowType(value)
	if err != nil {
		return arrow.Field{}, fmt.Errorf("column %s: %w", name, err)
	}
	return arrow.Field{Name: name, Type: t, Nullable: nullable}, nil
}

// TypeOf is the Arrow type for an Avro type, of which null is a branch or not.
func TypeOf(node *avro.SchemaNode) (arrow.DataType, error) {
	value, _, err := Unwrap(node)
	if err != nil {
		return nil, err
	}
	return arrowType(value)
}

// Unwrap returns the type that a union of null and one type holds, in either
// order, and true; any other type is returned as it is, with false.
func Unwrap(node *avro.SchemaNode) (value *avro.SchemaNode, nullable bool, err error) {
	if node.Type != "union" {
		return node, node.Type == "null", nil
	}
	for i := range node.Branches {
		b := &node.Branches[i]
		switch {
		case b.Type == "null":
			nullable = true
		case value == nil:
			value = b
		default:
			return nil, false, fmt.Errorf("no Arrow type for a union of %s and %s", value.Type, b.Type)
		}
	}
	if value == nil {
		return nil, false, errors.New("no Arrow type for an empty union")
	}
	return value, nullable, nil
}

func arrowType(node *avro.SchemaNode) (arrow.DataType, error) {
	if node.LogicalType != "" {
		return logicalType(node)
	}
	switch node.Type {
	case "null":
		return arrow.Null, nil
	case "boolean":
		return arrow.FixedWidthTypes.Boolean, nil
	case "int":
		return arrow.PrimitiveTypes.Int32, nil
	case "long":
		return arrow.PrimitiveTypes.Int64, nil
	case "float":
		return arrow.PrimitiveTypes.Float32, nil
	case "double":
		return arrow.PrimitiveTypes.Float64, nil
	case "bytes":
		return arrow.BinaryTypes.Binary, nil
	case "string", "enum":
		return arrow.BinaryTypes.String, nil
	case "fixed":
		return &arrow.FixedSizeBinaryType{ByteWidth: node.Size}, nil
	case "array":
		f, err := arrowField("element", node.Items)
		if err != nil {
			return nil, err
		}
		return arrow.ListOfField(f), nil
	case "map":
		f, err := arrowField("value", node.Values)
		if err != nil {
			return nil, err
		}
		key := arrow.Field{Name: "key", Type: arrow.BinaryTypes.String}
		return arrow.MapOfFields(key, f), nil
	case "record", "error":
		fields, err := arrowFields(node.Fields)
		if err != nil {
			return nil, err
		}
		return arrow.StructOf(fields...), nil
	}
	return nil, fmt.Errorf("no Arrow type for Avro's %s", node.Type)
}

func logicalType(node *avro.SchemaNode) (arrow.DataType, error) {
	switch node.Type + " " + node.LogicalType {
	case "int date":
		return arrow.FixedWidthTypes.Date32, nil
	case "int time-millis":
		return arrow.FixedWidthTypes.Time32ms, nil
	case "long time-micros":
		return arrow.FixedWidthTypes.Time64us, nil
	case "long timestamp-millis":
		return arrow.FixedWidthTypes.Timestamp_ms, nil
	case "long timestamp-micros":
		return arrow.FixedWidthTypes.Timestamp_us, nil
	case "long local-timestamp-millis":
		return &arrow.TimestampType{Unit: arrow.Millisecond}, nil
	case "long local-timestamp-micros":
		return &arrow.TimestampType{Unit: arrow.Microsecond}, nil
	case "string uuid":
		return arrow.BinaryTypes.String, nil
	case "fixed decimal", "bytes decimal":
		if node.Precision > 38 {
			return nil, fmt.Errorf("a decimal of %d digits: at most 38 are read", node.Precision)
		}
		return &arrow.Decimal128Type{Precision: int32(node.Precision), Scale: int32(node.Scale)}, nil
	}
	return nil, fmt.Errorf("no Arrow type for the logical type %s of Avro's %s", node.LogicalType, node.Type)
}
