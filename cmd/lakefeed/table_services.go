package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"lakefeed/hudi"
)

// serviceResult is what a verb that changes a table says it did.
type serviceResult struct {
	Path      string   `json:"path"`
	Instant   string   `json:"instant,omitempty"` // that the timeline has of it; "" when there was nothing to do
	Files     int      `json:"files,omitempty"`   // deleted
	TakenBack []string `json:"taken_back,omitempty"`
	Archived  int      `json:"archived,omitempty"` // instants
	Held      string   `json:"held,omitempty"`     // why older ones stay
	Replaced  int      `json:"replaced,omitempty"` // file groups
	Written   int      `json:"written,omitempty"`  // file groups in their place
	Type      string   `json:"type,omitempty"`
	Buckets   int      `json:"buckets,omitempty"`
	text      string
}

// serviceRun does a verb's work.
type serviceRun func(ctx context.Context, t *hudi.Table, args []string) (serviceResult, error)

// serviceCommand is a verb that changes one table.
func serviceCommand(use, short, long string, args cobra.PositionalArgs, run serviceRun) *cobra.Command {
	return serviceCommandAs(openTableLocked, use, short, long, args, run)
}

// tableOpener opens the table at a path to change it.
type tableOpener func(ctx context.Context, path string, opts hudi.Options, lock lockFlag) (*hudi.Table, error)

func serviceCommandAs(open tableOpener, use, short, long string, args cobra.PositionalArgs, run serviceRun) *cobra.Command {
	var asJSON bool
	var lock lockFlag
	var metadata string
	c := &cobra.Command{
		Use: use, Short: short, Long: long + sharing, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			log, err := newLogger(cmd.ErrOrStderr(), "text", "warn")
			if err != nil {
				return err
			}
			opts := hudi.Options{Logger: log, MetadataTable: hudi.MetadataTablePolicy(metadata)}
			ctx, t, release, err := openHeld(cmd.Context(), args[0], lock, opts, open)
			if err != nil {
				return err
			}
			r, err := run(ctx, t, args)
			if err = joinRelease(cmd.Context(), err, release); err != nil {
				return err
			}
			r.Path = args[0]
			if asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), r.text+"\n")
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	lock.add(c.Flags())
	c.Flags().StringVar(&metadata, "metadata-table", string(hudi.RemoveMetadataTable), "what becomes of a metadata table, which Spark makes by default and this program does not keep up: remove, or refuse the table")
	return c
}

// sharing is what the help of each verb that changes a table says of other writers.
const sharing = `

Beside writers that share a lock it takes that lock (--lock), and leaves alone what they are
at work on. Without one it is refused while a writer shows that it is at work. --lock none
says that no writer lives: what is pending on the table is taken for a crash's rest at once.`

func tableCompactCommand() *cobra.Command {
	var opts hudi.CompactOptions
	var least, most string
	c := serviceCommand("compact PATH", "Merge the log files of a merge-on-read table into new base files", `Merge the log files of a merge-on-read table into new base files. Readers go on
meanwhile.`, onePath,
		func(ctx context.Context, t *hudi.Table, _ []string) (r serviceResult, err error) {
			if opts.MinLogBytes, err = sizeFlag("min-log-bytes", least); err != nil {
				return r, err
			}
			if opts.MaxBytes, err = sizeFlag("max-bytes", most); err != nil {
				return r, err
			}
			if r.Instant, err = t.Compact(ctx, opts); err != nil {
				return r, err
			}
			r.text = "nothing to compact"
			if r.Instant != "" {
				r.text = "compacted in " + r.Instant
			}
			return r, nil
		})
	f := c.Flags()
	f.IntVar(&opts.MinDeltaCommits, "min-delta-commits", 1, "only if there are so many since the last compaction")
	f.DurationVar(&opts.MinAge, "min-age", 0, "only if the oldest of these is so old")
	f.BoolVar(&opts.Either, "either", false, "if one of these two holds; default: both must")
	f.StringVar(&least, "min-log-bytes", "", "only file groups whose log files are so large, as 10MiB; default: any")
	f.IntVar(&opts.MaxGroups, "max-groups", 0, "no more file groups than that; those with the most log bytes come first")
	f.StringVar(&most, "max-bytes", "", "read at most about so much, as 10GiB; default: no bound")
	f.DurationVar(&opts.MaxTime, "max-time", 0, "begin no more file groups after that; what is done is published")
	return c
}

func tableCleanCommand() *cobra.Command {
	var opts hudi.CleanOptions
	var c *cobra.Command
	c = serviceCommand("clean PATH", "Delete the files that no read needs any more", `Delete file slices that neither a reader of the newest commits nor a savepoint needs.
A read as of an older instant then says that it has been cleaned away.`, onePath,
		func(ctx context.Context, t *hudi.Table, _ []string) (serviceResult, error) {
			for _, name := range []string{"retain-commits", "retain", "retain-versions"} {
				if f := c.Flags().Lookup(name); f.Changed && (f.Value.String() == "0" || f.Value.String() == "0s") {
					return serviceResult{}, usage("--%s: want more than nothing, the newest commit always stays", name)
				}
			}
			if err := opts.Validate(); err != nil {
				return serviceResult{}, usage("%v", err)
			}
			res, err := t.Clean(ctx, opts)
			r := serviceResult{Instant: res.Instant, Files: res.Files, text: "nothing to clean"}
			if res.Instant != "" {
				r.text = fmt.Sprintf("cleaned in %s: %s deleted", res.Instant, plural(int64(res.Files), "file"))
			}
			return r, err
		})
	f := c.Flags()
	f.IntVar(&opts.RetainCommits, "retain-commits", 0, "newest commits as of which the table can still be read (default 10)")
	f.DurationVar(&opts.Retain, "retain", 0, "instead: how long ago it can still be read as of, as 48h")
	f.IntVar(&opts.RetainVersions, "retain-versions", 0, "instead: newest slices that stay of each file group")
	return c
}

