package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/internal/pgtest"
	"lakefeed/pipeline"
	"lakefeed/storage"
)

// shardRig is databases whose tables land in the same ones of a lake.
type shardRig struct {
	t      testing.TB
	name   string
	lake   storage.Store
	shared *pipeline.Shards
	shards map[string]*rig
	inKey  bool
	mods   []func(*options)

	reading map[string]*atomic.Bool // the log, by shards: see lakes
}

// newShardRig makes a database for each shard, and runs statements in all of them.
func newShardRig(t testing.TB, shards []string, sql ...string) *shardRig {
	t.Helper()
	r := &shardRig{t: t, shards: map[string]*rig{}, inKey: true}
	for _, name := range shards {
		r.add(name, sql...)
	}
	return r
}

// add adds a shard.
func (r *shardRig) add(shard string, sql ...string) *rig {
	r.t.Helper()
	one := newRigOn(r.t, pgtest.NewDatabase(r.t), sql...)
	if r.lake == nil {
		r.name, r.lake = one.db.Name, one.lake
		r.restart()
	}
	one.name, one.lake = r.name+"."+shard, r.lake
	one.mods = append(one.mods, func(o *options) {
		o.Source, o.Shards = r.source(shard, o.Source), r.shared
		for _, mod := range r.mods {
			mod(o)
		}
	})
	r.shards[shard] = one
	return one
}

// restart is another process.
func (r *shardRig) restart() {
	r.shared = pipeline.NewShards(pipeline.ShardsOptions{Name: r.name, Names: []string{"eu", "us", "asia"}, Lake: r.lake, IndexDir: r.t.TempDir()})
}

func (r *shardRig) source(shard string, s pipeline.Source) pipeline.Source {
	return pipeline.NewShardSource(s, shard, func(string, string) bool { return r.inKey })
}

// exec runs statements in the database of a shard.
func (r *shardRig) exec(shard string, sql ...string) {
	r.t.Helper()
	r.shards[shard].db.Exec(r.t, sql...)
}

// start runs shards, all of them where none is named.
func (r *shardRig) start(shards ...string) map[string]*running {
	r.t.Helper()
	if len(shards) == 0 {
		for name := range r.shards {
			shards = append(shards, name)
		}
	}
	runs := map[string]*running{}
	for _, name := range shards {
		runs[name] = r.shards[name].start()
	}
	return runs
}

// stop ends all that run.
func stopAll(runs map[string]*running) {
	for _, run := range runs {
		run.stop()
	}
}

// equal compares each shard's rows, those of the lake with those of its database.
func (r *shardRig) equal(runs map[string]*running, only ...string) {
	r.t.Helper()
	for shard, one := range r.shards {
		if len(only) > 0 && !slices.Contains(only, shard) {
			continue
		}
		source := one.source()
		o := pipeline.ValidateOptions{Name: one.name, Source: r.source(shard, source), Lake: r.lake, Table: one.table, Logger: one.logger(), Cut: one.cut}
		if run := runs[shard]; run != nil {
			o.Cut = run.Cut
			o.Hold = func(ctx context.Context) error { _, err := run.Hold(ctx); return err }
		}
		one.inStep(one.settled(runs[shard] != nil, func() (*pipeline.Report, error) { return pipeline.Validate(r.t.Context(), o) }))
		one.close(source)
	}
}

// rows are the rows of a table in the lake, in order: the values of columns, joined by blanks.
func (r *shardRig) rows(table string, columns ...string) (out []string) {
	r.t.Helper()
	t, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, "public/"+table), hudi.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	for rec, err := range t.Read(r.t.Context(), hudi.ReadOptions{Columns: columns}) {
		if err != nil {
			r.t.Fatal(err)
		}
		for row := range int(rec.NumRows()) {
			var values []string
			for c := range columns {
				values = append(values, rec.Column(c).ValueStr(row))
			}
			out = append(out, strings.Join(values, " "))
		}
	}
	slices.Sort(out)
	return out
}

func (r *shardRig) want(table, columns string, rows ...string) {
	r.t.Helper()
	if got := r.rows(table, strings.Fields(columns)...); !slices.Equal(got, rows) {
		r.t.Fatalf("the lake's %s (%s) has %q, want %q", table, columns, got, rows)
	}
}

