package pipeline_test

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/file"

	"lakefeed/hudi"
	"lakefeed/internal/pgserver"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
	"lakefeed/storage"
)

var updatePage = flag.Bool("update", false, "write the table of docs/types.md")

// typeLine is a line of the table: a type, a value of it, the rule that it lands by where
// that is not the default, and what there is to know.
type typeLine struct {
	typ, value string
	rule       postgres.TableTypes
	ruleText   string
	remark     string
	extension  string // where it is not named like the type
	version    int    // of the server that has it, 0: the default one
}

const (
	bounded = "out of range: NaN, infinity, more digits"
	dated   = "out of range: `infinity`, years outside 1 to 9999"
	asPrint = "exact, as PostgreSQL prints it"
)

var (
	listed = postgres.TableTypes{Arrays: postgres.ArrayList, Vectors: postgres.VectorList}
	inEWKB = postgres.TableTypes{Geometry: postgres.GeometryEWKB}
	asText = postgres.TableTypes{OutOfRange: postgres.AsText, Numeric: postgres.NumericText, Arrays: postgres.ArrayText, Composites: postgres.CompositeText}
)

var typeLines = []typeLine{
	{typ: "smallint", value: "-32768", remark: "exact"},
	{typ: "integer", value: "2147483647", remark: "exact"},
	{typ: "bigint", value: "-9223372036854775808", remark: "exact"},
	{typ: "oid", value: "4294967295", remark: "exact"},
	{typ: "real", value: "'NaN'", remark: "exact, NaN and infinities too"},
	{typ: "double precision", value: "0.1", remark: "exact, NaN and infinities too"},
	{typ: "numeric(12,2)", value: "-1234.5", remark: bounded},
	{typ: "numeric(5,-2)", value: "12300", remark: bounded + "; a scale below 0 becomes decimal(p+\\|s\\|,0)"},
	{typ: "numeric(2,4)", value: "0.0012", remark: bounded + "; a scale above p becomes decimal(s,s)"},
	{typ: "numeric", value: "12345678901234567890.5", remark: bounded + " than 20 before or 18 behind the point"},
	{typ: "numeric(60,2)", value: "1e35", remark: bounded},
	{typ: "numeric", value: "1e-30", rule: asText, ruleText: "numeric: text", remark: asPrint},
	{typ: "boolean", value: "true", remark: "exact"},
	{typ: "text", value: "'é漢😀'", remark: "exact; out of range: what is not UTF-8, in a database in SQL_ASCII"},
	{typ: "varchar(20)", value: "'x'", remark: "as `text`"},
	{typ: "char(5)", value: "'ab'", remark: "as `text`, with its padding"},
	{typ: `"char"`, value: "'x'", remark: "bytes above 127 as `\\\\351`"},
	{typ: "name", value: "'n'", remark: "as `text`"},
	{typ: "mood (enum)", value: "'happy'", remark: "its label; values may be added while it runs"},
	{typ: "bytea", value: `'\x00ff'`, remark: "exact"},
	{typ: "date", value: "'2026-11-05'", remark: dated},
	{typ: "date", value: "'infinity'", rule: asText, ruleText: "out_of_range: text", remark: asPrint},
	{typ: "timestamptz", value: "'2026-11-05 07:08:09.5+02'", remark: dated + "; in UTC"},
	{typ: "timestamp", value: "'2026-11-05 07:08:09.5'", remark: dated + "; the clock's reading taken as UTC, since hudi-rs cannot read local-timestamp-micros"},
	{typ: "timestamptz", value: "'0044-03-15 12:00+00 BC'", rule: asText, ruleText: "out_of_range: text", remark: asPrint},
	{typ: "time", value: "'24:00'", remark: asPrint},
	{typ: "timetz", value: "'07:08:09+05:30'", remark: asPrint},
	{typ: "interval", value: "'1 year -3 days 04:05:06.5'", remark: asPrint + ", under IntervalStyle postgres"},
	{typ: "uuid", value: "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", remark: "exact"},
	{typ: "json", value: `'{"a" :  [1, null]}'`, remark: "exact, with its spaces and doubled keys"},
	{typ: "jsonb", value: `'{"b": 1.50, "a": "é"}'`, remark: asPrint},
	{typ: "jsonpath", value: `'$.a[*]'`, remark: asPrint},
	{typ: "xml", value: "'<a>é</a>'", remark: asPrint + "; read as text: its stream is text"},
	{typ: "integer[]", value: "'{{1,2},{3,NULL}}'", remark: "JSON as `array_to_json` prints it: any dimension, nulls; lower bounds are forgotten"},
	{typ: "integer[]", value: "'{1,2}'", rule: listed, ruleText: "arrays: list", remark: "out of range: a null in it (Spark cannot rewrite one), a second dimension"},
	{typ: "integer[]", value: "'[0:1]={1,2}'", rule: asText, ruleText: "arrays: text", remark: asPrint + ", with its lower bounds"},
	{typ: "timestamptz[]", value: "'{2026-11-05 07:08:09+00,infinity}'", remark: "as above: no value of an element is out of range in JSON"},
	{typ: "pair (composite: a int, b text)", value: "(1, 'x')", remark: "a struct of what its attributes are, in their ranges; names as below"},
	{typ: "pair (composite: a int, b text)", value: "(1, 'x,y')", rule: asText, ruleText: "composites: text", remark: asPrint},
	{typ: "nothing (composite without attributes)", value: "'()'", remark: "neither Parquet nor Spark has a struct without fields: text"},
	{typ: "pair[]", value: "array[(1, 'x'), null]::pair[]", remark: "JSON objects"},
	{typ: "pair[]", value: "array[(1, 'x')]::pair[]", rule: listed, ruleText: "arrays: list", remark: "a list of structs"},
	{typ: "price (domain over numeric(10,2))", value: "1.5", remark: "a domain lands as what it stands on, over arrays and composites too"},
	{typ: "int4range", value: "'[1,5)'", remark: asPrint},
	{typ: "tstzrange", value: "'[2026-01-01 00:00+02,)'", remark: asPrint},
	{typ: "int4multirange", value: "'{[1,3),[5,)}'", remark: asPrint},
	{typ: "inet", value: "'10.0.0.1'", remark: asPrint + ": a host without /32, unlike its cast to text"},
	{typ: "cidr", value: "'10.0.0.0/8'", remark: asPrint},
	{typ: "macaddr", value: "'08:00:2b:01:02:03'", remark: asPrint},
	{typ: "macaddr8", value: "'08:00:2b:01:02:03:04:05'", remark: asPrint},
	{typ: "bit(3)", value: "B'101'", remark: asPrint},
	{typ: "varbit", value: "B'10101'", remark: asPrint},
	{typ: "point", value: "'(1.5,2)'", remark: asPrint},
	{typ: "lseg", value: "'[(1,2),(3,4)]'", remark: asPrint},
	{typ: "box", value: "'(3,4),(1,2)'", remark: asPrint},
	{typ: "path", value: "'[(1,2),(3,4)]'", remark: asPrint},
	{typ: "polygon", value: "'((0,0),(1,1),(2,0))'", remark: asPrint},
	{typ: "line", value: "'{1,-1,0.5}'", remark: asPrint},
	{typ: "circle", value: "'<(1,2),3>'", remark: asPrint},
	{typ: "tsvector", value: "'a:1A b'", remark: asPrint},
	{typ: "tsquery", value: "'a & !b'", remark: asPrint + "; read as text"},
	{typ: "money", value: "12.34", remark: asPrint + ", by the database's lc_monetary; read as text"},
	{typ: "pg_lsn", value: "'16/B374D848'", remark: asPrint},
	{typ: "pg_snapshot", value: "'10:20:10,15'", remark: asPrint + "; `txid_snapshot` alike"},
	{typ: "xid8", value: "'18446744073709551615'", remark: asPrint + "; `xid`, `cid` and `tid` alike"},
	{typ: "regclass", value: "'pg_class'", remark: "the name that it has when the change is read; all `reg…` types alike; read as text"},
	{typ: "int2vector", value: "'1 2'", remark: asPrint + "; `oidvector` alike"},
	{typ: "citext (extension)", value: "'Text'", remark: "as `text`"},
	{typ: "hstore (extension)", value: `'a=>1,b=>NULL'`, remark: asPrint},
	{typ: "ltree (extension)", value: "'a.b'", remark: asPrint + "; `lquery`, `ltxtquery` alike"},
	{typ: "geometry(Point,4326) (extension)", extension: "postgis", value: "'SRID=4326;POINT(1 2)'", remark: "EWKB in hexadecimal, as PostGIS prints it; `geography` alike"},
	{typ: "geometry(Point,4326) (extension)", extension: "postgis", value: "'SRID=4326;POINT(1 2)'", rule: inEWKB, ruleText: "geometry: ewkb", remark: "exact: the bytes of `ST_AsEWKB`, with SRID, Z and M"},
	{typ: "vector(3) (extension)", extension: "vector", version: 18, value: "'[1,2.5,-3]'", remark: "exact, as pgvector prints it; `halfvec`, `sparsevec` alike"},
	{typ: "vector(3) (extension)", extension: "vector", version: 18, value: "'[1,2.5,-3]'", rule: listed, ruleText: "vectors: list", remark: "exact; `halfvec` alike; `sparsevec` stays text"},
	{typ: "cube (extension)", value: "'(1,2)'", remark: "every other type, of any extension: " + asPrint + "; read as text"},
}

