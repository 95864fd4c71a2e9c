package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lakefeed/hudi"
)

func tableChangesCommand() *cobra.Command {
	var (
		format, from, to string
		opts             hudi.ChangesOptions
		limit            int64
		pin              pinFor
	)
	c := &cobra.Command{
		Use:   "changes PATH",
		Short: "Print what commits changed",
		Long: `Print what the commits after --from and up to --to changed, in no order: the rows that
they wrote, as they are at the end. Deleted rows are not among them.

With --images each changed row is printed as it was and as it is, in the columns op
(insert, update or delete), before and after; the table must still hold its state of
--from. Times are those of commits, in tables of version 8 and later those of their
completion. What compactions and clusterings rewrote has not changed.

What is read is kept from Lakefeed's cleaning meanwhile, by --pin. A table in which nobody
may write is read without.`,
		Args: onePath,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLimit(cmd, limit); err != nil {
				return err
			}
			if !slices.Contains(formats, format) {
				return usage("unknown format %q: one of %s", format, strings.Join(formats, ", "))
			}
			if f, ok := cmd.OutOrStdout().(*os.File); ok && (format == "parquet" || format == "arrow") && term.IsTerminal(int(f.Fd())) {
				return usage("%s is not for a terminal: put > FILE behind the command", format)
			}
			if err := pin.check(); err != nil {
				return err
			}
			var err error
			if strings.Trim(from, "0") == "" || from == "earliest" { // as Hudi's own tools have it
				from = ""
			}
			if opts.From, err = parseInstant("--from", from); err != nil {
				return err
			}
			if opts.To, err = parseInstant("--to", to); err != nil {
				return err
			}
			if opts.To != "" && opts.To < opts.From {
				return usage("--to %s is before --from %s", to, from)
			}
			return printChanges(cmd, args[0], format, opts, limit, pin)
		},
	}
	f := c.Flags()
	f.StringVar(&from, "from", "", "after this instant (20260131120000000) or time (2026-01-31T12:00:00Z); by default from the table's beginning")
	f.StringVar(&to, "to", "", "up to this instant or time; by default to the last commit")
	f.BoolVar(&opts.Images, "images", false, "each changed row as it was and as it is, deleted ones too")
	f.StringVar(&format, "format", "jsonl", strings.Join(formats, ", "))
	f.StringSliceVar(&opts.Columns, "columns", nil, "only these columns, in this order")
	f.BoolVar(&opts.Meta, "meta", false, "with the five _hoodie_ columns in front")
	pin.add(f, "keep what is read from Lakefeed's cleaning, by a pin that is renewed within this time; 0: no pin")
	limitFlag(c, &limit, "print at most N rows")
	return c
}

func printChanges(cmd *cobra.Command, path, format string, opts hudi.ChangesOptions, limit int64, pin pinFor) error {
	ctx := cmd.Context()
	t, err := openTable(ctx, path)
	if err != nil {
		return err
	}
	// A column that the table does not have is a mistake of the command's.
	if _, err := readSchema(t.Schema(), hudi.ReadOptions{Columns: opts.Columns, Meta: opts.Meta}); err != nil {
		return err
	}
	states := []string{opts.To}
	if opts.Images && opts.From != "" {
		states = []string{opts.From, opts.To} // where there was no table at From, To's state is all that is read
	}
	release, err := pin.hold(ctx, t, path, cmd.ErrOrStderr(), states...)
	if err != nil {
		return err
	}
	defer release()
	fields, err := t.ChangesSchema(ctx, opts)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	w, err := newRowWriter(format, out, fields)
	if err != nil {
		return err
	}
	if err := writeRows(w, t.Changes(ctx, opts), limit); err != nil {
		return fmt.Errorf("read the changes of %s: %w", path, err)
	}
	return out.Flush()
}
