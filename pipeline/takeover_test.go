package pipeline_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lakefeed/change"
	"lakefeed/hudi"
	"lakefeed/pipeline"
	"lakefeed/storage"
)

// streamer is a job that keeps a table from Debezium's topics, as HoodieStreamer does: it writes rows
// with Debezium's columns and types, by an index that is not ours, and its checkpoint.
type streamer struct {
	r      *rig
	table  *hudi.Table
	offset int
	topic  string // and its partitions' offsets
}

var streamerSchema = arrow.NewSchema([]arrow.Field{
	{Name: "_change_operation_type", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "_upstream_event_processed_ts_ms", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "db_shard_source_partition", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "db_schema_source_partition", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "_event_origin_ts_ms", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "_event_tx_id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "_event_lsn", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "_event_xmin", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "id", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "v", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "big", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "at", Type: arrow.BinaryTypes.String, Nullable: true},     // timestamptz, in ISO 8601
	{Name: "seen", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, // timestamp, in microseconds
	{Name: "day", Type: arrow.PrimitiveTypes.Int32, Nullable: true},  // date
	{Name: "amount", Type: &arrow.Decimal128Type{Precision: 10, Scale: 2}, Nullable: true},
	{Name: "region", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

const streamerTable = `create table t (id int primary key, v text, big text, at timestamptz, seen timestamp, day date, amount numeric(10,2), region text)`

const streamerRows = `insert into t select i, 'v' || i, repeat(md5(i::text), 100), timestamptz '2026-01-02 03:04:05.678901+00' + i * interval '1 hour',
	timestamp '2026-01-02 03:04:05.123456' + i * interval '1 minute', date '2026-01-02' + i, i * 1.25, 'r' || i %% 3 from generate_series(%d, %d) i`

// newStreamer makes the table of another job.
func newStreamer(r *rig, typ hudi.TableType, partitionBy ...string) *streamer {
	r.t.Helper()
	store := storage.Sub(r.lake, "public/t")
	table, err := hudi.Create(r.t.Context(), store, hudi.CreateOptions{
		Name: "t", Type: typ, Schema: streamerSchema, RecordKey: []string{"id"}, OrderingField: "_event_lsn", PartitionBy: partitionBy,
		Options: hudi.Options{Index: hudi.IndexSimple, Services: &hudi.ServicesOptions{}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return &streamer{r: r, table: table, topic: "shop.public.t,0:%d"}
}

// sync brings the table to what the source has now, as if all changes up to now had come through the topic.
func (s *streamer) sync(where string) {
	s.r.t.Helper()
	s.syncAs(where, "big")
}

// syncAs is sync with a value for the column big.
func (s *streamer) syncAs(where, big string) {
	s.r.t.Helper()
	at := s.r.lsn("select pg_current_wal_insert_lsn()")
	s.r.db.Exec(s.r.t, "select pg_logical_emit_message(false, 'test', 'a change of '||now())")
	rows := s.r.db.Query(s.r.t, `select id, coalesce(v, '~'), coalesce(`+big+`, '~'), coalesce(to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '~'),
		(extract(epoch from seen) * 1000000)::bigint, day - date '1970-01-01', amount, region from t where `+where+` order by id`)
	s.write(at, rows)
}

// write commits rows, given by their texts, under a position.
func (s *streamer) write(at change.LSN, rows [][]string) {
	s.r.t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, streamerSchema)
	defer b.Release()
	for _, row := range rows {
		text := append([]string{"u", "1", "shop", "public", "1", "7", strconv.FormatInt(int64(at), 10), "~"}, row...)
		for i, v := range text {
			if v == "~" {
				b.Field(i).AppendNull()
			} else if err := b.Field(i).AppendValueFromString(v); err != nil {
				s.r.t.Fatal(err)
			}
		}
	}
	s.offset += len(rows)
	s.commit(b.NewRecordBatch())
}

func (s *streamer) commit(rows arrow.RecordBatch) {
	s.r.t.Helper()
	ctx := s.r.t.Context()
	if err := s.table.Refresh(ctx); err != nil {
		s.r.t.Fatal(err)
	}
	if _, err := s.table.Upsert(ctx, rows); err != nil {
		s.r.t.Fatal(err)
	}
	txn, err := s.table.Begin(ctx, hudi.TxnOptions{})
	if err == nil {
		_, err = txn.Commit(ctx, map[string]string{"deltastreamer.checkpoint.key": fmt.Sprintf(s.topic, s.offset)})
	}
	if err != nil {
		s.r.t.Fatal(err)
	}
}

// remove deletes rows, as the payload does at a change with d.
func (s *streamer) remove(keys ...string) {
	s.r.t.Helper()
	if _, err := s.table.Delete(s.r.t.Context(), keys...); err != nil {
		s.r.t.Fatal(err)
	}
}

// end lets the table be as HoodieStreamer makes it: merged by Debezium's payload.
func (s *streamer) end(changes ...string) {
	s.r.t.Helper()
	s.properties(append(changes, "hoodie.compaction.payload.class", "org.apache.hudi.common.model.debezium.PostgresDebeziumAvroPayload")...)
}

// properties changes properties of the table: pairs of key and value.
func (s *streamer) properties(changes ...string) {
	s.r.t.Helper()
	store := storage.Sub(s.r.lake, "public/t")
	text, _, err := store.Get(s.r.t.Context(), ".hoodie/hoodie.properties")
	if err != nil {
		s.r.t.Fatal(err)
	}
	props, err := hudi.ParseProperties(text)
	if err != nil {
		s.r.t.Fatal(err)
	}
	for i := 0; i < len(changes); i += 2 {
		props[changes[i]] = changes[i+1]
	}
	if err := store.Put(s.r.t.Context(), ".hoodie/hoodie.properties", props.Format(time.Now())); err != nil {
		s.r.t.Fatal(err)
	}
}

// waits waits until a table's take-over waits for a person, and says why.
func (p *running) waits(words ...string) string {
	p.r.t.Helper()
	note := ""
	p.r.await("the take-over waits, and says "+strings.Join(words, ", "), func() bool {
		s := p.table("public.t")
		note = s.Note
		for _, w := range words {
			if !strings.Contains(note, w) {
				return false
			}
		}
		return s.State == pipeline.Waiting
	})
	return note
}

func (p *running) adopt(a pipeline.Adoption) {
	p.r.t.Helper()
	p.r.await("it is known", func() bool { return p.table("public.t").Table != "" })
	if _, err := p.Adopt(p.r.t.Context(), "public.t", a); err != nil {
		p.r.t.Fatal(err)
	}
}

// takenOver waits until the table is ours and in step.
func (p *running) takenOver() {
	p.r.t.Helper()
	defer func() {
		if p.r.t.Failed() {
			p.r.t.Logf("%+v", p.table("public.t"))
		}
	}()
	p.r.await("the table is taken over", func() bool {
		s := p.table("public.t")
		return s.State == pipeline.Streaming && s.Checkpoint != ""
	})
}

// TestTakeOver takes a table over from a job that goes on for a while beside the pipeline, with changes before,
// between and behind: no row is lost or doubled.
func TestTakeOver(t *testing.T) {
	for _, typ := range []hudi.TableType{hudi.MergeOnRead, hudi.CopyOnWrite} {
		for _, partitioned := range []bool{false, true} {
			t.Run(fmt.Sprint(typ, partitioned), func(t *testing.T) {
				t.Parallel()
				takeOverAll(t, typ, partitioned)
			})
		}
	}
}

func takeOverAll(t *testing.T, typ hudi.TableType, partitioned bool) {
	r := newRig(t, streamerTable, "alter table t alter big set storage external", fmt.Sprintf(streamerRows, 1, 300), "create table other (id int primary key)", "insert into other values (1)")
	var by []string
	if partitioned {
		by = []string{"region"}
		r.table = func(v *change.Table) pipeline.TableOptions {
			if v.Name != "t" {
				return pipeline.TableOptions{}
			}
			return pipeline.TableOptions{PartitionBy: []pipeline.PartitionField{{Column: "region"}}}
		}
	}
	s := newStreamer(r, typ, by...)
	s.sync("true")
	run := r.start(func(o *options) { o.RetryTable = func(error) bool { return true } }) // it waits all the same
	r.await("the folder of another job is left alone", func() bool { return strings.Contains(run.table("public.t").Error, "lakefeed adopt") })
	run.adopt(pipeline.Adoption{})
	run.waits("goes on until it has passed")
	r.db.Exec(t, "update t set v = 'between', at = null where id % 7 = 0", fmt.Sprintf(streamerRows, 301, 320), "delete from t where id % 50 = 0")
	run.adopt(pipeline.Adoption{Stopped: true, Retype: true})
	run.waits("has to pass") // the other job has not
	s.sync("id <= 310")
	if partitioned {
		for i := 50; i <= 300; i += 50 {
			if _, err := s.table.DeleteFrom(t.Context(), map[string][]string{fmt.Sprintf("r%d", i%3): {strconv.Itoa(i)}}); err != nil {
				t.Fatal(err)
			}
		}
	} else {
		s.remove("50", "100", "150", "200", "250")
	}
	s.syncAs("id in (11, 12)", "'__debezium_unavailable_value'")
	s.write(r.lsn("select pg_current_wal_lsn()"), [][]string{{"999", "gone", "__debezium_unavailable_value", "~", "~", "~", "~", "r0"}})
	s.end()
	r.db.Exec(t, "update t set v = 'late' where id % 9 = 0", "update t set id = id + 1000 where id % 40 = 0", fmt.Sprintf(streamerRows, 321, 330), "delete from t where id = 17")
	run.adopt(pipeline.Adoption{Stopped: true, Retype: true})
	run.takenOver()
	r.equal(run)
	r.db.Exec(t, "update t set v = 'after' where id % 11 = 0", "update t set region = 'r9' where id = 22", "delete from t where id = 23", fmt.Sprintf(streamerRows, 2001, 2003))
	r.equal(run)
	run.stop()
	r.db.Exec(t, "update t set v = 'again' where id % 13 = 0", "delete from t where id = 26")
	r.drain()
	r.equal(nil)
	problems := r.sound("public/t")
	if len(problems) > 0 {
		t.Errorf("the table is not sound: %v", problems)
	}
}

// sound is what is wrong with a table in the lake.
func (r *rig) sound(path string) []string {
	r.t.Helper()
	var out []string
	report, err := hudi.Check(r.t.Context(), storage.Sub(r.lake, path), hudi.CheckOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range report.Faults {
		if f.Severity == hudi.Broken {
			out = append(out, fmt.Sprint(f))
		}
	}
	return out
}

// handed is a rig with a small table of another job, which has ended behind the position from which on the pipeline
// keeps its changes; some came since.
func handed(t *testing.T, more ...string) (*rig, *streamer) {
	t.Helper()
	r := newRig(t, append([]string{streamerTable, "alter table t alter big set storage external", fmt.Sprintf(streamerRows, 1, 60)}, more...)...)
	s := newStreamer(r, hudi.MergeOnRead)
	s.sync("true")
	run := r.start()
	run.adopt(pipeline.Adoption{})
	run.waits("goes on until it has passed")
	run.stop()
	s.sync("id <= 50")
	s.end()
	r.db.Exec(t, "update t set v = 'between' where id % 7 = 0", "delete from t where id = 5", fmt.Sprintf(streamerRows, 61, 65))
	return r, s
}

// TestTakeOverKilled ends the process where a take-over is half done: the next run goes on, and all is there once.
func TestTakeOverKilled(t *testing.T) {
	for _, phase := range []string{"taken over", "properties", "copied"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			r, _ := handed(t)
			if _, err := pipeline.RequestAdoption(t.Context(), r.lake, r.name, "public.t", pipeline.Adoption{Stopped: true, Retype: true}); err != nil {
				t.Fatal(err)
			}
			r.cutAt(phase, 1, []string{"update t set v = 'killed' where id % 5 = 0", "delete from t where id = 33"})
			r.drain()
			r.equal(nil)
			orders, err := pipeline.ReadOrders(t.Context(), r.lake, r.name)
			if err != nil || orders["public.t"].Adopt != nil {
				t.Errorf("it is still to be taken over: %+v, %v", orders, err)
			}
			run := r.start()
			r.db.Exec(t, "update t set v = 'after' where id % 4 = 0")
			run.takenOver()
			r.equal(run)
		})
	}
}

// TestTakeOverOnce takes a table over by runs that end by themselves.
func TestTakeOverOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, streamerTable, fmt.Sprintf(streamerRows, 1, 30))
	s := newStreamer(r, hudi.CopyOnWrite)
	s.sync("true")
	ask := func(a pipeline.Adoption) {
		t.Helper()
		if _, err := pipeline.RequestAdoption(t.Context(), r.lake, r.name, "public.t", a); err != nil {
			t.Fatal(err)
		}
	}
	ask(pipeline.Adoption{})
	r.says(r.once(), "goes on until it has passed")
	r.db.Exec(t, "update t set v = 'between' where id % 2 = 0", "delete from t where id = 3")
	r.says(r.once(), "goes on until it has passed")
	r.db.Exec(t, "update t set v = 'again' where id % 4 = 0")
	s.sync("true")
	s.remove("3")
	s.end()
	ask(pipeline.Adoption{Stopped: true})
	r.says(r.once(), "--retype", "at (timestamp with time zone)")
	r.db.Exec(t, "delete from t where id = 7")
	ask(pipeline.Adoption{Stopped: true, Retype: true})
	r.drain()
	r.equal(nil)
}

// TestTakeOverCopied lets all rows be read from the source, since those of the table do not do.
func TestTakeOverCopied(t *testing.T) {
	t.Parallel()
	r, s := handed(t, "alter table t add tags text[]")
	s.properties("hoodie.table.metadata.partitions", "files")
	run := r.start()
	run.adopt(pipeline.Adoption{Stopped: true, Retype: true})
	r.await("it says what is the matter", func() bool { return strings.Contains(run.table("public.t").Error, "column tags is not in it") })
	run.adopt(pipeline.Adoption{Stopped: true, Retype: true, Copy: true})
	run.takenOver()
	r.equal(run)
	r.db.Exec(t, "update t set tags = '{a,b}' where id = 9")
	r.equal(run)
	if at := r.column("t", "db_schema_source_partition"); strings.Contains(at, "public") {
		t.Errorf("a column that the source does not have has values: %s", at)
	}
}

// TestTakeOverRefused says why a table cannot be taken over, and leaves it as it is.
func TestTakeOverRefused(t *testing.T) {
	t.Parallel()
	r, s := handed(t)
	run := r.start()
	refuse := func(a pipeline.Adoption, words ...string) {
		t.Helper()
		run.adopt(a)
		r.await("it says "+strings.Join(words, ", "), func() bool {
			st := run.table("public.t")
			for _, w := range words {
				if !strings.Contains(st.Error+st.Note, w) {
					return false
				}
			}
			return true
		})
	}
	stopped := pipeline.Adoption{Stopped: true, Retype: true}
	s.properties("hoodie.table.recordkey.fields", "id,v")
	refuse(stopped, "record key is id,v", "key of public.t is id")
	s.properties("hoodie.table.recordkey.fields", "id", "hoodie.table.keygenerator.class", "org.apache.hudi.keygen.TimestampBasedKeyGenerator")
	refuse(stopped, "TimestampBasedKeyGenerator")
	s.properties("hoodie.table.keygenerator.class", "org.apache.hudi.keygen.SimpleKeyGenerator", "hoodie.table.version", "5")
	refuse(stopped, "table version")
	s.properties("hoodie.table.version", "6")
	s.topic = "shop.public.t,0:%d,1:7"
	s.properties("hoodie.compaction.payload.class", "org.apache.hudi.common.model.OverwriteWithLatestAvroPayload")
	s.table, _ = hudi.Open(t.Context(), storage.Sub(r.lake, "public/t"), hudi.Options{Services: &hudi.ServicesOptions{}})
	s.sync("id = 1")
	refuse(stopped, "not of one partition", "--lsn")
	refuse(pipeline.Adoption{Stopped: true, Until: 1, Retype: true}, "0/1", "kept from")
	if _, err := run.Adopt(t.Context(), "public.t", pipeline.Adoption{Until: 1}); err == nil {
		t.Error("a position is taken though the other job goes on")
	}
	r.db.Exec(t, "update t set v = 'much later' where id = 2")
	run.adopt(pipeline.Adoption{Stopped: true, Until: r.lsn("select pg_current_wal_lsn()"), Retype: true})
	run.takenOver()
	r.equal(run)
	if _, err := run.Adopt(t.Context(), "public.t", stopped); err == nil {
		t.Error("a table of ours is taken over")
	}
	if _, err := run.Adopt(t.Context(), "public.none", stopped); err == nil {
		t.Error("a table that is none is taken over")
	}
}

// TestTakeOverOverflows lets a take-over begin anew, from a later position, where the spool is full meanwhile.
func TestTakeOverOverflows(t *testing.T) {
	t.Parallel()
	r := newRig(t, streamerTable, fmt.Sprintf(streamerRows, 1, 30))
	s := newStreamer(r, hudi.CopyOnWrite)
	s.sync("true")
	run := r.start(func(o *options) { o.SpoolBytes = 20_000 })
	run.adopt(pipeline.Adoption{})
	first := run.waits("goes on until it has passed")
	for i, change := range []string{"update t set v = 'between' where id = 4", fmt.Sprintf(streamerRows, 31, 60)} { // beyond the bound with the second
		r.db.Exec(t, change)
		r.await("the spool has it", func() bool { return r.spooled("t") == i+1 })
	}
	r.db.Exec(t, "update t set v = 'beyond' where id = 5")
	r.await("it begins anew", func() bool {
		note := run.table("public.t").Note
		return strings.Contains(note, "goes on until it has passed") && note != first
	})
	s.sync("true")
	s.end()
	run.adopt(pipeline.Adoption{Stopped: true, Retype: true})
	run.takenOver()
	r.equal(run)
}

// TestTakeOverPartitionCame attaches a partition with rows, of which the log has none, while a take-over waits: it
// begins anew, and no row is lost.
func TestTakeOverPartitionCame(t *testing.T) {
	t.Parallel()
	r := newRig(t, streamerTable+" partition by range (id)", "create table a partition of t for values from (0) to (100)", fmt.Sprintf(streamerRows, 1, 30))
	s := newStreamer(r, hudi.CopyOnWrite)
	s.sync("true")
	run := r.start()
	run.adopt(pipeline.Adoption{})
	first := run.waits("goes on until it has passed")
	r.db.Exec(t, "create table b partition of t for values from (200) to (300)")
	run.adopt(pipeline.Adoption{})
	if again := run.waits("goes on until it has passed"); again != first {
		t.Errorf("an empty partition moves its position: %s, %s before", again, first)
	}
	r.db.Exec(t, "create table c as select 100 as id, v, big, at, seen, day, amount, region from t where id = 1")
	r.db.Exec(t, "alter table c alter id set not null")
	r.db.Exec(t, "alter table t attach partition c for values from (100) to (200)")
	s.sync("id < 100")
	run.adopt(pipeline.Adoption{Stopped: true, Retype: true})
	run.waits("has to pass")
	s.sync("true")
	s.end()
	run.adopt(pipeline.Adoption{Stopped: true, Retype: true})
	run.takenOver()
	r.equal(run)
}

// TestTakeOverBeyondTheLog believes no position that the source's log does not have.
func TestTakeOverBeyondTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, streamerTable, fmt.Sprintf(streamerRows, 1, 3))
	s := newStreamer(r, hudi.CopyOnWrite)
	s.sync("true")
	run := r.start()
	run.adopt(pipeline.Adoption{})
	run.waits("goes on until it has passed")
	run.adopt(pipeline.Adoption{Stopped: true, Retype: true, Until: 0xFFFF << 32})
	run.waits("FFFF/0", "log ends at")
	s.write(0x7FFF<<48, [][]string{{"1", "v1", "~", "~", "0", "0", "1", "r1"}})
	s.end()
	run.adopt(pipeline.Adoption{Stopped: true, Retype: true})
	run.waits("of another server", "log ends at")
}
