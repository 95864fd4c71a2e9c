package pipeline_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/storage"
)

// open opens a table of the lake as another process does.
func (r *rig) open(table string) *hudi.Table {
	r.t.Helper()
	t, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, "public/"+table), hudi.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	return t
}

// TestTimelineStaysShort commits many times, and then restarts from what the archive left.
func TestTimelineStaysShort(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, v int)", "insert into t values (1, 0)", "create table u (id int primary key)")
	r.mods = append(r.mods, func(o *options) { o.RetainCommits, o.ArchiveKeepMin, o.ArchiveKeepMax = 2, 4, 8 })
	run := r.start()
	for i := range 20 {
		r.db.Exec(t, fmt.Sprintf("update t set v = %d", i+1))
		r.await("commit", func() bool { return r.column("t", "v") == strconv.Itoa(i+1) })
		if n := len(r.open("t").Timeline().Completed()); n > 8+2 { // a commit and a compaction may come on top
			t.Fatalf("%d writes on the timeline", n)
		}
	}
	run.stop()
	archived := 0
	for _, err := range r.open("t").Archived(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		archived++
	}
	if archived < 12 {
		t.Errorf("%d instants in the archive", archived)
	}
	if n := len(r.open("u").Timeline().Completed()); n != 1 { // nothing was committed but its copy
		t.Errorf("table u has %d writes", n)
	}
	r.db.Exec(t, "insert into t values (2, 2)")
	r.drain()
	r.equal(nil)
}

// TestSavepointHoldsTimeline does not try in vain at each commit.
func TestSavepointHoldsTimeline(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, v int)")
	tries := 0
	r.mods = append(r.mods, func(o *options) {
		o.RetainCommits, o.ArchiveKeepMin, o.ArchiveKeepMax = 2, 4, 8
		o.OnPhase = func(phase string) {
			if phase == "archive" {
				tries++
			}
		}
	})
	r.drain()
	saved, err := r.open("t").Savepoint(t.Context(), hudi.SavepointOptions{})
	if err != nil {
		t.Fatal(err)
	}
	run := r.start()
	for i := range 20 {
		r.db.Exec(t, fmt.Sprintf("insert into t values (%d, 0)", i))
		r.await("commit", func() bool { return len(strings.Fields(r.column("t", "id"))) == i+1 })
	}
	run.stop()
	if tries > 0 {
		t.Errorf("archived %d times, past the savepoint", tries)
	}
	if got := r.open("t").Timeline().Completed()[0].Time; got != saved {
		t.Errorf("the timeline begins with %s, not with %s, which is saved", got, saved)
	}
	r.equal(nil)
}

// TestConversionBeside converts a table while its pipeline streams, as a program may that
// knows nothing of the pipeline's lock: rows go by what the table is when they are written.
func TestConversionBeside(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, v int, big text)", "alter table t alter big set storage external",
		"insert into t select i, 0, repeat('x', 3000) || i from generate_series(1, 200) i")
	r.mods = append(r.mods, func(o *options) {
		o.Table = func(*change.Table) pipeline.TableOptions { return pipeline.TableOptions{Buckets: 2} }
	})
	run := r.start()
	for i, to := range []hudi.ConvertOptions{{Buckets: 5}, {Type: hudi.CopyOnWrite}, {Type: hudi.MergeOnRead, Buckets: 1}, {Type: hudi.CopyOnWrite, Buckets: 7}} {
		r.db.Exec(t, fmt.Sprintf("update t set v = %d where id %% 3 = 0", i+1), fmt.Sprintf("delete from t where id = %d", i+1),
			fmt.Sprintf("insert into t values (%d, 7, 'new')", 1000+i))
		r.equal(run) // so that no transaction is open
		if err := r.open("t").Convert(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		r.db.Exec(t, fmt.Sprintf("update t set v = -%d where id %% 2 = 0", i+1), fmt.Sprintf("delete from t where id = %d", 100+i))
		r.equal(run)
	}
	if s := run.table("public.t"); s.Type != string(hudi.CopyOnWrite) {
		t.Errorf("its status still says %s", s.Type)
	}
	run.stop()
	if got := r.open("t"); got.Buckets() != 7 || got.Type() != hudi.CopyOnWrite {
		t.Errorf("the table has %d buckets and is %s", got.Buckets(), got.Type())
	}
	r.drain()
	r.equal(nil)
}

// TestConversionBetween converts a table in the midst of a transaction of its pipeline,
// which takes its rows back and writes them again as the table is now. Nothing but the
// pipeline's lock, which lakefeed table takes, helps between the last look at the table
// and the commit.
func TestConversionBetween(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"marker", "log append"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "create table t (id int primary key, v int)", "insert into t select i, 0 from generate_series(1, 50) i")
			var convert atomic.Bool
			r.mods = append(r.mods, func(o *options) {
				o.Table = func(*change.Table) pipeline.TableOptions { return pipeline.TableOptions{Buckets: 2} }
				o.OnPhase = func(at string) {
					if at == phase && convert.CompareAndSwap(true, false) {
						table, err := hudi.Open(t.Context(), storage.Sub(r.lake, "public/t"), hudi.Options{Concurrency: hudi.Concurrency{Exclusive: true}})
						if err == nil {
							err = table.Convert(t.Context(), hudi.ConvertOptions{Type: hudi.CopyOnWrite, Buckets: 5})
						}
						if err != nil {
							t.Error(err)
						}
					}
				}
			})
			run := r.start()
			r.equal(run)
			convert.Store(true)
			r.db.Exec(t, "begin", "update t set v = 1 where id % 3 = 0", "delete from t where id = 7", "insert into t values (100, 1)", "commit")
			r.equal(run)
			if convert.Load() {
				t.Fatal("nothing was converted")
			}
			run.stop()
			got := r.open("t")
			if got.Buckets() != 5 || got.Type() != hudi.CopyOnWrite {
				t.Errorf("the table has %d buckets and is %s", got.Buckets(), got.Type())
			}
			report, err := hudi.Check(t.Context(), storage.Sub(r.lake, "public/t"), hudi.CheckOptions{})
			if err != nil || !report.Sound() {
				t.Errorf("%+v, %v", report, err)
			}
		})
	}
}
