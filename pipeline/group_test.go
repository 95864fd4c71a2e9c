package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
	"lakefeed/postgres"
	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// groupRig is a rig whose pipeline has several slots.
type groupRig struct {
	*rig
	slots pipeline.Slots
}

// named are slots by hand: each entry is "name: table table".
func named(entries ...string) pipeline.Slots {
	var s pipeline.Slots
	for _, e := range entries {
		name, tables, _ := strings.Cut(e, ": ")
		s.Named = append(s.Named, pipeline.NamedSlot{Name: name, Match: func(_, table string) bool {
			for t := range strings.FieldsSeq(tables) {
				if ok, err := path.Match(t, table); err == nil && ok {
					return true
				}
			}
			return false
		}})
	}
	return s
}

func newGroupRig(t testing.TB, sql ...string) *groupRig {
	return &groupRig{rig: newRig(t, sql...)}
}

// group makes the pipeline; mods change its options.
func (r *groupRig) group(mods ...func(*options)) *pipeline.Group {
	r.t.Helper()
	o := pipeline.GroupOptions{Slots: r.slots, Options: pipeline.Options{
		Name: r.name, Lake: r.lake, Interval: 100 * time.Millisecond,
		Retryable: postgres.Retryable, Logger: r.logger(), Spool: r.spool, Table: r.table, SpillDir: r.t.TempDir(), RetainCommits: 1000,
	}}
	for _, mod := range mods {
		mod(&o.Options)
	}
	o.Open = func(ctx context.Context, slot string, mine func(schema, table string) bool) (pipeline.SlotSource, error) {
		return postgres.Open(ctx, postgres.Options{
			URL: r.db.URL, Pipeline: pipeline.StreamName(r.name, slot), Heartbeat: time.Second, Mine: mine,
			Match: func(_, table string) bool { return !r.skip[table] },
		})
	}
	g, err := pipeline.NewGroup(o)
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

// running is a group that streams until it is stopped.
type runningGroup struct {
	*pipeline.Group
	r    *groupRig
	stop func()
}

func (r *groupRig) start(mods ...func(*options)) *runningGroup {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	g := r.group(mods...)
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	run := &runningGroup{Group: g, r: r}
	ended := false
	run.stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			r.t.Error(err)
		}
	}
	r.t.Cleanup(run.stop)
	return run
}

// table is the status of one table.
func (g *runningGroup) table(name string) pipeline.TableStatus {
	for _, s := range g.Status().Tables {
		if s.Table == "public."+name {
			return s
		}
	}
	return pipeline.TableStatus{}
}

// streams waits until tables come through slots: each entry is "table slot".
func (g *runningGroup) streams(entries ...string) {
	g.r.t.Helper()
	for _, e := range entries {
		table, slot, _ := strings.Cut(e, " ")
		g.r.await(e+" streams", func() bool {
			s := g.table(table)
			return s.State == pipeline.Streaming && s.Slot == slot
		})
	}
}

// equal fails the test where lake and source differ.
func (r *groupRig) equal(run *runningGroup) {
	r.t.Helper()
	if run == nil {
		r.inStep(r.validate(nil, r.cut))
		return
	}
	r.inStep(r.validate(run, run.Cut))
}

// cut brings the lake, which nobody feeds, to a position.
func (r *groupRig) cut(ctx context.Context, at change.LSN) (map[string]string, error) {
	g := r.group(func(o *options) { o.Once, o.Until = true, at })
	if err := g.Run(ctx); err != nil {
		return nil, err
	}
	return g.Status().Instants(), nil
}

// sourceSlots are the slots of the rig's pipeline in the source.
func (r *groupRig) sourceSlots() string {
	return r.query("select coalesce(string_agg(slot_name, ' ' order by slot_name), '') from pg_replication_slots where not temporary and database = current_database()")
}

