package config

import (
	"log/slog"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// mostSlots is how many slots a pipeline may have: each costs the server a decoder of the
// whole log.
const mostSlots = 16

// mostNames is how long a pipeline's name and a slot's may be together: they and what stands
// beside them name a replication slot.
const mostNames = 45

// slots is a number, or a list of slots with their tables.
func (d *decoder) slots(n ast.Node, at, name string) pipeline.Slots {
	var s pipeline.Slots
	if _, list := d.node(n).(*ast.SequenceNode); !list {
		if s.Measured = int(d.count(n, at, mostSlots)); len(name)+len("s16") > mostNames {
			d.problem(n, at, "the pipeline's name is too long for several slots: %d letters at most", mostNames-len("s16"))
		}
		return s
	}
	for i, item := range d.sequence(n, at) {
		one := d.slot(item, index(at, i), name)
		if slices.ContainsFunc(s.Named, func(other pipeline.NamedSlot) bool { return other.Name == one.Name }) && one.Name != "" {
			d.problem(item, index(at, i)+".name", "%q is the name of another slot of this pipeline", one.Name)
		}
		s.Named = append(s.Named, one)
	}
	if len(s.Named) >= mostSlots {
		d.problem(n, at, "%d slots at most, the default one among them", mostSlots)
	}
	return s
}

func (d *decoder) slot(n ast.Node, at, name string) pipeline.NamedSlot {
	s := pipeline.NamedSlot{}
	var tables []Pattern
	d.mapping(n, at, keys{
		"name": func(n ast.Node, at string) {
			switch s.Name = d.name(n, at); {
			case s.Name == pipeline.DefaultSlot:
				d.problem(n, at, "%q is the slot of the tables that no other takes: name this one otherwise", s.Name)
			case len(name)+len(s.Name) > mostNames:
				d.problem(n, at, "%q is too long: with the pipeline's name it may have %d letters", s.Name, mostNames)
			}
		},
		"tables": func(n ast.Node, at string) {
			for i, item := range d.sequence(n, at) {
				tables = append(tables, d.pattern(item, index(at, i)))
			}
		},
	}, "name", "tables")
	s.Match = func(schema, table string) bool {
		return slices.ContainsFunc(tables, func(p Pattern) bool { return p.Match(schema, table) })
	}
	return s
}

// SlotSources makes the options of connectors, each of which reads, through one of the pipeline's
// slots, the tables that mine takes. Logical messages come through the default one. What bounds the
// copies of the pipeline they keep together: connections are divided, a rate is shared.
func (p *Pipeline) SlotSources(log *slog.Logger) func(slot string, mine func(schema, table string) bool) postgres.Options {
	all := p.Source(log)
	all.CopyConnections = p.copyConnections() / (1 + len(p.Slots.Names()))
	return func(slot string, mine func(schema, table string) bool) postgres.Options {
		o := all
		o.Pipeline, o.Mine = pipeline.StreamName(p.Name, slot), mine
		if slot != pipeline.DefaultSlot {
			o.Messages, o.SignalTable = nil, [2]string{}
		}
		return o
	}
}
