package pipeline_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
	"lakefeed/storage"
	"lakefeed/storage/mem"
	"lakefeed/storage/storagetest"
)

// wild is what makes order count: values that are not sent, keys that change, a table
// that is emptied, rows that come, go and come again.
func wild(round int) []string {
	n := round * 100
	return []string{
		fmt.Sprintf("insert into t select i, repeat(md5(i::text), 100), 'new' from generate_series(%d, %d) i", n+1, n+20),
		fmt.Sprintf("update t set w = 'touched %d' where id %% 2 = 0", round),
		fmt.Sprintf("begin; update t set id = id + 50 where id between %d and %d; delete from t where id = %d; insert into t values (%[3]d, 'again', 'x'); commit", n+1, n+9, n+11),
		fmt.Sprintf("update t set w = 'moved' where id > %d", n+50),
	}
}

const (
	wildTable = "create table t (id int primary key, v text, w text)"
	external  = "alter table t alter v set storage external"
)

// TestSpoolLetsTheSlotMove has a lake that refuses one table for a while: its changes wait
// in the spool, the source forgets them, the other table goes on, and when the lake takes
// them again they come in the order of the log.
func TestSpoolLetsTheSlotMove(t *testing.T) {
	t.Parallel()
	r := newRig(t, wildTable, external, "create table other (id int primary key)")
	var full atomic.Bool
	r.lake = &noRoom{Store: mem.New(), full: &full, folder: "public/t/"}
	run := r.start(retryLake)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, wild(1)...)
	r.await("it is in step", func() bool { return strings.Contains(r.column("t", "w"), "moved") })
	full.Store(true)
	for i := 2; i < 6; i++ {
		r.db.Exec(t, wild(i)...)
		if i == 3 {
			r.db.Exec(t, "truncate t", "alter table t add n int default 7")
		}
		at := r.lsn("select pg_current_wal_lsn()")
		r.db.Exec(t, fmt.Sprintf("insert into other values (%d)", i))
		r.await("the source may forget", func() bool { return r.confirmed() >= at && strings.Contains(r.column("other", "id"), strconv.Itoa(i)) })
	}
	s := run.table("public.t")
	if s.State != pipeline.Failed || s.Spooled == 0 || s.Freshness <= 0 || r.spooled("t") < 4 {
		t.Errorf("%+v, %d segments", s, r.spooled("t"))
	}
	full.Store(false)
	r.await("it is in step again", func() bool { s := run.table("public.t"); return s.State == pipeline.Streaming && s.Spooled == 0 })
	if n := r.spooled("t"); n != 0 {
		t.Errorf("%d segments are left", n)
	}
	r.db.Exec(t, wild(6)...)
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}

// refuse lets a lake refuse a table while a round of changes is drained, which all go to the spool.
func (r *rig) refuse(inner storage.Store, full *atomic.Bool, round int) {
	r.t.Helper()
	full.Store(true)
	r.db.Exec(r.t, wild(round)...)
	_ = r.once()
	full.Store(false)
	if r.spooled("t") == 0 {
		r.t.Fatalf("round %d: nothing is in the spool of %s", round, inner)
	}
}

// TestSpoolKilledLong dies at every step of writing segments and of draining them: behind a
// segment and before the source may forget, between commit and deletion, within each.
func TestSpoolKilledLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, wildTable, external, "create table other (id int primary key)")
	var full atomic.Bool
	inner := &noRoom{Store: mem.New(), full: &full, folder: "public/t/"}
	r.lake = inner
	r.drain()
	step := 5
	if os.Getenv("LAKEFEED_SOAK") != "" {
		step = 1
	}
	round := 0
	for _, spooling := range []bool{true, false} {
		for at := 1; ; at += step {
			round++
			if !spooling {
				r.refuse(inner, &full, round)
			}
			full.Store(spooling)
			r.db.Exec(t, wild(round+1000)...)
			faulty := storagetest.NewFaulty(inner, storagetest.Fault{At: at, When: storagetest.When(at % 2), Dead: true, Only: func(c storagetest.Call) bool {
				return !strings.Contains(c.Name, "lock")
			}})
			r.lake = faulty
			_ = r.once()
			r.lake = inner
			full.Store(false)
			if !faulty.Fired() {
				t.Logf("spooling %t: %d calls", spooling, at-1)
				break
			}
			if at%(4*step) == 1 {
				r.drain()
				r.equal(nil)
			}
		}
	}
	r.drain()
	r.equal(nil)
	if n := r.spooled("t"); n != 0 {
		t.Errorf("%d segments are left", n)
	}
}

