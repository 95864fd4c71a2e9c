package pipeline_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage"
	"lakefeed/storage/mem"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

type options = pipeline.Options

// rig is a database, a lake and the pipeline between them.
type rig struct {
	t    testing.TB
	db   *pgtest.Database
	name string // of the pipeline
	lake storage.Store
	skip map[string]bool // tables that the configuration leaves out

	url, primary string // that the pipeline reads, and that it writes into where that is a standby; "": db, none

	copyLock time.Duration // see postgres.Options; 0: its default

	snapshot string // the standby on which chunks are read; "": none

	failover postgres.Failover

	messages func(prefix string) bool // that are kept; nil: none
	signals  [2]string                // the signal table; empty: none
	mods     []func(*options)

	types func(schema, table string) postgres.TableTypes

	sourceLog *slog.Logger // nil: none

	spool storage.Store // nil: in the lake

	table func(*change.Table) pipeline.TableOptions // nil: defaults
}

// newRig makes a rig on the shared server and runs statements in its database.
func newRig(t testing.TB, sql ...string) *rig {
	t.Helper()
	return newRigOn(t, pgtest.NewDatabase(t), sql...)
}

func newRigOn(t testing.TB, db *pgtest.Database, sql ...string) *rig {
	t.Helper()
	db.Exec(t, sql...)
	return &rig{t: t, db: db, name: db.Name, lake: mem.New(), skip: map[string]bool{}}
}

func (r *rig) slot() string { return postgres.SlotName(r.name) }

// source opens a connector that lives as long as the test.
func (r *rig) source() *postgres.Connector { r.t.Helper(); return r.connect(time.Second) }

// quiet is a source that writes nothing into the log by itself.
func (r *rig) quiet() *postgres.Connector { r.t.Helper(); return r.connect(-1) }

func (r *rig) connect(heartbeat time.Duration) *postgres.Connector {
	r.t.Helper()
	c, err := postgres.Open(r.t.Context(), postgres.Options{
		URL: cmp.Or(r.url, r.db.URL), PrimaryURL: r.primary, Failover: r.failover, Pipeline: r.name, Heartbeat: heartbeat, Types: r.types,
		SnapshotURL: r.snapshot, SignalTable: r.signals, CopyLock: r.copyLock, Logger: r.sourceLog,
		Match: func(_, table string) bool { return !r.skip[table] }, Messages: r.messages,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.close(c) })
	return c
}

func (r *rig) close(c *postgres.Connector) { _ = c.Close(context.Background()) } // nothing is lost with it

// logger writes what a failed test should show.
func (r *rig) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// pipeline makes a pipeline of the rig; mods change its options.
func (r *rig) pipeline(mods ...func(*options)) (*pipeline.Pipeline, *postgres.Connector) {
	r.t.Helper()
	c := r.source()
	o := pipeline.Options{
		Name: r.name, Source: c, Lake: r.lake, Interval: 100 * time.Millisecond,
		Retryable: postgres.Retryable, Logger: r.logger(), Spool: r.spool, Table: r.table, SpillDir: r.t.TempDir(), RetainCommits: 1000,
	}
	for _, mod := range slices.Concat(r.mods, mods) {
		mod(&o)
	}
	p, err := pipeline.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	return p, c
}

// once drains the source into the lake and returns what Run says.
func (r *rig) once(mods ...func(*options)) error {
	r.t.Helper()
	p, c := r.pipeline(append(mods, func(o *options) { o.Once = true })...)
	defer r.close(c)
	return p.Run(r.t.Context())
}

// drain is once without an error.
func (r *rig) drain() {
	r.t.Helper()
	if err := r.once(); err != nil {
		r.t.Fatal(err)
	}
}

// running is a pipeline that streams until it is stopped.
type running struct {
	*pipeline.Pipeline
	r      *rig
	source *postgres.Connector
	cancel context.CancelFunc
	done   chan error
	once   sync.Once
	err    error
}

func (r *rig) start(mods ...func(*options)) *running {
	r.t.Helper()
	p, c := r.pipeline(mods...)
	ctx, cancel := context.WithCancel(r.t.Context())
	run := &running{Pipeline: p, r: r, source: c, cancel: cancel, done: make(chan error, 1)}
	go func() { run.done <- p.Run(ctx) }()
	r.t.Cleanup(func() { run.end() })
	return run
}

// end stops the pipeline and returns what Run said.
func (p *running) end() error {
	p.once.Do(func() {
		p.cancel()
		p.err = <-p.done
		p.r.close(p.source)
	})
	return p.err
}

// await waits until the pipeline ends by itself.
func (p *running) await() error {
	p.once.Do(func() {
		p.err = <-p.done
		p.r.close(p.source)
	})
	return p.err
}

// stop is end without an error but for the end itself.
func (p *running) stop() {
	p.r.t.Helper()
	if err := p.end(); err != nil && !errors.Is(err, context.Canceled) {
		p.r.t.Fatal(err)
	}
}

// table is the status of one table.
func (p *running) table(name string) pipeline.TableStatus {
	for _, s := range p.Status().Tables {
		if s.Table == name {
			return s
		}
	}
	return pipeline.TableStatus{}
}

