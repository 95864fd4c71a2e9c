package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lakefeed/config"
	"lakefeed/internal/figure"
	"lakefeed/pipeline"
	"lakefeed/storage/all"
)

func schemaCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "schema",
		Short: "What was changed of the source's tables, and what becomes of it",
		Long: `What was changed of the source's tables, and what becomes of it. A table's policy
(schema in the configuration: evolve, freeze or pause) decides; what it leaves to a
person is looked at with diff and plan, and taken on with apply, table by table or all
at once, in a window of your choice.`,
	}
	c.AddCommand(
		schemaPlanCommand("diff", "Print what the source has otherwise than the lake", printDiff),
		schemaPlanCommand("plan", "Print what apply would do, in place or by a new copy, and how much that reads", printPlan),
		schemaApplyCommand(), schemaLogCommand(),
	)
	return c
}

// schemaFlags are those of all of its commands.
type schemaFlags struct {
	file, only string
	asJSON     bool
}

func (f *schemaFlags) add(c *cobra.Command) {
	configFlag(c, &f.file)
	c.Flags().StringVar(&f.only, "pipeline", "", "only the pipeline of this name")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
}

// pipelinePlan is the plan of one pipeline.
type pipelinePlan struct {
	Pipeline string                `json:"pipeline"`
	Tables   []pipeline.SchemaPlan `json:"tables"`
	config   *config.Pipeline
}

// plans are those of the tables that args take.
func (f *schemaFlags) plans(ctx context.Context, args []string) ([]pipelinePlan, error) {
	cfg, err := loadConfig(f.file)
	if err != nil {
		return nil, err
	}
	tables, err := tableFilter(args)
	if err != nil {
		return nil, err
	}
	pipelines, err := chosen(cfg, f.only)
	if err != nil {
		return nil, err
	}
	var out []pipelinePlan
	for i := range pipelines {
		p := &pipelines[i]
		plan, err := planOf(ctx, p, tables)
		if err != nil {
			return nil, fmt.Errorf("pipeline %s: %w", p.Name, err)
		}
		out = append(out, pipelinePlan{p.Name, plan, p})
	}
	return out, nil
}

func planOf(ctx context.Context, p *config.Pipeline, only func(string) bool) ([]pipeline.SchemaPlan, error) {
	lake, err := all.Open(ctx, p.Lake.URL)
	if err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	look, err := lookAt(ctx, p)
	if err != nil {
		return nil, err
	}
	return pipeline.PlanSchema(ctx, pipeline.PlanOptions{Name: p.Name, Lake: lake, Table: p.Table, Only: only}, look.Tables)
}

