package pipeline_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/internal/long"
	"lakefeed/internal/seed"
	"lakefeed/pipeline"
	"lakefeed/storage"
	"lakefeed/storage/mem"
)

// texts are the values of some columns of each row of table t in the lake, by its id.
func (r *rig) texts(columns ...string) map[int][]string {
	r.t.Helper()
	t, err := hudi.Open(r.t.Context(), storage.Sub(r.lake, "public/t"), hudi.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[int][]string{}
	for rec, err := range t.Read(r.t.Context(), hudi.ReadOptions{}) {
		if err != nil {
			r.t.Fatal(err)
		}
		at := func(column string) arrow.Array { return rec.Column(rec.Schema().FieldIndices(column)[0]) }
		for i := range int(rec.NumRows()) {
			var row []string
			for _, c := range columns {
				row = append(row, at(c).ValueStr(i))
			}
			id := int(at("id").(*array.Int32).Value(i))
			if out[id] != nil {
				r.t.Errorf("row %d is there twice", id)
			}
			out[id] = row
		}
	}
	return out
}

// sourceTexts is texts of the source.
func (r *rig) sourceTexts(columns ...string) map[int][]string {
	r.t.Helper()
	out := map[int][]string{}
	for _, row := range r.db.Query(r.t, "select id, "+strings.Join(columns, ", ")+" from t") {
		id, err := strconv.Atoi(row[0])
		if err != nil {
			r.t.Fatal(err)
		}
		out[id] = row[1:]
	}
	return out
}

// TestSnapshotColumns reads columns anew that the lake has otherwise, while rows are changed: the other columns stay
// as they are, and no row comes that was not there.
func TestSnapshotColumns(t *testing.T) {
	t.Parallel()
	for name, mod := range map[string]func(*options){
		"merge on read":              func(*options) {},
		"copy on write, partitioned": partitionBy(t, hudi.CopyOnWrite, "part"),
		"little room":                func(o *options) { o.MemoryBudget = 1 << 20 },
	} {
		for _, columns := range [][]string{{"w"}, {"v"}, {"w", "v"}} {
			t.Run(name+", "+strings.Join(columns, ", "), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, spoilable...)
				r.mods = append(r.mods, mod)
				r.drain()
				r.spoil()
				run := r.meeting(false, meanwhile)
				s := run.snapshot("id % 5 = 0 or id % 5 = 1", columns...)
				if s.Rows < 200 || s.LeftOut != 89 || s.State != pipeline.SnapshotDone || !slices.Equal(s.Columns, columns) {
					t.Errorf("it is %+v", s)
				}
				r.columnsAre(columns)
				if s := run.snapshot("", "v", "w", "part"); s.State != pipeline.SnapshotDone {
					t.Errorf("it is %+v", s)
				}
				r.columnsAre([]string{"v", "w"})
				run.snapshot("id % 5 = 0")
				r.equal(run)
				run.stop()
				r.drain()
				r.equal(nil)
			})
		}
	}
}

// columnsAre sees that the lake has some columns of its rows as the source has, the others as they were spoiled,
// and lacks the rows that it lacked.
func (r *rig) columnsAre(columns []string) {
	r.t.Helper()
	lake, source := r.texts("v", "w"), r.sourceTexts("v", "w")
	for id, row := range lake {
		for i, c := range []string{"v", "w"} {
			switch {
			case source[id] == nil:
				r.t.Errorf("row %d is in the lake alone", id)
			case slices.Contains(columns, c) && row[i] != source[id][i]:
				r.t.Errorf("row %d has %s %.20s, and %.20s in the source", id, c, row[i], source[id][i])
			case !slices.Contains(columns, c) && id > 100 && id < 1000 && id%10 == 6 && id%50 != 6 && row[i] != "wrong":
				r.t.Errorf("row %d has %s %.20s, which was not asked for", id, c, row[i])
			}
		}
	}
	for id := range source {
		if gone := id%5 == 0 && id%50 != 5; gone == (lake[id] != nil) {
			r.t.Errorf("row %d is in the lake: %v", id, !gone)
		}
	}
}

// TestSnapshotColumnsMove reads the column anew by which a table is partitioned: rows move, whole.
func TestSnapshotColumnsMove(t *testing.T) {
	t.Parallel()
	r := newRig(t, spoilable...)
	r.mods = append(r.mods, partitionBy(t, hudi.MergeOnRead, "part"))
	r.drain()
	r.misplace()
	run := r.start()
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	if report, err := r.validation(run); err != nil || report.OK() {
		t.Fatalf("nothing is wrong: %+v, %v", report, err)
	}
	if s := run.snapshot("", "part"); s.Rows != 500 || s.LeftOut != 0 || s.State != pipeline.SnapshotDone {
		t.Errorf("it is %+v", s)
	}
	r.equal(run)
}

