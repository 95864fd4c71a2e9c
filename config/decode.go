package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Problem is one mistake in a configuration file.
type Problem struct {
	File         string
	Line, Column int
	Key          string // path of the key, "pipelines[0].lake.url"; empty for the file as a whole
	Message      string
}

// String is "file:line:column: key: message".
func (p Problem) String() string {
	s := fmt.Sprintf("%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Key != "" {
		s += p.Key + ": "
	}
	return s + p.Message
}

// Error is all mistakes of a configuration file.
type Error struct{ Problems []Problem }

// Error has a line for every mistake.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// decoder walks the YAML tree, and notes mistakes as it goes. A method that meets
// one returns a zero value.
type decoder struct {
	file     string
	env      func(string) (string, bool)
	anchors  map[string]ast.Node
	problems []Problem
}

// keys is what a mapping may hold: for each key what takes its value and path.
type keys map[string]func(n ast.Node, at string)

func (d *decoder) problem(n ast.Node, at, format string, args ...any) {
	d.problemAt(start(n), at, format, args...)
}

func (d *decoder) problemAt(t *token.Token, at, format string, args ...any) {
	p := Problem{File: d.file, Line: 1, Column: 1, Key: at, Message: fmt.Sprintf(format, args...)}
	if t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	d.problems = append(d.problems, p)
}

// parse returns the root of the file's only document, nil where there is a mistake.
func (d *decoder) parse(text []byte) ast.Node {
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		if ye, ok := errors.AsType[yaml.Error](err); ok {
			d.problemAt(ye.GetToken(), "", "%s", ye.GetMessage())
		} else {
			d.problemAt(nil, "", "not YAML")
		}
		return nil
	}
	var root ast.Node
	for _, doc := range f.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if root != nil {
			d.problem(doc.Body, "", "a second document begins here: a configuration is one")
			return nil
		}
		root = doc.Body
	}
	if root == nil {
		d.problemAt(nil, "", "the file is empty: it needs pipelines, see docs/configuration.md")
	}
	return root
}

// node looks through anchors and aliases.
func (d *decoder) node(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.AnchorNode:
		if d.anchors == nil {
			d.anchors = map[string]ast.Node{}
		}
		d.anchors[n.Name.GetToken().Value] = n.Value
		return n.Value
	case *ast.AliasNode:
		if v, ok := d.anchors[n.Value.GetToken().Value]; ok {
			return v
		}
	}
	return n
}

// mapping hands the value of every key to its taker. The required keys must be there.
func (d *decoder) mapping(n ast.Node, at string, takers keys, required ...string) {
	m, ok := d.node(n).(ast.MapNode)
	if !ok {
		what := "want keys and values"
		if _, list := d.node(n).(*ast.SequenceNode); list {
			what = "here is a list: want keys and values, without a dash in front"
		}
		d.problem(n, at, "%s: %s", what, strings.Join(required, ", "))
		return
	}
	seen := map[string]bool{}
	for it := m.MapRange(); it.Next(); {
		kv := it.KeyValue()
		key := kv.Key.GetToken().Value
		take, ok := takers[key]
		if !ok {
			seen[d.unknown(kv.Key.GetToken(), at, key, takers)] = true // it is there, under a wrong name
			continue
		}
		seen[key] = true
		take(kv.Value, join(at, key))
	}
	for _, key := range required {
		if !seen[key] {
			d.problem(n, join(at, key), "is missing")
		}
	}
}

// hasKey reports whether a mapping has a key.
func (d *decoder) hasKey(n ast.Node, key string) bool {
	m, ok := d.node(n).(ast.MapNode)
	if !ok {
		return false
	}
	for it := m.MapRange(); it.Next(); {
		if it.KeyValue().Key.GetToken().Value == key {
			return true
		}
	}
	return false
}

// homes says where a key that stands in the wrong place belongs.
var homes = map[string]string{
	"url":                "pipelines[].source.postgres or pipelines[].lake",
	"heartbeat_interval": "pipelines[].source.postgres",
	"copy_connections":   "pipelines[].source.postgres",
	"shards":             "pipelines[].source.postgres",
	"shard_in_key":       "an entry of pipelines[].tables",
	"lean_columns":       "pipelines[].lake",
	"s3":                 "pipelines[].lake",
	"endpoint":           "pipelines[].lake.s3",
	"region":             "pipelines[].lake.s3",
	"table_type":         "pipelines[].lake or an entry of pipelines[].tables",
	"commit_interval":    "pipelines[]",
	"max_rows":           "pipelines[]",
	"max_bytes":          "pipelines[]",
	"memory_budget":      "pipelines[]",
	"compact_after":      "pipelines[]",
	"retain_commits":     "pipelines[]",
	"archive_keep_min":   "pipelines[]",
	"archive_keep_max":   "pipelines[]",
	"spill_dir":          "pipelines[]",
	"index_dir":          "pipelines[]",
	"bootstrap":          "pipelines[]",
	"chunk_bytes":        "pipelines[].bootstrap",
	"resume_above":       "pipelines[].bootstrap",
	"spool":              "pipelines[]",
	"partition_by":       "an entry of pipelines[].tables",
	"tables":             "pipelines[]",
	"types":              "pipelines[] or an entry of pipelines[].tables",
	"schema":             "pipelines[] or an entry of pipelines[].tables",
	"out_of_range":       "types of a pipeline, a table or a column",
	"lake":               "pipelines[]",
	"source":             "pipelines[]",
	"listen":             "the top of the file",
}

