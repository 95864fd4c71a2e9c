package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lakefeed/hudi"
	"lakefeed/internal/figure"
)

// fileInfo is one line of `table files`.
type fileInfo struct {
	Path      string    `json:"path"`
	State     string    `json:"state"`
	Bytes     int64     `json:"bytes"`
	Modified  time.Time `json:"modified"`
	Kind      string    `json:"kind"` // base, log, mark or other
	Partition string    `json:"partition,omitempty"`
	FileGroup string    `json:"file_group,omitempty"`
	Instant   string    `json:"instant,omitempty"` // as its name has it: of a log file of version 6 that of its slice
}

func tableFilesCommand() *cobra.Command {
	var asJSON bool
	var states []string
	c := &cobra.Command{
		Use:   "files PATH",
		Short: "Print a table's files: which are live, and what the others wait for",
		Long: `Print every file in a table's folder, and what it is:

  live         read by whoever reads the table now
  older        of a slice that a newer one took over from: waits for a cleaning
  replaced     of a file group that was replaced: waits for a cleaning
  rolled back  a log file of a delta commit that was taken back: goes with its slice
  pending      of an instant that is not completed
  orphan       of an instant that never completed: nothing will ever delete it
  mark         the file by which engines know a partition
  foreign      none of a Hudi table's`,
		Args: onePath,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, s := range states {
				if !slices.Contains(fileStates, hudi.FileState(s)) {
					return usage("--state %q: one of %s", s, strings.Join(stateNames(), ", "))
				}
			}
			t, err := openTable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			files, err := t.Files(cmd.Context())
			if err != nil {
				return err
			}
			list := []fileInfo{}
			for _, f := range files {
				if len(states) == 0 || slices.Contains(states, string(f.State)) {
					list = append(list, newFileInfo(f))
				}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printFiles(cmd.OutOrStdout(), list)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringSliceVar(&states, "state", nil, "only files of these states")
	return c
}

var fileStates = []hudi.FileState{
	hudi.FileLive, hudi.FileOlder, hudi.FileReplaced, hudi.FileRolledBack, hudi.FilePending, hudi.FileOrphan, hudi.FileMark, hudi.FileForeign,
}

func stateNames() []string {
	var names []string
	for _, s := range fileStates {
		names = append(names, string(s))
	}
	return names
}

func newFileInfo(f hudi.TableFile) fileInfo {
	i := fileInfo{Path: f.Path, State: string(f.State), Bytes: f.Bytes, Modified: f.Modified.UTC().Truncate(time.Millisecond), Kind: "other"}
	switch {
	case f.State == hudi.FileMark:
		i.Kind = "mark"
	case f.Data == nil:
	case f.Data.IsLog():
		i.Kind = "log"
	default:
		i.Kind = "base"
	}
	if f.Data != nil {
		i.Partition, i.FileGroup, i.Instant = f.Data.Partition, f.Data.FileID, f.Data.Instant
	}
	return i
}

// printFiles prints the files, group by group and slice by slice, and sums them up.
func printFiles(out io.Writer, list []fileInfo) error {
	slices.SortStableFunc(list, func(a, b fileInfo) int {
		return strings.Compare(a.sortKey(), b.sortKey())
	})
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "STATE\tKIND\tSIZE\tINSTANT\tPATH") // errors show at Flush
	count, size := map[string]int64{}, map[string]int64{}
	for _, f := range list {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.State, f.Kind, figure.Bytes(f.Bytes), f.Instant, f.Path) // as above
		count[f.State]++
		size[f.State] += f.Bytes
	}
	_, _ = fmt.Fprintln(w) // as above
	for _, s := range stateNames() {
		if count[s] > 0 {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", s, plural(count[s], "file"), figure.Bytes(size[s])) // as above
		}
	}
	return w.Flush()
}

// sortKey puts a group's slices together, the oldest first, each with its base file in
// front; what is no data file comes last.
func (f fileInfo) sortKey() string {
	if f.FileGroup == "" {
		return "\xff" + f.Path
	}
	return strings.Join([]string{f.Partition, f.FileGroup, f.Instant, f.Kind, f.Path}, "\x00")
}
