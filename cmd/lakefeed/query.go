package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lakefeed/hudi"
	"lakefeed/query"
)

// queryFlags are what the command line of `query` says.
type queryFlags struct {
	config, pipeline, lake string
	tables                 []string
	asOf, from, to, cut    string
	meta                   bool
	format, output         string
	memory                 string
	pin                    pinFor
	opts                   query.Options
}

var queryFormats = append([]string{"table"}, formats...)

func queryCommand() *cobra.Command {
	var f queryFlags
	c := &cobra.Command{
		Use:   "query 'SQL'",
		Short: "Run SQL over the lake's tables",
		Long: `Run one SQL query over Hudi tables, by DuckDB in the process: its dialect, its
functions. Only the columns that the query names are read, and what does not fit
--memory is spilled to --temp-dir. A query reads only.

With -c FILE or --lake URL a table is named by its folder in the lake, public.orders or
orders where no other schema has it; with --table NAME=PATH as you say. In the query,
read_hudi('orders', as_of := '2026-01-31T12:00:00Z') is a table as it was.
SQL may come from standard input: lakefeed query - < report.sql`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("want one query, in quotes, or - for standard input; got %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			sql := args[0]
			if sql == "-" {
				text, err := io.ReadAll(cmd.InOrStdin())
				if err != nil {
					return fmt.Errorf("read the query: %w", err)
				}
				sql = string(text)
			}
			return f.run(cmd, sql)
		},
	}
	f.register(c)
	return c
}

func (f *queryFlags) register(c *cobra.Command) {
	fs := c.Flags()
	configFlag(c, &f.config)
	fs.StringVar(&f.pipeline, "pipeline", "", "only the lake of this pipeline of the configuration")
	fs.StringVar(&f.lake, "lake", "", "the folder or URL of a lake")
	fs.StringArrayVar(&f.tables, "table", nil, "NAME=PATH: a Hudi table by its folder or URL; may be given again")
	fs.StringVar(&f.asOf, "as-of", "", "the tables as they were at an instant (20260131120000000) or a time (2026-01-31T12:00:00Z)")
	fs.StringVar(&f.cut, "cut", "", "the tables of a pipeline as of one state of its database: latest, or the newest at or before a position (0/3000148) or a time, as of lakefeed cut")
	fs.StringVar(&f.from, "changes-from", "", "only what changed after this instant or time")
	fs.StringVar(&f.to, "changes-to", "", "... up to this one")
	fs.BoolVar(&f.meta, "meta", false, "tables have the five _hoodie_ columns, too")
	fs.StringVar(&f.format, "format", "table", strings.Join(queryFormats, ", "))
	fs.StringVarP(&f.output, "output", "o", "", "write to this file, which appears once the query is done")
	fs.StringVar(&f.memory, "memory", "1GiB", "what the query may hold in memory, beside the batches that it reads")
	f.pin.add(fs, "keep what the query reads from Lakefeed's cleaning, by a pin that is renewed within this time; 0: no pin")
	fs.StringVar(&f.opts.TempDir, "temp-dir", "", "where it spills to; default: a folder of its own among the system's")
	fs.IntVar(&f.opts.Threads, "threads", 0, "threads; 0: one for each processor")
	fs.BoolVar(&f.opts.AllowExternal, "allow-external", false, "let SQL read and write files and the network, and read_hudi open any path")
}

func (f *queryFlags) run(cmd *cobra.Command, sql string) error {
	if err := f.check(cmd); err != nil {
		return err
	}
	tables, err := f.catalog()
	if err != nil {
		return err
	}
	if err := tables.findCut(cmd.Context()); err != nil {
		return err
	}
	tables.warnings = cmd.ErrOrStderr()
	defer tables.release()
	f.opts.Lookup = tables.lookup
	db, err := query.Open(cmd.Context(), f.opts)
	if err != nil {
		return err
	}
	err = f.print(cmd, db, sql)
	if is[*query.SQLError](err) {
		err = tables.hint(err)
	}
	return errors.Join(err, db.Close())
}

