package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"lakefeed/change"
	"lakefeed/pipeline"
	"lakefeed/postgres"
)

// counting counts the snapshots that are opened.
type counting struct {
	*postgres.Connector
	snapshots atomic.Int32
}

func (c *counting) OpenSnapshot(ctx context.Context) (change.LSN, error) {
	c.snapshots.Add(1)
	return c.Connector.OpenSnapshot(ctx)
}

// TestCopiedTogether has many tables come at once, while they are written: they are copied
// side by side, under a few snapshots, and one that cannot be is in nobody's way.
func TestCopiedTogether(t *testing.T) {
	t.Parallel()
	const tables = 20
	r := newRig(t, schemaT)
	source := &counting{Connector: r.source()}
	run := r.start(func(o *options) { o.Source = source })
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	sql := []string{"create table bad (id int primary key, n numeric(5,2)); insert into bad values (1, 'NaN')"}
	for i := range tables {
		sql = append(sql, fmt.Sprintf("create table n%d (id int primary key, v text); insert into n%[1]d select i, 'x' from generate_series(1, 500) i", i))
	}
	r.db.Exec(t, "begin; "+strings.Join(sql, "; ")+"; commit", "create table went (id int primary key)", "drop table went")
	for i := range tables {
		r.db.Exec(t, fmt.Sprintf("update n%d set v = 'y' where id %% 3 = 0", i), fmt.Sprintf("delete from n%d where id = 7", i))
	}
	for i := range tables {
		r.await("it streams", func() bool { return run.table(fmt.Sprintf("public.n%d", i)).State == pipeline.Streaming })
	}
	r.await("bad stops", func() bool { return run.table("public.bad").State == pipeline.Failed })
	r.says(errors.New(run.table("public.bad").Error), "NaN")
	if n := source.snapshots.Load(); n > 5 {
		t.Errorf("%d snapshots for %d tables", n, tables)
	}
	r.db.Exec(t, "delete from bad")
	run.ask(pipeline.Resync, "public.bad")
	r.await("bad streams", func() bool { return run.table("public.bad").State == pipeline.Streaming })
	r.equal(run)
	run.stop()
	r.drain()
	r.equal(nil)
}

// TestLargeOnesAreCopiedAlone has tables come at once that are too large to be copied side by side,
// with what memory there is: each has a snapshot of its own, and none is opened for all.
func TestLargeOnesAreCopiedAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, schemaT)
	source := &counting{Connector: r.source()}
	run := r.start(func(o *options) { o.Source, o.MemoryBudget = source, 8<<20 })
	r.await("streaming", func() bool { return run.Status().State == pipeline.Streaming })
	large := "create table %[1]s (id int primary key, v text); insert into %[1]s select i, repeat('x', 1000) from generate_series(1, 1000) i; "
	r.db.Exec(t, "begin; "+fmt.Sprintf(large, "a")+fmt.Sprintf(large, "b")+"commit")
	for _, name := range []string{"public.a", "public.b"} {
		r.await("it streams", func() bool { return run.table(name).State == pipeline.Streaming })
	}
	if n := source.snapshots.Load(); n != 2 {
		t.Errorf("%d snapshots", n)
	}
	r.equal(run)
}
