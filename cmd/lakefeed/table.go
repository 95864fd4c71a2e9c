package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"lakefeed/hudi"
	"lakefeed/storage/all"
)

func tableCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "table",
		Short: "Look into any Hudi table, ours or not, and take care of it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(
		tableShowCommand(), tableTimelineCommand(), tableReadCommand(), tablePinCommand(), tableChangesCommand(), tableFilesCommand(), tableStatsCommand(), tableCheckCommand(),
		tableCompactCommand(), tableClusterCommand(), tableConvertCommand(), tableCleanCommand(), tableArchiveCommand(), tableRollbackCommand(), tableSavepointCommand(), tableRestoreCommand(), tableImportCommand(),
	)
	return c
}

// openTable opens the table in a folder or at a URL.
func openTable(ctx context.Context, path string) (*hudi.Table, error) {
	return openTableAs(ctx, path, hudi.Options{})
}

func openTableAs(ctx context.Context, path string, opts hudi.Options) (*hudi.Table, error) {
	store, err := all.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	t, err := hudi.Open(ctx, store, opts)
	if err != nil {
		return nil, noTable(path, fmt.Errorf("open table %s: %w", path, err))
	}
	return t, nil
}

// noTable says more of the error that there is no table at a path.
func noTable(path string, err error) error {
	if errors.Is(err, hudi.ErrNoTable) {
		return fmt.Errorf("%s: %w: name the folder that holds .hoodie (lakefeed puts a table into LAKE/SCHEMA/TABLE)", path, hudi.ErrNoTable)
	}
	return err
}

// tableInfo is what `table show` prints.
type tableInfo struct {
	Path       string            `json:"path"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Version    string            `json:"version"`
	RecordKey  []string          `json:"record_key"`
	Partitions string            `json:"partition_fields,omitempty"`
	Ordering   string            `json:"ordering_field,omitempty"`
	Buckets    int               `json:"buckets"`
	Commits    int               `json:"commits"` // completed instants on the active timeline
	Newest     string            `json:"newest_instant"`
	Checkpoint json.RawMessage   `json:"checkpoint,omitempty"` // of Lakefeed, in the newest commit that has one
	Columns    []columnInfo      `json:"columns"`
	Properties map[string]string `json:"properties"`
}

type columnInfo struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Nullable bool   `json:"nullable"`
}

func tableShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show PATH",
		Short: "Print what a table is: type, version, key, columns, newest commit",
		Args:  onePath,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := openTable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			info, err := describe(cmd.Context(), t, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), info)
			}
			return info.print(cmd.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func describe(ctx context.Context, t *hudi.Table, path string) (*tableInfo, error) {
	props := t.Properties()
	info := &tableInfo{
		Path: path, Name: t.Name(), Type: string(t.Type()), Version: props["hoodie.table.version"],
		RecordKey: t.RecordKey(), Partitions: props["hoodie.table.partition.fields"],
		Ordering: firstOf(props["hoodie.table.ordering.fields"], props["hoodie.table.precombine.field"]),
		Buckets:  t.Buckets(), Properties: props,
	}
	if done := t.Timeline().Completed(); len(done) > 0 {
		info.Commits, info.Newest = len(done), done[len(done)-1].Time
	}
	checkpoint, _, err := t.LastExtra(ctx, "lakefeed.checkpoint")
	if err != nil {
		return nil, fmt.Errorf("read the commits of %s: %w", path, err)
	}
	if json.Valid([]byte(checkpoint)) {
		info.Checkpoint = json.RawMessage(checkpoint)
	}
	for _, f := range t.Schema().Fields() {
		info.Columns = append(info.Columns, columnInfo{Name: f.Name, Type: f.Type.String(), Nullable: f.Nullable})
	}
	return info, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func (i *tableInfo) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(name string, v any) { _, _ = fmt.Fprintf(w, "%s\t%v\n", name, v) } // errors show at Flush
	line("table", i.Name)
	line("type", i.Type)
	line("version", i.Version)
	line("record key", strings.Join(i.RecordKey, ", "))
	if i.Partitions != "" {
		line("partitioned by", i.Partitions)
	}
	if i.Ordering != "" {
		line("ordering field", i.Ordering)
	}
	if i.Buckets > 0 {
		line("buckets", i.Buckets)
	}
	line("instants", i.Commits)
	line("newest", i.Newest)
	if i.Checkpoint != nil {
		line("checkpoint", string(i.Checkpoint))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out) // as above
	for _, c := range i.Columns {
		null := ""
		if !c.Nullable {
			null = " not null"
		}
		line("  "+c.Name, c.Type+null)
	}
	return w.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func onePath(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("want one PATH, the folder or URL of a Hudi table; got %d", len(args))
	}
	return nil
}
