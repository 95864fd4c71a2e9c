package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"lakefeed/hudi"
	"lakefeed/hudi/timeline"
	"lakefeed/internal/figure"
)

// tableStats is what `table stats` prints.
type tableStats struct {
	Path       string        `json:"path"`
	Partitions int           `json:"partitions"`
	FileGroups int           `json:"file_groups"`
	BaseFiles  int           `json:"base_files"`
	BaseBytes  int64         `json:"base_bytes"`
	LogFiles   int           `json:"log_files"`
	LogBytes   int64         `json:"log_bytes"`
	MostLogs   int           `json:"most_log_files_of_a_slice"`
	SmallFiles int           `json:"small_files"` // live base files below SmallBytes
	SmallBytes int64         `json:"small_bytes"`
	Rows       *int64        `json:"rows,omitempty"`
	Waiting    stateSum      `json:"waiting_for_cleaning"`
	Orphans    stateSum      `json:"orphans"`
	Commit     string        `json:"last_commit,omitempty"`
	Compaction string        `json:"last_compaction,omitempty"`
	Clustering string        `json:"last_clustering,omitempty"`
	Clean      string        `json:"last_clean,omitempty"`
	Oldest     string        `json:"oldest_as_of,omitempty"` // the oldest commit as of which the table can be read
	Savepoints []string      `json:"savepoints"`
	Pending    []instantInfo `json:"pending"`
	SinceComp  int           `json:"delta_commits_since_compaction"`
}

type stateSum struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func tableStatsCommand() *cobra.Command {
	var asJSON, count bool
	var small string
	c := &cobra.Command{
		Use:   "stats PATH",
		Short: "Print a table's figures: files, bytes, log files, what was done last",
		Args:  onePath,
		RunE: func(cmd *cobra.Command, args []string) error {
			limit, err := parseBytes(small)
			if err != nil {
				return usage("--small %q: want a size as 100MiB", small)
			}
			t, err := openTable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			s, err := gatherStats(cmd.Context(), t, args[0], limit)
			if err != nil {
				return err
			}
			if count {
				if s.Rows, err = countRows(cmd.Context(), t); err != nil {
					return err
				}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			return s.print(cmd.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&count, "count", false, "count the rows, too: reads the keys of the whole table")
	c.Flags().StringVar(&small, "small", "100MiB", "base files below this count as small: clustering would join them")
	return c
}

func gatherStats(ctx context.Context, t *hudi.Table, path string, small int64) (*tableStats, error) {
	s := &tableStats{Path: path, Partitions: len(t.Partitions()), SmallBytes: small, Savepoints: []string{}, Pending: []instantInfo{}}
	files, err := t.Files(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		switch f.State {
		case hudi.FileLive:
			s.live(f)
		case hudi.FileOlder, hudi.FileReplaced, hudi.FileRolledBack:
			s.Waiting.add(f)
		case hudi.FileOrphan:
			s.Orphans.add(f)
		default:
		}
	}
	for _, slice := range t.Slices() {
		s.FileGroups++
		s.MostLogs = max(s.MostLogs, len(slice.Logs))
	}
	s.history(t.Timeline(), t.Slices())
	if s.Clustering, err = t.LastClustering(ctx); err != nil {
		return nil, err
	}
	s.Oldest, err = t.OldestAsOf(ctx)
	return s, err
}

func (s *stateSum) add(f hudi.TableFile) {
	s.Files++
	s.Bytes += f.Bytes
}

func (s *tableStats) live(f hudi.TableFile) {
	if f.Data.IsLog() {
		s.LogFiles++
		s.LogBytes += f.Bytes
		return
	}
	s.BaseFiles++
	s.BaseBytes += f.Bytes
	if f.Bytes < s.SmallBytes {
		s.SmallFiles++
	}
}

// history notes what was done last. Delta commits from before a compaction or clustering of all that
// they logged on do not wait for a compaction any more.
func (s *tableStats) history(tl *timeline.Timeline, slices []*hudi.FileSlice) {
	s.Savepoints = append(s.Savepoints, tl.Savepoints()...)
	logged := "" // the oldest slice with log files
	for _, f := range slices {
		if len(f.Logs) > 0 && (logged == "" || f.Instant < logged) {
			logged = f.Instant
		}
	}
	for _, i := range tl.Instants() {
		if i.State != timeline.Completed {
			s.Pending = append(s.Pending, newInstantInfo(i))
			continue
		}
		switch i.Action {
		case timeline.Compaction:
			s.Compaction, s.SinceComp = i.Time, 0
		case timeline.Clean:
			s.Clean = i.Time
		case timeline.DeltaCommit:
			s.Commit = i.Time
			if logged != "" && i.Time > logged {
				s.SinceComp++
			}
		case timeline.Commit, timeline.ReplaceCommit:
			s.Commit = i.Time
		default:
		}
	}
}

// countRows counts what a reader of the table gets.
func countRows(ctx context.Context, t *hudi.Table) (*int64, error) {
	rows := int64(0)
	for batch, err := range t.Read(ctx, hudi.ReadOptions{Columns: t.RecordKey()[:1]}) {
		if err != nil {
			return nil, err
		}
		rows += batch.NumRows()
	}
	return &rows, nil
}

func (s *tableStats) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) // errors show at Flush
	}
	if s.Rows != nil {
		line("rows", "%s", thousands(*s.Rows))
	}
	line("partitions", "%d", s.Partitions)
	line("file groups", "%d", s.FileGroups)
	line("base files", "%d, %s; %d below %s", s.BaseFiles, figure.Bytes(s.BaseBytes), s.SmallFiles, figure.Bytes(s.SmallBytes))
	line("log files", "%d, %s; at most %d on a base file", s.LogFiles, figure.Bytes(s.LogBytes), s.MostLogs)
	line("waiting for cleaning", "%d, %s", s.Waiting.Files, figure.Bytes(s.Waiting.Bytes))
	if s.Orphans.Files > 0 {
		line("orphans", "%d, %s", s.Orphans.Files, figure.Bytes(s.Orphans.Bytes))
	}
	for _, l := range []struct{ name, at string }{
		{"last commit", s.Commit}, {"last compaction", s.Compaction}, {"last clustering", s.Clustering}, {"last clean", s.Clean}, {"readable as of", s.Oldest},
	} {
		line(l.name, "%s", firstOf(l.at, "-"))
	}
	if s.SinceComp > 0 {
		line("delta commits since compaction", "%d", s.SinceComp)
	}
	for _, p := range s.Savepoints {
		line("savepoint", "%s", p)
	}
	for _, p := range s.Pending {
		line("pending", "%s %s %s", p.Time, p.Action, p.State)
	}
	return w.Flush()
}
