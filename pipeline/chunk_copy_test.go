package pipeline_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/internal/long"
	"lakefeed/pipeline"
	"lakefeed/storage"
	"lakefeed/storage/mem"
)

// chunky lets every table with a key be copied in chunks, and small ones.
func chunky(o *options) { o.Bootstrap = pipeline.Bootstrap{ResumeAbove: 1, ChunkBytes: 200_000} }

// toasted is a table of 3000 rows in some ten chunks, of which every tenth has a value outside
// of its block.
var toasted = []string{
	"create table t (id int primary key, n int, v text, big text)", "alter table t alter big set storage external",
	`insert into t select i, 0, repeat('x', 600), case when i % 10 = 0 then repeat(md5(i::text), 100) end from generate_series(1, 3000) i`,
	"vacuum analyze t",
}

// stormy changes rows in every way that a copy may meet: rows that move to other blocks, keys
// that change, without the values outside of their blocks, and come again; rows that go.
var stormy = []string{
	"update t set n = n + 1 where id % 20 = 0",                      // big is not in the log
	"update t set id = id + 100000 where id % 170 = 0",              // nor is it here
	"update t set v = repeat('y', 700), n = n + 1 where id % 3 = 0", // they move
	"delete from t where id % 77 = 0",
	"insert into t select i, 5, 'new', repeat('z', 4000) from generate_series(170, 3000, 340) i on conflict do nothing",
	"insert into t select i, 7, 'new', null from generate_series(4000, 4200) i",
	"update t set big = repeat('b', 5000) where id % 40 = 0",
	"update t set n = n + 1 where id % 50 = 0",
}

// cutAt ends a run as it enters a phase for the n-th time, before anything more is done.
func (r *rig) cutAt(phase string, n int32, during []string, mods ...func(*options)) {
	r.t.Helper()
	var seen atomic.Int32
	reached, stopped := make(chan struct{}), make(chan struct{})
	run := r.start(append(mods, func(o *options) {
		o.OnPhase = func(now string) {
			if now != phase {
				return
			}
			switch k := seen.Add(1); {
			case k == n:
				close(reached)
				<-stopped
			case k > n:
				<-stopped
			}
		}
	})...)
	select {
	case <-reached:
	case <-time.After(25 * time.Second):
		r.t.Fatalf("it never came to %q a %d. time: %+v", phase, n, run.table("public.t"))
	}
	r.db.Exec(r.t, during...)
	run.cancel()
	close(stopped)
	_ = run.end()
}

// staged is how many parts of chunks are noted in the lake.
func (r *rig) staged() (n int) {
	r.t.Helper()
	for info, err := range r.lake.List(r.t.Context(), "_lakefeed/bootstrap", true) {
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.HasSuffix(info.Name, ".json") && !strings.HasSuffix(info.Name, "stage.json") {
			n++
		}
	}
	return n
}

// reads counts the chunks that a run reads.
func reads(n *atomic.Int32) func(*options) {
	return func(o *options) {
		o.OnPhase = func(phase string) {
			if phase == "chunk read" {
				n.Add(1)
			}
		}
	}
}

// TestChunkCopy copies a table in chunks while it is changed.
func TestChunkCopy(t *testing.T) {
	t.Parallel()
	for name, table := range map[string]func(*change.Table) pipeline.TableOptions{
		"plain":       nil,
		"partitioned": partitionedBy(t, "n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, toasted...)
			r.table = table
			var n atomic.Int32
			run := r.start(chunky, reads(&n))
			r.db.Exec(t, stormy...)
			r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
			if n.Load() < 5 || r.staged() != 0 {
				t.Errorf("%d chunks, of which %d are left in the lake", n.Load(), r.staged())
			}
			if s := run.table("public.t"); s.CopyRows != 3000 && s.CopyRows < 2900 || s.CopyChunks != s.CopyChunksDone || s.CopyChunks < 5 {
				t.Errorf("its status is %+v", s)
			}
			r.equal(run)
		})
	}
}

