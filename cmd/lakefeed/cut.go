package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/pipeline"
	"lakefeed/storage/all"
)

// cutFlags are what the command line of `cut` says.
type cutFlags struct {
	file, only string
	lsn, at    string
	pin        time.Duration
	asJSON     bool
}

func cutCommand() *cobra.Command {
	var f cutFlags
	c := &cobra.Command{
		Use:   "cut -c FILE [TABLE...]",
		Short: "Print the instants at which tables show one and the same state of the database",
		Long: `Print, for all tables of a pipeline, the instants at which they show one and the same
state of the database: each transaction is in all of them or in none. It is the newest
such state in the lake, or the newest at or before a position of the source's log
(--lsn), or the newest whose transactions all had committed by a time (--at). Only the
lake is read, whether the pipeline runs or not.

TABLE is a name or a glob, as in the configuration: the cut is of these tables alone,
and fails where one cannot be in it. Without, tables that are being copied or that wait
for a copy are left out, by name.

Exits with 1 where the lake is not there yet, with 4 where it does not have it any more.`,
		Example: `  lakefeed cut -c shop.yaml --at 2026-01-31T00:00:00Z --pin 4h
  lakefeed query -c shop.yaml --cut 2026-01-31T00:00:00Z 'SELECT ...'`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	configFlag(c, &f.file)
	fs := c.Flags()
	fs.StringVar(&f.only, "pipeline", "", "only the pipeline of this name")
	fs.StringVar(&f.lsn, "lsn", "", "the newest at or before this position of the source's log (0/3000148)")
	fs.StringVar(&f.at, "at", "", "the newest of which every transaction had committed by this time, by the source's clock (2026-01-31T12:00:00Z)")
	fs.DurationVar(&f.pin, "pin", 0, "keep it readable for so long: Lakefeed's cleaning waits; 0: no pin")
	fs.BoolVar(&f.asJSON, "json", false, "print JSON")
	return c
}

func (f *cutFlags) run(cmd *cobra.Command, args []string) error {
	where, err := f.where()
	if err != nil {
		return err
	}
	cfg, err := loadConfig(f.file)
	if err != nil {
		return err
	}
	where.Only, err = tableFilter(args)
	if err != nil {
		return err
	}
	pipelines, err := chosen(cfg, f.only)
	if err != nil {
		return err
	}
	if f.lsn != "" && len(pipelines) > 1 {
		return usage("--lsn is a position in the log of one pipeline's source: name it by --pipeline")
	}
	var cuts []*pipeline.ConsistentCut
	for i := range pipelines {
		c, err := cutOf(cmd.Context(), &pipelines[i], where)
		if err != nil {
			return err
		}
		cuts = append(cuts, c)
	}
	if f.asJSON {
		return printJSON(cmd.OutOrStdout(), cuts)
	}
	return printCuts(cmd.OutOrStdout(), cuts)
}

// where is which cut the flags ask for.
func (f *cutFlags) where() (o pipeline.CutOptions, err error) {
	switch {
	case f.lsn != "" && f.at != "":
		return o, usage("--lsn and --at: give one of them")
	case f.pin < 0:
		return o, usage("--pin %v: must not be negative", f.pin)
	case f.lsn != "":
		if o.LSN, err = change.ParseLSN(f.lsn); err != nil || o.LSN == 0 {
			return o, usage("--lsn %q is no position of a log (0/3000148)", f.lsn)
		}
	case f.at != "":
		if o.At, err = parseTime("--at", f.at); err != nil {
			return o, err
		}
	}
	o.Pin = f.pin
	return o, nil
}

// parseCut reads what --cut of `query` says: latest, a position or a time.
func parseCut(text string) (o pipeline.CutOptions, err error) {
	switch {
	case text == "latest":
	case strings.Contains(text, "/"):
		if o.LSN, err = change.ParseLSN(text); err != nil || o.LSN == 0 {
			return o, usage("--cut %q is no position of a log (0/3000148)", text)
		}
	default:
		if o.At, err = parseTime("--cut", text); err != nil {
			return o, usage("--cut %q: want latest, a position (0/3000148) or a time (2026-01-31T12:00:00Z)", text)
		}
	}
	return o, nil
}

// parseTime reads a time, which is in UTC where it does not say otherwise.
func parseTime(flag, s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage("%s %q is no time (2026-01-31T12:00:00Z)", flag, s)
}

// cutOf finds a cut of one pipeline.
func cutOf(ctx context.Context, p *config.Pipeline, o pipeline.CutOptions) (*pipeline.ConsistentCut, error) {
	lake, err := all.Open(ctx, p.Lake.URL)
	if err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	o.Name, o.Lake, o.Table = p.Name, lake, p.Table
	c, err := pipeline.FindCut(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("cut of pipeline %s: %w", p.Name, err)
	}
	return c, nil
}

func printCuts(w io.Writer, cuts []*pipeline.ConsistentCut) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0) // errors show at Flush
	for _, c := range cuts {
		_, _ = fmt.Fprintf(tw, "pipeline %s at %s", c.Pipeline, c.LSN)
		if !c.Time.IsZero() {
			_, _ = fmt.Fprintf(tw, ", its newest transaction of %s", c.Time.Format(time.RFC3339Nano))
		}
		_, _ = fmt.Fprintln(tw)
		for _, t := range c.Tables {
			_, _ = fmt.Fprintf(tw, "  %s\t%s\t%s\n", t.Table, t.Instant, strings.TrimSpace(t.Path+"  "+t.Pin))
		}
		if len(c.Behind) > 0 {
			_, _ = fmt.Fprintf(tw, "  held back by %s, which the lake has not up to where the pipeline is\n", strings.Join(c.Behind, ", "))
		}
		for _, name := range slices.Sorted(maps.Keys(c.LeftOut)) {
			_, _ = fmt.Fprintf(tw, "  left out: %s\n", c.LeftOut[name])
		}
	}
	return tw.Flush()
}