func tableArchiveCommand() *cobra.Command {
	var opts hudi.ArchiveOptions
	c := serviceCommand("archive PATH", "Take the oldest instants off the timeline, into the archive", `Take the oldest instants off the timeline, into the archived timeline, so that each commit
stays cheap. No further than what is pending, savepointed or kept by a cleaning needs.`, onePath,
		func(ctx context.Context, t *hudi.Table, _ []string) (serviceResult, error) {
			if opts.KeepMax != 0 && opts.KeepMax < opts.KeepMin {
				return serviceResult{}, usage("--keep-max %d: want at least --keep-min, %d", opts.KeepMax, opts.KeepMin)
			}
			res, err := t.Archive(ctx, opts)
			r := serviceResult{Archived: res.Instants, Held: res.Held, text: plural(int64(res.Instants), "instant") + " archived"}
			if res.Held != "" {
				r.text += "; older ones stay: " + res.Held
			}
			return r, err
		})
	c.Flags().IntVar(&opts.KeepMin, "keep-min", 50, "how many of the newest commits stay")
	c.Flags().IntVar(&opts.KeepMax, "keep-max", 0, "how many there must be before anything is archived; default: twice as many")
	return c
}

func tableRollbackCommand() *cobra.Command {
	return serviceCommand("rollback PATH [INSTANT]", "Take back what a crash left, or the newest commit", `Without INSTANT: take back the transactions that a crash left unfinished, and finish
rollbacks, compactions and cleanings that stand half done. Not while a writer is at work.
With INSTANT, which must be the newest commit: take that back. It cannot be undone.`, pathAnd(1, "INSTANT"),
		func(ctx context.Context, t *hudi.Table, args []string) (serviceResult, error) {
			if len(args) == 1 {
				pending := len(t.Timeline().Pending())
				if err := t.Recover(ctx); err != nil {
					return serviceResult{}, err
				}
				return serviceResult{text: plural(int64(pending-len(t.Timeline().Pending())), "pending instant") + " taken back or finished"}, nil
			}
			res, err := t.Rollback(ctx, args[1])
			return restored(res, "rolled back"), err
		})
}

func tableRestoreCommand() *cobra.Command {
	return serviceCommand("restore PATH INSTANT", "Take a table back to what it was as of a commit", `Take a table back to what it was as of a commit, most of all of a savepoint: all later
writes are taken back and their files deleted. It cannot be undone. Not while a writer is
at work; a pipeline that fills the table has to copy it anew (its checkpoint goes back).`, pathAnd(2, "INSTANT"),
		func(ctx context.Context, t *hudi.Table, args []string) (serviceResult, error) {
			res, err := t.Restore(ctx, args[1])
			return restored(res, "restored to "+args[1]), err
		})
}

func restored(res hudi.RestoreResult, verb string) serviceResult {
	r := serviceResult{Instant: res.Instant, TakenBack: res.TakenBack, text: "nothing to take back"}
	if res.Instant != "" {
		r.text = fmt.Sprintf("%s in %s: %s taken back", verb, res.Instant, strings.Join(res.TakenBack, ", "))
	}
	return r
}

func tableSavepointCommand() *cobra.Command {
	var opts hudi.SavepointOptions
	var release bool
	c := serviceCommand("savepoint PATH [INSTANT]", "Keep a table as of a commit, or release such a savepoint", `Keep a table as of a commit (default: the newest): no cleaning deletes a file that it
needs, and the table can be restored to it, until --release INSTANT.`, pathAnd(1, "INSTANT"),
		func(ctx context.Context, t *hudi.Table, args []string) (r serviceResult, err error) {
			if len(args) == 2 {
				opts.Instant = args[1]
			}
			if release {
				if opts.Instant == "" {
					return r, usage("--release: name the savepoint's INSTANT")
				}
				return serviceResult{Instant: opts.Instant, text: "released savepoint " + opts.Instant}, t.ReleaseSavepoint(ctx, opts.Instant)
			}
			r.Instant, err = t.Savepoint(ctx, opts)
			r.text = "savepoint " + r.Instant
			return r, err
		})
	f := c.Flags()
	f.BoolVar(&release, "release", false, "release the savepoint instead")
	f.StringVar(&opts.By, "by", "", "who keeps it")
	f.StringVar(&opts.Comment, "comment", "", "what for")
	return c
}

// pathAnd wants a PATH and one more argument; least 1: that one may be left out.
func pathAnd(least int, name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least || len(args) > 2 {
			return usage("want PATH, the folder or URL of a Hudi table, and %s; got %d arguments", name, len(args))
		}
		return nil
	}
}