// check finds what is wrong with the flags.
func (f *queryFlags) check(cmd *cobra.Command) (err error) {
	if !slices.Contains(queryFormats, f.format) {
		return usage("unknown format %q: one of %s", f.format, strings.Join(queryFormats, ", "))
	}
	if out, ok := cmd.OutOrStdout().(*os.File); ok && f.output == "" && (f.format == "parquet" || f.format == "arrow") && term.IsTerminal(int(out.Fd())) {
		return usage("%s is not for a terminal: name a file by -o FILE", f.format)
	}
	if f.opts.Memory, err = parseBytes(f.memory); err != nil {
		return usage("--memory %q: want a size as 512MiB or 4GiB", f.memory)
	}
	if err := f.opts.Validate(); err != nil {
		return &usageError{err.Error()}
	}
	if err := f.pin.check(); err != nil {
		return err
	}
	if f.asOf != "" && (f.from != "" || f.to != "") {
		return usage("--as-of is a state and --changes-from a difference: give one of them")
	}
	if f.cut != "" && (f.asOf != "" || f.from != "" || f.to != "") {
		return usage("--cut is a state of its own: give it without --as-of and --changes-from")
	}
	if f.to != "" && f.from == "" {
		return usage("--changes-to needs --changes-from")
	}
	return nil
}

// parseBytes reads a size: 1024, 64KiB, 512MiB, 1.5GiB; KB and K are the same as KiB.
func parseBytes(s string) (int64, error) {
	number := strings.TrimRight(s, "kKmMgGtTiIbB ")
	unit := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(s[len(number):])), "B"), "I")
	shift := strings.Index("KMGT", unit)
	if len(unit) > 1 || shift < 0 {
		return 0, fmt.Errorf("no such unit %q", unit)
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("no size: %q", s)
	}
	if unit != "" {
		v *= float64(int64(1) << (10 * (shift + 1)))
	}
	return int64(v), nil
}

// print runs the query and prints its rows.
func (f *queryFlags) print(cmd *cobra.Command, db *query.DB, sql string) error {
	r, err := db.Query(cmd.Context(), sql)
	if err != nil {
		return err
	}
	return writeOutput(f.output, cmd.OutOrStdout(), func(out io.Writer) error {
		w, err := newRowWriter(f.format, out, r.Schema())
		if err != nil {
			return err
		}
		return writeRows(w, r.Batches(), everyRow)
	})
}

// writeOutput lets write print into a file, which appears whole or not at all, or where
// none is named to out.
func writeOutput(file string, out io.Writer, write func(io.Writer) error) error {
	if file == "" {
		b := bufio.NewWriterSize(out, 64<<10)
		return errors.Join(write(b), b.Flush())
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if errors.Is(err, fs.ErrNotExist) {
		return usage("write %s: there is no folder %s", file, filepath.Dir(file))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	b := bufio.NewWriterSize(tmp, 64<<10)
	err = errors.Join(write(b), b.Flush(), tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // there is an error already
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// relation is the table that a query reads, as the flags or read_hudi's arguments say.
func (c *catalog) relation(ctx context.Context, t *hudi.Table, ref query.Ref) (*query.Relation, error) {
	f := c.flags
	asOf, from, to := ref.AsOf, ref.From, ref.To
	if asOf == "" && from == "" && to == "" {
		asOf, from, to = f.asOf, f.from, f.to
		if c.cut != nil {
			var err error
			if asOf, err = c.cut.instant(t, ref.Name); err != nil {
				return nil, err
			}
		}
	}
	var at [3]string
	for i, text := range []string{asOf, from, to} {
		var err error
		if at[i], err = parseInstant([]string{"--as-of", "--changes-from", "--changes-to"}[i], text); err != nil {
			return nil, err
		}
	}
	switch {
	case at[0] != "" && at[1]+at[2] != "":
		return nil, usage("%s: as_of is a state and changes_from a difference: give one of them", ref.Name)
	case at[1] == "" && at[2] != "":
		return nil, usage("%s: changes_to needs changes_from", ref.Name)
	}
	end := firstOf(at[0], at[2])
	if err := c.pin(ctx, t, ref.Name, end); err != nil { // rows that changed are read as they are at the end
		return nil, err
	}
	columns := t.Schema()
	if end != "" {
		var err error
		if columns, err = t.SchemaAsOf(ctx, end); err != nil {
			return nil, err
		}
	}
	if at[1] != "" {
		return query.FromChanges(t, columns, hudi.ChangesOptions{From: at[1], To: at[2], Meta: f.meta}), nil
	}
	return query.FromTable(t, columns, hudi.ReadOptions{AsOf: at[0], Meta: f.meta}), nil
}
