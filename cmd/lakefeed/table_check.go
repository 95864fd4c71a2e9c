package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lakefeed/hudi"
	"lakefeed/internal/figure"
	"lakefeed/storage/all"
)

// tableCheckReport is what `table check` prints.
type tableCheckReport struct {
	Path      string       `json:"path"`
	OK        bool         `json:"ok"`
	Instants  int          `json:"instants"`
	Files     int          `json:"files"`
	Bytes     int64        `json:"bytes"`
	BaseFiles int          `json:"base_files"`
	LogFiles  int          `json:"log_files"`
	LogBlocks int64        `json:"log_blocks"`
	Rows      int64        `json:"rows"`
	Faults    []tableFault `json:"faults"`
}

type tableFault struct {
	Severity string `json:"severity"`
	File     string `json:"file,omitempty"`
	Offset   *int64 `json:"offset,omitempty"`
	What     string `json:"what"`
	WayOut   string `json:"way_out,omitempty"`
}

func tableCheckCommand() *cobra.Command {
	var asJSON bool
	var opts hudi.CheckOptions
	var memory string
	c := &cobra.Command{
		Use:   "check PATH",
		Short: "Prove a table sound, or name what is wrong with it",
		Long: `Prove a table sound: every file in its folder is accounted for, every base file and
log block can be read and says what the commits say of it, the timeline is whole, and
each row stands where its key and partition columns put it, once. Nothing is changed.
Exits with 3 when something is broken, or left over; notes are no faults.`,
		Args: onePath,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if opts.KeyMemory, err = parseBytes(memory); err != nil {
				return usage("--memory %q: want a size as 64MiB or 1GiB", memory)
			}
			store, err := all.Open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := hudi.Check(cmd.Context(), store, opts)
			if err != nil {
				return noTable(args[0], err)
			}
			if err := printTableCheck(cmd.OutOrStdout(), args[0], r, asJSON); err != nil {
				return err
			}
			if !r.Sound() {
				return errFound
			}
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&opts.Quick, "quick", false, "leave out the rows: files, footers, log blocks and the timeline only")
	f.BoolVar(&opts.GlobalKeys, "global-keys", false, "a key may be in one partition only")
	f.DurationVar(&opts.Grace, "grace", time.Hour, "an instant that is younger and not completed is a writer at work")
	f.StringVar(&memory, "memory", "64MiB", "how much of the keys' hashes to hold in memory")
	f.StringVar(&opts.TempDir, "temp-dir", "", "where the others are kept; default: the system's")
	f.IntVar(&opts.MaxFaults, "max-faults", 1000, "end after so many")
	return c
}

func printTableCheck(out io.Writer, path string, r *hudi.CheckReport, asJSON bool) error {
	if asJSON {
		info := tableCheckReport{path, r.Sound(), r.Instants, r.Files, r.Bytes, r.BaseFiles, r.LogFiles, r.LogBlocks, r.Rows, []tableFault{}}
		for _, f := range r.Faults {
			t := tableFault{Severity: string(f.Severity), File: f.File, What: f.What, WayOut: f.WayOut}
			if f.Offset >= 0 {
				t.Offset = &f.Offset
			}
			info.Faults = append(info.Faults, t)
		}
		return printJSON(out, info)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s (%s), %s, %s and %s with %s, %s\n", path, plural(int64(r.Files), "file"), figure.Bytes(r.Bytes), plural(int64(r.Instants), "instant"),
		plural(int64(r.BaseFiles), "base file"), plural(int64(r.LogFiles), "log file"), plural(r.LogBlocks, "block"), plural(r.Rows, "row"))
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "  %s\n", f)
		if f.WayOut != "" {
			fmt.Fprintf(&b, "           > %s\n", f.WayOut)
		}
	}
	if r.Sound() {
		b.WriteString("  sound\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}
