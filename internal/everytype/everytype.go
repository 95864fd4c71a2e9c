// Package everytype is one list of PostgreSQL's types with values at their edges. Tests land
// it through first copy and stream: pipeline's writes the table of docs/types.md from what
// landed, parity's has Spark and hudi-rs read the same.
//
//	for _, g := range everytype.Groups {
//		db := pgtest.Shared(t, g.Version).NewDatabase(t)
//		columns := g.Make(t, db, "t")
//		db.Exec(t, everytype.Insert("t", 0, columns)...)
//	}
//
// Files: everytype.go what a group is, and its tables; types.go the list.
package everytype

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lakefeed/internal/ci"
	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// Column is a type, and how it lands.
type Column struct {
	Name   string   // made of its place and type
	Type   string   // as SQL has it
	Kind   string   // what kind of type it is, on the page
	Rule   string   // key and value of `types` that it lands by; empty: the default
	Values []string // as SQL; the page shows the first
	JSON   string   // SQL for what readers answer, %[1]s the column; empty: what parity.Postgres chooses by type
	Remark string   // what the page says of it; empty: it is not there
	Needs  string   // the extension that has it
}

// Group is columns that go into one table, and a table's stream.
type Group struct {
	Name    string
	Version int    // of the server; 0: the default one
	Text    bool   // the stream is sent as text for them
	Logs    string // what hudi-rs says instead of reading them from log files; empty: it reads them
	Columns []Column
}

// Make makes a group's types, and a table of those of its columns whose extensions the server has. Where the
// variable CI is set, it must have them all.
func (g *Group) Make(t *testing.T, db *pgtest.Database, table string) []Column {
	t.Helper()
	missing := map[string]bool{}
	for _, c := range g.Columns {
		if _, ok := missing[c.Needs]; ok || c.Needs == "" {
			continue
		}
		missing[c.Needs] = db.Query(t, "select count(*) from pg_available_extensions where name = '"+c.Needs+"'")[0][0] == "0"
		if !missing[c.Needs] {
			db.Exec(t, "create extension if not exists "+c.Needs)
			continue
		}
		t.Run("without "+c.Needs, func(t *testing.T) { // which skips no more than itself
			ci.Missing(t, "PostgreSQL %d lacks the extension %s: `make setup` installs it", g.Version, c.Needs)
		})
	}
	columns := slices.DeleteFunc(slices.Clone(g.Columns), func(c Column) bool { return missing[c.Needs] })
	if db.Query(t, "select to_regtype('mood') is null")[0][0] == "t" {
		db.Exec(t, setup...)
	}
	defs := []string{"id int primary key", "n int not null default 0"}
	for i := range columns {
		columns[i].Name = fmt.Sprintf("c%d_%s", i, word(columns[i].Type))
		defs = append(defs, columns[i].Name+" "+columns[i].Type)
	}
	db.Exec(t, fmt.Sprintf("create table %s (%s)", table, strings.Join(defs, ", ")))
	return columns
}

// word is a type's letters and digits, up to its modifiers.
func word(typ string) string {
	typ, _, _ = strings.Cut(typ, "(")
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r == '[':
			return 's'
		case r == ' ', r == '_':
			return '_'
		}
		return -1
	}, typ)
}

// Rows is how many rows Insert makes.
func Rows(columns []Column) int {
	most := 0
	for _, c := range columns {
		most = max(most, len(c.Values))
	}
	return most + 1
}

// Insert puts the values into a table, in rows whose ids begin with first. The last one is null.
func Insert(table string, first int, columns []Column) []string {
	sql := make([]string, Rows(columns))
	for row := range sql {
		names, values := []string{"id"}, []string{strconv.Itoa(first + row)}
		for _, c := range columns {
			if row < len(c.Values) {
				names, values = append(names, c.Name), append(values, c.Values[row])
			}
		}
		sql[row] = fmt.Sprintf("insert into %s (%s) values (%s)", table, strings.Join(names, ", "), strings.Join(values, ", "))
	}
	return sql
}

// Rules are the rules of columns, as the configuration has them below `types`.
func Rules(columns []Column) string {
	var rules []string
	for _, c := range columns {
		if c.Rule != "" {
			rules = append(rules, fmt.Sprintf("%s: {%s}", c.Name, c.Rule))
		}
	}
	return "{columns: {" + strings.Join(rules, ", ") + "}}"
}

// TableTypes are the same rules for package postgres.
func TableTypes(columns []Column) postgres.TableTypes {
	rules := map[string]postgres.TableTypes{}
	for _, c := range columns {
		key, value, _ := strings.Cut(c.Rule, ": ")
		var r postgres.TableTypes
		switch key {
		case "out_of_range":
			r.OutOfRange = postgres.OutOfRange(value)
		case "numeric":
			r.Numeric = postgres.NumericForm(value)
		case "arrays":
			r.Arrays = postgres.ArrayForm(value)
		case "composites":
			r.Composites = postgres.CompositeForm(value)
		case "geometry":
			r.Geometry = postgres.GeometryForm(value)
		case "vectors":
			r.Vectors = postgres.VectorForm(value)
		}
		rules[c.Name] = r
	}
	return postgres.TableTypes{Columns: rules}
}

// CodePoints puts every character that text can hold into a table (id int primary key, s text, a text[], j
// jsonb): in 272 rows of 4,096, less U+0000, which PostgreSQL refuses, and the surrogates.
func CodePoints(table string, first int) string {
	return fmt.Sprintf(`insert into %s select %d + p, s, array[s], jsonb_build_object('s', s) from (select p, string_agg(chr(c), '' order by c) s
		from generate_series(0, 271) p, lateral (select c from generate_series(greatest(p * 4096, 1), p * 4096 + 4095) c where c not between 55296 and 57343) x group by p) parts`, table, first)
}