// streaming waits until a table of shards is in step.
func (r *shardRig) streaming(runs map[string]*running, table string) {
	r.t.Helper()
	for shard, run := range runs {
		r.shards[shard].await(shard+" streams", func() bool { return run.table("public."+table).State == pipeline.Streaming })
	}
}

// TestShards follows three databases whose rows have the same keys.
func TestShards(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		table pipeline.TableOptions
	}{
		{"merge-on-read", pipeline.TableOptions{Buckets: 2}},
		{"copy-on-write", pipeline.TableOptions{Type: hudi.CopyOnWrite}},
		{"a partition for each", pipeline.TableOptions{PartitionBy: []pipeline.PartitionField{{Column: "db_shard_source_partition"}}}},
		{"partitions of all", pipeline.TableOptions{Buckets: 2, PartitionBy: []pipeline.PartitionField{{Column: "kind"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newShardRig(t, []string{"eu", "us"},
				`create table items (id int primary key, kind text not null, body text)`,
				`alter table items alter column body set storage external`,
				`insert into items select n, 'k' || n % 3, repeat('x', 3000) || n from generate_series(1, 40) n`)
			for _, one := range r.shards {
				one.table = func(*change.Table) pipeline.TableOptions { return c.table }
				one.mods = append(one.mods, func(o *options) { o.Table = one.table })
			}
			r.exec("us", `delete from items where id > 30`)
			runs := r.start()
			r.streaming(runs, "items")
			for shard := range r.shards {
				r.exec(shard,
					`update items set kind = 'k9' where id < 6`, // what its body is, was not sent
					`delete from items where id = 7`,
					`update items set id = id + 1000 where id between 8 and 10`)
			}
			r.equal(runs)

			// A shard that comes later is copied beside the others.
			asia := r.add("asia", `create table items (id int primary key, kind text not null, body text)`, `insert into items values (1, 'k0', 'one')`)
			asia.table = r.shards["eu"].table
			asia.mods = append(asia.mods, func(o *options) { o.Table = asia.table })
			runs["asia"] = asia.start()
			r.exec("eu", `insert into items values (2000, 'k1', 'meanwhile')`)
			r.streaming(runs, "items")
			r.equal(runs)

			// What empties one leaves the others alone, as does a new copy of one.
			r.exec("us", `truncate items`, `insert into items values (1, 'k1', 'after')`, `insert into items values (2, 'k2', 'after')`)
			r.exec("eu", `update items set body = 'short' where id = 1`)
			r.equal(runs)
			copies := r.copies("eu", "items")
			if _, err := runs["eu"].Instruct(t.Context(), "public.items", pipeline.Resync); err != nil {
				t.Fatal(err)
			}
			r.exec("eu", `delete from items where id < 20`)
			r.shards["eu"].await("eu was copied anew", func() bool { return r.copies("eu", "items") > copies })
			r.streaming(runs, "items")
			r.equal(runs)
			if n := len(r.rows("items", "id")); n != 25+2+1 {
				t.Errorf("%d rows in the lake", n)
			}
			stopAll(runs)

			// Another process goes on, with one of them away.
			r.restart()
			r.exec("eu", `insert into items values (3000, 'k1', 'while nobody ran')`)
			runs = r.start("eu", "asia")
			r.streaming(runs, "items")
			r.equal(runs, "eu", "asia")
			r.exec("us", `delete from items where id = 2`)
			runs["us"] = r.shards["us"].start()
			r.streaming(runs, "items")
			r.equal(runs)
		})
	}
}

// TestShardsAreHeld: a table of shards is its pipeline's for as long as one of these is there,
// whichever was dropped.
func TestShardsAreHeld(t *testing.T) {
	t.Parallel()
	r := newShardRig(t, []string{"eu", "us"}, `create table items (id int primary key)`, `insert into items values (1)`)
	runs := r.start()
	r.streaming(runs, "items")
	stopAll(runs)
	r.restart()
	if err := r.lake.Delete(t.Context(), "_lakefeed/progress/"+r.shards["eu"].name); err != nil {
		t.Fatal(err)
	}
	runs = r.start("us")
	r.streaming(runs, "items")
	table, err := hudi.Open(t.Context(), storage.Sub(r.lake, "public/items"), hudi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	owner, err := pipeline.OwnerOf(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	var locked *pipeline.LockedError
	if _, _, err := owner.Hold(t.Context(), r.lake, slog.New(slog.DiscardHandler)); !errors.As(err, &locked) {
		t.Errorf("the table of a pipeline that runs is held: %v", err)
	}
}