// TestChunkCopyGoesOnLong interrupts a copy at each of its steps, while the table is changed, and
// lets it go on.
func TestChunkCopyGoesOnLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, table := range []string{"plain", "partitioned"} {
		for _, cut := range []struct {
			phase string
			n     int32
		}{{"chunk read", 3}, {"chunk staged", 4}, {"chunk noted", 5}, {"merge", 1}, {"data file", 1}, {"copied", 1}} {
			t.Run(fmt.Sprint(table, " ", cut.phase), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, toasted...)
				if table == "partitioned" {
					r.table = partitionedBy(t, "n")
				}
				r.cutAt(cut.phase, cut.n, stormy[:5], chunky)
				had := r.staged()
				if had == 0 && cut.phase != "copied" {
					t.Fatal("nothing is staged")
				}
				if ids := r.column("t", "id"); cut.phase != "copied" && ids != "?" && ids != "" {
					t.Error("half a table is shown")
				}
				var n atomic.Int32
				r.db.Exec(t, stormy[5])
				if cut.phase == "chunk noted" {
					r.cutAt("catch up", 1, nil, chunky)
					had = 17
				}
				run := r.start(chunky, reads(&n))
				r.db.Exec(t, stormy[6:]...)
				r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
				if int(n.Load())+had != 17 && cut.phase != "copied" {
					t.Errorf("%d chunks are read again, of which %d were there", n.Load(), had)
				}
				r.equal(run)
				run.stop()
				r.drain()
				r.equal(nil)
			})
		}
	}
}

// TestChunkCopyOnce copies in chunks with Once, interrupted and not.
func TestChunkCopyOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, toasted...)
	r.mods = append(r.mods, chunky, func(o *options) { o.Once = true })
	r.cutAt("chunk noted", 3, stormy)
	had := r.staged()
	if had < 3 {
		t.Fatalf("%d chunks are staged", had)
	}
	var n atomic.Int32
	if err := r.once(reads(&n)); err != nil {
		t.Fatal(err)
	}
	if int(n.Load())+had != 17 {
		t.Errorf("%d chunks are read again, of which %d were there", n.Load(), had)
	}
	r.equal(nil)
}

// TestChunkCopyManyChanges changes more keys of a partitioned table while its copy is interrupted than there is room for
// in memory, and moves rows to other partitions: what was read counts.
func TestChunkCopyManyChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, n int, v text)", "insert into t select i, i % 3, repeat('x', 300) from generate_series(1, 10000) i", "analyze t")
	r.table = partitionedBy(t, "n")
	r.mods = append(r.mods, chunky, func(o *options) { o.MemoryBudget = 256 << 10 })
	r.cutAt("chunk noted", 5, []string{"update t set n = id % 5 where id % 50 <> 0", "delete from t where id % 77 = 0", "update t set id = -id where id % 91 = 0"})
	had := r.staged()
	var n atomic.Int32
	run := r.start(reads(&n))
	r.db.Exec(t, "update t set n = n + 1 where id % 40 = 0")
	r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	if all := run.table("public.t").CopyChunks; int(n.Load())+had != all {
		t.Errorf("%d chunks are read, of %d, of which %d were there", n.Load(), all, had)
	}
	r.equal(run)
}

// TestStaleCopyLetsOthersPass has a lake that loses what is staged of one table again and again: one that comes
// meanwhile is copied all the same.
func TestStaleCopyLetsOthersPass(t *testing.T) {
	t.Parallel()
	r := newRig(t, toasted...)
	var lost atomic.Int32
	lake := &forgetful{Store: mem.New(), lost: &lost}
	lake.on.Store(true)
	r.lake = lake
	run := r.start(chunky)
	r.await("it is copied again and again", func() bool { return lost.Load() > 2 })
	r.db.Exec(t, "create table u (id int primary key)", "insert into u values (1)")
	r.await("another one is copied", func() bool { return r.column("u", "id") == "1" })
	lake.on.Store(false)
	r.await("it is copied", func() bool { return run.table("public.t").State == pipeline.Streaming })
	r.equal(run)
}

// forgetful loses the rows that are staged of one table.
type forgetful struct {
	storage.Store
	on   atomic.Bool
	lost *atomic.Int32
}

