package pipeline_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"lakefeed/internal/long"
	"lakefeed/pipeline"
)

// logbook is a log that a test reads.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// count is how many of its lines have all of the words.
func (l *logbook) count(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
lines:
	for line := range strings.Lines(l.buf.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		n++
	}
	return n
}

// keepLog makes a pipeline write its log into the book.
func (l *logbook) keepLog(o *options) { o.Logger = slog.New(slog.NewTextHandler(l, nil)) }

// TestNewcomer makes tables while the pipeline runs: those that it takes are copied beside
// the stream, without a restart, and their changes follow.
func TestNewcomer(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	r.skip["left_out"] = true
	book := new(logbook)
	run := r.start(book.keepLog)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "create table left_out (id int primary key)", `create table "New" (id int primary key)`, `insert into "New" values (1), (2)`)
	r.await("it is copied", func() bool { return r.column("New", "id") == "1 2" })
	if s := run.table("public.left_out"); s.Table != "" {
		t.Errorf("a table that is left out is in the status: %+v", s)
	}
	r.db.Exec(t, `insert into "New" values (3)`, `delete from "New" where id = 1`, "insert into t values (2, 'b')")
	r.await("its changes follow", func() bool { return r.column("New", "id") == "2 3" })
	r.await("all stream", func() bool { return run.Status().State == pipeline.Streaming })
	r.equal(run)
	run.stop()
	if n := book.count("level=INFO", "tables are new in the source", "public.New"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	r.drain()
	r.equal(nil)
}

// TestMessagesOutliveLooks keeps the table of messages, which no catalog has, among the tables
// however often the catalogs are looked at.
func TestMessagesOutliveLooks(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	r.messages = func(string) bool { return true }
	run := r.start()
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "create table u (id int primary key)")
	r.await("a look has found the new table", func() bool { return run.table("public.u").Instant != "" })
	r.db.Exec(t, "insert into t values (2, 'b')", "select pg_logical_emit_message(true, 'outbox', 'kept')")
	r.await("the message comes", func() bool { return run.table("_lakefeed.messages").Rows > 0 })
}

// messages is the name of the table of logical messages.
const messages = "_lakefeed.messages"

// say is a statement that writes a logical message.
func say(content string) string {
	return "select pg_logical_emit_message(true, 'outbox', '" + content + "')"
}

// keeps waits until the lake has exactly these messages, in any order.
func (p *running) keeps(contents ...string) {
	p.r.t.Helper()
	p.r.await(fmt.Sprintf("the messages are %q", contents), func() bool {
		folder := p.table(messages).Path
		return folder != "" && slices.Equal(slices.Sorted(slices.Values(strings.Fields(p.r.columnIn(folder, "content")))), contents)
	})
}

// TestMessagesBesideTheStream has the table of messages come to a lake that is there, and copied anew because somebody
// wants it, while the pipeline runs: each time it begins empty, and keeps what comes.
func TestMessagesBesideTheStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	r.drain()
	r.messages = func(string) bool { return true }
	streams := func(run *running) {
		t.Helper()
		r.await("it streams", func() bool { return run.table(messages).State == pipeline.Streaming && !r.ordered(messages) })
	}
	run := r.start()
	streams(run)
	r.db.Exec(t, say("a"))
	run.keeps("a")
	run.ask(pipeline.Resync, messages)
	streams(run)
	run.keeps()
	r.db.Exec(t, say("b"))
	run.keeps("b")
	run.stop()
	r.db.Exec(t, say("c"))
	run = r.start()
	run.keeps("b", "c")
	r.equal(run)
}

// TestNewcomerIsRecorded looks at the record when the copy of a new table begins, and ends the
// process there: one that died behind its commit must not take the table for one that was left out
// for a while, and one that died before it copies it.
func TestNewcomerIsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT)
	noted, hold := make(chan string, 1), make(chan struct{})
	var armed atomic.Bool
	run := r.start(func(o *options) {
		o.OnPhase = func(phase string) {
			if phase != "copy" || !armed.CompareAndSwap(true, false) {
				return
			}
			b, _, err := r.lake.Get(t.Context(), "_lakefeed/progress/"+r.name)
			if err != nil {
				b = []byte(err.Error())
			}
			noted <- string(b)
			<-hold
		}
	})
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	armed.Store(true)
	r.db.Exec(t, "create table late (id int primary key)", "insert into late values (1)")
	if text := <-noted; !strings.Contains(text, `"public.late"`) {
		t.Errorf("the record when the copy began: %s", text)
	}
	run.cancel()
	close(hold)
	_ = run.end() // that it was cancelled
	r.db.Exec(t, "insert into late values (2)")
	run = r.start()
	r.await("it is copied", func() bool { return r.column("late", "id") == "1 2" })
	r.equal(run)
}

// TestLockedNewcomerLong starts while somebody has a lock on a table that is new: it waits, and the others
// do not wait for it.
func TestLockedNewcomerLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, schemaT)
	r.drain()
	r.db.Exec(t, "create table fresh (id int primary key)", "insert into fresh values (1)", "create table free (id int primary key)")
	lock, err := r.db.Conn(t).Begin(t.Context())
	if err == nil {
		_, err = lock.Exec(t.Context(), "lock table fresh in share mode")
	}
	if err != nil {
		t.Fatal(err)
	}
	run := r.start()
	r.await("the others stream", func() bool { return run.table("public.t").State == pipeline.Streaming })
	r.db.Exec(t, "insert into t values (1, 'a')", "insert into free values (2)")
	r.await("they go on", func() bool { return r.column("t", "id") == "1" && r.column("free", "id") == "2" })
	r.await("the locked one is tried again, and waits", func() bool {
		s := run.table("public.fresh")
		return s.State == pipeline.Failed && strings.Contains(s.Error, "lock") && !s.Again.IsZero()
	})
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.await("it is copied", func() bool { return r.column("fresh", "id") == "1" })
	r.equal(run)
}
