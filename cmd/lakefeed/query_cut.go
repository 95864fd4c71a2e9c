package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"lakefeed/config"
	"lakefeed/hudi"
	"lakefeed/pipeline"
)

// queryCut is the cut that a query reads.
type queryCut struct {
	*pipeline.ConsistentCut
	at   map[string]string // the instants, by folder or URL of the table
	open map[string]*hudi.Table
}

// findCut finds the cut that the flags ask for, if they do, which the query pins as it names the tables.
func (c *catalog) findCut(ctx context.Context) error {
	f := c.flags
	if f.cut == "" {
		return nil
	}
	o, err := parseCut(f.cut)
	if err != nil {
		return err
	}
	if f.config == "" {
		return usage("--cut needs -c FILE: a cut is of a pipeline's tables")
	}
	cfg, err := loadConfig(f.config)
	if err != nil {
		return err
	}
	pipelines, err := chosen(cfg, f.pipeline)
	if err != nil {
		return err
	}
	if len(pipelines) != 1 {
		return usage("--cut is of one pipeline's tables, and there are %d: name it by --pipeline", len(pipelines))
	}
	return c.cutAt(ctx, &pipelines[0], o)
}

func (c *catalog) cutAt(ctx context.Context, p *config.Pipeline, o pipeline.CutOptions) error {
	found, err := cutOf(ctx, p, o)
	if err != nil {
		return err
	}
	c.cut = &queryCut{ConsistentCut: found, at: map[string]string{}, open: c.open}
	for _, t := range found.Tables {
		c.cut.at[p.Lake.URL+"/"+t.Path] = t.Instant
	}
	return nil
}

// instant is that as of which the cut has a table that the query names.
func (q *queryCut) instant(t *hudi.Table, name string) (string, error) {
	for at, open := range q.open {
		if instant, ok := q.at[at]; ok && open == t {
			return instant, nil
		}
	}
	if len(q.LeftOut) > 0 {
		left := slices.Sorted(maps.Values(q.LeftOut))
		return "", usage("%s is not in the cut of pipeline %s at %s; left out: %s", name, q.Pipeline, q.LSN, strings.Join(left, "; "))
	}
	return "", usage("%s is not in the cut of pipeline %s at %s: read_hudi('%s', as_of := ...) says which state of it is meant", name, q.Pipeline, q.LSN, name)
}