// await waits until a condition holds; it is looked at often.
func (r *rig) await(what string, holds func() bool) {
	r.t.Helper()
	deadline := time.After(90 * time.Second) // the race detector is slow
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// validation compares lake and source; run is the pipeline that runs, or nil.
func (r *rig) validation(run *running) (*pipeline.Report, error) {
	if run == nil {
		return r.validate(nil, r.cut)
	}
	return r.validate(run, run.Cut)
}

// cutter brings the lake to a position, and tells the tables' instants.
type cutter func(ctx context.Context, at change.LSN) (map[string]string, error)

// holder is a pipeline that runs.
type holder interface {
	Hold(ctx context.Context) (change.LSN, error)
}

// validate compares lake and source; run is nil where nothing runs.
func (r *rig) validate(run holder, cut cutter) (*pipeline.Report, error) {
	source := r.source()
	defer r.close(source)
	o := pipeline.ValidateOptions{Name: r.name, Source: source, Lake: r.lake, Table: r.table, Logger: r.logger(), Cut: cut}
	if run != nil {
		o.Hold = func(ctx context.Context) error { _, err := run.Hold(ctx); return err }
	}
	return pipeline.Validate(r.t.Context(), o)
}

// cut brings the lake, which nobody feeds, to a position.
func (r *rig) cut(ctx context.Context, at change.LSN) (map[string]string, error) {
	p, c := r.pipeline(func(o *options) { o.Once, o.Until = true, at })
	defer r.close(c)
	if err := p.Run(ctx); err != nil {
		return nil, err
	}
	return p.Status().Instants(), nil
}

// equal fails the test where lake and source differ.
func (r *rig) equal(run *running) {
	r.t.Helper()
	r.inStep(r.settled(run != nil, func() (*pipeline.Report, error) { return r.validation(run) }))
}

// settled compares once more for as long as a table of a pipeline that runs is not in step: behind
// a copy it catches up for a moment, in which it is not compared.
func (r *rig) settled(runs bool, compare func() (*pipeline.Report, error)) (report *pipeline.Report, err error) {
	r.t.Helper()
	r.await("all tables are in step", func() bool {
		report, err = compare()
		return !runs || err != nil || !slices.ContainsFunc(report.Tables, func(v pipeline.TableReport) bool { return strings.Contains(v.Error, "not in step") })
	})
	return report, err
}

// inStep fails the test where a comparison failed, or found differences.
func (r *rig) inStep(report *pipeline.Report, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	if !report.OK() {
		r.t.Fatalf("lake and source differ: %+v", report)
	}
}

// column is the values of a column of a table in the lake, as text, joined; "?" where there is no table.
func (r *rig) column(table, column string) string {
	r.t.Helper()
	return r.columnIn("public/"+table, column)
}

// columnIn is column of the table in a folder.
func (r *rig) columnIn(folder, column string) string {
	r.t.Helper()
	t, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, folder), hudi.Options{})
	if errors.Is(err, hudi.ErrNoTable) {
		return "?"
	}
	if err != nil {
		r.t.Fatal(err)
	}
	var values []string
	for rec, err := range t.Read(r.t.Context(), hudi.ReadOptions{Columns: []string{column}}) {
		if err != nil {
			r.t.Fatal(err)
		}
		for i := range int(rec.NumRows()) {
			values = append(values, rec.Column(0).ValueStr(i))
		}
	}
	return strings.Join(values, " ")
}

// query is the first value of a statement.
func (r *rig) query(sql string, args ...any) string {
	r.t.Helper()
	return r.db.Query(r.t, fmt.Sprintf(sql, args...))[0][0]
}

// confirmed is what the source was told that it may forget.
func (r *rig) confirmed() change.LSN {
	r.t.Helper()
	return r.lsn("select confirmed_flush_lsn from pg_replication_slots where slot_name = '" + r.slot() + "'")
}

// recorded is the position in the lake's progress record.
func (r *rig) recorded() change.LSN {
	r.t.Helper()
	b, _, err := r.lake.Get(r.t.Context(), "_lakefeed/progress/"+r.name)
	if err != nil {
		r.t.Fatal(err)
	}
	var record struct {
		LSN change.LSN `json:"lsn"`
	}
	if err := json.Unmarshal(b, &record); err != nil {
		r.t.Fatal(err)
	}
	return record.LSN
}

// freeSlot waits until the server has noticed that the slot's reader is gone.
func (r *rig) freeSlot() {
	r.t.Helper()
	r.await("slot is free", func() bool {
		return r.query("select count(*) from pg_replication_slots where active and slot_name = '%s'", r.slot()) == "0"
	})
}

// spooled is how many segments the spool has of a table in the schema public.
func (r *rig) spooled(table string) (n int) {
	r.t.Helper()
	for _, err := range r.spoolStore().List(r.t.Context(), r.name+"/t-public%2E"+table, false) {
		if err != nil {
			r.t.Fatal(err)
		}
		n++
	}
	return n
}

func (r *rig) spoolStore() storage.Store {
	if r.spool != nil {
		return r.spool
	}
	return storage.Sub(r.lake, "_lakefeed/spool")
}

func (r *rig) dropSlot() {
	r.t.Helper()
	r.freeSlot()
	r.db.Exec(r.t, "select pg_drop_replication_slot('"+r.slot()+"')")
}

// advanceSlot moves the slot, as somebody else may.
func (r *rig) advanceSlot(to string) {
	r.t.Helper()
	r.freeSlot()
	r.db.Exec(r.t, "select pg_replication_slot_advance('"+r.slot()+"', "+to+")")
}

func (r *rig) lsn(sql string) change.LSN {
	r.t.Helper()
	l, err := change.ParseLSN(r.query("%s", sql))
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// refused fails the test unless err is a *pipeline.PositionError that names all of the words.
func (r *rig) refused(err error, words ...string) {
	r.t.Helper()
	if _, ok := errors.AsType[*pipeline.PositionError](err); !ok {
		r.t.Fatalf("want a position that is refused, got %v", err)
	}
	r.says(err, words...)
}

// says fails the test unless an error's text has all of the words.
func (r *rig) says(err error, words ...string) {
	r.t.Helper()
	if err == nil {
		r.t.Fatalf("no error; want one that says %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			r.t.Errorf("%q does not say %q", err, w)
		}
	}
}
