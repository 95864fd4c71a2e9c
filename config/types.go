package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"lakefeed/postgres"
)

// types reads how values land: the same keys for a pipeline, for an entry of its tables
// and, but for columns, for a column.
func (d *decoder) types(n ast.Node, at string, inColumn bool) postgres.TableTypes {
	var t postgres.TableTypes
	takers := keys{
		"out_of_range": choice(d, &t.OutOfRange, postgres.Stop, postgres.Quarantine, postgres.AsText),
		"numeric":      choice(d, &t.Numeric, postgres.NumericDecimal, postgres.NumericText),
		"arrays":       choice(d, &t.Arrays, postgres.ArrayJSON, postgres.ArrayList, postgres.ArrayText),
		"composites":   choice(d, &t.Composites, postgres.CompositeNested, postgres.CompositeText),
		"vectors":      choice(d, &t.Vectors, postgres.VectorText, postgres.VectorList),
		"geometry":     choice(d, &t.Geometry, postgres.GeometryText, postgres.GeometryEWKB),
	}
	if !inColumn {
		takers["columns"] = func(n ast.Node, at string) { t.Columns = d.columnTypes(n, at) }
	}
	d.mapping(n, at, takers)
	return t
}

// columnTypes reads the exceptions of columns, under their names in the source.
func (d *decoder) columnTypes(n ast.Node, at string) map[string]postgres.TableTypes {
	m, ok := d.node(n).(ast.MapNode)
	if !ok {
		d.problem(n, at, "want names of columns, and behind each its keys, such as valid_until: {out_of_range: text}")
		return nil
	}
	out := map[string]postgres.TableTypes{}
	for it := m.MapRange(); it.Next(); {
		name := it.KeyValue().Key.GetToken().Value
		out[name] = d.types(it.KeyValue().Value, join(at, name), true)
	}
	return out
}

// choice takes one of some words.
func choice[T ~string](d *decoder, into *T, words ...T) func(ast.Node, string) {
	return func(n ast.Node, at string) {
		w := T(strings.ToLower(d.text(n, at)))
		if w != "" && !slices.Contains(words, w) {
			d.problem(n, at, "%q is none of %s", string(w), strings.Trim(fmt.Sprintf("%q", words), "[]"))
			return
		}
		*into = w
	}
}

// Types says how the values of a table land: by the entry that takes it, and else by what
// holds for the whole pipeline.
func (p *Pipeline) types(schema, table string) postgres.TableTypes {
	if e := p.Entry(schema, table); e != nil {
		return p.Types.With(e.Types)
	}
	return p.Types
}
