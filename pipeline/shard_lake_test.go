package pipeline_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"lakefeed/internal/long"
	"lakefeed/pipeline"
	"lakefeed/storage"
	"lakefeed/storage/mem"
)

// lakes gives the shards spools of their own, and each a way to the lake that may be cut.
func (r *shardRig) lakes() map[string]*elsewhere {
	ways := map[string]*elsewhere{}
	r.reading = map[string]*atomic.Bool{}
	for shard, one := range r.shards {
		way, reading := &elsewhere{Store: r.lake}, new(atomic.Bool)
		ways[shard], r.reading[shard], one.spool = way, reading, mem.New()
		one.mods = append(one.mods, retryLake, looksOften, func(o *options) {
			o.Lake = way
			o.OnPhase = func(phase string) {
				if phase == "capture" {
					reading.Store(true)
				}
			}
		})
	}
	return ways
}

// begun waits until shards, whose tables are in step, have come to read the log: before that a lake that is away ends
// the run, as a configuration does that is wrong.
func (r *shardRig) begun(runs map[string]*running) {
	r.t.Helper()
	for shard := range runs {
		r.shards[shard].await(shard+" reads the log", r.reading[shard].Load)
	}
}

// away waits until a shard goes on without the lake.
func (r *shardRig) away(runs map[string]*running, shard string) {
	r.t.Helper()
	r.shards[shard].await(shard+" is without the lake", func() bool { return strings.Contains(runs[shard].Status().Error, "is away") })
}

// TestShardsLakeAwayForOne has the lake away for the shard that opened the table: the others
// write it all the same.
func TestShardsLakeAwayForOne(t *testing.T) {
	t.Parallel()
	r := newShardRig(t, []string{"eu", "us"}, "create table items (id int primary key)", "insert into items values (1)")
	ways := r.lakes()
	var stumbled atomic.Int32
	r.shards["us"].mods = append(r.shards["us"].mods, func(o *options) {
		o.RetryTable = func(error) bool { stumbled.Add(1); return true }
	})
	runs := r.start("eu")
	r.streaming(runs, "items")
	runs["us"] = r.shards["us"].start()
	r.streaming(runs, "items")
	r.begun(runs)
	ways["eu"].away.Store(true)
	r.exec("eu", "insert into items values (2)")
	r.away(runs, "eu")
	r.exec("us", "insert into items values (2)")
	r.shards["us"].await("us goes on", func() bool { return len(r.rows("items", "id")) == 3 })
	if n := stumbled.Load(); n > 0 {
		t.Errorf("us could not write %d times, since the lake is away for eu", n)
	}
	ways["eu"].away.Store(false)
	r.streaming(runs, "items")
	r.equal(runs)
	r.want("items", "db_shard_source_partition id", "eu 1", "eu 2", "us 1", "us 2")
}

// TestShardsWithoutLakeLong has the lake away for all shards, while they run, when they start, and when
// one of them ends: changes go to the spools, and the lake is written as soon as it is back.
func TestShardsWithoutLakeLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newShardRig(t, []string{"eu", "us"}, "create table items (id int primary key)", "insert into items values (1)")
	lake := &elsewhere{Store: r.lake}
	r.setLake(lake)
	r.lakes()
	runs := r.start()
	r.streaming(runs, "items")
	r.begun(runs)
	lake.away.Store(true)
	for shard := range r.shards {
		r.exec(shard, "insert into items values (2)")
		r.away(runs, shard)
	}
	stopAll(map[string]*running{"eu": runs["eu"]})
	lake.away.Store(false)
	r.streaming(map[string]*running{"us": runs["us"]}, "items")
	r.equal(runs, "us")
	stopAll(runs)

	lake.away.Store(true)
	r.restart()
	runs = r.start()
	for shard, one := range r.shards {
		r.away(runs, shard)
		r.exec(shard, "insert into items values (3)")
		at := one.lsn("select pg_current_wal_lsn()")
		one.await("the source may forget", func() bool { return one.confirmed() >= at })
	}
	lake.away.Store(false)
	r.streaming(runs, "items")
	r.equal(runs)
	if n := len(r.rows("items", "id")); n != 6 {
		t.Errorf("%d rows in the lake", n)
	}
	for _, run := range runs {
		if s := run.table("public.items").State; s != pipeline.Streaming {
			t.Errorf("it is %s", s)
		}
	}
}

