package hudi

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// Places of the meta columns before the data columns.
const (
	metaCommitTime = iota
	metaSeqno
	metaKey
	metaPartition
	metaFileName
	metaCount
)

const metaPrefix = "_hoodie_"

// checkSchema refuses what a table's schema may not have.
func checkSchema(schema *arrow.Schema) error {
	seen := map[string]bool{}
	for _, f := range schema.Fields() {
		lower := strings.ToLower(f.Name)
		switch {
		case strings.HasPrefix(lower, metaPrefix):
			return &SchemaError{f.Name, "names that start with _hoodie_ belong to Hudi"}
		case seen[lower]:
			return &SchemaError{f.Name, "there are two of that name (upper and lower case do not differ for Spark)"}
		}
		seen[lower] = true
	}
	return nil
}

// evolve checks that a table of schema old may go on with schema next: nullable
// columns appended, int widened to long, float to double.
func evolve(old, next *arrow.Schema) error {
	if err := checkSchema(next); err != nil {
		return err
	}
	for i, f := range old.Fields() {
		if i >= next.NumFields() {
			return &SchemaError{f.Name, "it may not be dropped"}
		}
		g := next.Field(i)
		switch {
		case f.Name != g.Name:
			return &SchemaError{f.Name, fmt.Sprintf("column %s stands in its place; columns may only be added at the end", g.Name)}
		case !arrow.TypeEqual(f.Type, g.Type) && !widens(f.Type, g.Type):
			return &SchemaError{f.Name, fmt.Sprintf("its type may not change from %s to %s", f.Type, g.Type)}
		case f.Nullable && !g.Nullable:
			return &SchemaError{f.Name, "a nullable column may not become required"}
		}
	}
	for _, g := range next.Fields()[old.NumFields():] {
		if !g.Nullable {
			return &SchemaError{g.Name, "an added column must be nullable: old rows have no value for it"}
		}
	}
	return nil
}

// widens tells whether values of one type are read as another without loss, as every
// Hudi reader does.
func widens(from, to arrow.DataType) bool {
	switch from.ID() {
	case arrow.INT32:
		return to.ID() == arrow.INT64
	case arrow.FLOAT32:
		return to.ID() == arrow.FLOAT64
	default:
		return false
	}
}
