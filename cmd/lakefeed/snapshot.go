package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"lakefeed/config"
	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// askSnapshot asks for the rows of a table that meet a condition to be read anew, or some columns of them: it
// tells the process that runs the pipeline, or leaves it to the next one in the lake.
func askSnapshot(ctx context.Context, p *config.Pipeline, table, where string, columns []string, out io.Writer) error {
	lake, client, err := whomToAsk(ctx, p)
	if err != nil {
		return err
	}
	if client != nil {
		defer client.Close()
		_, err = client.Pipeline(p.Name).Snapshot(ctx, table, where, columns...)
	} else {
		if err := checkSnapshot(ctx, p, table, where, columns); err != nil {
			return fmt.Errorf("resync %s: %w", table, err)
		}
		_, err = pipeline.RequestSnapshot(ctx, lake, p.Name, table, where, columns...)
	}
	if err != nil {
		return err
	}
	what := "the rows of " + table
	if len(columns) > 0 {
		what = plural(int64(len(columns)), "column") + " of " + what
	}
	if where != "" {
		what += " that meet the condition"
	}
	_, err = fmt.Fprintln(out, what+" are read anew")
	return err
}

// steering is what the flags ask for the incremental snapshots of a table, and what is printed then.
func steering(stop, pause, resume bool) (verb pipeline.Verb, done string) {
	switch {
	case stop:
		return pipeline.StopSnapshot, "no more rows of %s are read anew"
	case pause:
		return pipeline.PauseSnapshot, "the rows of %s that are to be read anew wait"
	case resume:
		return pipeline.ResumeSnapshot, "the rows of %s that wait are read anew"
	}
	return "", ""
}

// checkSnapshot asks the source whether it takes the condition, and has the columns.
func checkSnapshot(ctx context.Context, p *config.Pipeline, table, where string, columns []string) error {
	c, err := postgres.Open(ctx, p.Source(nil))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }() // it only looked
	return pipeline.CheckSnapshot(ctx, sourceOf(p, c), table, where, columns...)
}

// snapshotText is what became of the newest incremental snapshot of a table, empty where there is none.
func snapshotText(t *pipeline.TableStatus) string {
	s := t.Snapshot
	if s == nil {
		return ""
	}
	of := "rows where " + s.Where
	if s.Where == "" {
		of = "all rows"
	}
	if len(s.Columns) > 0 {
		of = "columns " + strings.Join(s.Columns, ", ") + " of " + of
	}
	what, rows := of+" are read anew: ", plural(s.Rows, "row")
	if s.LeftOut > 0 {
		rows += fmt.Sprintf(", %d of which the lake does not have: they are left out (--where without --columns brings them)", s.LeftOut)
	}
	switch s.State {
	case pipeline.SnapshotReading:
		return what + plural(s.Rows, "row") + " so far"
	case pipeline.SnapshotDone:
		return of + " were read anew: " + rows
	case pipeline.SnapshotFailed:
		return of + " were not read anew: " + s.Error
	case pipeline.SnapshotWaiting, pipeline.SnapshotPaused, pipeline.SnapshotStopped:
	}
	what += string(s.State)
	if s.Error != "" {
		what += fmt.Sprintf(", again at %s: %s", s.Again.UTC().Format(time.TimeOnly+" UTC"), s.Error)
	}
	return what
}

// signalText is what came of the newest signal, empty where there is none.
func signalText(s *pipeline.SignalStatus) string {
	if s == nil {
		return ""
	}
	text := fmt.Sprintf("signal %s (%s) of %s", s.ID, s.Type, s.Time.UTC().Format(time.DateTime+" UTC"))
	if s.Did != "" {
		text += ": " + s.Did
	}
	if s.Error != "" {
		text += "; cannot be obeyed: " + s.Error
	}
	return text
}
