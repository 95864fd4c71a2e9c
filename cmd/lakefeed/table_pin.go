package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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

// pinFor is --pin of what only reads: for how long a pin lasts without a renewal.
type pinFor time.Duration

func (p *pinFor) add(fs *pflag.FlagSet, what string) {
	fs.DurationVar((*time.Duration)(p), "pin", 2*time.Minute, what)
}

func (p pinFor) check() error {
	if p < 0 {
		return usage("--pin %v: must not be negative", time.Duration(p))
	}
	return nil
}

// hold keeps a table readable as of the first of some instants as of which it still is,
// until release is called. What is cleaned away already is told by who reads it; a table
// that cannot be pinned, as nobody may write there, is read all the same.
func (p pinFor) hold(ctx context.Context, t *hudi.Table, name string, warnings io.Writer, instants ...string) (release func(), err error) {
	_, committed := t.Timeline().Last()
	if p == 0 || !committed || t.Properties()["hoodie.table.version"] != "6" { // Lakefeed cleans no others
		return func() {}, nil
	}
	for _, at := range instants {
		pin, err := t.Pin(ctx, at, time.Duration(p))
		switch {
		case err == nil:
			return pin.Hold(ctx, time.Duration(p)), nil
		case ctx.Err() != nil:
			return nil, err
		case !errors.Is(err, hudi.ErrCleaned):
			_, _ = fmt.Fprintf(warnings, "lakefeed: %s is read without a pin, so that a cleaning may take its files away (--pin 0: do not try): %v\n", name, err)
			return func() {}, nil
		}
	}
	return func() {}, nil
}
