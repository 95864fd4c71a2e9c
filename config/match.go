package config

import (
	"errors"
	"regexp"
	"strings"
)

// Pattern is a table name or a glob, "schema.table". In each half * stands for any
// characters and ? for one; what is inside double quotes stands for itself, a dot
// too, and "" for a quote. Letters match as they are: PostgreSQL folds unquoted
// names to small letters when it creates a table, the pattern does not.
type Pattern struct {
	text          string
	schema, table *regexp.Regexp
	wild          bool
}

var errPattern = errors.New(`want schema.table, such as public.orders, public.* or sales."Order.Items"`)

// ParsePattern reads a pattern.
func ParsePattern(s string) (Pattern, error) {
	p := Pattern{text: s}
	halves := []*strings.Builder{{}}
	quoted := false
	for i := 0; i < len(s); i++ {
		half := halves[len(halves)-1]
		switch c := s[i]; {
		case c == '"' && quoted && strings.HasPrefix(s[i+1:], `"`):
			half.WriteByte('"')
			i++
		case c == '"':
			quoted = !quoted
		case c == '.' && !quoted:
			halves = append(halves, &strings.Builder{})
		case (c == '*' || c == '?') && !quoted:
			p.wild = true
			half.WriteString(map[byte]string{'*': ".*", '?': "."}[c])
		case c < 0x80:
			half.WriteString(regexp.QuoteMeta(string(c)))
		default:
			half.WriteByte(c)
		}
	}
	if quoted || len(halves) != 2 || halves[0].Len() == 0 || halves[1].Len() == 0 {
		return Pattern{}, errPattern
	}
	var err1, err2 error
	p.schema, err1 = regexp.Compile("^(?s:" + halves[0].String() + ")$")
	p.table, err2 = regexp.Compile("^(?s:" + halves[1].String() + ")$")
	if err1 != nil || err2 != nil {
		return Pattern{}, errPattern
	}
	return p, nil
}

// glob is a text in which * stands for any characters and ? for one.
func glob(s string) *regexp.Regexp {
	s = regexp.QuoteMeta(strings.ToValidUTF8(s, "\uFFFD"))
	return regexp.MustCompile("^(?s:" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(s) + ")$")
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Match reports whether the pattern takes a table.
func (p Pattern) Match(schema, table string) bool {
	return p.schema != nil && p.schema.MatchString(schema) && p.table.MatchString(table)
}

func (p Pattern) literal() bool { return !p.wild }

// Entry is the first entry that takes a table, nil where none does.
func (p *Pipeline) Entry(schema, table string) *Table {
	for i := range p.Tables {
		if p.Tables[i].Match.Match(schema, table) {
			return &p.Tables[i]
		}
	}
	return nil
}

// Match reports whether the pipeline replicates a table.
func (p *Pipeline) Match(schema, table string) bool {
	e := p.Entry(schema, table)
	if p.Postgres.SignalTable == [2]string{schema, table} && e != nil && !e.Match.literal() {
		return false // the signal table is one of them only where it is named
	}
	return e != nil && !e.Exclude
}

// tableName is a schema and a table, as they stand between patterns: quotes take dots literally.
func tableName(s string) (name [2]string, err error) {
	p, err := ParsePattern(s)
	if err != nil || p.wild {
		return name, errors.New(`want one table, schema.table, such as public.debezium_signal`)
	}
	half, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"' && quoted && strings.HasPrefix(s[i+1:], `"`):
			name[half] += `"`
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '.' && !quoted:
			half = 1
		default:
			name[half] += s[i : i+1]
		}
	}
	return name, nil
}

// Unreached is an entry of a pipeline's tables that no table comes to.
type Unreached struct {
	Entry    *Table
	Shadowed bool // it matches tables, but entries before it take them all
}

// Unreached lists the entries that none of the tables, each a schema and a name, comes to.
func (p *Pipeline) Unreached(tables [][2]string) []Unreached {
	reached, matched := map[*Table]bool{}, map[*Table]bool{}
	for _, t := range tables {
		reached[p.Entry(t[0], t[1])] = true
		for i := range p.Tables {
			if p.Tables[i].Match.Match(t[0], t[1]) {
				matched[&p.Tables[i]] = true
			}
		}
	}
	var out []Unreached
	for i := range p.Tables {
		if e := &p.Tables[i]; !reached[e] {
			out = append(out, Unreached{Entry: e, Shadowed: matched[e]})
		}
	}
	return out
}