func (f *forgetful) Open(ctx context.Context, name string) (storage.Reader, error) {
	if f.on.Load() && strings.HasPrefix(name, "_lakefeed/bootstrap/") && strings.Contains(name, "public%2Et/") && strings.HasSuffix(name, ".arrow") {
		f.lost.Add(1)
		return nil, storage.ErrNotExist
	}
	return f.Store.Open(ctx, name)
}

// TestChunkCopyBeginsAnewLong makes what is staged useless, in each of the ways there are.
func TestChunkCopyBeginsAnewLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, sql := range map[string][]string{
		"truncated":   {"truncate t", "insert into t values (1, 1, 'a', 'b')"},
		"rewritten":   {"delete from t where id < 100", "vacuum full t"},
		"altered":     {"alter table t add w int default 7", "update t set w = 8 where id = 10"},
		"other key":   {"alter table t drop constraint t_pkey, add primary key (id, n)", "update t set n = 4 where id < 100"},
		"dropped":     {"drop table t", "create table t (id int primary key, z text)", "insert into t values (3, 'c')"},
		"unpublished": {"select 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, toasted...)
			r.cutAt("chunk noted", 3, nil, chunky)
			if name == "unpublished" {
				r.db.Exec(t, fmt.Sprintf("alter publication %s drop table t", r.slot()), "update t set n = 9", fmt.Sprintf("alter publication %s add table t", r.slot()))
			}
			r.db.Exec(t, sql...)
			run := r.start(chunky)
			r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
			r.equal(run)
		})
	}
}

// TestChunkCopyLostRunLong damages a run that is staged: it is noticed, and the copy begins anew.
func TestChunkCopyLostRunLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, toasted...)
	r.cutAt("chunk noted", 3, stormy, chunky)
	for info, err := range r.lake.List(t.Context(), "_lakefeed/bootstrap", true) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(info.Name, ".arrow") {
			b, _, err := r.lake.Get(t.Context(), info.Name)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := r.lake.Put(t.Context(), info.Name, b); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	run := r.start(chunky)
	r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	r.equal(run)
}

// partitionedBy lays tables out by a column.
func partitionedBy(t testing.TB, column string) func(*change.Table) pipeline.TableOptions {
	t.Helper()
	f, err := pipeline.ParsePartitionField(column)
	if err != nil {
		t.Fatal(err)
	}
	return func(*change.Table) pipeline.TableOptions {
		return pipeline.TableOptions{PartitionBy: []pipeline.PartitionField{f}}
	}
}

// TestChunkCopySurvivesValidate brings the lake to a position, as `validate` does, while a copy is
// interrupted, a first one and a later one: it stays as it was, and the table is not compared.
func TestChunkCopySurvivesValidate(t *testing.T) {
	t.Parallel()
	r := newRig(t, append(toasted, "create table other (id int primary key)")...)
	r.mods = append(r.mods, chunky)
	for _, first := range []bool{true, false} {
		if !first {
			hold := make(chan struct{})
			run := r.start(func(o *options) {
				o.OnPhase = func(phase string) {
					if phase == "copy" {
						<-hold
					}
				}
			})
			r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
			run.ask(pipeline.Resync, "public.t")
			run.cancel()
			close(hold)
			_ = run.end() // in the middle of a copy, perhaps
		}
		r.cutAt("chunk noted", 3, stormy[:2])
		had := r.staged()
		r.db.Exec(t, stormy[2:4]...)
		r.db.Exec(t, "insert into other select count(*) from other")
		report, err := r.validation(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range report.Tables {
			if v.Table == "public.other" != v.OK() || !v.OK() && !strings.Contains(v.Error, "not in step") {
				t.Errorf("%+v", v)
			}
		}
		if had < 3 || r.staged() != had {
			t.Errorf("%d parts were there, and are %d", had, r.staged())
		}
		var n atomic.Int32
		run := r.start(reads(&n))
		r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
		if s := run.table("public.t"); int(n.Load())+had != s.CopyChunks {
			t.Errorf("%d chunks are read, of %d, of which %d were there", n.Load(), s.CopyChunks, had)
		}
		r.equal(run)
		run.stop()
	}
}
