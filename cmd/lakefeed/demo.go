package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"lakefeed/config"
	"lakefeed/internal/figure"
	"lakefeed/internal/pgserver"
	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// demo is a shop in a private PostgreSQL, and its lake.
type demo struct {
	out     io.Writer
	dir     string
	seconds int
	seed    uint64
	verbose bool

	began  time.Time
	saying sync.Mutex
}

func demoCommand() *cobra.Command {
	d := &demo{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Watch a private PostgreSQL flow into a lake: nothing to configure",
		Long: `Start a private PostgreSQL with a shop whose customers never sleep, keep a lake in
step with it, and at the end compare the two row by row. It ends after --seconds or
with Ctrl-C. The lake stays, so that Spark or DuckDB can look at it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.out = cmd.OutOrStdout()
			return d.run(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	c.Flags().IntVar(&d.seconds, "seconds", 0, "end after this many seconds (default: at Ctrl-C)")
	c.Flags().StringVar(&d.dir, "dir", "", "folder for the lake, empty or new (default: a temporary one, which is kept)")
	c.Flags().Uint64Var(&d.seed, "seed", 0, "of the customers' choices (default: a random one)")
	c.Flags().BoolVar(&d.verbose, "verbose", false, "print the log")
	return c
}

func (d *demo) run(ctx context.Context, stderr io.Writer) error {
	d.began = time.Now()
	if d.seconds < 0 {
		return usage("--seconds %d: want a positive number", d.seconds)
	}
	if d.seed == 0 {
		d.seed = rand.Uint64() //nolint:gosec // chance, not secrets
	}
	if err := d.makeDir(); err != nil {
		return err
	}
	level := slog.LevelWarn
	if d.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))

	d.say("starting a private PostgreSQL")
	// Not under dir: it has to be reached by the user postgres, by a short path.
	pgdir, err := os.MkdirTemp("", "lakefeed-demo-pg-")
	if err != nil {
		return fmt.Errorf("make a folder for PostgreSQL: %w", err)
	}
	defer os.RemoveAll(pgdir)
	pg, err := pgserver.New(ctx, pgdir, pgserver.Options{})
	if err != nil {
		return fmt.Errorf("start a private PostgreSQL: %w", err)
	}
	defer func() { _ = pg.Stop("immediate") }() // its folder goes away
	url := pg.URL("postgres")
	if err := openShop(ctx, url); err != nil {
		return err
	}
	d.say("PostgreSQL %d has a shop; its customers come in (seed %d)", pg.Version, d.seed)
	return d.feed(ctx, url, log)
}

// makeDir makes the folder that the lake will be in, or takes an empty one.
func (d *demo) makeDir() error {
	if d.dir == "" {
		dir, err := os.MkdirTemp("", "lakefeed-demo-")
		if err != nil {
			return fmt.Errorf("make a folder for the lake: %w", err)
		}
		d.dir = dir
		return nil
	}
	dir, err := filepath.Abs(d.dir)
	if err != nil {
		return fmt.Errorf("make folder %s: %w", d.dir, err)
	}
	d.dir = dir
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make folder for the lake: %w", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		return usage("--dir %s is not an empty folder: name another", dir)
	}
	return nil
}

func openShop(ctx context.Context, url string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("open the shop: %w", err)
	}
	defer func() { _ = c.Close(ctx) }() // all is committed
	if _, err := c.PgConn().Exec(ctx, shopSQL).ReadAll(); err != nil {
		return fmt.Errorf("open the shop: %w", err)
	}
	return nil
}

// pipeline is the configuration that a file would have.
func (d *demo) pipeline(url string) (config.Pipeline, error) {
	text := `
pipelines:
  - name: demo
    source:
      postgres:
        url: ${URL}
    tables:
      - match: public.customers
        table_type: copy_on_write
        buckets: 2
      - match: public.products
        table_type: copy_on_write
      - match: public.clicks
        partition_by: day(at)
      - match: public.*
    lake:
      url: ${DIR}
      table_type: merge_on_read
    commit_interval: 2s
`
	env := map[string]string{"URL": url, "DIR": d.dir}
	c, err := config.Parse("demo", []byte(text), func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil {
		return config.Pipeline{}, err
	}
	return c.Pipelines[0], nil
}

// feed keeps the lake in step while the workload runs, then compares the two.
func (d *demo) feed(ctx context.Context, url string, log *slog.Logger) error {
	p, err := d.pipeline(url)
	if err != nil {
		return err
	}
	s := &service{pipelines: []config.Pipeline{p}, listen: config.DefaultListen, log: log}
	limitMemory(s.pipelines)
	// Ctrl-C ends the workload; the pipeline goes on until the comparison is done.
	feeding, stopFeeding := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFeeding()
	fed := make(chan error, 1)
	go func() { fed <- s.run(feeding) }()

	w := &workload{url: url, seed: d.seed, length: time.Minute, say: d.say}
	if d.seconds > 0 {
		w.length = time.Duration(d.seconds) * time.Second
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.length)
		defer cancel()
	}
	if err := d.watch(ctx, s, w, fed); err != nil {
		return err
	}
	d.say("the shop closes: comparing lake and source, row by row")
	report, err := d.compare(feeding, p, s, log)
	if err != nil {
		return err
	}
	stopFeeding()
	if err := <-fed; err != nil {
		return err
	}
	return d.conclude(context.WithoutCancel(ctx), report)
}

// watch runs the workload until ctx ends, and prints a line now and then.
func (d *demo) watch(ctx context.Context, s *service, w *workload, fed <-chan error) error {
	worked := make(chan error, 1)
	go func() { worked <- w.run(ctx) }()
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-worked:
			return err
		case err := <-fed:
			return errors.Join(errors.New("the pipeline ended"), err)
		case <-tick.C:
			for _, st := range s.statuses() {
				d.say("%s", line(st, w.changes.Load()))
			}
		}
	}
}

// line is what a person wants to know.
func line(s pipeline.Status, changes int64) string {
	if s.State == pipeline.Copying || s.State == pipeline.Waiting {
		return fmt.Sprintf("first copy: %s rows so far", thousands(copied(s)))
	}
	behind := 0.0
	for _, t := range s.Tables {
		behind = max(behind, t.Freshness)
		if t.Error != "" {
			return fmt.Sprintf("table %s stopped: %s", t.Table, t.Error)
		}
	}
	lag := "unknown"
	if s.SlotLag >= 0 {
		lag = figure.Bytes(s.SlotLag)
	}
	return fmt.Sprintf("%s rows changed in the shop · %s rows written to the lake in %s · %.1f s behind · log kept for it: %s",
		thousands(changes), thousands(s.Rows), plural(s.Commits, "commit"), behind, lag)
}

func copied(s pipeline.Status) int64 {
	var n int64
	for _, t := range s.Tables {
		n += max(t.CopyRows, t.Rows)
	}
	return n
}

// compare validates the lake against the source, through the pipeline that runs.
func (d *demo) compare(ctx context.Context, p config.Pipeline, s *service, log *slog.Logger) (*pipeline.Report, error) {
	source, err := postgres.Open(ctx, p.Source(log))
	if err != nil {
		return nil, err
	}
	defer func() { _ = source.Close(ctx) }() // it only read
	m := s.member()
	if m == nil || m.started() == nil {
		return nil, errors.New("the pipeline did not start")
	}
	return pipeline.Validate(ctx, pipeline.ValidateOptions{
		Name: p.Name, Source: source, Lake: m.lake, Table: p.Table, Logger: log,
		Hold: func(ctx context.Context) error { _, err := m.Hold(ctx); return err },
		Cut:  m.Cut,
	})
}

// say prints a line with the time since the beginning.
func (d *demo) say(format string, args ...any) {
	d.saying.Lock()
	defer d.saying.Unlock()
	t := time.Since(d.began).Round(time.Second)
	_, _ = fmt.Fprintf(d.out, "%02d:%02d  %s\n", int(t.Minutes()), int(t.Seconds())%60, fmt.Sprintf(format, args...)) // a closed terminal does not stop the demo
}
