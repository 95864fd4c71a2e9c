package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/storage"
	"lakefeed/storage/storagetest"
)

// checkpoints are the positions of the shards in the newest commit of a table, and how many commits it has.
func (r *shardRig) checkpoints(table string) (at map[string]change.LSN, commits int) {
	r.t.Helper()
	t, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, "public/"+table), hudi.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	extras, err := t.LastExtras(r.t.Context(), "lakefeed.checkpoint.")
	if err != nil {
		r.t.Fatal(err)
	}
	at = map[string]change.LSN{}
	for key, text := range extras {
		var c struct {
			LSN change.LSN `json:"lsn"`
		}
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			r.t.Fatal(err)
		}
		at[strings.TrimPrefix(key, "lakefeed.checkpoint.")] = c.LSN
	}
	return at, len(t.Timeline().Completed())
}

// One commit has what all shards bring, and the checkpoint of each; one that brings nothing keeps its own.
func TestShardsCommitTogether(t *testing.T) {
	t.Parallel()
	r := newShardRig(t, []string{"eu", "us", "asia"}, "create table items (id int primary key)", "insert into items values (1)")
	r.mods = append(r.mods, func(o *options) { o.Interval = 3 * time.Second })
	runs := r.start()
	r.streaming(runs, "items")
	before, commits := r.checkpoints("items")
	if commits != 3 || len(before) != 3 {
		t.Fatalf("%d commits of first copies, and checkpoints %v", commits, before)
	}
	r.exec("eu", "insert into items values (2)")
	r.exec("us", "insert into items values (2)", "insert into items values (3)")
	r.shards["eu"].await("the rows are there", func() bool { return len(r.rows("items", "id")) == 6 })
	after, commits := r.checkpoints("items")
	if commits != 4 {
		t.Errorf("%d commits, want one for both shards", commits-3)
	}
	if after["eu"] <= before["eu"] || after["us"] <= before["us"] || after["asia"] != before["asia"] {
		t.Errorf("checkpoints were %v and are %v", before, after)
	}
	r.want("items", "db_shard_source_partition id", "asia 1", "eu 1", "eu 2", "us 1", "us 2", "us 3")
}

// Where the shard is no part of the keys, a key that two shards have stops the later one, touches no row of the
// other, and passes when one of the two is gone.
func TestShardClash(t *testing.T) {
	t.Parallel()
	for _, by := range [][]pipeline.PartitionField{nil, {{Column: "kind"}}} {
		t.Run(fmt.Sprint(by), func(t *testing.T) {
			t.Parallel()
			r := newShardRig(t, []string{"eu", "us"}, "create table items (id int primary key, kind text not null, body text)")
			r.inKey = false
			r.exec("eu", "insert into items values (1, 'a', 'eu'), (2, 'b', 'eu')")
			r.exec("us", "insert into items values (11, 'a', 'us'), (12, 'b', 'us')")
			r.mods = append(r.mods, func(o *options) {
				o.Table = func(*change.Table) pipeline.TableOptions { return pipeline.TableOptions{Buckets: 2, PartitionBy: by} }
				o.RetryTable = func(err error) bool { _, ok := errors.AsType[*pipeline.ShardClashError](err); return ok }
			})
			runs := r.start()
			r.streaming(runs, "items")
			stops := func(why ...string) {
				t.Helper()
				r.shards["us"].await("us has stopped", func() bool { return runs["us"].table("public.items").State == pipeline.Failed })
				r.shards["us"].says(errors.New(runs["us"].table("public.items").Error), why...)
			}
			r.exec("us", "insert into items values (1, 'b', 'us'), (13, 'a', 'us')")
			stops(`key "1"`, "shard us", "row of shard eu")
			r.exec("eu", "update items set body = 'still' where id = 1")
			r.shards["eu"].await("eu goes on", func() bool { return strings.Contains(strings.Join(r.rows("items", "id", "body"), ","), "1 still") })
			r.want("items", "id body db_shard_source_partition", "1 still eu", "11 us us", "12 us us", "2 eu eu")
			r.exec("us", "delete from items where id = 1")
			r.streaming(map[string]*running{"us": runs["us"]}, "items")
			r.want("items", "id body db_shard_source_partition", "1 still eu", "11 us us", "12 us us", "13 us us", "2 eu eu")

			// What empties one shard, or copies it anew, leaves the others alone, and meets a clash too.
			r.exec("us", "truncate items", "insert into items values (14, 'b', 'us')")
			r.shards["us"].await("us is emptied", func() bool { return len(r.rows("items", "id")) == 3 })
			r.exec("us", "truncate items", "insert into items values (2, 'c', 'us')")
			stops(`key "2"`, "row of shard eu")
			if _, err := runs["us"].Instruct(t.Context(), "public.items", pipeline.Resync); err != nil {
				t.Fatal(err)
			}
			r.shards["us"].await("its copy has met it", func() bool {
				return strings.Contains(runs["us"].table("public.items").Error, `copy: the row with key "2"`)
			})
			r.want("items", "id body db_shard_source_partition", "1 still eu", "14 us us", "2 eu eu")
			r.exec("eu", "delete from items where id = 2")
			r.streaming(map[string]*running{"us": runs["us"]}, "items")
			r.want("items", "id body db_shard_source_partition", "1 still eu", "2 us us")
			r.equal(runs)
		})
	}
}

