package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lakefeed/config"
	"lakefeed/hudi"
	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
)

func tableReadCommand() *cobra.Command {
	var (
		format, asOf string
		opts         hudi.ReadOptions
		limit        int64
		pin          pinFor
	)
	c := &cobra.Command{
		Use:   "read PATH",
		Short: "Print a table's rows",
		Long: `Print a table's rows, in no order.

jsonl is canonical: keys in the order of the schema, decimals as text, times in UTC,
bytes as base64, NaN and infinities as text. csv is as PostgreSQL writes it: nothing
for null, "" for empty text. parquet and arrow (an IPC stream) are for a file or a pipe.

What is read --as-of an instant is kept from Lakefeed's cleaning meanwhile, by --pin; the
newest rows are where --pin is given. A table in which nobody may write is read without.`,
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
			if opts.Schema != hudi.SchemaThen && opts.Schema != hudi.SchemaNow {
				return usage("--schema %s: then or now", opts.Schema)
			}
			var err error
			if opts.AsOf, err = parseAsOf(asOf); err != nil {
				return err
			}
			t, err := openTable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asOf != "" || cmd.Flags().Changed("pin") {
				release, err := pin.hold(cmd.Context(), t, args[0], cmd.ErrOrStderr(), opts.AsOf)
				if err != nil {
					return err
				}
				defer release()
			}
			columns := t.Schema()
			if opts.AsOf != "" && opts.Schema != hudi.SchemaNow {
				if columns, err = t.SchemaAsOf(cmd.Context(), opts.AsOf); err != nil {
					return err
				}
			}
			fields, err := readSchema(columns, opts)
			if err != nil {
				return err
			}
			out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
			w, err := newRowWriter(format, out, fields)
			if err != nil {
				return err
			}
			if err := writeRows(w, t.Read(cmd.Context(), opts), limit); err != nil {
				return fmt.Errorf("read %s: %w", args[0], err)
			}
			return out.Flush()
		},
	}
	f := c.Flags()
	f.StringVar(&format, "format", "jsonl", strings.Join(formats, ", "))
	f.StringSliceVar(&opts.Columns, "columns", nil, "only these columns, in this order")
	f.BoolVar(&opts.Meta, "meta", false, "with the five _hoodie_ columns in front")
	f.BoolVar(&opts.ReadOptimized, "read-optimized", false, "base files only: faster, and older than the newest commit")
	f.StringVar(&asOf, "as-of", "", "the table as it was at an instant (20260131120000000) or a time (2026-01-31T12:00:00Z)")
	f.StringVar((*string)(&opts.Schema), "schema", string(hudi.SchemaThen), "with --as-of, the columns that the table had then or has now")
	pin.add(f, "with --as-of, or given: keep what is read from Lakefeed's cleaning, by a pin that is renewed within this time; 0: no pin")
	limitFlag(c, &limit, "print at most N rows")
	return c
}

// readSchema is the schema of what a read will return; an unknown column is a mistake.
func readSchema(data *arrow.Schema, opts hudi.ReadOptions) (*arrow.Schema, error) {
	every := schema.ArrowWithMeta(data)
	if opts.Columns == nil {
		if opts.Meta {
			return every, nil
		}
		return data, nil
	}
	var fields []arrow.Field
	if opts.Meta {
		for _, f := range every.Fields() {
			if schema.IsMeta(f.Name) && !slices.Contains(opts.Columns, f.Name) {
				fields = append(fields, f)
			}
		}
	}
	for _, name := range opts.Columns {
		at := every.FieldIndices(name)
		if len(at) == 0 {
			var names []string
			for _, f := range every.Fields() {
				names = append(names, f.Name)
			}
			return nil, usage("the table has no column %q%s", name, config.Nearest(name, names))
		}
		fields = append(fields, every.Field(at[0]))
	}
	return arrow.NewSchema(fields, nil), nil
}

// parseAsOf reads --as-of.
func parseAsOf(s string) (string, error) { return parseInstant("--as-of", s) }

// parseInstant turns a time into an instant; an instant stays as it is.
func parseInstant(flag, s string) (string, error) {
	if s == "" {
		return "", nil
	}
	at, err := timeline.ParseInstant(s)
	if err != nil {
		return "", usage("%s %v", flag, err)
	}
	return at, nil
}