// misplace is another writer that moves every fifth row to the partition of part p0.
func (r *rig) misplace() {
	r.t.Helper()
	r.rewrite(func(t *hudi.Table) (map[homeOf][]string, map[homeOf][]arrow.RecordBatch) {
		type move struct {
			from, key string
			row       arrow.RecordBatch
		}
		var moves []move
		to := ""
		for rec, err := range t.Read(r.t.Context(), hudi.ReadOptions{Meta: true}) {
			if err != nil {
				r.t.Fatal(err)
			}
			at := func(column string) arrow.Array { return rec.Column(rec.Schema().FieldIndices(column)[0]) }
			for row := range int(rec.NumRows()) {
				if at("part").ValueStr(row) == "p0" {
					to = at("_hoodie_partition_path").ValueStr(row)
				} else if at("id").(*array.Int32).Value(row)%5 == 1 {
					moves = append(moves, move{at("_hoodie_partition_path").ValueStr(row), at("_hoodie_record_key").ValueStr(row), withText(rec, row, t.Schema(), "p0", "part")})
				}
			}
		}
		gone, come := map[homeOf][]string{}, map[homeOf][]arrow.RecordBatch{}
		for _, m := range moves {
			b := t.Bucket(m.key)
			gone[homeOf{m.from, b}], come[homeOf{to, b}] = append(gone[homeOf{m.from, b}], m.key), append(come[homeOf{to, b}], m.row)
		}
		return gone, come
	})
}

// TestSnapshotColumnsRefused asks for columns that cannot be read anew, with the way out.
func TestSnapshotColumnsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, a int, v text, secret text, g int generated always as (a + 1) stored)", "create table log (n int)", "insert into t values (1, 1, 'a', 'b')")
	owner := r.db.Name + "_owner"
	r.db.Exec(t, "create role "+owner, "grant create on database "+r.db.Name+" to "+owner, "create publication "+r.slot()+" for table t (id, a, v)", "alter publication "+r.slot()+" owner to "+owner)
	t.Cleanup(func() { r.db.Exec(t, "drop owned by "+owner, "drop role "+owner) })
	run := r.start()
	r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming })
	for name, columns := range map[string][]string{
		"there is no such column":  {"v", "nosuch"},
		`there are ["id" "a" "v"]`: {"V"},
		"it is of the key":         {"v", "id"},
		"named twice":              {"v", "a", "v"},
		"publication leaves it":    {"secret"},
		"no such column, or none":  {"_event_lsn"},
		"of public.t cannot":       {""},
	} {
		_, err := run.Snapshot(t.Context(), "public.t", "", columns...)
		var column *pipeline.ColumnError
		if !errors.As(err, &column) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", columns, err)
		}
	}
	_, err := run.Snapshot(t.Context(), "public.t", "", "g")
	r.says(err, "column g of public.t cannot be read anew")
	_, err = run.Snapshot(t.Context(), "public.log", "", "n")
	r.says(err, "public.log", "append-only", "without a condition or columns")
	_, err = run.Snapshot(t.Context(), "public.t", "id >", "v")
	r.says(err, "syntax error")
	if s := run.snapshot("secret = 'b'", "v", "a"); s.State != pipeline.SnapshotDone || s.Rows != 1 || s.LeftOut != 0 { // a condition may have them
		t.Errorf("it is %+v", s)
	}
}

// TestSnapshotColumnsFrozen asks for a column that the policy of the table's schema keeps out of the lake.
func TestSnapshotColumnsFrozen(t *testing.T) {
	t.Parallel()
	r := newRig(t, spoilable...)
	r.table = func(*change.Table) pipeline.TableOptions {
		return pipeline.TableOptions{Schema: pipeline.SchemaOptions{Policy: pipeline.FreezeSchema}}
	}
	r.drain()
	r.spoil()
	r.db.Exec(t, "alter table t add n int default 7", "update t set w = 'seen' where id = 2")
	run := r.start()
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	if s := run.snapshot("", "w", "n"); s.State != pipeline.SnapshotFailed || !strings.Contains(s.Error, "column n of public.t cannot be read anew: the lake does not have it") {
		t.Errorf("it is %+v", s)
	}
	if s := run.snapshot("", "w"); s.State != pipeline.SnapshotDone || s.LeftOut != 100 {
		t.Errorf("it is %+v", s)
	}
	for id, row := range r.texts("w") {
		if want := map[bool]string{true: "seen", false: "old"}[id == 2]; row[0] != want {
			t.Errorf("row %d has %s", id, row[0])
		}
	}
}

