package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/internal/seed"
	"lakefeed/pipeline"
	"lakefeed/storage"
)

// bank is two tables of accounts between which money moves, a log of the transfers,
// which has no key, and a table that nobody touches.
var bank = []string{
	"create table giro (id int primary key, n int)", "insert into giro select i, 100 from generate_series(1, 20) i",
	"create table saving (id int primary key, n int)", "insert into saving select i, 100 from generate_series(1, 20) i",
	"create table transfer (n int)", "create table idle (n int primary key)", "insert into idle values (7)",
}

// transfers moves money until the returned function is called.
func (r *rig) transfers() (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	var done sync.WaitGroup
	seed := seed.New(r.t)
	for worker := range uint64(2) { // so that transactions overlap
		conn := r.db.Conn(r.t)
		done.Go(func() {
			rng := rand.New(rand.NewPCG(seed, worker))
			for ctx.Err() == nil {
				if err := transfer(ctx, conn, rng); err != nil && ctx.Err() == nil {
					r.t.Errorf("a transfer failed: %v", err)
					return
				}
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); done.Wait() })
	r.t.Cleanup(stop)
	return stop
}

func transfer(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error {
	id, n := rng.IntN(20)+1, rng.IntN(50)
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, sql := range []string{
			fmt.Sprintf("update giro set n = n - %d where id = %d", n, id),
			fmt.Sprintf("insert into transfer values (%d)", n),
			fmt.Sprintf("insert into saving values (%d, 100 + %d) on conflict (id) do update set n = saving.n + %d", id, n, n),
		} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rng.IntN(4)) * time.Millisecond):
		}
		return nil
	})
}

func (r *rig) findCut(mods ...func(*pipeline.CutOptions)) (*pipeline.ConsistentCut, error) {
	o := pipeline.CutOptions{Name: r.name, Lake: r.lake, Table: r.table}
	for _, mod := range mods {
		mod(&o)
	}
	return pipeline.FindCut(r.t.Context(), o)
}

// mustCut is findCut without an error.
func (r *rig) mustCut(mods ...func(*pipeline.CutOptions)) *pipeline.ConsistentCut {
	r.t.Helper()
	c, err := r.findCut(mods...)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func before(lsn change.LSN) func(*pipeline.CutOptions) {
	return func(o *pipeline.CutOptions) { o.LSN = lsn }
}

// sum is the sum of a column n as of a table's instant.
func (r *rig) sum(c *pipeline.ConsistentCut, table string) (sum, rows int) {
	r.t.Helper()
	i := slices.IndexFunc(c.Tables, func(t pipeline.CutTable) bool { return t.Table == "public."+table })
	if i < 0 {
		r.t.Fatalf("%s is not in the cut %+v", table, c)
	}
	t, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, c.Tables[i].Path), hudi.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	for rec, err := range t.Read(r.t.Context(), hudi.ReadOptions{Columns: []string{"n"}, AsOf: c.Tables[i].Instant}) {
		if err != nil {
			r.t.Fatalf("read %s of cut %s: %v", table, c.LSN, err)
		}
		for row := range int(rec.NumRows()) {
			n, err := strconv.Atoi(rec.Column(0).ValueStr(row))
			if err != nil {
				r.t.Fatal(err)
			}
			sum += n
			rows++
		}
	}
	return sum, rows
}

// balanced fails the test unless every transfer is in all tables of a cut or in none, and
// returns how many are.
func (r *rig) balanced(c *pipeline.ConsistentCut) int {
	r.t.Helper()
	giro, _ := r.sum(c, "giro")
	saving, _ := r.sum(c, "saving")
	moved, transfers := r.sum(c, "transfer")
	if idle, _ := r.sum(c, "idle"); giro != 2000-moved || saving != 2000+moved || idle != 7 {
		r.t.Errorf("cut %s: giro has %d, saving %d, and %d were moved: %+v", c.LSN, giro, saving, moved, c)
	}
	return transfers
}

// newer waits for a cut of a later state, and checks it.
func (r *rig) newer(than *pipeline.ConsistentCut) *pipeline.ConsistentCut {
	r.t.Helper()
	var c *pipeline.ConsistentCut
	r.await("a newer cut", func() bool {
		var err error
		c, err = r.findCut()
		if no, is := errors.AsType[*pipeline.NoCutError](err); is && !no.Final {
			return false
		}
		if err != nil {
			r.t.Fatal(err)
		}
		return len(c.LeftOut) == 0 && (than == nil || c.LSN > than.LSN)
	})
	r.balanced(c)
	return c
}

