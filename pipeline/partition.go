package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi"
)

// PartitionField is one level of a table's partitions: the value of a column, or the
// year, month, day or hour that a date or timestamp falls in, by UTC or, where it has no
// time zone, by its own reading.
type PartitionField struct {
	Column string // its name in the source
	Unit   Unit   // empty: the value itself
}

// Unit is a part of a calendar.
type Unit string

// The units.
const (
	Year  Unit = "year"
	Month Unit = "month"
	Day   Unit = "day"
	Hour  Unit = "hour"
)

// unitLayouts is how each unit is written: texts whose order is that of time.
var unitLayouts = map[Unit]string{Year: "2006", Month: "2006-01", Day: "2006-01-02", Hour: "2006-01-02-15"}

// ParsePartitionField reads a field as the configuration has it: region, day(created_at);
// a name in double quotes stands for itself.
func ParsePartitionField(s string) (PartitionField, error) {
	want := errors.New(`want a column, or year(column), month(column), day(column) or hour(column); a name with parentheses, commas or quotes in double quotes`)
	name, unit := strings.TrimSpace(s), Unit("")
	if before, rest, ok := strings.Cut(name, "("); ok && !strings.HasPrefix(name, `"`) {
		if unit = Unit(strings.TrimSpace(before)); unitLayouts[unit] == "" || !strings.HasSuffix(rest, ")") {
			return PartitionField{}, want
		}
		name = strings.TrimSpace(strings.TrimSuffix(rest, ")"))
	}
	if quoted, ok := strings.CutPrefix(name, `"`); ok {
		inner, ok := strings.CutSuffix(quoted, `"`)
		name = strings.ReplaceAll(inner, `""`, `"`)
		if !ok || strings.Count(inner, `"`) != 2*strings.Count(inner, `""`) {
			return PartitionField{}, want
		}
	} else if strings.ContainsAny(name, `(),"`) {
		return PartitionField{}, want
	}
	if name == "" {
		return PartitionField{}, want
	}
	return PartitionField{name, unit}, nil
}