// copies is how often a table was copied, as its commits tell.
func (r *groupRig) copies(table string) int {
	r.t.Helper()
	lake, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, "public/"+table), hudi.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	seen := map[string]bool{}
	for before := ""; ; {
		text, instant, err := lake.ExtraBefore(r.t.Context(), "lakefeed.checkpoint", before)
		if err != nil {
			r.t.Fatal(err)
		}
		if text == "" {
			return len(seen)
		}
		var c struct{ Copied string }
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			r.t.Fatal(err)
		}
		seen[c.Copied], before = true, instant
	}
}

// A pipeline gets a second slot, then other tables in it, then none: no table is copied
// anew, no change is lost, and the slot that nothing names is gone from the source.
func TestTablesMoveBetweenSlotsExactlyLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newGroupRig(t, "create table a (id int primary key, v int)", "create table b (id int primary key, v int)", "create table c (v int)",
		"insert into a select g, 0 from generate_series(1, 100) g", "insert into b values (1, 0)", "insert into c values (0)")
	r.drain() // as a pipeline with one slot
	step := 0
	write := func() {
		step++
		r.db.Exec(t, fmt.Sprintf("insert into a values (%d, 1)", 1000+step), fmt.Sprintf("update b set v = %d", step), "delete from a where id = "+strconv.Itoa(step), fmt.Sprintf("insert into c values (%d)", step))
	}
	for i, slots := range []pipeline.Slots{named("hot: a"), named("hot: b c"), named("warm: b", "hot: a c"), {}} {
		write()
		r.slots = slots
		run := r.start()
		write()
		in := func(table string) string {
			for _, s := range slots.Named {
				if s.Match("public", table) {
					return s.Name
				}
			}
			return "default"
		}
		run.streams("a "+in("a"), "b "+in("b"), "c "+in("c"))
		write()
		r.equal(run)
		run.stop()
		write()
		if i == 1 {
			if err := r.group(func(o *options) { o.Once = true }).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		r.equal(nil)
		if cut, err := pipeline.FindCut(t.Context(), pipeline.CutOptions{Name: r.name, Lake: r.lake}); err != nil || len(cut.Tables) != 3 || len(cut.LeftOut) != 0 {
			t.Fatalf("cut: %+v, %v", cut, err)
		}
	}
	for _, table := range []string{"a", "b", "c"} {
		if n := r.copies(table); n != 1 {
			t.Errorf("table %s was copied %d times", table, n)
		}
	}
	if have := r.sourceSlots(); have != r.slot() {
		t.Errorf("slots in the source: %s", have)
	}
	if n := r.query("select count(*) from pg_publication"); n != "2" {
		t.Errorf("%s publications in the source", n)
	}
}

// Wherever a start that moves tables dies, no change is lost and nothing is copied anew.
func TestMoveDiesLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newGroupRig(t, "create table a (id int primary key, v int)", "create table b (id int primary key, v int)", "insert into a select g, 0 from generate_series(1, 100) g")
	r.slots = named("hot: a")
	once := func(lake storage.Store) error {
		g := r.group(func(o *options) { o.Once, o.Lake = true, lake })
		return g.Run(t.Context())
	}
	if err := once(r.lake); err != nil {
		t.Fatal(err)
	}
	soak := os.Getenv("LAKEFEED_SOAK") == "1" // every write
	records := func(c storagetest.Call) bool { return soak || strings.HasPrefix(c.Name, "_lakefeed/slots") }
	step := map[bool]int{true: 3, false: 1}[soak]
	for at := 1; ; at += step {
		slots := []pipeline.Slots{named("hot: b"), named("hot: a")}
		r.slots = slots[at%2]
		r.db.Exec(t, fmt.Sprintf("insert into a values (%d, %d)", 1000+at, at), fmt.Sprintf("insert into b values (%d, %d)", at, at), "update a set v = v + 1 where id < 10")
		f := storagetest.NewFaulty(r.lake, storagetest.Fault{At: at, When: storagetest.When(at % 2), Dead: true, Only: records})
		err := once(f)
		if !f.Fired() {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if err == nil {
			t.Fatalf("call %d: the run does not tell of its fault", at)
		}
		if at%3 == 0 { // else the next start goes on from what this one left
			r.equal(nil)
		}
	}
	if err := once(r.lake); err != nil {
		t.Fatal(err)
	}
	r.equal(nil)
	if a, b := r.copies("a"), r.copies("b"); a != 1 || b != 1 {
		t.Errorf("copied %d and %d times", a, b)
	}
}

