package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lakefeed/config"
	"lakefeed/internal/figure"
	"lakefeed/pipeline"
	"lakefeed/storage/all"
)

func dropCommand() *cobra.Command {
	var file, only string
	var yes, asJSON bool
	c := &cobra.Command{
		Use:   "drop -c FILE --yes",
		Short: "Give a pipeline up: drop its slot and publications, and forget it",
		Long: `Give a pipeline up for good. Its replication slot and publications are dropped in the
source, so that the source keeps no log for it any more, and the lake forgets how far it
had come; what waits in its spool is deleted. The tables stay in the lake as they are.

Without --yes nothing is changed, and what would be is printed. A pipeline that runs is
refused. One that runs again later wants "lakefeed resync --all" first, or another lake.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			pipelines, err := chosen(cfg, only)
			if err != nil {
				return err
			}
			several := slices.ContainsFunc(pipelines, func(p config.Pipeline) bool { return p.ShardOf == "" || p.ShardOf != pipelines[0].ShardOf })
			if len(pipelines) > 1 && several {
				return usage("the configuration has %d pipelines: name one by --pipeline", len(pipelines))
			}
			for i := range pipelines {
				d, err := dropPipeline(cmd.Context(), &pipelines[i], yes)
				if err != nil {
					return fmt.Errorf("drop pipeline %s: %w", pipelines[i].Name, err)
				}
				if err := printDropped(cmd.OutOrStdout(), pipelines[i].Name, d, yes, asJSON); err != nil {
					return err
				}
			}
			return nil
		},
	}
	configFlag(c, &file)
	c.Flags().StringVar(&only, "pipeline", "", "the pipeline of this name")
	c.Flags().BoolVar(&yes, "yes", false, "do it; without, only say what would be done")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func dropPipeline(ctx context.Context, p *config.Pipeline, really bool) (d pipeline.Dropped, err error) {
	lake, err := all.Open(ctx, p.Lake.URL)
	if err != nil {
		return d, fmt.Errorf("open lake: %w", err)
	}
	it, closeSource, err := openRunner(ctx, p, lake, nil, func(*pipeline.Options) {})
	if err != nil {
		return d, err
	}
	defer closeSource(ctx)
	return it.Drop(ctx, really)
}

// printDropped says what was dropped, or would be.
func printDropped(w io.Writer, name string, d pipeline.Dropped, done, asJSON bool) error {
	if asJSON {
		return printJSON(w, struct {
			Pipeline string `json:"pipeline"`
			Done     bool   `json:"done"`
			pipeline.Dropped
		}{name, done, d})
	}
	var b strings.Builder
	verb := map[bool]string{true: "dropped", false: "to be dropped"}[done]
	line := func(what string, there bool) {
		if there {
			fmt.Fprintf(&b, "  %s: %s\n", verb, what)
		}
	}
	fmt.Fprintf(&b, "pipeline %s\n", name)
	line("slot "+d.Slot, d.Slot != "")
	line("publications "+strings.Join(d.Publications, ", "), len(d.Publications) > 0 && d.ByHand == "")
	line(figure.Bytes(d.Spooled)+" of changes in the spool, which the tables lack", d.Spooled > 0)
	line("what the lake says of it", d.Record)
	if d.ByHand != "" {
		fmt.Fprintf(&b, "  on the primary, by hand: %s\n", d.ByHand)
	}
	switch {
	case !done:
		b.WriteString("nothing was changed: --yes does it\n")
	default:
		b.WriteString("the tables stay in the lake as they are\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
