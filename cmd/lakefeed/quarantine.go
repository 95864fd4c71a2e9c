package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/spf13/cobra"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/storage"
	"lakefeed/storage/all"
)

func quarantineCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "quarantine",
		Short: "Rows that their tables cannot hold: list them, or read them from the source again",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(quarantineListCommand(), quarantineReplayCommand())
	return c
}

func quarantineListCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "list -c FILE [TABLE...]",
		Short: "Print the rows that stand in quarantine, and why",
		Long: `Print the rows that stand in quarantine, and why. TABLE is a table's folder in the lake with a
dot in the place of the slash, public.orders, or a glob. --json prints a line for each row, with all
that is known of it; the row itself is in "row", as the source prints its values.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			only, err := tableFilter(args)
			if err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			seen := map[string]bool{}
			for i := range cfg.Pipelines {
				if url := cfg.Pipelines[i].Lake.URL; !seen[url] {
					seen[url] = true
					if err := listQuarantines(cmd.Context(), out, url, only, asJSON); err != nil {
						return err
					}
				}
			}
			return out.Flush()
		},
	}
	configFlag(c, &file)
	c.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each row")
	return c
}

func listQuarantines(ctx context.Context, out io.Writer, url string, only func(string) bool, asJSON bool) error {
	lake, err := all.Open(ctx, url)
	if err != nil {
		return fmt.Errorf("open lake: %w", err)
	}
	var folders []string
	if err := eachTable(ctx, lake, pipeline.QuarantineFolder, 0, func(f string) { folders = append(folders, f) }); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	rows := 0
	for _, folder := range folders {
		table := strings.ReplaceAll(strings.TrimPrefix(folder, pipeline.QuarantineFolder+"/"), "/", ".")
		if only != nil && !only(table) {
			continue
		}
		err := eachQuarantined(ctx, lake, folder, func(rec arrow.RecordBatch) error {
			for i := range int(rec.NumRows()) {
				if rows++; rows == 1 && !asJSON {
					_, _ = fmt.Fprintln(w, "TABLE\tKEY\tOP\tLSN\tCOLUMN\tREASON") // errors show at Flush
				}
				if asJSON {
					line := appendRow(appendString([]byte(`{"table": `), table), rec, i)
					at := len(`{"table": `) + len(appendString(nil, table))
					line = append(append(append([]byte{}, line[:at]...), ", "...), line[at+1:]...)
					if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
						return err
					}
					continue
				}
				_, _ = fmt.Fprintln(w, quarantinedText(table, rec, i)) // as above
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if rows == 0 && !asJSON {
		_, _ = fmt.Fprintln(w, "no row stands in quarantine") // as above
	}
	return w.Flush()
}

func eachQuarantined(ctx context.Context, lake storage.Store, folder string, fn func(arrow.RecordBatch) error) error {
	t, err := hudi.Open(ctx, storage.Sub(lake, folder), hudi.Options{Buckets: 1})
	if errors.Is(err, hudi.ErrNoTable) || err == nil && len(t.Timeline().Completed()) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", folder, err)
	}
	for rec, err := range t.Read(ctx, hudi.ReadOptions{}) {
		if err == nil {
			err = fn(rec)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", folder, err)
		}
	}
	return nil
}

// countQuarantined is how many rows a quarantine has, as far as it can be read.
func countQuarantined(ctx context.Context, lake storage.Store, folder string) (n int64) {
	_ = eachQuarantined(ctx, lake, folder, func(rec arrow.RecordBatch) error { n += rec.NumRows(); return nil }) // list says what is wrong with it
	return n
}

// quarantinedText is a row of a quarantine, with tabs between its cells.
func quarantinedText(table string, rec arrow.RecordBatch, i int) string {
	cell := func(name string) string {
		at := rec.Schema().FieldIndices(name)
		if len(at) == 0 || rec.Column(at[0]).IsNull(i) {
			return ""
		}
		return strings.NewReplacer("\t", " ", "\n", " ").Replace(rec.Column(at[0]).ValueStr(i))
	}
	lsn := ""
	if at := rec.Schema().FieldIndices("_event_lsn"); len(at) > 0 {
		if c, ok := rec.Column(at[0]).(*array.Int64); ok {
			lsn = change.LSN(c.Value(i)).String()
		}
	}
	return strings.Join([]string{table, cell("row_key"), cell("op"), lsn, cell("column"), cell("reason")}, "\t")
}

func quarantineReplayCommand() *cobra.Command {
	var file, only string
	c := &cobra.Command{
		Use:   "replay -c FILE [TABLE...]",
		Short: "Read the rows in quarantine from the source again, as they are now",
		Long: `Read the rows in quarantine from the source again, by their keys and as they are now. They take
their place among the changes where they were read, so that nothing newer is overwritten; what fits
now goes to its table, what does not stays. A pipeline that runs does it beside its stream; where none
runs, the lake is brought up to date on the way, as run --once does. TABLE is the source's name.

Rows of a table without a key cannot be found in the source: they stay.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(file)
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
			for i := range pipelines {
				if err := replayQuarantine(cmd.Context(), cmd.OutOrStdout(), &pipelines[i], args, log); err != nil {
					return fmt.Errorf("pipeline %s: %w", pipelines[i].Name, err)
				}
			}
			return nil
		},
	}
	configFlag(c, &file)
	c.Flags().StringVar(&only, "pipeline", "", "only the pipeline of this name")
	return c
}

func replayQuarantine(ctx context.Context, out io.Writer, p *config.Pipeline, tables []string, log *slog.Logger) error {
	lake, err := all.Open(ctx, p.Lake.URL)
	if err != nil {
		return fmt.Errorf("open lake: %w", err)
	}
	holder, err := pipeline.ReadLock(ctx, lake, p.Name)
	if err != nil {
		return err
	}
	if err := pipeline.RequestReplay(ctx, lake, p.Name, tables); err != nil {
		return err
	}
	if holder == nil || !holder.Alive() {
		if err := runOnce(ctx, p, lake, log); err != nil {
			return err
		}
	} else if err := awaitReplay(ctx, lake, p.Name); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "pipeline %s: replayed; lakefeed quarantine list prints what is left\n", p.Name)
	return err
}

// runOnce brings a lake that nobody feeds up to date.
func runOnce(ctx context.Context, p *config.Pipeline, lake storage.Store, log *slog.Logger) error {
	run, closeSource, err := openRunner(ctx, p, lake, log, func(o *pipeline.Options) { o.Once = true })
	if err != nil {
		return err
	}
	defer closeSource(ctx)
	return run.Run(ctx)
}

// awaitReplay waits until the pipeline that runs has replayed.
func awaitReplay(ctx context.Context, lake storage.Store, name string) error {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		pending, err := pipeline.ReplayPending(ctx, lake, name)
		if err != nil || !pending {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the replay is asked for and not done yet: the pipeline goes on with it: %w", ctx.Err())
		}
	}
}
