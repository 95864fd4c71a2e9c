package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"lakefeed/config"
	"lakefeed/hudi"
	"lakefeed/query"
	"lakefeed/storage"
	"lakefeed/storage/all"
)

// catalog finds the tables that a query names. It opens a lake when the first name is
// looked up, and a table when it is named.
type catalog struct {
	flags  *queryFlags
	named  map[string]string // of --table: name in lower case -> path
	lakes  []string          // URLs
	found  []lakeTable       // what the lakes have, once listed
	listed bool
	open   map[string]*hudi.Table // by path
	cut    *queryCut              // nil: none was asked for

	pins     []func() // that release them
	warnings io.Writer
}

// lakeTable is a table's folder in a lake.
type lakeTable struct {
	name  string // schema.table: the last two folders
	at    string // for messages
	store storage.Store
}

func (f *queryFlags) catalog() (*catalog, error) {
	c := &catalog{flags: f, named: map[string]string{}, open: map[string]*hudi.Table{}}
	for _, t := range f.tables {
		name, path, ok := strings.Cut(t, "=")
		if !ok || name == "" || path == "" {
			return nil, usage("--table %q: want NAME=PATH", t)
		}
		if _, twice := c.named[strings.ToLower(name)]; twice {
			return nil, usage("--table %s: given twice", name)
		}
		c.named[strings.ToLower(name)] = path
	}
	if f.lake != "" {
		c.lakes = append(c.lakes, f.lake)
	}
	if f.config != "" {
		cfg, err := loadConfig(f.config)
		if err != nil {
			return nil, err
		}
		pipelines, err := chosen(cfg, f.pipeline)
		if err != nil {
			return nil, err
		}
		for _, p := range pipelines {
			if !slices.Contains(c.lakes, p.Lake.URL) {
				c.lakes = append(c.lakes, p.Lake.URL)
			}
		}
	}
	return c, nil
}

// lookup is the [query.Options.Lookup] of the command.
func (c *catalog) lookup(ctx context.Context, ref query.Ref) (*query.Relation, error) {
	t, err := c.table(ctx, ref)
	if err != nil {
		return nil, err
	}
	return c.relation(ctx, t, ref)
}

// pin keeps a table readable as of an instant while the query runs.
func (c *catalog) pin(ctx context.Context, t *hudi.Table, name, instant string) error {
	release, err := c.flags.pin.hold(ctx, t, name, c.warnings, instant)
	if err == nil {
		c.pins = append(c.pins, release)
	}
	return err
}

// release takes the pins away.
func (c *catalog) release() {
	for _, release := range c.pins {
		release()
	}
	c.pins = nil
}

// table opens the table that a query names.
func (c *catalog) table(ctx context.Context, ref query.Ref) (*hudi.Table, error) {
	name := strings.ToLower(ref.Name)
	for _, n := range []string{name, strings.TrimPrefix(name, "main.")} {
		if path, ok := c.named[n]; ok {
			return c.at(ctx, path)
		}
	}
	if err := c.list(ctx); err != nil {
		return nil, err
	}
	var hits []lakeTable
	for _, t := range c.found {
		if strings.EqualFold(t.name, name) || !strings.Contains(name, ".") && strings.EqualFold(t.name[strings.LastIndexByte(t.name, '.')+1:], name) {
			hits = append(hits, t)
		}
	}
	switch {
	case len(hits) == 1:
		return c.cached(hits[0].at, func() (*hudi.Table, error) { return hudi.Open(ctx, hits[0].store, hudi.Options{}) })
	case len(hits) > 1:
		return nil, usage("table %s: %s are called so: name one by its schema, or by --table NAME=PATH", ref.Name, joinTables(hits))
	case ref.Function && c.flags.opts.AllowExternal:
		return c.at(ctx, ref.Name)
	case ref.Function:
		return nil, fmt.Errorf("%w in the lake; a path needs --allow-external, or --table NAME=PATH", query.ErrNoTable)
	}
	return nil, query.ErrNoTable
}

func (c *catalog) at(ctx context.Context, path string) (*hudi.Table, error) {
	return c.cached(path, func() (*hudi.Table, error) { return openTable(ctx, path) })
}

// cached opens a table once, so that all of a query sees it in one state.
func (c *catalog) cached(at string, open func() (*hudi.Table, error)) (*hudi.Table, error) {
	if t := c.open[at]; t != nil {
		return t, nil
	}
	t, err := open()
	if err == nil {
		c.open[at] = t
	}
	return t, err
}

// list looks for the tables of the lakes.
func (c *catalog) list(ctx context.Context) error {
	if c.listed {
		return nil
	}
	for _, url := range c.lakes {
		lake, err := all.Open(ctx, url)
		if err != nil {
			return err
		}
		err = eachTable(ctx, lake, "", 0, func(folder string) {
			parts := strings.Split(folder, "/")
			name := strings.Join(parts[max(len(parts)-2, 0):], ".")
			c.found = append(c.found, lakeTable{name, url + "/" + folder, storage.Sub(lake, folder)})
		})
		if err != nil {
			return err
		}
	}
	c.listed = true
	return nil
}

// hint puts the tables that there are behind an error about a name.
func (c *catalog) hint(err error) error {
	_, after, ok := strings.Cut(err.Error(), "Table with name ")
	if !ok {
		return err
	}
	name, _, _ := strings.Cut(after, " ")
	var known []string
	for n := range c.named {
		known = append(known, n)
	}
	short := slices.Clone(known)
	for _, t := range c.found {
		known = append(known, t.name)
		short = append(short, t.name, t.name[strings.LastIndexByte(t.name, '.')+1:])
	}
	if slices.Sort(known); len(known) == 0 {
		return fmt.Errorf("there is no table %s: name a lake by -c FILE or --lake URL, or a table by --table NAME=PATH: %w", name, errNoTables)
	}
	const some = 20
	list := strings.Join(known[:min(len(known), some)], ", ")
	if len(known) > some {
		list += fmt.Sprintf(" and %d more", len(known)-some)
	}
	return &query.SQLError{Message: fmt.Sprintf("there is no table %s%s; there are: %s", name, config.Nearest(name, short), list)}
}

var errNoTables = errors.New("no tables are known")

func joinTables(list []lakeTable) string {
	var names []string
	for _, t := range list {
		names = append(names, t.name+" ("+t.at+")")
	}
	return strings.Join(names, ", ")
}
