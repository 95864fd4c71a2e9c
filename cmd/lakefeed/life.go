package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"lakefeed/change"
	"lakefeed/config"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/server"
	"lakefeed/storage"
	"lakefeed/storage/all"
)

// lifeVerb is a command that asks something for single tables.
type lifeVerb struct {
	verb              pipeline.Verb
	short, long, done string
}

var lifeVerbs = []lifeVerb{
	{
		pipeline.Pause, "Write no more into tables; their changes wait in the spool",
		`Write no more into tables, until they are resumed. Their changes go to the spool meanwhile,
so that the source may forget them; the other tables go on.`,
		"is paused: its changes wait in the spool",
	},
	{
		pipeline.Resume, "Go on with tables that are paused, or that stopped",
		`Go on with tables that were paused, and try those again that stopped. What has waited in
the spool is written first, in the order of the log.`,
		"goes on",
	},
	{
		pipeline.Resync, "Copy tables anew, beside the stream",
		`Copy tables anew while all others go on. Readers see the old rows until the one commit in
which the new ones come; changes that come meanwhile follow.`,
		"is copied anew",
	},
	{
		pipeline.Remove, "Follow tables no more, though the configuration takes them",
		`Follow tables no more, though the configuration takes them. What the lake has of them stays
as it is. Add takes them back.`,
		"is followed no more",
	},
	{
		pipeline.Add, "Follow tables again that were removed",
		`Follow tables again that were removed. They are copied anew beside the stream, since what
happened to them meanwhile is in no log.`,
		"is followed",
	},
}

func lifeCommands() []*cobra.Command {
	list := make([]*cobra.Command, len(lifeVerbs))
	for i, v := range lifeVerbs {
		list[i] = v.command()
	}
	return list
}

func (v lifeVerb) command() *cobra.Command {
	var file, only, slot, where string
	var columns []string
	var every, stop, pause, resume bool
	c := &cobra.Command{
		Use:   string(v.verb) + " -c FILE TABLE...",
		Short: v.short,
		Long: v.long + `

TABLE is a name as status prints it, schema.name. A process that runs the pipeline is told;
where none does, the lake keeps it for the next one.`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case slot != "" && !every:
				return usage("--slot goes with --all: all tables of that slot")
			case every && len(args) > 0:
				return usage("--all takes all tables: name none")
			case where != "" && (every || len(args) != 1):
				return usage("--where goes with one table")
			case len(columns) > 0 && (every || len(args) != 1):
				return usage("--columns goes with one table")
			case len(args) == 0 && !every:
				return usage("which table? %s -c FILE schema.name", v.verb)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			if every {
				return resyncAll(cmd.Context(), cfg, only, slot, cmd.OutOrStdout())
			}
			for _, table := range args {
				p, err := pipelineOf(cfg, only, table)
				if err != nil {
					return err
				}
				if verb, done := steering(stop, pause, resume); verb != "" {
					if err := (lifeVerb{verb: verb}).ask(cmd.Context(), p, table); err != nil {
						return err
					}
					if _, err := fmt.Fprintf(cmd.OutOrStdout(), done+"\n", table); err != nil {
						return err
					}
					continue
				}
				if cmd.Flags().Changed("where") || cmd.Flags().Changed("columns") {
					if where == "" && cmd.Flags().Changed("where") {
						return usage("--where: which rows? For all of them, leave it out")
					}
					if len(columns) == 0 && cmd.Flags().Changed("columns") {
						return usage("--columns: which columns? For all of them, leave it out")
					}
					if err := askSnapshot(cmd.Context(), p, table, where, columns, cmd.OutOrStdout()); err != nil {
						return err
					}
					continue
				}
				if err := v.ask(cmd.Context(), p, table); err != nil {
					return err
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", table, v.done); err != nil {
					return err
				}
			}
			return nil
		},
	}
	configFlag(c, &file)
	if v.verb == pipeline.Resync {
		c.Flags().BoolVar(&every, "all", false, "all tables of the pipeline; where its slot is lost, gone or moved, the next run makes it anew")
		c.Flags().StringVar(&where, "where", "", "read only the rows anew that meet this condition of the source's SQL, while the table goes on")
		c.Flags().StringSliceVar(&columns, "columns", nil, "read only these columns anew, a,b, of all rows or those of --where, and write them into the rows that the lake has")
		c.Flags().BoolVar(&stop, "stop", false, "read no more rows or columns anew")
		c.Flags().BoolVar(&pause, "pause", false, "let that wait; it begins anew later")
		c.Flags().BoolVar(&resume, "resume", false, "let it wait no more")
		c.MarkFlagsMutuallyExclusive("stop", "pause", "resume", "where", "all")
		c.MarkFlagsMutuallyExclusive("stop", "pause", "resume", "columns", "all")
		c.Flags().StringVar(&slot, "slot", "", "with --all: the tables of this one of several slots")
	}
	c.Flags().StringVar(&only, "pipeline", "", "the pipeline of this name, where several take the table")
	return c
}

