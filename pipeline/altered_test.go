package pipeline_test

import (
	"sync"
	"testing"
	"time"

	"lakefeed/internal/long"
	"lakefeed/pipeline"
)

// TestAlteredBeforeCopyLong alters tables between their description and the snapshot under which they
// are copied: what the copy lacks would be in no log.
func TestAlteredBeforeCopyLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, alter := range map[string][]string{
		"a column is added":   {"alter table fresh add w int", "update fresh set w = id"},
		"a column is dropped": {"alter table fresh drop v"},
		"a column is renamed": {"alter table fresh rename v to w"},
		"another type":        {"alter table fresh alter v type int using length(v)"},
		"another column":      {"alter table fresh drop v", "alter table fresh add v text", "update fresh set v = id"},
		"another key":         {"alter table fresh drop constraint fresh_pkey, add primary key (v)"},
		"made anew":           {"drop table fresh", "create table fresh (n int primary key)", "insert into fresh values (1)"},
		"another name":        {"alter table fresh rename to older", "create table fresh (n int primary key)", "insert into fresh values (1)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, schemaT, "insert into t values (1, 'a')")
			run := r.start()
			r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
			before := r.db.Conn(t) // whose end the snapshot waits for
			if _, err := before.Exec(t.Context(), "begin; insert into t values (2, 'b')"); err != nil {
				t.Fatal(err)
			}
			r.db.Exec(t, "create table fresh (id int primary key, v text not null)", "insert into fresh select i, repeat('x', i) from generate_series(1, 9) i")
			r.await("the copy waits", func() bool {
				return r.query("select count(*) from pg_locks where locktype = 'transactionid' and not granted and pid in (select pid from pg_stat_activity where datname = '%s')", r.db.Name) == "1"
			})
			r.db.Exec(t, alter...)
			if _, err := before.Exec(t.Context(), "commit"); err != nil {
				t.Fatal(err)
			}
			r.await("it streams", func() bool { return run.table("public.fresh").State == pipeline.Streaming })
			r.db.Exec(t, "delete from fresh where ctid = '(0,1)'", "create table last (id int primary key)")
			r.await("all stream", func() bool {
				return run.table("public.last").State == pipeline.Streaming && run.Status().State == pipeline.Streaming
			})
			r.equal(run)
			run.stop()
		})
	}
}

// TestCopyAheadOfStream copies tables while the stream still has changes of before the copy: they
// are in the copy already.
func TestCopyAheadOfStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table keyless (v text)", "create table keyed (id int primary key, n int, v text)", "alter table keyed alter v set storage external",
		"insert into keyed values (1, 0, repeat('x', 5000)), (2, 0, 'b')")
	run := r.start(func(o *options) { o.Interval = 2 * time.Second })
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "insert into keyless values ('once')", "update keyed set n = 1", "delete from keyed where id = 1")
	r.await("the round is open", func() bool {
		return run.table("public.keyed").Freshness > 0 && run.table("public.keyless").Freshness > 0
	})
	was := r.recorded()
	for _, name := range []string{"keyless", "keyed"} {
		instant := run.table("public." + name).Instant
		run.ask(pipeline.Resync, "public."+name)
		r.await("it is copied", func() bool { return run.table("public."+name).Instant > instant })
	}
	if r.recorded() != was {
		t.Skip("the round was written meanwhile: the machine is slow")
	}
	at := r.lsn("select pg_current_wal_lsn()")
	r.await("the round is written", func() bool { return r.confirmed() >= at })
	r.await("all stream", func() bool { return run.Status().State == pipeline.Streaming })
	if got := r.column("keyless", "v"); got != "once" {
		t.Errorf("the table without a key has %q", got)
	}
	if got := r.column("keyed", "id"); got != "2" {
		t.Errorf("the table with a key has %q", got)
	}
	r.db.Exec(t, "insert into keyless values ('more')", "update keyed set n = 2")
	r.await("they go on", func() bool { return r.column("keyless", "v") == "once more" && r.column("keyed", "n") == "2" })
	r.equal(run)
	run.stop()
}

// TestAlteredInFirstCopy alters tables between the look at them and the first copy: none of its
// snapshots shows them as they are described any more, and the start must not wait for one that does.
func TestAlteredInFirstCopy(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')", "create table u (id int primary key, v text)", "insert into u values (1, 'b')")
	var once sync.Once
	run := r.start(func(o *options) {
		o.OnPhase = func(phase string) {
			if phase == "copy" {
				once.Do(func() { r.db.Exec(t, "alter table t rename v to w", "alter table u alter v type int using length(v)") })
			}
		}
	})
	for _, table := range []string{"public.t", "public.u"} {
		r.await("it streams", func() bool { return run.table(table).State == pipeline.Streaming })
	}
	r.db.Exec(t, "insert into t values (2, 'c')", "insert into u values (2, 7)")
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}
