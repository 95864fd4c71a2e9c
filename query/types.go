//go:build cgo && !nosql

package query

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/duckdb/duckdb-go/mapping"
)

// logicalType is the type that a column has in DuckDB, for the caller to destroy.
// Timestamps with a zone are TIMESTAMP WITH TIME ZONE, and shown in UTC.
func logicalType(t arrow.DataType) (mapping.LogicalType, error) {
	switch t := t.(type) {
	case *arrow.Decimal128Type:
		if t.Precision < 1 || t.Precision > 38 || t.Scale < 0 || t.Scale > t.Precision {
			return mapping.LogicalType{}, fmt.Errorf("DuckDB has no type for %s", t)
		}
		return mapping.CreateDecimalType(uint8(t.Precision), uint8(t.Scale)), nil
	case *arrow.TimestampType:
		if t.Unit == arrow.Nanosecond {
			return mapping.LogicalType{}, fmt.Errorf("DuckDB has no type for %s", t) // none that keeps both zone and digits
		}
		if t.TimeZone != "" {
			return mapping.CreateLogicalType(mapping.TypeTimestampTZ), nil
		}
		return mapping.CreateLogicalType(mapping.TypeTimestamp), nil
	case *arrow.MapType:
		return pairType(t)
	case *arrow.ListType:
		child, err := logicalType(t.Elem())
		if err != nil {
			return child, err
		}
		defer mapping.DestroyLogicalType(&child)
		return mapping.CreateListType(child), nil
	case *arrow.StructType:
		return structType(t)
	}
	plain, ok := plainTypes[t.ID()]
	if !ok {
		return mapping.LogicalType{}, fmt.Errorf("DuckDB has no type for %s", t)
	}
	return mapping.CreateLogicalType(plain), nil
}

var plainTypes = map[arrow.Type]mapping.Type{
	arrow.NULL: mapping.TypeInteger, arrow.BOOL: mapping.TypeBoolean,
	arrow.INT8: mapping.TypeTinyInt, arrow.INT16: mapping.TypeSmallInt, arrow.INT32: mapping.TypeInteger, arrow.INT64: mapping.TypeBigInt,
	arrow.FLOAT32: mapping.TypeFloat, arrow.FLOAT64: mapping.TypeDouble,
	arrow.STRING: mapping.TypeVarchar, arrow.LARGE_STRING: mapping.TypeVarchar,
	arrow.BINARY: mapping.TypeBlob, arrow.LARGE_BINARY: mapping.TypeBlob, arrow.FIXED_SIZE_BINARY: mapping.TypeBlob,
	arrow.DATE32: mapping.TypeDate, arrow.TIME32: mapping.TypeTime, arrow.TIME64: mapping.TypeTime,
}

func pairType(t *arrow.MapType) (mapping.LogicalType, error) {
	key, err := logicalType(t.KeyType())
	if err != nil {
		return key, err
	}
	defer mapping.DestroyLogicalType(&key)
	value, err := logicalType(t.ItemType())
	if err != nil {
		return value, err
	}
	defer mapping.DestroyLogicalType(&value)
	return mapping.CreateMapType(key, value), nil
}

func structType(t *arrow.StructType) (mapping.LogicalType, error) {
	var types []mapping.LogicalType
	var names []string
	defer func() {
		for i := range types {
			mapping.DestroyLogicalType(&types[i])
		}
	}()
	for _, f := range t.Fields() {
		child, err := logicalType(f.Type)
		if err != nil {
			return child, fmt.Errorf("field %s: %w", f.Name, err)
		}
		types, names = append(types, child), append(names, f.Name)
	}
	if len(types) == 0 {
		return mapping.LogicalType{}, fmt.Errorf("DuckDB has no type for %s", t)
	}
	return mapping.CreateStructType(types, names), nil
}
