package pipeline_test

import (
	"strconv"
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/s3test"
	"lakefeed/pipeline"
	"lakefeed/storage/all"
)

// TestShardsOfPartitions lands tables that are partitioned in their databases: a partition that comes or goes
// in one of them brings or takes rows of that shard alone.
func TestShardsOfPartitions(t *testing.T) {
	t.Parallel()
	r := newShardRig(t, []string{"eu", "us"}, "create table items (id int, d date, primary key (id, d)) partition by range (d)",
		"create table jan partition of items for values from ('2026-01-01') to ('2026-02-01')",
		"create table feb partition of items for values from ('2026-02-01') to ('2026-03-01')",
		"insert into items select i, '2026-01-20'::date + i from generate_series(1, 20) i")
	for _, one := range r.shards {
		for _, leaf := range []string{"jan", "feb", "mar"} {
			one.skip[leaf] = true
		}
	}
	r.mods = append(r.mods, func(o *options) { // which rows a partition has is not known yet, perhaps
		o.Recopy = func(*change.Table, *pipeline.AnewError) bool { return true }
	})
	runs := r.start()
	r.streaming(runs, "items")
	for shard := range r.shards {
		r.exec(shard, "update items set d = '2026-02-27' where id = 1", "delete from items where id = 2")
	}
	r.equal(runs)
	r.exec("eu", "alter table items detach partition jan", "create table mar partition of items for values from ('2026-03-01') to ('2026-04-01')", "insert into items values (30, '2026-03-01')")
	r.shards["eu"].await("january is gone for eu", func() bool { return len(r.rows("items", "id")) == 10+1+19 })
	r.streaming(runs, "items")
	r.equal(runs)
	stopAll(runs)
	r.restart()
	r.exec("us", "drop table feb", "insert into items values (31, '2026-01-02')")
	runs = r.start()
	r.shards["us"].await("february is gone for us", func() bool { return len(r.rows("items", "id")) == 11+10 })
	r.streaming(runs, "items")
	r.equal(runs)
}

// TestShardsQuarantine puts rows of two shards with one key aside, each in its own quarantine, and reads those of one
// of them anew.
func TestShardsQuarantine(t *testing.T) {
	t.Parallel()
	r := newShardRig(t, []string{"eu", "us"}, "create table items (id int primary key, d date, body text)", "alter table items alter body set storage external",
		"insert into items select i, case when i < 3 then 'infinity' else '2026-01-01'::date end, repeat('a', 5000) from generate_series(1, 4) i")
	for _, one := range r.shards {
		one.types = quarantines
	}
	aside := func(shard string) int {
		t.Helper()
		return strings.Count(r.shards[shard].quarantined("items."+shard), `"id":"`)
	}
	runs := r.start()
	r.streaming(runs, "items")
	for shard := range r.shards {
		r.exec(shard, "update items set d = 'infinity' where id = 3")
	}
	r.equal(runs)
	if eu, us := aside("eu"), aside("us"); eu != 3 || us != 3 {
		t.Errorf("%d and %d rows are put aside", eu, us)
	}
	r.exec("eu", "update items set d = '2026-02-02' where id < 3") // what its body is, was not sent
	r.shards["eu"].await("row 4 comes", func() bool {
		return aside("eu") == 3 && strings.Contains(r.shards["eu"].quarantined("items.eu"), "body")
	})
	r.shards["eu"].replay()
	r.shards["eu"].await("eu is read anew", func() bool { return r.shards["eu"].replayed() })
	r.streaming(runs, "items")
	r.equal(runs)
	if eu, us := aside("eu"), aside("us"); eu != 1 || us != 3 {
		t.Errorf("%d and %d rows are put aside", eu, us)
	}
	r.exec("us", "truncate items")
	r.equal(runs)
	if eu, us := aside("eu"), aside("us"); eu != 1 || us != 0 {
		t.Errorf("%d and %d rows are put aside, after us was emptied", eu, us)
	}
}

// TestShardsOnS3 lands shards in a bucket: with and without the shard in the keys, over a restart.
func TestShardsOnS3(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for _, inKey := range []bool{true, false} {
		t.Run(strconv.FormatBool(inKey), func(t *testing.T) {
			t.Parallel()
			r := newShardRig(t, []string{"eu", "us"}, "create table items (id int primary key, v text)")
			lake, err := all.Open(t.Context(), server.Bucket(t))
			if err != nil {
				t.Fatal(err)
			}
			r.inKey = inKey
			r.setLake(lake)
			r.exec("eu", "insert into items select i, 'eu' from generate_series(1, 50) i")
			r.exec("us", "insert into items select i, 'us' from generate_series(101, 150) i")
			runs := r.start()
			r.streaming(runs, "items")
			r.exec("eu", "update items set v = 'new' where id < 10", "delete from items where id = 20")
			r.exec("us", "truncate items", "insert into items values (101, 'again')")
			r.equal(runs)
			stopAll(runs)
			r.restart()
			r.exec("us", "insert into items values (102, 'while nobody ran')")
			runs = r.start()
			r.streaming(runs, "items")
			r.equal(runs)
		})
	}
}

// TestShardDropped drops a shard while another runs, and lists it again: it says what helps, and that does.
func TestShardDropped(t *testing.T) {
	t.Parallel()
	r := newShardRig(t, []string{"eu", "us"}, "create table items (id int primary key)", "insert into items values (1)")
	runs := r.start()
	r.streaming(runs, "items")
	runs["eu"].stop()
	eu := r.shards["eu"]
	eu.freeSlot()
	r.restart() // as the process of the command is another one
	p, c := eu.pipeline()
	dropped, err := p.Drop(t.Context(), true)
	eu.close(c)
	if err != nil || dropped.Slot == "" {
		t.Fatalf("%+v, %v", dropped, err)
	}
	r.exec("eu", "insert into items values (2)", "delete from items where id = 1")
	r.exec("us", "insert into items values (2)")
	r.equal(runs, "us")
	runs["us"].stop()

	r.restart()
	eu.says(eu.start().await(), "slot", "lakefeed resync --all")
	if err := pipeline.ResyncAll(t.Context(), r.lake, eu.name); err != nil {
		t.Fatal(err)
	}
	r.restart()
	runs = r.start()
	r.streaming(runs, "items")
	r.equal(runs)
	r.want("items", "db_shard_source_partition id", "eu 2", "us 1", "us 2")
}
