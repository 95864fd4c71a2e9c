package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/change"
	"lakefeed/hudi/schema"
)

// The columns that every table has beside the source's own, named as Hudi's
// Debezium source names them.
const (
	colOp        = "_change_operation_type"          // c, u, r
	colProcessed = "_upstream_event_processed_ts_ms" // when this process wrote the row
	colOrigin    = "_event_origin_ts_ms"             // when the source committed it; null for rows of the first copy
	colTx        = "_event_tx_id"
	colLSN       = "_event_lsn" // the commit's LSN, the ordering field; for copied rows the snapshot's consistent point
	colXmin      = "_event_xmin"
	colShard     = "db_shard_source_partition"
	colKey       = "_lakefeed_key" // record key of tables without a key
)

var extraColumns = []arrow.Field{
	{Name: colOp, Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: colProcessed, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: colShard, Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: colOrigin, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: colTx, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: colLSN, Type: arrow.PrimitiveTypes.Int64, Nullable: false},
	{Name: colXmin, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
}

func isExtra(lower string) bool {
	for _, f := range extraColumns {
		if f.Name == lower {
			return true
		}
	}
	return false
}

// layout says where each field of a lake table comes from, for one version of its source table.
type layout struct {
	table  *change.Table
	names  []string      // lake name of each source column
	schema *arrow.Schema // of the lake table, data fields
	source []int         // for each field the source column, -1: none
	// partitions are those of the lake table: fields that they derive are made of others.
	partitions []partitionColumn
}

// newSchema is the schema of a table that is not in the lake yet: the extra columns and
// those that partitions derive first, so that columns added later stand behind the
// source's own.
func newSchema(t *change.Table, lean bool, partitions []partitionColumn) *arrow.Schema {
	var fields []arrow.Field
	shard := shardColumnOf(t)
	for _, f := range extraColumns {
		if f.Name == colShard && shard >= 0 {
			f.Nullable = !inKey(t, shard)
			fields = append(fields, f)
		} else if !lean || f.Name == colLSN {
			fields = append(fields, f)
		}
	}
	if t.KeyKind == change.NoKey {
		fields = append(fields, arrow.Field{Name: colKey, Type: arrow.BinaryTypes.String})
	}
	for _, c := range partitions {
		if c.derived() {
			fields = append(fields, arrow.Field{Name: c.Lake, Type: arrow.BinaryTypes.String, Nullable: true})
		}
	}
	names := columnNames(t)
	for i, c := range t.Columns {
		if i != shard { // which stands above
			fields = append(fields, arrow.Field{Name: names[i], Type: c.Arrow, Nullable: !inKey(t, i)})
		}
	}
	return arrow.NewSchema(fields, nil)
}

func inKey(t *change.Table, column int) bool { return slices.Contains(t.Key, column) }

// recordKey is the lake names of the columns that make a row's record key.
func recordKey(t *change.Table) []string {
	if t.KeyKind == change.NoKey {
		return []string{colKey}
	}
	names := columnNames(t)
	key := make([]string, len(t.Key))
	for i, k := range t.Key {
		key[i] = names[k]
	}
	return key
}

// newLayout maps a source table to a lake table that has all of its columns already.
func newLayout(t *change.Table, schema *arrow.Schema) (*layout, error) {
	l := &layout{table: t, names: columnNames(t), schema: schema, source: make([]int, schema.NumFields())}
	at := map[string]int{}
	for i, n := range l.names {
		at[n] = i
	}
	found := 0
	for i, f := range schema.Fields() {
		l.source[i] = -1
		if c, ok := at[f.Name]; ok {
			l.source[i] = c
			found++
		}
	}
	if found != len(l.names) {
		return nil, fmt.Errorf("lay out %s: the lake's schema lacks one of the columns %s", t, strings.Join(l.names, ", "))
	}
	return l, nil
}

// layoutOf is newLayout for what is written into a table.
func (t *target) layoutOf(v *change.Table, schema *arrow.Schema) (*layout, error) {
	l, err := newLayout(v, schema)
	if err != nil {
		return nil, err
	}
	l.partitions = t.partitions
	return l, nil
}

// widens reports whether every value of from is one of to, in files that hold from.
func widens(from, to arrow.DataType) bool {
	if to, ok := to.(*arrow.Decimal128Type); ok {
		from, ok := from.(*arrow.Decimal128Type)
		return ok && from.Scale == to.Scale && from.Precision <= to.Precision && schema.MinBytes(int(from.Precision)) == schema.MinBytes(int(to.Precision))
	}
	return from.ID() == arrow.INT32 && to.ID() == arrow.INT64 || from.ID() == arrow.FLOAT32 && to.ID() == arrow.FLOAT64
}