// TestSnapshotColumnsSpooled pauses the table when its columns were read: they wait in the spool, for a row that is
// gone by then too, and the table goes on.
func TestSnapshotColumnsSpooled(t *testing.T) {
	t.Parallel()
	r := newRig(t, spoilable...)
	r.lake = mem.New()
	r.drain()
	r.spoil()
	source := &between{Connector: r.source()}
	var log logbook
	run := r.start(log.keepLog, func(o *options) { o.Source = source })
	source.meet = func() {
		run.ask(pipeline.Pause, "public.t")
		r.await("it is paused", func() bool { return run.table("public.t").State == pipeline.Paused })
		r.db.Exec(t, "delete from t where id in (21, 31)", "update t set w = 'later' where id = 41")
	}
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	s, err := run.Snapshot(t.Context(), "public.t", "", "w")
	r.must(err)
	r.await("the rows are read", func() bool {
		now := run.table("public.t").Snapshot
		return now != nil && now.ID == s.ID && now.State == pipeline.SnapshotDone
	})
	r.db.Exec(t, "update t set w = 'behind' where id = 51", "delete from t where id = 61", "update t set id = 3000 where id = 71", "delete from t where id = 85", "update t set v = 'made', w = 'anew' where id = 75")
	if log.count("rows that are not in the lake") > 0 {
		t.Error("they were not spooled")
	}
	run.stop()
	r.freeSlot()
	run = r.start(log.keepLog)
	r.await("it is paused still", func() bool { return run.table("public.t").State == pipeline.Paused })
	run.ask(pipeline.Resume, "public.t")
	r.await("it streams", func() bool { return run.table("public.t").State == pipeline.Streaming && r.spooled("t") == 0 })
	r.await("what came last has come", func() bool { return r.texts("w")[75] != nil })
	if log.count("rows that are not in the lake", "rows=100") != 1 {
		t.Error("the rows that the lake lacks are not told of")
	}
	lake, source2 := r.texts("w"), r.sourceTexts("w")
	for id, row := range lake {
		if source2[id] == nil || row[0] != source2[id][0] {
			t.Errorf("row %d has %s in the lake, and %s in the source", id, row, source2[id])
		}
	}
	if lake[75] == nil || lake[100] != nil || lake[3000] == nil {
		t.Errorf("the lake has %d rows", len(lake))
	}
	run.snapshot("true")
	r.equal(run)
}

// TestSnapshotColumnsQuarantine reads columns of a row that is in quarantine: it stays there, as a whole.
func TestSnapshotColumnsQuarantine(t *testing.T) {
	t.Parallel()
	r := newRig(t, "create table t (id int primary key, d date, v text, w text)", "insert into t values (1, '2026-01-01', 'a', 'x'), (2, 'infinity', 'b', 'y'), (3, '2026-01-03', 'c', 'z')")
	r.types = quarantines
	r.drain()
	want := `2 d {"id":"2","d":"infinity","v":"b","w":"y"}`
	r.want("put aside", r.quarantined("t"), want)
	run := r.start()
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	if s := run.snapshot("", "w"); s.State != pipeline.SnapshotDone || s.Rows != 3 || s.LeftOut != 1 {
		t.Errorf("it is %+v", s)
	}
	r.want("put aside", r.quarantined("t"), want)
	if s := run.snapshot("", "d", "w"); s.State != pipeline.SnapshotDone || s.LeftOut != 0 {
		t.Errorf("it is %+v", s)
	}
	r.want("put aside", r.quarantined("t"), want)
	r.want("the others", r.column("t", "d"), r.column("t", "d"))
	r.equal(run)
}

