package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/internal/figure"
	"lakefeed/pipeline"
	"lakefeed/postgres"
)

func bootstrapCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bootstrap",
		Short: "How tables are copied for the first time",
		Long: `How tables are copied for the first time, and anew. The copies themselves are made
by lakefeed run.`,
	}
	c.AddCommand(bootstrapPlanCommand())
	return c
}

// bootstrapFlags are those of `bootstrap plan`.
type bootstrapFlags struct {
	file, only string
	tables     []string
	rate       int64 // MiB a second and connection
	asJSON     bool
}

func bootstrapPlanCommand() *cobra.Command {
	var f bootstrapFlags
	c := &cobra.Command{
		Use:   "plan -c FILE",
		Short: "Print how each table would be copied, and how long that would take",
		Long: `Print, for each table of the source, how many rows and bytes a copy would read, in
which chunks, over how many connections and in about which time. The figures are the
statistics of the source (ANALYZE renews them); the time follows from --rate and from
bootstrap.max_bytes_per_second. Nothing is read of the tables, and nothing is changed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plans, err := f.plans(cmd.Context())
			if err != nil {
				return err
			}
			if f.asJSON {
				return printJSON(cmd.OutOrStdout(), plans)
			}
			return printCopyPlans(cmd.OutOrStdout(), plans)
		},
	}
	configFlag(c, &f.file)
	c.Flags().StringVar(&f.only, "pipeline", "", "only the pipeline of this name")
	c.Flags().StringSliceVar(&f.tables, "table", nil, "only tables of this name or glob; may be given again")
	c.Flags().Int64Var(&f.rate, "rate", 25, "MiB that one connection reads in a second, for the estimate of the time")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print JSON, with every chunk")
	return c
}

// bootstrapPlan is how the tables of a pipeline would be copied.
type bootstrapPlan struct {
	Pipeline    string      `json:"pipeline"`
	Connections int         `json:"connections"`
	Tables      []tablePlan `json:"tables"`
}

// tablePlan is how one of them would be.
type tablePlan struct {
	Table      string  `json:"table"`
	Resumes    bool    `json:"resumes"` // chunk by chunk: an interrupted copy goes on
	Partitions int     `json:"partitions,omitempty"`
	Seconds    float64 `json:"seconds"` // estimate
	Problem    string  `json:"problem,omitempty"`
	*change.CopyPlan
}

func (f *bootstrapFlags) plans(ctx context.Context) ([]bootstrapPlan, error) {
	if f.rate <= 0 {
		return nil, usage("--rate %d: want MiB a second, more than none", f.rate)
	}
	cfg, err := loadConfig(f.file)
	if err != nil {
		return nil, err
	}
	only, err := tableFilter(f.tables)
	if err != nil {
		return nil, err
	}
	pipelines, err := chosen(cfg, f.only)
	if err != nil {
		return nil, err
	}
	plans := []bootstrapPlan{}
	for i := range pipelines {
		plan, err := f.plan(ctx, &pipelines[i], only)
		if err != nil {
			return nil, fmt.Errorf("pipeline %s: %w", pipelines[i].Name, err)
		}
		plans = append(plans, *plan)
	}
	return plans, nil
}

func (f *bootstrapFlags) plan(ctx context.Context, p *config.Pipeline, only func(string) bool) (*bootstrapPlan, error) {
	source, err := postgres.Open(ctx, p.Source(nil))
	if err != nil {
		return nil, err
	}
	defer func() { _ = source.Close(context.WithoutCancel(ctx)) }() // it has only read
	tables, err := source.Tables(ctx)
	if err != nil {
		return nil, err
	}
	o := p.Options(nil)
	plan := &bootstrapPlan{Pipeline: p.Name, Connections: source.CopyConnections(), Tables: []tablePlan{}}
	for _, t := range tables {
		if t.LogOnly || only != nil && !only(t.String()) {
			continue
		}
		tp := tablePlan{Table: t.String(), Resumes: o.Bootstrap.InChunks(t), Problem: t.Refused}
		if tp.CopyPlan, err = source.PlanCopy(ctx, t, o.Bootstrap.ChunkOf(t)); err != nil {
			return nil, err
		}
		parts := map[uint32]bool{}
		for _, c := range tp.Chunks {
			parts[c.Table] = true
		}
		if len(parts) > 1 {
			tp.Partitions = len(parts)
		}
		tp.Seconds = f.seconds(tp.CopyPlan, plan.Connections, p.Bootstrap.MaxBytesPerSecond)
		plan.Tables = append(plan.Tables, tp)
	}
	return plan, nil
}

// seconds is about how long a copy reads.
func (f *bootstrapFlags) seconds(plan *change.CopyPlan, connections int, bound int64) float64 {
	rate := f.rate << 20 * int64(min(connections, max(len(plan.Chunks), 1)))
	if bound > 0 {
		rate = min(rate, bound)
	}
	return float64(plan.Bytes) / float64(rate)
}

func printCopyPlans(w io.Writer, plans []bootstrapPlan) error {
	for _, p := range plans {
		rows, bytes, seconds := int64(0), int64(0), 0.0
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintf(tw, "pipeline %s, %s\n", p.Pipeline, plural(int64(p.Connections), "connection"))
		_, _ = fmt.Fprintln(tw, "TABLE\tROWS\tBYTES\tON DISK\tCHUNKS\tTIME\tIF INTERRUPTED")
		for _, t := range p.Tables {
			rows, bytes, seconds = rows+t.Rows, bytes+t.Bytes, seconds+t.Seconds
			_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", t.Table, thousands(t.Rows), figure.Bytes(t.Bytes), figure.Bytes(t.Size), len(t.Chunks), roughly(t.Seconds), t.interrupted())
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\t\t\t%s\t\n", plural(int64(len(p.Tables)), "table"), thousands(rows), figure.Bytes(bytes), roughly(seconds))
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// interrupted says what becomes of a copy that is interrupted.
func (t *tablePlan) interrupted() string {
	text := "begins anew"
	if t.Resumes {
		text = "goes on"
	}
	if t.Problem != "" {
		text = strings.Join([]string{"cannot be copied", t.Problem}, ": ")
	}
	return text
}

// roughly is a time that is not known exactly.
func roughly(seconds float64) string {
	if seconds < 1 {
		return "a second"
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// chunkText says how far a copy in chunks is; "" where none runs.
func chunkText(t *pipeline.TableStatus) string {
	if t.State != pipeline.Copying || t.CopyChunks == 0 {
		return ""
	}
	text := fmt.Sprintf("%d of %s copied, %s of about %s", t.CopyChunksDone, plural(int64(t.CopyChunks), "chunk"), figure.Bytes(t.CopyBytes), figure.Bytes(t.CopyTotal))
	if t.CopyRate > 0 {
		text += fmt.Sprintf(", %s a second, %s left", figure.Bytes(int64(t.CopyRate)), roughly(t.CopyLeft))
	}
	return text
}
