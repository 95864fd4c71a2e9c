package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/pipeline"
	"lakefeed/storage"
)

// repointFlags are those of `repoint`.
type repointFlags struct {
	file, only, from, until, since string
	check, asJSON, now             bool
	adoption                       pipeline.Adoption
	leaving                        pipeline.Leaving
	begins                         change.LSN
}

func repointCommand() *cobra.Command {
	var f repointFlags
	c := &cobra.Command{
		Use:   "repoint -c FILE TABLE --from PIPELINE",
		Short: "Let a table go on from another database, as where a service gets one of its own",
		Long: `Let a table of the lake go on from another database: a service moves from the one of the
pipeline --from to one that has a pipeline of its own in the same lake, and the table stays where
it is, with its history. TABLE is its name in the new database; ` + "`path`" + ` of its entry in the
configuration says where in the lake it lies.

First, before anybody writes to the new database but the copy of the old one, repoint TABLE lets
the new pipeline keep the table's changes. When nobody writes to the table in the old database any
more, repoint --switch TABLE lets the old pipeline write all that it has, and no more for ever;
then the new one lays its changes over that, in one commit, and goes on. Said again, it goes on
where it was. Run lakefeed validate when it has.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("which table? repoint -c FILE schema.name --from PIPELINE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), args[0], cmd.OutOrStdout()) },
	}
	configFlag(c, &f.file)
	c.Flags().StringVar(&f.from, "from", "", "the pipeline that keeps the table now")
	c.Flags().StringVar(&f.only, "pipeline", "", "the pipeline that is to go on with it, where several others take the table")
	c.Flags().BoolVar(&f.check, "check", false, "only look at the table: exit 3 where its rows do not do for the new database")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print what was found as JSON")
	c.Flags().BoolVar(&f.now, "switch", false, "nobody writes to the table in the old database any more")
	c.Flags().StringVar(&f.until, "until", "", "with --switch: the position of the old database up to which the table was written; default: where its log ends")
	c.Flags().StringVar(&f.since, "since", "", "with --switch: the position of the new database from which on it is written; refused where changes of before are not kept")
	c.Flags().BoolVar(&f.adoption.Copy, "copy", false, "with --switch: read all rows from the new database, whatever the table has of them")
	c.Flags().BoolVar(&f.adoption.Retype, "retype", false, "with --copy: let columns change their types to those of the new database")
	c.MarkFlagsMutuallyExclusive("check", "switch")
	c.MarkFlagsMutuallyExclusive("copy", "until")
	c.MarkFlagsMutuallyExclusive("copy", "since")
	return c
}

// understand takes the flags in.
func (f *repointFlags) understand() (err error) {
	if f.from == "" {
		return usage("--from: which pipeline keeps the table now?")
	}
	if !f.now && (f.until != "" || f.since != "" || f.adoption.Copy) {
		return usage("--until, --since and --copy go with --switch")
	}
	f.adoption.Stopped, f.leaving.Anyhow = f.now, f.adoption.Copy
	if f.until != "" {
		if f.leaving.At, err = change.ParseLSN(f.until); err != nil {
			return usage("--until %q: %v", f.until, err)
		}
	}
	if f.since != "" {
		if f.begins, err = change.ParseLSN(f.since); err != nil {
			return usage("--since %q: %v", f.since, err)
		}
	}
	return nil
}

func (f *repointFlags) run(ctx context.Context, table string, out io.Writer) error {
	if err := f.understand(); err != nil {
		return err
	}
	cfg, err := loadConfig(f.file)
	if err != nil {
		return err
	}
	if f.only == f.from {
		return usage("--from and --pipeline are both %s: the new database has a pipeline of its own, under another name", f.from)
	}
	others := *cfg
	others.Pipelines = slices.DeleteFunc(slices.Clone(cfg.Pipelines), func(p config.Pipeline) bool { return p.Name == f.from })
	p, err := pipelineOf(&others, f.only, table)
	if err != nil {
		return err
	}
	if p.ShardOf != "" {
		return usage("repoint %s: a table that several shards share cannot be taken over: let it be copied into a folder of its own", table)
	}
	lake, client, err := whomToAsk(ctx, p)
	if err != nil {
		return err
	}
	if client != nil {
		defer client.Close()
	}
	found, err := f.inspect(ctx, p, lake, table)
	if errors.Is(err, pipeline.ErrRepointed) {
		_, err = fmt.Fprintf(out, "%s goes on from pipeline %s already\n", table, p.Name)
		return err
	}
	if err != nil {
		return err
	}
	if err := f.report(out, table, found); err != nil {
		return err
	}
	if f.check || f.now {
		if err := f.verdict(found); err != nil || f.check {
			return err // what is found is printed, and nothing is asked
		}
	}
	f.adoption.From = &pipeline.Origin{Pipeline: f.from, Table: found.Table, Begins: f.begins}
	if f.now {
		if err := f.leave(ctx, p, lake, table, found); err != nil {
			return err
		}
	}
	if client != nil {
		_, err = client.Pipeline(p.Name).Adopt(ctx, table, f.adoption)
	} else {
		_, err = pipeline.RequestAdoption(ctx, lake, p.Name, table, f.adoption)
	}
	if err != nil || f.asJSON {
		return err
	}
	text := "pipeline %[2]s keeps the changes of %[1]s from now on: `lakefeed status` says from which position; let nobody but the copy of the old database write before that, and, when nobody writes to that one any more, repoint --switch\n"
	if f.now {
		text = "%[1]s goes on from pipeline %[2]s: `lakefeed status` says how far that is, and then `lakefeed validate` compares it with the new database\n"
	}
	_, err = fmt.Fprintf(out, text, table, p.Name)
	return err
}

// inspect looks at the table in the lake, and at that of the new database.
func (f *repointFlags) inspect(ctx context.Context, p *config.Pipeline, lake storage.Store, table string) (*pipeline.Foreign, error) {
	look, err := lookAt(ctx, p)
	if err != nil {
		return nil, err
	}
	found, err := pipeline.InspectForeign(ctx, lake, p.Name, f.from, look, table, p.Table)
	if err != nil {
		return nil, fmt.Errorf("repoint %s: %w", table, err)
	}
	return found, nil
}

// verdict is an error where the rows of the table do not do.
func (f *repointFlags) verdict(found *pipeline.Foreign) error {
	if len(found.Unread) > 0 && !f.adoption.Copy || f.adoption.Copy && len(found.Retyped) > 0 && !f.adoption.Retype {
		return errFound
	}
	return nil
}

func (f *repointFlags) report(out io.Writer, table string, found *pipeline.Foreign) error {
	if f.asJSON {
		return printJSON(out, found)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: folder %s, table %s of pipeline %s, which has written it up to %s\n", table, found.Folder, found.Table, f.from, found.Holds)
	for _, u := range found.Unread {
		fmt.Fprintf(&b, "  its rows do not do (--switch --copy reads all of them from the new database): %s\n", u)
	}
	if f.adoption.Copy {
		for _, r := range found.Retyped {
			fmt.Fprintf(&b, "  becomes another type for its readers (--retype lets it): %s\n", r)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// leave has the old pipeline leave the table: only where the new one has what comes then.
func (f *repointFlags) leave(ctx context.Context, p *config.Pipeline, lake storage.Store, table string, found *pipeline.Foreign) error {
	orders, err := pipeline.ReadOrders(ctx, lake, p.Name)
	if err != nil {
		return err
	}
	if err := pipeline.CheckRepoint(orders[table], f.adoption); err != nil {
		return fmt.Errorf("repoint %s: %w", table, err)
	}
	f.leaving.To, f.leaving.Path = p.Name, found.Folder
	client, err := holderOf(ctx, lake, f.from)
	if err != nil {
		return err
	}
	if client != nil {
		defer client.Close()
		_, err = client.Pipeline(f.from).Leave(ctx, found.Table, f.leaving)
		return err
	}
	_, err = pipeline.RequestLeave(ctx, lake, f.from, found.Table, f.leaving)
	return err
}
