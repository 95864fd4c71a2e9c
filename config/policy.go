package config

import (
	"github.com/goccy/go-yaml/ast"

	"lakefeed/change"
	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// schemaPolicy reads what becomes of changes of schemas: a policy, or its keys.
func (d *decoder) schemaPolicy(n ast.Node, at string, inTable bool) Schema {
	var s Schema
	policy := choice(d, &s.Policy, pipeline.EvolveSchema, pipeline.FreezeSchema, pipeline.PauseSchema)
	if _, keyed := d.node(n).(ast.MapNode); !keyed {
		policy(n, at)
		return s
	}
	takers := keys{"policy": policy}
	if inTable {
		takers["columns"] = func(n ast.Node, at string) {
			for i, item := range d.sequence(n, at) {
				s.Columns = append(s.Columns, d.text(item, index(at, i)))
			}
		}
	}
	d.mapping(n, at, takers, "policy")
	if len(s.Columns) > 0 && s.Policy != pipeline.FreezeSchema {
		d.problem(n, at+".columns", "columns are listed where they are frozen: write policy: freeze")
	}
	return s
}

// schemaOf says what becomes of changes of a table's schema.
func (p *Pipeline) schemaOf(t *change.Table) pipeline.SchemaOptions {
	o := pipeline.SchemaOptions{Policy: p.Schema.Policy}
	if e := p.Entry(t.Schema, t.Name); e != nil && e.Schema.Policy != "" {
		o.Policy, o.Columns = e.Schema.Policy, e.Schema.Columns
	}
	o.Quarantine = func(column string) bool {
		rules := p.types(t.Schema, t.Name)
		return rules.With(rules.Columns[column]).OutOfRange == postgres.Quarantine
	}
	return o
}
