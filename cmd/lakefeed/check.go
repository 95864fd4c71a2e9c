package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lakefeed/config"
	"lakefeed/postgres"
)

// severity says what a finding means.
type severity string

const (
	mustMend severity = "error"   // run will fail, or a table will
	heed     severity = "warning" // it works, though not as one may think
	note     severity = "note"    // good to know
)

// finding is one thing that `check` found.
type finding struct {
	Severity severity `json:"severity"`
	Table    string   `json:"table,omitempty"`
	What     string   `json:"what"`
	Mend     string   `json:"mend,omitempty"` // the statement or setting that mends it
}

// checkReport is what `check` found in one pipeline.
type checkReport struct {
	Pipeline string    `json:"pipeline"`
	Tables   int       `json:"tables"` // that would be replicated
	Findings []finding `json:"findings"`
}

func (r *checkReport) add(s severity, table, mend, format string, args ...any) {
	r.Findings = append(r.Findings, finding{Severity: s, Table: table, What: fmt.Sprintf(format, args...), Mend: mend})
}

// errors counts what must be mended.
func (r *checkReport) errors() int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == mustMend {
			n++
		}
	}
	return n
}

func checkCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Look for everything that would keep a pipeline from working",
		Long: `Look at the configuration, the source's settings, rights, tables and keys, and at
the lake, and print what is wrong with the statement that mends it. Nothing is
changed, but for a file that is written into the lake and removed. Exits with 3 when
something must be mended.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			reports := []*checkReport{}
			for i := range cfg.Pipelines {
				r, err := checkPipeline(cmd.Context(), &cfg.Pipelines[i])
				if err != nil {
					return fmt.Errorf("check pipeline %s: %w", cfg.Pipelines[i].Name, err)
				}
				reports = append(reports, r)
			}
			return printChecks(cmd.OutOrStdout(), reports, asJSON)
		},
	}
	configFlag(c, &file)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func checkPipeline(ctx context.Context, p *config.Pipeline) (*checkReport, error) {
	r := &checkReport{Pipeline: p.Name, Findings: []finding{}}
	var seen [][2]string // every table of the source, as Match is asked for it
	o := p.Source(nil)
	o.Match = func(schema, table string) bool {
		if t := [2]string{schema, table}; !slices.Contains(seen, t) {
			seen = append(seen, t)
		}
		return p.Match(schema, table)
	}
	problems, err := postgres.Check(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, problem := range problems {
		s := heed
		if problem.Severity == postgres.Error {
			s = mustMend
		}
		r.add(s, problem.Table, problem.Statement, "%s", problem.What)
	}
	lake := checkLake(ctx, p, r)
	if err := checkSlots(ctx, p, lake, seen, r); err != nil {
		return nil, err
	}
	if err := checkTables(ctx, p, o, lake, r); err != nil && r.errors() == 0 {
		r.add(mustMend, "", "", "%s", err)
	}
	if len(seen) > 0 {
		for _, u := range p.Unreached(seen) {
			why := "no table of the source matches it"
			if u.Shadowed {
				why = "entries before it take all the tables that it matches; the first match wins"
			}
			r.add(heed, "", "", "tables entry %q (line %d) is never reached: %s", u.Entry.Match, u.Entry.Line, why)
		}
	}
	return r, nil
}

func printChecks(w io.Writer, reports []*checkReport, asJSON bool) error {
	bad := 0
	for _, r := range reports {
		bad += r.errors()
	}
	if asJSON {
		if err := printJSON(w, struct {
			OK        bool           `json:"ok"`
			Pipelines []*checkReport `json:"pipelines"`
		}{bad == 0, reports}); err != nil {
			return err
		}
	} else {
		for _, r := range reports {
			if _, err := io.WriteString(w, r.text()); err != nil {
				return err
			}
		}
	}
	if bad > 0 {
		return errFound
	}
	return nil
}

// text is the report for people.
func (r *checkReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pipeline %s: %s\n", r.Pipeline, plural(int64(r.Tables), "table"))
	for _, s := range []severity{mustMend, heed, note} {
		for _, f := range r.Findings {
			if f.Severity != s {
				continue
			}
			what := f.What
			if f.Table != "" && !strings.Contains(what, f.Table) {
				what = f.Table + ": " + what
			}
			fmt.Fprintf(&b, "  %-8s %s\n", f.Severity, what)
			for line := range strings.Lines(f.Mend) {
				fmt.Fprintf(&b, "           > %s\n", strings.TrimRight(line, "\n"))
			}
		}
	}
	if n := r.errors(); n > 0 {
		fmt.Fprintf(&b, "  %s must be mended before it can run\n", plural(int64(n), "thing"))
	} else {
		fmt.Fprintf(&b, "  ready to run\n")
	}
	return b.String()
}
