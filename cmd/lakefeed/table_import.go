package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lakefeed/hudi"
	"lakefeed/storage"
	"lakefeed/storage/all"
)

// importResult is what `table import` prints.
type importResult struct {
	Path    string `json:"path"`
	Instant string `json:"instant"`
	Files   int    `json:"files"`
	Rows    int64  `json:"rows"`
	Dropped int64  `json:"dropped,omitempty"`
}

func tableImportCommand() *cobra.Command {
	var asJSON bool
	var to, typ, memory string
	var opts hudi.ImportOptions
	c := &cobra.Command{
		Use:   "import PATH... --to TABLE --key COLUMN",
		Short: "Make a table of Parquet files",
		Long: `Make a Hudi table of Parquet files, or of all *.parquet in folders, in a folder that must
be empty. Every row is written anew, in the types that every engine reads: decimals that
are kept as integers, INT96 timestamps, lists of two levels among them. The rows appear
at once; an import that fails leaves nothing behind.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("want PATH..., Parquet files or folders of them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := importFlags(&opts, to, typ, memory); err != nil {
				return err
			}
			files, err := parquetFiles(cmd.Context(), args)
			if err != nil {
				return err
			}
			store, err := all.Open(cmd.Context(), to)
			if err != nil {
				return err
			}
			res, err := hudi.Import(cmd.Context(), store, files, opts)
			if err != nil {
				return err
			}
			info := importResult{to, res.Instant, len(files), res.Rows, res.Dropped}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), info)
			}
			dropped := ""
			if res.Dropped > 0 {
				dropped = fmt.Sprintf(", %s left out for later ones of their keys", plural(res.Dropped, "row"))
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s of %s in %s%s\n", plural(res.Rows, "row"), plural(int64(len(files)), "file"), to, dropped)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&to, "to", "", "folder or URL of the table to make; it must be empty")
	f.StringSliceVar(&opts.RecordKey, "key", nil, "the columns that make a row's key")
	f.StringSliceVar(&opts.PartitionBy, "partition-by", nil, "the columns by whose values rows are laid into folders")
	f.BoolVar(&opts.HiveStyle, "hive-style", true, "name these folders column=value")
	f.BoolVar(&opts.URLEncode, "url-encode", false, "write what may not stand in a folder's name as %XX")
	f.StringVar(&opts.OrderingField, "ordering", "", "a column that grows with each change of a row; default: the first key column")
	f.StringVar(&typ, "type", "mor", "mor (merge-on-read) or cow (copy-on-write)")
	f.IntVar(&opts.Buckets, "buckets", 0, "hash buckets, in each partition; default: by the size of the files")
	f.StringVar(&opts.Name, "name", "", "the table's name; default: that of its folder")
	f.BoolVar(&opts.LastWins, "last-wins", false, "of rows with one key let the last count, or the greatest by --ordering")
	f.StringVar(&memory, "memory", "256MiB", "how much of the rows to hold in memory")
	f.StringVar(&opts.TempDir, "temp-dir", "", "where the others are kept meanwhile; default: the system's")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// importFlags reads the flags that are texts.
func importFlags(opts *hudi.ImportOptions, to, typ, memory string) (err error) {
	switch {
	case to == "":
		return usage("--to is missing: the folder or URL of the table to make")
	case len(opts.RecordKey) == 0:
		return usage("--key is missing: the columns that make a row's key")
	case tableTypes[typ] == "":
		return usage("--type %q: mor or cow", typ)
	}
	if opts.Memory, err = parseBytes(memory); err != nil {
		return usage("--memory %q: want a size as 256MiB", memory)
	}
	opts.Type = tableTypes[typ]
	if opts.Name == "" {
		opts.Name, err = all.Name(to)
	}
	return err
}

// parquetFiles are the files that the arguments name: files, or what folders hold but for
// hidden ones and those that begin with _.
func parquetFiles(ctx context.Context, args []string) ([]hudi.ImportFile, error) {
	var out []hudi.ImportFile
	for _, arg := range args {
		folder, name := arg, ""
		if info, err := os.Stat(arg); err == nil && !info.IsDir() || err != nil && strings.HasSuffix(arg, ".parquet") {
			folder, name = path.Split(filepath.ToSlash(arg))
			folder = firstOf(folder, ".")
		}
		store, err := all.Open(ctx, folder)
		if err != nil {
			return nil, err
		}
		before := len(out)
		for info, err := range store.List(ctx, "", name == "") {
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", arg, err)
			}
			if name != "" && info.Name == name || name == "" && isParquet(info.Name) {
				out = append(out, importFile(store, info, path.Join(folder, info.Name)))
			}
		}
		if len(out) == before {
			return nil, usage("%s: no Parquet file is there", arg)
		}
	}
	return out, nil
}

func isParquet(name string) bool {
	hidden := func(part string) bool { return part[0] == '.' || part[0] == '_' }
	return strings.HasSuffix(name, ".parquet") && !slices.ContainsFunc(strings.Split(name, "/"), hidden)
}

func importFile(store storage.Store, info storage.Info, name string) hudi.ImportFile {
	return hudi.ImportFile{Name: name, Size: info.Size, Open: func(ctx context.Context) (storage.Reader, error) { return store.Open(ctx, info.Name) }}
}
