package hudi

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi/schema"
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
		if err := checkStructs(f.Name, f.Type); err != nil {
			return err
		}
	}
	return nil
}

// checkStructs refuses structs without fields: neither Parquet nor Spark can hold them.
func checkStructs(path string, t arrow.DataType) error {
	nested, ok := t.(arrow.NestedType)
	if !ok {
		return nil
	}
	fields := nested.Fields()
	if len(fields) == 0 {
		return &SchemaError{path, "a struct without fields, which neither Parquet nor Spark can hold: leave the column out, or give it a field"}
	}
	for _, f := range fields {
		if err := checkStructs(path+"."+f.Name, f.Type); err != nil {
			return err
		}
	}
	return nil
}

// evolution is a change of a table's schema whose files stay as they are: each reader
// finds the columns in them by name. What it allows is what Spark with Hudi 1.2.0 and
// 0.15.0 and hudi-rs read right: docs/schema-evolution.md.
type evolution struct {
	added []string // paths of new columns and fields
	bytes []string // columns of texts that become bytes
}

// evolve checks that a table of schema old may go on with schema next while files of
// old stay.
func evolve(old, next *arrow.Schema) (*evolution, error) {
	if err := checkSchema(next); err != nil {
		return nil, err
	}
	e := &evolution{}
	return e, e.fields("", old.Fields(), next.Fields())
}

// wayOut is what makes the changes that files of before stand in the way of.
const wayOut = "Table.Rewrite writes all files anew, and may make it"

// fields compares the columns of a table or the fields of a struct, whose path ends in
// a dot.
func (e *evolution) fields(path string, old, next []arrow.Field) error {
	var added []string
	for _, g := range next {
		at := slices.IndexFunc(old, func(f arrow.Field) bool { return f.Name == g.Name })
		if at < 0 {
			if !g.Nullable {
				return &SchemaError{path + g.Name, "an added column must be nullable: old rows have no value for it"}
			}
			added = append(added, g.Name)
			continue
		}
		if err := e.field(path+g.Name, old[at], g); err != nil {
			return err
		}
	}
	for _, f := range old {
		gone := !slices.ContainsFunc(next, func(g arrow.Field) bool { return g.Name == f.Name })
		if gone && len(added) > 0 {
			return &SchemaError{path + f.Name, fmt.Sprintf("it is gone and %s is new, which readers cannot tell from another name for it, whose values they would lose: "+
				"drop it in a transaction of its own, or rename it by Table.RenameColumn", path+added[0])}
		}
	}
	for _, name := range added {
		e.added = append(e.added, path+name)
	}
	return nil
}

// field compares a column or field that both schemas have.
func (e *evolution) field(path string, old, next arrow.Field) error {
	if old.Nullable && !next.Nullable {
		return &SchemaError{path, "a nullable column may not become required"}
	}
	return e.types(path, old.Type, next.Type)
}

func (e *evolution) types(path string, old, next arrow.DataType) error {
	switch wider := widens(old, next); {
	case arrow.TypeEqual(old, next):
		return nil
	case wider && !strings.Contains(path, "."):
		if next.ID() == arrow.BINARY {
			e.bytes = append(e.bytes, path)
		}
		return nil
	case wider:
		return &SchemaError{path, fmt.Sprintf("its type may not change from %s to %s within another, as Spark does not read the old files so: %s", old, next, wayOut)}
	}
	switch next := next.(type) {
	case *arrow.StructType:
		if old, ok := old.(*arrow.StructType); ok {
			return e.fields(path+".", old.Fields(), next.Fields())
		}
	case *arrow.ListType:
		if old, ok := old.(*arrow.ListType); ok {
			return e.field(path+".element", old.ElemField(), next.ElemField())
		}
	case *arrow.MapType:
		if old, ok := old.(*arrow.MapType); ok && arrow.TypeEqual(old.KeyType(), next.KeyType()) {
			return e.field(path+".value", old.ItemField(), next.ItemField())
		}
	}
	return &SchemaError{path, fmt.Sprintf("its type may not change from %s to %s, as %s: %s", old, next, unreadBy(old, next), wayOut)}
}

// widens tells whether values of one type, in base and log files, are read as another
// without loss, and as the same, by every engine.
func widens(from, to arrow.DataType) bool {
	switch to := to.(type) {
	case *arrow.Int64Type:
		return from.ID() == arrow.INT32
	case *arrow.Float64Type:
		return from.ID() == arrow.FLOAT32 || from.ID() == arrow.INT32
	case *arrow.Decimal128Type:
		from, ok := from.(*arrow.Decimal128Type)
		return ok && from.Scale == to.Scale && from.Precision <= to.Precision && schema.MinBytes(int(from.Precision)) == schema.MinBytes(int(to.Precision))
	case *arrow.StringType:
		return from.ID() == arrow.INT32 || from.ID() == arrow.INT64
	case *arrow.BinaryType:
		return from.ID() == arrow.STRING
	}
	return false
}

// unreadBy says who does not read values of one type as another, or loses them.
func unreadBy(from, to arrow.DataType) string {
	number := from.ID() == arrow.INT32 || from.ID() == arrow.INT64
	switch {
	case to.ID() == arrow.STRING && (from.ID() == arrow.FLOAT32 || from.ID() == arrow.FLOAT64):
		return "Spark and hudi-rs write the old numbers in different ways"
	case to.ID() == arrow.STRING && from.ID() == arrow.BINARY:
		return "old values need not be text"
	case number && (to.ID() == arrow.FLOAT32 || to.ID() == arrow.FLOAT64):
		return "it does not hold all of the old numbers"
	case to.ID() == arrow.DECIMAL128 && from.ID() == arrow.DECIMAL128:
		return "Spark with Hudi 0.15.0 or hudi-rs does not read it so in old log files"
	case to.ID() == arrow.STRING, to.ID() == arrow.DECIMAL128, to.ID() == arrow.TIMESTAMP:
		return "hudi-rs does not read it so in old log files"
	}
	return "neither Spark nor hudi-rs reads the old files so"
}
