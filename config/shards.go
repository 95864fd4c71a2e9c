package config

import (
	"cmp"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"lakefeed/pipeline"
)

// mostShards is how many shards a pipeline may have: each is a stream in the process.
const mostShards = 64

// Shard is one of several databases with the same tables, which land in the same tables.
type Shard struct {
	Name string
	URL  string
	// PrimaryURL is as that of [Postgres].
	PrimaryURL string
}

func (d *decoder) shards(n ast.Node, at string) []Shard {
	var all []Shard
	for i, item := range d.sequence(n, at) {
		s := Shard{}
		d.mapping(item, index(at, i), keys{
			"name":        func(n ast.Node, at string) { s.Name = d.name(n, at) },
			"url":         func(n ast.Node, at string) { s.URL = d.postgresURL(n, at) },
			"primary_url": func(n ast.Node, at string) { s.PrimaryURL = d.postgresURL(n, at) },
		}, "name", "url")
		switch {
		case s.Name == pipeline.DefaultSlot:
			d.problem(item, index(at, i)+".name", "%q names a pipeline's slot where there are no shards: name this one otherwise", s.Name)
		case s.Name != "" && slices.ContainsFunc(all, func(other Shard) bool { return other.Name == s.Name }):
			d.problem(item, index(at, i)+".name", "%q is the name of another shard: each needs its own, which is in every row", s.Name)
		}
		all = append(all, s)
	}
	if len(all) > mostShards {
		d.problem(n, at, "%d shards at most", mostShards)
	}
	return all
}

// sharded is the pipelines that a pipeline stands for: one for each of its shards, or itself.
func (d *decoder) sharded(n ast.Node, at string, p *Pipeline) []Pipeline {
	if !p.Slots.None() && p.Postgres.SignalTable != [2]string{} {
		d.problem(n, at+".slots", "signal_table does not go with several slots: ask by `lakefeed resync`")
	}
	if len(p.Postgres.Shards) == 0 {
		for i := range p.Tables {
			if p.Tables[i].SharedKeys {
				d.problem(n, index(at+".tables", i)+".shard_in_key", "the source has no shards: list them in source.postgres.shards")
			}
		}
		return []Pipeline{*p}
	}
	if !p.Slots.None() {
		d.problem(n, at+".slots", "each shard has a slot of its own already: several of them do not go with shards")
	}
	frozen := p.Schema.Policy == pipeline.FreezeSchema
	for i := range p.Tables {
		frozen = frozen || p.Tables[i].Schema.Policy == pipeline.FreezeSchema
	}
	if frozen {
		d.problem(n, at, "schema: freeze does not go with shards: write evolve or pause")
	}
	var all []Pipeline
	shards := int64(len(p.Postgres.Shards))
	for _, s := range p.Postgres.Shards {
		if len(p.Name)+len(s.Name) > mostNames {
			d.problem(n, at, "%q and the shard's name %q are too long together: %d letters at most", p.Name, s.Name, mostNames)
		}
		one := *p
		one.Name, one.ShardOf = pipeline.StreamName(p.Name, s.Name), p.Name
		one.Postgres.URL, one.Postgres.PrimaryURL = s.URL, s.PrimaryURL
		one.MemoryBudget = max(cmp.Or(p.MemoryBudget, 128<<20)/shards, 16<<20)
		one.Spool.MaxBytes = (p.Spool.MaxBytes + shards - 1) / shards
		all = append(all, one)
	}
	return all
}

// ShardInKey reports whether the shard is a part of the key of a table's rows.
func (p *Pipeline) ShardInKey(schema, table string) bool {
	e := p.Entry(schema, table)
	return e == nil || !e.SharedKeys
}

// Shards is what the pipelines of all shards share; its lake is to be filled in.
func (p *Pipeline) Shards() pipeline.ShardsOptions {
	o := pipeline.ShardsOptions{Name: p.ShardOf, SpillDir: p.SpillDir, IndexDir: p.IndexDir}
	for _, s := range p.Postgres.Shards {
		o.Names = append(o.Names, s.Name)
	}
	return o
}