// TestSnapshotColumnsBeginAnew pauses the reading of columns, and ends the process: the next one reads the same again.
func TestSnapshotColumnsBeginAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, spoilable...)
	r.lake = mem.New()
	r.drain()
	r.spoil()
	s, err := pipeline.RequestSnapshot(t.Context(), r.lake, r.name, "public.t", "id % 5 < 2", "w")
	r.must(err)
	reading := make(chan struct{})
	source := &between{Connector: r.source(), meet: func() { close(reading) }}
	run := r.start(func(o *options) { o.Source = source })
	<-reading
	paused := func() bool {
		now := run.table("public.t").Snapshot
		return now != nil && now.State == pipeline.SnapshotPaused && slices.Equal(now.Columns, []string{"w"})
	}
	run.ask(pipeline.PauseSnapshot, "public.t")
	r.await("it is paused", paused)
	run.stop()
	r.freeSlot()
	r.db.Exec(t, meanwhile...)
	run = r.start()
	r.await("it is paused still", paused)
	run.ask(pipeline.ResumeSnapshot, "public.t")
	if s := run.made(s.ID); s.State != pipeline.SnapshotDone || s.Rows != 198 || s.LeftOut != 89 {
		t.Errorf("it is %+v", s)
	}
	r.columnsAre([]string{"w"})
}

// TestSnapshotColumnsOfShard reads a column of one shard anew: the rows of the other stay.
func TestSnapshotColumnsOfShard(t *testing.T) {
	t.Parallel()
	for _, inKey := range []bool{true, false} {
		t.Run(strconv.FormatBool(inKey), func(t *testing.T) {
			t.Parallel()
			r := newShardRig(t, []string{"eu", "us"}, wildTable)
			r.inKey = inKey
			r.exec("eu", "insert into t select i, 'v', 'old' from generate_series(1, 50) i")
			r.exec("us", "insert into t select i, 'v', 'old' from generate_series(101, 150) i")
			runs := r.start()
			r.streaming(runs, "t")
			stopAll(runs)
			eu := r.shards["eu"]
			eu.spoil()
			r.restart()
			runs = r.start()
			r.streaming(runs, "t")
			s, err := runs["eu"].Snapshot(t.Context(), "public.t", "", "w")
			eu.must(err)
			eu.await("the rows are read", func() bool {
				now := runs["eu"].table("public.t").Snapshot
				return now != nil && now.ID == s.ID && now.State == pipeline.SnapshotDone && now.LeftOut == 10
			})
			for id, row := range eu.texts("v", "w") {
				v, w := "v", "old"
				if id%5 == 1 {
					v = "wrong"
				}
				if id%5 == 1 && id > 100 {
					w = "wrong"
				}
				if row[0] != v || row[1] != w {
					t.Errorf("row %d has %q, want %s, %s", id, row, v, w)
				}
			}
		})
	}
}

// TestSnapshotColumnsUnderChangesLong reads columns anew again and again, which the lake has right, while rows of all
// kinds are changed: none steps back, and none comes back.
func TestSnapshotColumnsUnderChangesLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	r := newRig(t, spoilable...)
	run := r.start()
	r.await("it streams", func() bool { return run.Status().State == pipeline.Streaming })
	rng, enough, done := rand.New(rand.NewPCG(seed.New(t), 1)), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-enough:
				return
			default:
			}
			id, other := 1+rng.IntN(300), 1+rng.IntN(300)
			r.db.Exec(t, []string{
				fmt.Sprintf("update t set w = 'w%d' where id = %d", n, id),
				fmt.Sprintf("update t set v = repeat('v%d ', 700) where id = %d", n, id),
				fmt.Sprintf("update t set v = 'small %d', part = 'p%d' where id = %d", n, n%4, id),
				fmt.Sprintf("delete from t where id = %d", id),
				fmt.Sprintf("insert into t values (%d, repeat('i%d ', 700), 'i', 'p%d') on conflict (id) do update set v = excluded.v", id, n, n%4),
				fmt.Sprintf("update t set id = %d where id = %d and not exists (select from t where id = %[1]d)", other, id),
				fmt.Sprintf("begin; delete from t where id = %d; insert into t values (%[1]d, 'anew', 'anew', 'p1'); update t set w = 'once more' where id = %[1]d; commit", id),
			}[rng.IntN(7)])
		}
	}()
	end := sync.OnceFunc(func() { close(enough); <-done })
	defer end()
	for n, columns := range slices.Repeat([][]string{{"v"}, {"w"}, {"part", "v"}, {"v", "w", "part"}}, 3) {
		s, err := run.Snapshot(t.Context(), "public.t", []string{"", "id % 3 > 0"}[n%2], columns...)
		r.must(err)
		var now *pipeline.SnapshotStatus
		r.await("the columns are read", func() bool {
			now = run.table("public.t").Snapshot
			return now != nil && now.ID == s.ID && (now.State == pipeline.SnapshotDone || now.State == pipeline.SnapshotFailed)
		})
		if now.State == pipeline.SnapshotFailed || now.LeftOut != 0 {
			t.Errorf("it is %+v", now)
		}
	}
	end()
	r.equal(run)
}
