package pipeline_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

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

// TestNewcomer makes tables while the pipeline runs: it says once of those that it
// would take that the next start copies them, and forgets one that goes away.
func TestNewcomer(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "insert into t values (1, 'a')")
	r.skip["left_out"] = true
	book := new(logbook)
	run := r.start(book.keepLog)
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	r.db.Exec(t, "create table left_out (id int primary key)", "create table gone (id int primary key)",
		`create table "New" (id int primary key)`, `insert into "New" values (1), (2)`)
	r.await("new tables are seen", func() bool { return run.table("public.gone").Note != "" })
	if s := run.table("public.New"); s.State != pipeline.Waiting || !strings.Contains(s.Note, "next start") {
		t.Errorf("status %+v", s)
	}
	if s := run.table("public.left_out"); s.Table != "" {
		t.Errorf("a table that is left out is in the status: %+v", s)
	}
	if s := run.Status().State; s != pipeline.Streaming {
		t.Errorf("the pipeline is %s", s)
	}
	r.db.Exec(t, "drop table gone")
	r.await("it is gone", func() bool { return run.table("public.gone").Table == "" })
	run.stop()
	if n := book.count("level=WARN", "not yet taken in", "table=public.New"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	r.drain()
	r.equal(nil)
	if got := r.column("New", "id"); got != "1 2" {
		t.Errorf("the new table holds %q", got)
	}
}