// pipelineOf is the pipeline whose configuration takes a table.
func pipelineOf(cfg *config.Config, only, table string) (*config.Pipeline, error) {
	schema, name, ok := strings.Cut(table, ".")
	if !ok {
		return nil, usage("table %q: want schema.name, as status prints it", table)
	}
	pipelines, err := chosen(cfg, only)
	if err != nil {
		return nil, err
	}
	var found *config.Pipeline
	for i := range pipelines {
		switch p := &pipelines[i]; {
		case !p.Match(schema, name):
		case found != nil:
			return nil, usage("table %s: pipelines %s and %s both take it: name one by --pipeline", table, found.Name, p.Name)
		default:
			found = p
		}
	}
	if found == nil {
		return nil, usage("table %s: no entry of tables in the configuration takes it", table)
	}
	return found, nil
}

// resyncAll copies all tables of a pipeline anew. Where none runs, as when its slot is lost,
// the next one does, and makes the slot anew if it must.
func resyncAll(ctx context.Context, cfg *config.Config, only, slot string, out io.Writer) error {
	pipelines, err := chosen(cfg, only)
	if err != nil {
		return err
	}
	if len(pipelines) > 1 {
		return usage("the configuration has %d pipelines: name one by --pipeline", len(pipelines))
	}
	p := &pipelines[0]
	report, err := statusOf(ctx, p)
	if err != nil {
		return err
	}
	if report.Running {
		for _, t := range report.Tables {
			if slot != "" && t.Slot != slot {
				continue
			}
			if err := (lifeVerb{verb: pipeline.Resync}).ask(ctx, p, t.Table); err != nil {
				return err
			}
		}
	} else {
		lake, err := all.Open(ctx, p.Lake.URL)
		if err != nil {
			return fmt.Errorf("open lake: %w", err)
		}
		var slots []string
		if slot != "" {
			slots = append(slots, slot)
		}
		if err := pipeline.ResyncAll(ctx, lake, p.Name, slots...); err != nil {
			return err
		}
	}
	what := "pipeline " + p.Name
	if slot != "" {
		what = "slot " + slot + " of " + what
	}
	_, err = fmt.Fprintf(out, "all tables of %s are copied anew\n", what)
	return err
}

// ask tells the process that runs the pipeline, or leaves it to the next one in the lake.
func (v lifeVerb) ask(ctx context.Context, p *config.Pipeline, table string) error {
	lake, client, err := whomToAsk(ctx, p)
	if err != nil {
		return err
	}
	if client != nil {
		defer client.Close()
		_, err = client.Pipeline(p.Name).Instruct(ctx, table, v.verb)
		return err
	}
	var look *change.Look
	if v.verb == pipeline.Apply {
		if look, err = lookAt(ctx, p); err != nil {
			return err
		}
	}
	_, err = pipeline.Instruct(ctx, lake, p.Name, table, v.verb, look)
	return err
}

// whomToAsk is the lake of a pipeline, and the process that runs it; nil where none does.
func whomToAsk(ctx context.Context, p *config.Pipeline) (storage.Store, *server.Client, error) {
	lake, err := all.Open(ctx, p.Lake.URL)
	if err != nil {
		return nil, nil, fmt.Errorf("open lake: %w", err)
	}
	client, err := holderOf(ctx, lake, p.Name)
	if err != nil {
		return nil, nil, err
	}
	return lake, client, nil
}

// holderOf is the process that runs a pipeline; nil where none does.
func holderOf(ctx context.Context, lake storage.Store, name string) (*server.Client, error) {
	holder, err := pipeline.ReadLock(ctx, lake, name)
	switch {
	case err != nil:
		return nil, err
	case holder == nil || !holder.Alive():
		return nil, nil //nolint:nilnil // nobody runs it
	case holder.Address == "":
		return nil, fmt.Errorf("process %d on %s runs pipeline %s and has no server to ask: wait for its end, or start it with --listen", holder.PID, holder.Host, name)
	}
	return server.NewClient(holder.Address), nil
}

// lookAt looks at the tables of a pipeline's source.
func lookAt(ctx context.Context, p *config.Pipeline) (*change.Look, error) {
	c, err := postgres.Open(ctx, p.Source(nil))
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }() // it only looked
	return sourceOf(p, c).Look(ctx)
}