// copies is the snapshot of the newest copy of a shard's table.
func (r *shardRig) copies(shard, table string) (at change.LSN) {
	r.t.Helper()
	t, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, "public/"+table), hudi.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	text, _, err := t.LastExtra(r.t.Context(), pipeline.CheckpointKey(r.name+"."+shard))
	var c struct {
		Copied change.LSN `json:"copied"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &c)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return c.Copied
}

// A shard that is migrated before the others brings its columns, which are null for them until they have it, and
// one whose types no column can hold together with the others' stops alone.
func TestShardsMigrateApart(t *testing.T) {
	t.Parallel()
	r := newShardRig(t, []string{"eu", "us"}, "create table items (id int primary key, n int, old text)", "insert into items values (1, 1, 'x'), (2, 2, 'x')")
	r.mods = append(r.mods, func(o *options) {
		o.Recopy = func(_ *change.Table, why *pipeline.AnewError) bool { return why.Schema }
	})
	runs := r.start()
	r.streaming(runs, "items")
	r.exec("eu", "alter table items add column tier text default 'gold'", "alter table items drop column old", "insert into items (id, n) values (3, 3)")
	r.exec("us", "insert into items values (3, 3, 'x')")
	r.equal(runs)
	r.want("items", "db_shard_source_partition id tier", "eu 1 gold", "eu 2 gold", "eu 3 gold", "us 1 (null)", "us 2 (null)", "us 3 (null)")
	r.exec("us", "alter table items add column tier text default 'tin'", "insert into items (id, n) values (4, 4)")
	r.exec("eu", "update items set n = 7 where id = 1")
	r.equal(runs)
	copies := r.copies("us", "items")
	r.exec("us", "alter table items alter column n type bigint", "update items set n = 5000000000 where id = 4") // every row was written anew
	r.shards["us"].await("us was copied anew", func() bool { return r.copies("us", "items") > copies })
	r.streaming(runs, "items")
	r.equal(runs)
	r.want("items", "db_shard_source_partition id tier", "eu 1 gold", "eu 2 gold", "eu 3 gold", "us 1 tin", "us 2 tin", "us 3 tin", "us 4 tin")
	copies = r.copies("eu", "items")
	r.exec("eu", "alter table items add column old text default 'back'", "insert into items (id) values (5)") // the lake has what it was
	r.shards["eu"].await("eu was copied anew", func() bool { return r.copies("eu", "items") > copies })
	r.streaming(runs, "items")
	r.equal(runs)
	r.exec("us", "alter table items alter column n type text", "insert into items (id, n) values (6, 'six')")
	r.shards["us"].await("us has stopped", func() bool {
		return strings.Contains(runs["us"].table("public.items").Error, "does not fit into the table in the lake that other shards fill")
	})
	r.exec("eu", "insert into items (id) values (7)")
	r.equal(runs, "eu")
}

// A shard whose columns a table can not have beside those of another stops alone, though a commit is made for both.
func TestShardsUnlike(t *testing.T) {
	t.Parallel()
	r := newShardRig(t, []string{"eu", "us"}, "create table items (id int primary key)", "insert into items values (1)")
	var stumbled atomic.Int32
	r.mods = append(r.mods, func(o *options) { o.Interval = time.Second })
	r.shards["eu"].mods = append(r.shards["eu"].mods, func(o *options) {
		o.RetryTable = func(error) bool { stumbled.Add(1); return true }
	})
	r.exec("eu", `alter table items add column "Tier" text default 'gold'`)
	runs := r.start()
	r.streaming(runs, "items")
	r.exec("us", "alter table items add column tier text", "insert into items values (2, 'tin')")
	r.exec("eu", "insert into items values (2, 'silver')")
	r.shards["us"].await("us has stopped", func() bool {
		return strings.Contains(runs["us"].table("public.items").Error, "does not fit into the table in the lake that other shards fill")
	})
	r.equal(runs, "eu")
	if n := stumbled.Load(); n > 0 {
		t.Errorf("eu stumbled %d times", n)
	}
}

// TestShardsCrash lets the process die at many places while shards write one table; each time another goes on.
func TestShardsCrash(t *testing.T) {
	t.Parallel()
	kills := 6
	if os.Getenv("LAKEFEED_SOAK") != "" {
		kills = 150
	}
	r := newShardRig(t, []string{"eu", "us"}, "create table items (id int primary key, kind int, body text)", "insert into items select n, n % 3, 'copied' from generate_series(1, 50) n")
	inner := r.lake
	r.mods = append(r.mods, func(o *options) {
		o.Once, o.Lake, o.CompactAfter = true, r.lake, 2
		o.Table = func(*change.Table) pipeline.TableOptions { return pipeline.TableOptions{Buckets: 2} }
	})
	fired := 0
	for i := range kills {
		f := storagetest.NewFaulty(inner, storagetest.Fault{At: 3 + i*7%60, When: storagetest.When(i % 3), Dead: true})
		r.run(f)
		if f.Fired() {
			fired++
		}
		for n, shard := range []string{"eu", "us"} {
			r.exec(shard, fmt.Sprintf("insert into items values (%d, 0, 'new')", 100+i), fmt.Sprintf("update items set body = 'k%d' where id %% 7 = %d", i, i%7), fmt.Sprintf("delete from items where id = %d", i+1))
			if i%4 == n {
				r.exec(shard, "truncate items", "insert into items values (1, 2, 'after')")
			}
		}
	}
	for shard, err := range r.run(inner) {
		if err != nil {
			t.Fatalf("shard %s: %v", shard, err)
		}
	}
	if fired < kills/2 {
		t.Errorf("it died %d times of %d", fired, kills)
	}
	r.lake = inner
	for _, one := range r.shards {
		one.lake = inner
	}
	r.restart()
	r.equal(nil)
}

// run drains all shards into a store, as one process does, and returns how each ended.
func (r *shardRig) run(lake storage.Store) map[string]error {
	r.t.Helper()
	r.lake = lake
	r.restart()
	ends := map[string]error{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for shard, one := range r.shards {
		one.freeSlot()
		p, c := one.pipeline()
		all.Go(func() {
			err := p.Run(context.WithoutCancel(r.t.Context()))
			one.close(c)
			mu.Lock()
			defer mu.Unlock()
			ends[shard] = err
		})
	}
	all.Wait()
	return ends
}