// unknown notes a key that is not there, and returns the one that was most likely meant.
func (d *decoder) unknown(t *token.Token, at, key string, takers keys) (meant string) {
	var valid []string
	for k := range takers {
		valid = append(valid, k)
	}
	slices.Sort(valid)
	if home, ok := homes[key]; ok {
		d.problemAt(t, join(at, key), "does not belong here but in %s", home)
		return ""
	}
	hint := Nearest(key, valid)
	if hint == "" {
		hint = "; there are " + strings.Join(valid, ", ")
	}
	d.problemAt(t, join(at, key), "unknown key%s", hint)
	return nearest(key, valid)
}

// sequence returns the items of a list that must not be empty.
func (d *decoder) sequence(n ast.Node, at string) []ast.Node {
	s, ok := d.node(n).(*ast.SequenceNode)
	if !ok || len(s.Values) == 0 {
		d.problem(n, at, "want a list, its items behind dashes")
		return nil
	}
	return s.Values
}

// text is a scalar with its variables filled in; it must not be empty.
func (d *decoder) text(n ast.Node, at string) string {
	var s string
	switch v := d.node(n).(type) {
	case *ast.LiteralNode:
		s = strings.TrimSpace(v.Value.Value)
	case *ast.NullNode:
	case ast.ScalarNode:
		s = v.GetToken().Value
	default:
		d.problem(n, at, "want a single value")
		return ""
	}
	if s == "" {
		d.problem(n, at, "has no value")
		return ""
	}
	return d.interpolate(n, at, s)
}

var (
	variable     = regexp.MustCompile(`\$?\$\{[^}]*\}?`)
	variableName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)
)

// interpolate replaces ${NAME}; $${ stands for ${ itself.
func (d *decoder) interpolate(n ast.Node, at, s string) string {
	ok := true
	out := variable.ReplaceAllStringFunc(s, func(v string) string {
		if strings.HasPrefix(v, "$$") {
			return v[1:]
		}
		m := variableName.FindStringSubmatch(v)
		if m == nil {
			d.problem(n, at, "has a ${ without a variable's name and } behind it: write ${NAME}, or $${ for the characters themselves")
			ok = false
			return ""
		}
		value, set := d.env(m[1])
		if !set {
			d.problem(n, at, "the environment variable %s is not set", m[1])
			ok = false
		}
		return value
	})
	if !ok {
		return ""
	}
	if out == "" {
		d.problem(n, at, "is empty once its variables are filled in")
	}
	return out
}

func (d *decoder) boolean(n ast.Node, at string) bool {
	s := d.text(n, at)
	if s != "" && s != "true" && s != "false" {
		d.problem(n, at, "want true or false")
	}
	return s == "true"
}

// count is a number of things, at least one.
func (d *decoder) count(n ast.Node, at string, high int64) int64 {
	s := d.text(n, at)
	if s == "" {
		return 0
	}
	v, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
	if err != nil || v < 1 || v > high {
		d.problem(n, at, "want a whole number from 1 to %d", high)
		return 0
	}
	return v
}

// duration is a time; off is -1 where that is allowed.
func (d *decoder) duration(n ast.Node, at string, off bool) time.Duration {
	s := d.text(n, at)
	if s == "" {
		return 0
	}
	if s == "off" && off {
		return -1
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 10*time.Millisecond || v > 24*time.Hour {
		d.problem(n, at, "want a time from 10ms to 24h with its unit, such as 500ms, 10s or 5m")
		return 0
	}
	return v
}

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([KMGT]i?)?B?$`)

// size is a number of bytes, with MiB for 2^20 and MB for 10^6 of them.
func (d *decoder) size(n ast.Node, at string) int64 {
	s := d.text(n, at)
	if s == "" {
		return 0
	}
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		d.problem(n, at, "want a size with its unit, such as 64MiB or 1GiB")
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	base := 1000.0
	if strings.HasSuffix(m[2], "i") {
		base = 1024
	}
	if m[2] != "" {
		v *= math.Pow(base, float64(1+strings.Index("KMGT", m[2][:1])))
	}
	if err != nil || v < 1<<20 || v > 1<<40 {
		d.problem(n, at, "want a size from 1MiB to 1TiB")
		return 0
	}
	return int64(v)
}

// start is the first token of a node: the parser names a mapping by a colon.
func start(n ast.Node) *token.Token {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0]
	}
	if v, ok := n.(*ast.MappingValueNode); ok {
		return v.Key.GetToken()
	}
	return n.GetToken()
}

func line(n ast.Node) int {
	if t := start(n); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

func index(at string, i int) string { return fmt.Sprintf("%s[%d]", at, i) }
