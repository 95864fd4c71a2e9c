package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lakefeed/hudi"
)

type pinFlags struct {
	at, release  string
	lasts        time.Duration
	list, asJSON bool
}

func tablePinCommand() *cobra.Command {
	var f pinFlags
	c := &cobra.Command{
		Use:   "pin PATH",
		Short: "Keep a table readable as of an instant for a time: Lakefeed's cleaning waits",
		Long: `Register a reader of a table, so that cleaning keeps what it needs until the time is
over or the pin is released. Spark's cleaning knows no pins.`,
		Args: onePath,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.list && f.release != "" {
				return usage("--list and --release: give one of them")
			}
			return f.run(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.at, "at", "", "the instant (20260131120000000) or time (2026-01-31T12:00:00Z) to keep; default: the newest commit")
	fs.DurationVar(&f.lasts, "for", time.Hour, "how long to keep it")
	fs.StringVar(&f.release, "release", "", "take the pin with this id away")
	fs.BoolVar(&f.list, "list", false, "print the pins that there are")
	fs.BoolVar(&f.asJSON, "json", false, "print JSON")
	return c
}

func (f *pinFlags) run(ctx context.Context, out io.Writer, path string) error {
	at, err := parseInstant("--at", f.at)
	if err != nil {
		return err
	}
	if f.lasts <= 0 {
		return usage("--for %v: want a time above zero", f.lasts)
	}
	t, err := openTable(ctx, path)
	if err != nil {
		return err
	}
	switch {
	case f.list:
		return f.printPins(ctx, out, t)
	case f.release != "":
		if err := t.Unpin(ctx, f.release); err != nil || f.asJSON {
			return err
		}
		_, err := fmt.Fprintln(out, "released", f.release)
		return err
	}
	pin, err := t.Pin(ctx, at, f.lasts)
	if err != nil {
		return err
	}
	info := pin.Info()
	if f.asJSON {
		return printJSON(out, info)
	}
	_, err = fmt.Fprintf(out, "pinned %s until %s: %s\n", info.Instant, info.Until.Format(time.RFC3339), info.ID)
	return err
}

func (f *pinFlags) printPins(ctx context.Context, out io.Writer, t *hudi.Table) error {
	pins, err := t.Pins(ctx)
	if err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(out, append([]hudi.PinInfo{}, pins...))
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "INSTANT\tUNTIL\tOWNER\tID") // errors show at Flush
	for _, p := range pins {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Instant, p.Until.Format(time.RFC3339), p.Owner, p.ID) // as above
	}
	return w.Flush()
}
