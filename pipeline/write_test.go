package pipeline_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/pipeline"
	"lakefeed/storage/storagetest"
)

// TestNoGapAfterFailedRound lets a round fail while the next one, which ends with a
// change that cannot be represented, waits for it. The next one must not be written
// without it.
func TestNoGapAfterFailedRound(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, n numeric(5,2))")
	var failing, holding atomic.Bool
	lake := r.lake
	r.lake = storagetest.NewFaulty(lake, storagetest.Fault{At: 1, Only: func(c storagetest.Call) bool {
		return failing.Load() && strings.HasPrefix(c.Name, "public/t")
	}})
	reached, release := make(chan bool), make(chan bool)
	run := r.start(func(o *options) {
		o.Interval = time.Second
		o.OnPhase = func(phase string) {
			if phase == "reduce" && holding.CompareAndSwap(true, false) {
				reached <- true
				<-release
			}
		}
	})
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	r.await("t is copied", func() bool { return run.table("public.t").State == pipeline.Streaming })
	holding.Store(true)
	r.db.Exec(t, "insert into t values (1, 1)")
	<-reached
	// At once, so that both are in the next round; the mark, since other tests write behind the last insert.
	mark := r.lsn("begin; insert into t values (2, 2); commit; select pg_current_wal_lsn(); begin; insert into t values (3, 'NaN'); commit")
	r.await("the next round is captured", func() bool {
		read, err := change.ParseLSN(run.Status().Read)
		return err == nil && read > mark
	})
	failing.Store(true)
	letGo()
	r.await("t has stopped", func() bool { return run.table("public.t").State == pipeline.Failed })
	run.stop()
	r.lake = lake
	r.stopped(r.once(), "public.t", "NaN")
	if got := r.column("t", "id"); got != "1 2" {
		t.Errorf("t holds %q", got)
	}
}

// TestCutBehind asks for a cut at a position that the lake has passed.
func TestCutBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT)
	run := r.start(func(o *options) { o.Interval = 1 }) // every chunk is a round
	for i := range 20 {
		r.db.Exec(t, fmt.Sprintf("insert into t values (%d, 'a')", i))
		behind := r.lsn("select pg_current_wal_lsn()")
		r.db.Exec(t, fmt.Sprintf("insert into t values (%d, 'b')", -1-i))
		r.await("the lake has it", func() bool {
			at, err := change.ParseLSN(run.table("public.t").Checkpoint)
			return err == nil && at > behind
		})
		if _, err := run.Cut(t.Context(), behind); err == nil {
			t.Fatalf("run %d: the lake is beyond %s and was cut there", i, behind)
		}
	}
	r.equal(run)
}

// TestCopyConnectionLost ends the server's side of a copy.
func TestCopyConnectionLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t select i, repeat('x', 1000) from generate_series(1, 60000) i")
	var once atomic.Bool
	run := r.start(func(o *options) {
		o.OnPhase = func(phase string) {
			if phase == "marker" && once.CompareAndSwap(false, true) {
				r.db.Exec(t, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like 'COPY%'")
			}
		}
	})
	r.await("t is copied after all", func() bool { return run.table("public.t").State == pipeline.Streaming })
	if !once.Load() {
		t.Error("no copy was ended")
	}
	r.equal(run)
	run.stop()
}

// TestRunAgain runs on one connector twice, as a retry does after an error that left
// the stream alive: the first must not hold the slot against the second.
func TestRunAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	source := r.source()
	for range 2 {
		p, _ := r.pipeline(func(o *options) { o.Once, o.Source = true, source })
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