// TestSpoolDivided lets a table fail with a round that was divided by key on the local disk:
// it is read once more, in the order of the log, and nothing is lost.
func TestSpoolDivided(t *testing.T) {
	t.Parallel()
	r := newRig(t, wildTable, external, "create table other (id int primary key)")
	var full atomic.Bool
	r.lake = &noRoom{Store: mem.New(), full: &full, folder: "public/t/"}
	small := func(o *options) { o.MemoryBudget, o.MaxBytes = 512<<10, 64<<20 }
	r.mods = append(r.mods, small)
	run := r.start(retryLake)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	full.Store(true)
	r.db.Exec(t, "begin; insert into t select i, repeat(md5(i::text), 50), 'a' from generate_series(1, 2000) i; update t set id = -id where id % 3 = 0; update t set w = 'b' where id < 1000; commit")
	r.await("it is in the spool", func() bool { return r.spooled("t") > 0 })
	if run.Status().Spilled == 0 {
		t.Error("nothing was spilled")
	}
	r.db.Exec(t, "insert into other values (1)")
	full.Store(false)
	r.await("it is in step again", func() bool { s := run.table("public.t"); return s.State == pipeline.Streaming && r.spooled("t") == 0 })
	r.equal(run)
}

// TestSpoolFull has a spool that is too small: the source keeps the rest, and all of it comes.
func TestSpoolFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, wildTable, external, "create table other (id int primary key)")
	var full atomic.Bool
	r.lake = &noRoom{Store: mem.New(), full: &full, folder: "public/t/"}
	run := r.start(retryLake, func(o *options) { o.SpoolBytes = 1 })
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	full.Store(true)
	r.db.Exec(t, wild(1)...)
	r.await("it is in the spool", func() bool { return r.spooled("t") == 1 })
	r.db.Exec(t, wild(2)...)
	at := r.lsn("select pg_current_wal_lsn()")
	r.db.Exec(t, "insert into other values (1)")
	r.await("it says so", func() bool { return strings.Contains(run.table("public.t").Note, "spool is full") })
	r.await("the other goes on", func() bool { return r.column("other", "id") == "1" })
	if got := r.confirmed(); got >= at {
		t.Errorf("the source may forget up to %s, and the spool ends before %s", got, at)
	}
	full.Store(false)
	r.await("it is in step again", func() bool {
		return strings.Contains(r.column("t", "w"), "touched 2") && run.Status().State == pipeline.Streaming
	})
	r.equal(run)
	if note := run.table("public.t").Note; note != "" {
		t.Errorf("it says still: %s", note)
	}
}

// TestSpoolLostLong removes, damages and exchanges segments while no pipeline runs: the table
// stops, says so, and only a new copy helps; the others go on.
func TestSpoolLostLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, harm := range map[string]func(r *rig, segs []string){
		"the first is gone": func(r *rig, segs []string) { r.must(r.lake.Delete(t.Context(), segs[0])) },
		"the last is gone":  func(r *rig, segs []string) { r.must(r.lake.Delete(t.Context(), segs[len(segs)-1])) },
		"all are gone":      func(r *rig, _ []string) { r.must(r.lake.DeleteAll(t.Context(), "_lakefeed/spool")) },
		"one is damaged": func(r *rig, segs []string) {
			b, _, err := r.lake.Get(t.Context(), segs[1])
			r.must(err)
			b[len(b)/2] ^= 1
			r.must(r.lake.Put(t.Context(), segs[1], b))
		},
		"one is another's": func(r *rig, segs []string) {
			b, _, err := r.lake.Get(t.Context(), segs[0])
			r.must(err)
			r.must(r.lake.Put(t.Context(), segs[1], b))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, wildTable, external, "create table other (id int primary key)")
			var full atomic.Bool
			r.lake = &noRoom{Store: mem.New(), full: &full, folder: "public/t/"}
			r.drain()
			for i := range 3 {
				r.refuse(r.lake, &full, i+1)
			}
			var segs []string
			for info, err := range r.lake.List(t.Context(), "_lakefeed/spool", true) {
				r.must(err)
				segs = append(segs, info.Name)
			}
			harm(r, segs)
			r.db.Exec(t, wild(9)...)
			r.db.Exec(t, "insert into other values (1)")
			for range 2 { // it stays so
				r.stopped(r.once(), "public.t", "spool", "copied anew")
			}
			if got := r.column("other", "id"); got != "1" {
				t.Errorf("the other holds %q", got)
			}
			end := r.lsn("select pg_current_wal_lsn()")
			_ = r.once()
			if got := r.recorded(); got < end || r.spooled("t") != 0 {
				t.Errorf("the source keeps its log from %s, the spool %d segments", got, r.spooled("t"))
			}
			if err := r.once(func(o *options) { o.Recopy = func(*change.Table, *pipeline.AnewError) bool { return true } }); err == nil {
				t.Error("a table that stopped before is copied by itself")
			}
			r.forget("t")
			r.drain()
			r.equal(nil)
		})
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}
