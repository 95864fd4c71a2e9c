package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lakefeed/config"
	"lakefeed/internal/figure"
	"lakefeed/pipeline"
	"lakefeed/server"
	"lakefeed/storage/all"
)

// statusReport is what `status` says of one pipeline.
type statusReport struct {
	Running bool           `json:"running"`
	Holder  *pipeline.Lock `json:"holder,omitempty"` // who runs it
	// Asked of the source where nobody runs it: the slot, or those beside the default one too.
	Slot   *slotReport   `json:"slot,omitempty"`
	Others []*slotReport `json:"other_slots,omitempty"`
	pipeline.Status
}

func statusCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status -c FILE",
		Short: "Print what each pipeline and table is doing",
		Long: `Print what each pipeline and table is doing. The process that runs a pipeline is
found through its lock in the lake and asked; where none runs, the lake and the
source's replication slot are.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			reports := []*statusReport{}
			for i := range cfg.Pipelines {
				r, err := statusOf(cmd.Context(), &cfg.Pipelines[i])
				if err != nil {
					return fmt.Errorf("pipeline %s: %w", cfg.Pipelines[i].Name, err)
				}
				reports = append(reports, r)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), reports)
			}
			for _, r := range reports {
				if err := r.print(cmd.OutOrStdout()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	configFlag(c, &file)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// statusOf asks who runs a pipeline, else its lake and slot.
func statusOf(ctx context.Context, p *config.Pipeline) (*statusReport, error) {
	lake, err := all.Open(ctx, p.Lake.URL)
	if err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	holder, err := pipeline.ReadLock(ctx, lake, p.Name)
	if err != nil {
		return nil, err
	}
	if holder == nil || !holder.Alive() {
		return offline(ctx, p, lake)
	}
	r := &statusReport{Running: true, Holder: holder, Status: pipeline.Status{Pipeline: p.Name, SlotLag: -1}}
	if holder.Address == "" {
		r.Error = "it has no server to ask (run --once without --listen)"
		return r, nil
	}
	client := server.NewClient(holder.Address)
	defer client.Close()
	answer, err := client.Status(ctx)
	if err != nil {
		r.Error = fmt.Sprintf("its process %d on %s does not answer: %v", holder.PID, holder.Host, err)
		return r, nil
	}
	for _, s := range answer.Pipelines {
		if s.Pipeline == p.Name {
			r.Status = s
			return r, nil
		}
	}
	r.Error = fmt.Sprintf("the process at %s runs other pipelines: ask it where pipeline %s runs, on %s", holder.Address, p.Name, holder.Host)
	return r, nil
}

func (r *statusReport) print(w io.Writer) error {
	if r.Running {
		_, _ = fmt.Fprintf(w, "pipeline %s is run by process %d on %s since %s\n", r.Pipeline, r.Holder.PID, r.Holder.Host, r.Holder.Since.Format(time.DateTime)) // errors show below
	} else {
		_, _ = fmt.Fprintf(w, "pipeline %s is not running; this is what the lake and the source say\n", r.Pipeline) // as above
	}
	if r.Slot != nil {
		_, _ = fmt.Fprintln(w, r.Slot) // as above
	}
	for _, s := range r.Others {
		_, _ = fmt.Fprintln(w, s) // as above
	}
	return printStatus(w, r.Status)
}

// printStatus prints a pipeline and a line for each of its tables.
func printStatus(out io.Writer, s pipeline.Status) error {
	if s.State != stopped {
		_, _ = fmt.Fprintln(out, headline(s)) // errors show at Flush
	}
	if s.Error != "" {
		_, _ = fmt.Fprintf(out, "  error: %s\n", s.Error) // as above
	}
	if s.Slot != nil && (s.Slot.Step != pipeline.StepNone || s.Slot.LimitIn >= 0 || s.Slot.Problem != "") {
		_, _ = fmt.Fprintf(out, "  slot: %s\n", s.Slot.Text()) // as above
	}
	if text := signalText(s.Signal); text != "" {
		_, _ = fmt.Fprintf(out, "  %s\n", text) // as above
	}
	printSlots(out, s.Slots)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	if len(s.Tables) > 0 {
		_, _ = fmt.Fprintln(w, "  TABLE\tSTATE\tCHANGES\tBEHIND\tCHECKPOINT\tLAST COMMIT\tFOLDER") // as above
	}
	for _, t := range s.Tables {
		state := string(t.State)
		if t.State == pipeline.Copying && t.Estimate > 0 {
			state += fmt.Sprintf(" %d%%", min(99, 100*t.CopyRows/t.Estimate))
		}
		rows, behind := thousands(t.Rows), time.Duration(t.Freshness*float64(time.Second)).Round(100*time.Millisecond).String()
		if s.State == stopped {
			rows, behind = "-", "-"
		}
		_, _ = fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.Table, state, rows, behind, t.Checkpoint, t.Instant, t.Path) // as above
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, text := range pipeline.StopTexts(s.Tables) {
		if _, err := fmt.Fprintf(out, "  %s\n", text); err != nil {
			return err
		}
	}
	for _, t := range s.Tables {
		if t.Quarantined > 0 {
			if _, err := fmt.Fprintf(out, "  %s: %s in quarantine, which the table cannot hold (lakefeed quarantine list)\n", t.Table, plural(t.Quarantined, "row")); err != nil {
				return err
			}
		}
		if t.SchemaPending > 0 {
			if _, err := fmt.Fprintf(out, "  %s: %s of its schema the lake has not taken on (lakefeed schema diff)\n", t.Table, plural(int64(t.SchemaPending), "change")); err != nil {
				return err
			}
		}
		for _, text := range []string{chunkText(&t), snapshotText(&t)} {
			if text == "" {
				continue
			}
			if _, err := fmt.Fprintf(out, "  %s: %s\n", t.Table, text); err != nil {
				return err
			}
		}
		text := t.Table + ": " + cmp.Or(t.Error, t.Note)
		if t.Error == "" && t.Note == "" || t.Error != "" && !t.Since.IsZero() {
			continue
		}
		if _, err := fmt.Fprintf(out, "  %s\n", text); err != nil {
			return err
		}
	}
	return nil
}

// printSlots prints a line for each of several slots.
func printSlots(out io.Writer, slots []pipeline.SlotState) {
	for _, s := range slots {
		text := fmt.Sprintf("  slot %s: %s, %s", s.Slot, s.State, plural(int64(s.Tables), "table"))
		if lag := s.SlotLag; lag >= 0 {
			if s.Governor != nil {
				lag = max(lag, s.Governor.Kept)
			}
			text += ", the source keeps " + figure.Bytes(lag) + " of log for it"
		}
		if s.Error != "" {
			text += "; error: " + s.Error
		}
		_, _ = fmt.Fprintln(out, text) // errors show later
	}
}

func headline(s pipeline.Status) string {
	parts := []string{fmt.Sprintf("pipeline %s: %s", s.Pipeline, s.State)}
	if s.Commits > 0 {
		parts = append(parts, fmt.Sprintf("%s in %s", plural(s.Rows, "change"), plural(s.Commits, "commit")))
	}
	if s.SlotLag >= 0 {
		lag := s.SlotLag
		if s.Slot != nil && s.Slot.Kept > lag {
			lag = s.Slot.Kept
		}
		parts = append(parts, "the source keeps "+figure.Bytes(lag)+" of log for it")
	}
	if s.Spooled > 0 {
		parts = append(parts, figure.Bytes(s.Spooled)+" wait in the spool")
	}
	if s.Spilled > 0 {
		parts = append(parts, figure.Bytes(s.Spilled)+" spilled")
	}
	return strings.Join(parts, ", ")
}