// A transaction that began before a table was published through another slot, and commits
// behind that, is in the lake whole.
func TestMoveWaitsForOpenTransactions(t *testing.T) {
	t.Parallel()
	r := newGroupRig(t, "create table a (id int primary key)", "create table b (id int primary key)")
	r.slots = named("hot: b")
	if err := r.group(func(o *options) { o.Once = true }).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn := r.db.Conn(t)
	if _, err := conn.Exec(t.Context(), "begin; insert into a values (1)"); err != nil {
		t.Fatal(err)
	}
	r.slots = named("hot: a b")
	run := r.start()
	r.await("a slot waits for the transaction", func() bool {
		return r.query("select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'transactionid'") != "0"
	})
	if _, err := conn.Exec(t.Context(), "insert into a values (2); commit"); err != nil {
		t.Fatal(err)
	}
	run.streams("a hot", "b hot")
	r.equal(run)
	run.stop()
	if n := r.copies("a"); n != 1 {
		t.Errorf("a was copied %d times", n)
	}
}

// Tables are divided by what was written to them, and stay where they are until the number
// of slots is another.
func TestSlotsByMeasure(t *testing.T) {
	t.Parallel()
	r := newGroupRig(t, "create table busy (id int primary key)", "create table calm (id int primary key)", "create table idle (id int primary key)",
		"insert into busy select generate_series(1, 3000)", "insert into calm select generate_series(1, 100)")
	r.slots = pipeline.Slots{Measured: 2}
	counted := func(rows string) {
		r.await("the server has counted", func() bool { // which it does when a session has been idle, or ends
			return r.query("select coalesce(sum(n_tup_ins), 0) from pg_stat_user_tables") == rows
		})
	}
	counted("3100")
	run := r.start()
	run.streams("busy default", "calm s2", "idle s2")
	r.db.Exec(t, "insert into calm select generate_series(101, 9000)", "create table late (id int primary key)", "insert into late values (1)")
	run.streams("late default")
	r.equal(run)
	run.stop()
	counted("12001")
	run = r.start() // calm has more than busy now
	run.streams("busy default", "calm s2", "idle s2", "late default")
	run.stop()
	r.slots = pipeline.Slots{Measured: 3}
	run = r.start()
	run.streams("calm default", "busy s2", "idle s3", "late s3")
	r.equal(run)
}

// What is not in step is not moved: it stays in its slot, which is kept for it, until it is.
func TestPausedTableStaysInItsSlot(t *testing.T) {
	t.Parallel()
	r := newGroupRig(t, "create table a (id int primary key)", "create table b (id int primary key)", "create table gone (id int primary key)", "insert into gone values (1)")
	r.slots = named("hot: a gone")
	run := r.start()
	run.streams("a hot", "b default", "gone hot")
	for table, verb := range map[string]pipeline.Verb{"a": pipeline.Pause, "gone": pipeline.Remove} {
		if _, err := run.Instruct(t.Context(), "public."+table, verb); err != nil {
			t.Fatal(err)
		}
	}
	r.db.Exec(t, "insert into a values (1)")
	r.await("it waits in the spool", func() bool { return run.table("a").Spooled > 0 })
	run.stop()
	r.slots = pipeline.Slots{}
	run = r.start()
	r.await("it stays, and says so", func() bool {
		s := run.table("a")
		return s.State == pipeline.Paused && s.Slot == "hot" && strings.Contains(s.Note, "belongs to slot default")
	})
	if run.table("gone").Table != "" {
		t.Error("a table that was removed is followed again")
	}
	if _, err := run.Instruct(t.Context(), "public.a", pipeline.Resume); err != nil {
		t.Fatal(err)
	}
	run.streams("a hot")
	r.db.Exec(t, "insert into gone values (2)")
	if _, err := run.Instruct(t.Context(), "public.gone", pipeline.Add); err != nil {
		t.Fatal(err)
	}
	run.streams("gone default")
	at := r.lsn("select pg_current_wal_insert_lsn()")
	r.await("the records say that all are in step", func() bool {
		return r.query("select bool_and(confirmed_flush_lsn > '%s') from pg_replication_slots where slot_name like '%s%%' and not temporary", at, r.slot()) == "t"
	})
	run.stop()
	run = r.start()
	run.streams("a default", "b default", "gone default")
	r.equal(run)
	run.stop()
	if have := r.sourceSlots(); have != r.slot() {
		t.Errorf("slots in the source: %s", have)
	}
}

