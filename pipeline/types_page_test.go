package pipeline_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/file"

	"lakefeed/hudi"
	"lakefeed/internal/everytype"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
	"lakefeed/storage"
)

var updatePage = flag.Bool("update", false, "write the table of docs/types.md")

const (
	pageName  = "../docs/types.md"
	pageBegin = "<!-- The table is written by: go test ./pipeline -run TestTypesPage -update -->\n"
	pageEnd   = "<!-- end of the table -->\n"
)

// TestTypesPage lands the values of every type by a first copy and by the stream, and sees that docs/types.md says
// how; -update has it say so.
func TestTypesPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(pageName)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(page), pageBegin)
	old, after, ok2 := strings.Cut(rest, pageEnd)
	if !ok1 || !ok2 {
		t.Fatal("docs/types.md has no place for the table")
	}
	lines := map[string]string{}
	for i := range everytype.Groups {
		t.Run(everytype.Groups[i].Name, func(t *testing.T) { landTypes(t, &everytype.Groups[i], lines) })
	}
	if t.Failed() {
		return
	}
	table := typesTable(lines, old)
	if table == old {
		return
	}
	if !*updatePage {
		t.Fatalf("docs/types.md is out of date: run go test ./pipeline -run TestTypesPage -update; the table should be\n%s", table)
	}
	if err := os.WriteFile(pageName, []byte(before+pageBegin+table+pageEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// typesTable makes the table. Lines of what no server here has are taken from the old one.
func typesTable(lines map[string]string, old string) string {
	var out strings.Builder
	out.WriteString("| PostgreSQL | rule | Arrow | Avro | Parquet | a value | it lands as | |\n|---|---|---|---|---|---|---|---|\n")
	for _, g := range everytype.Groups {
		for _, c := range g.Columns {
			if c.Remark == "" {
				continue
			}
			begin := lineBegin(&c)
			line, landed := lines[begin]
			for oldLine := range strings.Lines(old) {
				if !landed && strings.HasPrefix(oldLine, begin) {
					line = oldLine
				}
			}
			out.WriteString(line)
		}
	}
	return out.String()
}

// landTypes lands the values of a group's types by both ways, in which they are the same and equal the source, and writes
// their lines.
func landTypes(t *testing.T, g *everytype.Group, lines map[string]string) {
	r := newRigOn(t, pgtest.Shared(t, g.Version).NewDatabase(t))
	r.skip["spatial_ref_sys"] = true // PostGIS's own
	book := new(logbook)
	r.sourceLog = slog.New(slog.NewTextHandler(book, nil))
	columns := g.Make(t, r.db, "t")
	types := everytype.TableTypes(columns)
	r.types = func(string, string) postgres.TableTypes { return types }
	const streamed = 100 // is the first id of what comes through the stream
	r.db.Exec(t, everytype.Insert("t", 0, columns)...)
	r.drain()
	r.db.Exec(t, everytype.Insert("t", streamed, columns)...)
	r.drain()
	if form := fmt.Sprintf("binary=%t", !g.Text); book.count("msg=streaming", form) != book.count("msg=streaming") {
		t.Errorf("the stream is not sent with %s", form)
	}
	r.equal(nil)
	rows := r.printed("t")
	if want := 2 * everytype.Rows(columns); len(rows) != want {
		t.Fatalf("%d rows, want %d", len(rows), want)
	}
	for row := range everytype.Rows(columns) {
		for _, c := range columns {
			first, second := rows[row][c.Name], rows[streamed+row][c.Name]
			if isNull := first == array.NullValueStr; first != second || isNull != (row >= len(c.Values)) {
				t.Errorf("%s %s, row %d: copied %.200q, streamed %.200q", c.Type, c.Rule, row, first, second)
			}
		}
	}
	lake := r.openTable("t")
	avro, parquet := avroTypes(t, lake.AvroSchema()), parquetTypes(t, r)
	for _, c := range columns {
		at := lake.Schema().FieldIndices(c.Name)
		if len(at) == 0 {
			t.Fatalf("no column for %s", c.Type)
		}
		if c.Remark == "" {
			continue
		}
		arrow := strings.NewReplacer(" nullable", "", ", nullable", "", "element: ", "").Replace(fmt.Sprint(lake.Schema().Field(at[0]).Type))
		remark := c.Remark
		if g.Text {
			remark += "; read as text"
		}
		lines[lineBegin(&c)] = fmt.Sprintf("%s %s | %s | %s | `%s` | `%s` | %s |\n", lineBegin(&c), inCell(arrow), inCell(avro[c.Name]), inCell(parquet[c.Name]),
			inCell(c.Values[0]), inCell(rows[0][c.Name]), remark)
	}
}

// lineBegin is how a type's line begins: the type and the rule.
func lineBegin(c *everytype.Column) string {
	name, rule := c.Type, ""
	if c.Kind != "" {
		name += " (" + c.Kind + ")"
	}
	if c.Rule != "" {
		rule = "`" + c.Rule + "`"
	}
	return fmt.Sprintf("| `%s` | %s |", name, rule)
}

func (r *rig) openTable(table string) *hudi.Table {
	r.t.Helper()
	t, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, "public/"+table), hudi.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	return t
}

// printed are the values of a table in the lake as text, by its id and their columns.
func (r *rig) printed(table string) map[int]map[string]string {
	r.t.Helper()
	rows := map[int]map[string]string{}
	for rec, err := range r.openTable(table).Read(r.t.Context(), hudi.ReadOptions{}) {
		if err != nil {
			r.t.Fatal(err)
		}
		for row := range int(rec.NumRows()) {
			values := map[string]string{}
			for i, c := range rec.Columns() {
				values[rec.ColumnName(i)] = c.ValueStr(row)
				if b, ok := c.(*array.Binary); ok && c.IsValid(row) {
					values[rec.ColumnName(i)] = hex.EncodeToString(b.Value(row))
				}
			}
			id, err := strconv.Atoi(values["id"])
			if err != nil {
				r.t.Fatal(err)
			}
			rows[id] = values
		}
	}
	return rows
}

func inCell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// avroTypes are the types of the columns in an Avro schema, without their null.
func avroTypes(t testing.TB, schema string) map[string]string {
	t.Helper()
	var rec struct {
		Fields []struct {
			Name string `json:"name"`
			Type any    `json:"type"`
		} `json:"fields"`
	}
	if err := json.Unmarshal([]byte(schema), &rec); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range rec.Fields {
		out[f.Name] = avroType(f.Type)
	}
	return out
}

func avroType(v any) string {
	switch v := v.(type) {
	case []any:
		return avroType(v[len(v)-1])
	case map[string]any:
		switch {
		case v["logicalType"] == "decimal":
			return fmt.Sprintf("fixed(%v), decimal(%v,%v)", v["size"], v["precision"], v["scale"])
		case v["logicalType"] != nil:
			return fmt.Sprintf("%v, %v", v["type"], v["logicalType"])
		case v["type"] == "array":
			return "array of " + avroType(v["items"])
		case v["type"] == "record":
			return "record"
		}
	}
	return fmt.Sprint(v)
}

// parquetTypes are the types of the columns in a base file.
func parquetTypes(t testing.TB, r *rig) map[string]string {
	t.Helper()
	out := map[string]string{}
	for info, err := range r.lake.List(t.Context(), "public/t", true) {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(info.Name, ".parquet") {
			continue
		}
		b, _, err := r.lake.Get(t.Context(), info.Name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := file.NewParquetReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		schema := f.MetaData().Schema
		for i := range schema.NumColumns() {
			c := schema.Column(i)
			name, path, nested := strings.Cut(c.Path(), ".")
			what := c.PhysicalType().String()
			if l := c.LogicalType(); l.String() != "None" && l.IsValid() {
				what += ", " + strings.ReplaceAll(l.String(), ", is_from_converted_type=false, force_set_converted_type=false", "")
			}
			if nested {
				what = path + ": " + what
			}
			if out[name] != "" {
				what = out[name] + "; " + what
			}
			out[name] = what
		}
		return out
	}
	t.Fatal("there is no base file")
	return nil
}
