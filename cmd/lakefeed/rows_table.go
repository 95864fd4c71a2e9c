package main

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
)

// tableWriter prints rows for people: columns side by side, numbers to the right, NULL
// for null. The first rows say how wide the columns are.
type tableWriter struct {
	w      *bufio.Writer
	fields []arrow.Field
	rows   [][]string // that wait for the widths
	widths []int      // nil while rows wait
	count  int64
}

// widthRows is how many rows say how wide the columns are.
const widthRows = 1000

func newTableWriter(w io.Writer, schema *arrow.Schema) *tableWriter {
	return &tableWriter{w: bufio.NewWriter(w), fields: schema.Fields()}
}

func (t *tableWriter) write(rec arrow.RecordBatch) error {
	for i := range int(rec.NumRows()) {
		row := make([]string, rec.NumCols())
		for c, col := range rec.Columns() {
			row[c] = cellText(col, i)
		}
		t.count++
		if t.widths != nil {
			t.line(row, t.pad)
			continue
		}
		if t.rows = append(t.rows, row); len(t.rows) == widthRows {
			t.head()
		}
	}
	return nil // a bufio.Writer keeps its error for the last call
}

// cellText is a value on one line.
func cellText(col arrow.Array, i int) string {
	switch {
	case col.IsNull(i):
		return "NULL"
	case arrow.IsNested(col.DataType().ID()):
		return string(appendValue(nil, col, i))
	}
	text, _ := valueText(col, i)
	return strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(text)
}

// head prints the names and the rows that waited.
func (t *tableWriter) head() {
	t.widths = make([]int, len(t.fields))
	names, rules := make([]string, len(t.fields)), make([]string, len(t.fields))
	for c, f := range t.fields {
		names[c] = f.Name
		t.widths[c] = utf8.RuneCountInString(f.Name)
		for _, row := range t.rows {
			t.widths[c] = max(t.widths[c], utf8.RuneCountInString(row[c]))
		}
		rules[c] = strings.Repeat("-", t.widths[c])
	}
	t.line(names, t.pad)
	t.line(rules, t.pad)
	for _, row := range t.rows {
		t.line(row, t.pad)
	}
	t.rows = nil
}

func (t *tableWriter) line(cells []string, pad func(c int, s string) string) {
	var b strings.Builder
	for c, s := range cells {
		if c > 0 {
			b.WriteString("  ")
		}
		b.WriteString(pad(c, s))
	}
	_, _ = t.w.WriteString(strings.TrimRight(b.String(), " ") + "\n") // as above
}

func (t *tableWriter) pad(c int, s string) string {
	blank := strings.Repeat(" ", max(t.widths[c]-utf8.RuneCountInString(s), 0))
	if isNumber(t.fields[c].Type) {
		return blank + s
	}
	return s + blank
}

func isNumber(t arrow.DataType) bool {
	return arrow.IsInteger(t.ID()) || arrow.IsFloating(t.ID()) || arrow.IsDecimal(t.ID())
}

func (t *tableWriter) close() error {
	if t.widths == nil {
		t.head()
	}
	_, _ = t.w.WriteString("(" + plural(t.count, "row") + ")\n") // as above
	return t.w.Flush()
}