// String is the field as the configuration has it.
func (f PartitionField) String() string {
	name := f.Column
	if strings.ContainsAny(name, `(),"`) || strings.TrimSpace(name) != name {
		name = `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	if f.Unit == "" {
		return name
	}
	return string(f.Unit) + "(" + name + ")"
}

// partitionColumn is a level of the partitions of a lake table.
type partitionColumn struct {
	By   string `json:"by"`   // a PartitionField
	From string `json:"from"` // the lake column that the values come from
	Lake string `json:"lake"` // the lake column that names the folders: From, or one that is derived of it
}

func (c partitionColumn) derived() bool { return c.Lake != c.From }

func (c partitionColumn) unit() Unit {
	f, err := ParsePartitionField(c.By)
	if err != nil {
		return "" // it is our own text
	}
	return f.Unit
}

// PartitionByError says that a table cannot be laid into the partitions that the
// configuration wants.
type PartitionByError struct{ What string }

// Error says why.
func (e *PartitionByError) Error() string { return e.What }

func noPartition(format string, args ...any) error {
	return &PartitionByError{"partition_by: " + fmt.Sprintf(format, args...)}
}

// PartitionColumns are the lake columns that name the folders of a table's partitions, one
// for each field. A field that the table cannot have is a *[PartitionByError].
func PartitionColumns(t *change.Table, by []PartitionField) ([]string, error) {
	columns, err := newPartitions(t, by)
	return lakeColumns(columns), err
}

func lakeColumns(columns []partitionColumn) []string {
	var names []string
	for _, c := range columns {
		names = append(names, c.Lake)
	}
	return names
}

// newPartitions makes the partition columns of a table that is not in the lake yet.
func newPartitions(t *change.Table, by []PartitionField) ([]partitionColumn, error) {
	names, taken := columnNames(t), map[string]bool{}
	for _, n := range names {
		taken[strings.ToLower(n)] = true
	}
	var out []partitionColumn
	for _, f := range by {
		i := columnIndex(t, f.Column)
		if i < 0 {
			return nil, noPartition("%s has no column %s", t, f.Column)
		}
		if err := checkPartition(t.Columns[i], f); err != nil {
			return nil, err
		}
		c := partitionColumn{By: f.String(), From: names[i], Lake: names[i]}
		if f.Unit != "" {
			c.Lake = unique(names[i]+"_"+string(f.Unit), taken)
		}
		if slices.ContainsFunc(out, func(o partitionColumn) bool { return o.By == c.By }) {
			return nil, noPartition("%s is there twice", c.By)
		}
		out = append(out, c)
	}
	return out, nil
}

// checkPartition refuses a column whose values make no folders.
func checkPartition(c change.Column, f PartitionField) error {
	id := c.Arrow.ID()
	date, timestamp := id == arrow.DATE32, id == arrow.TIMESTAMP
	plain := []arrow.Type{arrow.INT32, arrow.INT64, arrow.BOOL, arrow.STRING, arrow.DATE32, arrow.DECIMAL128}
	switch {
	case f.Unit == Hour && date:
		return noPartition("%s: the column is a date, which has no hours", f)
	case f.Unit != "" && !date && !timestamp:
		return noPartition("%s: the column is %s, and neither date nor timestamp", f, c.Type)
	case f.Unit == "" && timestamp:
		return noPartition("%s: every moment would be a partition: write day(%[1]s), or year, month or hour", f)
	case f.Unit == "" && !slices.Contains(plain, id):
		return noPartition("%s: values of %s name no folders", f, c.Type)
	}
	return nil
}

// CheckPartitions looks whether a table of the source can have the partitions that the
// configuration wants; lake is its table in the lake, nil where there is none. A
// *[PartitionByError] says that it cannot.
func CheckPartitions(ctx context.Context, t *change.Table, lake *hudi.Table, by []PartitionField) error {
	if lake != nil {
		at, err := anyCheckpoint(ctx, lake)
		if err != nil {
			return err
		}
		if at != nil {
			return cmp.Or(samePartitions(t.String(), at.Partitions, by), clash(t, at.Partitions))
		}
	}
	_, err := newPartitions(t, by)
	return err
}

// samePartitions refuses a configuration that wants other partitions than a table has.
func samePartitions(table string, have []partitionColumn, want []PartitionField) error {
	var had, wanted []string
	for _, c := range have {
		had = append(had, c.By)
	}
	for _, f := range want {
		wanted = append(wanted, f.String())
	}
	if slices.Equal(had, wanted) {
		return nil
	}
	said := func(by []string) string {
		if len(by) == 0 {
			return "without partitions"
		}
		return "by [" + joined(by) + "]"
	}
	return noPartition("%s lies in the lake %s, and the configuration wants it %s; rows stay where they are: write partition_by as it was, or %s", table, said(had), said(wanted), CopyAnew)
}

// clash refuses a version of the source table that has a column named as one that is
// derived for partitions.
func clash(v *change.Table, partitions []partitionColumn) error {
	for _, c := range partitions {
		for i, name := range columnNames(v) {
			if c.derived() && strings.EqualFold(name, c.Lake) {
				return &AnewError{What: fmt.Sprintf("column %s of %s would land as %s, which holds %s for the table's partitions", v.Columns[i].Name, v, name, c.By), Schema: true}
			}
		}
	}
	return nil
}

// derive makes the texts of a unit of dates or timestamps; null stays null.
func derive(a arrow.Array, unit Unit) (arrow.Array, error) {
	b := array.NewStringBuilder(mem)
	b.Reserve(a.Len())
	const hour = 3600 * 1e6
	var hourOf func(row int) int64
	switch a := a.(type) {
	case *array.Timestamp: // microseconds
		hourOf = func(row int) int64 { return floorDiv(int64(a.Value(row)), hour) }
	case *array.Date32:
		hourOf = func(row int) int64 { return int64(a.Value(row)) * 24 }
	default:
		return nil, fmt.Errorf("derive %s of %s: neither date nor timestamp", unit, a.DataType())
	}
	var text []byte
	last, begun := int64(0), false
	for row := range a.Len() {
		if a.IsNull(row) {
			b.AppendNull()
			continue
		}
		if h := hourOf(row); !begun || h != last {
			text = unixHour(h).AppendFormat(text[:0], unitLayouts[unit])
			last, begun = h, true
		}
		b.BinaryBuilder.Append(text)
	}
	return b.NewStringArray(), nil
}

func unixHour(h int64) time.Time { return time.Unix(h*3600, 0).UTC() }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// defaultPartition is what Hudi calls the folder of null and of the empty text.
const defaultPartition = "__HIVE_DEFAULT_PARTITION__"

// partitionPaths makes partition paths by a table's own rule, and refuses texts that
// readers who take a column's value from the folder's name would take for null.
func partitionPaths(rec arrow.RecordBatch, columns []partitionColumn, rule func(arrow.RecordBatch) (*array.String, error)) (*array.String, error) {
	for _, c := range columns {
		texts, ok := rec.Column(rec.Schema().FieldIndices(c.Lake)[0]).(*array.String)
		if !ok || c.derived() {
			continue
		}
		for row := range texts.Len() {
			if v := texts.Value(row); texts.IsValid(row) && (v == "" || v == defaultPartition) {
				return nil, noPartition("a row has the text %q in %s, which Spark would read as null, because it stands for null in a folder's name; mend the row in the source, or %s with another partition_by", v, c.By, CopyAnew)
			}
		}
	}
	return rule(rec)
}
