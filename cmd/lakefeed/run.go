package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/spf13/cobra"

	"lakefeed/config"
	"lakefeed/pipeline"
)

// runFlags are those of `run`.
type runFlags struct {
	file, listen, only  string
	once                bool
	logFormat, logLevel string
}

func runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Copy what is missing, then keep the lake in step until stopped",
		Long: `Copy the tables that are not in the lake yet, then keep all of them in step with
their source until Ctrl-C or SIGTERM. Nothing is lost or doubled by a kill at any time.

With --once it copies what is missing, commits everything that the source has
committed so far, and ends. It shows what it does at http://` + config.DefaultListen + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := c.Flags()
	configFlag(c, &f.file)
	fs.BoolVar(&f.once, "once", false, "end when the lake has caught up")
	fs.StringVar(&f.listen, "listen", "", "address of the server, on loopback (default "+config.DefaultListen+"; none with --once)")
	fs.StringVar(&f.only, "pipeline", "", "run only the pipeline of this name")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

// configFlag adds -c to a command that needs a configuration.
func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "config", "c", "", "configuration file")
}

// loadConfig reads the file that -c names.
func loadConfig(file string) (*config.Config, error) {
	if file == "" {
		return nil, usage("-c FILE is missing: the configuration file, see docs/configuration.md")
	}
	c, err := config.Load(file)
	if err != nil && !is[*config.Error](err) {
		return nil, &usageError{err.Error()}
	}
	return c, err
}

func (f *runFlags) run(cmd *cobra.Command) error {
	c, err := loadConfig(f.file)
	if err != nil {
		return err
	}
	s := &service{once: f.once}
	if s.pipelines, err = chosen(c, f.only); err != nil {
		return err
	}
	if s.listen = firstOf(f.listen, c.Listen); s.listen != "" {
		s.mustBind = true
	} else {
		s.listen = config.DefaultListen
	}
	if f.once {
		s.listen = f.listen
	}
	phase, err := openPhases(os.Getenv("LAKEFEED_PHASES"))
	if err != nil {
		return err
	}
	s.phase = phase
	limitMemory(s.pipelines)
	progress := newProgress(cmd.ErrOrStderr())
	if s.log, err = newLogger(progress, f.logFormat, f.logLevel); err != nil {
		return err
	}
	stop := progress.watch(s.statuses, s.log)
	err = s.runTold(cmd.Context())
	stop()
	if f.once {
		if perr := f.summary(cmd.OutOrStdout(), s.statuses()); err == nil {
			err = perr
		}
	}
	return err
}

// runTold runs the service, and tells that it was asked to stop and has.
func (s *service) runTold(ctx context.Context) error {
	unasked := context.AfterFunc(ctx, func() {
		s.log.Info("stopping: commits that are being made are finished or taken back", "because", context.Cause(ctx))
	})
	err := s.run(ctx)
	if !unasked() {
		for _, st := range s.statuses() {
			s.log.Info("stopped", "pipeline", st.Pipeline, "acknowledged", st.Acked)
		}
	}
	return err
}

// chosen is the pipelines of a configuration, or the one that --pipeline names.
func chosen(c *config.Config, only string) ([]config.Pipeline, error) {
	if only == "" {
		return c.Pipelines, nil
	}
	named, err := c.Named(only)
	if err != nil {
		return nil, usage("--pipeline: %v", err)
	}
	return named, nil
}

// summary says what was done, at the end of --once.
func (f *runFlags) summary(w io.Writer, list []pipeline.Status) error {
	for _, st := range list {
		if len(st.Tables) == 0 {
			continue // it did not start, and its error is printed
		}
		st.SlotLag, st.Slot = -1, nil // measured before the last acknowledgement
		for i := range st.Slots {
			st.Slots[i].SlotLag, st.Slots[i].Governor = -1, nil
		}
		if err := printStatus(w, st); err != nil {
			return err
		}
	}
	return nil
}

// newLogger makes the logger of the command line's choice.
func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usage("--log-level %q: debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, usage("--log-format %q: text or json", format)
}

// limitMemory tells Go's collector how much memory the process should take at
// most: the budgets of its pipelines and what writing Parquet needs beside them.
// The variable GOMEMLIMIT comes first.
func limitMemory(pipelines []config.Pipeline) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	const base, budget = 256 << 20, 128 << 20
	limit := int64(base)
	for _, p := range pipelines {
		b := p.MemoryBudget
		if b == 0 {
			b = budget
		}
		limit = min(limit+b, math.MaxInt64/2)
	}
	debug.SetMemoryLimit(limit)
}

// openPhases opens what the crash test listens at: a file descriptor's number or
// the path of a pipe, into which each phase of the work is written as a line.
func openPhases(where string) (func(string), error) {
	if where == "" {
		return nil, nil
	}
	var f *os.File
	if fd, err := strconv.ParseUint(where, 10, 31); err == nil {
		f = os.NewFile(uintptr(fd), "phases")
	} else if f, err = os.OpenFile(where, os.O_WRONLY|os.O_APPEND, 0); err != nil {
		return nil, fmt.Errorf("LAKEFEED_PHASES: %w", err)
	}
	return func(phase string) { _, _ = f.WriteString(phase + "\n") }, nil // one write a line; a listener may go away
}
