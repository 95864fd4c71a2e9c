package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/hudi"
	"lakefeed/pipeline"
)

// adoptFlags are those of `adopt`.
type adoptFlags struct {
	file, only, until, path string
	check, asJSON, empty    bool
	adoption                pipeline.Adoption
}

func adoptCommand() *cobra.Command {
	var f adoptFlags
	c := &cobra.Command{
		Use:   "adopt -c FILE TABLE",
		Short: "Take a table over from the job that keeps it, as HoodieStreamer from Debezium's topics",
		Long: `Take a Hudi table over where it lies from the job that keeps it: HoodieStreamer, or a job of
Spark's, from Debezium's topics. TABLE is a name of the source, schema.name; ` + "`path`" + ` of its
entry in the configuration says where in the lake its table lies.

First, while the other job goes on, adopt TABLE looks at the table, says what would become of
it, and lets the pipeline keep all changes of it from then on; status says from which position.
When the other job has passed that, stop it, and adopt --stopped TABLE makes of its rows,
and of the changes since, a table of the pipeline's, in one commit. Where it cannot be known
from the rows that the other job has passed the position, --lsn says up to where it has read.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("which table? adopt -c FILE schema.name")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), args[0], cmd.OutOrStdout()) },
	}
	configFlag(c, &f.file)
	c.Flags().StringVar(&f.only, "pipeline", "", "the pipeline of this name, where several take the table")
	c.Flags().StringVar(&f.path, "table", "", "the folder of the lake that the table must lie in: the configuration says which it is, and another is refused")
	c.Flags().BoolVar(&f.check, "check", false, "only look at the table: exit 3 where it cannot be taken over as it is")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print what was found as JSON")
	c.Flags().BoolVar(&f.adoption.Stopped, "stopped", false, "the other job has ended, and will not write into the table again")
	c.Flags().StringVar(&f.until, "lsn", "", "with --stopped: the table has every transaction that commits before this position")
	c.Flags().BoolVar(&f.adoption.Retype, "retype", false, "let columns change their types to those of docs/types.md")
	c.Flags().BoolVar(&f.adoption.Copy, "copy", false, "with --stopped: read all rows from the source, whatever the table has of them")
	c.Flags().BoolVar(&f.empty, "empty", false, "the table's folder may be empty yet: lakefeed table import fills it with an export or a dump that is made from now on")
	c.MarkFlagsMutuallyExclusive("lsn", "copy")
	c.MarkFlagsMutuallyExclusive("empty", "stopped")
	c.MarkFlagsMutuallyExclusive("empty", "check")
	return c
}

func (f *adoptFlags) run(ctx context.Context, table string, out io.Writer) (err error) {
	if f.until != "" {
		if f.adoption.Until, err = change.ParseLSN(f.until); err != nil {
			return usage("--lsn %q: %v", f.until, err)
		}
	}
	if (f.until != "" || f.adoption.Copy) && !f.adoption.Stopped {
		return usage("--lsn and --copy go with --stopped: what the table has counts when the other job has ended")
	}
	cfg, err := loadConfig(f.file)
	if err != nil {
		return err
	}
	p, err := pipelineOf(cfg, f.only, table)
	if err != nil {
		return err
	}
	found, err := f.inspect(ctx, p, table)
	if f.empty && errors.Is(err, hudi.ErrNoTable) {
		if err := f.ask(ctx, p, table); err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "the pipeline keeps the changes of %s from now on: `lakefeed status` says from which position; then let lakefeed table import fill its folder with rows that are newer, and adopt --stopped --lsn\n", table)
		return err
	}
	if err != nil {
		return err
	}
	if err := f.report(out, table, found); err != nil || f.check || f.adoption.Stopped && f.verdict(found) != nil {
		return cmp.Or(err, f.verdict(found)) // what is found is printed, and nothing is asked
	}
	if err := f.ask(ctx, p, table); err != nil {
		return err
	}
	text := "the pipeline keeps the changes of %s from now on: `lakefeed status` says which position the other job has to pass; then stop that, and adopt --stopped\n"
	if f.adoption.Stopped {
		text = "%s is taken over: `lakefeed status` says how far that is\n"
	}
	if f.asJSON {
		return nil
	}
	_, err = fmt.Fprintf(out, text, table)
	return err
}

// inspect looks at the table of the other job.
func (f *adoptFlags) inspect(ctx context.Context, p *config.Pipeline, table string) (*pipeline.Foreign, error) {
	if p.ShardOf != "" {
		return nil, usage("adopt %s: a table that several shards share cannot be taken over: let it be copied into a folder of its own", table)
	}
	lake, client, err := whomToAsk(ctx, p)
	if err != nil {
		return nil, err
	}
	if client != nil {
		client.Close()
	}
	look, err := lookAt(ctx, p)
	if err != nil {
		return nil, err
	}
	found, err := pipeline.InspectForeign(ctx, lake, p.Name, "", look, table, p.Table)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", table, err)
	}
	if f.path != "" && strings.Trim(f.path, "/") != found.Folder {
		return nil, usage("adopt %s: the configuration has it in folder %s of the lake, not in %s: set `path` of its entry", table, found.Folder, f.path)
	}
	return found, nil
}

// verdict is an error where a table cannot be taken over as it is.
func (f *adoptFlags) verdict(found *pipeline.Foreign) error {
	if len(found.Unread) > 0 && !f.adoption.Copy || len(found.Retyped) > 0 && !f.adoption.Retype {
		return errFound
	}
	return nil
}

func (f *adoptFlags) report(out io.Writer, table string, found *pipeline.Foreign) error {
	if f.asJSON {
		return printJSON(out, found)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: folder %s, %s, key %s", table, found.Folder, found.Type, strings.Join(found.Key, ","))
	if len(found.Partitions) > 0 {
		fmt.Fprintf(&b, ", partitions by %s", strings.Join(found.Partitions, ","))
	}
	fmt.Fprintf(&b, "\n  of several records of a key counts %s: from then on the one written later\n", found.Merging)
	fmt.Fprintf(&b, "  HoodieStreamer's checkpoint: %s\n", cmp.Or(found.Checkpoint, "none"))
	if found.Newest != 0 {
		fmt.Fprintf(&b, "  its newest row is of %s\n", found.Newest)
	}
	for _, r := range found.Retyped {
		fmt.Fprintf(&b, "  becomes another type for its readers (--retype lets it): %s\n", r)
	}
	for _, u := range found.Unread {
		fmt.Fprintf(&b, "  its rows do not do (--stopped --copy reads all of them from the source): %s\n", u)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// ask tells the process that runs the pipeline, or leaves it to the next one in the lake.
func (f *adoptFlags) ask(ctx context.Context, p *config.Pipeline, table string) error {
	lake, client, err := whomToAsk(ctx, p)
	if err != nil {
		return err
	}
	if client != nil {
		defer client.Close()
		_, err = client.Pipeline(p.Name).Adopt(ctx, table, f.adoption)
		return err
	}
	_, err = pipeline.RequestAdoption(ctx, lake, p.Name, table, f.adoption)
	return err
}
