//go:build cgo && !nosql

package query

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// view is a table that a query names, as a view of read_hudi.
type view struct {
	name     string // as in SQL, without quotes
	relation *Relation
}

// viewPrefix begins the argument by which a view calls read_hudi.
const viewPrefix = "view "

// viewOf is the number of the view that an argument of read_hudi means.
func (db *DB) viewOf(arg string) (int, bool) {
	n, ok := strings.CutPrefix(arg, viewPrefix)
	i, err := strconv.Atoi(n)
	return i, ok && err == nil && i >= 0 && i < len(db.views)
}

// missing is how DuckDB tells of a name that is no table: without its schema.
var missing = regexp.MustCompile(`Table with name (.+?) does not exist`)

// missingTables are what a query may mean by the name that DuckDB misses: with each
// schema that the query has before it, else the name alone.
func missingTables(err error, sql string) [][]string {
	m := missing.FindStringSubmatch(err.Error())
	if m == nil {
		return nil
	}
	var out [][]string
	name := regexp.QuoteMeta(m[1])
	qualified := regexp.MustCompile(`(?i)("(?:[^"]|"")+"|[\pL_][\pL\d_$]*)\s*\.\s*(?:"` + strings.ReplaceAll(name, `"`, `""`) + `"|` + name + `\b)`)
	for _, q := range qualified.FindAllStringSubmatch(sql, -1) {
		schema := q[1]
		if strings.HasPrefix(schema, `"`) {
			schema = strings.ReplaceAll(schema[1:len(schema)-1], `""`, `"`)
		}
		out = append(out, []string{schema, m[1]})
	}
	return append(out, []string{m[1]})
}

// addMissing makes views of the table that DuckDB missed in a query: only what a query
// names is opened, however many tables a lake has. It tells whether there is such a table.
func (db *DB) addMissing(ctx context.Context, err error, sql string) (found bool, _ error) {
	for _, parts := range missingTables(err, sql) {
		name := strings.Join(parts, ".")
		if found && len(parts) == 1 {
			break // the name alone may be another table's, or several tables'
		}
		if slices.ContainsFunc(db.views, func(v view) bool { return strings.EqualFold(v.name, name) }) {
			continue
		}
		r, err := db.opts.Lookup(ctx, Ref{Name: name})
		if errors.Is(err, ErrNoTable) {
			continue // as DuckDB says
		}
		if err != nil {
			return false, err
		}
		if err := db.addView(parts, view{name, r}); err != nil {
			return false, err
		}
		found = true
	}
	return found, nil
}

func (db *DB) addView(parts []string, v view) error {
	if v.relation.Schema.NumFields() == 0 {
		return fmt.Errorf("%s has no columns", v.name)
	}
	db.views = append(db.views, v)
	db.ours = true
	defer func() { db.ours = false }()
	quoted := quote(parts[len(parts)-1])
	if len(parts) == 2 {
		if err := db.do("CREATE SCHEMA IF NOT EXISTS " + quote(parts[0])); err != nil {
			return err
		}
		quoted = quote(parts[0]) + "." + quoted
	}
	var columns []string
	for _, f := range v.relation.Schema.Fields() { // not *: the function has another order
		columns = append(columns, quote(f.Name))
	}
	err := db.do(fmt.Sprintf("CREATE VIEW %s AS SELECT %s FROM read_hudi('%s%d')", quoted, strings.Join(columns, ", "), viewPrefix, len(db.views)-1))
	if err != nil {
		return db.cause(err)
	}
	return nil
}
