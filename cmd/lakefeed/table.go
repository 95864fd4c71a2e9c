package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lakefeed/hudi"
	"lakefeed/storage"
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
	return openTableIn(ctx, store, path, opts)
}

// openTableLocked opens a table to change it.
func openTableLocked(ctx context.Context, path string, opts hudi.Options, lock lockFlag) (*hudi.Table, error) {
	store, err := all.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	if opts.Concurrency, err = lock.concurrency(ctx, store); err != nil {
		return nil, noTable(path, err)
	}
	return openTableIn(ctx, store, path, opts)
}

func openTableIn(ctx context.Context, store storage.Store, path string, opts hudi.Options) (*hudi.Table, error) {
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

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