// everyCut goes back from a cut to the oldest, and checks each.
func (r *rig) everyCut(c *pipeline.ConsistentCut) (n int, end error) {
	r.t.Helper()
	last := r.balanced(c)
	for {
		older, err := r.findCut(before(c.LSN - 1))
		if err != nil {
			return n, err
		}
		if older.LSN >= c.LSN {
			r.t.Fatalf("asked for a cut before %s and got %s", c.LSN, older.LSN)
		}
		transfers := r.balanced(older)
		if transfers > last {
			r.t.Errorf("%d transfers are in cut %s, and %d in the later %s", transfers, older.LSN, last, c.LSN)
		}
		c, last = older, transfers
		n++
		if low := lowest(c); low < c.LSN { // all of the states between are one and the same
			c.LSN = low
		}
	}
}

// lowest is the oldest position at which all tables show what they show at a cut.
func lowest(c *pipeline.ConsistentCut) (lsn change.LSN) {
	for _, t := range c.Tables {
		lsn = max(lsn, t.From)
	}
	return lsn
}

// TestConsistentCut moves money between tables under a pipeline that is stopped and
// started, of which a table is set aside and copied anew: there is no cut, new or old, in
// which a transfer is half.
func TestConsistentCut(t *testing.T) {
	t.Parallel()
	r := newRig(t, bank...)
	if _, err := r.findCut(); err == nil {
		t.Error("there is a cut of an empty lake")
	}
	stop := r.transfers()
	run := r.start()
	c := r.newer(nil)
	for range 3 {
		c = r.newer(c)
	}
	for range 2 { // in the middle of whatever it is doing
		if err := run.end(); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		r.balanced(r.mustCut())
		run = r.start()
		c = r.newer(c)
	}
	run.ask(pipeline.Pause, "public.saving")
	r.await("it is set aside", func() bool { return r.spooled("saving") > 2 })
	c = r.mustCut()
	r.balanced(c)
	if !slices.Equal(c.Behind, []string{"public.saving"}) {
		t.Errorf("behind are %q", c.Behind)
	}
	run.ask(pipeline.Resume, "public.saving")
	r.await("it is in step", func() bool { return run.table("public.saving").State == pipeline.Streaming })
	c = r.newer(c)
	stop()
	if n, end := r.everyCut(c); n < 6 || !strings.Contains(fmt.Sprint(end), "timeline begins there") {
		t.Errorf("%d older cuts, then: %v", n, end)
	}
}

// TestConsistentCutOfCopy has a table copied anew: what it showed before is of another copy.
func TestConsistentCutOfCopy(t *testing.T) {
	t.Parallel()
	r := newRig(t, bank...)
	stop := r.transfers()
	run := r.start()
	c := r.newer(r.newer(nil)) // something was read since the first copy
	run.ask(pipeline.Resync, "public.giro")
	r.await("it is copied", func() bool {
		now, err := r.findCut(func(o *pipeline.CutOptions) { o.Only = func(s string) bool { return s == "public.giro" } })
		if err != nil {
			return false
		}
		_, err = r.findCut(before(c.LSN))
		return now.LSN > c.LSN && err != nil && strings.Contains(err.Error(), "copied anew")
	})
	for range 3 {
		c = r.newer(c)
	}
	stop()
	if n, end := r.everyCut(c); n < 1 || !strings.Contains(fmt.Sprint(end), "of another copy") {
		t.Errorf("%d older cuts, then: %v", n, end)
	}
	other := func(s string) bool { return s != "public.giro" }
	if _, err := r.findCut(before(c.LSN), func(o *pipeline.CutOptions) { o.Only = other }); err != nil {
		t.Errorf("without the table that was copied: %v", err)
	}
}

// TestConsistentCutIsTheSource compares a cut with a snapshot that the source exported
// under load, at its position.
func TestConsistentCutIsTheSource(t *testing.T) {
	t.Parallel()
	r := newRig(t, bank...)
	r.transfers()
	run := r.start()
	for range 3 {
		source := r.source()
		var cut map[string]string
		report, err := pipeline.Validate(t.Context(), pipeline.ValidateOptions{
			Name: r.name, Source: source, Lake: r.lake, Logger: r.logger(),
			Hold: func(ctx context.Context) error { _, err := run.Hold(ctx); return err },
			Cut: func(ctx context.Context, at change.LSN) (_ map[string]string, err error) {
				cut, err = run.Cut(ctx, at)
				return cut, err
			},
		})
		if r.close(source); err != nil || !report.OK() {
			t.Fatalf("lake and source differ: %+v, %v", report, err)
		}
		c := r.mustCut(before(report.At))
		if c.LSN != report.At || c.Asked != c.LSN {
			t.Errorf("the cut at %s is at %s", report.At, c.LSN)
		}
		r.balanced(c)
		for _, table := range c.Tables {
			if table.Instant != cut[table.Table] {
				t.Errorf("%s shows the snapshot of %s as of %s, and not as of %s", table.Table, report.At, cut[table.Table], table.Instant)
			}
		}
	}
}

