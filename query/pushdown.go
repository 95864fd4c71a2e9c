//go:build cgo && !nosql

package query

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi"
)

// DuckDB's C interface hands a table function the columns that a query uses, and none of
// its filters. So they are taken from the query itself, as DuckDB parses it: of each
// SELECT the conditions on one table that stand under its WHERE. What is not understood
// for sure is left out, and DuckDB applies all of them again: a filter may only spare
// the reading of rows that no mention of the table could use.

// ast is a node of a parsed query, as json_serialize_sql prints it.
type ast map[string]any

func (n ast) text(key string) string { s, _ := n[key].(string); return s }

func (n ast) child(key string) ast { c, _ := n[key].(map[string]any); return c }

func (n ast) list(key string) []ast {
	all, _ := n[key].([]any)
	out := make([]ast, 0, len(all))
	for _, v := range all {
		c, _ := v.(map[string]any)
		out = append(out, c)
	}
	return out
}

// walk calls fn with a node and all nodes below it.
func walk(v any, fn func(ast)) {
	switch v := v.(type) {
	case map[string]any:
		fn(v)
		for _, c := range v {
			walk(c, fn)
		}
	case []any:
		for _, c := range v {
			walk(c, fn)
		}
	}
}

// filters are what of each view's rows a query can use, by the view's number; a view that
// is not among them is read whole.
func (db *DB) filters(sql string) map[int]hudi.Filter {
	if len(db.views) == 0 || db.changed {
		return nil
	}
	text, err := db.parse(sql)
	var parsed struct {
		Statements []map[string]any `json:"statements"`
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err != nil || d.Decode(&parsed) != nil || len(parsed.Statements) != 1 {
		return nil // it is no SELECT
	}
	p := &pushdown{db: db, mentions: map[int]int{}, filters: map[int][]hudi.Filter{}}
	if !p.count(parsed.Statements[0]) {
		return nil
	}
	walk(parsed.Statements[0], p.node)
	out := map[int]hudi.Filter{}
	for v, filters := range p.filters {
		if len(filters) == p.mentions[v] {
			out[v] = hudi.Or(filters...)
		}
	}
	return out
}

// parse is a query as a tree, in JSON.
func (db *DB) parse(sql string) (string, error) {
	db.ours = true
	defer func() { db.ours = false }()
	r, err := db.run("SELECT json_serialize_sql('" + strings.ReplaceAll(sql, "'", "''") + "', skip_null := true, skip_empty := true)")
	if err != nil {
		return "", err
	}
	defer r.destroy()
	if err := r.open(); err != nil {
		return "", err
	}
	batch, err := r.next()
	if batch == nil {
		return "", err
	}
	defer batch.Release()
	return strings.Clone(batch.Column(0).ValueStr(0)), nil
}

// pushdown finds the filters of a query.
type pushdown struct {
	db       *DB
	mentions map[int]int           // of each view in the query
	filters  map[int][]hudi.Filter // of mentions that have one
}

// count counts the mentions of each view; false where a name may mean something else.
func (p *pushdown) count(statement map[string]any) bool {
	ctes, known := map[string]bool{}, true
	walk(statement, func(n ast) {
		for _, e := range n.child("cte_map").list("map") {
			ctes[strings.ToLower(e.text("key"))] = true
		}
	})
	walk(statement, func(n ast) {
		switch name := strings.ToLower(n.text("table_name")); {
		case n.text("type") == "BASE_TABLE":
			v := p.view(n)
			cte := ctes[name] && n.text("schema_name") == ""
			known = known && (v >= 0) != cte
			p.mentions[v]++
		case n.text("class") == "FUNCTION" && strings.HasPrefix(strings.ToLower(n.text("function_name")), "query"):
			known = false // query_table('orders')
		}
	})
	return known
}

// view is the number of the view that a table of a query is, -1 where it is none.
func (p *pushdown) view(n ast) int {
	name := n.text("table_name")
	if s := n.text("schema_name"); s != "" {
		name = s + "." + name
	}
	if n.text("catalog_name") != "" {
		return -1
	}
	return slices.IndexFunc(p.db.views, func(v view) bool { return strings.EqualFold(v.name, name) })
}

// node looks for filters at one SELECT.
func (p *pushdown) node(n ast) {
	if n.text("type") != "SELECT_NODE" || n["where_clause"] == nil || n["sample"] != nil {
		return
	}
	from := sourcesOf(n.child("from_table"), true)
	scope := &selectScope{p: p, sources: from, hidden: map[string]bool{}}
	for _, e := range n.list("select_list") {
		scope.hidden[strings.ToLower(e.text("alias"))] = true
	}
	conditions := []ast{n.child("where_clause")}
	if where := conditions[0]; where.text("type") == "CONJUNCTION_AND" {
		conditions = where.list("children")
	}
	found := map[*source][]hudi.Filter{}
	for _, c := range conditions {
		if f, s, ok := scope.filter(c); ok && s.whole {
			found[s] = append(found[s], f)
		}
	}
	for s, filters := range found {
		v := p.view(s.table)
		p.filters[v] = append(p.filters[v], hudi.And(filters...))
	}
}

// source is a table that a SELECT reads.
type source struct {
	table ast
	name  string // by which columns name it
	whole bool   // a row that is left out of the table is one that is missing behind the joins, and nothing else
}

// sourcesOf are the tables of a FROM; what else stands there has no say.
func sourcesOf(n ast, whole bool) []*source {
	switch n.text("type") {
	case "BASE_TABLE":
		for _, key := range []string{"sample", "column_name_alias", "at_clause"} {
			whole = whole && n[key] == nil
		}
		s := &source{table: n, name: n.text("alias"), whole: whole}
		if s.name == "" {
			s.name = n.text("table_name")
		}
		return []*source{s}
	case "JOIN":
		plain := n.text("ref_type") == "REGULAR" || n.text("ref_type") == "CROSS"
		join := n.text("join_type")
		left := sourcesOf(n.child("left"), whole && plain && (join == "INNER" || join == "LEFT" || join == "SEMI" || join == "ANTI"))
		if join == "SEMI" || join == "ANTI" {
			return left
		}
		return append(left, sourcesOf(n.child("right"), whole && plain && (join == "INNER" || join == "RIGHT"))...)
	}
	return nil
}

// selectScope is what names mean under a WHERE.
type selectScope struct {
	p       *pushdown
	sources []*source
	hidden  map[string]bool // names that the SELECT gives to its results
}

// filter is a condition on one table, where it is understood as a whole.
func (s *selectScope) filter(n ast) (f hudi.Filter, of *source, ok bool) {
	switch n.text("type") {
	case "CONJUNCTION_AND", "CONJUNCTION_OR", "OPERATOR_NOT":
		return s.join(n)
	case "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL":
		column, of, ok := s.operand(n.list("children"), 1)
		f := hudi.IsNull(column.Name)
		if n.text("type") == "OPERATOR_IS_NOT_NULL" {
			f = hudi.Not(f)
		}
		return f, of, ok
	case "COMPARE_IN", "COMPARE_NOT_IN":
		return s.in(n)
	case "COMPARE_BETWEEN":
		column, of, ok := s.column(n.child("input"))
		if !ok {
			return f, nil, false
		}
		low, also := s.constant(n.child("lower"), column.Type)
		high, too := s.constant(n.child("upper"), column.Type)
		return hudi.And(hudi.Compare(column.Name, hudi.GreaterEqual, low), hudi.Compare(column.Name, hudi.LessEqual, high)), of, also && too
	}
	return s.compare(n)
}

// join is AND, OR or NOT of conditions on one table.
func (s *selectScope) join(n ast) (f hudi.Filter, of *source, ok bool) {
	var parts []hudi.Filter
	for i, c := range n.list("children") {
		part, table, ok := s.filter(c)
		if !ok || i > 0 && table != of {
			return f, nil, false
		}
		parts, of = append(parts, part), table
	}
	switch {
	case len(parts) == 0:
		return f, nil, false
	case n.text("type") == "CONJUNCTION_AND":
		return hudi.And(parts...), of, true
	case n.text("type") == "CONJUNCTION_OR":
		return hudi.Or(parts...), of, true
	}
	return hudi.Not(parts[0]), of, len(parts) == 1
}

// comparisons are how DuckDB calls them, and what they are the other way round.
var comparisons = map[string][2]hudi.Comparison{
	"COMPARE_EQUAL":                {hudi.Equal, hudi.Equal},
	"COMPARE_NOTEQUAL":             {hudi.NotEqual, hudi.NotEqual},
	"COMPARE_LESSTHAN":             {hudi.Less, hudi.Greater},
	"COMPARE_LESSTHANOREQUALTO":    {hudi.LessEqual, hudi.GreaterEqual},
	"COMPARE_GREATERTHAN":          {hudi.Greater, hudi.Less},
	"COMPARE_GREATERTHANOREQUALTO": {hudi.GreaterEqual, hudi.LessEqual},
}

func (s *selectScope) compare(n ast) (f hudi.Filter, of *source, ok bool) {
	how, ok := comparisons[n.text("type")]
	if !ok {
		return f, nil, false
	}
	column, of, ok := s.column(n.child("left"))
	value, op := n.child("right"), how[0]
	if !ok {
		column, of, ok = s.column(n.child("right"))
		value, op = n.child("left"), how[1]
	}
	if !ok {
		return f, nil, false
	}
	c, ok := s.constant(value, column.Type)
	return hudi.Compare(column.Name, op, c), of, ok
}

func (s *selectScope) in(n ast) (f hudi.Filter, of *source, ok bool) {
	children := n.list("children")
	column, of, ok := s.operand(children, len(children))
	if !ok || len(children) < 2 {
		return f, nil, false
	}
	var any []hudi.Filter
	for _, c := range children[1:] {
		v, ok := s.constant(c, column.Type)
		if !ok {
			return f, nil, false
		}
		any = append(any, hudi.Compare(column.Name, hudi.Equal, v))
	}
	if f = hudi.Or(any...); n.text("type") == "COMPARE_NOT_IN" {
		f = hudi.Not(f)
	}
	return f, of, true
}

// operand is the column that is the first of so many.
func (s *selectScope) operand(of []ast, n int) (arrow.Field, *source, bool) {
	if len(of) != n || n == 0 {
		return arrow.Field{}, nil, false
	}
	return s.column(of[0])
}

// column is the column that a reference means. Where two tables have one of its name,
// or a result is called so, it is not known.
func (s *selectScope) column(n ast) (f arrow.Field, of *source, ok bool) {
	parts, _ := n["column_names"].([]any)
	if n.text("type") != "COLUMN_REF" || len(parts) == 0 || len(parts) > 2 {
		return f, nil, false
	}
	name, _ := parts[len(parts)-1].(string)
	if len(parts) == 1 && s.hidden[strings.ToLower(name)] {
		return f, nil, false
	}
	found := 0
	for _, src := range s.sources {
		if table, _ := parts[0].(string); len(parts) == 2 && !strings.EqualFold(table, src.name) {
			continue
		}
		v := s.p.view(src.table)
		if v < 0 {
			continue // a common table expression; two of one name would be an error of the query
		}
		for _, field := range s.p.db.views[v].relation.Schema.Fields() {
			if strings.EqualFold(field.Name, name) {
				f, of = field, src
				found++
			}
		}
	}
	return f, of, found == 1
}
