package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"lakefeed/hudi/timeline"
)

// instantInfo is one line of `table timeline`.
type instantInfo struct {
	Time   string `json:"time"`
	Action string `json:"action"`
	State  string `json:"state"`
}

func newInstantInfo(i timeline.Instant) instantInfo {
	return instantInfo{Time: i.Time, Action: string(i.Action), State: strings.ToLower(i.State.String())}
}

func tableTimelineCommand() *cobra.Command {
	var asJSON bool
	var limit int64
	c := &cobra.Command{
		Use:   "timeline PATH",
		Short: "Print a table's timeline: what was done to it and when, the newest last",
		Args:  onePath,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLimit(cmd, limit); err != nil {
				return err
			}
			t, err := openTable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			list := []instantInfo{}
			for _, i := range t.Timeline().Instants() {
				list = append(list, newInstantInfo(i))
			}
			if limit >= 0 && int64(len(list)) > limit {
				list = list[int64(len(list))-limit:]
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			_, _ = fmt.Fprintln(w, "TIME\tACTION\tSTATE") // errors show at Flush
			for _, i := range list {
				_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", i.Time, i.Action, i.State) // as above
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	limitFlag(c, &limit, "print only the newest N instants")
	return c
}
