package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	"lakefeed/pipeline"
)

// newSignalRig is a rig with a signal table as Debezium's documentation has it.
func newSignalRig(t *testing.T, sql ...string) *rig {
	t.Helper()
	r := newRig(t, append(sql, "create table signals (id varchar(42) primary key, type varchar(32) not null, data varchar(2048))")...)
	r.signals, r.skip["signals"] = [2]string{"public", "signals"}, true
	return r
}

// signal is a statement that asks for something.
func signal(id, kind, data string) string {
	return fmt.Sprintf("insert into signals values ('%s', '%s', '%s')", id, kind, strings.ReplaceAll(data, "'", "''"))
}

// signalled waits until a signal was obeyed, or refused.
func (p *running) signalled(id string) (now pipeline.SignalStatus) {
	p.r.t.Helper()
	p.r.await("signal "+id+" is obeyed", func() bool {
		s := p.Status().Signal
		if s == nil || s.ID != id {
			return false
		}
		now = *s
		return true
	})
	return now
}

const someRows = `{"data-collections": ["public\\.(t|nosuch)"], "type": "INCREMENTAL", "additional-conditions": [{"data-collection": "public.t", "filter": "id % 5 < 2"}]}`

// TestSignals asks for everything by the signal table.
func TestSignals(t *testing.T) {
	t.Parallel()
	r := newSignalRig(t, append(spoilable, "create table other (id int primary key)", "create table log (n int)")...)
	r.drain()
	r.spoil()
	var log logbook
	run := r.meeting(false, []string{"begin", signal("wait", "pause-snapshot", ""), "commit"}, log.keepLog)
	r.db.Exec(t, signal("some", "execute-snapshot", someRows))
	r.await("it is paused", func() bool {
		s := run.table("public.t").Snapshot
		return s != nil && s.State == pipeline.SnapshotPaused
	})
	if log.count("rows were read anew") != 0 {
		t.Error("the rows were read")
	}
	r.db.Exec(t, signal("go", "resume-snapshot", `{"type": "incremental"}`))
	if s := run.made(""); s.State != pipeline.SnapshotDone || s.Rows != 200 || !strings.HasPrefix(s.ID, "some@") {
		t.Errorf("it is %+v", s)
	}
	r.equal(run)

	for id, test := range map[string]struct{ kind, data, says string }{
		"json":     {"execute-snapshot", `{"data-collections": "public.t"`, "JSON"},
		"kind":     {"vacuum", "", `no signals of type "vacuum" are known`},
		"pattern":  {"execute-snapshot", `{"data-collections": ["public.(t"]}`, "missing closing )"},
		"anchored": {"execute-snapshot", `{"data-collections": ["ublic.t", "public"]}`, "no table of the pipeline matches"},
		"none":     {"execute-snapshot", `{"type": "incremental"}`, "names no data-collections"},
		"type":     {"execute-snapshot", `{"data-collections": ["public.t"], "type": "fast"}`, "want incremental or blocking"},
		"keyless":  {"execute-snapshot", `{"data-collections": ["public.log"], "additional-condition": "n = 1"}`, "append-only"},
	} {
		r.db.Exec(t, signal(id, test.kind, test.data))
		if s := run.signalled(id); !strings.Contains(s.Error, test.says) || s.Did != "" {
			t.Errorf("%s: %+v", id, s)
		}
	}
	r.db.Exec(t, signal("hello", "log", `{"message": "we are at {}"}`))
	if s := run.signalled("hello"); s.Did != "we are at "+s.LSN || log.count(s.Did) == 0 {
		t.Errorf("%+v", s)
	}
	// What never begins can be stopped, by a command too.
	r.db.Exec(t, "begin; "+signal("never", "execute-snapshot", someRows)+"; "+signal("pause", "pause-snapshot", `{"data-collections": ["public.t"]}`)+"; commit")
	run.signalled("pause")
	run.ask(pipeline.StopSnapshot, "public.t")
	if s := run.table("public.t").Snapshot; s.State != pipeline.SnapshotStopped {
		t.Errorf("it is %+v", s)
	}
	if _, err := run.Instruct(t.Context(), "public.t", pipeline.ResumeSnapshot); err == nil {
		t.Error("what was stopped goes on")
	}
	if got := r.column("signals", "id"); got != "?" {
		t.Errorf("the signal table is in the lake: %s", got)
	}
}

// TestSignalsForTables copies whole tables, one that was removed too.
func TestSignalsForTables(t *testing.T) {
	t.Parallel()
	r := newSignalRig(t, append(spoilable, "create table other (id int primary key)", "insert into other values (1)")...)
	r.drain()
	r.spoil()
	run := r.start(looksOften)
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	run.ask(pipeline.Remove, "public.other")
	r.await("it is gone", func() bool { return run.table("public.other").Table == "" })
	r.db.Exec(t, "insert into other values (2)", signal("all", "execute-snapshot", `{"data-collections": ["public\\..*"], "type": "blocking"}`))
	if s := run.signalled("all"); s.Error != "" || s.Did != "public.other is copied anew, public.t is copied anew" {
		t.Errorf("%+v", s)
	}
	r.await("both are copied", func() bool {
		return r.column("other", "id") == "1 2" && !r.ordered("public.t") && !r.ordered("public.other") && run.Status().State == pipeline.Streaming
	})
	r.equal(run)
}

// TestSignalsLeaveMessages asks for copies of all tables: that of logical messages, of which a copy would be empty,
// stays as it is.
func TestSignalsLeaveMessages(t *testing.T) {
	t.Parallel()
	r := newSignalRig(t, schemaT, "insert into t values (1, 'a')")
	r.messages = func(string) bool { return true }
	run := r.start()
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, say("kept"))
	run.keeps("kept")
	was := run.table("public.t").Instant
	r.db.Exec(t, signal("all", "execute-snapshot", `{"data-collections": [".*"]}`))
	if s := run.signalled("all"); s.Error != "" || s.Did != "public.t is copied anew" {
		t.Errorf("%+v", s)
	}
	r.await("it is copied", func() bool { return run.table("public.t").Instant != was && run.Status().State == pipeline.Streaming })
	run.keeps("kept")
}

// TestSignalOnce ends the process between what a signal asked for and the acknowledgement of it: the
// next reads it again, and does not obey it again.
func TestSignalOnce(t *testing.T) {
	t.Parallel()
	r := newSignalRig(t, spoilable...)
	r.drain()
	r.spoil()
	r.db.Exec(t, signal("some", "execute-snapshot", someRows), signal("all", "execute-snapshot", `{"data-collections": ["public.t"]}`))
	var log logbook
	r.cutAt("signal noted", 2, nil, log.keepLog)
	at := r.confirmed()
	run := r.start(log.keepLog)
	r.await("the rows are read and the table is copied", func() bool {
		return log.count("rows were read anew") == 1 && !r.ordered("public.t") && run.Status().State == pipeline.Streaming
	})
	r.equal(run)
	r.await("the signals are acknowledged", func() bool { return r.confirmed() > at })
	run.stop()
	r.drain()
	if n := log.count("msg=\"a signal is obeyed\""); n > 2 || log.count("rows were read anew") != 1 {
		t.Errorf("%d signals are obeyed, %d times rows are read", n, log.count("rows were read anew"))
	}
	r.equal(nil)
}