// The partitions of a table come with it, whatever slot their own names would be in; a table
// that comes while the pipeline runs goes to the slot that takes it.
func TestPartitionsAndNewTablesInSlots(t *testing.T) {
	t.Parallel()
	r := newGroupRig(t, "create table p (id int primary key) partition by range (id)", "create table hot_1 partition of p for values from (1) to (100)", "insert into p values (1)")
	r.slots = named("hot: hot_*")
	run := r.start()
	run.streams("p default")
	r.db.Exec(t, "create table hot_2 partition of p for values from (100) to (200)", "insert into p values (2), (101)", "create table hot_new (id int primary key)", "insert into hot_new values (1)")
	run.streams("hot_new hot")
	r.equal(run)
	for _, s := range run.Status().Tables {
		if s.Table != "public.p" && s.Table != "public.hot_new" {
			t.Errorf("table %s is followed", s.Table)
		}
	}
	run.stop()
	r.slots = pipeline.Slots{}
	run = r.start()
	run.streams("p default", "hot_new default")
	r.equal(run)
}

// A slot that is lost stops its own tables; the others go on, and a new copy of that slot's
// tables alone makes it anew.
func TestOneOfSeveralSlotsIsLost(t *testing.T) {
	t.Parallel()
	r := newGroupRig(t, "create table a (id int primary key)", "create table b (id int primary key)")
	r.slots = named("hot: a")
	run := r.start()
	run.streams("a hot", "b default")
	run.stop()
	r.await("the slot is free", func() bool {
		return r.query("select count(*) from pg_replication_slots where active and slot_name = '%s__hot'", r.slot()) == "0"
	})
	r.db.Exec(t, "select pg_drop_replication_slot('"+r.slot()+"__hot')", "insert into a values (1)", "insert into b values (1)")
	run = r.start()
	run.streams("b default")
	r.await("its tables have stopped", func() bool {
		s := run.table("a")
		return s.State == pipeline.Failed && strings.Contains(s.Error, "the slot is gone")
	})
	r.await("b is written", func() bool { return r.column("b", "id") == "1" })
	if _, err := run.Instruct(t.Context(), "public.b", pipeline.Pause); err != nil {
		t.Error(err)
	}
	_, err := run.Instruct(t.Context(), "public.a", pipeline.Resync)
	r.says(err, "slot hot has stopped")
	run.stop()
	if err := pipeline.ResyncAll(t.Context(), r.lake, r.name, "cold"); err == nil {
		t.Error("a slot that there is not is copied anew")
	}
	if err := pipeline.ResyncAll(t.Context(), r.lake, r.name, "hot"); err != nil {
		t.Fatal(err)
	}
	run = r.start()
	if _, err := run.Instruct(t.Context(), "public.b", pipeline.Resume); err != nil {
		r.await("b goes on", func() bool {
			_, err := run.Instruct(t.Context(), "public.b", pipeline.Resume)
			return err == nil
		})
	}
	run.streams("a hot", "b default")
	r.equal(run)
	if n := r.copies("b"); n != 1 {
		t.Errorf("b was copied %d times", n)
	}
}
