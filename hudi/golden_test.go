package hudi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/internal/golden"
	"lakefeed/storage/file"
)

func goldenProperties(t *testing.T, name string) Properties {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(golden.Unpack(t, name), "table", ".hoodie", "hoodie.properties"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseProperties(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// goldenRows are the lines of an expected file, sorted.
func goldenRows(t *testing.T, path string) []string {
	t.Helper()
	rows, err := golden.Lines(path)
	if err != nil {
		t.Fatal(err)
	}
	return canonicalLines(t, rows)
}

// canonicalLines are JSON rows in the form of tableRows.
func canonicalLines(t *testing.T, rows []string) []string {
	t.Helper()
	lines := make([]string, len(rows))
	for i, line := range rows {
		var row map[string]any
		dec := json.NewDecoder(strings.NewReader(line))
		dec.UseNumber()
		if err := dec.Decode(&row); err != nil {
			t.Fatal(err)
		}
		lines[i] = canonical(t, row)
	}
	slices.Sort(lines)
	return lines
}

func canonical(t *testing.T, row map[string]any) string {
	t.Helper()
	for k, v := range row {
		if n, ok := v.(json.Number); ok && strings.ContainsAny(n.String(), ".eE") {
			f, err := n.Float64()
			if err != nil {
				t.Fatal(err)
			}
			row[k] = f
		}
	}
	line, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

// tableRows reads a table as lines in the form of the expected files.
func tableRows(t *testing.T, table *Table, opts ReadOptions) []string {
	t.Helper()
	return rowLines(t, table.Read(t.Context(), opts))
}

// rowLines are rows as sorted lines in the form of the expected files.
func rowLines(t *testing.T, rows iter.Seq2[arrow.RecordBatch, error]) []string {
	t.Helper()
	var lines []string
	for batch, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(batch.NumRows()) {
			row := map[string]any{}
			for c, f := range batch.Schema().Fields() {
				row[f.Name] = canonicalValue(batch.Column(c), i)
			}
			lines = append(lines, canonical(t, row))
		}
	}
	slices.Sort(lines)
	return lines
}

func canonicalValue(col arrow.Array, i int) any {
	if col.IsNull(i) {
		return nil
	}
	switch col := col.(type) {
	case *array.Boolean:
		return col.Value(i)
	case *array.Int32:
		return col.Value(i)
	case *array.Int64:
		return col.Value(i)
	case *array.Float64:
		if v := col.Value(i); math.IsInf(v, 0) || math.IsNaN(v) {
			return fmt.Sprint(v)
		}
		return col.Value(i)
	case *array.String:
		return col.Value(i)
	case *array.Binary:
		return base64.StdEncoding.EncodeToString(col.Value(i))
	case *array.Date32:
		return col.Value(i).ToTime().Format(time.DateOnly)
	case *array.Timestamp:
		return col.Value(i).ToTime(arrow.Microsecond).Format("2006-01-02T15:04:05.000000")
	case *array.Decimal128:
		return col.Value(i).ToString(col.DataType().(*arrow.Decimal128Type).Scale)
	case *array.Float32:
		return float64(col.Value(i))
	case *array.Struct:
		out := map[string]any{}
		for f := range col.NumField() {
			out[col.DataType().(*arrow.StructType).Field(f).Name] = canonicalValue(col.Field(f), i)
		}
		return out
	case *array.Map:
		from, to := col.ValueOffsets(i)
		out := []any{}
		for j := from; j < to; j++ {
			out = append(out, []any{canonicalValue(col.Keys(), int(j)), canonicalValue(col.Items(), int(j))})
		}
		return out
	case *array.List:
		from, to := col.ValueOffsets(i)
		out := []any{}
		for j := from; j < to; j++ {
			out = append(out, canonicalValue(col.ListValues(), int(j)))
		}
		return out
	}
	return fmt.Sprintf("%s?", col.DataType())
}

func diffLines(t *testing.T, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	t.Errorf("got %d rows, want %d", len(got), len(want))
	shown := 0
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("row %d:\n got %s\nwant %s", i, g, w)
			if shown++; shown == 3 {
				return
			}
		}
	}
}

// TestGolden reads tables that Spark wrote and finds the rows that Spark found.
func TestGolden(t *testing.T) {
	for _, name := range golden.Names(t) {
		t.Run(name, func(t *testing.T) {
			dir := golden.Unpack(t, name)
			store, err := file.Open(filepath.Join(dir, "table"))
			if err != nil {
				t.Fatal(err)
			}
			table, err := Open(t.Context(), store, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for what, path := range golden.Expected(t, dir) {
				opts := ReadOptions{Meta: true, BatchRows: 100}
				if instant, ok := strings.CutPrefix(what, "as_of_"); ok {
					opts.AsOf = instant
				} else if what == "read_optimized" {
					opts.ReadOptimized = true
				} else if what != "snapshot" {
					continue
				}
				t.Run(what, func(t *testing.T) {
					diffLines(t, tableRows(t, table, opts), goldenRows(t, path))
				})
			}
		})
	}
}
