package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lakefeed/config"
	"lakefeed/hudi"
	"lakefeed/hudi/keyindex"
)

// tableTypes are the table types as flags name them.
var tableTypes = map[string]hudi.TableType{"mor": hudi.MergeOnRead, "cow": hudi.CopyOnWrite}

func tableClusterCommand() *cobra.Command {
	var opts hudi.ClusterOptions
	var small, target, most string
	var index indexFlags
	c := serviceCommandAs(index.open, "cluster PATH", "Join small files, or sort rows by columns that readers filter by", `Write the rows of small file groups into larger ones or, with --sort-by, those of all
file groups in the order of some columns, so that readers that filter by them pass over
most files. The old file groups are replaced in one commit, and cleaned away later; rows
keep the instants at which they were written. In a table of hash buckets each bucket stays
a file group of its own: it needs --sort-by.`, onePath,
		func(ctx context.Context, t *hudi.Table, _ []string) (r serviceResult, err error) {
			for _, f := range []struct {
				name, text string
				to         *int64
			}{{"small-file", small, &opts.SmallFileBytes}, {"target", target, &opts.TargetFileBytes}, {"max-bytes", most, &opts.MaxBytes}} {
				if *f.to, err = sizeFlag(f.name, f.text); err != nil {
					return r, err
				}
			}
			if t.Buckets() > 0 && len(opts.SortBy) == 0 {
				return r, usage("--sort-by: a table of hash buckets has no small files to join: name columns to sort by, or give it fewer buckets with table convert")
			}
			for _, p := range opts.Partitions {
				if !slices.Contains(t.Partitions(), p) {
					return r, usage("--partition %q: the table has no such partition%s", p, config.Nearest(p, t.Partitions()))
				}
			}
			res, err := t.Cluster(ctx, opts)
			r = serviceResult{Instant: res.Instant, Replaced: res.Replaced, Written: res.Written, text: "nothing to cluster"}
			if res.Instant != "" {
				r.text = fmt.Sprintf("clustered in %s: %s replaced by %d", res.Instant, plural(int64(res.Replaced), "file group"), res.Written)
			}
			return r, err
		})
	f := c.Flags()
	index.add(f)
	f.StringSliceVar(&opts.SortBy, "sort-by", nil, "columns to sort rows by")
	f.StringSliceVar(&opts.Partitions, "partition", nil, "partitions to look at, as region=eu; default: all")
	f.StringVar(&small, "small-file", "", "join file groups below this size (default 100MiB); with --sort-by all take part")
	f.StringVar(&target, "target", "", "about how large the new files become (default 120MiB)")
	f.StringVar(&most, "max-bytes", "", "read at most about so much, the partitions that changed last first; default: no bound")
	f.DurationVar(&opts.MaxTime, "max-time", 0, "begin nothing more after that; what is done is published")
	f.IntVar(&opts.MinCommits, "min-commits", 0, "only if there are so many commits since the last clustering")
	f.StringVar(&opts.TempDir, "temp-dir", "", "where rows to sort are kept beyond 128 MiB of them; default: the system's")
	return c
}

// indexFlags say of a table of another engine what it does not say itself.
type indexFlags struct {
	index   string
	buckets int
}

func (f *indexFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.index, "index", "", "the table's index, where it does not say it: simple (Spark's where it was told none), bloom, global_simple, global_bloom or bucket")
	fs.IntVar(&f.buckets, "has-buckets", 0, "how many hash buckets it has, where its commits do not say it")
}

// open opens a table for laying it out anew. An index of keys is of no use there: keys
// stay in their partitions.
func (f *indexFlags) open(ctx context.Context, path string, opts hudi.Options, lock lockFlag) (*hudi.Table, error) {
	keys, err := keyindex.OpenMem()
	if err != nil {
		return nil, err
	}
	opts.Index, opts.Buckets, opts.Keys = hudi.IndexType(strings.ToUpper(f.index)), f.buckets, keys
	t, err := openTableLocked(ctx, path, opts, lock)
	if err != nil {
		return nil, err
	}
	if t.Index() == "" {
		if err := t.Writable(); err != nil {
			return nil, err
		}
		return nil, usage("--index: neither the table nor its commits say it: name the one by which its writer finds keys (Spark's is simple where it was told none); for bucket, also --has-buckets")
	}
	return t, nil
}

// sizeFlag is the bytes of a flag, 0 where it is not given.
func sizeFlag(name, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := parseBytes(text)
	if err != nil || n == 0 {
		return 0, usage("--%s %q: want a size as 64MiB or 1GiB", name, text)
	}
	return n, nil
}

func tableConvertCommand() *cobra.Command {
	var opts hudi.ConvertOptions
	var typ string
	var index indexFlags
	c := serviceCommandAs(index.open, "convert PATH", "Change a table's type, or its number of hash buckets", `Make a copy-on-write table a merge-on-read one or the other way round, or give a table
another number of hash buckets. Readers see the same rows before, during and after it, and
rows keep the instants at which they were written. All rows are written anew in one commit,
but for copy-on-write to merge-on-read, which changes one line. After a crash call it again.`, onePath,
		func(ctx context.Context, t *hudi.Table, _ []string) (serviceResult, error) {
			opts.Type = tableTypes[typ]
			switch {
			case typ != "" && opts.Type == "":
				return serviceResult{}, usage("--type %q: mor or cow", typ)
			case typ == "" && opts.Buckets == 0:
				return serviceResult{}, usage("give --type, --buckets or both")
			case opts.Buckets < 0:
				return serviceResult{}, usage("--buckets %d: want a number above zero", opts.Buckets)
			}
			last, _ := t.Timeline().Last()
			had := t.Type()
			if err := t.Convert(ctx, opts); err != nil {
				return serviceResult{}, err
			}
			r := serviceResult{Type: string(t.Type()), Buckets: t.Buckets(), text: "nothing to convert"}
			if now, _ := t.Timeline().Last(); now.Time != last.Time {
				r.Instant, r.text = now.Time, "converted in "+now.Time
			} else if t.Type() != had {
				r.text = "converted"
			}
			r.text += ": " + r.Type
			if r.Buckets > 0 {
				r.text += ", " + plural(int64(r.Buckets), "bucket")
			}
			return r, nil
		})
	f := c.Flags()
	index.add(f)
	f.StringVar(&typ, "type", "", "mor (merge-on-read) or cow (copy-on-write); default: as it is")
	f.IntVar(&opts.Buckets, "buckets", 0, "hash buckets, in each partition; default: as it is")
	f.StringVar(&opts.TempDir, "temp-dir", "", "where rows are kept beyond 128 MiB of them meanwhile; default: the system's")
	return c
}
