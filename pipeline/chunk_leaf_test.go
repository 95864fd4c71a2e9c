package pipeline_test

import (
	"sync/atomic"
	"testing"

	"lakefeed/pipeline"
)

// divided is [toasted] in two partitions, by ranges of its key.
var divided = []string{
	"create table t (id int primary key, n int, v text) partition by range (id)",
	"create table t1 partition of t for values from (0) to (1500)", "create table t2 partition of t for values from (1500) to (10000)",
	"insert into t select i, 0, repeat('x', 600) from generate_series(1, 3000) i", "analyze t",
}

// newLeaf is a partition that comes, with rows.
var newLeaf = []string{
	"create table t3 partition of t for values from (10000) to (20000)",
	"insert into t select i, 0, 'new' from generate_series(10000, 10100) i", "update t set n = 1 where id % 50 = 0",
}

// TestLeafComesWhileChunksAreRead has a partition come while a copy that was interrupted is finished:
// what was read of the others is not read again.
func TestLeafComesWhileChunksAreRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, divided...)
	r.cutAt("chunk noted", 3, nil, chunky)
	had := r.staged()
	var n, caught atomic.Int32
	run := r.start(chunky, func(o *options) {
		o.OnPhase = func(phase string) {
			switch {
			case phase == "chunk read" && n.Add(1) == 1:
				r.db.Exec(t, newLeaf[0])
			case phase == "catch up" && caught.Add(1) == 1:
				r.db.Exec(t, newLeaf[1:]...)
			}
		}
	})
	r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	if all := run.table("public.t").CopyChunks; int(n.Load())+had != all || caught.Load() != 2 {
		t.Errorf("%d chunks are read again, of %d, of which %d were there; it caught up %d times", n.Load(), all, had, caught.Load())
	}
	r.equal(run)
}

// TestLeafLeavesForAWhile takes a partition out of a table while its copy is interrupted, changes
// it where the log does not tell, and puts it back: the copy begins anew.
func TestLeafLeavesForAWhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, divided...)
	r.cutAt("chunk noted", 9, []string{
		"alter table t detach partition t1", "update t1 set v = 'unseen' where id < 700", "alter table t attach partition t1 for values from (0) to (1500)",
	}, chunky)
	run := r.start(chunky)
	r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	r.equal(run)
}

// TestLeafComesOnStandby has a partition come while chunks are read on a standby: none is read twice.
func TestLeafComesOnStandby(t *testing.T) {
	t.Parallel()
	p := newSnapshotRig(t, 15, nil, divided...)
	p.caughtUp()
	source := &held{Connector: p.source(), meet: func() { p.db.Exec(t, newLeaf...); p.caughtUp() }}
	var n atomic.Int32
	run := p.start(fromStandby, reads(&n), func(o *options) { o.Source, o.Bootstrap.Readers = source, 1 })
	p.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	if all := run.table("public.t").CopyChunks; int(n.Load()) != all {
		t.Errorf("%d chunks are read, of %d", n.Load(), all)
	}
	p.equal(run)
}

// TestChunkCopyGoesOnWhateverIsConfigured lets a copy go on in chunks though the table is not one now
// that would be copied so, as where a standby is named no more.
func TestChunkCopyGoesOnWhateverIsConfigured(t *testing.T) {
	t.Parallel()
	r := newRig(t, toasted...)
	r.cutAt("chunk noted", 3, stormy[:3], chunky)
	had := r.staged()
	var n atomic.Int32
	run := r.start(reads(&n), func(o *options) { o.Bootstrap.ChunkBytes = 200_000 })
	r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	if int(n.Load())+had != 17 {
		t.Errorf("%d chunks are read, of which %d were there", n.Load(), had)
	}
	r.equal(run)
}

// TestChunksOfUnloggedPartition copies a table in chunks of which one partition is unlogged: that is none of it.
func TestChunksOfUnloggedPartition(t *testing.T) {
	t.Parallel()
	r := newRig(t, append(divided, "create unlogged table t3 partition of t for values from (10000) to (20000)", "insert into t values (10001, 0, 'in no log')")...)
	run := r.start(chunky)
	r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	if n := run.table("public.t").CopyChunks; n < 5 {
		t.Errorf("%d chunks", n)
	}
	r.equal(run)
}
