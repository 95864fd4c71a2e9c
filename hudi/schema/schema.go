// Package schema translates between Arrow schemas and the Avro schemas that Hudi
// keeps: in every commit, in the footers of base files and in the headers of log
// blocks.
//
// [FromArrow] makes the schema of a table's data columns, named as Spark names
// it; [WithMeta] puts Hudi's five meta columns before them; [ToArrow] reads such
// schemas, also those that Spark wrote.
//
//	avro, err := schema.FromArrow("orders", columns)
//	full, err := schema.WithMeta(avro)
//	arrow, err := schema.ToArrow(full)
package schema

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// Names of the meta columns that stand before the data columns of every table.
const (
	CommitTime    = "_hoodie_commit_time"
	CommitSeqno   = "_hoodie_commit_seqno"
	RecordKey     = "_hoodie_record_key"
	PartitionPath = "_hoodie_partition_path"
	FileName      = "_hoodie_file_name"
)

// MetaFields lists the meta columns in the order in which files hold them.
var MetaFields = []string{CommitTime, CommitSeqno, RecordKey, PartitionPath, FileName}

// ArrowWithMeta returns the schema of a table's files: the five meta columns, all
// nullable text, followed by the data columns.
func ArrowWithMeta(data *arrow.Schema) *arrow.Schema {
	fields := make([]arrow.Field, 0, len(MetaFields)+data.NumFields())
	for _, name := range MetaFields {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	return arrow.NewSchema(append(fields, data.Fields()...), nil)
}

// IsMeta tells whether name is one of Hudi's meta columns.
func IsMeta(name string) bool {
	return slices.Contains(MetaFields, name)
}

// CleanName makes a name that Avro allows, [A-Za-z_][A-Za-z0-9_]*, as Hudi does:
// each other character, and a digit at the start, becomes "__".
func CleanName(name string) string {
	var b strings.Builder
	for i, c := range name {
		if c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || i > 0 && '0' <= c && c <= '9' {
			b.WriteRune(c)
		} else {
			b.WriteString("__")
		}
	}
	return b.String()
}

// MinBytes returns how many bytes the two's complement of any decimal of that
// precision needs, which is the size of its fixed type in Avro and in Parquet.
func MinBytes(precision int) int {
	return int(minBytes[precision])
}

// minBytes is the smallest b with 2^(8b-1) - 1 >= 10^p - 1, indexed by p.
var minBytes = [39]uint8{
	0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 6, 6, 7, 7, 8, 8, 9,
	9, 9, 10, 10, 11, 11, 11, 12, 12, 13, 13, 13, 14, 14, 15, 15, 16, 16, 16,
}