func schemaPlanCommand(use, short string, text func(io.Writer, *pipeline.SchemaPlan)) *cobra.Command {
	var f schemaFlags
	c := &cobra.Command{
		Use:   use + " -c FILE [TABLE...]",
		Short: short,
		Long: short + `. The source's catalogs are compared with
the newest commits of the lake; nothing is changed. TABLE is a name or a glob, as in the
configuration; without one it is all tables.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			plans, err := f.plans(cmd.Context(), args)
			if err != nil {
				return err
			}
			if f.asJSON {
				return printJSON(cmd.OutOrStdout(), plans)
			}
			return printPlans(cmd.OutOrStdout(), plans, text)
		},
	}
	f.add(c)
	return c
}

func printPlans(w io.Writer, plans []pipelinePlan, text func(io.Writer, *pipeline.SchemaPlan)) error {
	var b strings.Builder
	for _, p := range plans {
		same := 0
		fmt.Fprintf(&b, "pipeline %s\n", p.Pipeline)
		for i := range p.Tables {
			s := &p.Tables[i]
			if s.Error == "" && len(s.Changes) == 0 && s.Waits == "" {
				same++
				continue
			}
			fmt.Fprintf(&b, "  %s (%s)\n", s.Table, s.Policy)
			if s.Error != "" {
				fmt.Fprintf(&b, "    cannot be told: %s\n", s.Error)
			}
			if s.Waits != "" {
				fmt.Fprintf(&b, "    it waits for a person: %s\n", s.Waits)
			}
			text(&b, s)
		}
		fmt.Fprintf(&b, "  %s as in the source\n", plural(int64(same), "table"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printDiff(w io.Writer, s *pipeline.SchemaPlan) {
	for _, c := range s.Changes {
		_, _ = fmt.Fprintf(w, "    %s: %s\n", c.Text, c.Decision) // into a buffer
	}
	if len(s.Frozen) > 0 {
		_, _ = fmt.Fprintf(w, "    frozen: %s\n", strings.Join(s.Frozen, ", ")) // as above
	}
}

func printPlan(w io.Writer, s *pipeline.SchemaPlan) {
	for _, c := range s.Changes {
		_, _ = fmt.Fprintf(w, "    %s: %s\n", c.Text, c.Apply) // into a buffer
	}
	_, _ = fmt.Fprintf(w, "    apply: %s\n", actionText(s)) // as above
}

func actionText(s *pipeline.SchemaPlan) string {
	reads := fmt.Sprintf("about %s, %s", figure.Bytes(s.Bytes), plural(s.Rows, "row"))
	switch s.Action {
	case pipeline.InPlace:
		return "one commit, in place"
	case pipeline.FillInPlace:
		return "in place, and older rows get the default: the table's files are written anew (" + reads + ")"
	case pipeline.CopyTable:
		return "a new copy beside the stream (" + reads + "); readers see the old rows until its one commit"
	case pipeline.NoAction:
	}
	if s.Waits != "" {
		return "the table goes on"
	}
	return "nothing to do"
}

func schemaApplyCommand() *cobra.Command {
	var f schemaFlags
	c := &cobra.Command{
		Use:   "apply -c FILE [TABLE...]",
		Short: "Take on what was changed, in place or by a new copy",
		Long: `Take on what was changed of tables up to now, whatever their policy, as plan says: in
place where every reader can read it, else by a new copy beside the stream. Without
TABLE it is all tables that plan has something for. A process that runs the pipeline is
told; where none does, the lake keeps it for the next one.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			plans, err := f.plans(cmd.Context(), args)
			if err != nil {
				return err
			}
			n := 0
			for _, p := range plans {
				for i := range p.Tables {
					s := &p.Tables[i]
					if !s.Pending() {
						continue
					}
					n++
					if err := (lifeVerb{verb: pipeline.Apply}).ask(cmd.Context(), p.config, s.Table); err != nil {
						return err
					}
					if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", s.Table, actionText(s)); err != nil {
						return err
					}
				}
			}
			if n == 0 {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "nothing to apply")
			}
			return err
		},
	}
	f.add(c)
	return c
}

// tableLog is the log of one table.
type tableLog struct {
	Pipeline string                 `json:"pipeline"`
	Table    string                 `json:"table"`
	Events   []pipeline.SchemaEvent `json:"events"`
}

func schemaLogCommand() *cobra.Command {
	var f schemaFlags
	c := &cobra.Command{
		Use:   "log -c FILE TABLE...",
		Short: "Print what was changed of a table, when, and what became of it",
		Long: `Print what was changed of a table in the source, when and where in its log that was
found, and what became of it. The lake keeps the newest 1,000 entries of each table.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("which table? schema log -c FILE schema.name")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(f.file)
			if err != nil {
				return err
			}
			var logs []tableLog
			for _, table := range args {
				p, err := pipelineOf(cfg, f.only, table)
				if err != nil {
					return err
				}
				lake, err := all.Open(cmd.Context(), p.Lake.URL)
				if err != nil {
					return fmt.Errorf("open lake: %w", err)
				}
				events, err := pipeline.ReadSchemaLog(cmd.Context(), lake, p.Name, table)
				if err != nil {
					return err
				}
				logs = append(logs, tableLog{p.Name, table, events})
			}
			if f.asJSON {
				return printJSON(cmd.OutOrStdout(), logs)
			}
			return printLogs(cmd.OutOrStdout(), logs)
		},
	}
	f.add(c)
	return c
}

func printLogs(w io.Writer, logs []tableLog) error {
	var b strings.Builder
	for _, l := range logs {
		fmt.Fprintf(&b, "%s: %s\n", l.Table, plural(int64(len(l.Events)), "change"))
		for _, e := range l.Events {
			fmt.Fprintf(&b, "  %s  %s  %s: %s (%s)\n", e.Time.UTC().Format(time.DateTime), e.LSN, e.Text, e.Decision, e.Policy)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