// TestShardsLockTaken has the lock that shards share taken by another process while the lake is away for one of them:
// it writes nothing more.
func TestShardsLockTaken(t *testing.T) {
	t.Parallel()
	r := newShardRig(t, []string{"eu"}, "create table items (id int primary key)", "insert into items values (1)")
	ways := r.lakes()
	runs := r.start()
	r.streaming(runs, "items")
	r.begun(runs)
	ways["eu"].away.Store(true)
	r.exec("eu", "insert into items values (2)")
	r.away(runs, "eu")
	r.shards["eu"].must(r.lake.Put(t.Context(), "_lakefeed/lock/"+r.name, []byte(`{"id": "another", "host": "elsewhere", "pid": 1}`)))
	ways["eu"].away.Store(false)
	r.shards["eu"].says(runs["eu"].await(), "lock in the lake is no longer this process's")
	r.want("items", "id", "1")
}

// setLake gives all shards another lake, before they run.
func (r *shardRig) setLake(lake storage.Store) {
	r.lake = lake
	for _, one := range r.shards {
		one.lake = lake
	}
	r.restart()
}

// unanswered is a lake that loses the answer to a commit of a table, and is away from then on.
type unanswered struct {
	*elsewhere
	armed atomic.Bool
}

func (s *unanswered) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, s.under) && strings.HasSuffix(name, ".deltacommit") && s.armed.CompareAndSwap(true, false) {
		err := s.Store.PutIfAbsent(ctx, name, data)
		s.away.Store(true)
		if err == nil {
			err = errNoRoute
		}
		return err
	}
	return s.elsewhere.PutIfAbsent(ctx, name, data)
}

// TestShardsCommitWithoutAnswer loses the answer to a commit of one shard: another that commits before
// it looks again carries its checkpoint on as the table has it.
func TestShardsCommitWithoutAnswer(t *testing.T) {
	t.Parallel()
	r := newShardRig(t, []string{"eu", "us"}, "create table items (id int primary key, v text)", "alter table items alter v set storage external",
		"insert into items select 1, repeat('x', 5000)")
	lake := &unanswered{elsewhere: &elsewhere{Store: r.lake, under: "public/"}}
	r.setLake(lake)
	failed, goOn := make(chan struct{}), make(chan struct{})
	r.mods = append(r.mods, retryLake)
	r.shards["eu"].mods = append(r.shards["eu"].mods, func(o *options) {
		o.RetryTable = func(error) bool {
			select {
			case <-failed:
			default:
				close(failed)
				<-goOn
			}
			return true
		}
	})
	runs := r.start()
	r.streaming(runs, "items")
	before, _ := r.checkpoints("items")
	lake.armed.Store(true)
	r.exec("eu", "update items set id = 2") // whose large value is not in the log
	<-failed
	lake.away.Store(false)
	stands, _ := r.checkpoints("items")
	if stands["eu"] <= before["eu"] {
		t.Fatalf("the commit does not stand: %v, %v before", stands, before)
	}
	r.exec("us", "insert into items values (2)")
	r.shards["us"].await("us goes on", func() bool { return len(r.rows("items", "id")) == 3 })
	if after, _ := r.checkpoints("items"); after["eu"] != stands["eu"] {
		t.Errorf("the checkpoint of eu was %s and is %s", stands["eu"], after["eu"])
	}
	close(goOn)
	r.streaming(runs, "items")
	r.exec("eu", "update items set id = 3")
	r.equal(runs)
}