const (
	pageName  = "../docs/types.md"
	pageBegin = "<!-- The table is written by: go test ./pipeline -run TestTypesPage -update -->\n"
	pageEnd   = "<!-- end of the table -->\n"
)

// TestTypesPage lands a value of every type and sees that docs/types.md says how; -update
// has it say so.
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
	table := typesTable(t, old)
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
func typesTable(t *testing.T, old string) string {
	t.Helper()
	lines := make([]string, len(typeLines))
	land(t, newRig(t), 0, lines)
	if _, err := pgserver.Find(18); err == nil {
		land(t, newRigOn(t, pgtest.Shared(t, 18).NewDatabase(t)), 18, lines)
	}
	var out strings.Builder
	out.WriteString("| PostgreSQL | rule | Arrow | Avro | Parquet | a value | it lands as | |\n|---|---|---|---|---|---|---|---|\n")
	for i, line := range lines {
		if line == "" {
			line = typeLines[i].old(old)
		}
		out.WriteString(line)
	}
	return out.String()
}

// land lands the values of the types of one version's server, and writes their lines.
func land(t *testing.T, r *rig, version int, lines []string) {
	t.Helper()
	r.db.Exec(t, "create type mood as enum ('sad', 'happy')", "create type pair as (a int, b text)", "create type nothing as ()", "create domain price as numeric(10,2)")
	columns, values := []string{"id int primary key"}, []string{"1"}
	rules := map[string]postgres.TableTypes{}
	for i, line := range typeLines {
		name, _, _ := strings.Cut(line.typ, " (")
		if line.version != version || strings.HasSuffix(line.typ, "(extension)") && !r.extend(cmp.Or(line.extension, name)) {
			continue
		}
		column := fmt.Sprintf("c%d", i)
		columns, values = append(columns, column+" "+name), append(values, line.value)
		rules[column] = line.rule
	}
	if len(rules) == 0 {
		return
	}
	r.types = func(string, string) postgres.TableTypes { return postgres.TableTypes{Columns: rules} }
	r.db.Exec(t, fmt.Sprintf("create table t (%s)", strings.Join(columns, ", ")), fmt.Sprintf("insert into t values (%s)", strings.Join(values, ", ")))
	r.drain()
	r.typeLines(rules, lines)
}

