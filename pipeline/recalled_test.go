package pipeline_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"lakefeed/pipeline"
	"lakefeed/storage"
	"lakefeed/storage/mem"
)

// flickering is a lake that answers once when it is asked what was asked for tables, and then does not.
type flickering struct {
	*elsewhere
	asked atomic.Int32 // since the lake came back
}

func (f *flickering) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	if strings.HasPrefix(name, f.under) && f.asked.Add(1) == 2 {
		f.away.Store(true)
	}
	return f.elsewhere.Get(ctx, name)
}

// TestRecalledLater has the lake come back, and what was asked for tables go away as it is to be read: the source may
// forget all the same, and no table is written before that is known.
func TestRecalledLater(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT, "create table other (id int primary key)", "insert into t values (1, 'a')")
	orders := &flickering{elsewhere: &elsewhere{Store: mem.New(), under: "_lakefeed/tables/"}}
	orders.asked.Store(2)
	lake := &elsewhere{Store: orders}
	r.lake, r.spool = lake, mem.New()
	r.mods = append(r.mods, retryLake, looksOften)
	r.drain()
	if _, err := pipeline.Instruct(t.Context(), r.lake, r.name, "public.other", pipeline.Pause, nil); err != nil {
		t.Fatal(err)
	}
	lake.away.Store(true)
	run := r.start()
	r.db.Exec(t, "insert into t values (2, 'b')", "insert into other values (2)")
	r.passes()
	orders.asked.Store(0)
	lake.away.Store(false)
	r.await("it has read in vain what was asked for", orders.away.Load)
	r.db.Exec(t, "insert into t values (3, 'c')", "insert into other values (3)")
	r.passes()
	if got := r.column("t", "id") + r.column("other", "id"); got != "1" {
		t.Errorf("the lake has rows %s", got)
	}
	orders.away.Store(false)
	r.await("it is in step", func() bool {
		return run.table("public.t").State == pipeline.Streaming && run.table("public.other").State == pipeline.Paused && r.spooled("t") == 0
	})
	if got := r.column("other", "id"); got != "" {
		t.Errorf("the table that is paused has rows %s", got)
	}
	run.ask(pipeline.Resume, "public.other")
	r.await("the other is in step", func() bool { return run.Status().State == pipeline.Streaming })
	r.equal(run)
}