// TestConsistentCutAt finds what the source held at a time, as its commits tell it.
func TestConsistentCutAt(t *testing.T) {
	t.Parallel()
	r := newRig(t, bank...)
	run := r.start()
	r.newer(nil)
	at := func(when time.Time) func(*pipeline.CutOptions) {
		return func(o *pipeline.CutOptions) { o.At = when }
	}
	moment := func() (time.Time, int) {
		stop := r.transfers()
		r.await("some transfers", func() bool { return r.query("select count(*) > 20 from transfer") == "t" })
		stop()
		end := r.lsn("select pg_current_wal_lsn()")
		r.await("in step", func() bool { return r.recorded() >= end })
		n, err := strconv.Atoi(r.query("select count(*) from transfer"))
		when, err2 := time.Parse("2006-01-02 15:04:05.999999Z07", r.query("select clock_timestamp() at time zone 'utc'")+"Z")
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return when, n
	}
	when, n := moment()
	if _, err := r.findCut(at(when)); err == nil || !strings.Contains(err.Error(), "is known later") {
		t.Errorf("before anything later is known: %v", err)
	}
	r.db.Exec(t, "insert into transfer values (0)")
	second, _ := moment()
	c := r.mustCut(at(when))
	if got := r.balanced(c); got != n || c.Time.After(when) {
		t.Errorf("at %s there were %d transfers; the cut of %s has %d", when, n, c.Time, got)
	}
	run.stop()
	r.db.Exec(t, "insert into transfer values (0)")
	r.drain()
	if c := r.mustCut(at(second)); c.Time.After(second) || r.balanced(c) <= n {
		t.Errorf("at %s: %+v", second, c)
	}
	if _, err := r.findCut(at(when.Add(-time.Hour))); err == nil || !strings.Contains(err.Error(), "is not in the lake") {
		t.Errorf("long ago: %v", err)
	}
	if _, err := r.findCut(before(r.recorded() + 1)); err == nil || !strings.Contains(err.Error(), "yet") {
		t.Errorf("a position to come: %v", err)
	}
}

// TestConsistentCutCleaned keeps a cut by its pins, and names one that was cleaned away.
func TestConsistentCutCleaned(t *testing.T) {
	t.Parallel()
	r := newRig(t, bank...)
	r.mods = append(r.mods, func(o *options) { o.CompactAfter, o.RetainCommits = 1, 1 })
	r.drain()
	first := r.mustCut()
	step := func() {
		r.db.Exec(t, "with g as (update giro set n = n - 1 returning 1), s as (update saving set n = n + 1 returning 1) insert into transfer select 20")
		r.drain()
	}
	for range 3 {
		step()
	}
	_, err := r.findCut(before(first.LSN))
	if no, is := errors.AsType[*pipeline.NoCutError](err); !is || !no.Final || !errors.Is(err, hudi.ErrCleaned) {
		t.Fatalf("a cut that was cleaned away: %v", err)
	}
	r.says(err, "retain_commits", "--pin", "public.")
	kept := r.mustCut(func(o *pipeline.CutOptions) { o.Pin = time.Hour })
	for range 3 {
		step()
	}
	if c := r.mustCut(before(kept.LSN)); c.LSN != kept.LSN || kept.Tables[0].Pin == "" {
		t.Errorf("pinned was %+v, and there is %+v", kept, c)
	}
	if n := r.balanced(kept); n != 3 {
		t.Errorf("it has %d transfers", n)
	}
	r.balanced(r.mustCut())
}

// TestCutAtRest: of a source at rest, which writes nothing into its log, it becomes known what it held at a time.
func TestCutAtRest(t *testing.T) {
	t.Parallel()
	r := newRig(t, bank...)
	source := r.quiet()
	run := r.start(func(o *options) { o.Source, o.WALBudget.Every = source, 100*time.Millisecond })
	r.newer(nil)
	when, err := time.Parse("2006-01-02 15:04:05.999999Z07", r.query("select clock_timestamp() at time zone 'utc'")+"Z")
	if err != nil {
		t.Fatal(err)
	}
	var cut *pipeline.ConsistentCut
	r.await("it is known", func() bool {
		cut, err = r.findCut(func(o *pipeline.CutOptions) { o.At = when })
		return err == nil
	})
	if got := r.balanced(cut); got != 0 {
		t.Errorf("the cut has %d transfers", got)
	}
	run.stop()
	r.freeSlot()
	run = r.start(func(o *options) { o.Source = r.quiet() }) // and stays so over a restart
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.mustCut(func(o *pipeline.CutOptions) { o.At = when })
}