// extend makes an extension, and tells whether the server has it.
func (r *rig) extend(name string) bool {
	r.t.Helper()
	if r.query("select count(*) from pg_available_extensions where name = '%s'", name) == "0" {
		return false
	}
	r.db.Exec(r.t, "create extension if not exists "+name)
	return true
}

// typeLines writes the lines of the columns that have landed.
func (r *rig) typeLines(rules map[string]postgres.TableTypes, lines []string) {
	t := r.t
	t.Helper()
	lake, err := hudi.Open(t.Context(), storage.Sub(r.lake, "public/t"), hudi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	avro, parquet := avroTypes(t, lake.AvroSchema()), parquetTypes(t, r)
	printed := map[string]string{}
	for rec, err := range lake.Read(t.Context(), hudi.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range rec.Columns() {
			printed[rec.ColumnName(i)] = c.ValueStr(0)
			if b, ok := c.(*array.Binary); ok {
				printed[rec.ColumnName(i)] = hex.EncodeToString(b.Value(0))
			}
		}
	}
	for i, line := range typeLines {
		column := fmt.Sprintf("c%d", i)
		if _, ok := rules[column]; !ok {
			continue
		}
		at := lake.Schema().FieldIndices(column)
		if len(at) == 0 {
			t.Fatalf("no column for %s", line.typ)
		}
		arrow := strings.NewReplacer(" nullable", "", ", nullable", "", "element: ", "").Replace(fmt.Sprint(lake.Schema().Field(at[0]).Type))
		lines[i] = fmt.Sprintf("%s %s | %s | %s | `%s` | `%s` | %s |\n", line.begin(), inCell(arrow), inCell(avro[column]), inCell(parquet[column]),
			inCell(line.value), inCell(printed[column]), line.remark)
	}
}

// begin is how its line begins: the type and the rule.
func (l *typeLine) begin() string {
	rule := ""
	if l.ruleText != "" {
		rule = "`" + l.ruleText + "`"
	}
	return fmt.Sprintf("| `%s` | %s |", l.typ, rule)
}

// old is its line in the old table.
func (l *typeLine) old(table string) string {
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, l.begin()) {
			return line
		}
	}
	return ""
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

// parquetTypes are the types of the columns in the base file.
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
	}
	return out
}
