package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/server"
	"lakefeed/storage"
	"lakefeed/storage/all"
)

// validateReport is what `validate` found in one pipeline.
type validateReport struct {
	Pipeline string `json:"pipeline"`
	OK       bool   `json:"ok"`
	*pipeline.Report
}

func validateCommand() *cobra.Command {
	var file, only string
	var names []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "validate -c FILE [TABLE...]",
		Short: "Compare the lake with its source, row by row, at one position of the log",
		Long: `Compare the lake with its source, by key and column, at one position of the log. A
running pipeline is asked to commit exactly up to there and goes on; where none runs,
the lake is brought up to there first. TABLE is a name or a glob, as in the
configuration, and --table says the same.

Updates and deletes do not reach a table without a key, which is append-only: what the
lake holds beyond the source is said and is no difference; a row of the source that
the lake lacks, or has less often, is one. Exits with 3 when something differs.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			tables, err := tableFilter(append(names, args...))
			if err != nil {
				return err
			}
			log, err := newLogger(cmd.ErrOrStderr(), "text", "warn")
			if err != nil {
				return err
			}
			pipelines, err := chosen(cfg, only)
			if err != nil {
				return err
			}
			var reports []validateReport
			for i := range pipelines {
				p := &pipelines[i]
				r, err := validatePipeline(cmd.Context(), p, tables, log)
				if err != nil {
					return fmt.Errorf("validate pipeline %s: %w", p.Name, err)
				}
				reports = append(reports, validateReport{Pipeline: p.Name, OK: r.OK(), Report: r})
			}
			return printReports(cmd.OutOrStdout(), reports, asJSON)
		},
	}
	configFlag(c, &file)
	c.Flags().StringVar(&only, "pipeline", "", "only the pipeline of this name")
	c.Flags().StringArrayVar(&names, "table", nil, "only this table, schema.name or a glob (may be repeated)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// tableFilter takes the tables that one of the patterns takes; nil for all.
func tableFilter(args []string) (func(string) bool, error) {
	var patterns []config.Pattern
	for _, a := range args {
		p, err := config.ParsePattern(a)
		if err != nil {
			return nil, usage("table %q: %v", a, err)
		}
		patterns = append(patterns, p)
	}
	if len(patterns) == 0 {
		return nil, nil
	}
	return func(table string) bool {
		schema, name, _ := strings.Cut(table, ".")
		for _, p := range patterns {
			if p.Match(schema, name) || p.String() == table {
				return true
			}
		}
		return false
	}, nil
}

func validatePipeline(ctx context.Context, p *config.Pipeline, only func(string) bool, log *slog.Logger) (*pipeline.Report, error) {
	lake, err := all.Open(ctx, p.Lake.URL)
	if err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	source, err := postgres.Open(ctx, p.Source(log))
	if err != nil {
		return nil, err
	}
	defer func() { _ = source.Close(context.WithoutCancel(ctx)) }() // it only read
	o := pipeline.ValidateOptions{Name: p.Name, Source: sourceOf(p, source), Lake: lake, Table: p.Table, Only: only, Logger: log}
	holder, err := pipeline.ReadLock(ctx, lake, p.Name)
	switch {
	case err != nil:
		return nil, err
	case holder == nil || !holder.Alive():
		o.Cut = func(ctx context.Context, at change.LSN) (map[string]string, error) {
			return drain(ctx, p, lake, at, log)
		}
	case holder.Address == "":
		return nil, fmt.Errorf("process %d on %s runs it and has no server to ask: wait for its end, or start it with --listen", holder.PID, holder.Host)
	default:
		client := server.NewClient(holder.Address)
		defer client.Close()
		running := client.Pipeline(p.Name)
		o.Hold = func(ctx context.Context) error {
			_, err := running.Hold(ctx)
			return err
		}
		o.Cut = running.Cut
	}
	return pipeline.Validate(ctx, o)
}

// drain brings a lake that nobody feeds up to a position, and returns each table's newest instant.
func drain(ctx context.Context, p *config.Pipeline, lake storage.Store, at change.LSN, log *slog.Logger) (map[string]string, error) {
	run, closeSource, err := openRunner(ctx, p, lake, log, func(o *pipeline.Options) {
		o.Once, o.Until, o.Recopy = true, at, recopies
	})
	if err != nil {
		return nil, err
	}
	defer closeSource(ctx)
	err = run.Run(ctx)
	instants := run.Status().Instants()
	if len(instants) == 0 || !is[*pipeline.TableError](err) {
		return instants, err
	}
	return instants, nil // a table that stopped shows in the report
}

func printReports(w io.Writer, reports []validateReport, asJSON bool) error {
	ok := true
	for _, r := range reports {
		ok = ok && r.OK
	}
	if asJSON {
		if err := printJSON(w, reports); err != nil {
			return err
		}
	} else {
		for _, r := range reports {
			if _, err := io.WriteString(w, reportText(r.Report, "pipeline "+r.Pipeline)); err != nil {
				return err
			}
		}
	}
	if !ok {
		return errFound
	}
	return nil
}

// reportText is a validation for people.
func reportText(r *pipeline.Report, what string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s\n", what, r.At)
	for _, t := range r.Tables {
		rows := plural(t.LakeRows, "row")
		if t.Quarantined > 0 {
			rows += ", " + thousands(t.Quarantined) + " in quarantine"
		}
		switch {
		case t.Error != "":
			fmt.Fprintf(&b, "  NOT COMPARED  %s: %s\n", t.Table, t.Error)
		case t.OK() && t.LakeOnly > 0:
			fmt.Fprintf(&b, "  append-only   %s: %s; the source has changed or deleted %s since; every row that the source has is in the lake\n", t.Table, rows, plural(t.LakeOnly, "row"))
		case t.OK() && t.AppendOnly:
			fmt.Fprintf(&b, "  equal         %s: %s, append-only\n", t.Table, rows)
		case t.AppendOnly:
			fmt.Fprintf(&b, "  DIFFERENT     %s, append-only: differences in %s: missing in the lake, there less often, or twice under one key; %s in the source, %s in the lake\n",
				t.Table, plural(t.Different, "row"), thousands(t.SourceRows), thousands(t.LakeRows))
			if most := min(t.Different, t.LakeOnly); most > 0 {
				fmt.Fprintf(&b, "    at most %s of them can be what the source has updated: updates do not reach an append-only table\n", thousands(most))
			}
		case t.OK():
			fmt.Fprintf(&b, "  equal         %s: %s\n", t.Table, rows)
		default:
			fmt.Fprintf(&b, "  DIFFERENT     %s: %s differ; %s in the source, %s in the lake\n", t.Table, thousands(t.Different), thousands(t.SourceRows), thousands(t.LakeRows))
		}
		for _, d := range t.Samples {
			fmt.Fprintf(&b, "    %s\n", differenceText(d))
		}
	}
	return b.String()
}

func differenceText(d pipeline.Difference) string {
	if d.Key == "" && d.Source != "" { // a table without a key
		return fmt.Sprintf("%s that the source has, %s", d.Source, d.Kind)
	}
	if d.Column == "" {
		return fmt.Sprintf("key %s is %s", d.Key, d.Kind)
	}
	return fmt.Sprintf("key %s is %s in %s: %s in the source, %s in the lake", d.Key, d.Kind, d.Column, d.Source, d.Lake)
}
