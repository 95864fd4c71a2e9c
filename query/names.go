//go:build cgo && !nosql

package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/mapping"
)

// view is a table that a query names, as a view of read_hudi.
type view struct {
	name     string // as in SQL, without quotes
	relation *Relation
}

// viewPrefix begins the argument by which a view calls read_hudi.
const viewPrefix = "view "

// viewOf is the view that an argument of read_hudi means.
func (db *DB) viewOf(arg string) (view, bool) {
	n, ok := strings.CutPrefix(arg, viewPrefix)
	if i, err := strconv.Atoi(n); ok && err == nil && i >= 0 && i < len(db.views) {
		return db.views[i], true
	}
	return view{}, false
}

// addViews makes a view of each table that the query names and that is none of
// DuckDB's own: only these are opened, however many tables a lake has.
func (db *DB) addViews(ctx context.Context, sql string) error {
	for _, parts := range db.tableNames(sql) {
		name := strings.Join(parts, ".")
		if len(parts) > 2 || slices.ContainsFunc(db.views, func(v view) bool { return strings.EqualFold(v.name, name) }) {
			continue
		}
		r, err := db.opts.Lookup(ctx, Ref{Name: name})
		if errors.Is(err, ErrNoTable) {
			continue // a name that the query defines, or DuckDB says that there is none
		}
		if err != nil {
			return err
		}
		if err := db.addView(parts, view{name, r}); err != nil {
			return err
		}
	}
	return nil
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

// tableNames are the names of tables in a query, each in its parts. A query that DuckDB
// does not understand has none.
func (db *DB) tableNames(sql string) [][]string {
	list := mapping.GetTableNames(db.conn, sql, true)
	if list.Ptr == nil {
		return nil
	}
	defer mapping.DestroyValue(&list)
	var names [][]string
	for i := range mapping.GetListSize(list) {
		v := mapping.GetListChild(list, i)
		names = append(names, splitName(mapping.GetVarchar(v)))
		mapping.DestroyValue(&v)
	}
	slices.SortFunc(names, slices.Compare)
	return names
}

// splitName takes a qualified name apart: a."b.c" is a and b.c. An alias behind it is
// left out.
func splitName(name string) []string {
	var parts []string
	var part strings.Builder
	quoted := false
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '"' && quoted && i+1 < len(name) && name[i+1] == '"':
			part.WriteByte(c)
			i++
		case c == '"':
			quoted = !quoted
		case c == ' ' && !quoted:
			return append(parts, part.String())
		case c == '.' && !quoted:
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(c)
		}
	}
	return append(parts, part.String())
}
